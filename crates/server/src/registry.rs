//! The open documents: one handle for each, shared by all who want it, and what each needs of the server.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use syncline_document::{Broken, Replica, record::Origin};
use syncline_protocol::names::DocumentName;
use syncline_store::writer::Writer;
use syncline_sync::{Draft, Join, Looking, PeerId, Room, Settings, Writing};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio_util::task::TaskTracker;

use crate::{
    blobs::mentions::Mentions, config::Limits, document::Document, edits::SubmitError, erasure::ledger,
    events::Feeds, finder::Finder, metrics::Metrics, outbound::Outbound, pool::Pool, resident::Resident,
    revoked::Revoked, sent::Sent,
};

/// The journal that tags its entries with the document they belong to.
pub type Journal = Arc<Writer<Arc<Document>>>;

/// Shards of the table of open documents: opening one does not wait for the others.
const SHARDS: usize = 32;

/// What every document needs of the server.
pub struct Engine {
    /// The journal's queue.
    pub journal: Journal,
    /// The server's counters.
    pub metrics: Arc<Metrics>,
    /// The sessions' bounds.
    pub settings: Arc<Settings>,
    /// Where loaded documents are handed over: its threads have the stacks that deep documents need.
    pub runtime: tokio::runtime::Handle,
    /// Where jobs run.
    pub pool: Pool,
    /// What changed, for those who listen.
    pub feeds: Feeds,
    /// Finds words.
    pub finder: Arc<Finder>,
    /// Server edits that may wait for one document.
    pub edits_per_document: usize,
    /// Reads that may wait for one document.
    pub reads_per_document: usize,
    /// What documents in memory take.
    pub(crate) resident: Resident,
    /// Documents that are to be told what became durable once somebody leaves them.
    pub tells: TaskTracker,
    /// Devices that are signed out for good.
    pub(crate) revoked: Arc<Revoked>,
    /// Drafts whose message may be saved.
    pub(crate) sent: Sent,
    /// Finds the blobs that edits refer to.
    pub(crate) mentions: Mentions,
    /// Why the store takes nothing more, once it does not.
    pub(crate) failure: OnceLock<String>,
    /// Told when something that was erased came back and was healed: what it came in is to be scrubbed.
    pub(crate) revived: Notify,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Puts together what documents need.
    pub fn new(
        journal: Journal,
        metrics: Arc<Metrics>,
        limits: &Limits,
        runtime: tokio::runtime::Handle,
        finder: Arc<Finder>,
    ) -> Arc<Self> {
        Arc::new(Self {
            feeds: Feeds::new(&**journal.store(), limits.event_batches),
            finder,
            journal,
            metrics,
            settings: Arc::new(limits.sync_settings()),
            pool: Pool::new(runtime.clone(), limits.pool_threads),
            runtime,
            edits_per_document: limits.http_edits_per_document,
            reads_per_document: limits.http_reads_per_document,
            resident: Resident::new(limits.open_bytes),
            tells: TaskTracker::new(),
            revoked: Arc::default(),
            sent: Sent::default(),
            mentions: Mentions::default(),
            failure: OnceLock::new(),
            revived: Notify::new(),
        })
    }
}

/// The table of open documents.
#[derive(Debug)]
pub struct Registry {
    engine: Arc<Engine>,
    shards: Vec<Mutex<HashMap<DocumentName, Arc<Document>>>>,
    hasher: RandomState,
    open: AtomicUsize,
}

/// What [`Registry::tick`] found.
#[derive(Debug, Default, Clone, Copy)]
pub struct Census {
    /// Documents with a handle.
    pub handles: usize,
    /// Of these, documents in memory.
    pub open: usize,
    /// Bytes of frames that wait for a document.
    pub waiting_bytes: usize,
    /// A document has been loading or busy since this time, the longest.
    pub busy_since_ms: Option<u64>,
}

impl Registry {
    /// Makes an empty table.
    pub fn new(engine: Arc<Engine>) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { engine, shards, hasher: RandomState::new(), open: AtomicUsize::new(0) }
    }

    /// Returns the journal and its company.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Attaches a connection to a document. Concurrent first openers get the same handle, and await one load.
    ///
    /// # Errors
    /// [`SubmitError::Erased`]; [`SubmitError::Unavailable`] where it cannot be opened for now.
    pub fn attach(
        &self,
        name: &DocumentName,
        join: &Join,
        outbound: &Arc<Outbound>,
    ) -> Result<(Arc<Document>, PeerId), SubmitError> {
        loop {
            let document = self.document(name)?;
            if let Some(peer) = document.attach(join.clone(), outbound)? {
                return Ok((document, peer));
            }
        }
    }

    /// Puts an update into a document as a server edit; returns once it is durable.
    ///
    /// # Errors
    /// [`SubmitError`] says whether to try again.
    pub async fn submit(
        &self,
        name: &DocumentName,
        update: Bytes,
        origin: Origin,
    ) -> Result<(), SubmitError> {
        let told = loop {
            if let Some(told) = self.document(name)?.submit(update.clone(), origin.clone()) {
                break told?;
            }
        };
        told.await.unwrap_or(Err(SubmitError::Gone))
    }

    /// Has something written to a document under the server's client id; returns what `write` gave back, once all of it
    /// is durable.
    ///
    /// # Errors
    /// [`SubmitError`] says whether to try again.
    pub async fn compose<R: Send + 'static>(
        &self,
        name: &DocumentName,
        room: Room,
        origin: Origin,
        write: impl FnOnce(Draft<'_>) -> Result<(R, Option<Bytes>), Broken> + Send + 'static,
    ) -> Result<R, SubmitError> {
        let (given, give) = oneshot::channel();
        let mut writing: Option<Writing> = Some(Box::new(move |draft| {
            let (value, update) = write(draft)?;
            // Whoever asked may be gone; what is written is written all the same.
            let _ = given.send(value);
            Ok(update)
        }));
        let told = loop {
            if let Some(told) = self.document(name)?.compose(&mut writing, room, origin.clone()) {
                break told?;
            }
        };
        told.await.unwrap_or(Err(SubmitError::Gone))?;
        give.await.map_err(|_| SubmitError::Gone)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`SubmitError`] where it cannot be opened for now.
    pub async fn look<R: Send + 'static>(
        &self,
        name: &DocumentName,
        read: impl FnOnce(&mut Replica) -> R + Send + 'static,
    ) -> Result<R, SubmitError> {
        let (given, give) = oneshot::channel();
        let mut looking: Option<Looking> = Some(Box::new(move |replica| {
            let outcome = match replica {
                // Whoever asked gave up: nothing is read in vain.
                Ok(_) if given.is_closed() => Err(SubmitError::Gone),
                Ok(replica) => Ok(read(replica)),
                Err(reason) => Err(SubmitError::Unavailable(reason.to_owned())),
            };
            Box::new(move || drop(given.send(outcome)))
        }));
        loop {
            if let Some(begun) = self.document(name)?.look(&mut looking) {
                begun?;
                break;
            }
        }
        give.await.map_err(|_| SubmitError::Gone)?
    }

    /// Takes a place among the reads of a document, for one that goes by the store.
    ///
    /// # Errors
    /// [`SubmitError::Crowded`]: try again.
    pub fn reading(&self, name: &DocumentName) -> Result<OwnedSemaphorePermit, SubmitError> {
        self.document(name)?.reading()
    }

    /// Burns the names of open documents, once the rows that say so are durable: what is opened later finds those.
    pub(crate) fn burn(&self, reason: &'static str, is_burned: impl Fn(&DocumentName) -> bool) {
        for document in self.all().into_iter().filter(|document| is_burned(document.name())) {
            document.burn(reason);
        }
    }

    /// Refuses a document whose name is burned.
    ///
    /// # Errors
    /// [`SubmitError::Erased`]; [`SubmitError::Unavailable`] where that cannot be read: nobody is let in then.
    pub fn alive(&self, name: &DocumentName) -> Result<(), SubmitError> {
        match ledger::burned(&**self.engine.journal.store(), name) {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => Err(SubmitError::Erased(reason)),
            Err(error) => {
                tracing::error!(document = %name, %error, "the ledger of erasures cannot be read");
                Err(SubmitError::Unavailable(format!("it cannot be read whether this was erased: {error}")))
            }
        }
    }

    /// Tells every document, and those that are opened later, that the store takes nothing more.
    pub fn fail(&self, reason: &str) {
        // The first reason counts.
        let _ = self.engine.failure.set(reason.to_owned());
        for document in self.all() {
            document.enter(|session, now, fx| session.store_failed(reason, now, fx));
        }
    }

    /// Returns why the store takes nothing more, if it does not.
    pub fn failure(&self) -> Option<&str> {
        self.engine.failure.get().map(String::as_str)
    }

    /// Returns every open document.
    pub fn all(&self) -> Vec<Arc<Document>> {
        self.shards.iter().flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>()).collect()
    }

    /// Says whether a document is in memory, and then has its session fold it: the background folds the others.
    pub fn fold_if_open(&self, name: &DocumentName) -> bool {
        let document = self.shard(name).lock().get(name).cloned();
        document.and_then(|document| document.enter(|session, _, _| session.fold_soon())).unwrap_or(false)
    }

    /// Has the session of a document, if it is open, forget what waits in it for edits that never came.
    pub(crate) fn forget_pending(&self, name: &DocumentName) {
        let document = self.shard(name).lock().get(name).cloned();
        document.and_then(|document| document.enter(|session, _, _| session.forget_pending()));
    }

    /// Returns how many documents were in memory at the last tick.
    pub fn open_documents(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Ticks the documents that are due and forgets those nobody uses.
    pub fn tick(&self, now: u64) -> Census {
        self.forget_revoked();
        let mut census = Census::default();
        let short = self.engine.resident.is_short();
        for shard in &self.shards {
            let mut due = Vec::new();
            for document in shard.lock().values() {
                let mut glance = document.glance(now);
                glance.due |= glance.open && short;
                census.handles += 1;
                census.open += usize::from(glance.open);
                if glance.due {
                    due.push(document.clone());
                }
            }
            for document in due {
                let standing = document.tick(now);
                self.engine.metrics.evicted(u64::from(standing.evicted));
                census.waiting_bytes += standing.waiting_bytes;
                census.busy_since_ms =
                    [census.busy_since_ms, standing.busy_since_ms].into_iter().flatten().min();
                if standing.retired {
                    shard.lock().remove(document.name());
                }
            }
        }
        self.open.store(census.open, Ordering::Relaxed);
        census
    }

    /// Has open documents forget the devices that were signed out for good; the others do when they are loaded.
    fn forget_revoked(&self) {
        let gone = self.engine.revoked.take_gone();
        if gone.is_empty() {
            return;
        }
        for document in self.all() {
            for (user, device) in &gone {
                if document.name().owner() == Some(&**user) {
                    document.enter(|session, _, _| session.forget_device(device));
                }
            }
        }
    }

    fn document(&self, name: &DocumentName) -> Result<Arc<Document>, SubmitError> {
        let mut shard = self.shard(name).lock();
        if let Some(document) = shard.get(name) {
            return Ok(document.clone());
        }
        // Looked at with the table locked: who burns a name later finds the document in it.
        let erased = match self.alive(name) {
            Ok(()) => None,
            Err(SubmitError::Erased(reason)) => Some(reason),
            // Not taken for alive: the next who asks looks again.
            Err(error) => return Err(error),
        };
        let document = Document::new(name.clone(), self.engine.clone(), erased);
        shard.insert(name.clone(), document.clone());
        drop(shard);
        if let Some(reason) = self.engine.failure.get() {
            document.enter(|session, now, fx| session.store_failed(reason, now, fx));
        }
        Ok(document)
    }

    fn shard(&self, name: &DocumentName) -> &Mutex<HashMap<DocumentName, Arc<Document>>> {
        let hash = self.hasher.hash_one(name);
        &self.shards[(hash % SHARDS as u64) as usize]
    }
}
