//! Checks the names in callers' certificates.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::Refusal;
use crate::credential::CredentialId;

/// The allowed names. A certificate must have one of them as a DNS or URI alternative name (a
/// SPIFFE id is a URI). If the list is empty, any certificate of the authority is allowed.
#[derive(Clone, Debug)]
pub struct AllowList(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    stem: String,
    is_prefix: bool,
    is_uri: bool,
}

impl AllowList {
    /// Creates a list from names. A name may end in `*`.
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| Pattern::of(name)).collect())
    }

    /// Returns the id of the caller with this chain. The caller's own certificate is the first one.
    pub(super) fn check(&self, chain: &[CertificateDer<'_>]) -> Result<CredentialId, Refusal> {
        let certificate =
            chain.first().ok_or(Refusal::Missing("the caller presented no client certificate"))?;
        let parsed = EndEntityCert::try_from(certificate).map_err(|_| Refusal::NotAllowed)?;
        // Host names are case-insensitive, URIs are not (RFC 4343; RFC 3986 §6.2.2.1).
        let hosts = parsed.valid_dns_names().map(|name| (name.to_ascii_lowercase(), false));
        let uris = parsed.valid_uri_names().map(|name| (name.to_owned(), true));
        let mut names = hosts.chain(uris);
        if self.0.is_empty() {
            let name = names.next();
            let known_by = name.as_ref().map_or(certificate.as_ref(), |(name, _)| name.as_bytes());
            return Ok(CredentialId::of(known_by));
        }
        let is_allowed = |name: &str, is_uri| self.0.iter().any(|one| one.matches(name, is_uri));
        let allowed = names.find(|(name, is_uri)| is_allowed(name, *is_uri));
        allowed.map(|(name, _)| CredentialId::of(name.as_bytes())).ok_or(Refusal::NotAllowed)
    }
}

impl Pattern {
    fn of(name: &str) -> Self {
        let prefix = name.strip_suffix('*');
        let stem = prefix.unwrap_or(name);
        let is_uri = stem.contains(':');
        let stem = if is_uri { stem.to_owned() } else { stem.to_ascii_lowercase() };
        Self { stem, is_prefix: prefix.is_some(), is_uri }
    }

    fn matches(&self, name: &str, is_uri: bool) -> bool {
        let is_same = if self.is_prefix { name.starts_with(&self.stem) } else { name == self.stem };
        is_same && is_uri == self.is_uri
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(hosts: &[&str], uri: Option<&str>) -> CertificateDer<'static> {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn check(names: &[&str], certificate: &CertificateDer<'_>) -> Result<CredentialId, Refusal> {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        AllowList::new(&names).check(std::slice::from_ref(certificate))
    }

    #[test]
    fn a_name_matches_exactly_or_by_prefix() {
        let web = certificate(&["web.example.org"], Some("spiffe://example.org/ns/web/sa/front"));
        let allowed = [
            "web.example.org",
            "Web.Example.ORG",
            "web.*",
            "spiffe://example.org/ns/web/sa/front",
            "spiffe://example.org/ns/web/*",
        ];
        for name in allowed {
            assert!(check(&["other", name], &web).is_ok(), "{name}");
        }
        let refused = [
            "web.example",
            "eb.example.org",
            "spiffe://example.org/ns/web/",
            "spiffe://example.org/NS/web/*",
            "spiffe://example.org/ns/webb/*",
        ];
        for name in refused {
            assert_eq!(check(&[name], &web), Err(Refusal::NotAllowed), "{name}");
        }
    }

    #[test]
    fn the_common_name_is_ignored() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "web.example.org");
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(check(&["web.example.org"], signed.der()), Err(Refusal::NotAllowed));
    }

    #[test]
    fn an_empty_list_allows_any_certificate_but_requires_one() {
        let one = check(&[], &certificate(&["a.example.org"], None)).unwrap();
        assert_ne!(one, check(&[], &certificate(&["b.example.org"], None)).unwrap());
        assert_eq!(one, check(&[], &certificate(&["a.example.org"], None)).unwrap(), "renewed");
        assert!(matches!(AllowList::new(&[]).check(&[]), Err(Refusal::Missing(_))));
        let broken = CertificateDer::from(vec![0x30, 0x00]);
        assert_eq!(check(&[], &broken), Err(Refusal::NotAllowed));
    }
}
