//! The rules of a long-running operation, pure: no clock, no IO, no async, std only.
//!
//! [`create`] begins an operation; [`decide`] judges every later command, due timers first. Time,
//! randomness and digests are arguments, so that every run can be repeated. The rules are those
//! of CONTRACT §3; an exhaustive checker (`tests/checker.rs`) holds them to their invariants.
//!
//! ```
//! use operond_core::{Cancel, Command, Kind, NewOperation, Now, OperationId, Principal, Reason};
//! use operond_core::{Spec, State, Stored, Timestamp, create, decide};
//!
//! let now = Timestamp::from_micros(1_000_000);
//! let new = NewOperation { spec: Spec::new(Kind::new("render")?).into(), metadata: None, claim: None };
//! let operation = create(&new, OperationId::generate(1, [7; 13]), now);
//! assert_eq!(operation.state(), State::Queued);
//!
//! let cancel = Command::Cancel(Cancel { by: Principal::default(), reason: Reason::default() });
//! let decision = decide(&operation, &cancel, Now::at(now));
//! let Stored::Live(operation) = decision.stored else { unreachable!("a cancel removes nothing") };
//! assert_eq!(operation.state(), State::Cancelled, "nobody had claimed it");
//! # Ok::<(), operond_core::Invalid>(())
//! ```
//!
//! What it is not: a store (it sees one operation at a time), a scheduler (who claims next is the
//! store's and the engine's business), or a wire format (faces translate).

mod create;
mod decide;
mod draft;
mod id;
mod invalid;
mod lease;
pub mod limits;
mod name;
mod operation;
mod payload;
mod scope;
mod settle;
mod time;

pub use create::{FIELDS, Fingerprint, KeyJudgement, KeyRecord, NewOperation, create, judge_key, lease_of_start};
pub use decide::{
    Cancel, Claim, Command, Complete, Completion, Decision, Gone, Heartbeat, Rejection, Release, ReportFailure, Retry,
    Stored, decide,
};
pub use draft::Change;
pub use id::{CELL, ID_ENTROPY_BYTES, OperationId};
pub use invalid::{Invalid, Problem, check_duration, check_size, check_text};
pub use lease::{Digest, Lease, LeaseKey, LeaseSecret, Token};
pub use name::{Description, IdempotencyKey, Kind, Principal, Reason, Tenant, Worker};
pub use operation::{CancelRequest, Event, EventKind, Labels, Operation, Outcome, Phase, Retention, Spec, State};
pub use payload::{Any, Progress, Status, code};
pub use scope::Scope;
pub use settle::Timer;
pub use time::{Now, Timestamp};
