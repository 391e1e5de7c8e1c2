//! Every limit on what is imported, in one place.

/// What an import may ask of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the whole input once inflated. More ends the import.
    pub total_bytes: u64,
    /// Entries of a zip. Zips inside a zip are not opened.
    pub entries: usize,
    /// Conversations of one import. More ends it.
    pub conversations: usize,
    /// Bytes of JSON of one conversation, or of one file of an archive. A larger one fails by itself.
    pub conversation_bytes: usize,
    /// JSON values of one conversation, nested ones included: a value of two bytes takes up to 100 in memory.
    pub values: usize,
    /// Bytes of one blob of an archive. A larger one fails by itself.
    pub blob_bytes: u64,
    /// Bytes of all blobs of an archive, which do not count as `total_bytes`. Those beyond fail, and nothing else does.
    pub all_blobs_bytes: u64,
    /// Nodes of one conversation's tree.
    pub nodes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            total_bytes: 4 << 30,
            entries: 100_000,
            conversations: 200_000,
            conversation_bytes: 32 << 20,
            values: 2_000_000,
            blob_bytes: 256 << 20,
            all_blobs_bytes: 4 << 30,
            nodes: 50_000,
        }
    }
}
