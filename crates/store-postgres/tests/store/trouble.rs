//! Transactions that the database does not let pass: what is tried again, and what is told in the end.

use std::error::Error as _;
use std::sync::Arc;

use operond_store::{Collection, DocumentWrite, Error, Store};

use crate::fixture::{RUNTIME, fresh, open, until, wait};
use crate::outcome::{created, creates, stored};

/// When the database makes trouble.
#[derive(Clone, Copy, Debug)]
enum When {
    /// At the statement that inserts.
    Insert,
    /// At the commit.
    Commit,
}

/// A schema in which something goes wrong for the first so many times that a row is inserted into a table.
struct Trouble {
    url: String,
    table: &'static str,
}

impl Trouble {
    fn new(table: &'static str, when: When, times: u32, what: &str) -> Self {
        let trouble = Self { url: fresh(), table };
        let trigger = match when {
            When::Insert => format!("TRIGGER trouble BEFORE INSERT ON {table}"),
            When::Commit => {
                format!("CONSTRAINT TRIGGER trouble AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED")
            }
        };
        // What a sequence has given stays given, whatever becomes of the transaction.
        trouble.run(&format!(
            "CREATE SEQUENCE tried; \
             CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN IF nextval('tried') <= {times} THEN {what}; END IF; RETURN NEW; END $$; \
             CREATE {trigger} FOR EACH ROW EXECUTE FUNCTION trouble()"
        ));
        trouble
    }

    /// How often a row was to be inserted.
    fn tried(&self) -> u32 {
        self.run("SELECT last_value FROM tried").parse().unwrap()
    }

    fn end(&self) {
        self.run(&format!("DROP TRIGGER trouble ON {}", self.table));
    }

    /// The last value that the statements give.
    fn run(&self, sql: &str) -> String {
        RUNTIME.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.unwrap();
            RUNTIME.spawn(connection);
            let messages = client.simple_query(sql).await.unwrap();
            let values = messages.iter().filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            values.last().unwrap_or_default().to_owned()
        })
    }
}

/// Serialization failures and deadlocks, each at a statement and at the commit.
fn conflicts(mut check: impl FnMut(&str, When)) {
    for code in ["40001", "40P01"] {
        [When::Insert, When::Commit].into_iter().for_each(|when| check(code, when));
    }
}

fn raise(code: &str) -> String {
    format!("RAISE EXCEPTION 'another transaction was there' USING ERRCODE = '{code}'")
}

/// A batch is tried so often.
const TRIES: u32 = 9;

#[test]
fn f26_a_batch_that_comes_into_conflict_is_tried_again_until_it_is_done_once() {
    conflicts(|code, when| {
        let trouble = Trouble::new("operations", when, TRIES - 1, &raise(code));
        let store = open(&trouble.url);
        let answered = created(&wait(store.update(creates(0, 1))).unwrap_or_else(|error| panic!("{error:?}")));
        assert_eq!(trouble.tried(), TRIES, "{code} {when:?}");
        assert_eq!(stored(&store), [answered[0].id.clone()], "{code} {when:?}");
    });
}

#[test]
fn f26_a_conflict_that_does_not_end_is_unavailable_and_nothing_is_stored() {
    conflicts(|code, when| {
        let trouble = Trouble::new("operations", when, u32::MAX, &raise(code));
        let store = open(&trouble.url);
        assert!(unavailable(wait(store.update(creates(0, 1)))).contains(code), "{when:?}");
        assert_eq!(trouble.tried(), TRIES, "{code} {when:?}");
        trouble.end();
        assert_eq!(stored(&store), [], "{code} {when:?}");
        assert_eq!(created(&wait(store.update(creates(0, 1))).unwrap()).len(), 1, "it goes on");
    });
}

/// The database ends a statement after ten seconds.
#[test]
fn a_statement_that_takes_too_long_is_unavailable_and_nothing_is_stored() {
    let trouble = Trouble::new("documents", When::Insert, 1, "PERFORM pg_sleep(600)");
    let store = open(&trouble.url);
    let write =
        || DocumentWrite { collection: Collection::Kinds, name: "k".into(), replaces: 0, bytes: Arc::from([1]) };
    assert!(unavailable(wait(store.put_documents(vec![write()]))).contains("57014"));
    assert_eq!(wait(store.documents(Collection::Kinds)).unwrap(), []);
    assert_eq!(trouble.tried(), 1, "it is not tried again");
    wait(store.put_documents(vec![write()])).unwrap().expect("nobody else has written it");
    assert_eq!(wait(store.documents(Collection::Kinds)).unwrap().len(), 1);
}

/// The commit is sent behind the statement, and carried out when that is done: after five seconds nobody waits for it.
#[test]
fn f25_a_batch_with_a_slow_statement_is_done_over_another_connection_and_never_again() {
    let trouble = Trouble::new("operations", When::Insert, 1, "PERFORM pg_sleep(9)");
    let store = open(&trouble.url);
    let answered = created(&wait(store.update(creates(0, 1))).unwrap());
    assert_eq!(trouble.tried(), 2);
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%operations%'";
    assert_eq!(trouble.run(sleeping), "1", "the first one goes on");
    until("it is over", || trouble.run(sleeping) == "0");
    assert_eq!(stored(&store), [answered[0].id.clone()]);
}

/// What the database said of it.
#[track_caller]
fn unavailable<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Err(error @ Error::Unavailable(_)) => error.source().unwrap().to_string(),
        other => panic!("it is unavailable, and not {other:?}"),
    }
}
