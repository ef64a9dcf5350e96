//! Somebody else at the database, whose session stays open.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use operond_store_postgres::cluster::programs;

/// A running `psql`, ended when dropped.
pub(crate) struct Psql {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Psql {
    /// A session at the database, in the schema that the URL names; none if the database lets nobody in.
    pub(crate) fn open(url: &str) -> Option<Self> {
        let mut child = Command::new(programs().join("psql"))
            .args(["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"])
            .args(["--dbname", url])
            // What PG… variables say is meant for other servers.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut session = Self { child, answers };
        session.try_run("SELECT 1").is_some().then_some(session)
    }

    /// Runs statements, and returns when they have been; their rows, a line each.
    #[track_caller]
    pub(crate) fn run(&mut self, sql: &str) -> String {
        self.try_run(sql).unwrap_or_else(|| panic!("{sql} failed"))
    }

    /// The same; none if they fail, or the session has ended.
    pub(crate) fn try_run(&mut self, sql: &str) -> Option<String> {
        writeln!(self.child.stdin.as_mut().unwrap(), "{sql};\n\\echo {DONE}").ok()?;
        let mut rows = String::new();
        while self.answers.read_line(&mut rows).ok()? > 0 {
            if let Some(rows) = rows.strip_suffix(&format!("{DONE}\n")) {
                return Some(rows.trim_end().to_owned());
            }
        }
        None
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

const DONE: &str = "that-was-all";
