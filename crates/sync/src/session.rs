//! The session: one open document, its connections, and the calls its owner makes.

use std::{
    collections::{HashSet, VecDeque, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use syncline_document::{
    fold,
    record::{Checkpoint, Entry, EntryKind, Origin, Sequence, Stored},
};
use syncline_protocol::{
    awareness,
    frame::{Dialect, Message, Reply},
    names::DocumentName,
    state_vector,
};

use crate::{
    Access, Edit, Effect, Ending, Join, PeerId, Settings,
    body::{Body, Done, Outcome},
    devices::Devices,
    peer::Peer,
    presence::Presence,
    tasks::{Source, Task},
    too_big::TooBig,
};

/// A server edit that was applied and is not durable yet: nobody may see it.
#[derive(Debug)]
pub(crate) struct HeldEdit {
    pub(crate) sequence: Sequence,
    pub(crate) edit: Edit,
    /// What to broadcast; empty where it brought nothing new.
    pub(crate) update: Bytes,
}

/// A SyncStep1 whose answer would show what is not durable.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(crate) peer: PeerId,
    pub(crate) state_vector: Bytes,
    pub(crate) until: Sequence,
}

/// A device whose update failed inside apply: refused for a while, on whatever connection.
#[derive(Debug)]
pub(crate) struct Culprit {
    pub(crate) user: Option<Arc<str>>,
    pub(crate) device: Option<Arc<str>>,
    pub(crate) until_ms: u64,
}

/// One open document and its connections.
#[derive(Debug)]
pub struct Session {
    pub(crate) name: DocumentName,
    pub(crate) settings: Arc<Settings>,
    pub(crate) body: Body,
    pub(crate) peers: Vec<Option<Peer>>,
    generation: u32,
    pub(crate) presence: Presence,
    pub(crate) devices: Devices,
    /// The stored side record was read.
    pub(crate) restored: bool,
    /// The newest sequence given out.
    pub(crate) applied: Sequence,
    /// Everything up to here is on disk.
    pub(crate) durable: Sequence,
    /// The newest sequence that deleted something; before the document is loaded, none is known.
    pub(crate) last_delete: Sequence,
    pub(crate) waiting: VecDeque<Task>,
    pub(crate) waiting_bytes: usize,
    pub(crate) pending: Vec<Entry>,
    /// Something was applied since the pending entries were last tried.
    pub(crate) pending_due: bool,
    pub(crate) edits: VecDeque<HeldEdit>,
    pub(crate) deferred: Vec<Deferred>,
    pub(crate) store_failure: Option<Arc<str>>,
    /// The document on the pool holds what was not saved and never will be: it is dropped when it comes back.
    forsaken: bool,
    /// Hashes of updates that failed inside apply.
    pub(crate) poisonous: HashSet<u64>,
    pub(crate) culprits: Vec<Culprit>,
    pub(crate) too_big: Vec<TooBig>,
    /// The document at rest, estimated, in bytes.
    pub(crate) size: usize,
    /// Updates since the last checkpoint, and their bytes.
    pub(crate) unfolded: (u64, usize),
    /// A checkpoint was asked for, whatever the bounds say.
    pub(crate) fold_wanted: bool,
    /// Encoded, but not handed out before its sequence is durable.
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) used_ms: u64,
    pub(crate) busy_since_ms: Option<u64>,
    pub(crate) status_at_ms: u64,
    pub(crate) side_at_ms: u64,
}

impl Session {
    /// Opens a document; it is loaded when it is first needed.
    pub fn new(name: DocumentName, settings: Arc<Settings>, now_ms: u64) -> Self {
        Self {
            name,
            settings,
            body: Body::Cold,
            peers: Vec::new(),
            generation: 0,
            presence: Presence::default(),
            devices: Devices::default(),
            restored: false,
            applied: 0,
            durable: 0,
            last_delete: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            pending: Vec::new(),
            pending_due: false,
            edits: VecDeque::new(),
            deferred: Vec::new(),
            store_failure: None,
            forsaken: false,
            poisonous: HashSet::new(),
            culprits: Vec::new(),
            too_big: Vec::new(),
            size: 0,
            unfolded: (0, 0),
            fold_wanted: false,
            checkpoint: None,
            used_ms: now_ms,
            busy_since_ms: None,
            status_at_ms: 0,
            side_at_ms: now_ms,
        }
    }

    /// Opens the document anew after a panic in this session, without its connections. Their names are not given
    /// out again.
    pub fn successor(&self, now_ms: u64) -> Self {
        let mut next = Self::new(self.name.clone(), self.settings.clone(), now_ms);
        next.generation = self.generation;
        next
    }

    /// Returns the document's name.
    pub fn name(&self) -> &DocumentName {
        &self.name
    }

    /// Lets a connection in. The peer is told nothing before it speaks.
    pub fn attach(&mut self, join: Join, now_ms: u64) -> PeerId {
        self.generation = self.generation.wrapping_add(1);
        if let Some(device) = &join.device {
            let limit = self.settings.devices;
            let (name, kind) = (join.device_name.as_ref(), join.device_kind.as_ref());
            self.devices.arrive(device, name, kind, limit, now_ms);
            self.status_changed();
        }
        let peer = Peer::new(self.generation, join, &self.settings, now_ms);
        let index = self.peers.iter().position(Option::is_none).unwrap_or_else(|| {
            self.peers.push(None);
            self.peers.len() - 1
        });
        self.peers[index] = Some(peer);
        self.used_ms = now_ms;
        PeerId { index: u32::try_from(index).unwrap_or(u32::MAX), generation: self.generation }
    }

    /// Lets a connection go. What it sent stays received, if it was allowed to send it. Says whether it was here.
    pub fn detach(&mut self, id: PeerId, now_ms: u64, fx: &mut Vec<Effect>) -> bool {
        if self.peer(id).is_none() {
            return false;
        }
        let Some(peer) = self.peers[id.index as usize].take() else { return false };
        if peer.join.access == Access::Read || peer.refused.is_some() {
            // Without its peer nobody would know any more that a task must not write.
            self.forget_tasks(id);
        }
        while self.peers.last().is_some_and(Option::is_none) {
            self.peers.pop();
        }
        self.deferred.retain(|deferred| deferred.peer != id);
        if let Some(payload) = peer.awareness.and_then(|client| self.presence.leave(id, client)) {
            self.tell_all(&Reply::Awareness(&payload), None, fx);
        }
        if let Some(device) = &peer.join.device {
            self.devices.leave(device, now_ms);
            self.status_changed();
        }
        self.used_ms = now_ms;
        true
    }

    /// Changes what a peer may do: its token was replaced.
    pub fn set_access(&mut self, id: PeerId, access: Access) {
        if let Some(peer) = self.peer_mut(id) {
            peer.join.access = access;
            peer.told_read_only = false;
        }
    }

    /// Takes in one message of a peer. `frame` is the whole frame that `message` points into.
    pub fn receive(
        &mut self,
        id: PeerId,
        message: &Message<'_>,
        frame: &Bytes,
        now_ms: u64,
        fx: &mut Vec<Effect>,
    ) {
        let settings = self.settings.clone();
        let Some(peer) = self.peer_mut(id) else { return };
        match *message {
            Message::SyncStep1(bytes) => {
                if let Err(error) = state_vector::parse(bytes, &settings.limits) {
                    return fx.push(malformed(id, &error));
                }
                if !peer.may_step1(&settings, now_ms) {
                    let ending = Ending::TryLater("too many SyncStep1: sync once per connection".to_owned());
                    return fx.push(Effect::End { peer: id, ending });
                }
                self.used_ms = now_ms;
                self.submit(Task::Step1 { peer: id, state_vector: frame.slice_ref(bytes) }, now_ms, fx);
            }
            Message::SyncStep2(bytes) => {
                self.used_ms = now_ms;
                self.submit(Task::take(Source::Step2(id), frame.slice_ref(bytes), None), now_ms, fx);
            }
            Message::Update(bytes) => {
                // A plain Update is relayed to plain peers as the frame that came in.
                let plain = (!peer.is_hocuspocus()).then(|| frame.clone());
                self.used_ms = now_ms;
                self.submit(Task::take(Source::Update(id), frame.slice_ref(bytes), plain), now_ms, fx);
            }
            Message::Version(version) => {
                if peer.join.dialect == Dialect::Plain {
                    peer.join.dialect = Dialect::Ysweet;
                }
                self.submit(Task::Version { peer: id, version }, now_ms, fx);
            }
            Message::Awareness(bytes) => match awareness::parse(bytes, &settings.limits) {
                Ok(states) => self.hear(id, &states, now_ms, fx),
                Err(error) => fx.push(malformed(id, &error)),
            },
            Message::QueryAwareness => {
                if let Some(payload) = self.presence.everyone() {
                    self.send(id, &Reply::Awareness(&payload), fx);
                }
            }
            Message::Stateless(text) => self.hear_json(id, text, now_ms, fx),
            // The connection deals with these two; they mean nothing to a document.
            Message::Auth { .. } | Message::Detach => {}
        }
    }

    /// Takes an edit that the server itself makes, or was handed over HTTP: an update under the stored server
    /// client id or a client's own. It is broadcast, and [`Effect::EditSaved`] is given out, once it is durable.
    pub fn edit(&mut self, edit: Edit, update: Bytes, origin: Origin, now_ms: u64, fx: &mut Vec<Effect>) {
        self.used_ms = now_ms;
        self.submit(Task::take(Source::Edit(edit, origin), update, None), now_ms, fx);
    }

    /// Takes the answer to [`Effect::Load`].
    ///
    /// `Err` refuses the document with that reason; it is never shown empty.
    pub fn loaded(&mut self, outcome: Result<Option<Stored>, String>, now_ms: u64, fx: &mut Vec<Effect>) {
        if !matches!(self.body, Body::Loading) {
            return;
        }
        self.busy_since_ms = None;
        match outcome {
            Ok(stored) => {
                let stored = stored.unwrap_or_default();
                let sequence = stored.sequence;
                self.rest(stored);
                self.durable(sequence, now_ms, fx);
            }
            Err(reason) => self.body = Body::Failed { reason, at_ms: now_ms },
        }
        self.drain(now_ms, fx);
    }

    fn rest(&mut self, stored: Stored) {
        self.applied = stored.sequence;
        self.last_delete = stored.sequence;
        if !std::mem::replace(&mut self.restored, true) {
            self.devices.restore(&stored.side);
        }
        self.poisonous.extend(stored.quarantined.iter().map(|entry| fingerprint(&entry.bytes)));
        self.pending = fold::pending(&stored).cloned().collect();
        self.pending_due = !self.pending.is_empty();
        self.size = fold::parts(&stored).map(<[u8]>::len).sum();
        let tail = || stored.tail.iter().filter(|entry| entry.kind != EntryKind::Quarantined);
        self.unfolded = (tail().count() as u64, tail().map(|entry| entry.bytes.len()).sum());
        self.body = Body::Resting(Box::new(stored));
    }

    /// Takes the answer to [`Effect::Work`].
    pub fn worked(&mut self, done: Done, now_ms: u64, fx: &mut Vec<Effect>) {
        let Body::Away(task) = &mut self.body else { return };
        let task = task.take();
        self.busy_since_ms = None;
        if std::mem::take(&mut self.forsaken) {
            return self.forsake(task.as_ref(), now_ms, fx);
        }
        self.body = match done.replica {
            Some(replica) => Body::Live(replica),
            None => Body::Cold,
        };
        match (done.outcome, task) {
            (Outcome::Built, _) => {}
            (Outcome::NotBuilt(reason), _) => self.body = Body::Failed { reason, at_ms: now_ms },
            (Outcome::Checkpoint(checkpoint), _) => self.offer_checkpoint(checkpoint, fx),
            (Outcome::Diff(diff), Some(Task::Answer { peer, .. })) => self.send_pair(peer, &diff, now_ms, fx),
            (outcome, Some(Task::Take(take))) => self.settle(&take, outcome, now_ms, fx),
            (Outcome::Broken(broken), _) => {
                self.body = Body::Failed { reason: broken.to_string(), at_ms: now_ms }
            }
            (Outcome::Diff(_) | Outcome::Took(_) | Outcome::Held(_) | Outcome::Refused(_), _) => {}
        }
        self.drain(now_ms, fx);
    }

    /// Drops a document that came back from the pool after the store had failed, and what was done with it.
    fn forsake(&mut self, task: Option<&Task>, now_ms: u64, fx: &mut Vec<Effect>) {
        self.forget_unsaved();
        if let (Some(Task::Take(take)), Some(reason)) = (task, self.store_failure.clone()) {
            self.refuse(take, "store", &format!("the server cannot save: {reason}"), fx);
        }
        self.drain(now_ms, fx);
    }

    /// Learns that everything up to `sequence` is on disk: acks that are due go out, and so does what the
    /// server itself wrote.
    pub fn durable(&mut self, sequence: Sequence, now_ms: u64, fx: &mut Vec<Effect>) {
        if sequence <= self.durable {
            return;
        }
        self.durable = sequence;
        while self.edits.front().is_some_and(|held| held.sequence <= sequence) {
            let Some(held) = self.edits.pop_front() else { break };
            if !held.update.is_empty() {
                self.broadcast(&held.update, held.sequence, None, None, fx);
            }
            fx.push(Effect::EditSaved(held.edit));
        }
        self.release(fx);
        if self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.sequence <= sequence)
            && let Some(checkpoint) = self.checkpoint.take()
        {
            fx.push(Effect::Checkpoint(checkpoint));
        }
        self.status_changed();
        if self.deferred.iter().any(|deferred| deferred.until <= sequence) {
            let (ready, later) = std::mem::take(&mut self.deferred)
                .into_iter()
                .partition(|deferred| deferred.until <= sequence);
            self.deferred = later;
            let ready: Vec<Deferred> = ready;
            for deferred in ready {
                self.submit(
                    Task::Answer { peer: deferred.peer, state_vector: deferred.state_vector },
                    now_ms,
                    fx,
                );
            }
        }
    }

    /// Learns that the store takes nothing more. Edits are refused from now on. Where something applied was not
    /// saved it is forgotten here, its devices still have it, and they reconnect to what is stored.
    pub fn store_failed(&mut self, reason: &str, now_ms: u64, fx: &mut Vec<Effect>) {
        if self.store_failure.replace(reason.into()).is_some() {
            return;
        }
        // An update that is on the pool right now would come back applied and never be saved.
        let applying = matches!(self.body, Body::Away(Some(Task::Take(_))));
        if self.applied <= self.durable && !applying {
            return;
        }
        for held in std::mem::take(&mut self.edits) {
            fx.push(Effect::EditRefused(held.edit, reason.to_owned()));
        }
        self.deferred.clear();
        self.checkpoint = None;
        for id in self.peer_ids() {
            let ending = Ending::TryLater(format!("the server cannot save: {reason}"));
            fx.push(Effect::End { peer: id, ending });
            if let Some(peer) = self.peer_mut(id) {
                peer.acks.void();
                peer.later.clear();
            }
        }
        match self.body {
            Body::Away(_) => self.forsaken = true,
            Body::Loading => {}
            _ => {
                self.forget_unsaved();
                self.drain(now_ms, fx);
            }
        }
    }

    /// Goes back to what is on disk: what was applied beyond it will never be durable, and nobody may wait for it.
    fn forget_unsaved(&mut self) {
        self.body = Body::Cold;
        self.applied = self.durable;
    }

    /// Returns how long the document has been loading or busy, for the watchdog.
    pub fn busy_since_ms(&self) -> Option<u64> {
        self.busy_since_ms
    }

    /// Says whether no connection is attached.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Says whether the document takes memory beyond its connections.
    pub fn is_open(&self) -> bool {
        !matches!(self.body, Body::Cold | Body::Failed { .. })
    }

    /// Says whether everything applied is on disk and no ack is owed.
    pub fn is_settled(&self) -> bool {
        self.applied <= self.durable
            && self.waiting.is_empty()
            && self.edits.is_empty()
            && self.deferred.is_empty()
            && !matches!(self.body, Body::Away(Some(_)))
            && self.peers.iter().flatten().all(|peer| peer.acks.is_clear() && peer.parked.is_empty())
    }

    /// Says whether the owner may forget this session: nothing is attached, in memory, owed or remembered.
    pub fn is_idle(&self) -> bool {
        self.is_empty()
            && matches!(self.body, Body::Cold | Body::Failed { .. })
            && self.is_settled()
            && self.culprits.is_empty()
            && self.too_big.is_empty()
            && !self.devices.unsaved
    }

    /// Returns the newest sequence applied and the newest on disk.
    pub fn sequences(&self) -> (Sequence, Sequence) {
        (self.applied, self.durable)
    }

    /// Returns the bytes that wait for the document: its bound is [`Settings::waiting_bytes`].
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(crate) fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(id.index as usize)?.as_ref().filter(|peer| peer.generation == id.generation)
    }

    pub(crate) fn peer_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(id.index as usize)?.as_mut().filter(|peer| peer.generation == id.generation)
    }

    pub(crate) fn peer_ids(&self) -> Vec<PeerId> {
        let peers = self.peers.iter().enumerate();
        peers.filter_map(|(index, peer)| peer.as_ref().map(|peer| id_of(index, peer))).collect()
    }
}

pub(crate) fn id_of(index: usize, peer: &Peer) -> PeerId {
    PeerId { index: u32::try_from(index).unwrap_or(u32::MAX), generation: peer.generation }
}

/// Hashes an update, to know it again when it is offered again.
pub(crate) fn fingerprint(update: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    update.hash(&mut hasher);
    hasher.finish()
}

fn malformed(peer: PeerId, error: &dyn std::fmt::Display) -> Effect {
    Effect::End { peer, ending: Ending::Malformed(error.to_string()) }
}
