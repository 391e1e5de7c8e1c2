//! One open document: its session under a lock, and the carrying out of what the session asks for.
//!
//! A document is entered under its own short lock, by the task that read the frame: no hop to another task. The effects
//! of a call are carried out before the lock is given up, so that frames, journal entries and acks keep the session's
//! order.

mod durable;
mod effects;

use std::{
    cell::Cell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use syncline_document::{
    DeviceStanding,
    record::{Origin, Sequence},
};
use syncline_protocol::{frame::Message, names::DocumentName};
use syncline_sync::{Edit, Effect, Join, Looking, PeerId, Room, Session, Writing};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::durable::Untold;
use crate::{
    clock::now_ms,
    edits::{Edits, SubmitError, Told},
    outbound::{Closing, Outbound},
    registry::Engine,
    tables::Last,
};

/// Nothing is due.
const NEVER: u64 = u64::MAX;

/// The document is in memory.
const OPEN: u8 = 1;
/// The document is busy, or nobody uses it any more: a tick has to look at it.
const LOOK: u8 = 2;

/// A document that grew by less counts as it did.
const WEIGHED_BYTES: usize = 4 << 10;

thread_local! {
    /// A buffer for the effects of a call: documents are entered one after the other, none keeps its own.
    static EFFECTS: Cell<Vec<Effect>> = const { Cell::new(Vec::new()) };
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
    /// Somebody is on the way to tell it, once the lock is free.
    telling: AtomicBool,
    /// Devices that were revoked or let in again, until that is durable.
    standings: Mutex<Vec<(Sequence, Vec<DeviceStanding>)>>,
    /// Places for reads over HTTP.
    reads: Arc<Semaphore>,
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
    /// Its name is burned, and why: nobody is let in any more.
    erased: Option<&'static str>,
    /// The last turn of a conversation, once it was needed.
    last: Option<Last>,
    /// What is told of edits once they are durable, by sequence.
    untold: VecDeque<Untold>,
    /// What the shared memory of open documents counts for it: bytes.
    resident: usize,
    /// Counts the sessions that a panic ended here: answers meant for an earlier one are dropped.
    epoch: u64,
}

impl Document {
    pub(crate) fn new(name: DocumentName, engine: Arc<Engine>, erased: Option<&'static str>) -> Arc<Self> {
        let server_client = engine.journal.store().identity().server_client(&name);
        let session = Session::new(name.clone(), server_client, engine.settings.clone(), now_ms());
        let reads = Arc::new(Semaphore::new(engine.reads_per_document));
        Arc::new_cyclic(|me| Self {
            name,
            engine,
            reads,
            inner: Mutex::new(Inner {
                session,
                links: Vec::new(),
                edits: Edits::default(),
                retired: false,
                erased,
                last: None,
                untold: VecDeque::new(),
                resident: 0,
                epoch: 0,
            }),
            next_tick_ms: AtomicU64::new(NEVER),
            glance: AtomicU8::new(LOOK),
            durable: AtomicU64::new(0),
            telling: AtomicBool::new(false),
            standings: Mutex::default(),
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

    /// Lets a connection in. `None` where this handle was taken out of the registry.
    pub(crate) fn attach(&self, join: Join, outbound: &Arc<Outbound>) -> Result<Option<PeerId>, SubmitError> {
        let mut inner = self.inner.lock();
        if let Some(reason) = inner.erased {
            return Err(SubmitError::Erased(reason));
        }
        if inner.retired {
            return Ok(None);
        }
        let Some(peer) = self.carry_out(&mut inner, |session, now, _| session.attach(join, now)) else {
            return Ok(None);
        };
        let index = peer.index as usize;
        if inner.links.len() <= index {
            inner.links.resize(index + 1, None);
        }
        inner.links[index] = Some(outbound.clone());
        Ok(Some(peer))
    }

    /// Burns the name: everybody in it is told so and let go, what waits is refused, and what was in memory is dropped.
    pub(crate) fn burn(&self, reason: &'static str) {
        let mut inner = self.inner.lock();
        inner.erased = Some(reason);
        self.carry_out(&mut inner, |session, _, fx| session.expel(reason, fx));
        inner.edits.erased(reason);
        inner.links.clear();
        inner.last = None;
        // Answers that are on their way to the session are dropped.
        inner.epoch += 1;
        inner.session = inner.session.successor(now_ms());
        self.weigh(&mut inner);
        self.next_tick_ms.store(NEVER, Ordering::Relaxed);
        self.glance.store(LOOK, Ordering::Relaxed);
    }

    /// Gives an edit to the session. `None` where this handle was taken out of the registry.
    pub(crate) fn submit(&self, update: Bytes, origin: Origin) -> Option<Result<Told, SubmitError>> {
        self.begin(|edit, session, now, fx| session.edit(edit, update, origin, now, fx))
    }

    /// Has something written. `None` where this handle was taken out of the registry; `writing` is then left there.
    pub(crate) fn compose(
        &self,
        writing: &mut Option<Writing>,
        room: Room,
        origin: Origin,
    ) -> Option<Result<Told, SubmitError>> {
        self.begin(|edit, session, now, fx| {
            if let Some(writing) = writing.take() {
                session.compose(edit, origin, writing, room, now, fx);
            }
        })
    }

    /// Has the document read. `None` where this handle was taken out of the registry; `looking` is then left there.
    pub(crate) fn look(&self, looking: &mut Option<Looking>) -> Option<Result<(), SubmitError>> {
        let place = match self.reading() {
            Ok(place) => place,
            Err(error) => return Some(Err(error)),
        };
        let mut inner = self.inner.lock();
        if let Some(reason) = inner.erased {
            return Some(Err(SubmitError::Erased(reason)));
        }
        if inner.retired {
            return None;
        }
        self.carry_out(&mut inner, |session, now, fx| {
            if let Some(looking) = looking.take() {
                let placed: Looking = Box::new(move |replica| {
                    let deliver = looking(replica);
                    Box::new(move || {
                        deliver();
                        drop(place);
                    })
                });
                session.look(placed, now, fx);
            }
        });
        Some(Ok(()))
    }

    /// Takes a place for a read: it is given back when the permit is dropped.
    pub(crate) fn reading(&self) -> Result<OwnedSemaphorePermit, SubmitError> {
        self.reads.clone().try_acquire_owned().map_err(|_| SubmitError::Crowded)
    }

    fn begin(
        &self,
        call: impl FnOnce(Edit, &mut Session, u64, &mut Vec<Effect>),
    ) -> Option<Result<Told, SubmitError>> {
        let mut inner = self.inner.lock();
        if let Some(reason) = inner.erased {
            return Some(Err(SubmitError::Erased(reason)));
        }
        if inner.retired {
            return None;
        }
        let (edit, told) = match inner.edits.begin(self.engine.edits_per_document) {
            Ok(begun) => begun,
            Err(error) => return Some(Err(error)),
        };
        self.carry_out(&mut inner, |session, now, fx| call(edit, session, now, fx));
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
        let epoch = inner.epoch;
        let performed = catch_unwind(AssertUnwindSafe(|| {
            for effect in effects.drain(..) {
                self.perform(inner, effect);
                if inner.epoch != epoch {
                    // The session was ended: what else it asked for builds on what is not kept.
                    break;
                }
            }
        }));
        EFFECTS.set(effects);
        if performed.is_err() {
            self.end_session(inner);
        }
        if inner.epoch != epoch {
            return None;
        }
        self.weigh(inner);
        let tick = inner.session.next_tick_ms().unwrap_or(NEVER);
        self.next_tick_ms.store(tick, Ordering::Relaxed);
        let session = &inner.session;
        let open = if session.is_open() { OPEN } else { 0 };
        let look = if session.busy_since_ms().is_some() || session.is_empty() { LOOK } else { 0 };
        self.glance.store(open | look, Ordering::Relaxed);
        Some(result)
    }

    /// Counts what the document takes of the memory that all share. Small changes are not worth a word to all others.
    fn weigh(&self, inner: &mut Inner) {
        let bytes = inner.session.resident_bytes();
        if bytes.abs_diff(inner.resident) > WEIGHED_BYTES || (bytes == 0 && inner.resident > 0) {
            self.engine.resident.change(inner.resident, bytes);
            inner.resident = bytes;
        }
    }

    fn end_epoch(&self, epoch: u64) {
        let mut inner = self.inner.lock();
        if inner.epoch == epoch {
            self.end_session(&mut inner);
        }
    }

    /// Ends a session in which something panicked, or an edit of which the journal refused, a broken invariant: what it
    /// had not saved is still on its devices, which are closed and sync with a fresh session. The server goes on.
    fn end_session(&self, inner: &mut Inner) {
        tracing::error!(document = %self.name, "a session is ended: an invariant of it is broken");
        self.engine.metrics.panicked();
        inner.epoch += 1;
        inner.last = None;
        inner.session = inner.session.successor(now_ms());
        self.weigh(inner);
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

    /// Says what a tick must know without the lock: whether it is in memory, and whether it has to be looked at.
    pub(crate) fn glance(&self, now: u64) -> Glance {
        let glance = self.glance.load(Ordering::Relaxed);
        let due = glance & LOOK != 0 || self.next_tick_ms.load(Ordering::Relaxed) <= now;
        Glance { open: glance & OPEN != 0, due }
    }

    /// Ticks the session if that is due, and says how it stands. One that nobody needs is retired. Where somebody is in
    /// the document it is left for the next time.
    pub(crate) fn tick(&self, now: u64) -> Standing {
        let mut evicted = false;
        let Some(mut inner) = self.inner.try_lock() else { return Standing::default() };
        let short = self.engine.resident.is_short();
        if short || self.next_tick_ms.load(Ordering::Relaxed) <= now {
            let ticked = self.carry_out(&mut inner, |session, now, fx| {
                let was_open = session.is_open();
                if short {
                    session.hurry(now);
                }
                session.tick(now, fx);
                was_open && !session.is_open()
            });
            evicted = ticked.unwrap_or(false);
        }
        inner.retired |= inner.session.is_idle() && inner.edits.is_empty();
        Standing {
            evicted,
            retired: inner.retired,
            waiting_bytes: inner.session.waiting_bytes(),
            busy_since_ms: inner.session.busy_since_ms(),
        }
    }
}

/// What can be said of a document at a glance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glance {
    pub(crate) open: bool,
    pub(crate) due: bool,
}

/// How a document stands after a tick.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Standing {
    /// It left memory just now.
    pub(crate) evicted: bool,
    /// Nobody needs it: another handle serves the name from now on.
    pub(crate) retired: bool,
    pub(crate) waiting_bytes: usize,
    pub(crate) busy_since_ms: Option<u64>,
}
