//! How fast what takes memory has to move: the one time limit of large messages that come and of frames that go out.
//!
//! At first there is some patience. Every byte that moves buys time at the least rate, never more than the patience is: so
//! a stall is borne, a trickle is not, and what is held is held for no longer than its size and the rate say.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;

/// The least rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// How long nothing has to move.
    pub(crate) patience: Duration,
    pub(crate) bytes_per_s: u64,
}

impl Rate {
    /// Takes it from the configuration.
    pub(crate) fn of(limits: &Limits) -> Self {
        Self { patience: Duration::from_millis(limits.send_ms), bytes_per_s: limits.least_bytes_per_s }
    }

    /// Returns when time is up for what begins now.
    pub(crate) fn begin(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// Returns when time is up after so many more bytes moved.
    pub(crate) fn moved(&self, due: Instant, bytes: usize) -> Instant {
        let bought_us = (bytes as u64).saturating_mul(1_000_000) / self.bytes_per_s.max(1);
        (due + Duration::from_micros(bought_us)).min(self.begin())
    }
}
