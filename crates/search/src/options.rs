//! How an index works; the defaults suit a server on one machine.

/// Options of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Longest time from [`crate::Index::apply`] to the commit that makes the change durable and visible.
    pub commit_ms: u64,
    /// Texts taken since the last commit above which the next one begins at once, in bytes: it bounds what the
    /// library holds in memory beside its own budget.
    pub commit_bytes: usize,
    /// Batches in the queue above which no more are taken.
    pub queue_batches: usize,
    /// Bytes in the queue above which no more are taken.
    pub queue_bytes: usize,
    /// Memory in which the library builds new segments; it takes no less than 15 MB.
    pub writer_bytes: usize,
    /// Time after which a search stops looking and says that it is not complete.
    pub search_ms: u64,
    /// Texts after which a search stops looking and says that it is not complete.
    pub search_texts: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            commit_ms: 1_000,
            commit_bytes: 8 << 20,
            queue_batches: 8_192,
            queue_bytes: 16 << 20,
            writer_bytes: 16 << 20,
            search_ms: 250,
            search_texts: 200_000,
        }
    }
}
