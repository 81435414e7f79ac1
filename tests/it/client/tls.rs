//! The client over TLS: which servers it trusts, and its client certificate.

use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::{LIMIT, client};
use crate::kit::{certificate::Authority, fake_service::FakeService, folder::Folder};

fn service(authority: &Authority, client_authority: Option<&Authority>) -> FakeService {
    let certified = authority.issue("127.0.0.1");
    let identity = Identity::from_pem(certified.pem(), certified.key_pem());
    let tls = ServerTlsConfig::new().identity(identity);
    FakeService::start_secured(match client_authority {
        Some(authority) => tls.client_ca_root(Certificate::from_pem(authority.pem())),
        None => tls,
    })
}

#[tokio::test]
async fn a_service_is_trusted_by_the_given_authority_only() {
    let (trusted, other) = (Authority::new(), Authority::new());
    let service = service(&trusted, None);
    let server = format!("https://{}", service.address);
    let folder = Folder::new();
    for (authority, is_trusted) in [(&trusted, true), (&other, false)] {
        let ca = folder.write("ca.pem", authority.pem());
        let client = client(&["--server", &server, "--ca-file", &ca]);
        let answer = client.get_session("known", LIMIT).await;
        assert_eq!(answer.is_ok(), is_trusted, "{:?}", answer.err());
    }
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let service = service(&servers, Some(&clients));
    let server = format!("https://{}", service.address);
    let folder = Folder::new();
    let ca = folder.write("ca.pem", servers.pem());
    let certified = clients.issue("client.example");
    let certificate = folder.write("certificate.pem", certified.pem());
    let key = folder.write("key.pem", certified.key_pem());
    let trust = ["--server", &server, "--ca-file", &ca];
    let identity = ["--client-certificate-file", &certificate, "--client-key-file", &key];

    let known = client(&[trust, identity].concat());
    known.get_session("known", LIMIT).await.unwrap();
    client(&trust).get_session("known", LIMIT).await.unwrap_err();
}
