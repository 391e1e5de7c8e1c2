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
    schema::Kind,
};
use syncline_protocol::{
    awareness,
    frame::{Dialect, Message, Reply},
    names::DocumentName,
    state_vector,
};

use crate::{
    Access, Edit, Effect, Ending, Join, PeerId, Settings,
    answer::Deferred,
    body::{Body, Done, Outcome},
    budget::Share,
    devices::Devices,
    live::{Looking, Room, Writing},
    peer::Peer,
    presence::Presence,
    tasks::{Compose, Look, Reading, Source, Task},
    too_big::TooBig,
};

/// An entry of a state vector at its longest: a client id below 2^53 and a clock below 2^32.
const ENTRY_BYTES: usize = 8 + 5;
/// Where memory is short a document that was used this lately stays: it is most likely used again.
const HURRIED_MS: u64 = 1_000;
/// A document for which there was no room is tried again after this long.
const CROWDED_MS: u64 = 500;
/// The count before the entries, at its longest.
const COUNT_BYTES: usize = 8;

/// A server edit that was applied and is not durable yet: nobody may see it.
#[derive(Debug)]
pub(crate) struct HeldEdit {
    pub(crate) sequence: Sequence,
    /// Who waits for it; nobody for what the judge wrote.
    pub(crate) edit: Option<Edit>,
    /// What to broadcast; empty where it brought nothing new.
    pub(crate) update: Bytes,
}

/// A device that is remembered for what it did, on whatever connection: its update failed inside apply, or had to be
/// healed.
#[derive(Debug, Clone)]
pub(crate) struct Culprit {
    pub(crate) user: Option<Arc<str>>,
    pub(crate) device: Option<Arc<str>>,
    pub(crate) until_ms: u64,
    /// What it is told.
    pub(crate) reason: &'static str,
}

/// One open document and its connections.
#[derive(Debug)]
pub struct Session {
    pub(crate) name: DocumentName,
    pub(crate) kind: Kind,
    /// The client id under which the server writes.
    pub(crate) server_client: u64,
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
    /// What that takes.
    pub(crate) waiting_share: Share,
    pub(crate) pending: Vec<Entry>,
    /// Something was applied since the pending entries were last tried.
    pub(crate) pending_due: bool,
    pub(crate) edits: VecDeque<HeldEdit>,
    pub(crate) deferred: Vec<Deferred>,
    /// Outcomes of reads, until what they show is durable.
    pub(crate) looks: VecDeque<(Sequence, Reading)>,
    pub(crate) store_failure: Option<Arc<str>>,
    /// The document on the pool holds what was not saved and never will be: it is dropped when it comes back.
    pub(crate) forsaken: bool,
    /// Hashes of updates that failed inside apply.
    pub(crate) poisonous: HashSet<u64>,
    pub(crate) culprits: Vec<Culprit>,
    /// Devices whose writing had to be healed, and how often.
    pub(crate) healed: Vec<(Culprit, u32)>,
    pub(crate) too_big: Vec<TooBig>,
    /// The document at rest, estimated, in bytes.
    pub(crate) size: usize,
    /// Updates since the last checkpoint, and their bytes.
    pub(crate) unfolded: (u64, usize),
    /// A checkpoint was asked for, whatever the bounds say.
    pub(crate) fold_wanted: bool,
    /// Encoded, but not handed out before its sequence is durable.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// When the last checkpoint was made, by `used_ms`.
    pub(crate) folded_ms: u64,
    pub(crate) ticked_ms: u64,
    pub(crate) used_ms: u64,
    pub(crate) busy_since_ms: Option<u64>,
    pub(crate) status_at_ms: u64,
    pub(crate) side_at_ms: u64,
}

impl Session {
    /// Opens a document; it is loaded when it is first needed. `server_client` is the Yjs client id under which the server
    /// writes into it: stored for ever, never another's.
    pub fn new(name: DocumentName, server_client: u64, settings: Arc<Settings>, now_ms: u64) -> Self {
        Self {
            kind: Kind::of(&name),
            name,
            server_client,
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
            waiting_share: Share::of(&settings.waiting_pool),
            pending: Vec::new(),
            pending_due: false,
            edits: VecDeque::new(),
            deferred: Vec::new(),
            looks: VecDeque::new(),
            store_failure: None,
            forsaken: false,
            poisonous: HashSet::new(),
            culprits: Vec::new(),
            healed: Vec::new(),
            too_big: Vec::new(),
            size: 0,
            unfolded: (0, 0),
            fold_wanted: false,
            checkpoint: None,
            folded_ms: 0,
            ticked_ms: 0,
            used_ms: now_ms,
            busy_since_ms: None,
            status_at_ms: 0,
            side_at_ms: now_ms,
            settings,
        }
    }

    /// Opens the document anew after a panic in this session, without its connections. Their names are not given
    /// out again.
    pub fn successor(&self, now_ms: u64) -> Self {
        let mut next = Self::new(self.name.clone(), self.server_client, self.settings.clone(), now_ms);
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
        } else {
            self.stamp_tasks(id, &peer.join.origin(now_ms));
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

    /// Lists the devices that have opened the document, as far as it is known here.
    pub fn devices(&self) -> Vec<Arc<str>> {
        self.devices.ids()
    }

    /// A device was signed out for good: nobody waits for it to catch up.
    pub fn forget_device(&mut self, id: &str) {
        if self.devices.forget(id) {
            self.status_changed();
        }
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
        let Some(peer) = self.peer_mut(id).filter(|peer| !peer.ended) else { return };
        match *message {
            Message::SyncStep1(bytes) => {
                // Before it is parsed: that happens under the document's lock.
                if bytes.len() > settings.limits.sections.saturating_mul(ENTRY_BYTES) + COUNT_BYTES {
                    return self.end(id, Ending::Malformed("this state vector is too long".to_owned()), fx);
                }
                if let Err(error) = state_vector::parse(bytes, &settings.limits) {
                    return self.end(id, Ending::Malformed(error.to_string()), fx);
                }
                if !peer.step1s.take(&settings, now_ms) {
                    let ending = Ending::TryLater("too many SyncStep1: sync once per connection".to_owned());
                    return self.end(id, ending, fx);
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
                Err(error) => self.end(id, Ending::Malformed(error.to_string()), fx),
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

    /// Has something written under the server's client id, once the document is there. What comes of it is broadcast, and
    /// [`Effect::EditSaved`] is given out, once it is durable.
    pub fn compose(
        &mut self,
        edit: Edit,
        origin: Origin,
        writing: Writing,
        room: Room,
        now_ms: u64,
        fx: &mut Vec<Effect>,
    ) {
        self.used_ms = now_ms;
        self.submit(Task::Compose(Box::new(Compose { edit, origin, writing, room })), now_ms, fx);
    }

    /// Has the document read, once it is there.
    pub fn look(&mut self, looking: Looking, now_ms: u64, fx: &mut Vec<Effect>) {
        self.used_ms = now_ms;
        self.submit(Task::Look(Look(looking)), now_ms, fx);
    }

    /// Takes the answer to [`Effect::Load`].
    ///
    /// `Err` refuses the document with that reason; it is never shown empty.
    pub fn loaded(&mut self, outcome: Result<Option<Stored>, String>, now_ms: u64, fx: &mut Vec<Effect>) {
        if !matches!(self.body, Body::Loading) {
            return;
        }
        self.back(now_ms);
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

    /// Takes it as an answer to [`Effect::Load`] that there is no room for the document for now: whoever waits is turned
    /// away, and who comes back after a moment has it tried again.
    pub fn crowded(&mut self, reason: &str, now_ms: u64, fx: &mut Vec<Effect>) {
        if !matches!(self.body, Body::Loading) {
            return;
        }
        self.back(now_ms);
        let at_ms = (now_ms + CROWDED_MS).saturating_sub(self.settings.reload_after_ms);
        self.body = Body::Failed { reason: reason.to_owned(), at_ms };
        self.drain(now_ms, fx);
    }

    fn rest(&mut self, stored: Stored) {
        self.applied = stored.sequence;
        self.last_delete = stored.sequence;
        if !std::mem::replace(&mut self.restored, true) {
            self.devices.restore(&stored.side);
        }
        self.poisonous.extend(stored.quarantined.iter().map(|entry| fingerprint(&entry.bytes)));
        // All of them are here: those that were being tried again are among them.
        self.forget_retries();
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
        self.back(now_ms);
        if std::mem::take(&mut self.forsaken) {
            return self.forsake(task.as_ref(), now_ms, fx);
        }
        self.body = match done.live {
            Some(live) => Body::Live(live),
            None => Body::Cold,
        };
        match (done.outcome, task) {
            (Outcome::Built, _) => {}
            (Outcome::NotBuilt(reason), _) => self.body = Body::Failed { reason, at_ms: now_ms },
            (Outcome::Folded(folded), _) => self.offer_folded(folded, now_ms, fx),
            (Outcome::Looked(reading), _) => self.hand_over(reading),
            (Outcome::Diff(diff), Some(Task::Answer { peer, .. })) => self.send_pair(peer, &diff, now_ms, fx),
            (outcome, Some(Task::Take(take))) => self.settle(&take, outcome, now_ms, fx),
            (Outcome::Broken(broken), task) => {
                self.body = Body::Failed { reason: broken.to_string(), at_ms: now_ms };
                if let Some(task) = task {
                    self.turn_away(task, &broken.to_string(), now_ms, fx);
                }
            }
            (Outcome::Diff(_) | Outcome::Took(_) | Outcome::Held(_) | Outcome::Refused(_), _) => {}
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
            if let Some(edit) = held.edit {
                fx.push(Effect::EditSaved(edit));
            }
        }
        while self.looks.front().is_some_and(|(due, _)| *due <= sequence) {
            let Some((_, reading)) = self.looks.pop_front() else { break };
            (reading.0)();
        }
        self.release(fx);
        if self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.sequence <= sequence)
            && let Some(checkpoint) = self.checkpoint.take()
        {
            fx.push(Effect::Checkpoint(checkpoint));
        }
        self.status_changed();
        self.answer_deferred(now_ms, fx);
    }

    /// Says whether no connection is attached.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Says whether the document takes memory beyond its connections.
    pub fn is_open(&self) -> bool {
        !matches!(self.body, Body::Cold | Body::Failed { .. })
    }

    /// Returns the bytes of the document at rest, as far as it is in memory.
    pub fn resident_bytes(&self) -> usize {
        if self.is_open() { self.size } else { 0 }
    }

    /// Memory is short: what nobody used for a moment need not wait longer to leave it. What somebody has open and would
    /// have to be folded first waits all the same: it would be written anew at every pause.
    pub fn hurry(&mut self, now_ms: u64) {
        let is_cheap = self.unfolded.0 == 0 || self.is_empty();
        if is_cheap && now_ms >= self.used_ms + HURRIED_MS {
            self.used_ms = self.used_ms.min(now_ms.saturating_sub(self.settings.evict_after_ms));
        }
    }

    /// Says whether everything applied is on disk and no ack is owed.
    pub fn is_settled(&self) -> bool {
        self.applied <= self.durable
            && self.waiting.is_empty()
            && self.edits.is_empty()
            && self.deferred.is_empty()
            && self.looks.is_empty()
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
        self.waiting_share.bytes()
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
