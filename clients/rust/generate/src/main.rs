//! The plugin that `buf generate` runs: messages by prost, clients by tonic, and the contract itself for protobuf JSON.
//!
//! It is prost-build and tonic-prost-build as they are, behind the protocol of plugins, because protoc-gen-prost and
//! protoc-gen-tonic take a `cargo install` each, and protox a second parser beside buf's.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use prost::Message;
use prost_types::FileDescriptorSet;
use prost_types::compiler::code_generator_response::{Feature, File};
use prost_types::compiler::{CodeGeneratorRequest, CodeGeneratorResponse};

fn main() -> Result<(), Box<dyn Error>> {
    let mut asked = Vec::new();
    io::stdin().read_to_end(&mut asked)?;
    let mut contract = FileDescriptorSet { file: CodeGeneratorRequest::decode(asked.as_slice())?.proto_file };
    let folder = std::env::temp_dir().join(format!("featsvc-generate-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let code = code(&contract, &folder);
    fs::remove_dir_all(&folder)?;

    for file in &mut contract.file {
        file.source_code_info = None;
    }
    let descriptors = format!("b\"{}\"\n", contract.encode_to_vec().escape_ascii());
    let reply = CodeGeneratorResponse {
        supported_features: Some(Feature::Proto3Optional as u64),
        file: vec![file("featsvc.v1.rs", code?), file("descriptors.in", descriptors)],
        ..Default::default()
    };
    io::stdout().write_all(&reply.encode_to_vec())?;
    Ok(())
}

/// The Rust code of all messages and services.
fn code(contract: &FileDescriptorSet, folder: &Path) -> io::Result<String> {
    tonic_prost_build::configure()
        .out_dir(folder)
        // A copy of a request, for another attempt, shares its picture.
        .bytes(".")
        // Servers are for the tests of this crate only.
        .server_mod_attribute(".", "#[cfg(test)]")
        .compile_fds(contract.clone())?;
    fs::read_to_string(folder.join("featsvc.v1.rs"))
}

fn file(name: &str, content: String) -> File {
    File { name: Some(name.to_owned()), content: Some(content), ..Default::default() }
}
