//! Compares gotoassist-grpc with its alternatives. `benches/compare/run`
//! builds and starts it.

mod bare;
mod bench;
mod etcd;
mod load;
mod peers;
mod process;
mod proto {
    //! The service's messages and stubs.
    tonic::include_proto!("gotoassist.remotesupport.v1");
}
mod report;
mod scenes;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum as _};

use bench::Bench;
use peers::{Programs, Vendor};
use report::Report;
use scenes::Scene;

/// The command line.
#[derive(Parser)]
enum Command {
    /// Measures, prints the tables and writes them into the page.
    Run {
        #[command(flatten)]
        programs: Programs,
        /// The Markdown page with the tables.
        #[arg(long)]
        page: PathBuf,
        /// Scenes to measure [default: all].
        scenes: Vec<Scene>,
    },
    /// Serves without features, which is the least that a service can cost.
    Bare(bare::Bare),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Command::parse() {
        Command::Bare(bare) => bare::serve(bare).await,
        Command::Run { programs, page, scenes } => {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let scenes = if scenes.is_empty() { Scene::value_variants().to_vec() } else { scenes };
            let folder = tempfile::tempdir()?;
            let vendor = Vendor::start(folder.path()).await?;
            let bench = Bench { programs, vendor, folder: folder.path().to_owned() };
            let mut report = Report::open(page)?;
            for scene in scenes {
                eprintln!("measuring: {scene:?}");
                let table = scene.measure(&bench).await?;
                println!("{table}");
                report.replace(&scene.name(), &table)?;
            }
            Ok(())
        }
    }
}
