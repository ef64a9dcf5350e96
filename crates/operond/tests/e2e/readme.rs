//! Five minutes with the README: every snippet works when pasted, one after the other.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::support::certificates::{Authority, written};
use crate::support::{Server, command, sdk};

const README: &str = include_str!("../../../../README.md");

/// Fences and what becomes of them. Rust is compiled and run as a doc test of the engine.
#[test]
fn the_snippets_of_the_readme_work_when_pasted() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_in(&directory.path().join("operond-data"), &["--demo"]);
    let mut place = Place::new(directory.path(), &server);
    let mut beside = Vec::new();
    let mut counts = [0; 4];
    for Snippet { language, text } in snippets() {
        match language {
            "console" | "rust" | "text" => {}
            // What is exported there is so in the terminal from then on.
            "sh setup" => place.setup.push_str(text),
            "sh worker" => beside.push(Beside(place.shell(text).spawn().unwrap())),
            "sh server" => beside.push(place.serve(text)),
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
            "toml" => assert_went_well(text, &place.checked(text)),
            other => panic!("the README has a snippet in {other:?}, which no test pastes"),
        }
    }
    counts[3] = beside.len();
    assert_eq!(counts, [10, 2, 1, 3], "snippets pasted: sh, python, javascript, and what runs beside them");
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
    setup: String,
    /// The README's ports, which are the defaults and the one after, and those that they stand for here.
    ports: Vec<(&'static str, String)>,
}

impl<'a> Place<'a> {
    fn new(directory: &'a Path, server: &'a Server) -> Self {
        let port = |url: &str| url.rsplit(':').next().unwrap().to_owned();
        let ports = vec![("7467", port(&server.http)), ("7468", port(&server.tls))];
        Self { directory, server, setup: String::new(), ports }
    }

    fn localized(&self, text: &str) -> String {
        self.ports.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
    }

    fn shell(&self, text: &str) -> Command {
        let mut shell = self.program("bash".into(), "-euo");
        shell.args(["pipefail", "-c", &self.localized(&format!("{}\n{text}", self.setup))]);
        shell
    }

    /// Starts a second server, which listens where there is room, and goes on when it says where that is.
    fn serve(&mut self, text: &str) -> Beside {
        let text = text.replace(SECOND_PORT, "0");
        let mut server = self.shell(&format!("exec {text}"));
        let mut server = Beside(server.stdout(Stdio::piped()).spawn().unwrap());
        let mut said = BufReader::new(server.0.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "{text}\nended");
        }
        self.ports.push((SECOND_PORT, line.trim().rsplit(':').next().unwrap().to_owned()));
        std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
        server
    }

    /// What `config check` says of a file, beside which the certificates are that it names.
    fn checked(&self, text: &str) -> Output {
        let authority = Authority::new("the authority of workers");
        let pair = authority.sign(&["localhost"]);
        for (name, text) in [
            ("operond.toml", &*text.replace("/var/log/operond", ".")),
            ("server.pem", &pair.certificate),
            ("server-key.pem", &pair.key),
            ("workers-ca.pem", &authority.pem()),
        ] {
            written(self.directory, name, text);
        }
        command().args(["config", "check", "--config", "operond.toml"]).current_dir(self.directory).output().unwrap()
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

/// A worker or a server that a snippet started, stopped at the end.
struct Beside(Child);

impl Drop for Beside {
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

/// Where the README's server listens that asks callers who they are.
const SECOND_PORT: &str = "7470";
