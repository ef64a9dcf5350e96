//! The program that an operator wants as a worker.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;

use operond_client::{Assignment, Code, Failure};
use rustix::fs::Access;
use rustix::io::Errno;
use tokio::process::Command;

use super::tail::escaped;

/// A program and what it is started with.
#[derive(Debug)]
pub(super) struct Program {
    path: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// From the words after `--`; the first is the program.
    pub(super) fn new(words: Vec<OsString>) -> Self {
        let mut words = words.into_iter();
        Self { path: words.next().unwrap_or_default(), arguments: words.collect() }
    }

    /// For messages: as it was given, but short and fit for a terminal.
    pub(super) fn name(&self) -> String {
        self.path.to_string_lossy().chars().take(NAME_CHARS_MAX).map(escaped).collect()
    }

    /// Whether it can be found in `search` (a `PATH`) and may be executed. It is looked for again
    /// whenever it is started, so that it may be replaced meanwhile.
    pub(super) fn is_executable(&self, search: Option<&OsStr>) -> bool {
        if self.path.as_bytes().contains(&b'/') {
            return is_executable(Path::new(&self.path));
        }
        let folders = search.map(std::env::split_paths).into_iter().flatten();
        !self.path.is_empty() && folders.map(|folder| folder.join(&self.path)).any(|path| is_executable(&path))
    }

    /// How it is started for `assignment`: in a process group of its own, so that a signal reaches
    /// what it starts in turn, and Ctrl-C at this worker does not. It does not get the worker's own credentials: what it
    /// is made to do may be chosen by whoever creates operations.
    pub(super) fn command(&self, assignment: &Assignment) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_remove("OPEROND_TOKEN")
            .env_remove("OPEROND_KEY")
            .env("OPEROND_OPERATION_ID", assignment.id())
            .env("OPEROND_KIND", &assignment.operation().kind)
            .env("OPEROND_ATTEMPT", assignment.attempt().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// A program that is not there or is none is as wrong at the next attempt: that is final. What a
    /// machine is short of (processes, memory, open files) comes back: that is tried again.
    pub(super) fn not_started(&self, error: &io::Error) -> Failure {
        let message = format!("{} cannot be started: {error}", self.name());
        let wrong = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
            || error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error());
        if wrong { Failure::new(Code::FailedPrecondition, message) } else { Failure::retry(Code::Unavailable, message) }
    }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

/// Escaped, it still leaves room in every message that it is part of.
const NAME_CHARS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(path: impl Into<OsString>) -> Program {
        Program::new(vec![path.into()])
    }

    #[test]
    fn a_program_is_looked_for_in_the_path_unless_it_names_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("here");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        let search = std::env::join_paths([Path::new("/nowhere"), folder.path()]).unwrap();
        let found = |path: &OsStr| program(path).is_executable(Some(&search));

        assert!(!found("here".as_ref()), "it must be executable");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(found("here".as_ref()));
        assert!(found(file.as_os_str()));
        assert!(!found("./here".as_ref()));
        assert!(!found("there".as_ref()));
        assert!(!found("".as_ref()));
        assert!(!found(folder.path().as_os_str()), "a folder is no program");
        assert!(!program("here").is_executable(None));
    }

    #[test]
    fn its_name_is_short_and_fit_for_a_terminal() {
        assert_eq!(program("/bin/a\x1b[1m\n").name(), r"/bin/a\u{1b}[1m\n");
        assert_eq!(program("x".repeat(500)).name().len(), 100);
    }

    #[test]
    fn only_what_a_machine_is_short_of_is_tried_again() {
        let failure = |errno: Errno| program("p").not_started(&io::Error::from(errno));
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::NOEXEC] {
            let message = format!("p cannot be started: {}", io::Error::from(errno));
            assert_eq!(failure(errno), Failure::new(Code::FailedPrecondition, message));
        }
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::TXTBSY] {
            let message = format!("p cannot be started: {}", io::Error::from(errno));
            assert_eq!(failure(errno), Failure::retry(Code::Unavailable, message));
        }
    }
}
