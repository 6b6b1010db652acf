//! Generates the contract's code from the `.proto` files with a compiler in pure Rust: nobody has
//! to install protoc.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

/// The contract. Everything that is generated comes from these.
const SERVICES: [&str; 11] = [
    "fusion/v1/types.proto",
    "fusion/v1/session_service.proto",
    "fusion/v1/event_service.proto",
    "fusion/v1/view_queries.proto",
    "fusion/v1/view_lists.proto",
    "fusion/v1/events.proto",
    "fusion/v1/view_live.proto",
    "fusion/v1/view_service.proto",
    "fusion/v1/job_service.proto",
    "fusion/v1/audit_records.proto",
    "fusion/v1/admin_service.proto",
];

/// What clients need beside it to print the details of an error; described by reflection, not
/// generated (`tonic-types` has the code).
const DETAILS: [&str; 2] = ["google/rpc/error_details.proto", "google/rpc/status.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=fusion");
    println!("cargo:rerun-if-changed=google");

    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let described = compile(SERVICES.iter().chain(&DETAILS))?;
    std::fs::write(out.join("fusion_descriptor.bin"), described.encode_to_vec())?;

    tonic_prost_build::configure()
        .bytes(".")
        .extern_path(".fusion.v1.ListEntriesResponse", "crate::entries::ListEntriesResponse")
        .extern_path(".fusion.v1.WatchViewResponse", "crate::live::WatchViewResponse")
        .codec_path("crate::codec::ContiguousCodec")
        .build_client(true)
        .build_server(true)
        .compile_fds(compile(&SERVICES)?)?;
    Ok(())
}

/// Parses files and what they import, comments included: `grpcurl describe` prints them.
fn compile<'a>(
    files: impl IntoIterator<Item = &'a &'static str>,
) -> Result<prost_types::FileDescriptorSet, Box<dyn Error>> {
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(files)?;
    Ok(compiler.file_descriptor_set())
}
