//! What one shard counts while a load runs.

use std::time::{Duration, Instant};
use syncline_benches::histogram::Histogram;

/// Latencies are kept per window, for the machine's noise comes in bursts.
const WINDOW: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct Stats {
    started: Instant,
    last_delivery: Instant,
    pub(crate) windows: Vec<Window>,
    /// How late the generator itself was: more than a little makes the run worthless.
    pub(crate) lag: Histogram,
    pub(crate) sent: u64,
    pub(crate) deliveries: u64,
    pub(crate) acks: u64,
    pub(crate) frames: u64,
    pub(crate) refused: u64,
    pub(crate) garbled: u64,
    pub(crate) closed: u64,
    pub(crate) exhausted: bool,
    pub(crate) overloaded: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Window {
    pub(crate) delivery: Histogram,
    pub(crate) ack: Histogram,
}

impl Stats {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            last_delivery: now,
            windows: Vec::new(),
            lag: Histogram::default(),
            sent: 0,
            deliveries: 0,
            acks: 0,
            frames: 0,
            refused: 0,
            garbled: 0,
            closed: 0,
            exhausted: false,
            overloaded: false,
        }
    }

    fn window(&mut self, now: Instant) -> &mut Window {
        let index = (now - self.started).as_nanos() / WINDOW.as_nanos();
        let index = index as usize;
        if self.windows.len() <= index {
            self.windows.resize_with(index + 1, Window::default);
        }
        &mut self.windows[index]
    }

    pub(crate) fn note_sent(&mut self, due: Instant) {
        self.sent += 1;
        self.lag.record(due.elapsed().as_nanos() as u64);
    }

    pub(crate) fn note_deliveries(&mut self, due: impl Iterator<Item = Instant>) {
        let now = Instant::now();
        let window = self.window(now);
        let mut count = 0;
        for due in due {
            window.delivery.record((now - due).as_nanos() as u64);
            count += 1;
        }
        self.deliveries += count;
        self.last_delivery = now;
    }

    pub(crate) fn note_acks(&mut self, due: impl Iterator<Item = Instant>) {
        let now = Instant::now();
        let window = self.window(now);
        let mut count = 0;
        for due in due {
            window.ack.record((now - due).as_nanos() as u64);
            count += 1;
        }
        self.acks += count;
    }

    /// From the start to the last delivery.
    pub(crate) fn elapsed(&self) -> Duration {
        self.last_delivery - self.started
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.started = self.started.min(other.started);
        self.last_delivery = self.last_delivery.max(other.last_delivery);
        if self.windows.len() < other.windows.len() {
            self.windows.resize_with(other.windows.len(), Window::default);
        }
        for (mine, theirs) in self.windows.iter_mut().zip(&other.windows) {
            mine.delivery.merge(&theirs.delivery);
            mine.ack.merge(&theirs.ack);
        }
        self.lag.merge(&other.lag);
        self.sent += other.sent;
        self.deliveries += other.deliveries;
        self.acks += other.acks;
        self.frames += other.frames;
        self.refused += other.refused;
        self.garbled += other.garbled;
        self.closed += other.closed;
        self.exhausted |= other.exhausted;
        self.overloaded |= other.overloaded;
    }
}
