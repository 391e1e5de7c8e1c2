//! Every limit on bytes from outside that this crate enforces, in one place. The defaults are the contract's; a server
//! may configure others.

/// What a peer may ask of us in one message. A count is checked before anything of that size is allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one update (and so of one message).
    pub update_bytes: usize,
    /// Client sections in one update. A section costs yrs a map entry and, at worst, a stack frame.
    pub sections: usize,
    /// Blocks in one update. A block of a few bytes becomes an item of about 250 bytes in yrs.
    pub blocks: usize,
    /// Ranges in the delete set of one update, all clients together.
    pub delete_ranges: usize,
    /// Values of kind *any* in one update, nested ones included. A value of one byte takes 24 bytes in yrs.
    pub values: usize,
    /// What applying one update may cost, in bytes that yrs moves: [`Checked::work`](crate::known::Checked::work).
    /// A core moves about 10^10 of them in a second.
    pub work: u64,
    /// What yrs may copy to join the blocks of one update that continue each other, in bytes. It joins them from the
    /// last to the first and keeps every copy until it is done: 20,000 values in a row, 120 kB, would take 5 GB.
    pub join_bytes: u64,
    /// How deep arrays and objects may be nested in one any-value or one JSON text: levels.
    pub any_depth: usize,
    /// How deep shared types may be nested, counted from the root: levels. Deeper nesting overflows yrs' stack.
    pub type_depth: usize,
    /// JSON of one awareness state: bytes.
    pub awareness_state_bytes: usize,
    /// States in one awareness message. Clients repeat the states of everyone they know.
    pub awareness_states: usize,
    /// Entries in one state vector.
    pub state_vector_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            update_bytes: 32 << 20,
            sections: 65_536,
            blocks: 1_000_000,
            delete_ranges: 500_000,
            values: 8_000_000,
            work: 20_000_000_000,
            join_bytes: 256 << 20,
            any_depth: 64,
            type_depth: 64,
            awareness_state_bytes: 4096,
            awareness_states: 4096,
            state_vector_entries: 1_000_000,
        }
    }
}

impl Limits {
    /// Returns the limits for what is read back from our own store: it passed the limits of its time, so only
    /// what protects memory safety (the depths) is checked again.
    pub fn stored() -> Self {
        Self {
            update_bytes: usize::MAX,
            sections: usize::MAX,
            blocks: usize::MAX,
            delete_ranges: usize::MAX,
            values: usize::MAX,
            work: u64::MAX,
            join_bytes: u64::MAX,
            state_vector_entries: usize::MAX,
            ..Self::default()
        }
    }
}
