//! Why there is no connection to the service, in words that say what to change.

use std::{error::Error, io, iter};

use rustls::{CertificateError, InvalidMessage};

/// The texts of hyper and h2 for a connection on which the other end does not answer in HTTP/2. The
/// types are private. A port without HTTP/2 may also reset or close the connection. It depends on the
/// time which of them comes.
const BROKEN: [&str; 2] =
    ["connection closed", "connection error detected: frame with invalid size"];
const NO_ANSWER: &str = "the connection ends without an answer. If it always does, check the port, \
    and whether it speaks TLS (https:// or http://)";

/// Describes the error of a connection.
pub(super) fn describe(error: &(dyn Error + 'static)) -> String {
    let described = causes(error).find_map(|cause| {
        let tls = cause.downcast_ref().map(of_tls);
        tls.or_else(|| cause.downcast_ref().and_then(of_io).map(str::to_owned))
    });
    described.unwrap_or_else(|| {
        let innermost = super::failure::innermost(error);
        let is_broken = BROKEN.contains(&innermost.as_str());
        if is_broken { NO_ANSWER.to_owned() } else { innermost }
    })
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the port does not speak TLS. Does http:// work, or is it another port?".to_owned()
        }
        rustls::Error::InvalidCertificate(error) => of_certificate(error),
        rustls::Error::AlertReceived(_) => {
            format!(
                "the service ends the TLS handshake ({error}). Does it want a certificate of the client?"
            )
        }
        _ => format!("the TLS handshake fails: {error}"),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    use CertificateError as C;

    match error {
        C::UnknownIssuer | C::BadSignature => {
            "no trusted authority signed the service's certificate. --ca-file names an authority"
                .to_owned()
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            format!("the service's certificate has another name: {error}")
        }
        C::Expired | C::ExpiredContext { .. } => "the service's certificate has expired".to_owned(),
        C::Other(other) if is_authority(other) => "the service has the certificate of an \
            authority (CA:TRUE). It needs one for a server, which the authority signs"
            .to_owned(),
        _ => format!("the service's certificate cannot be verified: {error}"),
    }
}

fn is_authority(error: &rustls::OtherError) -> bool {
    error.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity)
}

fn of_io(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind as K;

    match error.kind() {
        K::TimedOut => Some("nobody answers at the address. Does a firewall drop the packets?"),
        K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe => Some(NO_ANSWER),
        _ => None,
    }
}

/// The error and the chain of its causes, also through an `io::Error` that wraps another error.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}
