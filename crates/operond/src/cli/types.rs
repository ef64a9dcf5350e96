//! `types register`, `types list`, and the types that payloads are printed by.

use std::path::PathBuf;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use operond_client::proto::TypeFile;
use operond_client::{Any, Client, Operation, Outcome};
use operond_server::json::Types;

use super::args::{self, Format};
use super::exit::Exit;
use super::{connect, print, text};

pub(super) async fn register(args: args::RegisterTypes) -> Result<Exit> {
    let client = connect(&args.server)?;
    // All are read before the first is registered: what is not there is noticed in time.
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let sets = args.files.iter().map(read).collect::<Result<Vec<_>>>()?;
    for (path, set) in args.files.iter().zip(sets) {
        let registered = client.register_types(set).await;
        let files = registered.with_context(|| format!("cannot register {}", path.display()))?;
        print(&shown(args.printing.output, &files)?)?;
    }
    Ok(Exit::Success)
}

pub(super) async fn list(args: args::ListTypes) -> Result<Exit> {
    let files: Vec<TypeFile> = connect(&args.server)?.list_all_types(false).try_collect().await?;
    print(&shown(args.printing.output, &files)?)?;
    Ok(Exit::Success)
}

/// The types to print these operations by: asked for when there is a payload that this program does not know.
/// A server that does not say them, or says some that cannot be read here, leaves bytes: better than nothing.
pub(super) async fn of(client: &Client, format: Format, operations: &[Operation]) -> Types {
    let builtin = Types::builtin();
    if format == Format::Id || operations.iter().flat_map(payloads).all(|payload| builtin.knows(&payload.type_url)) {
        return builtin;
    }
    let set = client.descriptor_set().await.unwrap_or_default();
    builtin.with_descriptor_set(&set).unwrap_or(builtin)
}

fn payloads(operation: &Operation) -> impl Iterator<Item = &Any> {
    let (error, response) = match &operation.result {
        Some(Outcome::Error(error)) => (Some(error), None),
        Some(Outcome::Response(response)) => (None, Some(response)),
        None => (None, None),
    };
    let details = error.into_iter().chain(&operation.last_attempt_error).flat_map(|error| &error.details);
    operation.input.iter().chain(&operation.metadata).chain(response).chain(details)
}

fn shown(format: Format, files: &[TypeFile]) -> Result<String> {
    let list = |file: &TypeFile| {
        Ok(text::Listed {
            name: file.name.clone(),
            json: Types::builtin().to_json(file)?,
            cells: [file.name.clone(), file.version.to_string(), file.messages.join(" ")],
        })
    };
    let files = files.iter().map(list).collect::<Result<Vec<_>>>()?;
    Ok(text::listed(format, ["FILE", "VERSION", "MESSAGES"], &files))
}
