-- A store as version 1 of the schema wrote it: never to be changed.
PRAGMA application_id = 0x4f505244;
PRAGMA user_version = 1;

INSERT INTO meta (only, seal_key, last_stored)
VALUES (1, x'5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a', 1600000000000005);

INSERT INTO operations (seq, id, tenant, kind, created_at, state, available_at, expires_at, revision, modified_at,
    finished_at, started_at, attempt, lease_token, lease_secret, worker, lease_duration, lease_given_up,
    lease_answered, events, error)
VALUES (1, 'op-done', 'acme', 'render', 1600000000000000, 6, 1600000000000000, NULL, 4, 1600000000000005,
    1600000000000005, 1600000000000001, 1, 2, x'000102030405060708090a0b0c0d0e0f', 'w-1', 30000000000, 0,
    x'ffffffffffffffffffffffffffffffff',
    -- two events: created by "p", and 5 µs later failed by "w-1"
    x'01028080cadf98f9d7050101700a0b03772d31',
    -- code 3, "bad frame", one detail
    x'010609626164206672616d650103742f44020102');
INSERT INTO specs (seq, description, created_by, labels, cancellable, clean_up_on_cancel, max_attempts, cancel_grace,
    input_type_url, input_value)
VALUES (1, 'frames', 'p', x'0101047465616d0161', 1, 0, 3, 30000000000, 't/I', x'09');

INSERT INTO operations (seq, id, tenant, kind, created_at, state, claimable, available_at, revision, modified_at,
    backoff, attempt, events)
VALUES (2, 'op-queued', 'acme', 'render', 1600000000000000, 1, 1, 1600000000000000, 1, 1600000000000000, 0, 0, x'0100');
INSERT INTO specs (seq, description, created_by, labels, cancellable, clean_up_on_cancel, max_attempts, cancel_grace)
VALUES (2, '', 'p', x'0100', 1, 0, 3, 30000000000);

INSERT INTO tombstones (id, tenant, gone, at) VALUES ('op-gone', 'acme', 2, 1600000000000000);
