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
            nodes: 50_000,
        }
    }
}
