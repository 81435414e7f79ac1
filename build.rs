//! Compiles the protos to Rust with protox, so that no protoc is needed, and keeps their
//! descriptors for reflection and for the client's JSON.

use std::{env, error::Error, fs, path::PathBuf, process::Command};

use protox::prost::Message as _;

const PACKAGE: &str = ".gotoassist.remotesupport.v1";
const PROTOS: [&str; 5] = [
    "gotoassist/remotesupport/v1/session.proto",
    "gotoassist/remotesupport/v1/system_link.proto",
    "gotoassist/remotesupport/v1/remote_support_service.proto",
    "grpc/health/v1/health.proto",
    // For reflection: grpcurl and similar tools can then decode the details of errors.
    "google/rpc/error_details.proto",
];
/// The messages whose `Debug` would print personal data or a credential; see src/proto.rs.
const SECRETIVE: &[&str] = &[
    "Session",
    "Collaborator",
    "SystemLink",
    "GetSessionRequest",
    "GetSessionResponse",
    "ListSessionsRequest",
    "ListSessionsResponse",
    "ListSystemLinksRequest",
    "ListSystemLinksResponse",
    "WatchSessionRequest",
    "WatchSessionResponse",
    "WatchSessionsRequest",
    "WatchSessionsResponse",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=third_party");
    name_build();

    let mut compiler = protox::Compiler::new(["proto", "third_party"])?;
    compiler.include_imports(true).include_source_info(true).open_files(PROTOS)?;

    // Not `file_descriptor_set()`: prost-types would drop options it does not know, such as
    // `debug_redact`.
    let encoded = compiler.encode_file_descriptor_set();
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), &encoded)?;

    let descriptors = prost_types::FileDescriptorSet::decode(&*encoded)?;
    tonic_prost_build::configure()
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .skip_debug(SECRETIVE.iter().map(|message| format!("{PACKAGE}.{message}")))
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"service\")]")
        .compile_fds(descriptors.clone())?;

    // The stubs that the service implements. They differ from the public ones in three ways: the
    // message of a watch is encoded once for all watchers, the sessions that a client adds are
    // decoded one by one, and the codec has small buffers.
    let serving = out.join("serving");
    fs::create_dir_all(&serving)?;
    tonic_prost_build::configure()
        .build_client(false)
        .codec_path("crate::proto::codec::Compact")
        .out_dir(serving)
        .extern_path(PACKAGE, "crate::proto")
        .extern_path(
            format!("{PACKAGE}.WatchSessionResponse"),
            "crate::proto::encoded::EncodedWatchResponse",
        )
        .extern_path(
            format!("{PACKAGE}.WatchSessionsResponse"),
            "crate::proto::encoded::WatchSessionsResponseParts",
        )
        .extern_path(
            format!("{PACKAGE}.WatchSessionsRequest"),
            "crate::proto::incoming::WatchSessionsRequestParts",
        )
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Sets the commit and the target that `--version` shows. The variable `REVISION` names the commit
/// where there is no repository, such as in the build of the image. Debug builds have none, because
/// each commit would compile the whole crate again.
fn name_build() {
    println!("cargo:rerun-if-env-changed=REVISION");
    let variable = |name| env::var_os(name).and_then(|value| value.into_string().ok());
    let given = variable("REVISION").filter(|revision| !revision.is_empty());
    let is_release = variable("PROFILE").is_some_and(|profile| profile == "release");
    let commit = given.or_else(|| is_release.then(head).flatten());
    println!("cargo:rustc-env=BUILD_COMMIT={}", commit.as_deref().unwrap_or("commit unknown"));
    println!("cargo:rustc-env=BUILD_TARGET={}", variable("TARGET").unwrap_or_default());
}

/// The commit of the repository. The build runs again when it changes.
fn head() -> Option<String> {
    let git = |words: &[&str]| {
        let output = Command::new("git").args(words).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    println!("cargo:rerun-if-changed={}", git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let is_changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if is_changed { format!("{commit}, changed") } else { commit })
}
