//! Every limit and default of CONTRACT §5, one constant each.
//!
//! Sizes count encoded bytes unless the name ends in `_CHARS_MAX` (Unicode scalar values).

use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const KIB: usize = 1024;

/// Longest operation id that is looked up.
pub const ID_CHARS_MAX: usize = 50;
/// Longest description.
pub const DESCRIPTION_CHARS_MAX: usize = 256;
/// Longest kind, tenant, principal, worker name or idempotency key.
pub const NAME_CHARS_MAX: usize = 128;
/// Longest lease string.
pub const LEASE_CHARS_MAX: usize = 200;
/// Longest reason of a cancel and longest progress message.
pub const REASON_CHARS_MAX: usize = 1024;
/// Longest unit of progress.
pub const PROGRESS_UNIT_CHARS_MAX: usize = 32;
/// Most labels on one operation.
pub const LABELS_MAX: usize = 32;
/// Longest label key.
pub const LABEL_KEY_CHARS_MAX: usize = 63;
/// Longest label value.
pub const LABEL_VALUE_CHARS_MAX: usize = 255;
/// Longest list filter.
pub const FILTER_CHARS_MAX: usize = 1000;
/// Most parentheses that are open at one place of a list filter.
pub const FILTER_DEPTH_MAX: usize = 50;
/// Longest type URL.
pub const TYPE_URL_CHARS_MAX: usize = 256;
/// Largest metadata, its type URL included.
pub const METADATA_BYTES_MAX: usize = 64 * KIB;
/// Largest input, its type URL included.
pub const INPUT_BYTES_MAX: usize = KIB * KIB;
/// Largest response, its type URL included.
pub const RESPONSE_BYTES_MAX: usize = KIB * KIB;
/// Largest error, message and details included.
pub const ERROR_BYTES_MAX: usize = 64 * KIB;
/// Longest message of an error.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 4 * KIB;
/// Largest request of any face.
pub const REQUEST_BYTES_MAX: usize = 4 * KIB * KIB;
/// Answers with repeated members stop here (with at least one item).
pub const ANSWER_BYTES_MAX: usize = 3 * KIB * KIB;
/// Largest page of a list.
pub const PAGE_SIZE_MAX: usize = 1000;
/// Page size of a list that asks for none.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// Most operations that one page of a list looks at, where its filter is more than an index knows.
pub const SCAN_OPERATIONS_MAX: usize = 5000;
/// A page stops looking at operations when they have so many bytes of payload, counted once for each
/// member of payloads that its filter asks about.
pub const SCAN_BYTES_MAX: usize = 16 * KIB * KIB;
/// What an index can tell is counted up to here.
pub const COUNT_MAX: usize = 100_000;
/// Most files of message types beside those that are built in.
pub const TYPE_FILES_MAX: usize = 1000;
/// Most bytes of descriptors in all of them.
pub const TYPE_BYTES_MAX: usize = 16 * KIB * KIB;
/// Largest of them: its descriptor and the full names of its messages.
pub const TYPE_FILE_BYTES_MAX: usize = KIB * KIB;
/// Longest name of one of them.
pub const TYPE_FILE_NAME_CHARS_MAX: usize = 256;
/// Longest name of an operation on the Google face, its parent included; a page repeats the parent for each.
pub const OPERATION_NAME_CHARS_MAX: usize = 512;
/// Most kinds that have defaults.
pub const KINDS_MAX: usize = 1000;
/// Most operations in one claim.
pub const CLAIM_OPERATIONS_MAX: usize = 100;
/// Most kinds in one claim.
pub const CLAIM_KINDS_MAX: usize = 32;
/// Most events kept on an operation; the oldest but `created` is dropped.
pub const EVENTS_MAX: usize = 16;

/// Shortest and longest lease.
pub const LEASE_RANGE: (Duration, Duration) = (SECOND, Duration::from_secs(60 * 60));
/// Lease of a claim that asks for none.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(30);
/// How long a claim waits for work when it does not say.
pub const CLAIM_WAIT_DEFAULT: Duration = Duration::from_secs(20);
/// How long a wait lasts when it does not say.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// Longest wait of any call; more is cut.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// Fewest and most attempts.
pub const ATTEMPTS_RANGE: (u32, u32) = (1, 100);
/// Attempts of a created operation that asks for none.
pub const ATTEMPTS_DEFAULT: u32 = 3;
/// Attempts of a started operation that asks for none.
pub const ATTEMPTS_DEFAULT_START: u32 = 1;
/// Backoff after the first attempt; doubles with each further one.
pub const BACKOFF_FIRST: Duration = SECOND;
/// Longest backoff that doubling leads to.
pub const BACKOFF_DOUBLED_MAX: Duration = Duration::from_secs(5 * 60);
/// Longest backoff that a worker may ask for.
pub const BACKOFF_MAX: Duration = DAY;
/// Shortest and longest cancel grace.
pub const CANCEL_GRACE_RANGE: (Duration, Duration) = (SECOND, DAY);
/// Cancel grace of an operation that asks for none.
pub const CANCEL_GRACE_DEFAULT: Duration = Duration::from_secs(30);
/// Shortest and longest queue and run timeout.
pub const TIMEOUT_RANGE: (Duration, Duration) = (SECOND, YEAR);
/// Shortest and longest retention (0 keeps for ever).
pub const RETENTION_RANGE: (Duration, Duration) = (SECOND, Duration::from_secs(100 * 365 * 24 * 60 * 60));
/// Retention of an operation that asks for none, on a server that sets none.
pub const RETENTION_DEFAULT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// An idempotency key lives at least this long after create.
pub const KEY_LIFE_MIN: Duration = DAY;
/// How long DELETED and EXPIRED are remembered.
pub const TOMBSTONE_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A lease or grace found overdue by more than this was missed because nobody served.
pub const ABSENCE: Duration = Duration::from_secs(5);
/// A step of the clock forwards by more than this holds retention back …
pub const CLOCK_STEP: Duration = Duration::from_secs(60 * 60);
/// … for this long.
pub const RETENTION_HOLD: Duration = Duration::from_secs(60 * 60);
