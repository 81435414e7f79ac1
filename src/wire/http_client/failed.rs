//! What an error of reqwest means, found in the chain of its causes.

use std::{error::Error as StdError, io, net::SocketAddr};

use hyper_util::client::legacy::{self, connect::HttpInfo};
use rustls::CertificateError;

use super::addresses::Unresolved;
use crate::wire::error::ConnectionFailure;

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("no connection: {}", .0.name())]
    Connect(ConnectionFailure, #[source] reqwest::Error),
    #[error("the connection broke off: {}", .0.name())]
    Broken(ConnectionFailure, #[source] reqwest::Error),
    #[error("the answer is not HTTP")]
    NotHttp(#[source] reqwest::Error),
    #[error("the body is not encoded as its content-encoding says")]
    BadEncoding(#[source] io::Error),
    #[error("the body is too long")]
    TooLong,
}

impl Failed {
    /// For an error before the head of an answer was read.
    pub(super) fn unanswered(error: reqwest::Error) -> Self {
        if error.is_connect() {
            let failure = connection_failure(&error).unwrap_or(ConnectionFailure::Other);
            return Self::Connect(failure, error.without_url());
        }
        Self::on_the_wire(error)
    }

    /// For an error on an open connection.
    pub(super) fn on_the_wire(error: reqwest::Error) -> Self {
        if is_not_http(&error) {
            return Self::NotHttp(error.without_url());
        }
        let failure = connection_failure(&error).unwrap_or(ConnectionFailure::Reset);
        // The URL holds the session's id.
        Self::Broken(failure, error.without_url())
    }

    /// The same failure, seen on a connection that was used before.
    pub(super) fn on_kept_alive(self) -> Self {
        match self {
            Self::Broken(_, error) if is_closed(&error) => {
                Self::Broken(ConnectionFailure::KeepAliveClosed, error)
            }
            failed => failed,
        }
    }
}

/// Our end of the connection on which a request failed, if there was one.
pub(super) fn local_address(error: &reqwest::Error) -> Option<SocketAddr> {
    let connected = causes(error).find_map(|cause| {
        cause.downcast_ref::<legacy::Error>().and_then(legacy::Error::connect_info)
    })?;
    let mut info = http::Extensions::new();
    connected.get_extras(&mut info);
    info.get().map(HttpInfo::local_addr)
}

/// Whether the whole connection is gone, and not only one stream of HTTP/2.
fn is_closed(error: &reqwest::Error) -> bool {
    connection_failure(error) == Some(ConnectionFailure::Reset)
}

fn is_not_http(error: &reqwest::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput};

    let is_tls = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()).is_some();
    let is_unread = causes(error).any(|cause| {
        let is_parse = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
        // A malformed chunk.
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        is_parse || matches!(kind, Some(InvalidData | InvalidInput))
    });
    is_unread && !is_tls
}

/// The failure that the first known cause means, from the outermost cause inwards.
fn connection_failure(error: &reqwest::Error) -> Option<ConnectionFailure> {
    let word = causes(error).find_map(|cause| {
        if cause.is::<Unresolved>() {
            return Some(ConnectionFailure::Dns);
        }
        let tls = || cause.downcast_ref().map(of_tls);
        let io = || cause.downcast_ref().and_then(of_io);
        let hyper = || cause.downcast_ref().and_then(of_hyper);
        tls().or_else(io).or_else(hyper).or_else(|| of_tunnel(cause))
    });
    word.or_else(|| error.is_timeout().then_some(ConnectionFailure::TimedOut))
}

fn of_tls(error: &rustls::Error) -> ConnectionFailure {
    use CertificateError as C;

    let rustls::Error::InvalidCertificate(error) = error else { return ConnectionFailure::Tls };
    match error {
        // A bad signature: the authority has a known name but another key, as after its renewal.
        C::UnknownIssuer | C::BadSignature => ConnectionFailure::CertificateUnknownIssuer,
        C::NotValidForName | C::NotValidForNameContext { .. } => ConnectionFailure::CertificateName,
        C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. } => {
            ConnectionFailure::CertificateExpired
        }
        _ => ConnectionFailure::Tls,
    }
}

fn of_io(error: &io::Error) -> Option<ConnectionFailure> {
    use io::ErrorKind as K;

    match error.kind() {
        K::ConnectionRefused => Some(ConnectionFailure::Refused),
        K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown => {
            Some(ConnectionFailure::Unreachable)
        }
        K::TimedOut => Some(ConnectionFailure::TimedOut),
        K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof => {
            Some(ConnectionFailure::Reset)
        }
        _ => None,
    }
}

fn of_hyper(error: &hyper::Error) -> Option<ConnectionFailure> {
    if error.is_timeout() {
        return Some(ConnectionFailure::TimedOut);
    }
    error.is_incomplete_message().then_some(ConnectionFailure::Reset)
}

/// The type of a tunnel's error is private in hyper-util, so its text is compared.
fn of_tunnel(error: &(dyn StdError + 'static)) -> Option<ConnectionFailure> {
    match error.to_string().strip_prefix("tunnel error: ")? {
        "proxy authorization required" => Some(ConnectionFailure::ProxyAuthRequired),
        "unsuccessful" | "unexpected end of file" | "proxy response headers too long" => {
            Some(ConnectionFailure::ProxyRefused)
        }
        // The next cause says more.
        _ => None,
    }
}

/// The error itself, what caused it, and so on, also through an `io::Error` that wraps another.
fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}
