//! What starts an ensemble's processes, and ends them when we end, however we do.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, bail, ensure};

use super::install::Programs;
use crate::debian::is_root;

/// A shell that lives until its input ends, as it does when we do. As root, it and all that it starts belong to the
/// user `postgres`.
///
/// Each process works in a directory below `home`, and so do those that it starts, with or without our knowing: that
/// is how they are found.
pub(super) struct Keeper {
    shell: Child,
    answers: BufReader<ChildStdout>,
    pub(super) home: PathBuf,
}

impl Keeper {
    /// Makes `home` and starts the shell.
    ///
    /// # Errors
    /// There is no user to run PostgreSQL, or he cannot run Patroni.
    pub(super) fn start(programs: &Programs) -> anyhow::Result<Self> {
        let user = if is_root() { Some((id("-u")?, id("-g")?)) } else { None };
        let as_user = |mut command: Command| {
            if let Some((user, group)) = user {
                command.uid(user).gid(group);
            }
            command
        };
        let mut probe = as_user(Command::new(&programs.patroni));
        let probe = probe.arg("--version").current_dir("/").stdout(Stdio::null()).status();
        let runs = probe.is_ok_and(|status| status.success());
        ensure!(runs, "{} does not run: can the user `postgres` reach it?", programs.patroni.display());

        let mut command = as_user(Command::new("sh"));
        command.args(["-c", KEEPER, "keeper"]).args([&programs.etcd, &programs.patroni]);
        // In a group of its own, for a terminal sends its interrupts to all processes of ours.
        command.current_dir("/").process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        // What PATRONI_… and PG… variables say is meant for others.
        let kept = ["PATH", "TMPDIR"].map(|name| (name, std::env::var_os(name)));
        command.env_clear().envs(kept.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let mut shell = command.spawn().context("starting a shell")?;
        let mut answers = BufReader::new(shell.stdout.take().context("it is piped")?);
        let home = line(&mut answers)?.into();
        Ok(Self { shell, answers, home })
    }

    /// Has the shell do something; false if it fails.
    pub(super) fn ask(&mut self, request: &str) -> anyhow::Result<bool> {
        let requests = self.shell.stdin.as_mut().context("it is piped")?;
        writeln!(requests, "{request}").context("asking the shell")?;
        Ok(line(&mut self.answers)? == "0")
    }

    /// Sends a signal to all processes that work in a directory or below it; says how many there were.
    pub(super) fn signal(&mut self, signal: &str, directory: &Path) -> anyhow::Result<usize> {
        let processes = processes_in(directory);
        if !processes.is_empty() {
            // One that has ended meanwhile is no failure.
            self.ask(&format!("signal {signal} {}", processes.join(" ")))?;
        }
        Ok(processes.len())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // This closes its input first.
        let _ended = self.shell.wait();
    }
}

fn processes_in(directory: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter(|process| {
        // Only those of our user can be read, and ours are.
        fs::read_link(process.path().join("cwd")).is_ok_and(|works_in| works_in.starts_with(directory))
    });
    let names = processes.filter_map(|process| process.file_name().into_string().ok());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

fn id(of: &str) -> anyhow::Result<u32> {
    let output = Command::new("id").args([of, "postgres"]).output().context("starting id")?;
    let number = String::from_utf8_lossy(&output.stdout).trim().parse();
    number.context("PostgreSQL refuses to be run by root, and there is no user `postgres` to run it instead")
}

fn line(answers: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    if answers.read_line(&mut line).context("reading the shell's answer")? == 0 {
        bail!("the shell that keeps the processes has ended");
    }
    Ok(line.trim_end().to_owned())
}

/// Reads requests, and answers each by its status.
const KEEPER: &str = r#"
etcd=$1
patroni=$2
# To answer when nobody is left to hear it must not end the shell before it has cleared up.
trap '' PIPE
home=$(mktemp -d "${TMPDIR:-/tmp}/operond-ha-XXXXXX") || exit 1
exec 2>"$home/log"
mkdir "$home/etcd" "$home/node0" "$home/node1" "$home/node2"
echo "$home"
while read -r verb arguments; do
    case $verb in
    etcd) (cd "$home/etcd" && exec "$etcd" --config-file config.json >>log 2>&1) & ;;
    patroni) (cd "$home/$arguments" && exec "$patroni" config.json >>log 2>&1) & ;;
    signal) kill -$arguments ;;
    esac </dev/null >&2
    echo $?
done
while working=$(find /proc/[0-9]*/cwd -maxdepth 0 -lname "$home/*"); [ "$working" ]; do
    kill -KILL $(echo "$working" | tr -cd '0-9\n')
done
# A server that was killed leaves a segment of shared memory behind, and a file that names it.
for file in "$home"/node?/data/postmaster.pid; do
    [ -f "$file" ] && ipcrm -m "$(sed -n '7s/.* //p' "$file")"
done
rm -rf "$home"
"#;
