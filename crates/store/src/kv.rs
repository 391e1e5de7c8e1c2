//! The seam below the engine: an ordered map that takes atomic batches and can be made durable. sled on disk, a
//! pair of maps in memory; everything else of a store is the same code over either.

use bytes::Bytes;

use crate::error::StoreError;

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key, if it is there.
    Delete(Vec<u8>),
}

impl Change {
    /// Returns the key that is changed.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    /// Returns the bytes of key and value.
    pub fn size(&self) -> usize {
        match self {
            Self::Put(key, value) => key.len() + value.len(),
            Self::Delete(key) => key.len(),
        }
    }
}

/// How much was stored at some time, kept outside the storage engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// The newest commit.
    pub commit: u64,
    /// Documents that have a checkpoint.
    pub heads: u64,
}

/// Looks at a key and its value; says whether to go on.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool, StoreError>;

/// An ordered map of keys and values.
///
/// Writes are serialized by the caller. After a crash a prefix of the batches applied is there, each whole or not
/// at all, and at least everything applied before the last [`Kv::sync`] that returned.
pub trait Kv: Send + Sync + 'static {
    /// Returns a value.
    ///
    /// # Errors
    /// As the storage engine fails.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Visits keys and values in `from..to`, in order, until `each` returns false.
    ///
    /// # Errors
    /// As the storage engine or `each` fails.
    fn scan(&self, from: &[u8], to: &[u8], each: Visit<'_>) -> Result<(), StoreError>;

    /// Applies a batch: visible at once, not durable. Of two changes of one key the later one holds.
    ///
    /// # Errors
    /// As the storage engine fails; the state is then unknown until reopened.
    fn apply(&self, batch: Vec<Change>) -> Result<(), StoreError>;

    /// Makes everything applied survive power loss.
    ///
    /// # Errors
    /// As the storage engine fails; nothing can be said of what was applied since the last sync.
    fn sync(&self) -> Result<(), StoreError>;

    /// Returns the mark last stored.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn marked(&self) -> Result<Mark, StoreError>;

    /// Stores a mark, durable when it returns.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn mark(&self, mark: Mark) -> Result<(), StoreError>;

    /// Returns the bytes used on disk.
    fn size_on_disk(&self) -> u64;

    /// Returns the bytes free on that disk, where known.
    fn free_bytes(&self) -> Option<u64>;

    /// Fails with [`StoreError::Full`] while there is too little room to write `bytes` more.
    ///
    /// # Errors
    /// [`StoreError::Full`].
    fn room_for(&self, bytes: usize) -> Result<(), StoreError>;
}
