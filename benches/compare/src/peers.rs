//! The compared peers, and the vendor behind them.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tokio::{fs, process::Command};

use crate::process::{Process, free_address};

/// Paths of the programs that `run` has installed and built.
#[derive(clap::Args, Clone, Debug)]
pub struct Programs {
    /// The service.
    #[arg(long)]
    pub service: PathBuf,
    /// Envoy.
    #[arg(long)]
    pub envoy: PathBuf,
    /// Folder with Google's protos of the HTTP annotations.
    #[arg(long)]
    pub googleapis: PathBuf,
    /// The service in Go.
    #[arg(long)]
    pub go: PathBuf,
}

/// A server for gRPC calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// This service, as `serve` runs it by default.
    Service,
    /// Envoy's reverse transcoder, one worker.
    Envoy,
    /// A service in Go, such as a good team could write in a week.
    Go,
    /// tonic and hyper, without features.
    BareHyper,
    /// tonic and reqwest, without features.
    BareReqwest,
}

impl Peer {
    /// Its name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Service => "gotoassist-grpc",
            Peer::Envoy => "Envoy, reverse transcoder",
            Peer::Go => "facade in Go",
            Peer::BareHyper => "bare tonic + hyper",
            Peer::BareReqwest => "bare tonic + reqwest",
        }
    }
}

/// The vendor, which nginx simulates.
pub struct Vendor {
    /// Its address.
    pub address: SocketAddr,
    folder: PathBuf,
    _process: Process,
}

/// The vendor's answer for every id.
const SESSION: &str = include_str!("../peers/session.json");

impl Vendor {
    /// Starts it with its files in `folder`.
    pub async fn start(folder: &Path) -> Result<Self> {
        let address = free_address().await?;
        let config = include_str!("../peers/nginx.conf")
            .replace("FOLDER", &folder.display().to_string())
            .replace("PORT", &address.port().to_string());
        fs::write(folder.join("nginx.conf"), config).await?;
        fs::write(folder.join("session.json"), SESSION).await?;
        fs::write(folder.join("shared.json"), SESSION).await?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
        let process = Process::start(&mut command, address, &folder.join("nginx.log")).await?;
        Ok(Self { address, folder: folder.to_owned(), _process: process })
    }

    /// The base URL of its API.
    pub fn url(&self) -> String {
        format!("http://{}/G2A/rest/v1", self.address)
    }

    /// Changes the notes of the session `shared`, for the `number`-th time.
    pub async fn change(&self, number: usize) -> Result<()> {
        let fresh = self.folder.join("shared.json.fresh");
        let session = SESSION.replace("installed again.", &format!("installed again {number:05}."));
        fs::write(&fresh, session).await?;
        // Replaces the file atomically, so that no reader sees half of it.
        Ok(fs::rename(fresh, self.folder.join("shared.json")).await?)
    }

    /// The number of requests so far, including this one.
    pub async fn requests(&self) -> Result<u64> {
        let page = reqwest::get(format!("http://{}/requests", self.address)).await?.text().await?;
        let counts = page.lines().nth(2).context("nginx's stub_status has another form")?;
        Ok(counts.split_whitespace().nth(2).context("no count of requests")?.parse()?)
    }
}

/// A peer that serves.
pub struct Running {
    /// Its address.
    pub address: SocketAddr,
    /// The process that is measured.
    pub process: Process,
}

impl Running {
    /// Starts a peer in front of the vendor.
    pub async fn start(
        peer: Peer,
        programs: &Programs,
        vendor: &Vendor,
        folder: &Path,
    ) -> Result<Self> {
        let (address, admin) = (free_address().await?, free_address().await?);
        let mut command = match peer {
            Peer::Service => {
                let mut command = Command::new(&programs.service);
                command
                    .args(["serve", "--listen", &address.to_string()])
                    .args(["--admin-listen", &admin.to_string()])
                    .args(["--upstream-url", &vendor.url()])
                    // The largest quota, so that the quota never delays a request.
                    .args(["--upstream-rps", "100000", "--upstream-burst", "100000"]);
                command
            }
            Peer::Envoy => {
                let config = folder.join("envoy.yaml");
                write_envoy_config(&config, programs, vendor, address, admin).await?;
                let mut command = Command::new(&programs.envoy);
                command.args([
                    "--concurrency",
                    "1",
                    "--log-level",
                    "error",
                    "--use-dynamic-base-id",
                ]);
                command.arg("-c").arg(config);
                command
            }
            Peer::Go => {
                let mut command = Command::new(&programs.go);
                command.args(["-listen", &address.to_string(), "-upstream-url", &vendor.url()]);
                command
            }
            Peer::BareHyper | Peer::BareReqwest => {
                let client = if peer == Peer::BareHyper { "hyper" } else { "reqwest" };
                let mut command = Command::new(env::current_exe()?);
                command.args(["bare", "--listen", &address.to_string()]).args([
                    "--upstream-url",
                    &vendor.url(),
                    "--client",
                    client,
                ]);
                command
            }
        };
        let log = folder.join(format!("{peer:?}.log"));
        let process = Process::start(&mut command, address, &log).await?;
        Ok(Self { address, process })
    }
}

async fn write_envoy_config(
    path: &Path,
    programs: &Programs,
    vendor: &Vendor,
    address: SocketAddr,
    admin: SocketAddr,
) -> Result<()> {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let mut compiler = protox::Compiler::new([&protos, &programs.googleapis])?;
    compiler.include_imports(true).open_file("transcoding.proto")?;
    let descriptors = path.with_extension("descriptors");
    fs::write(&descriptors, compiler.encode_file_descriptor_set()).await?;
    let config = include_str!("../peers/envoy.yaml")
        .replace("ADMIN_PORT", &admin.port().to_string())
        .replace("VENDOR_PORT", &vendor.address.port().to_string())
        .replace("PORT", &address.port().to_string())
        .replace("DESCRIPTORS", &descriptors.display().to_string())
        .replace("ACCESS_LOG", &path.with_extension("access.log").display().to_string());
    Ok(fs::write(path, config).await?)
}
