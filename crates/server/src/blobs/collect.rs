//! Removes what nobody needs: blobs that no document refers to, and uploads that nobody went on with, each once its time
//! is over. One task walks the rows a page at a time, for ever; it remembers nothing across a restart.

use std::{sync::Arc, time::Duration};

use syncline_protocol::names::DocumentName;
use syncline_store::{Row, StoreError};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    BLOB, Blob, Blobs, Key, Name, PAGE, Place, Trouble, UPLOAD, Upload,
    mentions::{self, Mentions, Referral},
    parse_key, row,
};
use crate::{app::Open, clock::now_ms};

#[cfg(test)]
mod tests;

/// Documents that are looked at for one blob at a time.
const DOCUMENTS: usize = 64;
/// Documents that are told where a blob cannot be deleted.
pub(crate) const TOLD: usize = 16;

/// Where the walk is, and what it saw.
#[derive(Default)]
struct Walk {
    after: Vec<u8>,
    blobs: u64,
    bytes: u64,
}

/// Collects until the server goes down.
pub(crate) async fn run(open: Arc<Open>, draining: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_millis(open.blobs.limits.blob_sweep_ms));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut uploads, mut blobs) = (Walk::default(), Walk::default());
    loop {
        tokio::select! {
            biased;
            () = draining.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let step = async {
            open.blobs.sweep_uploads(&mut uploads).await?;
            sweep_blobs(&open, &mut blobs).await
        };
        // In the middle of a look the server may go down: nothing is half done that the next start does not see.
        let outcome = tokio::select! {
            biased;
            () = draining.cancelled() => return,
            outcome = step => outcome,
        };
        if let Err(error) = outcome {
            tracing::warn!(event = "collection_failed", %error);
        }
    }
}

/// Reads the next page of a table; forgets the place where it was the last.
fn next_page(blobs: &Blobs, table: &str, walk: &mut Walk) -> Result<Vec<(Key, bytes::Bytes)>, StoreError> {
    let from = [format!("{table}/").as_bytes(), &walk.after].concat();
    let page = blobs.store().rows(&from, format!("{table}0").as_bytes(), PAGE)?;
    walk.after = match page.last() {
        Some((key, _)) if page.len() == PAGE => [&key[table.len() + 1..], &[0]].concat(),
        _ => Vec::new(),
    };
    Ok(page.into_iter().filter_map(|(key, value)| Some((parse_key(table, &key)?, value))).collect())
}

async fn sweep_blobs(open: &Arc<Open>, walk: &mut Walk) -> Result<(), Trouble> {
    let shelf = &open.blobs;
    for (key, value) in next_page(shelf, BLOB, walk)? {
        let Ok(blob) = serde_json::from_slice::<Blob>(&value) else { continue };
        let bytes = blob.bytes;
        (walk.blobs, walk.bytes) = (walk.blobs + 1, walk.bytes + bytes);
        if now_ms() < blob.seen.saturating_add(shelf.limits.blob_grace_ms) {
            continue;
        }
        match look(open, &key, blob).await {
            Ok(true) => {
                (walk.blobs, walk.bytes) = (walk.blobs - 1, walk.bytes - bytes);
                shelf.metrics().blobs.collected();
                tracing::info!(event = "blob_collected", name = %key.1);
            }
            Ok(false) => shelf.metrics().blobs.kept(),
            Err(error) => tracing::warn!(event = "blob_not_collected", name = %key.1, %error),
        }
    }
    if walk.after.is_empty() {
        shelf.metrics().blobs.held(walk.blobs, walk.bytes);
        *walk = Walk::default();
    }
    Ok(())
}

/// Removes a blob that nothing refers to; one that something does refer to is left alone for another grace period.
async fn look(open: &Arc<Open>, key: &Key, blob: Blob) -> Result<bool, Trouble> {
    let shelf = &open.blobs;
    // Never waits for a place while it looks: whoever deletes a blob has its place and waits for the look.
    let look = shelf.look_at(key).await;
    let Some(place) = shelf.enter_idle(key) else { return Ok(false) };
    // From here on nobody else changes it; until now somebody may have.
    if shelf.read::<Blob>(BLOB, key)?.is_none_or(|now| now.seen != blob.seen) {
        return Ok(false);
    }
    match remove_unreferred(open, &place, &look, &blob, 1).await? {
        Removal::Removed => Ok(true),
        Removal::Mentioned => Ok(false),
        Removal::Referred(_) => {
            shelf.renew(key, blob).await?;
            Ok(false)
        }
    }
}

/// What became of a blob that was to go.
#[derive(Debug)]
pub(crate) enum Removal {
    /// It is gone.
    Removed,
    /// These documents, and maybe others, refer to it.
    Referred(Vec<DocumentName>),
    /// An edit that mentions it came meanwhile.
    Mentioned,
}

/// Removes a blob unless something refers to it. Names at most `limit` documents that do.
pub(crate) async fn remove_unreferred(
    open: &Open,
    place: &Place,
    look: &Looked<'_>,
    blob: &Blob,
    limit: usize,
) -> Result<Removal, Trouble> {
    let (shelf, key) = (&open.blobs, &place.key);
    // Behind all that was queued before the look began: from now on the store shows it.
    shelf.write(vec![row(BLOB, key, blob)]).await?;
    let found = referrers(open, key, look, limit).await?;
    if !found.is_empty() {
        return Ok(Removal::Referred(found));
    }
    // What took the last mention away may still be on its way to the disk: if it is lost, the mention is back.
    shelf.write(vec![row(BLOB, key, blob)]).await?;
    let path = shelf.path(key);
    let removed = shelf.engine.mentions.unless_spoiled(key, || std::fs::remove_file(&path));
    match removed {
        None => return Ok(Removal::Mentioned),
        Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        Some(_) => {}
    }
    shelf.remove(place).await?;
    Ok(Removal::Removed)
}

/// A look at one blob; it ends when dropped.
pub(crate) struct Looked<'a> {
    mentions: &'a Mentions,
    /// What these mentioned is remembered whether or not they still do.
    spared: Vec<DocumentName>,
    _only: tokio::sync::MutexGuard<'a, ()>,
}

impl Looked<'_> {
    /// Leaves the rows of some documents alone.
    pub(super) fn sparing(mut self, documents: &[DocumentName]) -> Self {
        self.spared = documents.to_vec();
        self
    }
}

impl Drop for Looked<'_> {
    fn drop(&mut self) {
        self.mentions.end();
    }
}

/// Lists documents that refer to a blob, at most `limit` of them; what does not any more is noted.
pub(super) async fn referrers(
    open: &Open,
    key: &Key,
    look: &Looked<'_>,
    limit: usize,
) -> Result<Vec<DocumentName>, Trouble> {
    let mut found = Vec::new();
    for range in mentions::ranges(key) {
        let mut from = range.from();
        loop {
            let page = open.blobs.store().rows(&from, &range.to(), DOCUMENTS)?;
            let Some((last, _)) = page.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            let mut stale = Vec::new();
            for (row, _) in page {
                match range.document(&row) {
                    Some(document) if refers(open, &document, key.1).await => {
                        found.push(document);
                        if found.len() >= limit {
                            return Ok(found);
                        }
                    }
                    Some(document) if look.spared.contains(&document) => {}
                    _ if range.is_of_one() => stale.push(Row { key: row, value: None }),
                    _ => {}
                }
            }
            open.blobs.forget(key, stale).await?;
        }
    }
    Ok(found)
}

/// Says whether a document refers to a blob. One that cannot be read may.
async fn refers(open: &Open, document: &DocumentName, name: Name) -> bool {
    let (store, wanted) = (open.store.clone(), document.clone());
    let read = tokio::task::spawn_blocking(move || {
        store
            .read(&wanted)
            .map(|stored| stored.map_or(Referral::None, |stored| mentions::in_stored(&stored, name)))
    });
    match read.await {
        Ok(Ok(Referral::None)) => false,
        Ok(Ok(Referral::Past)) => {
            let live = open.registry.look(document, move |replica| {
                replica.encode_state().map(|state| mentions::mentions(&state, name))
            });
            !matches!(live.await, Ok(Ok(false)))
        }
        _ => true,
    }
}

impl Blobs {
    /// Begins to look whether a blob may go, once nobody else looks at one.
    pub(crate) async fn look_at(&self, key: &Key) -> Looked<'_> {
        let only = self.looking.lock().await;
        let mentions = &self.engine.mentions;
        mentions.begin(key.clone());
        Looked { mentions, spared: Vec::new(), _only: only }
    }

    /// Deletes rows of mentions, unless the blob that is looked at was mentioned meanwhile or nobody looks.
    pub(super) async fn forget(&self, key: &Key, stale: Vec<Row>) -> Result<(), Trouble> {
        if stale.is_empty() {
            return Ok(());
        }
        let (told, tell) = oneshot::channel();
        let reply = Box::new(move |outcome| {
            // What is deleted is deleted, whether or not the server goes down meanwhile.
            let _ = told.send(outcome);
        });
        // Queued under the lock: a mention that comes later is written later.
        match self.engine.mentions.unless_spoiled(key, || self.engine.journal.put_rows(stale, reply)) {
            Some(()) => Ok(tell.await.map_err(|_| Trouble::Closed)??),
            None => Ok(()),
        }
    }

    /// Drops uploads that nobody went on with for too long.
    async fn sweep_uploads(self: &Arc<Self>, walk: &mut Walk) -> Result<(), Trouble> {
        for (key, value) in next_page(self, UPLOAD, walk)? {
            let Ok(upload) = serde_json::from_slice::<Upload>(&value) else { continue };
            if now_ms() < upload.at.saturating_add(self.limits.blob_upload_ms) {
                continue;
            }
            if self.drop_upload(&key, &upload).await? {
                self.metrics().blobs.dropped("age");
            }
        }
        Ok(())
    }

    /// Drops an upload as it was seen; says whether it did.
    async fn drop_upload(self: &Arc<Self>, key: &Key, seen: &Upload) -> Result<bool, Trouble> {
        let Some(place) = self.enter_idle(key) else { return Ok(false) };
        // From here on nobody else goes on with it; until now somebody may have.
        if self.read::<Upload>(UPLOAD, key)?.is_none_or(|now| now.at != seen.at) {
            return Ok(false);
        }
        self.remove(&place).await?;
        Ok(true)
    }
}
