//! Addresses to listen on: a TCP address or the path of a Unix socket.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

/// An address to listen on: `127.0.0.1:50051`, `[::]:50051` (IPv6 and IPv4) or `unix:/path`. Port 0
/// takes a free port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether only this machine can reach the address.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some("") => Err(InvalidListenAddress),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| InvalidListenAddress),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The text is not an address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an address with a port, such as 0.0.0.0:50051 or [::]:50051, or unix:/path")]
pub struct InvalidListenAddress;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_address_can_be_parsed_again() {
        for text in ["127.0.0.1:50051", "[::]:0", "unix:/run/facade.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in ["", "50051", "localhost", "unix:", "127.0.0.1"] {
            assert_eq!(text.parse::<ListenAddress>(), Err(InvalidListenAddress), "{text}");
        }
    }

    #[test]
    fn only_this_machine_reaches_loopback_and_unix_sockets() {
        for text in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/a"] {
            assert!(text.parse::<ListenAddress>().unwrap().is_loopback(), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            assert!(!text.parse::<ListenAddress>().unwrap().is_loopback(), "{text}");
        }
    }
}
