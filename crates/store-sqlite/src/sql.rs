//! Every statement there is, each one constant, all of them held against their query plans below.
//!
//! They pick rows and write by id and revision. None decides a transition.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $sql;)*

        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)*];
    };
}

/// Columns that other rows or indexes hang on; written once.
macro_rules! key_columns {
    () => {
        "id, tenant, kind, created_at"
    };
}

/// Columns that indexes are made of: an update that leaves them alone leaves the indexes alone.
macro_rules! place_columns {
    () => {
        "state, claimable, available_at, expires_at"
    };
}

/// The other columns of an operation that change.
macro_rules! fact_columns {
    () => {
        "due_at, revision, modified_at, backoff, lease_expires_at, finished_at, queue_deadline, run_deadline, \
         grace_deadline, started_at, attempt, lease_token, lease_secret, worker, lease_duration, lease_given_up, \
         lease_answered, cancel_at, cancel_by, cancel_reason, progress_unit, progress_message, progress_done, \
         progress_total, events, attempt_error, failure, metadata_type_url, metadata_value, error, \
         response_type_url, response_value"
    };
}

/// Columns of a spec but its input.
macro_rules! spec_columns {
    () => {
        "description, created_by, labels, cancellable, clean_up_on_cancel, queue_timeout, run_timeout, \
         max_attempts, cancel_grace, retention_succeeded, retention_failed, retention_cancelled, response_type, \
         metadata_type"
    };
}

/// The keys of a list: seven ranges, one for each state, merged in the order of the list. Whether a
/// state is asked for is the same for each of its rows: that is tested once, before its loop begins.
macro_rules! of_the_states {
    ($range:literal, $order:literal) => {
        concat!(
            "SELECT created_at, id, seq FROM operations WHERE ?5 & 2 AND state = 1 AND ",
            $range,
            " UNION ALL ",
            "SELECT created_at, id, seq FROM operations WHERE ?5 & 4 AND state = 2 AND ",
            $range,
            " UNION ALL ",
            "SELECT created_at, id, seq FROM operations WHERE ?5 & 8 AND state = 3 AND ",
            $range,
            " UNION ALL ",
            "SELECT created_at, id, seq FROM operations WHERE ?5 & 16 AND state = 4 AND ",
            $range,
            " UNION ALL ",
            "SELECT created_at, id, seq FROM operations WHERE ?5 & 32 AND state = 5 AND ",
            $range,
            " UNION ALL ",
            "SELECT created_at, id, seq FROM operations WHERE ?5 & 64 AND state = 6 AND ",
            $range,
            " UNION ALL ",
            "SELECT created_at, id, seq FROM operations WHERE ?5 & 128 AND state = 7 AND ",
            $range,
            $order
        )
    };
}

statements! {
    /// By id; the columns in the order in which `columns` reads them.
    OPERATION_BY_ID = concat!(
        "SELECT ", key_columns!(), ", ", place_columns!(), ", ", fact_columns!(), ", ", spec_columns!(),
        ", input_type_url, input_value FROM operations JOIN specs USING (seq) WHERE id = ?1"
    );
    /// The same columns, without the input.
    OPERATION_BY_SEQ = concat!(
        "SELECT ", key_columns!(), ", ", place_columns!(), ", ", fact_columns!(), ", ", spec_columns!(),
        ", NULL, NULL FROM operations JOIN specs USING (seq) WHERE operations.seq = ?1"
    );
    INSERT_OPERATION = concat!(
        "INSERT INTO operations (", key_columns!(), ", ", place_columns!(), ", ", fact_columns!(), ") \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
         ?, ?, ?, ?, ?, ?)"
    );
    INSERT_SPEC = concat!(
        "INSERT INTO specs (seq, ", spec_columns!(), ", input_type_url, input_value) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    );
    UPDATE_OPERATION = concat!(
        "UPDATE operations SET (", fact_columns!(), ", ", place_columns!(), ") = \
         (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         WHERE id = ? AND revision = ?"
    );
    /// For a change that moves it in no index but that of its timers.
    UPDATE_FACTS = concat!(
        "UPDATE operations SET (", fact_columns!(), ") = \
         (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         WHERE id = ? AND revision = ?"
    );
    DELETE_SPEC = "DELETE FROM specs WHERE seq = (SELECT seq FROM operations WHERE id = ?1)";
    DELETE_OPERATION = "DELETE FROM operations WHERE id = ?1 AND revision = ?2";
    /// Takes a row that cannot be read out of the way of claims and timers.
    SET_ASIDE = "UPDATE operations SET claimable = NULL, due_at = NULL, expires_at = NULL WHERE id = ?1";

    /// Backoffs that are over: their operations can be claimed from now on.
    END_BACKOFFS =
        "UPDATE operations SET claimable = 1 WHERE seq IN (SELECT seq FROM operations \
         WHERE claimable = 0 AND available_at <= ?1 ORDER BY available_at LIMIT ?2)";
    /// The next tenant, by name, that has something of a kind to be claimed.
    NEXT_TENANT =
        "SELECT tenant FROM operations WHERE claimable = 1 AND kind = ?1 AND tenant > ?2 ORDER BY tenant LIMIT 1";
    /// What a tenant has of a kind, the longest claimable first, behind a place in that order.
    CLAIMABLE =
        "SELECT available_at, id FROM operations WHERE claimable = 1 AND kind = ?1 AND tenant = ?2 \
         AND (available_at, id) > (?3, ?4) ORDER BY available_at, id LIMIT ?5";
    DUE = "SELECT due_at, id FROM operations WHERE due_at <= ?1 ORDER BY due_at, id LIMIT ?2";
    EXPIRED = "SELECT expires_at, id FROM operations WHERE expires_at <= ?1 ORDER BY expires_at, id LIMIT ?2";

    /// Keys of a list: behind ?1 created_at and ?2 id, before ?3 and ?4 of the same, in the states of
    /// the mask ?5 (bit n: state n), of the kind ?6.
    LIST_NEWEST = of_the_states!(
        "(created_at, id) < (?1, ?2) AND (created_at, id) > (?3, ?4)",
        " ORDER BY created_at DESC, id DESC"
    );
    LIST_OLDEST = of_the_states!(
        "(created_at, id) > (?1, ?2) AND (created_at, id) < (?3, ?4)",
        " ORDER BY created_at, id"
    );
    LIST_KIND_NEWEST = of_the_states!(
        "kind = ?6 AND (created_at, id) < (?1, ?2) AND (created_at, id) > (?3, ?4)",
        " ORDER BY created_at DESC, id DESC"
    );
    LIST_KIND_OLDEST = of_the_states!(
        "kind = ?6 AND (created_at, id) > (?1, ?2) AND (created_at, id) < (?3, ?4)",
        " ORDER BY created_at, id"
    );

    /// The same, of the tenant ?6.
    LIST_TENANT_NEWEST = of_the_states!(
        "tenant = ?6 AND (created_at, id) < (?1, ?2) AND (created_at, id) > (?3, ?4)",
        " ORDER BY created_at DESC, id DESC"
    );
    LIST_TENANT_OLDEST = of_the_states!(
        "tenant = ?6 AND (created_at, id) > (?1, ?2) AND (created_at, id) < (?3, ?4)",
        " ORDER BY created_at, id"
    );

    TOMBSTONE = "SELECT tenant, gone FROM tombstones WHERE id = ?1";
    INSERT_TOMBSTONE = "INSERT OR REPLACE INTO tombstones (id, tenant, gone, at) VALUES (?1, ?2, ?3, ?4)";
    PURGE_TOMBSTONES =
        "DELETE FROM tombstones WHERE id IN (SELECT id FROM tombstones WHERE at <= ?1 ORDER BY at LIMIT ?2)";

    KEY = "SELECT operation, created_at, fingerprint FROM keys WHERE tenant = ?1 AND key = ?2";
    PUT_KEY =
        "INSERT OR REPLACE INTO keys (tenant, key, operation, created_at, fingerprint) VALUES (?1, ?2, ?3, ?4, ?5)";
    /// Keys that are old enough to be purged, in the order of their age, behind a place in that order.
    OLD_KEYS =
        "SELECT created_at, tenant, key FROM keys WHERE created_at <= ?1 AND (created_at, tenant, key) > (?2, ?3, ?4) \
         ORDER BY created_at, tenant, key LIMIT ?5";
    /// Removes a key whose operation is done or gone.
    PURGE_KEY =
        "DELETE FROM keys WHERE tenant = ?1 AND key = ?2 AND NOT EXISTS (SELECT 1 FROM operations \
         WHERE operations.id = keys.operation AND finished_at IS NULL)";

    DOCUMENTS = "SELECT name, version, modified_at, bytes FROM documents WHERE collection = ?1 ORDER BY name";
    DOCUMENT_VERSION = "SELECT version FROM documents WHERE collection = ?1 AND name = ?2";
    PUT_DOCUMENT =
        "INSERT OR REPLACE INTO documents (collection, name, version, modified_at, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";

    INSERT_META = "INSERT OR IGNORE INTO meta (only, seal_key) VALUES (1, ?1)";
    META = "SELECT seal_key, last_stored, copy_source, copy_place FROM meta WHERE only = 1";
    NOTE_TIME = "UPDATE meta SET last_stored = ?1 WHERE only = 1";
    FREE_PAGES = "PRAGMA incremental_vacuum(64)";

    /// Everything there is, in the order of its keys, behind one of them; the columns as those who read
    /// one row have them, and then what they know already.
    OPERATIONS_BEHIND = concat!(
        "SELECT ", key_columns!(), ", ", place_columns!(), ", ", fact_columns!(), ", ", spec_columns!(),
        ", input_type_url, input_value FROM operations JOIN specs USING (seq) WHERE id > ?1 ORDER BY id LIMIT ?2"
    );
    TOMBSTONES_BEHIND = "SELECT tenant, gone, id, at FROM tombstones WHERE id > ?1 ORDER BY id LIMIT ?2";
    KEYS_BEHIND =
        "SELECT operation, created_at, fingerprint, tenant, key FROM keys WHERE (tenant, key) > (?1, ?2) \
         ORDER BY tenant, key LIMIT ?3";
    DOCUMENTS_BEHIND =
        "SELECT name, version, modified_at, bytes, collection FROM documents WHERE (collection, name) > (?1, ?2) \
         ORDER BY collection, name LIMIT ?3";
    COUNTS =
        "SELECT (SELECT count(*) FROM operations), (SELECT count(*) FROM tombstones), (SELECT count(*) FROM keys), \
         (SELECT count(*) FROM documents)";
    BEGIN_COPY =
        "UPDATE meta SET seal_key = ?1, last_stored = ?2, copy_source = ?3, copy_place = ?4 \
         WHERE only = 1 AND copy_place IS NULL";
    MOVE_COPY = "UPDATE meta SET copy_place = ?1 WHERE only = 1 AND copy_place IS NOT NULL";
    FINISH_COPY = "UPDATE meta SET copy_place = NULL WHERE only = 1 AND copy_place IS NOT NULL";
}

#[cfg(test)]
mod tests {
    use operond_store::columns::{self, Column};
    use rusqlite::config::DbConfig;
    use rusqlite::{Connection, StatementStatus, params};

    use super::ALL;
    use crate::migrate::{STEPS, migrate};
    use crate::open::common_pragmas;

    #[test]
    fn the_columns_are_those_of_every_sql_store() {
        let names = |columns: &[Column]| columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
        assert_eq!(key_columns!(), names(columns::KEY));
        assert_eq!(place_columns!(), names(columns::PLACE));
        assert_eq!(fact_columns!(), names(columns::FACTS));
        assert_eq!(concat!(spec_columns!(), ", input_type_url, input_value"), names(columns::SPEC));
    }

    /// The plan of `sql`, one step a line.
    fn plan(connection: &Connection, sql: &str) -> Vec<String> {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = statement.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get(3).unwrap());
        }
        steps
    }

    fn schema() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        common_pragmas(&connection).unwrap();
        migrate(&connection, STEPS).unwrap();
        connection
    }

    #[test]
    fn every_statement_finds_its_rows_by_an_index_and_sorts_nothing() {
        let connection = schema();
        // What counts everything looks at everything.
        for (name, sql) in ALL.iter().filter(|(name, _)| *name != "COUNTS") {
            for step in plan(&connection, sql) {
                assert!(!step.contains("SCAN"), "{name} scans: {step}");
                assert!(!step.contains("TEMP B-TREE"), "{name} sorts: {step}");
            }
        }
    }

    #[test]
    fn claims_timers_and_lists_read_nothing_but_their_index() {
        let connection = schema();
        let covered = |name: &str| {
            name.starts_with("LIST_") || ["NEXT_TENANT", "CLAIMABLE", "DUE", "EXPIRED", "OLD_KEYS"].contains(&name)
        };
        for (name, sql) in ALL.iter().filter(|(name, _)| covered(name)) {
            for step in plan(&connection, sql).iter().filter(|step| step.contains("SEARCH")) {
                assert!(step.contains("COVERING INDEX") || step.contains("PRIMARY KEY"), "{name}: {step}");
            }
        }
    }

    #[test]
    fn each_list_walks_the_index_of_what_it_is_about() {
        let connection = schema();
        for (name, sql) in ALL.iter().filter(|(name, _)| name.starts_with("LIST_")) {
            let index = match name {
                name if name.starts_with("LIST_KIND_") => "operations_kind_state",
                name if name.starts_with("LIST_TENANT_") => "operations_tenant_state",
                _ => "operations_state",
            };
            let searches: Vec<_> = plan(&connection, sql).into_iter().filter(|step| step.contains("SEARCH")).collect();
            assert_eq!(searches.len(), 7, "{name}: {searches:?}");
            assert!(searches.iter().all(|step| step.contains(&format!("INDEX {index} "))), "{name}: {searches:?}");
        }
    }

    /// How many steps SQLite takes to read all keys of a list that has `per_state` operations of each
    /// state, when it is asked for the states of `mask`; and how many keys it finds.
    fn steps(sql: &str, per_state: i64, mask: i64) -> (usize, i32) {
        let connection = schema();
        let insert = "INSERT INTO operations (id, tenant, kind, created_at, state, available_at, revision, modified_at, \
                      attempt, events) VALUES (?1, 't', 'k', ?2, ?3, 0, 1, 0, 0, x'')";
        for n in 0..7 * per_state {
            connection.execute(insert, params![format!("id{n}"), n, n % 7 + 1]).unwrap();
        }
        let mut statement = connection.prepare(sql).unwrap();
        let (begin, end) = if sql == super::LIST_NEWEST { (i64::MAX, i64::MIN) } else { (i64::MIN, i64::MAX) };
        let mut rows = statement.query(params![begin, "", end, "", mask]).unwrap();
        let mut found = 0;
        while rows.next().unwrap().is_some() {
            found += 1;
        }
        drop(rows);
        (found, statement.get_status(StatementStatus::VmStep))
    }

    #[test]
    fn a_list_does_not_look_at_states_that_it_is_not_asked_for() {
        for sql in [super::LIST_NEWEST, super::LIST_OLDEST] {
            assert_eq!(steps(sql, 100, 0b1111_1110).0, 700);
            let (found, none) = steps(sql, 100, 0);
            assert_eq!(found, 0);
            assert_eq!(steps(sql, 1, 0), (0, none), "as many steps whatever there is");
            let (found, two) = steps(sql, 100, 0b0010_0010);
            assert_eq!(found, 200);
            let (_, all) = steps(sql, 100, 0b1111_1110);
            assert!(3 * two < all + 3 * none, "{two} steps for two states, {all} for seven");
        }
    }

    /// Uses every reading statement three times out of the cache; says which were compiled anew. The
    /// cache forgets a statement's values when it takes it back: to SQLite they change each time.
    fn compiled_anew(connection: &Connection) -> Vec<&'static str> {
        let mut anew = Vec::new();
        for (name, sql) in ALL.iter().filter(|(_, sql)| sql.starts_with("SELECT")) {
            for value in 5..8 {
                let mut statement = connection.prepare_cached(sql).unwrap();
                for parameter in 1..=statement.parameter_count() {
                    statement.raw_bind_parameter(parameter, value).unwrap();
                }
                // Counts find zeros, everything else nothing.
                assert_eq!(statement.raw_query().next().unwrap().is_some(), *name == "COUNTS");
                if statement.get_status(StatementStatus::RePrepare) > 0 {
                    anew.push(*name);
                }
            }
        }
        anew
    }

    #[test]
    fn other_values_do_not_make_a_statement_be_compiled_anew() {
        let connection = schema();
        assert_eq!(compiled_anew(&connection), [""; 0]);

        let control = schema();
        control.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, false).unwrap();
        assert!(compiled_anew(&control).contains(&"OPERATION_BY_ID"), "the test would notice");
    }
}
