//! Opens and closes the TCP or unix socket that the server listens on.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{self, fs::FileTypeExt as _},
    path::Path,
};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::{config::listen::ListenAddress, grpc::peer::Peer};

/// A client's socket.
pub(super) type Socket = Either<TcpStream, UnixStream>;

/// A listening socket. Dropping it closes the socket and removes the file of a unix socket.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    address: ListenAddress,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Opens the socket. `[::]` also accepts IPv4 if the system's default is dual stack, as on
    /// Linux. If the file of a unix socket exists but no process serves it, the file is replaced.
    pub async fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = ListenAddress::Tcp(listener.local_addr()?);
                Ok(Self { kind: Kind::Tcp(listener), address })
            }
            ListenAddress::Unix(path) => {
                remove_if_abandoned(path)?;
                let listener = UnixListener::bind(path)?;
                Ok(Self { kind: Kind::Unix(listener), address: address.clone() })
            }
        }
    }

    /// Returns the local address, with the actual port.
    pub fn local_address(&self) -> &ListenAddress {
        &self.address
    }

    /// Waits for the next client.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, address) = accept_prompt(listener).await?;
                Ok((Either::Left(stream), Peer::new(address)))
            }
            Kind::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Either::Right(stream), Peer::local()))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let ListenAddress::Unix(path) = &self.address {
            let _ = fs::remove_file(path);
        }
    }
}

/// Accepts the next TCP connection, with Nagle's algorithm disabled.
async fn accept_prompt(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept().await?;
    // This fails only if the connection is already closed. The first read reports that.
    let _ = stream.set_nodelay(true);
    Ok((stream, address))
}

/// Removes the socket file that a killed process left behind.
fn remove_if_abandoned(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && unix::net::UnixStream::connect(path).is_err() {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nagle's algorithm together with delayed acknowledgements would sometimes cost 40 ms.
    #[tokio::test]
    async fn small_messages_do_not_wait_for_an_acknowledgement() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = accept_prompt(&listener).await.unwrap();
        assert!(stream.nodelay().unwrap());
    }
}
