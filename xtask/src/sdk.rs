//! The client SDKs that the tests drive, unmodified and at pinned versions, under `target/sdk`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::debian::{PYTHON, Tool, run};
use crate::environment::{Environment, install_python};

/// Where the tests find the SDKs.
pub(crate) struct Sdks {
    /// A Python that can import `yandexcloud` and `google.api_core`.
    pub(crate) python: PathBuf,
    /// A directory for `NODE_PATH` that holds `@yandex-cloud/nodejs-sdk` and `google-gax`.
    pub(crate) node_modules: PathBuf,
    /// A program that drives the crate `google-cloud-longrunning`.
    pub(crate) rust: PathBuf,
}

/// Installs what is missing or was installed from other requirements; the rest is left as it is.
///
/// # Errors
/// Something that must be installed cannot be; the message says by which command.
pub(crate) fn set_up() -> anyhow::Result<Sdks> {
    let directory = crate::root().join("target/sdk");
    let scripts = crate::root().join("crates/operond/tests/sdk");
    let python = Environment {
        title: "Python SDKs",
        home: directory.join("venv"),
        product: "bin/python",
        requirements: vec![scripts.join("python/requirements.txt")],
        tools: &[PYTHON],
        install: install_python,
    };
    let node = Environment {
        title: "Node SDKs",
        home: directory.join("node"),
        product: "node_modules",
        requirements: ["package.json", "package-lock.json", ".npmrc"]
            .map(|name| scripts.join("node").join(name))
            .into(),
        tools: &[NODE, NPM],
        install: install_node,
    };
    let rust = build_rust(&scripts.join("rust"), &directory.join("rust"))?;
    Ok(Sdks { python: python.ensure()?, node_modules: node.ensure()?, rust })
}

/// Cargo itself knows what is built already, from which sources and versions: it needs no stamp.
fn build_rust(project: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    println!("==> Rust SDK: cargo build (the first time a minute or so)");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(project.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target))
    .context("building the Rust SDK's program")?;
    Ok(target.join("debug/operond-sdk-tests"))
}

fn install_node(environment: &Environment) -> anyhow::Result<()> {
    for file in &environment.requirements {
        let name = file.file_name().expect("requirements are files");
        fs::copy(file, environment.home.join(name)).with_context(|| format!("copying {}", file.display()))?;
    }
    run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&environment.home))
}

const NODE: Tool = Tool { probe: &["node", "--version"], package: "nodejs" };
const NPM: Tool = Tool { probe: &["npm", "--version"], package: "npm" };
