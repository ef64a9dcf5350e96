//! What happens to the node that leads.

use std::time::Duration;

use super::ensemble::Ensemble;
use super::pause;

/// One way to lose a leader.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its machine dies.
    NodeKilled,
    /// Its machine dies, and what it wrote in the second before has reached no standby.
    NodeCutOffAndKilled,
    /// PostgreSQL dies; Patroni does not.
    PostgresKilled,
    /// Its machine stands still, and goes on when another node has taken over.
    NodeFrozen,
}

impl Fault {
    pub(super) const ALL: [Self; 4] =
        [Self::NodeKilled, Self::NodeCutOffAndKilled, Self::PostgresKilled, Self::NodeFrozen];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NodeKilled => "node killed",
            Self::NodeCutOffAndKilled => "node cut off, then killed",
            Self::PostgresKilled => "PostgreSQL killed",
            Self::NodeFrozen => "node frozen",
        }
    }

    /// How long nothing can be acknowledged besides the time that Patroni waits for a leader.
    pub(super) fn besides(self) -> Duration {
        match self {
            Self::NodeKilled | Self::PostgresKilled => Duration::ZERO,
            Self::NodeCutOffAndKilled => CUT_OFF,
            Self::NodeFrozen => ASKED,
        }
    }

    /// Breaks the leader.
    ///
    /// # Errors
    /// It was not up.
    pub(super) fn strike(self, ensemble: &mut Ensemble, leader: usize) -> anyhow::Result<()> {
        match self {
            Self::NodeKilled => ensemble.kill_node(leader),
            Self::PostgresKilled => ensemble.kill_postgres(leader),
            Self::NodeFrozen => ensemble.pause_node(leader),
            Self::NodeCutOffAndKilled => {
                let standbys = [0, 1, 2].into_iter().filter(|node| *node != leader);
                standbys.clone().for_each(|node| ensemble.cut_replication(node));
                pause(CUT_OFF);
                ensemble.kill_node(leader)?;
                standbys.for_each(|node| ensemble.mend_replication(node));
                Ok(())
            }
        }
    }

    /// Brings back what was broken.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn undo(self, ensemble: &mut Ensemble, leader: usize) -> anyhow::Result<()> {
        match self {
            Self::NodeKilled | Self::NodeCutOffAndKilled => ensemble.restart_node(leader),
            Self::PostgresKilled => Ok(()),
            Self::NodeFrozen => ensemble.resume_node(leader),
        }
    }
}

const CUT_OFF: Duration = Duration::from_secs(1);
/// Patroni asks all nodes how far they are before another one leads, and one that stands still for so long.
const ASKED: Duration = Duration::from_secs(2);
