//! How far a copy is: a bar on a terminal, else a line now and then.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// Counts rows. The bar goes when this is dropped.
pub(super) struct Progress {
    /// What is done to a row.
    done: &'static str,
    rows: Cell<u64>,
    all: u64,
    bar: Option<ProgressBar>,
    said: Cell<Instant>,
}

impl Progress {
    pub(super) fn new(done: &'static str, all: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(all).with_style(style()).with_message(done));
        Self { done, rows: Cell::new(0), all, bar, said: Cell::new(Instant::now()) }
    }

    /// So many more rows are done.
    pub(super) fn add(&self, rows: usize) {
        self.rows.set(self.rows.get() + rows as u64);
        match &self.bar {
            Some(bar) => bar.set_position(self.rows.get()),
            None if self.said.get().elapsed() >= SAID_EVERY => {
                eprintln!("{} of {} rows {}", self.rows.get(), self.all, self.done);
                self.said.set(Instant::now());
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:32} {human_pos} of {human_len} rows {msg}, {eta} left")
        .expect("the template is valid")
}

const SAID_EVERY: Duration = Duration::from_secs(10);
