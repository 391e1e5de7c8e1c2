//! One open document: its session under a lock, and the carrying out of what the session asks for.
//!
//! A document is entered under its own short lock, by the task that read the frame: no hop to another task. The effects
//! of a call are carried out before the lock is given up, so that frames, journal entries and acks keep the session's
//! order.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use syncline_document::{
    DeviceStanding,
    record::{Entry, Origin, Sequence},
};
use syncline_protocol::{frame::Message, names::DocumentName};
use syncline_store::{Row, StoreError};
use syncline_sync::{Edit, Effect, Join, Looking, PeerId, Room, Session, Verdict, Writing};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    clock::now_ms,
    edits::{Edits, SubmitError, Told},
    events::{Batch, Feed},
    finder::Noted,
    outbound::{Closing, Outbound},
    registry::Engine,
    tables::{self, Last},
};

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

    /// Ends a session in which something panicked, or an edit of which the journal refused, a broken invariant: what it
    /// had not saved is still on its devices, which are closed and sync with a fresh session. The server goes on.
    fn end_session(&self, inner: &mut Inner) {
        tracing::error!(document = %self.name, "a session is ended: an invariant of it is broken");
        self.engine.metrics.panicked();
        inner.epoch += 1;
        inner.last = None;
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

    fn perform(&self, inner: &mut Inner, effect: Effect) {
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
                let Some(me) = self.me.upgrade() else { return };
                let rows = self.engine.mentions.rows(&self.name, [&*entry.bytes]);
                if rows.is_empty() {
                    self.engine.journal.append(entry, me);
                } else {
                    self.append_together(inner, [(entry, me)], rows);
                }
            }
            Effect::AppendJudged { entry, judged, verdict } => {
                self.append_judged(inner, entry, judged, &verdict);
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
            Effect::Renewed => self.engine.metrics.renewed(),
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
            Effect::EditRefused(edit, code, reason) => inner.edits.refused(edit, code, reason),
        }
    }

    fn append_together(
        &self,
        inner: &mut Inner,
        entries: impl IntoIterator<Item = (Entry, Arc<Self>)>,
        rows: Vec<Row>,
    ) {
        if let Err(error) = self.engine.journal.append_together(entries, rows) {
            self.not_queued(inner, &error);
        }
    }

    /// Draws the consequences of an edit that was applied and not queued.
    fn not_queued(&self, inner: &mut Inner, error: &StoreError) {
        if *error == StoreError::Closed {
            // Nothing is acked any more, and the devices keep what they wrote.
            tracing::error!(document = %self.name, %error, "an edit came too late");
            return;
        }
        // The session believes that it is on its way: a later commit would ack it. Devices offer it to a fresh one.
        tracing::error!(event = "edit_not_queued", document = %self.name, %error);
        self.end_session(inner);
    }

    /// Queues what was judged with all that follows from it, and notes what is to be told once that is durable.
    fn append_judged(&self, inner: &mut Inner, entry: Entry, judged: Option<Entry>, verdict: &Verdict) {
        let Some(me) = self.me.upgrade() else { return };
        let first = entry.sequence;
        if !verdict.judgement.devices.is_empty() {
            let standings = verdict.judgement.devices.clone();
            self.standings.lock().push((first, standings));
        }
        let mut rows = self.rows(inner, entry.sequence, verdict);
        let updates = [Some(&entry), judged.as_ref()].into_iter().flatten().map(|entry| &*entry.bytes);
        rows.extend(self.engine.mentions.rows(&self.name, updates));
        let sequence = judged.as_ref().map_or(entry.sequence, |judged| judged.sequence);
        let entries = [Some(entry), judged].into_iter().flatten().map(|entry| (entry, me.clone()));
        let journal = &self.engine.journal;
        let appended = match Batch::of(&self.name, verdict) {
            None => journal.append_together(entries, rows).map(|()| None),
            Some((user, batch)) => {
                let feed = self.engine.feeds.of(&user);
                let number = feed.append(&**journal.store(), batch, |more| {
                    rows.extend(more);
                    journal.append_together(entries, rows)
                });
                number.map(|number| number.map(|number| (feed, number)))
            }
        };
        match appended {
            Ok(event) => {
                let texts = Noted::of(&self.name, sequence, &verdict.judgement);
                if event.is_some() || texts.is_some() {
                    inner.untold.push_back(Untold { sequence, event, texts });
                }
            }
            Err(error) => {
                self.standings.lock().retain(|(due, _)| *due != first);
                self.not_queued(inner, &error);
                return;
            }
        }
        self.engine.metrics.judged(&verdict.judgement);
        self.engine.sent.judged(&self.name, &verdict.judgement);
        if verdict.judgement.revived {
            self.engine.revived.notify_one();
        }
    }

    /// Returns the rows that follow from a judgement.
    fn rows(&self, inner: &mut Inner, sequence: Sequence, verdict: &Verdict) -> Vec<Row> {
        if inner.last.is_none() && tables::has_last(&self.name) {
            match tables::last(&**self.engine.journal.store(), &self.name) {
                Ok(last) => inner.last = Some(last),
                // It is derived and comes right with the next turn.
                Err(error) => tracing::warn!(document = %self.name, %error, "last turn cannot be read"),
            }
        }
        tables::rows(&self.name, sequence, &mut inner.last, verdict)
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
                me.enter_epoch(epoch, |session, now, fx| {
                    session.loaded(outcome, now, fx);
                    me.forget_revoked(session);
                });
                me.engine.sent.loaded(&me.name);
            });
        };
        self.engine.journal.load(self.name.clone(), Box::new(reply));
    }

    /// Has a session forget the devices that were signed out while it was not in memory.
    fn forget_revoked(&self, session: &mut Session) {
        let Some(user) = self.name.owner().map(Arc::<str>::from) else { return };
        for device in session.devices() {
            match self.engine.revoked.is_revoked(&**self.engine.journal.store(), &user, &device) {
                Ok(true) => session.forget_device(&device),
                Ok(false) => {}
                // It counts as one that may come back, until the document is loaded again.
                Err(error) => {
                    tracing::warn!(document = %self.name, %error, "a device's standing cannot be read");
                }
            }
        }
    }

    /// Takes note of a durable sequence; [`Document::tell_durable`] passes the newest on, once.
    pub fn note_durable(&self, sequence: Sequence) {
        self.durable.fetch_max(sequence, Ordering::SeqCst);
    }

    /// Tells the session what [`Document::note_durable`] noted since the last time. Does not wait: where somebody is in
    /// the document it is told once they leave, so that a document at work holds up nobody else's acks.
    pub fn tell_durable(&self) {
        if let Some(inner) = self.inner.try_lock() {
            return self.tell(inner);
        }
        let Some(me) = self.me.upgrade() else { return };
        if !self.telling.swap(true, Ordering::SeqCst) {
            self.engine.tells.spawn_blocking_on(
                move || {
                    // Before it looks what to tell: what is noted from now on may be left to this.
                    me.telling.store(false, Ordering::SeqCst);
                    me.tell(me.inner.lock());
                },
                &self.engine.runtime,
            );
        }
    }

    fn tell(&self, mut inner: MutexGuard<'_, Inner>) {
        let sequence = self.durable.swap(0, Ordering::SeqCst);
        if sequence == 0 {
            return;
        }
        let standings: Vec<DeviceStanding> = {
            let mut waiting = self.standings.lock();
            let due: Vec<_> = waiting.extract_if(.., |(due, _)| *due <= sequence).collect();
            due.into_iter().flat_map(|(_, standings)| standings).collect()
        };
        let user = self.name.owner().unwrap_or_default();
        // Before anybody hears that it is saved: who is told so may try at once.
        if !standings.is_empty() {
            self.engine.revoked.changed(user, &standings);
        }
        self.carry_out(&mut inner, |session, now, fx| session.durable(sequence, now, fx));
        while inner.untold.front().is_some_and(|untold| untold.sequence <= sequence) {
            let Some(untold) = inner.untold.pop_front() else { break };
            if let Some((feed, number)) = untold.event {
                feed.tell(number);
            }
            // What was erased meanwhile has left the index already: nothing is to be read of it again.
            if let Some(texts) = untold.texts.filter(|_| inner.erased.is_none()) {
                self.engine.finder.note(&self.name, texts);
            }
        }
        drop(inner);
        // After the acks: a device that signs itself out hears that this is saved.
        self.engine.revoked.close(user, &newest(standings));
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
        if self.next_tick_ms.load(Ordering::Relaxed) <= now {
            let ticked = self.carry_out(&mut inner, |session, now, fx| {
                let was_open = session.is_open();
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

#[cfg(test)]
mod tests;

/// Leaves of every device how it stands last.
fn newest(standings: Vec<DeviceStanding>) -> Vec<DeviceStanding> {
    let by_device: HashMap<String, bool> =
        standings.into_iter().map(|standing| (standing.device, standing.is_revoked)).collect();
    by_device.into_iter().map(|(device, is_revoked)| DeviceStanding { device, is_revoked }).collect()
}

/// What is told of an edit once it is durable: to those who listen for events, and to the search index.
#[derive(Debug)]
struct Untold {
    sequence: Sequence,
    event: Option<(Arc<Feed>, u64)>,
    texts: Option<Noted>,
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
