//! The answer to a SyncStep1: what the peer lacks, and the question for what it holds.
//!
//! Some answers show what is not on disk yet, and some peers must not see that. Such an answer is encoded at once
//! and sent when what it shows is durable: were it made anew by then, a steady writer would have gone on, and the
//! peer would wait for as long as the writer writes.

use bytes::Bytes;
use syncline_document::{Replica, record::Sequence};
use syncline_protocol::{
    frame::{Dialect, Reply, encode},
    known::Known,
    lib0::write_var_uint,
    state_vector::{self, StateVector},
};

use crate::{
    Effect, Ending, PeerId, Session,
    body::{Body, Work},
    peer::Later,
    tasks::{NOTHING, Task},
};

/// The update of an empty document.
const NO_UPDATE: &[u8] = &[0, 0];

/// A SyncStep1 of a peer whose answer to the one before is still held back: one answer is held for a peer, since each
/// may be as large as the document.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(crate) peer: PeerId,
    pub(crate) state_vector: Bytes,
}

impl Session {
    /// Answers a SyncStep1, or gives it back because the document is not there yet.
    pub(crate) fn answer(
        &mut self,
        id: PeerId,
        state_vector: Bytes,
        now_ms: u64,
        fx: &mut Vec<Effect>,
    ) -> Result<(), Task> {
        let Some(peer) = self.peer(id) else { return Ok(()) };
        if peer.later.iter().any(|(_, later)| matches!(later, Later::Pair { .. })) {
            self.defer(id, state_vector, fx);
            return Ok(());
        }
        if let Body::Resting(stored) = &self.body
            && stored.tail.is_empty()
            && state_vector == NOTHING
        {
            let state =
                stored.checkpoint.as_ref().map_or(Bytes::from_static(NO_UPDATE), |c| c.update.clone());
            self.send_pair(id, &state, now_ms, fx);
            return Ok(());
        }
        if !self.ready(now_ms, fx) {
            return Err(Task::Answer { peer: id, state_vector });
        }
        let Some(mut live) = self.live() else { return Ok(()) };
        self.note_state_vector(id, &live.replica, &state_vector, now_ms, fx);
        if self.size > self.settings.heavy_document_bytes {
            let task = Task::Answer { peer: id, state_vector: state_vector.clone() };
            self.work(Some(live), Work::Diff { state_vector }, Some(task), now_ms, fx);
            return Ok(());
        }
        match live.replica.diff(&state_vector) {
            Ok(diff) => {
                self.body = Body::Live(live);
                self.send_pair(id, &diff, now_ms, fx);
            }
            Err(broken) => {
                self.body = Body::Failed { reason: broken.to_string(), at_ms: now_ms };
                self.turn_away(Task::Answer { peer: id, state_vector }, &broken.to_string(), now_ms, fx);
            }
        }
        Ok(())
    }

    fn defer(&mut self, peer: PeerId, state_vector: Bytes, fx: &mut Vec<Effect>) {
        let held: usize = self.deferred.iter().map(|deferred| deferred.state_vector.len()).sum();
        if held + state_vector.len() > self.settings.waiting_bytes {
            return self.end(peer, Ending::TryLater("too many SyncStep1 wait for the disk".to_owned()), fx);
        }
        self.deferred.push(Deferred { peer, state_vector });
    }

    /// Answers the SyncStep1 that waited for an answer which is out by now; the others wait on.
    pub(crate) fn answer_deferred(&mut self, now_ms: u64, fx: &mut Vec<Effect>) {
        for Deferred { peer, state_vector } in std::mem::take(&mut self.deferred) {
            self.submit(Task::Answer { peer, state_vector }, now_ms, fx);
        }
    }

    /// Draws what a SyncStep1 tells of its sender. A device whose state vector covers ours has it all, unless a
    /// deletion (which a state vector does not show) came after what it confirmed before.
    fn note_state_vector(
        &mut self,
        id: PeerId,
        replica: &Replica,
        theirs: &[u8],
        now_ms: u64,
        fx: &mut Vec<Effect>,
    ) {
        let Ok(theirs) = state_vector::parse(theirs, &self.settings.limits) else { return };
        self.note_offer(id, replica.known(), &theirs, now_ms, fx);
        let known = replica.known();
        let Some(peer) = self.peer_mut(id) else { return };
        // It lacks some edits that are here, and the renewal may be among those: what it sets before it has them stands
        // beside what was collected, whether it has edits for us already or makes them in a moment.
        peer.may_be_late = known.is_renewed() && !theirs.is_empty() && !known.covered_by(&theirs);
        if peer.join.dialect == Dialect::Plain {
            peer.confirmation = confirmation(replica.known(), &theirs);
        }
        let Some(device) = peer.join.device.clone() else { return };
        if replica.known().covered_by(&theirs)
            && self.devices.received(&device) >= self.last_delete
            && self.devices.receive(&device, self.durable)
        {
            self.status_changed();
        }
    }

    /// Sends the SyncStep2 and SyncStep1 that answer a SyncStep1, as of what is applied now. From here on the peer
    /// gets every update. Where it may not see all of that yet, they are held back until it may.
    pub(crate) fn send_pair(&mut self, id: PeerId, diff: &[u8], now_ms: u64, fx: &mut Vec<Effect>) {
        let state_vector = match &self.body {
            Body::Live(live) => live.replica.state_vector(),
            Body::Resting(stored) => {
                stored.checkpoint.as_ref().map_or(Bytes::from_static(NOTHING), |c| c.state_vector.clone())
            }
            _ => Bytes::from_static(NOTHING),
        };
        let Some(peer) = self.peer(id) else { return };
        let due = self.shows(peer.is_hocuspocus());
        let Some(peer) = self.peer_mut(id) else { return };
        // What was carried over in a renewal takes the place of what stands in the peer's copy, unsent edits too: it is
        // asked for those before it is told, and for what says whose they are.
        let asks_first = std::mem::take(&mut peer.may_be_late);
        peer.asked_for_all = asks_first;
        let asked = if asks_first { state_vector::EVERYTHING } else { &state_vector };
        let step2 = peer.frame(&Reply::SyncStep2(diff));
        let step1 = peer.frame(&Reply::SyncStep1(asked));
        peer.later.push_back((due, Later::Pair { step2, step1, asks_first }));
        peer.leave_at_ms = None;
        self.used_ms = now_ms;
        self.release_to(id, fx);
    }

    /// The sequence that has to be durable before an answer as of now may be seen. What the server wrote is shown to
    /// nobody before it is durable. Plain clients that confirm their edits take any frame for a confirmation, so
    /// theirs shows durable state only.
    fn shows(&self, counts: bool) -> Sequence {
        match self.edits.back() {
            _ if !counts => self.applied,
            Some(held) => held.sequence,
            None => 0,
        }
    }
}

/// Makes the frame that confirms to a plain client what its state vector says it holds and we hold too.
///
/// Clients of the y-websocket 3.1 release candidates and of `@y/websocket` 4 count an edit as confirmed when a
/// frame names its ids. An edit that was saved while its echo was lost with the connection would stay
/// unconfirmed for ever: nobody sends it again. So after a resync they get the ids as GC blocks, which change
/// nothing in a document that has those clocks. Only for state vectors of a few entries, as a client's own are.
fn confirmation(known: &Known, theirs: &StateVector) -> Option<Bytes> {
    const ENTRIES: usize = 64;
    if theirs.len() > ENTRIES {
        return None;
    }
    let mut both: Vec<(u64, u32)> =
        theirs.iter().map(|(client, clock)| (client, clock.min(known.clock(client)))).collect();
    both.retain(|(_, clock)| *clock > 0);
    if both.is_empty() {
        return None;
    }
    both.sort_unstable_by_key(|(client, _)| std::cmp::Reverse(*client));
    let mut update = Vec::with_capacity(2 + both.len() * 16);
    write_var_uint(&mut update, both.len() as u64);
    for (client, clock) in both {
        // One block, from clock 0, of kind GC, of that length.
        write_var_uint(&mut update, 1);
        write_var_uint(&mut update, client);
        update.extend_from_slice(&[0, 0]);
        write_var_uint(&mut update, u64::from(clock));
    }
    update.push(0);
    Some(encode(None, &Reply::Update(&update)))
}
