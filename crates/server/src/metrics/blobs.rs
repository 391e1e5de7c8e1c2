//! What is counted of blobs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{
    Labelled,
    text::{Kind, Text},
};

/// What happened to blobs.
#[derive(Debug, Default)]
pub(crate) struct BlobCounts {
    held: AtomicU64,
    held_bytes: AtomicU64,
    stored: AtomicU64,
    collected: AtomicU64,
    kept: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    dropped: Labelled,
}

impl BlobCounts {
    /// Counts a blob that became whole.
    pub(crate) fn stored(&self) {
        self.stored.fetch_add(1, Relaxed);
    }

    /// Counts a blob that was removed because nothing referred to it.
    pub(crate) fn collected(&self) {
        self.collected.fetch_add(1, Relaxed);
    }

    /// Counts a look at a blob after which it stayed.
    pub(crate) fn kept(&self) {
        self.kept.fetch_add(1, Relaxed);
    }

    /// Counts an upload that was dropped, by the reason.
    pub(crate) fn dropped(&self, reason: &'static str) {
        self.dropped.add(reason);
    }

    /// Counts bytes that came in.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts bytes that were asked for.
    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Relaxed);
    }

    /// Takes in what a walk over all blobs found.
    pub(crate) fn held(&self, blobs: u64, bytes: u64) {
        self.held.store(blobs, Relaxed);
        self.held_bytes.store(bytes, Relaxed);
    }

    pub(super) fn render(&self, text: &mut Text) {
        let families = [
            ("blobs", Kind::Gauge, "blobs, as of the last walk over all of them", &self.held),
            ("blob_bytes", Kind::Gauge, "their bytes", &self.held_bytes),
            ("blobs_stored_total", Kind::Counter, "blobs that became whole", &self.stored),
            (
                "blobs_collected_total",
                Kind::Counter,
                "blobs removed because nothing referred to them",
                &self.collected,
            ),
            ("blobs_kept_total", Kind::Counter, "looks at a blob after which it stayed", &self.kept),
            ("blob_received_bytes_total", Kind::Counter, "bytes of blobs received", &self.received),
            ("blob_sent_bytes_total", Kind::Counter, "bytes of blobs asked for", &self.sent),
        ];
        for (name, kind, help, value) in families {
            text.single(name, kind, help, value.load(Relaxed));
        }
        text.family("blobs_dropped_total", Kind::Counter, "uploads dropped, by reason");
        for (reason, count) in self.dropped.0.lock().iter() {
            text.labelled("blobs_dropped_total", "reason", reason, *count);
        }
    }
}
