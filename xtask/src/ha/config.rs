//! What etcd and Patroni are told. Both read YAML, of which JSON is a part.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// Ports of one node.
pub(super) struct Ports {
    /// Where PostgreSQL listens.
    pub(super) postgres: u16,
    /// Where its standbys connect to it.
    pub(super) link: u16,
    /// Where Patroni answers.
    pub(super) patroni: u16,
}

/// One member keeps what the nodes agree upon: that etcd itself fails is not what is tried here.
pub(super) fn etcd(directory: &Path, client: u16, peer: u16) -> Value {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    json!({
        "name": "etcd",
        "data-dir": directory.join("data"),
        "listen-client-urls": url(client),
        "advertise-client-urls": url(client),
        "listen-peer-urls": url(peer),
        "initial-advertise-peer-urls": url(peer),
        // What Patroni speaks to. It is on by default, but not where there is a file.
        "enable-grpc-gateway": true,
        "initial-cluster": format!("etcd={}", url(peer)),
    })
}

/// One node's Patroni, and through it PostgreSQL.
pub(super) fn patroni(name: &str, directory: &Path, ports: &Ports, etcd: u16, programs: &Path) -> Value {
    let at = |port: u16| format!("127.0.0.1:{port}");
    json!({
        "scope": "operond",
        "name": name,
        "restapi": { "listen": at(ports.patroni), "connect_address": at(ports.patroni) },
        "etcd3": { "host": at(etcd) },
        "bootstrap": {
            "dcs": shared(),
            "initdb": ["data-checksums", { "encoding": "UTF8" }, { "locale": "C" }],
        },
        "postgresql": {
            "listen": at(ports.postgres),
            "connect_address": at(ports.link),
            "data_dir": directory.join("data"),
            "bin_dir": programs,
            "pgpass": directory.join("pgpass"),
            // They are never asked for: `pg_hba` trusts everyone. Patroni wants to have them.
            "authentication": {
                "superuser": { "username": "postgres", "password": "postgres" },
                "replication": { "username": "replicator", "password": "replicator" },
            },
            "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
            // A node always comes back, whatever it wrote that the others do not have.
            "remove_data_directory_on_rewind_failure": true,
            "remove_data_directory_on_diverged_timelines": true,
        },
    })
}

/// What all nodes have in common. It is read when the first of them starts; later it is changed through Patroni.
fn shared() -> Value {
    json!({
        "ttl": TTL.as_secs(),
        "loop_wait": 2,
        "retry_timeout": 5,
        // Without synchronous replication a standby shall be promoted that has lost much: that is what must show.
        "maximum_lag_on_failover": 1 << 30,
        "synchronous_mode": true,
        "synchronous_mode_strict": true,
        "postgresql": {
            "use_pg_rewind": true,
            "use_slots": true,
            "parameters": {
                "max_connections": 200,
                "shared_buffers": "64MB",
                "unix_socket_directories": "",
                // A cut is noticed after this time, not after a minute.
                "wal_sender_timeout": "10s",
                "wal_receiver_timeout": "10s",
                // As files of the data directory: a killed server leaves none behind in /dev/shm.
                "dynamic_shared_memory_type": "mmap",
            },
        },
    })
}

/// How long a node leads without being heard of: the least that Patroni allows, which wants to have
/// ttl >= loop_wait + 2 * retry_timeout.
pub(super) const TTL: Duration = Duration::from_secs(20);
