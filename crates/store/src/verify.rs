//! Reads everything there is and says what is wrong with it.

use syncline_document::record::{Checkpoint, Stored};
use syncline_protocol::names::DocumentName;

use crate::{
    error::StoreError,
    store::{CommitNumber, Snapshot, Store},
};

/// Documents listed at a time.
const PAGE: usize = 256;

/// Rows looked at at a time: each may be of 48 KiB.
const ROW_PAGE: usize = 64;

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub at: Place,
    /// What fails.
    pub problem: String,
}

/// Where something is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A document.
    Document(DocumentName),
    /// The row with this key.
    Row(Vec<u8>),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Document(name) => write!(f, "{name}"),
            Self::Row(key) => write!(f, "row {}", key.escape_ascii()),
        }
    }
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// The commit as of which it was read.
    pub commit: CommitNumber,
    /// Documents, the damaged ones included.
    pub documents: u64,
    /// Journal entries beyond checkpoints.
    pub entries: u64,
    /// Rows, the damaged ones included.
    pub rows: u64,
    /// What does not hold; empty if all is well.
    pub findings: Vec<Finding>,
}

/// Reads every document and every row as of now: checksums, heads, sequences, and whether its journal replays onto its
/// checkpoint. That the journal has no hole is checked when a store is opened. [`crate::fold::replay`] replays.
///
/// # Errors
/// Where documents or rows cannot even be listed; what is wrong with single ones is in [`Verified::findings`].
pub fn verify(
    store: &dyn Store,
    replay: impl Fn(&Stored) -> Result<Checkpoint, String>,
) -> Result<Verified, StoreError> {
    let snapshot = store.snapshot()?;
    let mut verified = Verified { commit: snapshot.commit(), ..Verified::default() };
    verify_documents(&*snapshot, replay, &mut verified)?;
    verify_rows(&*snapshot, &mut verified)?;
    Ok(verified)
}

fn verify_documents(
    snapshot: &dyn Snapshot,
    replay: impl Fn(&Stored) -> Result<Checkpoint, String>,
    verified: &mut Verified,
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let names = snapshot.documents(after.as_ref(), PAGE)?;
        let Some(last) = names.last() else { return Ok(()) };
        after = Some(last.clone());
        for document in names {
            let problem = match snapshot.read(&document) {
                Ok(None) => continue,
                Ok(Some(stored)) => {
                    verified.entries += stored.tail.len() as u64;
                    replay(&stored).err().map(|error| format!("does not replay: {error}"))
                }
                Err(error) => Some(error.to_string()),
            };
            verified.documents += 1;
            let at = Place::Document(document);
            verified.findings.extend(problem.map(|problem| Finding { at, problem }));
        }
    }
}

fn verify_rows(snapshot: &dyn Snapshot, verified: &mut Verified) -> Result<(), StoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = snapshot.rows(after.as_deref(), ROW_PAGE)?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        after = Some(last.clone());
        for (key, value) in rows {
            verified.rows += 1;
            if let Err(error) = value {
                verified.findings.push(Finding { at: Place::Row(key), problem: error.to_string() });
            }
        }
    }
}
