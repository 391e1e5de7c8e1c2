//! What `inspect` shows, offline and over HTTP: the same rows from the same store.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_document::{Replica, content, fold};
use syncline_protocol::names::DocumentName;
use syncline_store::{Store, StoreError, store::Summary};

/// Documents a page, and the most that are given in one.
pub const PAGE: usize = 500;

/// A page of documents.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Listing {
    /// The documents, by name.
    pub documents: Vec<Row>,
}

/// One document.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its newest durable sequence.
    pub seq: u64,
    /// Updates ever journalled for it.
    pub updates: u64,
    /// What it takes on disk.
    pub bytes: u64,
    /// Its checkpoint, if there is one.
    pub checkpoint: Option<CheckpointRow>,
    /// Edits that wait for what they depend on.
    pub pending: u64,
    /// Updates that failed inside the document engine.
    pub quarantined: u64,
    /// Updates refused since the server started; 0 where none runs.
    pub refused: u64,
}

/// A document's checkpoint.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRow {
    /// It holds everything up to this sequence.
    pub seq: u64,
    /// What it takes on disk.
    pub bytes: u64,
}

/// What is in a document.
#[derive(Debug, Serialize, Deserialize)]
pub struct Content {
    /// Its name.
    pub name: String,
    /// As of this sequence.
    pub seq: u64,
    /// Its roots, by name.
    pub content: Value,
}

impl From<Summary> for Row {
    fn from(summary: Summary) -> Self {
        Self {
            name: summary.name.as_str().to_owned(),
            seq: summary.sequence,
            updates: summary.updates,
            bytes: summary.bytes,
            checkpoint: summary.checkpoint.map(|(seq, bytes)| CheckpointRow { seq, bytes }),
            pending: summary.pending,
            quarantined: summary.quarantined,
            refused: 0,
        }
    }
}

/// Lists at most `limit` documents after a name.
///
/// # Errors
/// As [`Store::documents`].
pub fn page(store: &dyn Store, after: Option<&str>, limit: usize) -> Result<Listing, StoreError> {
    // What is no name sorts nowhere: the listing begins at the start.
    let after = after.and_then(|after| DocumentName::parse(after).ok());
    let documents = store.documents(after.as_ref(), limit.clamp(1, PAGE))?;
    Ok(Listing { documents: documents.into_iter().map(Row::from).collect() })
}

/// Renders what is durable of a document; `None` if there is nothing of it.
///
/// # Errors
/// [`StoreError::Damaged`] where what is stored makes no document.
pub fn content(store: &dyn Store, name: &DocumentName) -> Result<Option<Content>, StoreError> {
    let Some((seq, mut replica)) = load(store, name)? else { return Ok(None) };
    let content = content::content(&mut replica).map_err(|error| damaged(name, &error))?;
    Ok(Some(Content { name: name.as_str().to_owned(), seq, content }))
}

/// Encodes what is durable of a document as one update; `None` if there is nothing of it.
///
/// # Errors
/// [`StoreError::Damaged`] where what is stored makes no document.
pub fn state(store: &dyn Store, name: &DocumentName) -> Result<Option<bytes::Bytes>, StoreError> {
    let Some((_, mut replica)) = load(store, name)? else { return Ok(None) };
    replica.encode_state().map(Some).map_err(|error| damaged(name, &error))
}

fn load(store: &dyn Store, name: &DocumentName) -> Result<Option<(u64, Replica)>, StoreError> {
    let Some(stored) = store.read(name)? else { return Ok(None) };
    let replica = Replica::load(fold::parts(&stored)).map_err(|error| damaged(name, &error))?;
    Ok(Some((stored.sequence, replica)))
}

fn damaged(name: &DocumentName, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("document {name}: {error}"))
}
