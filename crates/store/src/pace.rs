//! When the next commit may begin.

use std::time::{Duration, Instant};

use crate::writer::WriterOptions;

/// How long arrivals are counted before the rate is judged.
const WINDOW: Duration = Duration::from_millis(100);

/// Paces commits by what arrived lately.
#[derive(Debug)]
pub(crate) struct Pace {
    calm: Duration,
    busy: Duration,
    busy_in_window: u64,
    began: Option<Instant>,
    window: Option<Instant>,
    arrived: u64,
    is_busy: bool,
}

impl Pace {
    pub(crate) fn new(options: &WriterOptions) -> Self {
        Self {
            calm: Duration::from_micros(options.pace_us),
            busy: Duration::from_micros(options.busy_pace_us),
            busy_in_window: options.busy_entries_per_s / 10,
            began: None,
            window: None,
            arrived: 0,
            is_busy: false,
        }
    }

    /// Returns how long a commit has to wait yet; `None` where it may begin.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        let pace = if self.is_busy { self.busy } else { self.calm };
        let left = pace.checked_sub(now.saturating_duration_since(self.began?))?;
        (!left.is_zero()).then_some(left)
    }

    /// Notes that a commit of so many entries begins.
    pub(crate) fn begin(&mut self, now: Instant, entries: usize) {
        self.began = Some(now);
        self.arrived += entries as u64;
        let window = *self.window.get_or_insert(now);
        let passed = now.saturating_duration_since(window);
        if passed >= WINDOW {
            // A pause makes the window longer, and the rate over it smaller.
            let windows = passed.as_secs_f64() / WINDOW.as_secs_f64();
            self.is_busy = self.arrived as f64 / windows > self.busy_in_window as f64;
            self.window = Some(now);
            self.arrived = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_a_second_of(entries_per_s: usize) -> (Pace, Instant) {
        let mut pace = Pace::new(&WriterOptions::default());
        let mut now = Instant::now();
        for _ in 0..200 {
            now += Duration::from_millis(5);
            pace.begin(now, entries_per_s / 200);
        }
        (pace, now)
    }

    #[test]
    fn the_first_commit_and_one_after_a_pause_begin_at_once() {
        let (mut pace, now) = (Pace::new(&WriterOptions::default()), Instant::now());
        assert_eq!(pace.left(now), None);
        pace.begin(now, 1);
        assert!(pace.left(now + Duration::from_micros(999)).is_some());
        assert_eq!(pace.left(now + Duration::from_millis(1)), None);
    }

    #[test]
    fn commits_grow_further_apart_only_under_load() {
        let (pace, now) = after_a_second_of(2_000);
        assert_eq!(pace.left(now), Some(Duration::from_millis(1)));
        let (mut pace, now) = after_a_second_of(4_000);
        assert_eq!(pace.left(now), Some(Duration::from_millis(8)));
        let later = now + Duration::from_secs(5);
        pace.begin(later, 1);
        assert_eq!(pace.left(later), Some(Duration::from_millis(1)), "the load is over");
    }
}
