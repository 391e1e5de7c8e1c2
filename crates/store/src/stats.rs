//! What the commit thread counts, for metrics: read at any time, without locks.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::writer::micros;

/// Upper bounds of [`WriterStats::commit_buckets`], in microseconds; one more bucket takes the rest.
pub const COMMIT_BUCKETS_US: [u64; 10] =
    [100, 200, 400, 800, 1_600, 3_200, 6_400, 25_000, 100_000, 1_000_000];

/// Counters of a [`crate::writer::Writer`], all since its start.
#[derive(Debug, Default)]
pub struct WriterStats {
    /// Commits that are durable.
    pub commits: AtomicU64,
    /// Entries in them.
    pub entries: AtomicU64,
    /// Bytes of those entries.
    pub bytes: AtomicU64,
    /// Checkpoints that are durable.
    pub checkpoints: AtomicU64,
    /// Nanoseconds of the last commit, encoding and syncing included.
    pub last_commit_ns: AtomicU64,
    /// Nanoseconds of all commits.
    pub total_commit_ns: AtomicU64,
    /// Commits by their duration: see [`COMMIT_BUCKETS_US`].
    pub commit_buckets: [AtomicU64; COMMIT_BUCKETS_US.len() + 1],
    /// Entries taken up by the commit that is under way or was last.
    pub taken_entries: AtomicU64,
    /// Their bytes.
    pub taken_bytes: AtomicU64,
    /// How long the oldest of them had been queued, in microseconds.
    pub oldest_queued_us: AtomicU64,
    /// A commit failed: nothing after it is written.
    pub failed: AtomicBool,
}

impl WriterStats {
    pub(crate) fn taken(&self, entries: usize, bytes: usize, oldest: Option<Instant>) {
        self.taken_entries.store(entries as u64, Relaxed);
        self.taken_bytes.store(bytes as u64, Relaxed);
        self.oldest_queued_us.store(oldest.map_or(0, |oldest| micros(oldest.elapsed())), Relaxed);
    }

    pub(crate) fn committed(&self, entries: usize, bytes: usize, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = COMMIT_BUCKETS_US.partition_point(|bound| *bound < micros(took));
        self.commits.fetch_add(1, Relaxed);
        self.entries.fetch_add(entries as u64, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
        self.last_commit_ns.store(nanos, Relaxed);
        self.total_commit_ns.fetch_add(nanos, Relaxed);
        self.commit_buckets[bucket].fetch_add(1, Relaxed);
    }
}
