//! A server that asks for certificates, and one whose certificates are replaced while it runs.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::certificates::{Authority, Pair, written};
use crate::support::served::ended;
use crate::support::{Server, command};

/// A server with files of its own.
struct Secured {
    server: Server,
    directory: TempDir,
}

impl Secured {
    /// A server with a certificate by `servers`, which requires one by `clients`.
    fn start(servers: &Authority, clients: &Authority) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let pair = servers.sign(&["127.0.0.1"]);
        written(directory.path(), "clients.pem", &clients.pem());
        written(directory.path(), "ca.pem", &servers.pem());
        write_pair(directory.path(), "server", &pair);
        write_pair(directory.path(), "client", &clients.sign(&["worker.example"]));
        let files = ["server.pem", "server-key.pem", "clients.pem"].map(path);
        let server = Server::serve_with(
            &format!("sqlite:{}", path("operond.db")),
            &[
                &["--tls-listen", "127.0.0.1:0", "--tls-cert", &files[0], "--tls-key", &files[1]][..],
                &["--tls-client-ca", &files[2], "--tls-client-required"],
            ]
            .concat(),
        );
        Self { server, directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A command that trusts the server and shows no certificate.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut operond = command();
        // What follows two dashes is another program's.
        let (own, others) =
            arguments.split_at(arguments.iter().position(|word| *word == "--").unwrap_or(arguments.len()));
        operond.args(own).args(["--ca", &self.path("ca.pem")]).args(others);
        operond.env("OPEROND_ENDPOINT", format!("https://{}", self.server.tls)).stdin(Stdio::null());
        operond
    }

    /// The same with the client's certificate.
    fn known(&self, arguments: &[&str]) -> Command {
        let mut operond = self.command(arguments);
        operond.env("OPEROND_CERT", self.path("client.pem")).env("OPEROND_KEY", self.path("client-key.pem"));
        operond
    }
}

fn write_pair(directory: &Path, name: &str, pair: &Pair) {
    written(directory, &format!("{name}.pem"), &pair.certificate);
    written(directory, &format!("{name}-key.pem"), &pair.key);
}

/// A worker that is killed in the end.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn who_shows_a_certificate_is_served_and_who_does_not_is_told_what_is_missing() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let secured = Secured::start(&servers, &clients);
    let refused = ended(&mut secured.command(&["list"]));
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("ask for a certificate") && said.contains("--cert FILE"), "{said}");

    let other = Authority::new("others").sign(&["worker.example"]);
    write_pair(secured.directory.path(), "other", &other);
    let [certificate, key] = ["other.pem", "other-key.pem"].map(|name| secured.path(name));
    let refused = ended(&mut secured.command(&["list", "--cert", &certificate, "--key", &key]));
    let said = stderr(&refused);
    assert!(!refused.status.success() && said.contains("an authority it knows"), "{said}");

    let [certificate, key] = ["client.pem", "client-key.pem"].map(|name| secured.path(name));
    let listed = ended(&mut secured.command(&["list", "--cert", &certificate, "--key", &key]));
    assert!(listed.status.success(), "{listed:?}");
    let _worker = Worker(secured.known(&["worker", "exec", "--kind", "k", "--", "cat"]).spawn().unwrap());
    let done = ended(&mut secured.known(&["create", "k", "--input", "\"x\"", "--wait", "-o", "json"]));
    assert!(done.status.success() && String::from_utf8_lossy(&done.stdout).contains("SUCCEEDED"), "{done:?}");
}

#[test]
fn a_certificate_without_its_key_or_without_tls_is_wrong_on_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let pair = Authority::new("clients").sign(&["worker.example"]);
    write_pair(directory.path(), "client", &pair);
    let [certificate, key] =
        ["client.pem", "client-key.pem"].map(|name| directory.path().join(name).display().to_string());
    let said = |arguments: &[&str]| {
        let output = ended(command().arg("list").args(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        stderr(&output)
    };
    assert!(said(&["--cert", &certificate]).contains("--key <FILE>"));
    assert!(said(&["--key", &key]).contains("--cert <FILE>"));
    let plain = said(&["--cert", &certificate, "--key", &key, "--endpoint", "http://127.0.0.1:1"]);
    assert!(plain.contains("over https:// alone"), "{plain}");
}

#[test]
fn files_for_clients_that_cannot_be_used_are_told_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let pair = Authority::new("servers").sign(&["127.0.0.1"]);
    write_pair(directory.path(), "server", &pair);
    let path = |name: &str| directory.path().join(name).display().to_string();
    let [store, certificate, key] = [format!("sqlite:{}", path("x.db")), path("server.pem"), path("server-key.pem")];
    let serve = ["serve", "--store", &store, "--listen", "127.0.0.1:0"];
    let tls = ["--tls-listen", "127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
    let said = |arguments: &[&str]| {
        let output = ended(command().args(arguments));
        assert!(!output.status.success(), "{output:?}");
        stderr(&output)
    };
    let said_of = |arguments: &[&str]| said(&[&serve[..], &tls, arguments].concat());
    assert!(said_of(&["--tls-client-ca", &path("absent.pem")]).contains("absent.pem"));
    assert!(said_of(&["--tls-client-ca", &key]).contains("server-key.pem: holds no certificate"));
    let crl = said_of(&["--tls-client-ca", &certificate, "--tls-client-crl", &certificate]);
    assert!(crl.contains("server.pem: holds no revocation list"), "{crl}");
    assert!(said_of(&["--tls-client-required"]).contains("--tls-client-ca"));
    assert!(said_of(&["--tls-client-crl", &certificate]).contains("--tls-client-ca"));
    assert!(said(&[&serve[..], &["--tls-client-ca", &certificate]].concat()).contains("--tls-cert"));
}

/// Every command before is refused, for clients do not trust what is served then.
#[test]
fn a_certificate_that_is_replaced_is_served_without_a_restart() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let secured = Secured::start(&servers, &clients);
    assert!(ended(&mut secured.known(&["list"])).status.success());
    let others = Authority::new("others");
    write_pair(secured.directory.path(), "server", &others.sign(&["127.0.0.1"]));
    written(secured.directory.path(), "ca.pem", &others.pem());
    let began = Instant::now();
    loop {
        let output = ended(&mut secured.known(&["list"]));
        if output.status.success() {
            break;
        }
        assert!(stderr(&output).contains("invalid peer certificate"), "{output:?}");
        assert!(began.elapsed() < Duration::from_secs(30), "{output:?}");
    }
}
