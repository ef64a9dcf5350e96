-- Operations, what became of those that are gone, idempotency keys, documents, and how servers tell
-- each other of what they wrote.
--
-- Columns are named after the fields of operond_core. Instants are microseconds since the Unix
-- epoch, durations nanoseconds. Packed columns have a form of their own (operond_store::pack). What
-- is derived from other columns, only to be found by, says so. Texts are ordered by their bytes.

-- What changes. Its row is written anew with every change, so what was asked for is not in it.
CREATE TABLE operations (
    id                 text COLLATE "C" PRIMARY KEY,
    tenant             text COLLATE "C" NOT NULL,
    kind               text COLLATE "C" NOT NULL,
    created_at         bigint  NOT NULL,

    state              bigint  NOT NULL, -- derived: the wire number of the shown state
    claimable          boolean,          -- derived: true queued, false queued behind a backoff, NULL not queued
    available_at       bigint  NOT NULL,
    expires_at         bigint,

    due_at             bigint,           -- derived: the earliest timer but retention
    revision           bigint  NOT NULL,
    modified_at        bigint  NOT NULL,
    -- The phase: exactly one of these three is not NULL.
    backoff            bigint,
    lease_expires_at   bigint,
    finished_at        bigint,
    queue_deadline     bigint,
    run_deadline       bigint,
    grace_deadline     bigint,
    started_at         bigint,
    attempt            bigint  NOT NULL,
    lease_token        bigint,           -- NULL: no lease was given yet
    lease_secret       bytea,
    worker             text,
    lease_duration     bigint,
    lease_given_up     boolean,
    lease_answered     bytea,
    cancel_at          bigint,           -- NULL: no cancel was requested
    cancel_by          text,
    cancel_reason      text,
    progress_unit      text,             -- NULL: no progress was reported
    progress_message   text,
    progress_done      double precision,
    progress_total     double precision,
    events             bytea   NOT NULL, -- packed
    attempt_error      bytea,            -- packed
    failure            bytea,            -- packed
    metadata_type_url  text,
    metadata_value     bytea,
    error              bytea,            -- packed; done: either this or the response
    response_type_url  text,
    response_value     bytea
);

-- What was asked for: written once.
CREATE TABLE specs (
    id                  text COLLATE "C" PRIMARY KEY,
    description         text    NOT NULL,
    created_by          text    NOT NULL,
    labels              bytea   NOT NULL, -- packed
    cancellable         boolean NOT NULL,
    clean_up_on_cancel  boolean NOT NULL,
    queue_timeout       bigint,
    run_timeout         bigint,
    max_attempts        bigint  NOT NULL,
    cancel_grace        bigint  NOT NULL,
    retention_succeeded bigint,
    retention_failed    bigint,
    retention_cancelled bigint,
    response_type       text,
    metadata_type       text,
    input_type_url      text,
    input_value         bytea
);

-- Lists. All states, or all states of a kind, are seven ranges merged.
CREATE INDEX operations_state ON operations (state, created_at, id);
CREATE INDEX operations_kind_state ON operations (kind, state, created_at, id);
-- Claims: the tenants of a kind one after the other, the longest claimable of each.
CREATE INDEX operations_claimable ON operations (kind, tenant, available_at, id) WHERE claimable;
CREATE INDEX operations_backoff ON operations (available_at, id) WHERE NOT claimable;
-- Timers. Retention has its own, so that holding it back keeps no other waiting.
CREATE INDEX operations_due ON operations (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX operations_expires ON operations (expires_at, id) WHERE expires_at IS NOT NULL;

CREATE TABLE tombstones (
    id     text COLLATE "C" PRIMARY KEY,
    tenant text   NOT NULL,
    gone   bigint NOT NULL, -- 1 deleted, 2 expired
    at     bigint NOT NULL
);

CREATE INDEX tombstones_at ON tombstones (at, id);

CREATE TABLE keys (
    tenant      text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    operation   text COLLATE "C" NOT NULL,
    created_at  bigint NOT NULL,
    fingerprint bytea  NOT NULL, -- packed
    PRIMARY KEY (tenant, key)
);

CREATE INDEX keys_created ON keys (created_at, tenant, key);

-- Named values beside operations: message types, and defaults of kinds.
CREATE TABLE documents (
    collection  bigint NOT NULL, -- 1 types, 2 kinds
    name        text COLLATE "C" NOT NULL,
    version     bigint NOT NULL,
    modified_at bigint NOT NULL,
    bytes       bytea  NOT NULL,
    PRIMARY KEY (collection, name)
);

-- Who writes: one row for each connection that does, while it does and a little longer.
CREATE TABLE streams (
    id      text COLLATE "C" PRIMARY KEY,
    seen_at bigint NOT NULL -- when its server last said that it is there
);

-- What was written: one row for each transaction of a stream, numbered without a gap from 1 on. It
-- tells other servers what to look at, and its own whether a transaction was committed.
CREATE TABLE news (
    stream text COLLATE "C" NOT NULL,
    n      bigint NOT NULL,
    at     bigint NOT NULL,
    body   bytea  NOT NULL, -- packed; empty: this number is never to be written
    PRIMARY KEY (stream, n)
);
