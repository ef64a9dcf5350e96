//! The project's own chores: `cargo xtask <chore>`. What CI does is made of these, so that the
//! same command answers the same way on every machine.
//!
//! * `bench [SECONDS]`: what calls cost the server, beside a null call.
//! * `bench --postgres [SECONDS]`: what whole lives cost in a PostgreSQL database, beside tables written by hand.
//! * `check-deps`: do the crates depend only on what the design lets them depend on?
//! * `ha [FAILOVERS] [SEED]`: what becomes of acknowledged writes when PostgreSQL fails over under load.
//! * `ha --check`: bring up a PostgreSQL that fails over, break it in every way, measure the recovery.
//! * `lag`: how late stock clients learn of a result, with the held Get and without.
//! * `proto [--check]`: make the generated code from the `.proto` files, or say that it is stale.
//! * `test [ARGS…]`: set up PostgreSQL and the client SDKs that the tests drive, then run every test.

mod bench;
mod check_deps;
mod debian;
mod environment;
mod ha;
mod openapi;
mod postgres;
mod proto;
mod sdk;
mod test;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["bench", "--postgres", seconds @ ..] => bench::postgres(seconds),
        ["bench", seconds @ ..] => bench::lives(seconds),
        ["lag"] => bench::lag(),
        ["check-deps"] => check_deps::check(),
        ["ha", "--check"] => ha::check(),
        ["ha", arguments @ ..] => ha::failovers(arguments),
        ["proto"] => proto::generate(false).map(|()| ExitCode::SUCCESS),
        ["proto", "--check"] => proto::generate(true).map(|()| ExitCode::SUCCESS),
        ["test", cargo_test_arguments @ ..] => test::run(cargo_test_arguments),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprint!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// The directory of the root manifest.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root directory")
}

const USAGE: &str = "\
cargo xtask CHORE

  bench [SECONDS]  measure what calls cost, beside a null call in the same run; 3 s a figure
  bench --postgres [SECONDS]
                   measure whole lives in PostgreSQL, beside SQLite and tables written by hand
  check-deps       fail on a dependency, a licence or a manifest that the design does not allow
  ha [FAILOVERS] [SEED]
                   fail-overs of PostgreSQL under load: is anything lost that was acknowledged? 12 of them
  ha --check       bring up three PostgreSQL under Patroni, break them in every way, measure the recovery
  lag              measure how late stock clients learn of a result, with the held Get and without
  proto [--check]  generate code from the .proto files; --check only compares
  test [ARGS...]   set up PostgreSQL, and client SDKs under target/sdk, then run every test;
                   ARGS go to `cargo test` in the place of `--workspace --all-targets`
";
