//! What the store was asked and has not answered yet.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A few futures that go on together, within the task that waits for them.
pub(crate) struct UnderWay<T>(Vec<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> UnderWay<T> {
    pub(crate) fn begin(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.0.push(Box::pin(future));
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// What comes of the one that is ready first. Dropped before, it leaves all of them going on.
    pub(crate) async fn next(&mut self) -> T {
        poll_fn(|context| self.poll(context)).await
    }

    /// Asks each of them: they are few, and each is asked when another is ready.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<T> {
        for index in 0..self.0.len() {
            if let Poll::Ready(output) = self.0[index].as_mut().poll(context) {
                drop(self.0.swap_remove(index));
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    }
}

impl<T> Default for UnderWay<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}
