//! Who is known by a certificate, as a configuration file says; and what the audit says of it.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::sdk;
use crate::support::asking::Asking;
use crate::support::certificates::{Authority, Pair, written};
use crate::support::served::ended;
use crate::support::{command, http};

const RULES: &str = r#"
[[certificates]]
name = "worker-*.example"
principal = "the workers"
tenant = "acme"
roles = ["worker", "viewer"]
kinds = ["render"]
"#;

/// A server that asks clients for certificates, and knows some of them.
struct Certified {
    server: Asking,
    folder: tempfile::TempDir,
    clients: Authority,
}

impl Certified {
    fn start(rules: &str) -> Self {
        Self::start_with(rules, &[])
    }

    fn start_with(rules: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let pair = servers.sign(&["127.0.0.1"]);
        for (name, text) in [
            ("server.pem", &pair.certificate),
            ("server-key.pem", &pair.key),
            ("ca.pem", &servers.pem()),
            ("clients.pem", &clients.pem()),
            ("operond.toml", &rules.to_owned()),
        ] {
            written(folder.path(), name, text);
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let files = ["server.pem", "server-key.pem", "clients.pem", "operond.toml", "audit.jsonl"].map(path);
        let tls = ["--tls-listen", "127.0.0.1:0", "--tls-cert", &files[0], "--tls-key", &files[1]];
        let rest = ["--tls-client-ca", &files[2], "--config", &files[3], "--audit-log", &files[4]];
        let server = Asking::start(&[&tls[..], &rest, more].concat());
        Self { server, folder, clients }
    }

    /// A certificate for `name` and its key, in files.
    fn pair(&self, name: &str) -> [PathBuf; 2] {
        let Pair { certificate, key } = self.clients.sign(&[name]);
        let certificate = written(self.folder.path(), &format!("{name}.pem"), &certificate);
        [certificate, written(self.folder.path(), &format!("{name}-key.pem"), &key)]
    }

    /// What a Python library says of an operation, whether it shows this certificate or none.
    fn python(&self, library: &str, token: &str, id: &str, certificate: Option<&[PathBuf; 2]>) -> String {
        let mut python = sdk::python(library);
        python.args(["--endpoint", self.server.tls(), "--token", token, "--ca"]).arg(self.folder.path().join("ca.pem"));
        if let Some([certificate, key]) = certificate {
            python.arg("--certificate").arg(certificate).arg("--key").arg(key);
        }
        sdk::without_proxies(&mut python);
        let output = ended(python.arg(id));
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command that shows a certificate for `name`.
    fn as_client(&self, name: &str, arguments: &[&str]) -> Command {
        let [certificate, key] = self.pair(name);
        let mut operond = command();
        operond.args(arguments).arg("--ca").arg(self.folder.path().join("ca.pem"));
        operond.env("OPEROND_CERT", certificate).env("OPEROND_KEY", key).env_remove("OPEROND_TOKEN");
        operond.env("OPEROND_ENDPOINT", format!("https://{}", self.server.tls()));
        operond
    }
}

#[test]
fn a_certificate_stands_for_whom_a_rule_says_and_for_nobody_without_one() {
    let certified = Certified::start(RULES);
    let me = ended(&mut certified.as_client("worker-7.example", &["whoami", "-o", "json"]));
    assert!(me.status.success(), "{me:?}");
    let me: Value = serde_json::from_slice(&me.stdout).unwrap();
    let me = &me[0];
    assert_eq!((&me["principal"], &me["tenant"]), (&"the workers".into(), &"acme".into()), "{me}");
    assert_eq!((&me["credential"], &me["credentialId"]), (&"certificate".into(), &"worker-7.example".into()));
    assert_eq!(me["kinds"], serde_json::json!(["render"]));

    let stranger = ended(&mut certified.as_client("other.example", &["whoami"]));
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(!stranger.status.success() && said.contains("no rule is for a name"), "{said}");
    let denied = ended(&mut certified.as_client("worker-7.example", &["create", "render"]));
    let said = String::from_utf8_lossy(&denied.stderr).into_owned();
    assert!(!denied.status.success() && said.contains("Create takes one of the roles"), "{said}");

    // A key in the header counts, and the certificate does not.
    let admin = format!("@{}", certified.server.admin_key_file.as_ref().unwrap().display());
    let created =
        certified.as_client("worker-7.example", &["create", "render", "--tenant", "acme", "--token", &admin]).output();
    assert!(created.unwrap().status.success());
    let listed = ended(&mut certified.as_client("worker-7.example", &["list", "-o", "id"]));
    assert!(listed.status.success() && !listed.stdout.is_empty(), "{listed:?}");

    let Certified { mut server, folder, .. } = certified;
    server.stop();
    let audit = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused: Vec<_> = lines.iter().filter(|line| line["audit"] == "refused").collect();
    assert!(refused.iter().any(|line| line["who"] == "the workers" && line["credential"] == "certificate"), "{audit}");
    let created = lines.iter().find(|line| line["audit"] == "operation").unwrap();
    assert_eq!((&created["who"], &created["tenant"]), (&"admin".into(), &"acme".into()));
}

#[test]
fn unmodified_sdks_show_a_certificate_alone_or_beside_a_key() {
    let certified = Certified::start_with(RULES, &["--tls-client-required"]);
    let (admin, server) = (certified.server.admin(), &certified.server);
    let bearer = format!("Bearer {admin}");
    let call = |path: &str, body: Value| -> Value {
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let answer = http::call(server.http(), "POST", path, &headers, &body.to_string());
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    };
    let started = call("/api/v1/operations:start", json!({ "kind": "render", "tenant": "acme", "worker": "w" }));
    let id = started["operation"]["id"].as_str().unwrap();
    let response = json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": "готово" });
    call("/api/v1/work:complete", json!({ "lease": started["lease"], "response": response }));

    let (worker, other) = (certified.pair("worker-7.example"), certified.pair("other.example"));
    let viewer = server.key(&admin, "viewer", "acme", "viewer");
    let said = |library, token, certificate| certified.python(library, token, id, certificate);
    assert_eq!(said("google-grpc", "", Some(&worker)), "waiting\ndone готово\n");
    assert_eq!(said("yandex", &viewer, Some(&other)), "waiting\ndone готово\n");
    assert!(said("google-grpc", "", Some(&other)).starts_with("refused UNAUTHENTICATED"));
    assert!(said("yandex", &viewer, None).starts_with("refused UNAVAILABLE"), "the handshake fails");
}

#[test]
fn rules_that_could_come_to_nothing_are_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let config = written(folder.path(), "operond.toml", RULES);
    let store = format!("sqlite:{}", folder.path().join("x.db").display());
    for (arguments, expected) in [(&[][..], "--tls-client-ca"), (&["--insecure-no-auth"], "--insecure-no-auth")] {
        for words in [&["serve"][..], &["config", "check"]] {
            let mut operond = command();
            operond.args(words).args(["--store", &store, "--listen", "127.0.0.1:0", "--config"]).arg(&config);
            let output = ended(operond.args(arguments));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains(expected), "{said}");
        }
    }
    assert!(!folder.path().join("x.db").exists());
}
