//! The audit on stdout, where a supervisor takes it up.

use serde_json::Value;

use crate::support::asking::{Asking, operond, printed};

#[test]
fn the_audit_can_go_to_stdout_a_line_of_json_each() {
    let mut server = Asking::start(&["--audit-log", "-"]);
    let admin = server.admin();
    let viewer = server.key(&admin, "viewer", "acme", "viewer");
    printed(server.http(), &admin, &["create", "k", "--tenant", "acme"]);
    assert!(!operond(server.http(), &viewer, &["create", "k"]).status.success());
    server.stop();
    let said = server.said().0;
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told: Vec<_> =
        lines.iter().map(|line| [&line["audit"], &line["who"]].map(|value| value.as_str().unwrap())).collect();
    assert_eq!(told, [["setting", "admin"], ["operation", "admin"], ["refused", "viewer"]], "{said}");
    assert!(![admin, viewer].iter().any(|key| said.contains(&**key)), "{said}");
}
