//! What becomes of blobs to which only erased content referred: they go with it, before its receipt is given.
//!
//! This is the collector's look ([`collect`](super::collect)) without the time of grace. The rows that say which blobs
//! the erased content named stay until those blobs are gone, so that an erasure that a crash interrupts finds them again.

use std::collections::BTreeSet;

use syncline_protocol::names::DocumentName;
use syncline_store::{Row, Store, StoreError};

use super::{
    BLOB, Blobs, Found, Key, Name, PAGE, Trouble, UPLOAD,
    collect::{Removal, referrers, remove_unreferred},
    mentions, row_key,
};
use crate::app::Open;

/// Which blobs may go with what was erased.
#[derive(Debug)]
pub(crate) struct Doomed {
    /// What a part of was erased: a blob that it named once and does not any more may go.
    pub(crate) document: DocumentName,
    /// The drafts, scrubbed too. What they named some time may be on its way in a message: of them only what stood in the
    /// erased ones may go.
    pub(crate) drafts: DocumentName,
    /// What stood in those.
    pub(crate) drafted: BTreeSet<Name>,
}

/// Removes the blobs of a user to which only what was erased referred, and to which nothing refers now. Returns how many
/// went. The documents are scrubbed already.
pub(crate) async fn remove(open: &Open, user: &str, doomed: Doomed) -> Result<u64, Trouble> {
    let Doomed { document, drafts, drafted } = doomed;
    let (store, owner, scrubbed) = (open.store.clone(), user.to_owned(), document.clone());
    let finding = tokio::task::spawn_blocking(move || candidates(&*store, &owner, &scrubbed));
    let mut names = finding.await.map_err(|_| Trouble::Closed)??;
    names.extend(drafted);
    let documents = &[document, drafts];
    let mut removed = 0;
    for name in names {
        let key: Key = (user.into(), name);
        if remove_one(open, &key, documents).await? {
            open.blobs.metrics().blobs.collected();
            tracing::info!(event = "blob_erased", name = %key.1);
            removed += 1;
        }
    }
    Ok(removed)
}

/// Lists the blobs, and uploads on their way, that a document mentioned once and does not any more.
fn candidates(store: &dyn Store, user: &str, document: &DocumentName) -> Result<BTreeSet<Name>, StoreError> {
    let mut mentioned = mentioned(store, user, document)?;
    if let Some(stored) = store.read(document)?.filter(|_| !mentioned.is_empty()) {
        mentions::still_in(&stored, &mentioned).iter().for_each(|name| {
            mentioned.remove(name);
        });
    }
    Ok(mentioned)
}

/// Lists the blobs that a row says a document mentioned; the limits on a user's blobs bound it.
fn mentioned(store: &dyn Store, user: &str, document: &DocumentName) -> Result<BTreeSet<Name>, StoreError> {
    let (mut from, to) = mentions::of_user(user);
    let mut found = BTreeSet::new();
    loop {
        let page = store.rows(&from, &to, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        from = [last.as_slice(), &[0]].concat();
        for (row, _) in &page {
            let Some((key, _)) = mentions::parse(row).filter(|(_, of)| of == document) else { continue };
            if store.row(&row_key(BLOB, &key))?.is_some() || store.row(&row_key(UPLOAD, &key))?.is_some() {
                found.insert(key.1);
            }
        }
    }
}

async fn remove_one(open: &Open, key: &Key, documents: &[DocumentName]) -> Result<bool, Trouble> {
    let shelf = &open.blobs;
    let place = shelf.enter(key).await?;
    let look = shelf.look_at(key).await.sparing(documents);
    let is_removed = match shelf.find(key)? {
        None => false,
        Some(Found::Whole(blob)) => {
            matches!(remove_unreferred(open, &place, &look, &blob, 1).await?, Removal::Removed)
        }
        // Nobody could have read it yet; whoever uploads it for something else begins anew.
        Some(Found::Part(_)) => {
            let is_free = referrers(open, key, &look, 1).await?.is_empty();
            if is_free {
                shelf.remove(&place).await?;
            }
            is_free
        }
    };
    if is_removed {
        forget(shelf, key, documents).await?;
    }
    Ok(is_removed)
}

/// Deletes the rows that say what the documents mentioned, unless one of them does so again.
async fn forget(shelf: &Blobs, key: &Key, documents: &[DocumentName]) -> Result<(), Trouble> {
    let rows = documents.iter().filter_map(|document| mentions::row_of(key, document));
    let rows: Vec<Row> = rows.map(|key| Row { key, value: None }).collect();
    shelf.forget(key, rows).await
}
