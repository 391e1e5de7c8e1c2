//! Takes what was erased out of journal and checkpoints: documents are folded by replay, which keeps nothing that was
//! deleted, and the store is told to forget what was there before.

use std::{collections::BTreeMap, time::Duration};

use syncline_document::{
    fold::{fold, fold_erased},
    record::{Sequence, Stored},
};
use syncline_protocol::names::DocumentName;
use syncline_store::{Erase, Erased, Prepared, Row, StoreError};
use tokio::{sync::oneshot, time::sleep};

use super::{ErasureError, ledger};
use crate::{registry::Journal, tables};

/// How often the store is asked while a backup is under way or a newer checkpoint is there by now.
const PATIENCE: Duration = Duration::from_millis(50);
/// Times that it is asked.
const ATTEMPTS: u32 = 1_200;
/// Rows of documents to scrub that are read at a time.
const PAGE: usize = 256;

/// What becomes of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// All of it goes.
    Whole,
    /// It stays, without what was deleted in it and without what waits in it.
    Bare,
    /// It stays, without what was deleted in it.
    Cleansed,
}

/// Has the store forget what documents were. Everything that was appended before the call is durable and counts.
pub(super) async fn scrub(
    journal: &Journal,
    documents: &[(DocumentName, How)],
) -> Result<Erased, ErasureError> {
    let mut attempt = 0;
    loop {
        let mut doomed = Vec::with_capacity(documents.len());
        for (name, how) in documents {
            if let Some(erase) = prepare(journal, name, *how).await? {
                doomed.push(erase);
            }
        }
        let store = journal.store().clone();
        match blocking(move || store.erase(&doomed)).await? {
            Err(StoreError::Busy(reason)) if attempt < ATTEMPTS => {
                tracing::debug!(event = "erasure_waits", reason);
                attempt += 1;
                sleep(PATIENCE).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// Folds a document as it is on disk once all that was appended is.
async fn prepare(journal: &Journal, name: &DocumentName, how: How) -> Result<Option<Erase>, ErasureError> {
    let stored = match (load(journal, name).await, how) {
        // What cannot be read can be removed.
        (Err(ErasureError::Store(error)), How::Whole) => {
            tracing::warn!(event = "erasure_unread", document = %name, %error);
            None
        }
        (loaded, _) => loaded?,
    };
    let document = name.clone();
    let fold = match how {
        How::Whole => return Ok(Some(Erase { document, replacement: None })),
        How::Bare => fold_erased,
        How::Cleansed => fold,
    };
    let Some(stored) = stored.filter(|stored| stored.sequence > 0) else { return Ok(None) };
    let prepared = blocking(move || {
        let checkpoint =
            fold(&stored).map_err(|error| ErasureError::Engine(format!("{document}: {error}")))?;
        Ok::<_, ErasureError>(Erase { replacement: Some(Prepared::new(&checkpoint)?), document })
    });
    prepared.await?.map(Some)
}

/// Reads a document behind everything that was appended, and behind side records that are on their way.
pub(super) async fn load(journal: &Journal, name: &DocumentName) -> Result<Option<Stored>, ErasureError> {
    let (told, tell) = oneshot::channel();
    journal.load(
        name.clone(),
        Box::new(move |outcome| {
            // Whoever asked may be gone.
            let _ = told.send(outcome);
        }),
    );
    Ok(tell.await.map_err(|_| ErasureError::Restarting)??)
}

/// Runs what takes long where it holds up nobody and the stacks are deep.
pub(super) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, ErasureError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ErasureError::Restarting)
}

/// Scrubs the documents into which something that was erased came back; returns the first error once all were tried.
pub(super) async fn revived(journal: &Journal) -> Result<(), ErasureError> {
    // Behind the commit whose row is looked for.
    ledger::write(journal, Vec::new()).await?;
    let (mut from, mut outcome) = (tables::SCRUBS.to_vec(), Ok(()));
    loop {
        let rows = journal.store().rows(&from, tables::SCRUBS_END, PAGE)?;
        // Rows that stay, of documents that cannot be scrubbed for now, are passed over.
        let Some((last, _)) = rows.last() else { return outcome };
        from = [last, &[0][..]].concat();
        let mut due: BTreeMap<DocumentName, Vec<Vec<u8>>> = BTreeMap::new();
        for (key, _) in &rows {
            match tables::parse_scrub(key) {
                Some((name, _)) => due.entry(name).or_default().push(key.clone()),
                None => tracing::warn!(event = "scrub_row_unknown", key = %key.escape_ascii()),
            }
        }
        for (name, keys) in due {
            let scrubbed = scrub_revived(journal, &name, keys).await;
            if let Err(error) = &scrubbed {
                tracing::warn!(event = "scrub_failed", document = %name, %error);
            }
            // The first error counts, and keeps none of the others waiting.
            outcome = outcome.and(scrubbed);
        }
    }
}

async fn scrub_revived(
    journal: &Journal,
    name: &DocumentName,
    keys: Vec<Vec<u8>>,
) -> Result<(), ErasureError> {
    let upto: Option<Sequence> = keys.iter().filter_map(|key| Some(tables::parse_scrub(key)?.1)).max();
    let erased = scrub(journal, &[(name.clone(), How::Cleansed)]).await?;
    tracing::info!(event = "scrubbed", document = %name, ?upto, entries = erased.entries);
    ledger::write(journal, keys.into_iter().map(|key| Row { key, value: None }).collect()).await
}
