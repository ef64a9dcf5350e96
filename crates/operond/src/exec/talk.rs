//! What goes through the pipes of a program while it runs.

use operond_client::{Any, Assignment, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::child::Pipes;
use super::lines::{Output, Report};
use super::tail::Tail;

/// What a program has said so far.
#[derive(Debug)]
pub(super) struct Said {
    output: Output,
    pub(super) stderr: Tail,
    /// It has been complained about a malformed report: once is enough for a log.
    complained: bool,
}

impl Said {
    pub(super) fn new() -> Self {
        Self { output: Output::new(), stderr: Tail::default(), complained: false }
    }

    /// Takes the last line for finished and says what the response is.
    pub(super) fn response(&mut self, assignment: &Assignment) -> Option<Any> {
        if let Some(report) = self.output.end() {
            self.complained |= tell(assignment, report, self.complained);
        }
        self.output.response()
    }
}

/// Writes the input, reports what is to be reported, and passes on standard error, until all pipes
/// are closed at the other end. `overlong` is fired, and standard output closed, by a line that is too
/// long.
pub(super) async fn talk(pipes: Pipes, assignment: &Assignment, said: &mut Said, overlong: &CancellationToken) {
    let Said { output, stderr, complained } = said;
    tokio::join!(
        feed(pipes.stdin, assignment.input()),
        listen(pipes.stdout, output, assignment, complained, overlong),
        pass_on(pipes.stderr, stderr),
    );
}

/// One line of JSON, or nothing.
async fn feed(mut stdin: ChildStdin, input: Option<&Any>) {
    let Some(input) = input else { return };
    let line = format!("{}\n", json::plain(input));
    // A program need not read its input, and may close it.
    if let Err(error) = stdin.write_all(line.as_bytes()).await {
        debug!(%error, "the input was not read");
    }
}

async fn listen(
    mut stdout: ChildStdout,
    output: &mut Output,
    assignment: &Assignment,
    complained: &mut bool,
    overlong: &CancellationToken,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Some(bytes) = read(stdout.read(&mut buffer).await) {
        let Ok(reports) = output.push(&buffer[..bytes]) else {
            overlong.cancel();
            return;
        };
        for report in reports {
            *complained |= tell(assignment, report, *complained);
        }
    }
}

/// Keeps the end of it, and lets an operator see all of it. What programs write at the same time is
/// mixed there, as it is in a shell.
async fn pass_on(mut stderr: ChildStderr, tail: &mut Tail) {
    let mut ours = tokio::io::stderr();
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Some(bytes) = read(stderr.read(&mut buffer).await) {
        tail.push(&buffer[..bytes]);
        // Nobody may be looking any more; the program is not to suffer from it.
        if let Err(error) = ours.write_all(&buffer[..bytes]).await {
            debug!(%error, "standard error was not passed on");
        }
        // Else the last piece might stay behind.
        _ = ours.flush().await;
    }
}

/// Tells the server; whether it was malformed. The first one that is gets a warning.
fn tell(assignment: &Assignment, report: Report, complained: bool) -> bool {
    match report {
        Report::Progress(progress) => assignment.progress(progress),
        Report::Metadata(metadata) => assignment.metadata(metadata),
        Report::Malformed(problem) if complained => debug!(operation = assignment.id(), "report ignored: {problem}"),
        Report::Malformed(problem) => {
            warn!(operation = assignment.id(), "a line of the program is ignored: {problem}");
            return true;
        }
    }
    false
}

/// How many bytes were read; `None` at the end, which an error is, too.
fn read(read: std::io::Result<usize>) -> Option<usize> {
    read.ok().filter(|bytes| *bytes > 0)
}

const BUFFER_BYTES: usize = 16 * 1024;
