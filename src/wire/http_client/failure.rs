//! Classifies the errors of reqwest by the chain of their causes.

use std::{error::Error as StdError, io, net::SocketAddr};

use hyper_util::client::legacy::{self, connect::HttpInfo};
use rustls::CertificateError;

use super::resolver::Unresolved;
use crate::wire::{
    error::{ConnectionFailure, Error, Kind},
    invalid_body::InvalidBody,
};

/// The error of a request that got no answer. `is_reused` tells whether the connection with this local
/// address has carried an answer before.
pub(super) fn unanswered(
    error: reqwest::Error,
    is_reused: impl FnOnce(SocketAddr) -> bool,
) -> Error {
    let failure = connection_failure(&error);
    if error.is_connect() {
        let failure = failure.unwrap_or(ConnectionFailure::Other);
        return failed(Kind::ConnectFailed, failure, error);
    }
    // Without a closed connection, perhaps only one stream of HTTP/2 was reset.
    let is_closed = failure == Some(ConnectionFailure::Reset);
    let is_kept_alive = is_closed && local_address(&error).is_some_and(is_reused);
    let mut error = broken(error);
    if is_kept_alive && error.kind == Kind::Unavailable {
        error.connection = Some(ConnectionFailure::KeepAliveClosed);
    }
    error
}

/// The error of a request on an open connection.
pub(super) fn broken(error: reqwest::Error) -> Error {
    if is_not_http(&error) {
        return Error::new(Kind::Malformed).caused_by(InvalidBody::NotHttp);
    }
    let failure = connection_failure(&error).unwrap_or(ConnectionFailure::Reset);
    failed(Kind::Unavailable, failure, error)
}

fn failed(kind: Kind, failure: ConnectionFailure, error: reqwest::Error) -> Error {
    // The URL holds the session's id.
    let error = Error::new(kind).caused_by(error.without_url());
    Error { connection: Some(failure), ..error }
}

/// Our end of the connection on which a request failed, if there was one.
fn local_address(error: &reqwest::Error) -> Option<SocketAddr> {
    let connected = causes(error).find_map(|cause| {
        cause.downcast_ref::<legacy::Error>().and_then(legacy::Error::connect_info)
    })?;
    let mut info = http::Extensions::new();
    connected.get_extras(&mut info);
    info.get().map(HttpInfo::local_addr)
}

fn is_not_http(error: &reqwest::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput};

    let tls = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
    let is_unreadable = causes(error).any(|cause| {
        let is_parse = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
        // hyper reports a malformed chunk as one of these kinds.
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        is_parse || matches!(kind, Some(InvalidData | InvalidInput))
    });
    is_unreadable && tls.is_none()
}

/// The failure that the first known cause stands for, from the outermost cause inwards.
fn connection_failure(error: &reqwest::Error) -> Option<ConnectionFailure> {
    let failure = causes(error).find_map(|cause| {
        let dns = cause.is::<Unresolved>().then_some(ConnectionFailure::Dns);
        let tls = || cause.downcast_ref().map(of_tls);
        let io = || cause.downcast_ref().and_then(of_io);
        let hyper = || cause.downcast_ref().and_then(of_hyper);
        dns.or_else(tls).or_else(io).or_else(hyper).or_else(|| of_tunnel(cause))
    });
    failure.or_else(|| error.is_timeout().then_some(ConnectionFailure::TimedOut))
}

fn of_tls(error: &rustls::Error) -> ConnectionFailure {
    use CertificateError as C;

    let rustls::Error::InvalidCertificate(error) = error else { return ConnectionFailure::Tls };
    match error {
        // A renewed authority may have the known name and a new key. Then the signature is bad.
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

/// hyper-util keeps the type of a tunnel's error private, so this compares its text.
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

/// The error and the chain of its causes, also through an `io::Error` that wraps another error.
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
