-- Operations, what became of those that are gone, and idempotency keys.
--
-- Columns are named after the fields of operond_core. Instants are microseconds since the Unix
-- epoch, durations nanoseconds, booleans 0 and 1. Packed columns have a form of their own
-- (operond_store::pack). What is derived from other columns, only to be found by, says so.

-- What changes. Its row is written anew with every change, so the input is not in it.
CREATE TABLE operations (
    seq                INTEGER PRIMARY KEY,
    id                 TEXT    NOT NULL,
    tenant             TEXT    NOT NULL,
    kind               TEXT    NOT NULL,
    created_at         INTEGER NOT NULL,

    state              INTEGER NOT NULL, -- derived: the wire number of the shown state
    claimable          INTEGER,          -- derived: 1 queued, 0 queued behind a backoff, NULL not queued
    available_at       INTEGER NOT NULL,
    expires_at         INTEGER,

    due_at             INTEGER,          -- derived: the earliest timer but retention
    revision           INTEGER NOT NULL,
    modified_at        INTEGER NOT NULL,
    -- The phase: exactly one of these three is not NULL.
    backoff            INTEGER,
    lease_expires_at   INTEGER,
    finished_at        INTEGER,
    queue_deadline     INTEGER,
    run_deadline       INTEGER,
    grace_deadline     INTEGER,
    started_at         INTEGER,
    attempt            INTEGER NOT NULL,
    lease_token        INTEGER,          -- NULL: no lease was given yet
    lease_secret       BLOB,
    worker             TEXT,
    lease_duration     INTEGER,
    lease_given_up     INTEGER,
    lease_answered     BLOB,
    cancel_at          INTEGER,          -- NULL: no cancel was requested
    cancel_by          TEXT,
    cancel_reason      TEXT,
    progress_unit      TEXT,             -- NULL: no progress was reported
    progress_message   TEXT,
    progress_done      REAL,
    progress_total     REAL,
    events             BLOB    NOT NULL, -- packed
    attempt_error      BLOB,             -- packed
    failure            BLOB,             -- packed
    metadata_type_url  TEXT,
    metadata_value     BLOB,
    error              BLOB,             -- packed; done: either this or the response
    response_type_url  TEXT,
    response_value     BLOB
) STRICT;

-- What was asked for: written once, under the seq of its operation.
CREATE TABLE specs (
    seq                 INTEGER PRIMARY KEY,
    description         TEXT    NOT NULL,
    created_by          TEXT    NOT NULL,
    labels              BLOB    NOT NULL, -- packed
    cancellable         INTEGER NOT NULL,
    clean_up_on_cancel  INTEGER NOT NULL,
    queue_timeout       INTEGER,
    run_timeout         INTEGER,
    max_attempts        INTEGER NOT NULL,
    cancel_grace        INTEGER NOT NULL,
    retention_succeeded INTEGER,
    retention_failed    INTEGER,
    retention_cancelled INTEGER,
    response_type       TEXT,
    metadata_type       TEXT,
    -- Last, so that a reader of the others never comes to it.
    input_type_url      TEXT,
    input_value         BLOB
) STRICT;

CREATE UNIQUE INDEX operations_id ON operations (id);
-- Lists. All states, or all states of a kind, are seven ranges merged.
CREATE INDEX operations_state ON operations (state, created_at, id);
CREATE INDEX operations_kind_state ON operations (kind, state, created_at, id);
-- Claims: the tenants of a kind one after the other, the longest claimable of each.
CREATE INDEX operations_claimable ON operations (kind, tenant, available_at, id) WHERE claimable = 1;
CREATE INDEX operations_backoff ON operations (available_at) WHERE claimable = 0;
-- Timers. Retention has its own, so that holding it back keeps no other waiting.
CREATE INDEX operations_due ON operations (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX operations_expires ON operations (expires_at, id) WHERE expires_at IS NOT NULL;

CREATE TABLE tombstones (
    id     TEXT    PRIMARY KEY,
    tenant TEXT    NOT NULL,
    gone   INTEGER NOT NULL, -- 1 deleted, 2 expired
    at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tombstones_at ON tombstones (at);

CREATE TABLE keys (
    tenant      TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    operation   TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    fingerprint BLOB    NOT NULL, -- packed
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_created ON keys (created_at, tenant, key);

-- One row about the store itself.
CREATE TABLE meta (
    only        INTEGER PRIMARY KEY CHECK (only = 1),
    seal_key    BLOB    NOT NULL,
    last_stored INTEGER           -- the clock at the newest commit
) STRICT;
