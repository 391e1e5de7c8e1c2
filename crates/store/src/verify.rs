//! Reads everything there is and says what is wrong with it.

use syncline_document::record::{Checkpoint, Stored};
use syncline_protocol::names::DocumentName;

use crate::{
    error::StoreError,
    store::{CommitNumber, Store},
};

/// Documents listed at a time.
const PAGE: usize = 256;

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The document.
    pub document: DocumentName,
    /// What fails.
    pub problem: String,
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
    /// What does not hold; empty if all is well.
    pub findings: Vec<Finding>,
}

/// Reads every document as of now: checksums, heads, sequences, and whether its journal replays onto its
/// checkpoint. That the journal has no hole is checked when a store is opened. [`crate::fold::replay`] replays.
///
/// # Errors
/// Where documents cannot even be listed; what is wrong with single ones is in [`Verified::findings`].
pub fn verify(
    store: &dyn Store,
    replay: impl Fn(&Stored) -> Result<Checkpoint, String>,
) -> Result<Verified, StoreError> {
    let snapshot = store.snapshot()?;
    let mut verified = Verified { commit: snapshot.commit(), ..Verified::default() };
    let mut after = None;
    loop {
        let names = snapshot.documents(after.as_ref(), PAGE)?;
        let Some(last) = names.last() else { return Ok(verified) };
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
            verified.findings.extend(problem.map(|problem| Finding { document, problem }));
        }
    }
}
