//! Every bound of an open document, in one place. The server's configuration fills it.

use std::sync::Arc;

use syncline_protocol::limits::Limits;

use crate::Budget;

/// The bounds and times of a session. `Default` is the contract's.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the checker lets through.
    pub limits: Limits,
    /// A document at rest, in bytes; a larger one takes no more edits.
    pub document_bytes: usize,
    /// Kept for a document whose dependencies are missing, in bytes; also what one connection may park.
    pub pending_bytes: usize,
    /// Frames that wait while the document is loaded or busy, in bytes.
    pub waiting_bytes: usize,
    /// What all documents together hold of that, of what is parked, and of frames that are owed back once they are saved.
    pub waiting_pool: Arc<Budget>,
    /// Updates above this many bytes are judged and applied on the pool, not by the task that read them.
    pub heavy_bytes: usize,
    /// The same bound as the checker's estimate of work.
    pub heavy_work: u64,
    /// A document above this many bytes is diffed and encoded on the pool.
    pub heavy_document_bytes: usize,
    /// A document that has been loading or busy for this long is refused until the work comes back.
    pub busy_ms: u64,
    /// A document nobody used for this long leaves memory.
    pub evict_after_ms: u64,
    /// A document is folded into a checkpoint after this many updates,
    pub fold_updates: u64,
    /// or this many bytes of updates; a large one later, in proportion to its size.
    pub fold_bytes: usize,
    /// Read marks that take this many bytes are renewed when they are folded, if that halves them.
    pub marks_epoch_bytes: usize,
    /// An awareness state that was not renewed for this long is gone.
    pub awareness_timeout_ms: u64,
    /// Sync status is sent at most this often.
    pub status_every_ms: u64,
    /// The side record (devices) is written at most this often.
    pub side_every_ms: u64,
    /// A hidden peer gets at most one frame in this time.
    pub hidden_every_ms: u64,
    /// A device whose update failed inside apply stays refused for this long.
    pub culprit_ms: u64,
    /// A device whose writing had to be healed this often is closed, and stays so for `culprit_ms`.
    pub heals: u32,
    /// A SyncStep2 that was over the message limit is not asked for again in this time.
    pub too_big_ms: u64,
    /// A document that could not be loaded is tried again after this long.
    pub reload_after_ms: u64,
    /// SyncStep1 that a peer may send at once,
    pub step1_burst: u32,
    /// and one more after each such time.
    pub step1_every_ms: u64,
    /// Devices listed in a document's status.
    pub devices: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            document_bytes: 64 << 20,
            pending_bytes: 4 << 20,
            waiting_bytes: 64 << 20,
            waiting_pool: Arc::new(Budget::new(512 << 20, 64 << 10)),
            heavy_bytes: 64 << 10,
            heavy_work: 10_000_000,
            heavy_document_bytes: 2 << 20,
            busy_ms: 10_000,
            evict_after_ms: 30_000,
            fold_updates: 2_000,
            fold_bytes: 1 << 20,
            marks_epoch_bytes: 1 << 20,
            awareness_timeout_ms: 30_000,
            status_every_ms: 250,
            side_every_ms: 5_000,
            hidden_every_ms: 1_000,
            culprit_ms: 600_000,
            heals: 20,
            too_big_ms: 600_000,
            reload_after_ms: 10_000,
            step1_burst: 20,
            step1_every_ms: 500,
            devices: 256,
        }
    }
}
