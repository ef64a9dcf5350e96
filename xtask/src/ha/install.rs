//! The programs of an ensemble, under `target/ha` where the machine does not have them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::debian::{Tool, is_root, run};
use crate::environment::{Environment, install_python};
use crate::postgres;

/// Where the programs are.
pub(super) struct Programs {
    /// The directory of PostgreSQL's.
    pub(super) postgres: PathBuf,
    pub(super) patroni: PathBuf,
    pub(super) etcd: PathBuf,
}

/// Installs what is missing.
///
/// # Errors
/// Something cannot be installed; the message says by which command.
pub(super) fn set_up() -> anyhow::Result<Programs> {
    let directory = crate::root().join("target/ha");
    let patroni = Environment {
        title: "Patroni",
        home: directory.join("venv"),
        product: "bin/patroni",
        requirements: vec![crate::root().join("xtask/ha/requirements.txt")],
        tools: &[PYTHON],
        install: install_python,
    };
    let etcd = Environment {
        title: "etcd",
        home: directory.join("etcd"),
        product: "usr/bin/etcd",
        requirements: Vec::new(),
        tools: &[APT],
        install: unpack_etcd,
    };
    let has_etcd = ETCD.works();
    Ok(Programs {
        postgres: postgres::set_up()?,
        patroni: patroni.ensure()?,
        etcd: if has_etcd { ETCD.probe[0].into() } else { etcd.ensure()? },
    })
}

/// Debian's package starts a service when it is installed. It is one program that needs nothing else: it only has to
/// be unpacked, which anybody may.
fn unpack_etcd(environment: &Environment) -> anyhow::Result<()> {
    if is_root() {
        run(Command::new("apt-get").args(["update", "--quiet"]))?;
    }
    let home = &environment.home;
    run(Command::new("apt-get").args(["download", "--quiet", "etcd-server"]).current_dir(home))?;
    let mut files = fs::read_dir(home).with_context(|| format!("reading {}", home.display()))?;
    let package = files.next().context("apt-get has downloaded nothing")??.path();
    run(Command::new("dpkg-deb").arg("--extract").args([&package, home]))
}

/// Not just any Python: one that lies in root's home is out of reach for the user `postgres`.
const PYTHON: Tool = Tool { probe: &["/usr/bin/python3", "-c", "import ensurepip, venv"], package: "python3-venv" };
const ETCD: Tool = Tool { probe: &["etcd", "--version"], package: "etcd-server" };
const APT: Tool = Tool { probe: &["apt-get", "--version"], package: "apt" };
