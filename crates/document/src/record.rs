//! What is kept of a document: the plain data that a session hands out to be stored and gets back when the
//! document is loaded. The store writes these, the session makes and reads them; neither knows the other.

use std::sync::Arc;

use bytes::Bytes;
use syncline_protocol::names::DocumentName;

/// The position of a stored entry in its document's history: strictly increasing, not necessarily dense.
pub type Sequence = u64;

/// Who an entry came from, stamped by the server from the token and never read from the content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The user of the token; `None` for an open server (`--open`) and for what the server writes itself.
    pub user: Option<Arc<str>>,
    /// The device of the token or of the URL, where one was named.
    pub device: Option<Arc<str>>,
    /// Unix milliseconds of arrival, by the server's clock.
    pub at_ms: u64,
}

/// What an entry's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// An update (lib0 v1) that was applied: part of the document.
    Update,
    /// The part of a SyncStep2 whose dependencies are not here yet: kept, not part of the document. When they
    /// arrive it is applied and journalled again as an [`EntryKind::Update`].
    Pending,
    /// An update that failed inside apply, past the checker: kept for an operator to look at, never applied.
    Quarantined,
}

/// One line of a document's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The document that it belongs to.
    pub document: DocumentName,
    /// Its place in the document's history.
    pub sequence: Sequence,
    /// What the bytes are.
    pub kind: EntryKind,
    /// Who sent it.
    pub origin: Origin,
    /// The bytes as they came in.
    pub bytes: Bytes,
}

/// The merged state of a document as of one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything up to and including this sequence is in it. It is durable before the checkpoint is written.
    pub sequence: Sequence,
    /// The state vector of `update` (lib0 v1).
    pub state_vector: Bytes,
    /// The whole state as one update (lib0 v1), without gaps.
    pub update: Bytes,
    /// Pending entries as of this sequence: the journal entries they came from may be gone.
    pub pending: Vec<Entry>,
}

/// A document as it is on disk: a checkpoint, then the journal's tail after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// The newest checkpoint, if one was ever written.
    pub checkpoint: Option<Checkpoint>,
    /// The entries after the checkpoint, by sequence.
    pub tail: Vec<Entry>,
    /// Updates that failed inside apply: their hashes stay refused.
    pub quarantined: Vec<Entry>,
    /// The side record (devices, counters) last written for this document; empty if none was.
    pub side: Bytes,
    /// The newest durable sequence; 0 for a document that was never written.
    pub sequence: Sequence,
    /// The Yjs client id under which this server writes into this document: drawn from the data folder's
    /// identity, so a restored backup writes under another one.
    pub server_client: u64,
}
