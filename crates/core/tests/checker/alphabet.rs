//! What can be asked of the operation in a state of the world.

use std::time::Duration;

use operond_core::{
    Any, Cancel, Command, Complete, Completion, Heartbeat, LeaseKey, Principal, Reason, Release, ReportFailure, Retry,
};

use crate::world::{BACKOFF, LEASE_SHORT, World, claim, digest, error, next, secret};

/// Every command worth trying: by a worker with the newest lease (live, lapsed or void), by a zombie
/// with an older one, by an impostor, by callers, by workers that want it, and a repeat of the last
/// accepted request.
pub(crate) fn commands(world: &World) -> Vec<Command> {
    let seen = &world.seen;
    let number = seen.given + 1;
    let mut commands = vec![
        Command::Settle,
        // Two workers in turn: which of them claims makes no other difference.
        Command::Claim(claim(if number.is_multiple_of(2) { "second" } else { "first" }, number)),
        cancel("caller"),
        Command::Delete,
    ];
    if world.op.cancel.is_some() {
        commands.push(cancel("another"));
    }
    if let Some(lease) = &seen.newest {
        by_worker(lease, &mut commands);
    }
    if let Some(lease) = &seen.older {
        by_zombie(lease, &mut commands);
    }
    by_impostor(world, &mut commands);
    // The repeat is one of the worker's commands already: equal content has an equal digest.
    commands
}

/// A caller's cancel.
pub(crate) fn cancel(by: &str) -> Command {
    let by = Principal::parse("by", by).expect("a short name");
    Command::Cancel(Cancel { by, reason: Reason::default() })
}

/// A complete; every content has its own digest.
pub(crate) fn complete(lease: &LeaseKey, result: Completion) -> Command {
    let content = match &result {
        Completion::Response(_) => 1,
        Completion::Error(error) if error.code == crate::world::error('A').code => 2,
        Completion::Error(_) => 3,
        Completion::Cancelled(_) => 4,
    };
    Command::Complete(Complete { lease: lease.clone(), result, metadata: None, digest: digest(content) })
}

fn by_worker(lease: &LeaseKey, commands: &mut Vec<Command>) {
    commands.push(heartbeat(lease, None, None));
    commands.push(heartbeat(lease, Some(LEASE_SHORT), None));
    commands.push(heartbeat(lease, None, Some(metadata())));
    for which in ['A', 'B'] {
        let report = ReportFailure { lease: lease.clone(), error: error(which), metadata: None };
        commands.push(Command::ReportFailure(report));
        commands.push(complete(lease, Completion::Error(error(which))));
    }
    commands.push(complete(lease, Completion::Response(Any::empty())));
    commands.push(complete(lease, Completion::Cancelled("".into())));
    commands.push(retry(lease, 'A', BACKOFF, 5));
    commands.push(retry(lease, 'B', Duration::ZERO, 6));
    commands.push(Command::Release(Release { lease: lease.clone(), digest: digest(7) }));
}

fn by_zombie(lease: &LeaseKey, commands: &mut Vec<Command>) {
    commands.push(heartbeat(lease, None, Some(metadata())));
    commands.push(Command::ReportFailure(ReportFailure { lease: lease.clone(), error: error('A'), metadata: None }));
    commands.push(complete(lease, Completion::Response(Any::empty())));
    commands.push(retry(lease, 'A', BACKOFF, 5));
    commands.push(Command::Release(Release { lease: lease.clone(), digest: digest(7) }));
}

fn by_impostor(world: &World, commands: &mut Vec<Command>) {
    let mut forged = LeaseKey { operation: world.op.id.clone(), token: operond_core::Token(1), secret: secret(0) };
    if let Some(newest) = &world.seen.newest {
        forged.token = newest.token;
        let ahead = LeaseKey { token: next(newest.token), ..newest.clone() };
        commands.push(complete(&ahead, Completion::Response(Any::empty())));
    }
    commands.push(heartbeat(&forged, None, None));
    commands.push(complete(&forged, Completion::Response(Any::empty())));
}

fn heartbeat(lease: &LeaseKey, duration: Option<Duration>, metadata: Option<Any>) -> Command {
    Command::Heartbeat(Heartbeat { lease: lease.clone(), duration, metadata, progress: None })
}

fn retry(lease: &LeaseKey, which: char, backoff: Duration, content: u8) -> Command {
    let (error, backoff) = (error(which), Some(backoff));
    Command::Retry(Retry { lease: lease.clone(), error, backoff, jitter: 0, digest: digest(content) })
}

fn metadata() -> Any {
    Any::new("type.googleapis.com/example.Metadata", [1].as_slice())
}
