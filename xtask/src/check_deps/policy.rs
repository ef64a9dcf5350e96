//! Which dependencies the design allows. Changing a table here is a design decision: it goes into
//! a commit of its own, together with ARCHITECTURE.md.

/// What one of our crates may use of our other crates.
pub(super) struct Edges {
    /// The crate.
    pub(super) of: &'static str,
    /// What it is built from.
    pub(super) uses: &'static [&'static str],
    /// What its tests, examples and benches may use on top of that.
    pub(super) tests_use: &'static [&'static str],
}

/// Libraries that belong to one layer, with the crates of that layer.
pub(super) struct Layer {
    /// Package names.
    pub(super) libraries: &'static [&'static str],
    /// Crates that may be built from them.
    pub(super) only_in: &'static [&'static str],
    /// Crates whose tests may use them on top of that.
    pub(super) tests_in: &'static [&'static str],
    /// What the rule protects.
    pub(super) why: &'static str,
}

/// The licence of each of our own crates.
pub(super) const OUR_LICENSE: &str = "Apache-2.0 OR MIT";

/// The crate that is pure: no library at all, ours or not.
pub(super) const PURE: &str = "operond-core";

/// Every crate of the workspace, and the edges that go out of it.
pub(super) const HOUSE: &[Edges] = &[
    Edges { of: "operond-core", uses: &[], tests_use: &[] },
    Edges { of: "operond-store", uses: &["operond-core"], tests_use: &[] },
    Edges { of: "operond-store-sqlite", uses: &["operond-store", "operond-core"], tests_use: &[] },
    Edges { of: "operond-store-postgres", uses: &["operond-store", "operond-core"], tests_use: &[] },
    Edges { of: "operond-engine", uses: &["operond-store", "operond-core"], tests_use: &["operond-store-sqlite"] },
    Edges { of: "operond-proto", uses: &[], tests_use: &[] },
    Edges {
        of: "operond-server",
        uses: &["operond-engine", "operond-store", "operond-core", "operond-proto"],
        tests_use: &["operond-store-sqlite", "operond-client"],
    },
    Edges {
        of: "operond-client",
        uses: &["operond-proto"],
        tests_use: &["operond-server", "operond-engine", "operond-store", "operond-core"],
    },
    Edges {
        of: "operond",
        uses: &[
            "operond-client",
            "operond-server",
            "operond-proto",
            "operond-engine",
            "operond-store-sqlite",
            "operond-store-postgres",
            "operond-store",
            "operond-core",
        ],
        tests_use: &[],
    },
    Edges { of: "xtask", uses: &[], tests_use: &[] },
];

/// Libraries at their layer. A library that is in no row may be used by every crate but the pure one.
pub(super) const LAYERS: &[Layer] = &[
    Layer {
        libraries: &["rusqlite", "libsqlite3-sys"],
        only_in: &["operond-store-sqlite"],
        tests_in: &["operond"],
        why: "SQL and its driver live behind the Store trait",
    },
    Layer {
        libraries: &["tokio-postgres", "deadpool-postgres", "tokio-postgres-rustls"],
        only_in: &["operond-store-postgres"],
        tests_in: &["operond"],
        why: "SQL and its driver live behind the Store trait",
    },
    Layer {
        libraries: &["prost", "prost-types", "prost-build", "tonic", "tonic-prost"],
        only_in: &["operond-proto", "operond-server", "operond-client", "xtask"],
        tests_in: &["operond"],
        why: "the wire stays out of the engine, the stores and the command line",
    },
    Layer {
        libraries: &["prost-reflect", "tonic-health", "tonic-reflection", "tonic-types"],
        only_in: &["operond-server"],
        tests_in: &["operond-proto", "operond-client", "operond"],
        why: "faces are made in the server crate",
    },
    Layer {
        libraries: &["protox", "tonic-prost-build"],
        only_in: &["xtask"],
        tests_in: &["operond-proto"],
        why: "generated code is committed: who builds operond compiles no .proto file",
    },
    Layer {
        libraries: &["axum", "axum-core", "http-body-util", "hyper", "hyper-util", "rcgen", "tower-http"],
        only_in: &["operond-server"],
        tests_in: &["operond-client", "operond"],
        why: "HTTP is served in the server crate alone",
    },
    Layer {
        libraries: &["rustls", "rustls-native-certs", "rustls-pki-types", "tokio-rustls"],
        only_in: &["operond-server", "operond-client", "operond-store-postgres"],
        tests_in: &["operond"],
        why: "TLS is a matter of the two ends of a connection",
    },
    Layer {
        libraries: &["jsonwebtoken"],
        only_in: &["operond-server"],
        tests_in: &["operond"],
        why: "who calls is proved in the server crate alone",
    },
    Layer {
        libraries: &["aws-lc-rs"],
        only_in: &[],
        tests_in: &["operond-server", "operond"],
        why: "cryptography is reached through the libraries of TLS and tokens; only tests forge with it",
    },
    Layer {
        libraries: &["prometheus-client"],
        only_in: &["operond-server"],
        tests_in: &[],
        why: "metrics are a face: what they tell is asked of the engine",
    },
    Layer {
        libraries: &["x509-parser"],
        only_in: &["operond-server"],
        tests_in: &[],
        why: "who a certificate is for is read where connections are accepted",
    },
    Layer {
        libraries: &["tokio", "tokio-stream", "tokio-util", "futures"],
        only_in: &["operond-engine", "operond-server", "operond-client", "operond-store-postgres", "operond", "xtask"],
        tests_in: &[],
        why: "the rules are synchronous, and so is a store that waits for no network",
    },
    Layer {
        libraries: &["serde", "serde_json"],
        only_in: &["operond-server", "operond-client", "operond", "xtask"],
        tests_in: &["operond-proto"],
        why: "domain types have no wire form: each boundary has its own types",
    },
    Layer {
        libraries: &["anstream", "clap", "clap_complete", "comfy-table", "indicatif", "mimalloc", "tracing-subscriber"],
        only_in: &["operond"],
        tests_in: &["operond-engine", "operond-server", "operond-client"],
        why: "the terminal, the allocator and where logs go are chosen by the binary",
    },
    Layer {
        libraries: &["anyhow"],
        only_in: &["operond", "xtask"],
        tests_in: &[
            "operond-store",
            "operond-store-sqlite",
            "operond-engine",
            "operond-proto",
            "operond-server",
            "operond-client",
        ],
        why: "a library's errors say what the caller can do about them",
    },
    Layer {
        libraries: &["winnow"],
        only_in: &["operond-store"],
        tests_in: &[],
        why: "there is one grammar, that of list filters",
    },
    Layer {
        libraries: &["cargo_metadata"],
        only_in: &["xtask"],
        tests_in: &[],
        why: "only chores look at the workspace itself",
    },
];

/// Licences that a library may have, written exactly as its manifest writes them.
pub(super) const LICENSES: &[&str] = &[
    "(MIT OR Apache-2.0) AND Unicode-3.0",
    "0BSD OR MIT OR Apache-2.0",
    "Apache-2.0",
    "Apache-2.0 / MIT",
    "Apache-2.0 AND ISC",
    "Apache-2.0 OR BSL-1.0 OR MIT",
    "Apache-2.0 OR ISC OR MIT",
    "Apache-2.0 OR MIT",
    "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
    "BSD-3-Clause",
    "CC0-1.0 OR Apache-2.0 OR Apache-2.0 WITH LLVM-exception",
    "CC0-1.0 OR MIT-0 OR Apache-2.0",
    "ISC",
    "ISC AND (Apache-2.0 OR ISC)",
    "ISC AND (Apache-2.0 OR ISC) AND Apache-2.0 AND MIT AND BSD-3-Clause AND (Apache-2.0 OR ISC OR MIT) AND (Apache-2.0 OR ISC OR MIT-0)",
    "MIT",
    "MIT AND BSD-3-Clause",
    "MIT OR Apache-2.0",
    "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
    "MIT OR Zlib OR Apache-2.0",
    "MIT/Apache-2.0",
    "Unlicense OR MIT",
    "Zlib",
    "Zlib OR Apache-2.0 OR MIT",
];
