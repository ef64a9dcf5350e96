//! Five minutes with the README: every snippet works when pasted, one after the other.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use crate::support::{Server, command, sdk};

const README: &str = include_str!("../../../../README.md");

/// Fences and what becomes of them. Rust is compiled and run as a doc test of the engine.
#[test]
fn the_snippets_of_the_readme_work_when_pasted() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_in(&directory.path().join("operond-data"), &["--demo"]);
    let place = Place { directory: directory.path(), server: &server };
    let mut workers = Vec::new();
    let mut counts = [0; 4];
    for Snippet { language, text } in snippets() {
        match language {
            "console" | "rust" | "sh setup" | "text" => {}
            "sh worker" => workers.push(Worker(place.shell(text).spawn().unwrap())),
            "sh" => {
                let output = place.shell(text).output().unwrap();
                assert_went_well(text, &output);
                counts[0] += 1;
            }
            "python" => {
                std::fs::write(directory.path().join("snippet.py"), place.localized(text)).unwrap();
                assert_went_well(text, &place.program(sdk::python(), "snippet.py").output().unwrap());
                counts[1] += 1;
            }
            "javascript" => {
                std::fs::write(directory.path().join("snippet.js"), place.localized(text)).unwrap();
                assert_went_well(text, &place.program("node".into(), "snippet.js").output().unwrap());
                counts[2] += 1;
            }
            other => panic!("the README has a snippet in {other:?}, which no test pastes"),
        }
    }
    counts[3] = workers.len();
    assert_eq!(counts, [8, 2, 1, 1], "snippets pasted: sh, python, javascript, workers");
}

struct Snippet {
    language: &'static str,
    text: &'static str,
}

fn snippets() -> impl Iterator<Item = Snippet> {
    README.split("\n```").skip(1).step_by(2).map(|block| {
        let (language, text) = block.split_once('\n').unwrap();
        Snippet { language, text }
    })
}

/// Where snippets are pasted: a folder with the server's data, and the binary on the path.
struct Place<'a> {
    directory: &'a Path,
    server: &'a Server,
}

impl Place<'_> {
    /// The README's ports are the defaults; the test's server has others.
    fn localized(&self, text: &str) -> String {
        let plain = self.server.http.rsplit(':').next().unwrap();
        let tls = self.server.tls.rsplit(':').next().unwrap();
        text.replace("7467", plain).replace("7468", tls)
    }

    fn shell(&self, text: &str) -> Command {
        let mut shell = self.program("bash".into(), "-euo");
        shell.args(["pipefail", "-c", &self.localized(text)]);
        shell
    }

    fn program(&self, program: PathBuf, argument: &str) -> Command {
        let binary = PathBuf::from(command().get_program());
        let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(program);
        command.arg(argument).current_dir(self.directory).env("PATH", path);
        command.env("OPEROND_ENDPOINT", &self.server.http).env("NODE_PATH", sdk::node_modules());
        command
    }
}

/// A worker that a snippet started, stopped at the end.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn assert_went_well(text: &str, output: &Output) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\nsaid\n{stdout}\n{stderr}");
    let refused = stdout.contains(r#""code":"#) && stdout.contains("ErrorInfo");
    assert!(!refused, "{text}\nwas refused\n{stdout}\n{stderr}");
}
