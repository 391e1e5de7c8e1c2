//! A counter that threads do not fight over.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

const SHARDS: usize = 16;

/// One shard a cache line (two, as prefetchers take pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(AtomicU64);

/// Adds on the thread's own cache line; the sum is taken when somebody asks.
#[derive(Debug, Default)]
pub(super) struct Sharded([Shard; SHARDS]);

thread_local! {
    static MINE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Relaxed) % SHARDS
    };
}

impl Sharded {
    pub(super) fn add(&self, amount: u64) {
        MINE.with(|mine| self.0[*mine].0.fetch_add(amount, Relaxed));
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Relaxed)).sum()
    }
}
