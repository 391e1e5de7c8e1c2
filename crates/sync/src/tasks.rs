//! What one message does to the document: answered, applied, parked, refused; and what waits while the
//! document is loaded or on the pool.

use bytes::Bytes;
use syncline_document::{
    is_empty_update,
    record::{Origin, Sequence},
};
use syncline_protocol::{
    frame::{Dialect, EMPTY_AWARENESS, Reply},
    state_vector,
};

use crate::{
    Access, Edit, Effect, Ending, PeerId, Session,
    acks::{Answer, Owed},
    body::{self, Body, Job, Outcome, Took, Work},
    live::{Deliver, Live, Looking, Room, Writing},
    session::{Culprit, fingerprint},
    trouble::{BUSY, CROWDED},
};

/// The state vector of an empty document.
pub(crate) const NOTHING: &[u8] = &[0];
/// Acks owed to one peer, at most; an honest client has a handful.
const OWED: usize = 100_000;

/// Something that needs the document, in the order it came.
#[derive(Debug)]
pub(crate) enum Task {
    /// A client's SyncStep1.
    Step1 { peer: PeerId, state_vector: Bytes },
    /// The second half of it: the SyncStep2 and SyncStep1 that answer.
    Answer { peer: PeerId, state_vector: Bytes },
    /// An update.
    Take(Box<Take>),
    /// y-sweet's 102.
    Version { peer: PeerId, version: u64 },
    /// An edit that is written once the document is there.
    Compose(Box<Compose>),
    /// A read of the document.
    Look(Look),
}

/// An edit that the server writes.
pub(crate) struct Compose {
    pub(crate) edit: Edit,
    pub(crate) origin: Origin,
    pub(crate) writing: Writing,
    pub(crate) room: Room,
}

impl std::fmt::Debug for Compose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compose").field("edit", &self.edit).finish_non_exhaustive()
    }
}

/// The outcome of a read.
pub(crate) struct Reading(pub(crate) Deliver);

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reading")
    }
}

/// A read of the document.
pub(crate) struct Look(pub(crate) Looking);

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Look")
    }
}

/// An update on its way into the document.
#[derive(Debug)]
pub(crate) struct Take {
    pub(crate) source: Source,
    pub(crate) update: Bytes,
    /// The plain frame that it came in, to be relayed as it is.
    pub(crate) frame: Option<Bytes>,
    /// For a SyncStep2, once known: what it answers.
    pub(crate) answer: Option<Answer>,
    /// Who sent it, once that connection is gone: what waited for the document stays its sender's.
    pub(crate) left: Option<Origin>,
}

/// Where an update came from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Update(PeerId),
    Step2(PeerId),
    /// It was parked and is tried again.
    Parked(PeerId),
    /// It was stored as pending and is tried again.
    Pending(Sequence, Origin),
    /// The server itself, or HTTP.
    Edit(Edit, Origin),
}

impl Task {
    pub(crate) fn take(source: Source, update: Bytes, frame: Option<Bytes>) -> Self {
        Self::Take(Box::new(Take { source, update, frame, answer: None, left: None }))
    }

    fn bytes(&self) -> usize {
        // What a task costs beside its payload.
        const TASK: usize = 128;
        TASK + match self {
            Self::Step1 { state_vector, .. } | Self::Answer { state_vector, .. } => state_vector.len(),
            Self::Take(take) => take.update.len(),
            Self::Version { .. } | Self::Compose(_) | Self::Look(_) => 0,
        }
    }

    pub(crate) fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Step1 { peer, .. } | Self::Answer { peer, .. } | Self::Version { peer, .. } => Some(*peer),
            Self::Take(take) => take.source.peer(),
            Self::Compose(_) | Self::Look(_) => None,
        }
    }
}

impl Source {
    pub(crate) fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Update(peer) | Self::Step2(peer) | Self::Parked(peer) => Some(*peer),
            Self::Pending(..) | Self::Edit(..) => None,
        }
    }

    /// A part of it may be applied while the rest waits durably; an Update is parked whole instead.
    fn may_cut(&self) -> bool {
        matches!(self, Self::Step2(_) | Self::Parked(_) | Self::Pending(..))
    }
}

impl Session {
    /// Performs a task now, or queues it behind those that wait.
    pub(crate) fn submit(&mut self, task: Task, now_ms: u64, fx: &mut Vec<Effect>) {
        let task = if self.waiting.is_empty() && !self.is_away() {
            match self.perform(task, now_ms, fx) {
                Ok(()) => return self.drain(now_ms, fx),
                Err(task) => task,
            }
        } else {
            task
        };
        let bytes = task.bytes();
        // A peer comes back; a server edit is bounded by who makes it.
        if task.peer().is_some() && !self.waiting_share.admits(bytes) {
            return self.turn_from_busy(task, CROWDED, fx);
        }
        let full = task.peer().is_some() && self.waiting_share.bytes() + bytes > self.settings.waiting_bytes;
        if full || self.hangs(now_ms) {
            return self.turn_from_busy(task, BUSY, fx);
        }
        self.waiting_share.add(bytes);
        self.waiting.push_back(task);
    }

    /// Performs what waits, until something has to wait again.
    pub(crate) fn drain(&mut self, now_ms: u64, fx: &mut Vec<Effect>) {
        while !self.is_away()
            && let Some(task) = self.waiting.pop_front()
        {
            self.waiting_share.give_back(task.bytes());
            if let Err(task) = self.perform(task, now_ms, fx) {
                self.wait_first(task);
                break;
            }
        }
    }

    /// Says whether a task is on the pool: what came after it, even what needs no document, has to wait, or an
    /// ack would overtake the update that it speaks for.
    fn is_away(&self) -> bool {
        matches!(self.body, Body::Away(_))
    }

    /// Drops what waits for a peer.
    pub(crate) fn forget_tasks(&mut self, id: PeerId) {
        self.waiting.retain(|task| task.peer() != Some(id));
        self.count_waiting();
    }

    /// Drops the tries of pending entries.
    pub(crate) fn forget_retries(&mut self) {
        let retry =
            |task: &Task| matches!(task, Task::Take(take) if matches!(take.source, Source::Pending(..)));
        self.waiting.retain(|task| !retry(task));
        self.count_waiting();
    }

    /// Stamps what a peer sent and what still waits for the document, before it is forgotten who that was.
    pub(crate) fn stamp_tasks(&mut self, id: PeerId, origin: &Origin) {
        let away = match &mut self.body {
            Body::Away(task) => task.as_mut(),
            _ => None,
        };
        for task in self.waiting.iter_mut().chain(away) {
            if let Task::Take(take) = task
                && take.source.peer() == Some(id)
            {
                take.left = Some(origin.clone());
            }
        }
    }

    pub(crate) fn count_waiting(&mut self) {
        self.waiting_share.set(self.waiting.iter().map(Task::bytes).sum());
    }

    pub(crate) fn wait_first(&mut self, task: Task) {
        self.waiting_share.add(task.bytes());
        self.waiting.push_front(task);
    }

    /// Performs a task, or gives it back because the document is not there yet.
    fn perform(&mut self, task: Task, now_ms: u64, fx: &mut Vec<Effect>) -> Result<(), Task> {
        match self.attempt(task, now_ms, fx) {
            // It turned out just now that the document cannot be built: nothing will come that wakes the task.
            Err(task) if matches!(self.body, Body::Failed { .. }) => self.attempt(task, now_ms, fx),
            outcome => outcome,
        }
    }

    fn attempt(&mut self, task: Task, now_ms: u64, fx: &mut Vec<Effect>) -> Result<(), Task> {
        if let Body::Failed { at_ms, reason } = &self.body {
            if now_ms < at_ms + self.settings.reload_after_ms {
                let reason = format!("this document cannot be opened: {reason}");
                self.turn_away(task, &reason, now_ms, fx);
                return Ok(());
            }
            self.body = Body::Cold;
        }
        match task {
            Task::Step1 { peer, state_vector } => {
                let settings = self.settings.clone();
                if let Some(peer) = self.peer_mut(peer) {
                    peer.acks.resync();
                    peer.asked_for_all = false;
                    peer.unpark_all();
                    if peer.is_hocuspocus() && !peer.introduced && peer.shown.is_none() {
                        peer.shown = state_vector::parse(&state_vector, &settings.limits).ok();
                    }
                }
                self.attempt(Task::Answer { peer, state_vector }, now_ms, fx)
            }
            Task::Answer { peer, state_vector } => self.answer(peer, state_vector, now_ms, fx),
            Task::Take(take) => self.take(take, now_ms, fx),
            Task::Version { peer, version } => {
                self.version(peer, version, fx);
                Ok(())
            }
            Task::Compose(compose) => self.write(compose, now_ms, fx),
            Task::Look(look) => self.show(look, now_ms, fx),
        }
    }

    /// Brings the document into memory. `false` where that takes a while.
    pub(crate) fn ready(&mut self, now_ms: u64, fx: &mut Vec<Effect>) -> bool {
        match std::mem::replace(&mut self.body, Body::Cold) {
            live @ Body::Live(_) => {
                self.body = live;
                return true;
            }
            Body::Cold => {
                self.body = Body::Loading;
                self.busy_since_ms = Some(now_ms);
                fx.push(Effect::Load);
            }
            Body::Resting(stored) if self.size > self.settings.heavy_bytes => {
                let (kind, server_client) = (self.kind.clone(), self.server_client);
                self.work(None, Work::Build { kind, server_client, stored }, None, now_ms, fx);
            }
            Body::Resting(stored) => match Live::load(&self.kind, self.server_client, &stored) {
                Ok(live) => {
                    self.body = Body::Live(Box::new(live));
                    return true;
                }
                Err(error) => self.body = Body::Failed { reason: error.to_string(), at_ms: now_ms },
            },
            other @ (Body::Loading | Body::Away(_) | Body::Failed { .. }) => self.body = other,
        }
        false
    }

    /// Sends a document to the pool.
    pub(crate) fn work(
        &mut self,
        live: Option<Box<Live>>,
        work: Work,
        task: Option<Task>,
        now_ms: u64,
        fx: &mut Vec<Effect>,
    ) {
        self.body = Body::Away(task);
        self.busy_since_ms = Some(now_ms);
        fx.push(Effect::Work(Box::new(Job { live, work, limits: self.settings.limits.clone(), now_ms })));
    }

    /// Takes the live document out, for work that is done with it at once.
    pub(crate) fn live(&mut self) -> Option<Box<Live>> {
        match std::mem::replace(&mut self.body, Body::Cold) {
            Body::Live(live) => Some(live),
            other => {
                self.body = other;
                None
            }
        }
    }

    fn version(&mut self, id: PeerId, version: u64, fx: &mut Vec<Effect>) {
        let (applied, durable) = (self.applied, self.durable);
        let Some(peer) = self.peer_mut(id) else { return };
        let mute = peer.refused.is_some() || peer.join.access == Access::Read;
        if !mute && peer.acks.settled(durable) && applied <= durable {
            peer.version = Some(version.max(peer.version.unwrap_or(0)));
        } else if !mute {
            peer.acks.owe(applied, Owed::Version(version));
        }
        // The client needs some frame soon, whatever it says.
        let frame = match peer.version {
            Some(version) if !mute => peer.frame(&Reply::Version(version)),
            _ => peer.frame(&Reply::Awareness(EMPTY_AWARENESS)),
        };
        fx.push(Effect::Send { to: id, frame });
    }

    /// Puts an update through: the peer's rights, the limits, then the document.
    fn take(&mut self, mut take: Box<Take>, now_ms: u64, fx: &mut Vec<Effect>) -> Result<(), Task> {
        if let (Source::Step2(id), None) = (&take.source, take.answer) {
            let id = *id;
            let answer = self.peer_mut(id).map_or(Answer::Other, |peer| {
                peer.shown = None;
                peer.offer = None;
                peer.acks.answered()
            });
            take.answer = Some(answer);
            self.introduce(id, fx);
        }
        if let Some(id) = take.source.peer()
            && let Some(peer) = self.peer(id)
        {
            if peer.acks.len() >= OWED || peer.acks.bytes() > self.settings.document_bytes {
                let ending = Ending::TryLater("too many edits before a SyncStep2: sync first".to_owned());
                self.end(id, ending, fx);
                return Ok(());
            }
            if peer.join.dialect == Dialect::Plain && !peer.acks.admits(take.update.len()) {
                self.end(id, Ending::TryLater(CROWDED.to_owned()), fx);
                return Ok(());
            }
            if peer.refused.is_some() {
                self.not_saved(id, &take, fx);
                return Ok(());
            }
            if peer.join.access == Access::Read {
                return self.take_read_only(id, take, now_ms, fx);
            }
        }
        if let Err((code, reason)) = self.admits(&take, now_ms) {
            self.refuse(&take, code, &reason, fx);
            return Ok(());
        }
        if is_empty_update(&take.update) {
            self.settle(&take, Outcome::Took(Took::only(None)), now_ms, fx);
            return Ok(());
        }
        if !self.ready(now_ms, fx) {
            return Err(Task::Take(take));
        }
        let Some(mut live) = self.live() else { return Ok(()) };
        let cut = take.source.may_cut();
        let settings = &self.settings;
        let outcome = if take.update.len() > settings.heavy_bytes {
            None
        } else {
            body::absorb_light(&mut live, &take.update, cut, &settings.limits, settings.heavy_work, now_ms)
        };
        let Some(outcome) = outcome else {
            let update = take.update.clone();
            self.work(Some(live), Work::Absorb { update, cut }, Some(Task::Take(take)), now_ms, fx);
            return Ok(());
        };
        if !matches!(outcome, Outcome::Broken(_)) {
            self.body = Body::Live(live);
        }
        self.settle(&take, outcome, now_ms, fx);
        Ok(())
    }

    /// A read-only peer's SyncStep2 is normal with nothing new in it; everything else of it is dropped.
    fn take_read_only(
        &mut self,
        id: PeerId,
        take: Box<Take>,
        now_ms: u64,
        fx: &mut Vec<Effect>,
    ) -> Result<(), Task> {
        if !matches!(take.source, Source::Step2(_)) {
            self.not_saved(id, &take, fx);
            return Ok(());
        }
        if is_empty_update(&take.update) {
            self.settle(&take, Outcome::Held(true), now_ms, fx);
            return Ok(());
        }
        if !self.ready(now_ms, fx) {
            return Err(Task::Take(take));
        }
        let Some(mut live) = self.live() else { return Ok(()) };
        if take.update.len() > self.settings.heavy_bytes {
            let update = take.update.clone();
            self.work(Some(live), Work::Holds { update }, Some(Task::Take(take)), now_ms, fx);
            return Ok(());
        }
        let outcome = body::holds(&mut live.replica, &take.update, &self.settings.limits);
        if !matches!(outcome, Outcome::Broken(_)) {
            self.body = Body::Live(live);
        }
        self.settle(&take, outcome, now_ms, fx);
        Ok(())
    }

    /// The reasons to refuse an update before looking into it.
    fn admits(&self, take: &Take, now_ms: u64) -> Result<(), (&'static str, String)> {
        if let Some(reason) = &self.store_failure {
            return Err(("store", format!("the server cannot save: {reason}")));
        }
        if self.size + take.update.len() > self.settings.document_bytes && !is_empty_update(&take.update) {
            let limit = self.settings.document_bytes >> 20;
            return Err(("document_full", format!("this document is full ({limit} MiB): start a new one")));
        }
        if let Some(sender) = self.sender(take, now_ms) {
            let known = |culprit: &&Culprit| {
                culprit.until_ms > now_ms && culprit.user == sender.user && culprit.device == sender.device
            };
            if let Some(culprit) = self.culprits.iter().find(known) {
                return Err(("set_aside", culprit.reason.to_owned()));
            }
        }
        if !self.poisonous.is_empty() && self.poisonous.contains(&fingerprint(&take.update)) {
            return Err(("set_aside", "this update could not be applied before: it was set aside".into()));
        }
        Ok(())
    }
}
