//! The seam that everything above stores through. On one machine it is sled; in a cluster it will be a
//! replicated log, so nothing here says that a commit is local or that sequences are dense.

use bytes::Bytes;
use syncline_document::record::{Checkpoint, Entry, Sequence, Stored};
use syncline_protocol::names::DocumentName;

use crate::{codec::Prepared, error::StoreError};

/// The position of a commit in the store's history: strictly increasing and dense.
pub type CommitNumber = u64;

/// The largest side record, in bytes: it is one value of the store.
pub const SIDE_BYTES: usize = 48 * 1024;

/// The largest value of a [`Row`], in bytes: with its key it is one value of the store.
pub const ROW_BYTES: usize = 48 * 1024;

/// The longest key of a [`Row`], in bytes.
pub const ROW_KEY_BYTES: usize = 1024;

/// The largest journal entry and the largest checkpoint, in bytes; the limits on what peers send are far below.
pub const VALUE_BYTES: usize = 512 * 1024 * 1024;

/// A change of one row of the server's own tables. Many deletions belong into many commits: large batches of them
/// cost the storage engine memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Any bytes, 1 to [`ROW_KEY_BYTES`]; rows are listed in the order of their keys.
    pub key: Vec<u8>,
    /// At most [`ROW_BYTES`]; `None` deletes the row.
    pub value: Option<Bytes>,
}

/// A row that was looked at: its key, and its value or what is wrong with it.
pub type CheckedRow = (Vec<u8>, Result<Bytes, StoreError>);

/// A document that is to be erased.
#[derive(Debug, Clone)]
pub struct Erase {
    /// Which.
    pub document: DocumentName,
    /// What takes its place: a checkpoint without what is to go. None where all of it goes.
    pub replacement: Option<Prepared>,
}

/// What [`Store::erase`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Documents that were there.
    pub documents: u64,
    /// Journal entries that went.
    pub entries: u64,
    /// Journal records that were written anew.
    pub records: u64,
}

/// Keeps documents: a journal of commits, and a checkpoint per document.
///
/// Calls may come from any thread; those that write are serialized inside. Once a write failed or panicked the
/// store is poisoned: it refuses every later write and goes on reading.
pub trait Store: Send + Sync + 'static {
    /// Writes the entries as one journal record, and the rows with it: after a crash both are there or neither.
    /// **They survive process death and power loss once this returns.** Of rows with the same key the last holds.
    /// Rows without entries use up no commit number.
    ///
    /// # Errors
    /// [`StoreError::Bug`] where a sequence is not above the newest one of its document, [`StoreError::TooLarge`]
    /// where a row's key or value is not of the size that is taken (nothing is written, the store is not
    /// poisoned); a failed write poisons the store.
    fn commit(&self, batch: &[Entry], rows: &[Row]) -> Result<(), StoreError>;

    /// Reads a row: as of the newest commit that is durable, never of one under way.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where it fails its check.
    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Lists the rows with keys in `from..to`, in their order, at most `limit`; fewer mean that there are no more.
    /// Each row is a durable one; a commit that becomes durable meanwhile may show in some of them only.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where one of them fails its check.
    fn rows(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError>;

    /// Reads a document: checkpoint, tail, quarantined entries, side record. `None` if nothing of it is stored.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names the first check that failed: never a shortened document.
    fn read(&self, name: &DocumentName) -> Result<Option<Stored>, StoreError>;

    /// Writes checkpoints, durable when it returns; one result per checkpoint. One that is not newer than what
    /// is stored is left out and fine.
    ///
    /// # Errors
    /// Per checkpoint [`StoreError::Bug`] where its sequence is beyond the document's durable one; anything else
    /// poisons the store.
    fn write_checkpoints(&self, checkpoints: &[(DocumentName, Prepared)]) -> Vec<Result<(), StoreError>>;

    /// Writes one checkpoint, durable when it returns. Compresses on the calling thread: use
    /// [`Prepared::new`] and [`Store::write_checkpoints`] to do that elsewhere.
    ///
    /// # Errors
    /// As [`Store::write_checkpoints`]; [`StoreError::TooLarge`] above [`VALUE_BYTES`].
    fn write_checkpoint(&self, name: &DocumentName, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let prepared = Prepared::new(checkpoint)?;
        self.write_checkpoints(&[(name.clone(), prepared)]).pop().unwrap_or(Ok(()))
    }

    /// Replaces the document's side record. Not durable by itself: the next commit takes it along.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] above [`SIDE_BYTES`]; anything else poisons the store.
    fn put_side(&self, name: &DocumentName, side: Bytes) -> Result<(), StoreError>;

    /// Deletes up to `max_steps` journal records that every document in them has a durable checkpoint beyond, and
    /// what replaced checkpoints left behind. Returns the number of steps taken; 0 means nothing is left to do.
    ///
    /// # Errors
    /// Any failure poisons the store.
    fn prune(&self, max_steps: usize) -> Result<usize, StoreError>;

    /// Forgets all that is stored of these documents but the checkpoints that take their places: older checkpoints,
    /// pending and quarantined entries, and their entries in the journal, whose records are written anew. A document
    /// without such a checkpoint is gone, with its side record. Durable when it returns: no read, snapshot or export
    /// has any of it from then on. Commits go on beside it; what a crash leaves half done, the same call completes.
    ///
    /// What the bytes on disk are until the storage engine reuses their place is its own matter: sled gives nothing
    /// back before the store is written anew (`syncline compact`).
    ///
    /// # Errors
    /// [`StoreError::Busy`] while a snapshot is held, or where a checkpoint is older than the one that is stored by
    /// now: try again, with a newer one. [`StoreError::Bug`] where one is ahead of its journal; anything else poisons
    /// the store.
    fn erase(&self, documents: &[Erase]) -> Result<Erased, StoreError>;

    /// Lists documents by name, those after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where a head fails its check.
    fn documents(&self, after: Option<&DocumentName>, limit: usize) -> Result<Vec<Summary>, StoreError>;

    /// Lists documents whose journal's tail is beyond `bounds`, and the owners of the oldest journal records when
    /// the journal as a whole is; the most urgent first, at most `limit`. Looks only at memory.
    fn due(&self, bounds: &FoldBounds, now_ms: u64, limit: usize) -> Vec<DocumentName>;

    /// Takes a view of every document as of one commit; commits, checkpoints and pruning go on beside it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while another view is held.
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, StoreError>;

    /// Writes a whole document into a store that has nothing of it, durable when it returns: for restores.
    ///
    /// # Errors
    /// [`StoreError::Bug`] where the document is there already; anything else poisons the store.
    fn restore(&self, name: &DocumentName, stored: &Stored) -> Result<(), StoreError>;

    /// Returns the secret that server client ids derive from, drawn when the data folder was made or restored.
    fn identity(&self) -> Identity;

    /// Returns the number of the newest durable commit; 0 before the first.
    fn last_commit(&self) -> CommitNumber;

    /// Returns the bytes that the store takes on disk now.
    fn size_on_disk(&self) -> u64;

    /// Returns the bytes free on the store's disk, where that is known.
    fn free_bytes(&self) -> Option<u64>;

    /// Returns the number and bytes of the journal records that are kept.
    fn journal(&self) -> JournalSize;

    /// Returns why the store takes no more edits, if so.
    fn poisoned(&self) -> Option<String>;

    /// Notes outside the storage engine how much is stored, so that a later start notices if it is gone. Called
    /// now and then and at shutdown.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the store stays usable.
    fn mark(&self) -> Result<(), StoreError>;
}

/// Every document and every row as of one commit. Until dropped it holds back pruning, and what rows were before
/// they were changed stays in memory.
pub trait Snapshot {
    /// Returns the commit that this shows.
    fn commit(&self) -> CommitNumber;

    /// Lists documents by name, those after `after`, at most `limit`.
    ///
    /// # Errors
    /// As [`Store::documents`].
    fn documents(&self, after: Option<&DocumentName>, limit: usize) -> Result<Vec<DocumentName>, StoreError>;

    /// Reads a document as of [`Snapshot::commit`]. Side records are the newest ones.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn read(&self, name: &DocumentName) -> Result<Option<Stored>, StoreError>;

    /// Lists rows by key, those after `after`, at most `limit`; fewer mean that there are no more. They are those
    /// of when the snapshot was taken: with all that came with [`Snapshot::commit`], with nothing of a later one.
    ///
    /// # Errors
    /// As the storage engine fails; what is wrong with one row stands in its place.
    fn rows(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<CheckedRow>, StoreError>;
}

/// What `inspect` shows of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The document.
    pub name: DocumentName,
    /// Its newest durable sequence.
    pub sequence: Sequence,
    /// Entries ever journalled for it.
    pub updates: u64,
    /// Entries in the journal that its checkpoint does not cover.
    pub tail_updates: u64,
    /// Stored bytes: the compressed checkpoint and the tail's entries.
    pub bytes: u64,
    /// Sequence and stored bytes of the checkpoint.
    pub checkpoint: Option<(Sequence, u64)>,
    /// Pending entries: those of the checkpoint and those of the tail.
    pub pending: u64,
    /// Quarantined entries.
    pub quarantined: u64,
}

/// How much journal there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalSize {
    /// Records kept.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Documents with entries that no checkpoint covers.
    pub documents: u64,
}

/// How much tail a document may gather before it is folded into a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldBounds {
    /// Entries in one document's tail.
    pub updates: u64,
    /// Bytes in one document's tail.
    pub bytes: u64,
    /// Age of the oldest entry of a tail.
    pub age_ms: u64,
    /// Bytes of the whole journal: above this, the documents that pin its oldest records are folded.
    pub journal_bytes: u64,
}

impl Default for FoldBounds {
    fn default() -> Self {
        Self { updates: 2_000, bytes: 1 << 20, age_ms: 10 * 60 * 1000, journal_bytes: 256 << 20 }
    }
}

/// The secret of a data folder that the server's own Yjs client ids derive from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity(pub [u8; 16]);

impl Identity {
    /// Draws a new one from the operating system.
    ///
    /// # Errors
    /// [`StoreError::Io`] where it has no random bytes.
    pub fn draw() -> Result<Self, StoreError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| StoreError::Io(format!("no random bytes: {error}")))?;
        Ok(Self(bytes))
    }

    /// Returns the Yjs client id under which the server writes into a document: 1 to 2^32 - 1, what every Yjs
    /// version draws from. Stable for ever: FNV-1a over identity and name, then a finalizer.
    pub fn server_client(&self, name: &DocumentName) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.0.iter().chain(name.as_str().as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        (hash % u64::from(u32::MAX)) + 1
    }

    /// Returns it as 32 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Parses what [`Identity::to_hex`] returns.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 16];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(..)")
    }
}
