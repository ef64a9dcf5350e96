//! How fast something goes, and when it will be through.

use std::time::Duration;

use operond_client::Progress;
use tokio::time::Instant;

/// Measures the speed of one operation by what its worker tells.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// When it was seen for the first time, and how far it was then.
    first: Option<(Instant, f64)>,
    /// How far it was the last time.
    last: f64,
}

impl Meter {
    /// Speed and time to go, as text: `12.3 frames/s, 8 s left`; empty until there is something to
    /// measure.
    pub(super) fn measure(&mut self, now: Instant, progress: &Progress) -> String {
        let Some(done) = progress.done else { return String::new() };
        // Another attempt begins anew.
        let first = self.first.filter(|_| done >= self.last);
        let (began, from) = *self.first.insert(first.unwrap_or((now, done)));
        self.last = done;
        let rate = (done - from) / (now - began).as_secs_f64();
        if now - began < MEASURED_MIN || !rate.is_finite() || rate <= 0.0 {
            return String::new();
        }
        let unit = if progress.unit.is_empty() { String::new() } else { format!(" {}", super::escape(&progress.unit)) };
        match progress.total {
            Some(total) if total > done => {
                format!("{}{unit}/s, {} left", rounded(rate), time((total - done) / rate))
            }
            _ => format!("{}{unit}/s", rounded(rate)),
        }
    }
}

/// How much of it is done, from 0 to 1.
pub(super) fn fraction(progress: &Progress) -> Option<f64> {
    match (progress.done, progress.total) {
        (Some(done), Some(total)) if total > 0.0 => Some((done / total).clamp(0.0, 1.0)),
        _ => None,
    }
}

fn rounded(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn time(seconds: f64) -> String {
    match seconds.ceil() {
        s if s < 60.0 => format!("{s} s"),
        s if s < 3_600.0 => format!("{} min {} s", (s / 60.0).floor(), s % 60.0),
        s => format!("{} h {} min", (s / 3_600.0).floor(), (s % 3_600.0 / 60.0).floor()),
    }
}

/// A shorter time says too little about the speed.
const MEASURED_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(done: f64, total: f64) -> Progress {
        Progress { done: Some(done), total: Some(total), unit: "frames".into(), ..Progress::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn speed_and_time_to_go_come_from_what_was_seen() {
        let begun = Instant::now();
        let after = |millis| begun + Duration::from_millis(millis);
        let mut meter = Meter::default();
        assert_eq!(meter.measure(begun, &at(100.0, 200.0)), "");
        assert_eq!(meter.measure(after(500), &at(105.0, 200.0)), "");
        assert_eq!(meter.measure(after(2_000), &at(120.0, 200.0)), "10 frames/s, 8 s left");
        assert_eq!(meter.measure(after(4_000), &at(200.0, 200.0)), "25 frames/s");
    }

    #[tokio::test(start_paused = true)]
    async fn another_attempt_is_measured_anew() {
        let begun = Instant::now();
        let mut meter = Meter::default();
        meter.measure(begun, &at(50.0, 100.0));
        assert_eq!(meter.measure(begun + Duration::from_secs(10), &at(0.0, 100.0)), "");
        assert_eq!(meter.measure(begun + Duration::from_secs(12), &at(1.0, 100.0)), "0.5 frames/s, 3 min 18 s left");
    }

    #[test]
    fn times_are_told_in_the_units_that_matter() {
        assert_eq!(time(0.2), "1 s");
        assert_eq!(time(59.9), "1 min 0 s");
        assert_eq!(time(7_325.0), "2 h 2 min");
    }

    #[test]
    fn a_fraction_needs_a_total_and_stays_within_bounds() {
        assert_eq!(fraction(&at(5.0, 10.0)), Some(0.5));
        assert_eq!(fraction(&at(15.0, 10.0)), Some(1.0));
        assert_eq!(fraction(&at(0.0, 0.0)), None);
        assert_eq!(fraction(&Progress::default()), None);
    }
}
