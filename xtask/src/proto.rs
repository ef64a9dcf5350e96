//! Makes `crates/proto/src/gen/` from `crates/proto/proto/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use prost_types::FileDescriptorSet;
use protox::Compiler;

use crate::openapi;

/// Compiles the `.proto` files and writes what is made from them: Rust code, the descriptor set, the OpenAPI
/// document. With `check` writes nothing and fails when a file on disk differs from what would be written.
///
/// # Errors
/// A `.proto` file that does not compile, a directory that cannot be read or written, or (with
/// `check`) stale files, by name.
pub(crate) fn generate(check: bool) -> anyhow::Result<()> {
    let proto_crate = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/proto");
    let sources = proto_crate.join("proto");
    let target = proto_crate.join("src/gen");

    let mut wanted = rust_files(&sources)?;
    wanted.insert(DESCRIPTORS.into(), descriptors(&sources, false)?);
    wanted.insert(OPENAPI.into(), openapi::document(&descriptors(&sources, true)?)?);
    let present = read_all(&target)?;
    if check {
        return compare(&wanted, &present);
    }
    for stale in present.keys().filter(|name| !wanted.contains_key(*name)) {
        fs::remove_file(target.join(stale)).with_context(|| format!("removing {stale}"))?;
    }
    fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
    for (name, content) in &wanted {
        fs::write(target.join(name), content).with_context(|| format!("writing {name}"))?;
    }
    Ok(())
}

/// The Rust code, by file name.
fn rust_files(sources: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut set: FileDescriptorSet = {
        let mut compiler = compiler(sources)?;
        compiler.include_source_info(true);
        compiler.file_descriptor_set()
    };
    // Annotations are read through the descriptors, so that types for them would be dead code.
    set.file.retain(|file| file.package() != "google.api");

    let scratch = tempfile::tempdir().context("creating a scratch directory")?;
    let mut config = prost_build::Config::new();
    config.enable_type_names().type_name_domain(["."], "type.googleapis.com");
    tonic_prost_build::configure()
        .out_dir(scratch.path())
        .compile_fds_with_config(set, config)
        .context("generating Rust code")?;
    read_all(scratch.path())
}

/// The encoded descriptor set, with comments or without.
fn descriptors(sources: &Path, comments: bool) -> anyhow::Result<Vec<u8>> {
    let mut compiler = compiler(sources)?;
    compiler.include_source_info(comments);
    // Encoded by the compiler itself: prost types would lose the annotations.
    Ok(compiler.encode_file_descriptor_set())
}

/// A compiler that has read every source and every well-known type.
fn compiler(sources: &Path) -> anyhow::Result<Compiler> {
    let mut compiler = Compiler::new([sources])?;
    compiler.include_imports(true);
    let files = proto_files(sources, Path::new(""))?;
    ensure!(!files.is_empty(), "no .proto files in {}", sources.display());
    for file in files.iter().map(PathBuf::as_path).chain(WELL_KNOWN.map(Path::new)) {
        compiler.open_file(file).with_context(|| format!("compiling {}", file.display()))?;
    }
    Ok(compiler)
}

/// Every `.proto` file under `root`, relative to it, in a stable order.
fn proto_files(root: &Path, below: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let directory = root.join(below);
    let mut found = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            found.extend(proto_files(root, &path)?);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Name and content of every file in a directory; none when it does not exist.
fn read_all(directory: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    if !directory.exists() {
        return Ok(files);
    }
    for entry in fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))? {
        let entry = entry?;
        let content = fs::read(entry.path()).with_context(|| format!("reading {}", entry.path().display()))?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), content);
    }
    // An empty package (google.protobuf is not generated) must not leave an empty file.
    files.retain(|_, content| !content.is_empty());
    Ok(files)
}

fn compare(wanted: &BTreeMap<String, Vec<u8>>, present: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    let mut stale: Vec<&str> = Vec::new();
    stale.extend(wanted.iter().filter(|(name, content)| present.get(*name) != Some(content)).map(|(name, _)| &**name));
    stale.extend(present.keys().filter(|name| !wanted.contains_key(*name)).map(|name| &**name));
    if !stale.is_empty() {
        bail!("crates/proto/src/gen differs from crates/proto/proto in {}: run `cargo xtask proto`", stale.join(", "));
    }
    Ok(())
}

const DESCRIPTORS: &str = "descriptors.bin";
const OPENAPI: &str = "openapi.json";

/// Compiled even when nothing imports them: any of them may be inside an Any.
const WELL_KNOWN: [&str; 11] = [
    "google/protobuf/any.proto",
    "google/protobuf/api.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/empty.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/source_context.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
    "google/protobuf/type.proto",
    "google/protobuf/wrappers.proto",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_code_is_what_the_sources_generate() {
        generate(true).unwrap();
    }

    #[test]
    fn changed_missing_and_superfluous_files_are_named() {
        let files = |pairs: &[(&str, &str)]| -> BTreeMap<String, Vec<u8>> {
            pairs.iter().map(|(name, content)| ((*name).into(), (*content).into())).collect()
        };
        let wanted = files(&[("same", "1"), ("changed", "1"), ("missing", "1")]);
        let present = files(&[("same", "1"), ("changed", "2"), ("superfluous", "1")]);

        let problem = compare(&wanted, &present).unwrap_err().to_string();
        assert!(problem.contains("in changed, missing, superfluous:"), "{problem}");
        compare(&wanted, &wanted).unwrap();
    }
}
