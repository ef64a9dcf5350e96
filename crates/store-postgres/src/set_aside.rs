//! Operations that this server cannot read: they are offered to nobody here, and their timers wait.
//!
//! In a claim or a settling they would come first again and again, and no operation behind them would
//! get its turn. Another server, of a newer release, may well read them: so they are left as they are
//! stored, and only remembered. Who asks for one by its id hears that it cannot be read.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::fault::Damage;

/// Their ids, as far as they are known; forgotten at a restart.
#[derive(Debug, Default)]
pub(crate) struct SetAside(Mutex<BTreeSet<String>>);

impl SetAside {
    pub(crate) fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn add(&self, id: &str, damage: &Damage) {
        tracing::error!(operation = id, %damage, "set aside: here it can be neither claimed nor timed out");
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() < SET_ASIDE_MAX {
            ids.insert(id.into());
        }
    }
}

/// More are not remembered: each is sent along with every claim.
const SET_ASIDE_MAX: usize = 1_000;
