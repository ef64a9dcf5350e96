//! `types register`, `types list`, and the types that payloads are printed by.

use std::path::PathBuf;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use operond_client::Client;
use operond_client::proto::TypeFile;
use operond_server::json::Types;

use super::args::{self, Format};
use super::exit::Exit;
use super::{connect, print, text};

pub(super) async fn register(args: args::RegisterTypes) -> Result<Exit> {
    let client = connect(&args.server)?;
    let mut sets = Vec::new();
    for path in &args.files {
        sets.push((path, read(path)?));
    }
    for (path, set) in sets {
        let registered = client.register_types(set).await;
        let files = registered.with_context(|| format!("cannot register {}", path.display()))?;
        print(&shown(args.printing.output, &files))?;
    }
    Ok(Exit::Success)
}

pub(super) async fn list(args: args::ListTypes) -> Result<Exit> {
    let files: Vec<TypeFile> = connect(&args.server)?.list_all_types(false).try_collect().await?;
    print(&shown(args.printing.output, &files))?;
    Ok(Exit::Success)
}

/// Reads an encoded descriptor set.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn read(path: &PathBuf) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// All types that the server knows.
///
/// # Errors
/// It does not answer, or knows types that this program cannot read.
pub(super) async fn of_server(client: &Client) -> Result<Types> {
    let mut set = Vec::new();
    let mut files = std::pin::pin!(client.list_all_types(true));
    while let Some(file) = files.try_next().await? {
        // A FileDescriptorSet is its files, one after the other, each as the member 1.
        prost::encoding::bytes::encode(1, &file.descriptor, &mut set);
    }
    if set.is_empty() {
        return Ok(Types::builtin());
    }
    Ok(Types::builtin().with_descriptor_set(&set)?)
}

fn shown(format: Format, files: &[TypeFile]) -> String {
    let rows = files.iter().map(|file| [file.name.clone(), file.version.to_string(), file.messages.join(" ")]);
    text::messages(format, files, |file| &file.name, ["FILE", "VERSION", "MESSAGES"], rows)
}
