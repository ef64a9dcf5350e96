//! What other servers write to the same store: passed on to those who wait here.

use std::sync::Arc;

use operond_store::{Error as StoreError, Feed, News};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::Shared;
use crate::error::error_chain;
use crate::writer::Message;

/// The engine's only task that asks the feed.
pub(crate) struct Listener {
    shared: Arc<Shared>,
    /// Weak: an engine that nobody holds any more ends, and this with it.
    queue: mpsc::WeakSender<Message>,
    /// Nothing can be heard for now.
    deaf: bool,
}

impl Listener {
    pub(crate) fn new(shared: Arc<Shared>, queue: mpsc::WeakSender<Message>) -> Self {
        Self { shared, queue, deaf: false }
    }

    /// Passes on what `feed` tells until the engine is about to stop.
    pub(crate) async fn listen(mut self, feed: Arc<dyn Feed>) {
        let closing = self.shared.closing.clone();
        while let Some(told) = closing.run_until_cancelled(feed.next()).await {
            match told {
                Ok(news) => self.hear(news),
                Err(failure) => self.hear_nothing(&failure),
            }
        }
    }

    fn hear(&mut self, news: News) {
        let deaf = std::mem::take(&mut self.deaf);
        if deaf {
            info!("what other servers write is heard of again");
        }
        if deaf || news.missed {
            self.anything_changed();
            return;
        }
        news.operations.iter().for_each(|id| self.shared.waiters.doubt(id));
        news.documents.iter().for_each(|collection| self.shared.documents.tell(*collection));
        if !news.claimable.is_empty() {
            self.tell_writer(Message::Claimable(news.claimable));
        }
    }

    /// What is written from now on is missed; that much is known, so it is said once.
    fn hear_nothing(&mut self, failure: &StoreError) {
        if !std::mem::replace(&mut self.deaf, true) {
            warn!(error = %error_chain(failure), "what other servers write is not heard of for now");
            self.anything_changed();
        }
    }

    fn anything_changed(&self) {
        self.shared.waiters.doubt_all();
        self.shared.documents.tell_all();
        self.tell_writer(Message::AnythingClaimable);
    }

    /// A writer that has no time for it finds the same at its next tick.
    fn tell_writer(&self, message: Message) {
        if let Some(queue) = self.queue.upgrade() {
            let _full = queue.try_send(message);
        }
    }
}
