//! The walk: breadth first from create through every command and every interesting instant.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Change, Command, Decision, NewOperation, Now, Operation, OperationId, Phase, Rejection, Stored, Timestamp, create,
};

use crate::alphabet::commands;
use crate::invariants::{Invariant, Step, Violation, check, ensure, live};
use crate::oracle::{self, ABSENCE, shown};
use crate::world::{QUEUE, RUN, Setup, World};

/// What is checked: the rules themselves, or a mutant of them.
pub(crate) trait Rules {
    fn create(&self, new: &NewOperation, now: Timestamp) -> Operation {
        create(new, OperationId::generate(1, [7; 13]), now)
    }

    fn decide(&self, op: &Operation, command: &Command, now: Now) -> Decision;
}

/// How far the walk got.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Walked {
    pub(crate) states: usize,
    pub(crate) decisions: usize,
}

/// A violation and the shortest way to it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) violation: Violation,
    pub(crate) path: Vec<String>,
}

/// Visits every state that `setup` can lead to; stops at the first violation.
pub(crate) fn explore(rules: &dyn Rules, setup: &Setup) -> Result<Walked, Box<Found>> {
    let begin = World::begin(rules.create(&setup.new_operation(), BEGIN), setup);
    let mut walk = Walk { rules, setup, visited: HashSet::new(), found: Vec::new(), decisions: 0 };
    walk.reach(begin, None, How::Created);
    let mut next = 0;
    while next < walk.found.len() {
        let world = walk.found[next].world.take().expect("a state is visited once");
        if let Err(failed) = walk.visit(&world, next) {
            let (violation, last) = *failed;
            return Err(Box::new(Found { violation, path: walk.path(next, &last) }));
        }
        next += 1;
    }
    Ok(Walked { states: walk.found.len(), decisions: walk.decisions })
}

struct Walk<'a> {
    rules: &'a dyn Rules,
    setup: &'a Setup,
    visited: HashSet<u64>,
    found: Vec<Node>,
    decisions: usize,
}

/// A state found: its world until it is visited, and how it was reached.
struct Node {
    world: Option<World>,
    parent: Option<usize>,
    how: How,
}

/// One step of the way to a state.
#[derive(Clone)]
enum How {
    Created,
    Asked(Command),
    TimePassed(Duration),
    /// So long, and nobody could be served until this long before its end.
    Outage(Duration, Duration),
    ClockStepsBack,
    Checked(&'static str),
}

impl Walk<'_> {
    fn visit(&mut self, world: &World, index: usize) -> Result<(), Box<(Violation, How)>> {
        let settled = self.decide(&world.op, &Command::Settle, world.told());
        let on_time =
            self.settled_on_time(world).map_err(|violation| Box::new((violation, How::Checked("settle on time"))))?;
        for command in commands(world) {
            let step = self.step(world, &command, &settled, on_time.as_ref());
            match step {
                Ok(Some(after)) => self.reach(after, Some(index), How::Asked(command)),
                Ok(None) => {}
                Err(violation) => return Err(Box::new((violation, How::Asked(command)))),
            }
        }
        let due = oracle::first_timer(&world.op).is_some_and(|at| at <= world.now);
        if !due {
            self.time_alone_ends_it(world)
                .map_err(|violation| Box::new((violation, How::Checked("nothing but time"))))?;
            self.let_time_pass(world, index);
        }
        Ok(())
    }

    /// One command: the checks, and the state that it leads to.
    fn step(
        &mut self,
        world: &World,
        command: &Command,
        settled: &Decision,
        on_time: Option<&Stored>,
    ) -> Result<Option<World>, Violation> {
        let decision = self.decide(&world.op, command, world.told());
        let step = Step { world, command, settled, decision: &decision };
        check(&step)?;
        self.timers_first(&step)?;
        if let Some(on_time) = on_time {
            self.late_settler_same_record(&step, on_time)?;
        }
        let Some(after) = live(&decision) else { return Ok(None) };
        self.ends_in_time(world, after)?;
        let mut seen = world.seen.clone();
        if step.accepted_anew() {
            match (command, live(settled)) {
                (Command::Claim(_), _) => seen.note_lease(after),
                (_, Some(settled)) => seen.note_accepted(command, settled),
                (_, None) => {}
            }
        }
        // The rules never read events: forgetting them keeps the space finite.
        let op = Arc::new(Operation { events: Vec::new(), ..after.clone() });
        // Whatever ran out before the end of an outage is settled now.
        Ok(Some(World { op, now: world.now, away_until: None, seen }))
    }

    /// Settling first and then deciding is the same as deciding.
    fn timers_first(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        if step.settled.changes.is_empty() {
            return Ok(());
        }
        let Some(settled) = live(step.settled) else { return Ok(()) };
        let later = self.decide(settled, step.command, step.world.told());
        let changes: Vec<Change> = step.settled.changes.iter().chain(&later.changes).copied().collect();
        let direct = step.decision;
        let same = later.stored == direct.stored && later.answer == direct.answer && changes == direct.changes;
        ensure(same, Invariant::TimersFirst, || format!("settled first: {later:?}, at once: {direct:?}"))
    }

    /// What a settler makes of due timers who was there at each one's instant; `None` when nothing is
    /// due, when nobody was there to serve, or when the clock went back.
    fn settled_on_time(&mut self, world: &World) -> Result<Option<Stored>, Violation> {
        let due = oracle::first_timer(&world.op).filter(|at| *at <= world.now);
        if due.is_none_or(|at| oracle::missed(at, world.told())) || world.seen.stepped_back {
            return Ok(None);
        }
        let mut op = Arc::clone(&world.op);
        for _ in 0..SETTLES_MAX {
            let Some(at) = oracle::first_timer(&op).filter(|at| *at <= world.now) else {
                return Ok(Some(Stored::Live(op)));
            };
            match self.decide(&op, &Command::Settle, Now::at(at)).stored {
                Stored::Live(next) => op = next,
                gone @ Stored::Gone(_) => return Ok(Some(gone)),
            }
        }
        ensure(false, Invariant::NoTimerLeftDue, || format!("settling does not end: {op:?}")).map(|()| None)
    }

    fn late_settler_same_record(&mut self, step: &Step<'_>, on_time: &Stored) -> Result<(), Violation> {
        let (expected, answer) = match on_time {
            Stored::Live(op) => {
                let decision = self.decide(op, step.command, step.world.told());
                (decision.stored, decision.answer)
            }
            Stored::Gone(gone) => {
                let refused = !matches!(step.command, Command::Settle);
                (on_time.clone(), if refused { Err(Rejection::Gone(*gone)) } else { Ok(()) })
            }
        };
        let same = without_times(&step.decision.stored) == without_times(&expected) && step.decision.answer == answer;
        ensure(same, Invariant::LateSettlerSameRecord, || {
            format!("on time {expected:?} {answer:?}, late {:?}", step.decision)
        })
    }

    /// With both timeouts no operation is unfinished after the longest wait and the longest work.
    fn ends_in_time(&self, world: &World, after: &Operation) -> Result<(), Violation> {
        if !(self.setup.queue_timeout && self.setup.run_timeout) || world.seen.stepped_back || shown(after).done {
            return Ok(());
        }
        let end = after.created_at.after(QUEUE + RUN);
        ensure(world.now < end, Invariant::Ends, || format!("unfinished at {}, after {end}", world.now))
    }

    /// Nobody claims, heartbeats or asks any more; the server settles on time. Where a timeout or a
    /// cancel says so the operation ends, and settling itself always does.
    fn time_alone_ends_it(&mut self, world: &World) -> Result<(), Violation> {
        let mut op = Arc::clone(&world.op);
        for _ in 0..SETTLES_MAX {
            let Some(at) = oracle::first_timer(&op).filter(|_| !shown(&op).done) else { break };
            match self.decide(&op, &Command::Settle, Now::at(at.max(world.now))).stored {
                Stored::Live(next) => op = next,
                Stored::Gone(_) => return Ok(()),
            }
        }
        let cancelling = op.cancel.is_some() && op.failure.is_none();
        let waits_for_ever = !cancelling && !self.setup.queue_timeout && op.run_deadline.is_none();
        let rests = matches!(op.phase, Phase::Queued { deadline: None, .. }) && waits_for_ever;
        ensure(shown(&op).done || rests, Invariant::Ends, || format!("with time alone: {op:?}"))
    }

    fn let_time_pass(&mut self, world: &World, index: usize) {
        let timer = oracle::first_timer(&world.op);
        let backoff = Some(world.op.available_at).filter(|at| *at > world.now && !shown(&world.op).done);
        let mut instants = vec![];
        for at in [timer, backoff].into_iter().flatten() {
            instants.extend([at.before(Duration::from_micros(1)), at]);
        }
        if let Some(at) = timer {
            instants.extend([at.after(LATE), at.after(ABSENCE), at.after(ABSENCE + Duration::from_micros(1))]);
        }
        for at in instants.into_iter().filter(|at| *at > world.now) {
            self.reach(world.at(at), Some(index), How::TimePassed(at.since(world.now)));
        }
        if let Some(at) = timer.filter(|_| self.setup.outage && !world.seen.outage) {
            self.let_an_outage_pass(world, index, at);
        }
        if self.setup.clock_steps_back && !world.seen.stepped_back {
            let mut back = world.at(world.now.before(STEP_BACK));
            back.seen.stepped_back = true;
            self.reach(back, Some(index), How::ClockStepsBack);
        }
    }

    /// An outage that ends when the timer is due, a moment after it, or when it is found.
    fn let_an_outage_pass(&mut self, world: &World, index: usize, timer: Timestamp) {
        let now = timer.after(LATE);
        let mut found = world.at(now);
        found.seen.outage = true;
        for until in [timer, timer.after(Duration::from_micros(1)), now] {
            let how = How::Outage(now.since(world.now), now.since(until));
            self.reach(World { away_until: Some(until), ..found.clone() }, Some(index), how);
        }
    }

    fn reach(&mut self, world: World, parent: Option<usize>, how: How) {
        if self.visited.insert(world.fingerprint()) {
            self.found.push(Node { world: Some(world), parent, how });
        }
    }

    fn decide(&mut self, op: &Operation, command: &Command, now: Now) -> Decision {
        self.decisions += 1;
        self.rules.decide(op, command, now)
    }

    fn path(&self, index: usize, last: &How) -> Vec<String> {
        let mut path = vec![last.to_string()];
        let mut at = Some(index);
        while let Some(node) = at.map(|index| &self.found[index]) {
            path.push(node.how.to_string());
            at = node.parent;
        }
        path.reverse();
        path
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("create"),
            Self::Asked(command) => write!(f, "{command:?}"),
            Self::TimePassed(length) => write!(f, "{length:?} pass"),
            Self::Outage(length, over) => write!(f, "{length:?} pass, with an outage until {over:?} before their end"),
            Self::ClockStepsBack => f.write_str("the clock steps back"),
            Self::Checked(what) => f.write_str(what),
        }
    }
}

/// The record with every time and the events taken out.
fn without_times(stored: &Stored) -> Stored {
    let Stored::Live(op) = stored else { return stored.clone() };
    let mut op = Operation::clone(op);
    let never = Timestamp::default();
    let forget = |at: &mut Option<Timestamp>| *at = at.map(|_| never);
    for at in [&mut op.started_at, &mut op.run_deadline, &mut op.grace_deadline] {
        forget(at);
    }
    (op.modified_at, op.available_at) = (never, never);
    if let Some(cancel) = &mut op.cancel {
        cancel.at = never;
    }
    match &mut op.phase {
        Phase::Queued { deadline, .. } => forget(deadline),
        Phase::Leased { expires_at } => *expires_at = never,
        Phase::Done { finished_at, expires_at, .. } => {
            *finished_at = never;
            forget(expires_at);
        }
    }
    op.events.clear();
    Stored::Live(Arc::new(op))
}

const BEGIN: Timestamp = Timestamp::from_micros(1_000_000_000);
/// A settler that is late, but not absent.
const LATE: Duration = Duration::from_secs(2);
/// More than any lease, grace or backoff is long.
const STEP_BACK: Duration = Duration::from_secs(15);
/// Settling an operation in rest ends after far fewer rounds.
const SETTLES_MAX: usize = 32;
