//! How late stock clients learn that an operation is done, and with how many Gets, with the held Get off and on.
//!
//! `cargo xtask lag`, after `cargo xtask test` has installed the clients.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// What a script prints.
#[derive(serde::Deserialize)]
struct Measured {
    lags: Vec<f64>,
    gets: u32,
}

fn main() -> Result<()> {
    // `cargo test --all-targets` runs it as well, without the word: there it only has to build.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    println!(
        "{:16} {:>9} {:>12} {:>12} {:>19}",
        "client", "held Get", "median lag", "longest lag", "Gets per operation"
    );
    for (name, script, client) in [
        ("Yandex, Python", "python/lag.py", "yandex"),
        ("Yandex, Node", "node/lag.js", "yandex"),
        ("Google, Python", "python/lag.py", "google"),
        ("Google, Node", "node/lag.js", "google"),
    ] {
        for held in ["0s", "20s"] {
            let Measured { mut lags, gets } = measure(script, client, held).with_context(|| name.to_owned())?;
            lags.sort_by(f64::total_cmp);
            let (median, longest) = (lags[lags.len() / 2], lags[lags.len() - 1]);
            let per_operation = f64::from(gets) / lags.len() as f64;
            println!("{name:16} {held:>9} {:>9.0} ms {:>9.0} ms {per_operation:19.1}", median * 1e3, longest * 1e3);
        }
    }
    Ok(())
}

fn measure(script: &str, client: &str, held: &str) -> Result<Measured> {
    let data = tempfile::tempdir()?;
    let server = Server::start(data.path(), held)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(script);
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/sdk");
    let program = if script.starts_with("python") { installed.join("venv/bin/python") } else { "node".into() };
    let output = Command::new(program)
        .arg(path)
        .env("NODE_PATH", installed.join("node/node_modules"))
        .args(["--endpoint", &server.tls, "--rest", &server.http, "--ca"])
        .arg(data.path().join("ca.pem"))
        .arg(client)
        .output()
        .context("cannot start the client: `cargo xtask test` installs it")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A running `operond dev`, killed when dropped.
struct Server {
    child: Child,
    http: String,
    tls: String,
}

impl Server {
    fn start(data: &Path, held: &str) -> Result<Self> {
        let mut child = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_operond")))
            .args(["dev", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", "--held-get", held, "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("it has a stdout")?).lines();
        let mut address = |scheme: &str| -> Result<String> {
            for line in lines.by_ref() {
                if let Some(word) = line?.split_whitespace().find(|word| word.starts_with(scheme)) {
                    return Ok(word.to_owned());
                }
            }
            anyhow::bail!("the server ended before it said where it listens")
        };
        let (http, tls) = (address("http://")?, address("https://")?.replace("https://", ""));
        Ok(Self { child, http, tls })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}
