//! Whether what this store acknowledges can still be trusted.

use std::sync::OnceLock;

use operond_store::Error;

/// Good until something failed for good; never good again.
#[derive(Debug, Default)]
pub(crate) struct Health(OnceLock<String>);

impl Health {
    /// A sync failed, or a thread of the store is gone: from now on nothing is stored any more.
    /// Trying again would be wrong, because a second sync may succeed without having written what
    /// the first one lost.
    pub(crate) fn fail(&self, why: impl Into<String>) {
        let why = why.into();
        if self.0.set(why.clone()).is_ok() {
            tracing::error!(why, "the store cannot be trusted any more");
        }
    }

    /// [`Error::Fatal`] once something failed.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.0.get() {
            None => Ok(()),
            Some(why) => Err(Error::Fatal(why.as_str().into())),
        }
    }
}
