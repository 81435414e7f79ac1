//! A TLS proxy in front of the vendor, which can break new connections. Open connections continue.

use std::{
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
};

use tokio::{
    io::{AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use super::super::soon;
use crate::kit::{certificate::Authority, folder::Folder, vendor::Vendor};

const AUTHORITY: &str = "ca.pem";

/// What happens to a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It reaches the vendor.
    Pass,
    /// It is reset.
    Reset,
    /// It gets bytes that are not TLS.
    Garbage,
    /// It gets the certificate of another authority.
    Stranger,
    /// It gets no answer.
    Silence,
    /// The listener is closed for good.
    Refuse,
}

pub struct Gate {
    address: SocketAddr,
    folder: Folder,
    treatment: watch::Sender<Treatment>,
    running: JoinHandle<()>,
}

impl Gate {
    pub async fn before(vendor: &Vendor) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (treatment, treated) = watch::channel(Treatment::Pass);
        let (ours, stranger) = (Authority::new(), Authority::new());
        let folder = Folder::new();
        folder.write(AUTHORITY, ours.pem());
        let ways = Ways {
            ours: ours.issue("127.0.0.1").acceptor(&[]),
            stranger: stranger.issue("127.0.0.1").acceptor(&[]),
            vendor: vendor.address,
        };
        let running = tokio::spawn(listen(listener, treated, ways));
        Self { address, folder, treatment, running }
    }

    pub fn url(&self) -> String {
        format!("https://{}/G2A/rest/v1", self.address)
    }

    /// The certificate file to trust.
    pub fn authority(&self) -> String {
        self.folder.path(AUTHORITY).display().to_string()
    }

    /// Treats new connections like this from now on.
    pub async fn treat(&self, treatment: Treatment) {
        self.treatment.send_replace(treatment);
        if treatment == Treatment::Refuse {
            let closed = async { while TcpStream::connect(self.address).await.is_ok() {} };
            soon(closed).await;
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The destinations of connections.
#[derive(Clone)]
struct Ways {
    ours: TlsAcceptor,
    stranger: TlsAcceptor,
    vendor: SocketAddr,
}

async fn listen(listener: TcpListener, treated: watch::Receiver<Treatment>, ways: Ways) {
    let mut connections = JoinSet::new();
    let mut refused = treated.clone();
    let mut refused = pin!(refused.wait_for(|treatment| *treatment == Treatment::Refuse));
    loop {
        tokio::select! {
            _ = &mut refused => break,
            accepted = listener.accept() => {
                let (socket, treatment) = (accepted.unwrap().0, *treated.borrow());
                connections.spawn(lead(socket, treatment, ways.clone()));
            }
        }
    }
    drop(listener);
    connections.join_all().await;
}

async fn lead(mut socket: TcpStream, treatment: Treatment, ways: Ways) {
    match treatment {
        Treatment::Pass => {
            let Ok(mut near) = ways.ours.accept(socket).await else { return };
            let mut far = TcpStream::connect(ways.vendor).await.unwrap();
            let _ = copy_bidirectional(&mut near, &mut far).await;
        }
        Treatment::Stranger => _ = ways.stranger.accept(socket).await,
        Treatment::Garbage => {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            // Reads to the end. Otherwise a reset could discard the bytes.
            let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
        }
        Treatment::Silence => _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await,
        Treatment::Reset | Treatment::Refuse => _ = socket.set_zero_linger(),
    }
}
