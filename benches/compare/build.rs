//! Compiles the service's protos for the baseline and the load.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../../proto");
    let service = "gotoassist/remotesupport/v1/remote_support_service.proto";
    let descriptors = protox::compile([service], ["../../proto", "../../third_party"])?;
    tonic_prost_build::configure()
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(descriptors)?;
    Ok(())
}
