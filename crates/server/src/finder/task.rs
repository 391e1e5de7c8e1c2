//! The task that feeds the search index: what changed first, then whatever of the stored documents it has not seen.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use syncline_document::{Replica, fold};
use syncline_protocol::names::DocumentName;
use syncline_search::{Batch, Index, Opened, Options, SearchError};
use syncline_store::{Store, StoreError};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Erased, Erasure, Erasures, Noted, Texts, read};
use crate::{app::Open, edits::SubmitError};

/// Changed documents taken at a time.
const PIECE: usize = 32;
/// From one piece to the next: what changes often is read once.
const PACE: Duration = Duration::from_millis(50);
/// Stored documents listed at a time.
const PAGE: usize = 64;
/// Documents that are known to be indexed without asking the index.
const KNOWN: usize = 16_384;
/// The document of nobody under which the index says whose store it is of.
const STORE: &str = "store";

/// Where the index is, and how it works.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its folder.
    pub folder: PathBuf,
    /// Its options.
    pub options: Options,
    /// When it is tried again after it failed.
    pub reopen: Duration,
}

/// Keeps the index up until the server goes down. Where it cannot be opened, or stops, it is tried again later.
pub async fn run(open: Arc<Open>, place: Place, mut erasures: Erasures, stop: CancellationToken) {
    let finder = open.registry.engine().finder.clone();
    let mut asked = None;
    while !stop.is_cancelled() {
        let reason = match open_index(&open, &place).await {
            Ok(index) => {
                finder.opened(index.clone());
                let mut feeder = Feeder::new(&open, index, &stop);
                let ended = feeder.feed(&mut erasures, asked.take()).await;
                finder.down("the search index is being opened again".to_owned());
                feeder.close().await;
                match ended {
                    Ok(()) => break,
                    Err(error) => error.to_string(),
                }
            }
            Err(reason) => reason,
        };
        tracing::error!(event = "search_down", reason, "words are not found until the index is opened again");
        finder.waiting.lock().catching_up = true;
        if let Some((_, told)) = asked.take() {
            let told: Erased = told;
            let _ = told.send(Err(reason.clone()));
        }
        finder.down(reason);
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            // An erasure is worth an attempt at once.
            erasure = erasures.0.recv() => asked = erasure,
            () = sleep(place.reopen) => {}
        }
    }
    finder.down("the server is going down".to_owned());
}

/// Runs what reads the disk where that holds up nobody.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, SearchError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| SearchError::Bug(error.to_string()))
}

pub(super) async fn open_index(open: &Arc<Open>, place: &Place) -> Result<Arc<Index>, String> {
    let (place, store) = (place.clone(), open.store.clone());
    let opened = blocking(move || open_for(&*store, &place)).await;
    opened.and_then(|opened| opened).map(Arc::new).map_err(|error| error.to_string())
}

/// Opens the index of this store. One of another store, or of an earlier life of it, is thrown away: sequences mean
/// something else there.
fn open_for(store: &dyn Store, place: &Place) -> Result<Index, SearchError> {
    let identity = store.identity().0;
    let mine = identity.iter().take(8).fold(0, |mine: u64, byte| mine << 8 | u64::from(*byte));
    std::fs::create_dir_all(&place.folder)?;
    let (mut index, mut opened) = Index::open(&place.folder, place.options)?;
    if opened == Opened::Existing && index.seen("", STORE)? != Some(mine) {
        drop(index);
        std::fs::remove_dir_all(&place.folder)?;
        std::fs::create_dir_all(&place.folder)?;
        (index, opened) = Index::open(&place.folder, place.options)?;
    }
    if let Opened::Fresh { damage } = opened {
        tracing::info!(event = "search_begins", damage, "all documents are indexed");
        index.apply(Batch::new("").seen(STORE, mine))?;
    }
    Ok(index)
}

/// Feeds an open index.
pub(super) struct Feeder<'a> {
    open: &'a Arc<Open>,
    index: Arc<Index>,
    stop: &'a CancellationToken,
    /// Stored documents to look at: those listed, and behind which the list goes on.
    todo: VecDeque<DocumentName>,
    after: Option<DocumentName>,
    /// All were looked at.
    caught_up: bool,
    /// Documents of which everything that was noted is indexed.
    known: HashSet<DocumentName>,
}

impl<'a> Feeder<'a> {
    pub(super) fn new(open: &'a Arc<Open>, index: Arc<Index>, stop: &'a CancellationToken) -> Self {
        Self {
            open,
            index,
            stop,
            todo: VecDeque::new(),
            after: None,
            caught_up: false,
            known: HashSet::new(),
        }
    }

    /// Works until the server goes down or the index fails.
    async fn feed(
        &mut self,
        erasures: &mut Erasures,
        mut asked: Option<(Erasure, Erased)>,
    ) -> Result<(), SearchError> {
        let finder = self.open.registry.engine().finder.clone();
        while !self.stop.is_cancelled() {
            if let Some((erasure, told)) = asked.take().or_else(|| erasures.0.try_recv().ok()) {
                let erased = self.erase(erasure).await;
                // Whoever asked may be gone.
                let _ = told.send(erased.clone().map_err(|error| error.to_string()));
                erased?;
                continue;
            }
            if !self.round().await? {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => {}
                    erasure = erasures.0.recv() => asked = erasure,
                    () = finder.wake.notified() => {}
                }
            }
        }
        Ok(())
    }

    /// Indexes what changed, and goes on with the stored documents. Says whether there was anything to do.
    pub(super) async fn round(&mut self) -> Result<bool, SearchError> {
        let (changed, overflowed) = self.open.registry.engine().finder.take();
        if overflowed {
            self.begin_again();
        }
        let until = Instant::now() + PACE;
        let (idle, was_caught_up) = (changed.is_empty(), self.caught_up);
        for (name, noted) in changed {
            self.index_changed(&name, noted).await?;
        }
        while !self.caught_up {
            // One step at the least, whatever changed: edits may never cease.
            self.catch_up().await?;
            if idle || Instant::now() >= until {
                break;
            }
        }
        if !idle {
            sleep_until(until).await;
        }
        Ok(!idle || !was_caught_up)
    }

    /// Looks at all stored documents once more.
    fn begin_again(&mut self) {
        (self.after, self.caught_up) = (None, false);
        self.todo.clear();
        self.known.clear();
    }

    /// Indexes what changed in a document.
    async fn index_changed(&mut self, name: &DocumentName, noted: Noted) -> Result<(), SearchError> {
        let Texts::Some(names) = noted.texts else { return self.index_whole(name).await };
        if !self.knows(name).await? {
            return self.index_whole(name).await;
        }
        let texts = if names.is_empty() {
            read::Texts::Messages(Vec::new())
        } else {
            // It was written just now, and is in memory.
            let (of, wanted) = (name.clone(), names);
            let looked =
                self.open.registry.look(name, move |replica| read::texts(replica, &of, Some(&wanted)));
            match looked.await {
                Ok(Ok(texts)) => texts,
                Ok(Err(_)) | Err(_) => return self.index_whole(name).await,
            }
        };
        self.apply(read::batches(name, texts, noted.sequence)).await
    }

    /// Says whether all that a document held before what was noted of it is in the index.
    async fn knows(&mut self, name: &DocumentName) -> Result<bool, SearchError> {
        if self.known.contains(name) {
            return Ok(true);
        }
        // Before all were looked at, it may have missed something that an earlier run was not told of.
        if !self.caught_up {
            return Ok(false);
        }
        let (index, of) = (self.index.clone(), name.clone());
        let seen = blocking(move || index.seen(of.owner().unwrap_or_default(), of.as_str())).await??;
        if seen.is_some() {
            self.remember(name);
        }
        Ok(seen.is_some())
    }

    fn remember(&mut self, name: &DocumentName) {
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        self.known.insert(name.clone());
    }

    /// Indexes all that is durable of a document.
    async fn index_whole(&mut self, name: &DocumentName) -> Result<(), SearchError> {
        // It may still be stored: from its name being burned on it is not to be found.
        match self.open.registry.alive(name) {
            Ok(()) => {}
            Err(SubmitError::Erased(_)) => {
                self.known.remove(name);
                return self.apply(read::gone(name).into_iter().collect()).await;
            }
            Err(error) => return Err(SearchError::Io(error.to_string())),
        }
        let (store, of) = (self.open.store.clone(), name.clone());
        match blocking(move || stored_batches(&*store, &of)).await? {
            Ok(batches) => {
                self.apply(batches).await?;
                self.remember(name);
            }
            // The document cannot be opened either, by anybody: `verify` names it.
            Err(error) => tracing::warn!(event = "search_skipped", document = %name, %error),
        }
        Ok(())
    }

    /// Hands batches over, and waits where the index is behind.
    async fn apply(&mut self, batches: Vec<Batch>) -> Result<(), SearchError> {
        for batch in batches {
            while let Err(error) = self.index.apply(batch.clone()) {
                match error {
                    SearchError::Full if self.stop.is_cancelled() => return Ok(()),
                    SearchError::Full => sleep(PACE).await,
                    // The name of a document that can be none in the index: there is nothing to find in it.
                    SearchError::Name => break,
                    error => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Takes one step towards having looked at all stored documents.
    async fn catch_up(&mut self) -> Result<(), SearchError> {
        if let Some(name) = self.todo.pop_front() {
            return if self.known.contains(&name) { Ok(()) } else { self.index_whole(&name).await };
        }
        let (store, index, after) = (self.open.store.clone(), self.index.clone(), self.after.clone());
        let page = blocking(move || behind(&*store, &index, after.as_ref())).await?;
        match page.map_err(|error| SearchError::Io(error.to_string()))? {
            Some((last, behind)) => {
                self.after = Some(last);
                self.todo.extend(behind);
            }
            None => {
                self.caught_up = true;
                self.open.registry.engine().finder.waiting.lock().catching_up = false;
                tracing::info!(event = "search_caught_up", "all documents are indexed");
            }
        }
        Ok(())
    }

    async fn erase(&mut self, erasure: Erasure) -> Result<(), SearchError> {
        let batch = match erasure {
            Erasure::Message { user, conversation, message } => {
                Batch::new(user).remove_message(conversation, Some(&message))
            }
            Erasure::Conversation { user, conversation } => {
                let document = format!("{user}/c/{conversation}");
                self.known.retain(|name| name.as_str() != document);
                Batch::new(user).remove_conversation(conversation).forget(document)
            }
            Erasure::User { user } => {
                self.known.retain(|name| name.owner() != Some(&user));
                Batch::new(user).remove_user()
            }
        };
        self.apply(vec![batch]).await?;
        let index = self.index.clone();
        blocking(move || index.purge()).await?
    }

    /// Lets the index go, with all that was handed over on disk.
    async fn close(self) {
        let index = self.index;
        let closed = blocking(move || {
            if let Err(error) = index.flush() {
                // What is missing is indexed with the next start.
                tracing::debug!(event = "search_unflushed", %error);
            }
            drop(index);
        });
        if let Err(error) = closed.await {
            tracing::warn!(event = "search_close_failed", %error);
        }
    }
}

impl super::Finder {
    /// Takes a piece of what waits, and whether something was let go.
    fn take(&self) -> (Vec<(DocumentName, Noted)>, bool) {
        let mut waiting = self.waiting.lock();
        let names: Vec<DocumentName> = waiting.documents.keys().take(PIECE).cloned().collect();
        let taken = names.into_iter().filter_map(|name| waiting.documents.remove_entry(&name)).collect();
        let overflowed = std::mem::take(&mut waiting.overflowed);
        waiting.catching_up |= overflowed;
        (taken, overflowed)
    }
}

/// Reads all texts that are durable of a document.
fn stored_batches(store: &dyn Store, name: &DocumentName) -> Result<Vec<Batch>, StoreError> {
    let Some(stored) = store.read(name)? else { return Ok(read::gone(name).into_iter().collect()) };
    let damaged = |error: String| StoreError::Damaged(format!("document {name}: {error}"));
    let mut replica = Replica::load(fold::parts(&stored)).map_err(|error| damaged(error.to_string()))?;
    let texts = read::texts(&mut replica, name, None).map_err(|error| damaged(error.to_string()))?;
    Ok(read::batches(name, texts, stored.sequence))
}

/// A page of stored documents: the last of it, and those that hold more than the index has seen.
type Behind = Option<(DocumentName, Vec<DocumentName>)>;

fn behind(store: &dyn Store, index: &Index, after: Option<&DocumentName>) -> Result<Behind, StoreError> {
    let page = store.documents(after, PAGE)?;
    let Some(last) = page.last().map(|summary| summary.name.clone()) else { return Ok(None) };
    let mut behind = Vec::new();
    for summary in page.into_iter().filter(|summary| read::has_texts(&summary.name)) {
        let user = summary.name.as_str().split('/').next().unwrap_or_default();
        let seen = index.seen(user, summary.name.as_str());
        let seen = seen.map_err(|error| StoreError::Io(error.to_string()))?;
        if seen.is_none_or(|seen| seen < summary.sequence) {
            behind.push(summary.name);
        }
    }
    Ok(Some((last, behind)))
}
