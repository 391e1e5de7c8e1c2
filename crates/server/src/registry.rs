//! The open documents: one handle for each, and the carrying out of what its session asks for.
//!
//! A handle is entered under its own short lock, by the task that read the frame: no hop to another task. The
//! effects of a call are carried out before the lock is given up, so that frames, journal entries and acks
//! keep the session's order.

use std::{
    cell::Cell,
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use syncline_document::record::{Origin, Sequence};
use syncline_protocol::{frame::Message, names::DocumentName};
use syncline_store::{StoreError, writer::Writer};
use syncline_sync::{Effect, Join, PeerId, Session, Settings};

use crate::{
    clock::now_ms,
    config::Limits,
    edits::{Edits, SubmitError, Told},
    metrics::Metrics,
    outbound::{Closing, Outbound},
    pool::Pool,
};

/// The journal that tags its entries with the document they belong to.
pub type Journal = Arc<Writer<Arc<Document>>>;

/// Shards of the table of open documents: opening one does not wait for the others.
const SHARDS: usize = 32;

/// Nothing is due.
const NEVER: u64 = u64::MAX;

/// The document is in memory.
const OPEN: u8 = 1;
/// The document is busy, or nobody uses it any more: a tick has to look at it.
const LOOK: u8 = 2;

thread_local! {
    /// A buffer for the effects of a call: documents are entered one after the other, none keeps its own.
    static EFFECTS: Cell<Vec<Effect>> = const { Cell::new(Vec::new()) };
}

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
    /// Server edits that may wait for one document.
    pub edits_per_document: usize,
    /// Why the store takes nothing more, once it does not.
    failure: OnceLock<String>,
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
    ) -> Arc<Self> {
        Arc::new(Self {
            journal,
            metrics,
            settings: Arc::new(limits.sync_settings()),
            pool: Pool::new(runtime.clone(), limits.pool_threads),
            runtime,
            edits_per_document: limits.http_edits_per_document,
            failure: OnceLock::new(),
        })
    }
}

/// An open document.
#[derive(Debug)]
pub struct Document {
    name: DocumentName,
    engine: Arc<Engine>,
    inner: Mutex<Inner>,
    /// When the session wants its next tick; read without the lock.
    next_tick_ms: AtomicU64,
    /// What a tick must know of every document, of [`OPEN`] and [`LOOK`]; read without the lock.
    glance: AtomicU8,
    /// The newest sequence that a commit report named, until the session is told.
    durable: AtomicU64,
    me: Weak<Document>,
}

#[derive(Debug)]
struct Inner {
    session: Session,
    /// The sockets of the session's peers, by their index.
    links: Vec<Option<Arc<Outbound>>>,
    /// Who waits for a server edit.
    edits: Edits,
    /// It was taken out of the registry: a new handle serves the name now.
    retired: bool,
    /// Counts the sessions that a panic ended here: answers meant for an earlier one are dropped.
    epoch: u64,
}

impl Document {
    fn new(name: DocumentName, engine: Arc<Engine>) -> Arc<Self> {
        let session = Session::new(name.clone(), engine.settings.clone(), now_ms());
        Arc::new_cyclic(|me| Self {
            name,
            engine,
            inner: Mutex::new(Inner {
                session,
                links: Vec::new(),
                edits: Edits::default(),
                retired: false,
                epoch: 0,
            }),
            next_tick_ms: AtomicU64::new(NEVER),
            glance: AtomicU8::new(LOOK),
            durable: AtomicU64::new(0),
            me: me.clone(),
        })
    }

    /// Returns its name.
    pub fn name(&self) -> &DocumentName {
        &self.name
    }

    /// Gives a peer's message to the session.
    pub fn receive(&self, peer: PeerId, message: &Message<'_>, frame: &Bytes) {
        self.enter(|session, now, fx| session.receive(peer, message, frame, now, fx));
    }

    /// Lets a peer go.
    pub fn detach(&self, peer: PeerId) {
        let mut inner = self.inner.lock();
        let here = self.carry_out(&mut inner, |session, now, fx| session.detach(peer, now, fx));
        if here != Some(true) {
            // It belonged to a session that was ended: its place may be another's by now.
            return;
        }
        if let Some(link) = inner.links.get_mut(peer.index as usize) {
            *link = None;
        }
        while inner.links.last().is_some_and(Option::is_none) {
            inner.links.pop();
        }
    }

    /// Runs a call on the session and carries out its effects. `None` where it panicked: the session is ended
    /// then, its connections are closed and come back to a fresh one.
    pub fn enter<R>(&self, call: impl FnOnce(&mut Session, u64, &mut Vec<Effect>) -> R) -> Option<R> {
        self.carry_out(&mut self.inner.lock(), call)
    }

    /// As [`Document::enter`], for an answer to the session of that epoch.
    fn enter_epoch(&self, epoch: u64, call: impl FnOnce(&mut Session, u64, &mut Vec<Effect>)) {
        let mut inner = self.inner.lock();
        if inner.epoch == epoch {
            self.carry_out(&mut inner, call);
        }
    }

    fn attach(&self, join: Join, outbound: &Arc<Outbound>) -> Option<PeerId> {
        let mut inner = self.inner.lock();
        if inner.retired {
            return None;
        }
        let peer = self.carry_out(&mut inner, |session, now, _| session.attach(join, now))?;
        let index = peer.index as usize;
        if inner.links.len() <= index {
            inner.links.resize(index + 1, None);
        }
        inner.links[index] = Some(outbound.clone());
        Some(peer)
    }

    /// Gives an edit to the session. `None` where this handle was taken out of the registry.
    fn submit(&self, update: Bytes, origin: Origin) -> Option<Result<Told, SubmitError>> {
        let mut inner = self.inner.lock();
        if inner.retired {
            return None;
        }
        let (edit, told) = match inner.edits.begin(self.engine.edits_per_document) {
            Ok(begun) => begun,
            Err(error) => return Some(Err(error)),
        };
        self.carry_out(&mut inner, |session, now, fx| session.edit(edit, update, origin, now, fx));
        Some(Ok(told))
    }

    fn carry_out<R>(
        &self,
        inner: &mut Inner,
        call: impl FnOnce(&mut Session, u64, &mut Vec<Effect>) -> R,
    ) -> Option<R> {
        let now = now_ms();
        let mut effects = EFFECTS.take();
        let called = catch_unwind(AssertUnwindSafe(|| call(&mut inner.session, now, &mut effects)));
        let Ok(result) = called else {
            self.end_session(inner);
            return None;
        };
        // The session gives the code of a refusal right before it refuses an edit.
        let mut before = None;
        for effect in effects.drain(..) {
            let code = match effect {
                Effect::Refused(code) => Some(code),
                _ => None,
            };
            self.perform(inner, effect, before);
            before = code;
        }
        EFFECTS.set(effects);
        let tick = inner.session.next_tick_ms().unwrap_or(NEVER);
        self.next_tick_ms.store(tick, Ordering::Relaxed);
        let session = &inner.session;
        let open = if session.is_open() { OPEN } else { 0 };
        let look = if session.busy_since_ms().is_some() || session.is_empty() { LOOK } else { 0 };
        self.glance.store(open | look, Ordering::Relaxed);
        Some(result)
    }

    fn end_epoch(&self, epoch: u64) {
        let mut inner = self.inner.lock();
        if inner.epoch == epoch {
            self.end_session(&mut inner);
        }
    }

    /// Ends a session in which something panicked, a broken invariant: what it had not saved is still on its
    /// devices, which are closed and sync with a fresh session. The server goes on.
    fn end_session(&self, inner: &mut Inner) {
        tracing::error!(document = %self.name, "a session panicked and is ended");
        self.engine.metrics.panicked();
        inner.epoch += 1;
        inner.session = inner.session.successor(now_ms());
        inner.edits.clear();
        for link in inner.links.drain(..).flatten() {
            link.close(Closing::TryLater("this document's session ended: reconnect".to_owned()));
        }
        if let Some(reason) = self.engine.failure.get() {
            inner.session.store_failed(reason, now_ms(), &mut Vec::new());
        }
        self.next_tick_ms.store(NEVER, Ordering::Relaxed);
        self.glance.store(LOOK, Ordering::Relaxed);
    }

    /// `refused` is the code of the refusal that the effect before this one told.
    fn perform(&self, inner: &mut Inner, effect: Effect, refused: Option<&'static str>) {
        let link = |peer: PeerId| inner.links.get(peer.index as usize).and_then(Option::as_ref);
        match effect {
            Effect::Send { to, frame } => {
                if let Some(link) = link(to) {
                    link.push(frame);
                }
            }
            Effect::End { peer, ending } => {
                if let Some(link) = link(peer) {
                    link.close(Closing::from(ending));
                }
            }
            Effect::Append(entry) => {
                if let Some(me) = self.me.upgrade() {
                    self.engine.journal.append(entry, me);
                }
            }
            Effect::Checkpoint(checkpoint) => {
                let name = self.name.clone();
                let reply = move |outcome: Result<(), StoreError>| {
                    if let Err(error) = outcome {
                        // Nothing is lost: the journal still holds what the checkpoint was to fold.
                        tracing::warn!(document = %name, %error, "checkpoint not written");
                    }
                };
                self.engine.metrics.folded();
                self.engine.journal.checkpoint(self.name.clone(), checkpoint, Box::new(reply));
            }
            Effect::SaveSide(side) => self.engine.journal.side(self.name.clone(), side),
            Effect::Load => self.load(inner.epoch),
            Effect::Work(job) => {
                let (Some(me), epoch) = (self.me.upgrade(), inner.epoch) else { return };
                self.engine.pool.run(move || match catch_unwind(AssertUnwindSafe(|| job.run())) {
                    Ok(done) => me.enter_epoch(epoch, |session, now, fx| session.worked(done, now, fx)),
                    Err(_) => me.end_epoch(epoch),
                });
            }
            Effect::Accepted(bytes) => self.engine.metrics.update_in(bytes),
            Effect::Refused(code) => {
                self.engine.metrics.refused(code);
                self.engine.metrics.refused_in(&self.name);
            }
            Effect::EditSaved(edit) => inner.edits.saved(edit),
            Effect::EditRefused(edit, reason) => inner.edits.refused(edit, refused, reason),
        }
    }

    fn load(&self, epoch: u64) {
        let Some(me) = self.me.upgrade() else { return };
        self.engine.metrics.loaded();
        let runtime = self.engine.runtime.clone();
        // The answer comes on a thread of the store; documents are built where the stacks are deep.
        let reply = move |outcome: Result<_, StoreError>| {
            runtime.spawn(async move {
                let outcome = outcome.map_err(|error| error.to_string());
                if let Err(reason) = &outcome {
                    tracing::error!(document = %me.name, reason, "document cannot be loaded");
                    me.engine.metrics.load_failed();
                }
                me.enter_epoch(epoch, |session, now, fx| session.loaded(outcome, now, fx));
            });
        };
        self.engine.journal.load(self.name.clone(), Box::new(reply));
    }

    /// Takes note of a durable sequence; [`Document::tell_durable`] passes the newest on, once.
    pub fn note_durable(&self, sequence: Sequence) {
        self.durable.fetch_max(sequence, Ordering::Relaxed);
    }

    /// Tells the session what [`Document::note_durable`] noted since the last time.
    pub fn tell_durable(&self) {
        let sequence = self.durable.swap(0, Ordering::Relaxed);
        if sequence > 0 {
            self.enter(|session, now, fx| session.durable(sequence, now, fx));
        }
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
    pub fn attach(
        &self,
        name: &DocumentName,
        join: &Join,
        outbound: &Arc<Outbound>,
    ) -> (Arc<Document>, PeerId) {
        loop {
            let document = self.document(name);
            if let Some(peer) = document.attach(join.clone(), outbound) {
                return (document, peer);
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
            if let Some(told) = self.document(name).submit(update.clone(), origin.clone()) {
                break told?;
            }
        };
        told.await.unwrap_or(Err(SubmitError::Gone))
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

    /// Returns how many documents were in memory at the last tick.
    pub fn open_documents(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Ticks the documents that are due and forgets those nobody uses.
    pub fn tick(&self, now: u64) -> Census {
        let mut census = Census::default();
        for shard in &self.shards {
            let mut due = Vec::new();
            for document in shard.lock().values() {
                let glance = document.glance.load(Ordering::Relaxed);
                census.handles += 1;
                census.open += usize::from(glance & OPEN != 0);
                if glance & LOOK != 0 || document.next_tick_ms.load(Ordering::Relaxed) <= now {
                    due.push(document.clone());
                }
            }
            for document in due {
                if document.next_tick_ms.load(Ordering::Relaxed) <= now {
                    let evicted = document.enter(|session, now, fx| {
                        let was_open = session.is_open();
                        session.tick(now, fx);
                        was_open && !session.is_open()
                    });
                    self.engine.metrics.evicted(u64::from(evicted.unwrap_or(false)));
                }
                let mut inner = document.inner.lock();
                census.waiting_bytes += inner.session.waiting_bytes();
                let busy = inner.session.busy_since_ms();
                census.busy_since_ms = [census.busy_since_ms, busy].into_iter().flatten().min();
                if inner.session.is_idle() && inner.edits.is_empty() {
                    inner.retired = true;
                    shard.lock().remove(&document.name);
                }
            }
        }
        self.open.store(census.open, Ordering::Relaxed);
        census
    }

    fn document(&self, name: &DocumentName) -> Arc<Document> {
        let mut shard = self.shard(name).lock();
        if let Some(document) = shard.get(name) {
            return document.clone();
        }
        let document = Document::new(name.clone(), self.engine.clone());
        shard.insert(name.clone(), document.clone());
        drop(shard);
        if let Some(reason) = self.engine.failure.get() {
            document.enter(|session, now, fx| session.store_failed(reason, now, fx));
        }
        document
    }

    fn shard(&self, name: &DocumentName) -> &Mutex<HashMap<DocumentName, Arc<Document>>> {
        let hash = self.hasher.hash_one(name);
        &self.shards[(hash % SHARDS as u64) as usize]
    }
}
