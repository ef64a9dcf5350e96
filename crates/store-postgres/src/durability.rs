//! What the database promises to keep, by its settings.

use std::fmt;

use crate::session::Session;

/// Ways in which a database can lose what it acknowledged. With all of them false, it takes the loss
/// of more than one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durability {
    /// `fsync = off`: a crash of the machine loses and damages.
    pub fsync_off: bool,
    /// `full_page_writes = off`: a crash of the machine can damage.
    pub full_page_writes_off: bool,
    /// `synchronous_commit` below `on`: a crash, or a fail-over, loses the newest commits.
    pub synchronous_commit_off: bool,
    /// `synchronous_standby_names` is empty: a fail-over loses what no standby had received.
    pub no_synchronous_standby: bool,
}

impl Durability {
    pub(crate) async fn read(session: &Session) -> Result<Self, tokio_postgres::Error> {
        // Who watches does not wait for commits: what counts is how a connection begins.
        let sql = "SELECT current_setting('fsync'), current_setting('full_page_writes'), \
                   (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'), \
                   current_setting('synchronous_standby_names')";
        let row = session.client.query_one(sql, &[]).await?;
        let setting = |column| row.try_get::<_, &str>(column);
        Ok(Self {
            fsync_off: setting(0)? == "off",
            full_page_writes_off: setting(1)? == "off",
            synchronous_commit_off: !matches!(setting(2)?, "on" | "remote_apply"),
            no_synchronous_standby: setting(3)?.is_empty(),
        })
    }

    /// Whether nothing that was acknowledged is lost, whichever one machine is.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.to_string().is_empty()
    }
}

/// What is to be feared, and what helps; nothing when it holds.
impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = [
            (self.fsync_off, "fsync is off: a crash of the database's machine loses and damages data; set fsync = on"),
            (
                self.full_page_writes_off,
                "full_page_writes is off: a crash of the database's machine can damage data; set full_page_writes = on",
            ),
            (
                self.synchronous_commit_off,
                "synchronous_commit is below on: a crash loses commits that were acknowledged; set synchronous_commit = on",
            ),
            (
                self.no_synchronous_standby,
                "there is no synchronous standby: a fail-over loses commits that were acknowledged; set synchronous_standby_names",
            ),
        ];
        let mut separator = "";
        for (_, text) in faults.iter().filter(|(there, _)| *there) {
            write!(f, "{separator}{text}")?;
            separator = "\n";
        }
        Ok(())
    }
}
