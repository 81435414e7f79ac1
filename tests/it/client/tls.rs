//! The client over TLS: whom it trusts, and how it shows who it is.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::{LIMIT, client};
use crate::kit::fake_service::FakeService;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `name` and its key, in PEM.
fn issue(authority: &Issuer, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

fn service(authority: &Issuer, client_authority: Option<&Issuer>) -> FakeService {
    let (certificate, key) = issue(authority, "127.0.0.1");
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    FakeService::start_secured(match client_authority {
        Some(authority) => tls.client_ca_root(Certificate::from_pem(authority.pem())),
        None => tls,
    })
}

/// Files of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("client-tls-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_service_is_trusted_by_the_given_authority_only() {
    let (trusted, other) = (authority(), authority());
    let service = service(&trusted, None);
    let server = format!("https://{}", service.address);
    let folder = Folder::new("trust");
    for (authority, is_trusted) in [(&trusted, true), (&other, false)] {
        let ca = folder.write("ca.pem", &authority.pem());
        let client = client(&["--server", &server, "--ca-file", &ca]);
        let answer = client.get_session("known", LIMIT).await;
        assert_eq!(answer.is_ok(), is_trusted, "{:?}", answer.err());
    }
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let (servers, clients) = (authority(), authority());
    let service = service(&servers, Some(&clients));
    let server = format!("https://{}", service.address);
    let folder = Folder::new("identity");
    let ca = folder.write("ca.pem", &servers.pem());
    let (certificate, key) = issue(&clients, "client.example");
    let certificate = folder.write("certificate.pem", &certificate);
    let key = folder.write("key.pem", &key);
    let trust = ["--server", &server, "--ca-file", &ca];
    let identity = ["--client-certificate-file", &certificate, "--client-key-file", &key];

    let known = client(&[trust, identity].concat());
    known.get_session("known", LIMIT).await.unwrap();
    client(&trust).get_session("known", LIMIT).await.unwrap_err();
}
