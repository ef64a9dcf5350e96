//! `cargo xtask check-deps`: the architecture's edges, enforced instead of hoped for.

mod judge;
mod policy;

use std::fs;
use std::process::ExitCode;

use anyhow::Context;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use judge::{Facts, Library, Need, Part, When, judge};

/// Judges the workspace as it lies on disk and prints every failure.
///
/// # Errors
/// `cargo metadata` does not answer, or a manifest cannot be read.
pub(crate) fn check() -> anyhow::Result<ExitCode> {
    let metadata = MetadataCommand::new()
        .manifest_path(crate::root().join("Cargo.toml"))
        .exec()
        .context("asking cargo for the dependencies")?;
    let facts = facts(&metadata)?;
    let failures = judge(&facts);
    for failure in &failures {
        eprintln!("error: {failure}");
    }
    if failures.is_empty() {
        println!("check-deps: {} crates and {} libraries keep to the rules", facts.parts.len(), facts.libraries.len());
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("check-deps: {} to mend", failures.len());
    Ok(ExitCode::FAILURE)
}

/// What the judge needs to know, out of everything cargo tells.
fn facts(metadata: &Metadata) -> anyhow::Result<Facts> {
    let mut facts = Facts::default();
    for package in &metadata.packages {
        if metadata.workspace_members.contains(&package.id) {
            facts.parts.push(part(package, metadata)?);
        } else {
            facts.libraries.push(Library {
                name: package.name.to_string(),
                version: package.version.to_string(),
                license: package.license.clone(),
            });
        }
    }
    Ok(facts)
}

fn part(package: &Package, metadata: &Metadata) -> anyhow::Result<Part> {
    let path = &package.manifest_path;
    let manifest = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    let needs = package.dependencies.iter().map(|dependency| Need {
        library: dependency.name.clone(),
        when: match dependency.kind {
            DependencyKind::Development => When::Tests,
            _ => When::Always,
        },
    });
    Ok(Part {
        name: package.name.to_string(),
        manifest_path: path.strip_prefix(&metadata.workspace_root).unwrap_or(path).to_string(),
        license: package.license.clone(),
        manifest,
        needs: needs.collect(),
    })
}
