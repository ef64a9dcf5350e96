//! What can be said to `operond worker exec`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use operond_core::limits::LEASE_RANGE;

use crate::cli::args::{Server, duration};

/// The program is started once for each attempt at an operation.
#[derive(Debug, Args)]
#[command(after_help = PROTOCOL)]
pub(crate) struct Exec {
    /// Which sort of work; may be given many times
    #[arg(long = "kind", value_name = "KIND", required = true)]
    pub(crate) kinds: Vec<String>,
    /// How many programs may run at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) concurrency: u16,
    /// What people see as the holder of a lease; host, process id and a random part unless said
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// How soon another worker takes over when this one has died
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = lease)]
    pub(crate) lease: Duration,
    /// How long a program may go on after SIGTERM, and all of them after this worker was told to stop
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) grace: Duration,
    #[command(flatten)]
    pub(crate) server: Server,
    /// The program, and what to call it with
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub(crate) command: Vec<OsString>,
}

const PROTOCOL: &str = "\
What the program gets, and what is made of it:
  stdin   the input as one line of JSON; nothing when the operation has none
  env     OPEROND_OPERATION_ID, OPEROND_KIND, OPEROND_ATTEMPT, and the worker's own, but for
          OPEROND_TOKEN and OPEROND_KEY: a program that calls the server is given a key of its own
  stdout  lines {\"progress\":{\"done\":1,\"total\":3,\"unit\":\"pages\",\"message\":\"…\"}} and
          {\"metadata\":{…}} are reported; the last other line is the response: JSON as such,
          any other text as a string. Blank lines say nothing
  stderr  is passed on, and its end is the end of the error's message
  exit    0 is success, everything else an error
On cancel its process group gets SIGTERM, and SIGKILL when the grace is over.";

fn lease(text: &str) -> Result<Duration, String> {
    let (shortest, longest) = LEASE_RANGE;
    let lease = duration(text)?;
    if (shortest..=longest).contains(&lease) {
        return Ok(lease);
    }
    Err(format!("it must be from {shortest:?} to {longest:?}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        exec: Exec,
    }

    fn parse(line: &str) -> Result<Exec, String> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        Whole::try_parse_from(words).map(|whole| whole.exec).map_err(|error| error.to_string())
    }

    #[test]
    fn what_follows_two_dashes_is_the_program_whatever_it_looks_like() {
        let exec = parse("--kind a --kind b --lease 5m --grace 0s -- tr --kind z").unwrap();
        assert_eq!(exec.kinds, ["a", "b"]);
        assert_eq!(exec.command, ["tr", "--kind", "z"]);
        assert_eq!((exec.lease.as_secs(), exec.grace.as_secs(), exec.concurrency), (300, 0, 1));
    }

    #[test]
    fn a_kind_and_a_program_are_required() {
        assert!(parse("-- true").unwrap_err().contains("--kind <KIND>"));
        assert!(parse("--kind a").unwrap_err().contains("PROGRAM"));
        assert!(parse("--kind a --").unwrap_err().contains("PROGRAM"));
    }

    #[test]
    fn a_lease_is_as_long_as_a_server_gives_one() {
        let refused = |lease: &str| parse(&format!("--kind a --lease {lease} -- true")).unwrap_err();
        assert!(refused("999ms").contains("it must be from 1s to 3600s"));
        assert!(refused("3601s").contains("it must be from 1s to 3600s"));
        parse("--kind a --lease 1s -- true").unwrap();
        parse("--kind a --lease 1h -- true").unwrap();
    }
}
