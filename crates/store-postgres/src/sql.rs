//! Every statement there is, each the same text for the life of the process; all of them are held
//! against their query plans below.
//!
//! They pick rows and write by id and revision. None decides a transition. What is written comes as
//! arrays, a column each, so that a statement serves a whole batch. The subset of SQL is the one that
//! the relatives of PostgreSQL share: no sequences, triggers, extensions, advisory locks or
//! notifications.

use std::fmt::Write as _;
use std::sync::LazyLock;

use operond_store::columns::{Column, FACTS, Holds, KEY, PLACE, SPEC};

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* pub(crate) static $name: LazyLock<String> = LazyLock::new(|| $sql.into());)*

        #[cfg(test)]
        const ALL: &[(&str, &LazyLock<String>)] = &[$((stringify!($name), &$name),)*];
    };
}

statements! {
    /// By ids, with the input; the columns in the order in which [`crate::columns`] reads them.
    OPERATIONS_BY_ID = format!(
        "SELECT {}, {} FROM operations o JOIN specs s ON s.id = o.id WHERE o.id = ANY($1)", all("o"), spec("s")
    );
    /// By the ids $1, as far as they are of the tenant $2 and the kind $3 beside them, each of which may be '' for any;
    /// locked in their order, so that two batches never wait for each other. What is outside of the scope of who asks
    /// is neither waited for nor locked.
    LOCK_OPERATIONS = lock("");
    /// The same without those that somebody else has locked.
    LOCK_FREE_OPERATIONS = lock(" SKIP LOCKED");
    /// Which of these are there, and what scopes go by.
    OPERATIONS_THERE = "SELECT id, tenant, kind FROM operations WHERE id = ANY($1)";
    INSERT_OPERATIONS = insert("operations", &[KEY, PLACE, FACTS]);
    INSERT_SPECS = insert("specs", &[ID, SPEC]);
    UPDATE_OPERATIONS = format!(
        "UPDATE operations o SET {} FROM {} WHERE o.id = w.id AND o.revision = w.previous",
        assignments(&[PLACE, FACTS]), unnest(&[ID, PREVIOUS, PLACE, FACTS])
    );
    /// The same for one row each, without arrays: a table made of parameters takes longer to set up than a row to write.
    INSERT_OPERATION = insert_one("operations", &[KEY, PLACE, FACTS]);
    INSERT_SPEC = insert_one("specs", &[ID, SPEC]);
    UPDATE_OPERATION = format!(
        "UPDATE operations SET {} WHERE id = $1 AND revision = $2", assignments_from(3, &[PLACE, FACTS])
    );
    DELETE_OPERATIONS = format!(
        "DELETE FROM operations o USING {} WHERE o.id = w.id AND o.revision = w.previous", unnest(&[ID, PREVIOUS])
    );
    DELETE_SPECS = "DELETE FROM specs WHERE id = ANY($1)";

    /// Backoffs that are over: their operations can be claimed from now on. What another server has
    /// in hand it sees to itself. Here and below, what is before a bound is [passed](crate::passed).
    END_BACKOFFS =
        "UPDATE operations SET claimable = true WHERE id IN (SELECT id FROM operations WHERE NOT claimable \
         AND available_at <= $1 AND available_at >= $3 ORDER BY available_at, id LIMIT $2 FOR UPDATE SKIP LOCKED)";
    /// Candidates of the kinds $1, by turns of at most $3 tenants behind $2 and then from the first
    /// one on: the operation, the turn, and how many of a kind each tenant gives at most. That is as
    /// many as it must at least for $3 altogether, or with $5 all $3. Those of $4 are left out, and so is what another server
    /// has in hand: nobody waits for anybody.
    CANDIDATES = candidates(KINDS, &[
        head("tenant > $2"), head("tenant > behind.tenant"),
        head("tenant <= $2"), head("tenant > before.tenant AND tenant <= $2"),
    ], "");
    /// The same for one operation of the kind $1 behind the tenant $2: of the two tenants that may be next.
    CANDIDATE = format!(
        "SELECT {}, {}, t.n, 1::bigint FROM (\
           (SELECT tenant, 1::bigint AS n FROM operations WHERE claimable AND kind = $1 AND tenant > $2 ORDER BY tenant LIMIT 1) \
           UNION ALL \
           (SELECT tenant, 2::bigint FROM operations WHERE claimable AND kind = $1 AND tenant <= $2 ORDER BY tenant LIMIT 1)\
         ) t CROSS JOIN LATERAL (\
           SELECT * FROM operations WHERE claimable AND kind = $1 AND tenant = t.tenant \
           AND NOT (id = ANY($3::text[])) ORDER BY available_at, id LIMIT 1 FOR UPDATE SKIP LOCKED\
         ) o JOIN specs s ON s.id = o.id",
        all("o"), spec("s")
    );
    /// [`CANDIDATES`] in the spans $6 to $9 of the index alone: a kind, the tenant and instant that a span begins with,
    /// and the tenant before which it ends, if there is one. What is between the spans is not even stepped over.
    CANDIDATES_IN_SPANS = candidates(SPANS, &[
        head_in_span("$2", ""), head_in_span("behind.tenant", ""),
        head_in_span("''", "AND tenant <= $2"), head_in_span("before.tenant", "AND tenant <= $2"),
    ], &format!(
        "AND available_at >= (SELECT coalesce(max(s.at), {EARLIEST}) FROM {SPANS} WHERE s.kind = k.kind AND s.tenant = t.tenant) "
    ));
    /// The same of the tenant $2 alone, $3 of each kind, each from an instant $5 on: so that they are enough, whichever
    /// of them come first.
    CANDIDATES_OF_TENANT = format!(
        "SELECT {}, {}, 1::bigint, $3::bigint FROM unnest($1::text[], $5::bigint[]) AS k(kind, at) CROSS JOIN LATERAL (\
           SELECT * FROM operations WHERE claimable AND kind = k.kind AND tenant = $2 AND available_at >= k.at \
           AND NOT (id = ANY($4::text[])) ORDER BY available_at, id LIMIT $3 FOR UPDATE SKIP LOCKED\
         ) o JOIN specs s ON s.id = o.id",
        all("o"), spec("s")
    );
    DUE = due("due_at");
    EXPIRED = due("expires_at");
    /// The first instant from $1 on at which something is due that can be read: not one of $2.
    FIRST_DUE = first("due_at");
    FIRST_EXPIRED = first("expires_at");
    /// The same of backoffs, whether they can be read or not.
    FIRST_BACKOFF =
        "SELECT available_at FROM operations WHERE NOT claimable AND available_at >= $1 ORDER BY available_at, id LIMIT 1";
    /// The same of what can be claimed, for each of these kinds and tenants that has any from its instant of $3 on; but for
    /// those of $4. Which of them it is, counted from 1, comes first.
    FIRST_CLAIMABLE =
        "SELECT q.n, o.available_at FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS q(kind, tenant, at, n) \
         CROSS JOIN LATERAL (SELECT available_at FROM operations WHERE claimable AND kind = q.kind AND tenant = q.tenant \
         AND available_at >= q.at AND NOT (id = ANY($4::text[])) ORDER BY available_at, id LIMIT 1) o";

    /// Lists: behind $1 created_at and $2 id, before $3 and $4 of the same, in the states of the mask
    /// $5 (bit n: state n), of the kind $6, without inputs.
    LIST_NEWEST = list(EVERYTHING, NEWEST);
    LIST_OLDEST = list(EVERYTHING, OLDEST);
    LIST_KIND_NEWEST = list(OF_A_KIND, NEWEST);
    LIST_KIND_OLDEST = list(OF_A_KIND, OLDEST);
    /// The same, of the tenant $6.
    LIST_TENANT_NEWEST = list(OF_A_TENANT, NEWEST);
    LIST_TENANT_OLDEST = list(OF_A_TENANT, OLDEST);
    /// How many there are between $1 and $2, $3 and $4, in the states of the mask $5, but not more than $6.
    COUNT = count(EVERYTHING, "$6");
    /// The same, of the kind $6, but not more than $7.
    COUNT_KIND = count(OF_A_KIND, "$7");
    /// The same, of the tenant $6.
    COUNT_TENANT = count(OF_A_TENANT, "$7");

    TOMBSTONES = "SELECT id, tenant, gone FROM tombstones WHERE id = ANY($1)";
    PUT_TOMBSTONES =
        "INSERT INTO tombstones (id, tenant, gone, at) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], \
         $4::bigint[]) ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, gone = excluded.gone, at = excluded.at";
    PURGE_TOMBSTONES =
        "DELETE FROM tombstones WHERE id IN (SELECT id FROM tombstones WHERE at <= $1 ORDER BY at, id LIMIT $2 \
         FOR UPDATE SKIP LOCKED)";

    /// Keys, locked in their order before any operation is.
    LOCK_KEYS =
        "SELECT k.tenant, k.key, k.operation, k.created_at, k.fingerprint FROM unnest($1::text[], $2::text[]) \
         AS w(tenant, key) JOIN keys k ON k.tenant = w.tenant AND k.key = w.key ORDER BY k.tenant, k.key FOR UPDATE OF k";
    /// A key that somebody else has made meanwhile is a conflict: the batch begins anew.
    INSERT_KEYS =
        "INSERT INTO keys (tenant, key, operation, created_at, fingerprint) \
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[])";
    UPDATE_KEYS =
        "UPDATE keys k SET operation = w.operation, created_at = w.created_at, fingerprint = w.fingerprint \
         FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[]) \
         AS w(tenant, key, operation, created_at, fingerprint) WHERE k.tenant = w.tenant AND k.key = w.key";
    /// Keys that are old enough to be purged, in the order of their age, behind a place in that order;
    /// and whether their operation is done or gone.
    OLD_KEYS =
        "SELECT created_at, tenant, key, NOT EXISTS (SELECT 1 FROM operations o WHERE o.id = keys.operation \
         AND o.finished_at IS NULL) FROM keys WHERE created_at <= $1 AND (created_at, tenant, key) > ($2, $3, $4) \
         ORDER BY created_at, tenant, key LIMIT $5";
    /// What is done stays done; but a key may stand for another operation by now, and is young then.
    PURGE_KEYS =
        "DELETE FROM keys k USING unnest($1::text[], $2::text[]) AS w(tenant, key) \
         WHERE k.tenant = w.tenant AND k.key = w.key AND k.created_at <= $3";

    DOCUMENTS = "SELECT name, version, modified_at, bytes FROM documents WHERE collection = $1 ORDER BY name";
    LOCK_DOCUMENT = "SELECT version FROM documents WHERE collection = $1 AND name = $2 FOR UPDATE";
    /// A document that somebody else has made meanwhile is a conflict: all of them are written anew.
    INSERT_DOCUMENT =
        "INSERT INTO documents (collection, name, version, modified_at, bytes) VALUES ($1, $2, $3, $4, $5)";
    UPDATE_DOCUMENT =
        "UPDATE documents SET version = $3, modified_at = $4, bytes = $5 WHERE collection = $1 AND name = $2";

    INSERT_STREAM = "INSERT INTO streams (id, seen_at) VALUES ($1, $2)";
    LOCK_STREAM = "SELECT id FROM streams WHERE id = $1 FOR UPDATE";
    TOUCH_STREAMS = "UPDATE streams SET seen_at = $2 WHERE id = ANY($1)";
    INSERT_NEWS = "INSERT INTO news (stream, n, at, body) VALUES ($1, $2, $3, $4)";
    /// Takes the number of a transaction whose end is not known, unless it was committed.
    FENCE = "INSERT INTO news (stream, n, at, body) VALUES ($1, $2, $3, '') ON CONFLICT (stream, n) DO NOTHING";
    /// What all streams but those of $3 wrote behind the number $2 that was read last of each $1.
    NEWS =
        "SELECT s.id, w.n, w.body FROM streams s CROSS JOIN LATERAL (SELECT n, body FROM news \
         WHERE news.stream = s.id AND news.n > coalesce((SELECT c.n FROM unnest($1::text[], $2::bigint[]) AS c(id, n) \
         WHERE c.id = s.id), 0) ORDER BY news.n LIMIT $4) w WHERE NOT (s.id = ANY($3::text[]))";
    /// The last number of every stream but those of $1.
    LAST_NEWS =
        "SELECT s.id, w.n FROM streams s CROSS JOIN LATERAL (SELECT n FROM news WHERE news.stream = s.id \
         ORDER BY news.n DESC LIMIT 1) w WHERE NOT (s.id = ANY($1::text[]))";
    /// What everybody has read, or has missed.
    FORGET_NEWS = "DELETE FROM news WHERE stream = $1 AND n <= $2";
    /// Streams whose servers have not been seen for long.
    OLD_STREAMS = "SELECT id FROM streams WHERE seen_at < $1";
    FORGET_STREAM_NEWS = "DELETE FROM news WHERE stream = ANY($1)";
    FORGET_STREAMS = "DELETE FROM streams WHERE id = ANY($1) AND seen_at < $2";

    META = "SELECT seal_key, last_stored, copy_source, copy_place FROM operond_meta WHERE only_one";
    NOTE_TIME = "UPDATE operond_meta SET last_stored = greatest(last_stored, nullif($1::bigint, 0)) WHERE only_one";
    NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

    /// Everything there is, in the order of its keys, behind one of them; the columns as those who read
    /// one row have them, and then what they know already.
    OPERATIONS_BEHIND = format!(
        "SELECT {}, {} FROM operations o JOIN specs s ON s.id = o.id WHERE o.id > $1 ORDER BY o.id LIMIT $2",
        all("o"), spec("s")
    );
    TOMBSTONES_BEHIND = "SELECT id, tenant, gone, at FROM tombstones WHERE id > $1 ORDER BY id LIMIT $2";
    KEYS_BEHIND =
        "SELECT tenant, key, operation, created_at, fingerprint FROM keys WHERE (tenant, key) > ($1, $2) \
         ORDER BY tenant, key LIMIT $3";
    DOCUMENTS_BEHIND =
        "SELECT name, version, modified_at, bytes, collection FROM documents WHERE (collection, name) > ($1, $2) \
         ORDER BY collection, name LIMIT $3";
    COUNTS =
        "SELECT (SELECT count(*) FROM operations), (SELECT count(*) FROM tombstones), (SELECT count(*) FROM keys), \
         (SELECT count(*) FROM documents)";
    /// The store itself. What a server wrote last is noted in its news at once, in its one row now and then.
    STANDING =
        "SELECT seal_key, greatest(last_stored, (SELECT max(at) FROM news)), copy_source, copy_place, \
         (SELECT max(seen_at) FROM streams) FROM operond_meta WHERE only_one";
    /// The mark of an unfinished copy, locked, and the newest instant of what is copied.
    LOCK_COPY = "SELECT last_stored FROM operond_meta WHERE only_one AND copy_place IS NOT NULL FOR UPDATE";
    BEGIN_COPY =
        "UPDATE operond_meta SET seal_key = $1, last_stored = $2, copy_source = $3, copy_place = $4 \
         WHERE only_one AND copy_place IS NULL";
    MOVE_COPY = "UPDATE operond_meta SET copy_place = $1 WHERE only_one";
    FINISH_COPY = "UPDATE operond_meta SET copy_place = NULL WHERE only_one AND copy_place IS NOT NULL";
}

/// An operation's id beside what is written of it.
pub(crate) const ID: &[Column] = &[Column { name: "id", holds: Holds::Text }];
/// The revision that is replaced.
pub(crate) const PREVIOUS: &[Column] = &[Column { name: "previous", holds: Holds::Number }];

/// What is listed: a test that comes first, and the state as its index has it.
type Listed = [&'static str; 2];
const EVERYTHING: Listed = ["", "state"];
const OF_A_KIND: Listed = ["kind = $6 AND ", "state"];
const OF_A_TENANT: Listed = ["tenant = $6 AND ", "state + 0"];

/// The kinds that are asked for, and parts of the index of what can be claimed.
const KINDS: &str = "unnest($1::text[]) AS k(kind)";
const SPANS: &str = "unnest($6::text[], $7::text[], $8::bigint[], $9::text[]) AS s(kind, tenant, at, until)";
/// Before every instant there is …
const EARLIEST: &str = "(-9223372036854775808)::bigint";
/// … and behind.
const LATEST: &str = "9223372036854775807";

const NEWEST: [&str; 3] = ["<", ">", " DESC"];
const OLDEST: [&str; 3] = [">", "<", ""];

/// The columns of an operation, of the table called `alias`.
fn all(alias: &str) -> String {
    names(alias, KEY.iter().chain(PLACE).chain(FACTS))
}

/// The columns of a spec.
fn spec(alias: &str) -> String {
    names(alias, SPEC)
}

/// The columns of a spec, the input left out.
fn spec_for_list(alias: &str) -> String {
    let (rest, _input) = SPEC.split_at(SPEC.len() - 2);
    format!("{}, NULL::text, NULL::bytea", names(alias, rest))
}

fn names<'a>(alias: &str, columns: impl IntoIterator<Item = &'a Column>) -> String {
    let names: Vec<String> = columns.into_iter().map(|column| format!("{alias}.{}", column.name)).collect();
    names.join(", ")
}

fn assignments(lists: &[&[Column]]) -> String {
    let each: Vec<String> = lists.concat().iter().map(|column| format!("{0} = w.{0}", column.name)).collect();
    each.join(", ")
}

fn assignments_from(first: usize, lists: &[&[Column]]) -> String {
    let columns = lists.concat();
    let each: Vec<String> = (first..).zip(&columns).map(|(n, column)| format!("{} = ${n}", column.name)).collect();
    each.join(", ")
}

/// A table `w` made of a parameter for each column.
fn unnest(lists: &[&[Column]]) -> String {
    let (mut values, mut names) = (Vec::new(), Vec::new());
    for (index, column) in lists.concat().iter().enumerate() {
        let sql_type = match column.holds {
            Holds::Text => "text",
            Holds::Bytes => "bytea",
            Holds::Number => "bigint",
            Holds::Real => "double precision",
            Holds::Flag => "boolean",
        };
        values.push(format!("${}::{sql_type}[]", index + 1));
        names.push(column.name);
    }
    format!("unnest({}) AS w({})", values.join(", "), names.join(", "))
}

fn insert(table: &str, lists: &[&[Column]]) -> String {
    let names: Vec<&str> = lists.concat().iter().map(|column| column.name).collect();
    format!("INSERT INTO {table} ({}) SELECT * FROM {}", names.join(", "), unnest(lists))
}

fn insert_one(table: &str, lists: &[&[Column]]) -> String {
    let names: Vec<&str> = lists.concat().iter().map(|column| column.name).collect();
    let values: Vec<String> = (1..=names.len()).map(|n| format!("${n}")).collect();
    format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "))
}

/// See [`CANDIDATES`]. The tenants are the least `heads` of all these `parts` of the index: behind $2 the first one and
/// the next ones, then from the first of all on; of each what `begin` says, too.
fn candidates(parts: &str, [after, next, first, before]: &[String; 4], begin: &str) -> String {
    format!(
        "WITH RECURSIVE behind(tenant, n) AS (\
           SELECT min(head.tenant), 1::bigint FROM {parts} CROSS JOIN LATERAL ({after}) head \
           UNION ALL \
           SELECT (SELECT min(head.tenant) FROM {parts} CROSS JOIN LATERAL ({next}) head), \
             behind.n + 1 FROM behind WHERE behind.tenant IS NOT NULL AND behind.n < $3\
         ), before(tenant, n) AS (\
           SELECT min(head.tenant), 1::bigint FROM {parts} CROSS JOIN LATERAL ({first}) head \
           UNION ALL \
           SELECT (SELECT min(head.tenant) FROM {parts} CROSS JOIN LATERAL ({before}) head), \
             before.n + 1 FROM before WHERE before.tenant IS NOT NULL AND before.n < $3\
         ), turns(tenant, n) AS (\
           SELECT tenant, n FROM behind WHERE tenant IS NOT NULL \
           UNION ALL SELECT tenant, $3 + n FROM before WHERE tenant IS NOT NULL\
         ), wanted(n) AS (\
           SELECT CASE WHEN $5 THEN $3 ELSE ($3 + count(*) - 1) / greatest(count(*), 1) END FROM turns\
         ) SELECT {}, {}, t.n, (SELECT n FROM wanted) FROM turns t CROSS JOIN {KINDS} CROSS JOIN LATERAL (\
           SELECT * FROM operations WHERE claimable AND kind = k.kind AND tenant = t.tenant \
           {begin}AND NOT (id = ANY($4::text[])) ORDER BY available_at, id LIMIT (SELECT n FROM wanted) FOR UPDATE SKIP LOCKED\
         ) o JOIN specs s ON s.id = o.id",
        all("o"),
        spec("s")
    )
}

/// The first tenant that has something of the kind `k.kind`, among those that `which` names.
fn head(which: &str) -> String {
    format!("SELECT tenant FROM operations WHERE claimable AND kind = k.kind AND {which} ORDER BY tenant LIMIT 1")
}

/// The first tenant of the span `s` behind `x` that has something in it, and `which` names. The begin of the span and `x`
/// are one row to be compared with: a scan that had two would begin at either. What is compared here, and not with a
/// column, has no order of its own.
fn head_in_span(x: &str, which: &str) -> String {
    let from = "SELECT tenant FROM operations WHERE claimable AND kind = s.kind AND (tenant, available_at) >=";
    let begin = format!(
        "(greatest(s.tenant COLLATE \"C\", {x}), CASE WHEN s.tenant COLLATE \"C\" > {x} THEN s.at ELSE {LATEST} END)"
    );
    let first = "ORDER BY tenant, available_at LIMIT 1";
    format!(
        "({from} {begin} AND tenant < s.until {which} {first}) UNION ALL \
         ({from} {begin} AND s.until IS NULL {which} {first})"
    )
}

/// What is wanted is looked up in, not joined with: so the order is that of the index.
fn lock(others: &str) -> String {
    let wanted = "IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))";
    format!(
        "SELECT {}, {} FROM operations o JOIN specs s ON s.id = o.id WHERE o.id = ANY($1) AND ((o.id, '', '') {wanted} \
         OR (o.id, o.tenant, '') {wanted} OR (o.id, '', o.kind) {wanted} OR (o.id, o.tenant, o.kind) {wanted}) \
         ORDER BY o.id FOR UPDATE OF o{others}",
        all("o"),
        spec("s")
    )
}

/// What is due by the timer `column` at $1, and not before $4, at most $2, but for those of $3 and what another server
/// has in hand: it settles that itself.
fn due(column: &str) -> String {
    format!(
        "SELECT {}, {}, o.{column} FROM operations o JOIN specs s ON s.id = o.id WHERE o.{column} <= $1 AND o.{column} >= $4 \
         AND NOT (o.id = ANY($3::text[])) ORDER BY o.{column}, o.id LIMIT $2 FOR UPDATE OF o SKIP LOCKED",
        all("o"),
        spec("s")
    )
}

fn first(column: &str) -> String {
    format!(
        "SELECT {column} FROM operations WHERE {column} >= $1 AND NOT (id = ANY($2::text[])) ORDER BY {column}, id LIMIT 1"
    )
}

/// Seven ranges, one for each state, each in the order of the list: so they are merged, not sorted.
/// Whether a state is asked for is the same for each of its rows: that is tested once, before its
/// range is read.
fn of_the_states(columns: &str, [filter, column]: Listed, [behind, before, direction]: [&str; 3]) -> String {
    let mut sql = String::new();
    for state in 1..=7 {
        let union = if state == 1 { "" } else { " UNION ALL " };
        write!(
            sql,
            "{union}(SELECT {columns} FROM operations WHERE $5::bigint & {} <> 0 AND {column} = {state} AND {filter}\
             (created_at, id) {behind} ($1, $2) AND (created_at, id) {before} ($3, $4) \
             ORDER BY created_at{direction}, id{direction})",
            1 << state
        )
        .expect("a string takes it");
    }
    sql
}

fn list(filter: Listed, order: [&str; 3]) -> String {
    let direction = order[2];
    format!(
        "SELECT {}, {} FROM ({}) o JOIN specs s ON s.id = o.id ORDER BY o.created_at{direction}, o.id{direction}",
        all("o"),
        spec_for_list("s"),
        of_the_states("*", filter, order)
    )
}

fn count(filter: Listed, most: &str) -> String {
    format!("SELECT count(*) FROM ({} LIMIT {most}) counted", of_the_states("id", filter, OLDEST))
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, Handle};

    use super::ALL;
    use crate::address::Address;
    use crate::cluster::{Cluster, Kind};
    use crate::migrate::{STEPS, migrate};
    use crate::session::{Connector, Session};

    /// Statements about a table of a row or a few; and the one that is asked once, for a copy of everything.
    const TINY: &[&str] = &["META", "NOTE_TIME", "NOW", "OLD_STREAMS", "NEWS", "LAST_NEWS", "STANDING"];
    /// Statements that have little to put in order, and only sometimes: a document or key for each row they lock.
    const MAY_SORT: &[&str] = &["LOCK_KEYS", "LOCK_OPERATIONS", "LOCK_FREE_OPERATIONS"];

    /// A migrated schema with `operations` queued operations of one kind, as many finished ones, and what a database
    /// counts of them where it is `analysed`.
    async fn schema(operations: i64, analysed: bool) -> Session {
        let address = Address::parse(&Cluster::shared(Kind::Fast).fresh_schema()).unwrap();
        let mut session = Connector::new(address, Handle::current()).session().await.unwrap();
        migrate(&mut session, STEPS).await.unwrap();
        let fill = "INSERT INTO operations (id, tenant, kind, created_at, state, claimable, available_at, due_at, revision, \
                    modified_at, backoff, finished_at, attempt, events) SELECT 'op' || n, 't' || n % 3, 'k', n, \
                    CASE WHEN n % 2 = 0 THEN 1 ELSE 5 END, CASE WHEN n % 2 = 0 THEN true END, n, n, 1, n, \
                    CASE WHEN n % 2 = 0 THEN 0 END, CASE WHEN n % 2 = 1 THEN 0 END, 0, '' \
                    FROM generate_series(1, $1::bigint) AS n";
        session.client.execute(fill, &[&(2 * operations)]).await.unwrap();
        let specs = "INSERT INTO specs (id, description, created_by, labels, cancellable, clean_up_on_cancel, \
                     max_attempts, cancel_grace) SELECT id, '', '', '', true, false, 1, 1 FROM operations";
        session.client.execute(specs, &[]).await.unwrap();
        if analysed {
            for table in ["operations", "specs", "keys", "tombstones", "documents"] {
                session.client.batch_execute(&format!("ANALYZE {table}")).await.unwrap();
            }
        }
        session
    }

    /// The plan that a statement is carried out by, one step a line.
    async fn plan(session: &Session, sql: &str) -> Vec<String> {
        let parameters = session.client.prepare(sql).await.unwrap().params().len();
        let nulls = vec!["NULL"; parameters].join(", ");
        let arguments = if parameters == 0 { String::new() } else { format!("({nulls})") };
        session.client.batch_execute(&format!("PREPARE asked AS {sql}")).await.unwrap();
        let rows = session.client.query(&format!("EXPLAIN EXECUTE asked{arguments}"), &[]).await.unwrap();
        session.client.batch_execute("DEALLOCATE asked").await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Whatever is in the tables, and whatever the database has counted of them: a plan is made once, and a table that
    /// was empty then is not afterwards.
    #[test]
    fn every_statement_finds_its_rows_by_an_index_and_sorts_nothing() {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            for (operations, analysed) in [(0, false), (0, true), (5_000, false), (5_000, true)] {
                let session = schema(operations, analysed).await;
                for (name, sql) in ALL {
                    for step in plan(&session, sql).await {
                        let at = format!("{name} with {operations} operations, analysed {analysed}: {step}");
                        assert!(!step.contains("Seq Scan") || TINY.contains(name), "{at}");
                        assert!(!step.contains("Sort  (") || MAY_SORT.contains(name) || TINY.contains(name), "{at}");
                        assert!(!step.contains("Hash Join") && !step.contains("Bitmap"), "{at}");
                        let of_all = step.contains(" operations_state ") || step.contains(" operations_kind_state ");
                        assert!(!of_all || !name.contains("TENANT"), "{at}");
                    }
                }
            }
        });
    }
}
