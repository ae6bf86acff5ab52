//! Generates the protobuf code that `hustings` commits, so that its users need neither protoc nor a build script.
//!
//! `HUSTINGS_REWRITE=1 cargo test -p hustings-codegen` rewrites the committed files; without it the test compares.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use tonic_prost_build::Builder;

const PACKAGE_FILE: &str = "hustings.v1.rs";
const HEADER: &str = "// Generated from src/wire/hustings.proto by the package hustings-codegen: do not edit.\n\n";

/// A generated file.
#[derive(Debug)]
pub struct Generated {
    /// Where it is committed, from the root of the repository.
    pub path: &'static str,
    /// What it must hold.
    pub content: String,
}

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Generates every file.
///
/// # Errors
/// The description cannot be compiled. Nothing was written.
pub fn generate() -> Result<[Generated; 2], Box<dyn Error>> {
    let messages =
        tonic_prost_build::configure().build_client(false).build_server(false).bytes(".hustings.v1.Record.proclaimed");
    // The service speaks the messages of the core; its codec converts, so that limits hold before anything is allocated.
    let service = tonic_prost_build::configure()
        .build_transport(false)
        .extern_path(".hustings.v1", "crate::message")
        .codec_path("crate::transport::grpc::codec::ElectionCodec");
    Ok([
        Generated { path: "src/wire/proto.rs", content: compile(messages)? },
        Generated { path: "src/transport/grpc/service.rs", content: compile(service)? },
    ])
}

fn compile(builder: Builder) -> Result<String, Box<dyn Error>> {
    let sources = root().join("src/wire");
    let descriptors = protox::compile(["hustings.proto"], [&sources])?;
    let directory = tempfile::tempdir()?;
    builder.out_dir(directory.path()).compile_fds(descriptors)?;
    let code = fs::read_to_string(directory.path().join(PACKAGE_FILE))?;
    Ok(format!("{HEADER}{code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_code_is_what_the_description_gives() {
        for Generated { path, content } in generate().expect("the description compiles") {
            let file = root().join(path);
            if std::env::var_os("HUSTINGS_REWRITE").is_some() {
                fs::write(&file, &content).expect("the file can be written");
            }
            let committed = fs::read_to_string(&file).unwrap_or_default();
            assert!(
                committed == content,
                "{path} is out of date: run HUSTINGS_REWRITE=1 cargo test -p hustings-codegen"
            );
        }
    }
}
