//! The verdict: facts about the workspace against the tables of the policy. Pure.

use std::fmt;

use super::policy::{Edges, HOUSE, LAYERS, LICENSES, Layer, OUR_LICENSE, PURE};

/// Everything that is judged.
#[derive(Default)]
pub(super) struct Facts {
    /// The crates of the workspace.
    pub(super) parts: Vec<Part>,
    /// Every other package in the lock file.
    pub(super) libraries: Vec<Library>,
}

/// One crate of the workspace.
pub(super) struct Part {
    pub(super) name: String,
    /// Relative to the root directory.
    pub(super) manifest_path: String,
    /// The manifest's text.
    pub(super) manifest: String,
    pub(super) license: Option<String>,
    pub(super) needs: Vec<Need>,
}

/// One line of a crate's dependencies.
pub(super) struct Need {
    pub(super) library: String,
    pub(super) when: When,
}

/// Who needs a dependency.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The crate itself, or its build script.
    Always,
    /// Its tests, examples and benches.
    Tests,
}

/// One package that is not ours.
pub(super) struct Library {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) license: Option<String>,
}

/// One thing that is not allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    what: String,
    place: String,
    remedy: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, place, remedy } = self;
        write!(f, "{what}\n  where: {place}\n  to do: {remedy}")
    }
}

/// All failures, in the order of the facts; none means that the design holds.
pub(super) fn judge(facts: &Facts) -> Vec<Failure> {
    let mut failures = Vec::new();
    for part in &facts.parts {
        failures.extend(judge_manifest(part));
        match HOUSE.iter().find(|edges| edges.of == part.name) {
            Some(edges) => failures.extend(
                part.needs
                    .iter()
                    .filter_map(|need| judge_edge(part, need, edges, facts).or_else(|| judge_layer(part, need))),
            ),
            None => failures.push(Failure {
                what: format!("crate `{}` has no place in the house", part.name),
                place: part.manifest_path.clone(),
                remedy: format!("give it a row in HOUSE ({POLICY}) and in ARCHITECTURE.md"),
            }),
        }
    }
    failures.extend(HOUSE.iter().filter_map(|edges| judge_row(edges, facts)));
    failures.extend(facts.libraries.iter().filter_map(judge_license));
    failures
}

fn judge_manifest(part: &Part) -> Vec<Failure> {
    let mut failures = Vec::new();
    if !inherits_lints(&part.manifest) {
        failures.push(Failure {
            what: format!("crate `{}` does not use the workspace's lints", part.name),
            place: part.manifest_path.clone(),
            remedy: "add the two lines `[lints]` and `workspace = true`".into(),
        });
    }
    if part.license.as_deref() != Some(OUR_LICENSE) {
        failures.push(Failure {
            what: format!("crate `{}` is not licensed {OUR_LICENSE}", part.name),
            place: part.manifest_path.clone(),
            remedy: "write `license.workspace = true` under `[package]`".into(),
        });
    }
    failures
}

/// Whether the section `[lints]` says `workspace = true`.
fn inherits_lints(manifest: &str) -> bool {
    manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[lints]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .any(|line| line.split_whitespace().collect::<String>() == "workspace=true")
}

/// An edge between two crates of ours, or out of the pure one.
fn judge_edge(part: &Part, need: &Need, edges: &Edges, facts: &Facts) -> Option<Failure> {
    let needed = need.library.as_str();
    if part.name == PURE && need.when == When::Always {
        return Some(Failure {
            what: format!("`{PURE}` uses `{needed}`, but it is pure: std only"),
            place: part.manifest_path.clone(),
            remedy: "move what needs the library to a crate above it".into(),
        });
    }
    let ours = facts.parts.iter().any(|part| part.name == needed);
    let allowed = edges.uses.contains(&needed) || need.when == When::Tests && edges.tests_use.contains(&needed);
    // A crate's tests may name the crate itself, to switch on one of its features.
    if !ours || allowed || need.when == When::Tests && needed == part.name {
        return None;
    }
    let user = user(part, need);
    Some(Failure {
        what: format!("{user} `{needed}`, an edge that the design does not have"),
        place: part.manifest_path.clone(),
        remedy: format!(
            "turn the dependency round or move the code; a new edge is a decision of its own: \
             HOUSE ({POLICY}) and ARCHITECTURE.md, in one commit"
        ),
    })
}

/// A library used in a layer that it does not belong to.
fn judge_layer(part: &Part, need: &Need) -> Option<Failure> {
    let layer = LAYERS.iter().find(|layer| layer.libraries.contains(&need.library.as_str()))?;
    let Layer { only_in, tests_in, why, .. } = layer;
    let name = part.name.as_str();
    if only_in.contains(&name) || need.when == When::Tests && tests_in.contains(&name) {
        return None;
    }
    let user = user(part, need);
    Some(Failure {
        what: format!("{user} `{}` at the wrong layer: {why}", need.library),
        place: part.manifest_path.clone(),
        remedy: format!("go through {}; or change LAYERS ({POLICY}) in a commit of its own", only_in.join(" or ")),
    })
}

/// A row of the house for a crate that is not there would let one in unseen.
fn judge_row(edges: &Edges, facts: &Facts) -> Option<Failure> {
    if facts.parts.iter().any(|part| part.name == edges.of) {
        return None;
    }
    Some(Failure {
        what: format!("the house has a row for `{}`, and no such crate", edges.of),
        place: POLICY.into(),
        remedy: "remove the row".into(),
    })
}

fn judge_license(library: &Library) -> Option<Failure> {
    let Library { name, version, license } = library;
    let what = match license.as_deref() {
        Some(license) if LICENSES.contains(&license) => return None,
        Some(license) => format!("`{name}` has a licence that is not in our list: {license}"),
        None => format!("`{name}` says nothing about its licence"),
    };
    Some(Failure {
        what,
        place: format!("{name} {version} (`cargo tree --workspace --target all -i {name}@{version}`)"),
        remedy: format!(
            "do without it, or, when its terms suit {OUR_LICENSE}, add the exact text to LICENSES \
             ({POLICY})"
        ),
    })
}

fn user(part: &Part, need: &Need) -> String {
    match need.when {
        When::Always => format!("`{}` uses", part.name),
        When::Tests => format!("a test of `{}` uses", part.name),
    }
}

const POLICY: &str = "xtask/src/check_deps/policy.rs";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_as_designed_is_allowed() {
        assert_eq!(verdict(&house()), Vec::<String>::new());
    }

    #[test]
    fn an_edge_that_the_design_lacks_is_refused() {
        let expected = "`operond-store` uses `operond-engine`, an edge that the design does not have";
        refused("operond-store", always("operond-engine"), expected);
    }

    #[test]
    fn a_test_may_use_a_store_that_its_crate_may_not() {
        let expected = "`operond-engine` uses `operond-store-sqlite`, an edge that the design does not have";
        allowed("operond-engine", tests("operond-store-sqlite"));
        refused("operond-engine", always("operond-store-sqlite"), expected);
    }

    #[test]
    fn tests_have_their_own_edges_and_not_all_of_them() {
        let expected = "a test of `operond-store` uses `operond-server`, an edge that the design does not have";
        refused("operond-store", tests("operond-server"), expected);
    }

    #[test]
    fn a_crates_tests_may_name_the_crate_itself() {
        allowed("operond-store", tests("operond-store"));
    }

    #[test]
    fn a_driver_outside_its_store_is_refused() {
        let expected =
            "`operond-server` uses `rusqlite` at the wrong layer: SQL and its driver live behind the Store trait";
        refused("operond-server", always("rusqlite"), expected);
        allowed("operond-store-sqlite", always("rusqlite"));
        allowed("operond-store-postgres", always("tokio-postgres"));
    }

    #[test]
    fn the_binarys_tests_may_speak_grpc_and_the_binary_may_not() {
        let expected = "`operond` uses `tonic` at the wrong layer: the wire stays out of the engine, the stores and the command line";
        allowed("operond", tests("tonic"));
        refused("operond", always("tonic"), expected);
    }

    #[test]
    fn the_pure_crate_uses_no_library_and_its_tests_may() {
        let expected = "`operond-core` uses `smallvec`, but it is pure: std only";
        refused("operond-core", always("smallvec"), expected);
        allowed("operond-core", tests("proptest"));
    }

    #[test]
    fn a_library_of_no_layer_is_free() {
        allowed("operond-engine", always("blake3"));
    }

    #[test]
    fn a_crate_without_a_row_is_refused() {
        let mut facts = house();
        facts.parts.push(part("operond-helpers"));
        assert_eq!(verdict(&facts), ["crate `operond-helpers` has no place in the house"]);
    }

    #[test]
    fn a_row_without_a_crate_is_refused() {
        let mut facts = house();
        facts.parts.retain(|part| part.name != "operond-client");
        assert_eq!(verdict(&facts), ["the house has a row for `operond-client`, and no such crate"]);
    }

    #[test]
    fn a_licence_must_be_in_the_list_letter_by_letter() {
        let license = |text: Option<&str>| {
            let mut facts = house();
            facts.libraries.push(Library {
                name: "somelib".into(),
                version: "1.2.3".into(),
                license: text.map(Into::into),
            });
            verdict(&facts)
        };
        assert_eq!(license(Some("MIT")), Vec::<String>::new());
        assert_eq!(
            license(Some("MIT OR GPL-3.0")),
            ["`somelib` has a licence that is not in our list: MIT OR GPL-3.0"]
        );
        assert_eq!(license(None), ["`somelib` says nothing about its licence"]);
    }

    #[test]
    fn our_crates_have_our_licence() {
        let mut facts = house();
        facts.parts[0].license = Some("MIT".into());
        assert_eq!(verdict(&facts), ["crate `operond-core` is not licensed Apache-2.0 OR MIT"]);
    }

    #[test]
    fn every_crate_uses_the_workspaces_lints() {
        let lints = |manifest: &str| {
            let mut facts = house();
            facts.parts[0].manifest = manifest.into();
            verdict(&facts)
        };
        let refused = ["crate `operond-core` does not use the workspace's lints"];
        assert_eq!(lints("[lints]\nworkspace=true\n"), Vec::<String>::new());
        assert_eq!(lints("[package]\nversion.workspace = true\n"), refused);
        assert_eq!(lints("[lints]\nworkspace = false\n"), refused);
        assert_eq!(lints("[lints]\n[lints.rust]\nworkspace = true\n"), refused);
    }

    #[test]
    fn a_failure_says_what_and_where_and_what_to_do() {
        let mut facts = house();
        add(&mut facts, "operond-client", always("axum"));
        assert_eq!(
            judge(&facts)[0].to_string(),
            "`operond-client` uses `axum` at the wrong layer: HTTP is served in the server crate alone\n  \
             where: crates/client/Cargo.toml\n  \
             to do: go through operond-server; or change LAYERS (xtask/src/check_deps/policy.rs) in a commit of its own"
        );
    }

    fn allowed(name: &str, need: Need) {
        let mut facts = house();
        add(&mut facts, name, need);
        assert_eq!(verdict(&facts), Vec::<String>::new());
    }

    fn refused(name: &str, need: Need, what: &str) {
        let mut facts = house();
        add(&mut facts, name, need);
        assert_eq!(verdict(&facts), [what]);
    }

    fn verdict(facts: &Facts) -> Vec<String> {
        judge(facts).into_iter().map(|failure| failure.what).collect()
    }

    /// A workspace in which every crate uses what the design lets it use.
    fn house() -> Facts {
        let mut facts = Facts::default();
        for (name, uses) in [
            ("operond-core", &[][..]),
            ("operond-store", &["operond-core"][..]),
            ("operond-store-sqlite", &["operond-store", "rusqlite"]),
            ("operond-store-postgres", &["operond-store", "tokio-postgres"]),
            ("operond-engine", &["operond-store", "tokio"]),
            ("operond-proto", &["prost", "tonic"]),
            ("operond-server", &["operond-engine", "axum", "rustls"]),
            ("operond-client", &["operond-proto", "tonic"]),
            ("operond", &["operond-server", "operond-client", "clap"]),
            ("xtask", &["anyhow", "protox"]),
        ] {
            let mut part = part(name);
            part.needs = uses.iter().map(|library| always(library)).collect();
            facts.parts.push(part);
        }
        facts
    }

    fn part(name: &str) -> Part {
        let directory = name.strip_prefix("operond-").unwrap_or(name);
        Part {
            name: name.into(),
            manifest_path: format!("crates/{directory}/Cargo.toml"),
            manifest: "[package]\n\n[lints]\nworkspace = true\n\n[dependencies]\n".into(),
            license: Some("Apache-2.0 OR MIT".into()),
            needs: Vec::new(),
        }
    }

    fn add(facts: &mut Facts, name: &str, need: Need) {
        let part = facts.parts.iter_mut().find(|part| part.name == name);
        part.unwrap().needs.push(need);
    }

    fn always(library: &str) -> Need {
        Need { library: library.into(), when: When::Always }
    }

    fn tests(library: &str) -> Need {
        Need { library: library.into(), when: When::Tests }
    }
}
