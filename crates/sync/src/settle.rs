//! What follows from an update once the document has taken it, or not: journal, broadcast, ack, parking,
//! refusal.

use bytes::Bytes;
use syncline_document::{
    Applied, Broken, Judgement, Rule,
    record::{Entry, EntryKind, Origin, Sequence},
};
use syncline_protocol::frame::Reply;

use crate::{
    Effect, Ending, PeerId, Session,
    body::{Body, Outcome, Took},
    peer::charge,
    session::{Culprit, HeldEdit, fingerprint},
    tasks::{NOTHING, Source, Take, Task},
    trouble::CROWDED,
};

impl Session {
    /// Draws the consequences of what became of an update: journal, broadcast, ack.
    pub(crate) fn settle(&mut self, take: &Take, outcome: Outcome, now_ms: u64, fx: &mut Vec<Effect>) {
        match outcome {
            Outcome::Took(took) => self.settle_taken(take, took, now_ms, fx),
            Outcome::Refused(refusal) => self.refuse(take, refusal.code(), &refusal.to_string(), fx),
            Outcome::Broken(broken) => self.set_aside(take, &broken, now_ms, fx),
            Outcome::Held(true) => {
                let ticket = self.applied;
                self.owe(take, ticket, fx);
            }
            Outcome::Held(false) => {
                if let Some(id) = take.source.peer() {
                    self.not_saved(id, take, fx);
                }
            }
            Outcome::Built
            | Outcome::NotBuilt(_)
            | Outcome::Diff(_)
            | Outcome::Looked(_)
            | Outcome::Folded(_) => {}
        }
    }

    pub(crate) fn settle_taken(&mut self, take: &Take, took: Took, now_ms: u64, fx: &mut Vec<Effect>) {
        let origin = self.origin(take, now_ms);
        let mut ticket = self.applied;
        if let Some((update, Applied { novel: true, deletes })) = took.applied {
            let before = self.applied;
            ticket = before + 1;
            if deletes {
                self.last_delete = ticket;
            }
            if let Some(device) = &origin.device {
                self.devices.wrote(device, before, ticket);
            }
            self.pending_due |= !self.pending.is_empty();
            if let Source::Edit(edit, _) = &take.source {
                let update = update.clone();
                self.edits.push_back(HeldEdit { sequence: ticket, edit: Some(*edit), update });
            }
            match took.judgement {
                None => {
                    self.journal(EntryKind::Update, origin.clone(), update.clone(), fx);
                }
                Some(judgement) => {
                    // Once for an update: one that deletes everything is no loop.
                    if let Some(id) = take.source.peer().filter(|_| offends(&judgement)) {
                        self.count_heal(id, &origin, now_ms, fx);
                    }
                    self.journal_judged(origin.clone(), update.clone(), *judgement, now_ms, fx);
                }
            }
            if matches!(take.source, Source::Edit(..)) {
                return;
            }
            let whole = take.frame.as_ref().filter(|_| took.rest.is_none());
            self.broadcast(&update, ticket, whole, take.source.peer(), fx);
        } else if let (Source::Edit(edit, _), None) = (&take.source, &took.rest) {
            // It brought nothing new: saved once what it repeats is.
            if self.durable < ticket {
                self.edits.push_back(HeldEdit { sequence: ticket, edit: Some(*edit), update: Bytes::new() });
            } else {
                fx.push(Effect::EditSaved(*edit));
            }
            return;
        }
        if let Some(rest) = took.rest {
            match &take.source {
                Source::Update(id) => return self.park(*id, take, &rest, fx),
                Source::Edit(..) => {
                    return self.refuse(
                        take,
                        "gap",
                        "this update needs edits that the server does not have: send the whole document's state",
                        fx,
                    );
                }
                Source::Step2(id) | Source::Parked(id) => {
                    let id = *id;
                    // Each entry costs more than its bytes: many small ones count for what they take.
                    let held: usize = self.pending.iter().map(|entry| charge(&entry.bytes)).sum();
                    if held + charge(&rest) > self.settings.pending_bytes {
                        let reason =
                            "too much of this document waits for edits that never came: start a new one";
                        return self.refuse(take, "pending_full", reason, fx);
                    }
                    // What was applied of it is as much owed as what waits.
                    ticket = ticket.max(self.keep_pending(origin, rest, fx));
                    self.ask_for_all(id, fx);
                }
                Source::Pending(..) => self.keep_waiting(take),
            }
        }
        self.owe(take, ticket, fx);
        if let Source::Step2(id) = take.source {
            self.retry_parked(id);
            self.retry_pending();
        }
    }

    fn keep_pending(&mut self, origin: Origin, rest: Bytes, fx: &mut Vec<Effect>) -> Sequence {
        if let Some(same) = self.pending.iter().find(|entry| entry.bytes == rest) {
            // Offered again, as after every reconnect: it is kept once.
            return same.sequence;
        }
        let sequence = self.journal(EntryKind::Pending, origin.clone(), rest.clone(), fx);
        self.pending.push(self.pending_entry(sequence, origin, rest));
        sequence
    }

    /// Puts a pending entry back that was tried again for nothing.
    pub(crate) fn keep_waiting(&mut self, take: &Take) {
        if let Source::Pending(sequence, origin) = &take.source {
            self.pending.push(self.pending_entry(*sequence, origin.clone(), take.update.clone()));
        }
    }

    fn pending_entry(&self, sequence: Sequence, origin: Origin, bytes: Bytes) -> Entry {
        Entry { document: self.name.clone(), sequence, kind: EntryKind::Pending, origin, bytes }
    }

    fn park(&mut self, id: PeerId, take: &Take, update: &Bytes, fx: &mut Vec<Effect>) {
        let limit = self.settings.pending_bytes;
        let state_vector = match &self.body {
            Body::Live(live) if !live.replica.known().is_renewed() => live.replica.state_vector(),
            // It may lack what says whose its marks are: it is asked for all it has.
            _ => Bytes::from_static(NOTHING),
        };
        let owed = self.owed(take);
        let Some(peer) = self.peer_mut(id) else { return };
        if peer.parked_share.bytes() + charge(update) > limit {
            return self.refuse(
                take,
                "parked_full",
                "too many edits in a row need edits that never came",
                fx,
            );
        }
        if !peer.parked_share.admits(charge(update)) {
            return self.end(id, Ending::TryLater(CROWDED.to_owned()), fx);
        }
        peer.park(update);
        peer.acks.owe_parked(owed);
        if peer.acks.ask_for_gap() {
            fx.push(Effect::Send { to: id, frame: peer.frame(&Reply::SyncStep1(&state_vector)) });
        }
    }

    /// Asks a peer for all it has, once after each of its SyncStep1, where what it sent may have to wait only because
    /// the document was renewed: its copy says whose those marks are.
    fn ask_for_all(&mut self, id: PeerId, fx: &mut Vec<Effect>) {
        let Body::Live(live) = &self.body else { return };
        if !live.replica.known().is_renewed() {
            return;
        }
        let Some(peer) = self.peer_mut(id).filter(|peer| !peer.asked_for_all) else { return };
        if peer.acks.ask_for_gap() {
            peer.asked_for_all = true;
            fx.push(Effect::Send { to: id, frame: peer.frame(&Reply::SyncStep1(NOTHING)) });
        }
    }

    /// Tries what is parked again, before anything that came later.
    fn retry_parked(&mut self, id: PeerId) {
        let Some(peer) = self.peer_mut(id) else { return };
        for update in peer.unpark_all().into_iter().rev() {
            self.wait_first(Task::take(Source::Parked(id), update, None));
        }
    }

    /// Tries what is pending again: the whole list goes, and each that still waits is put back.
    pub(crate) fn retry_pending(&mut self) {
        if !std::mem::take(&mut self.pending_due) {
            return;
        }
        for entry in std::mem::take(&mut self.pending).into_iter().rev() {
            let source = Source::Pending(entry.sequence, entry.origin);
            self.wait_first(Task::take(source, entry.bytes, None));
        }
    }

    /// Gives an entry its sequence and hands it to the journal.
    fn journal(&mut self, kind: EntryKind, origin: Origin, bytes: Bytes, fx: &mut Vec<Effect>) -> Sequence {
        let entry = self.next_entry(kind, origin, bytes, fx);
        fx.push(Effect::Append(entry));
        self.applied
    }

    /// Makes the document's next entry.
    pub(crate) fn next_entry(
        &mut self,
        kind: EntryKind,
        origin: Origin,
        bytes: Bytes,
        fx: &mut Vec<Effect>,
    ) -> Entry {
        self.applied += 1;
        self.unfolded = (self.unfolded.0 + 1, self.unfolded.1 + bytes.len());
        if kind == EntryKind::Update {
            self.size += bytes.len();
            fx.push(Effect::Accepted(bytes.len()));
        }
        Entry { document: self.name.clone(), sequence: self.applied, kind, origin, bytes }
    }

    fn origin(&self, take: &Take, now_ms: u64) -> Origin {
        match &take.source {
            Source::Edit(_, origin) | Source::Pending(_, origin) => origin.clone(),
            _ => self.sender(take, now_ms).unwrap_or(Origin { user: None, device: None, at_ms: now_ms }),
        }
    }

    /// Returns who sent an update on a connection, whether it is still there or not.
    pub(crate) fn sender(&self, take: &Take, now_ms: u64) -> Option<Origin> {
        let id = take.source.peer()?;
        self.peer(id).map(|peer| peer.join.origin(now_ms)).or_else(|| take.left.clone())
    }

    /// yrs failed on an update, past the checker: it is kept for an operator, its sender is refused, and the
    /// document is loaded again from what is stored.
    fn set_aside(&mut self, take: &Take, broken: &Broken, now_ms: u64, fx: &mut Vec<Effect>) {
        let origin = self.origin(take, now_ms);
        tracing::error!(document = %self.name, user = ?origin.user, device = ?origin.device, %broken, "update set aside");
        self.poisonous.insert(fingerprint(&take.update));
        if let Some(Origin { user, device, .. }) = self.sender(take, now_ms) {
            let until_ms = now_ms + self.settings.culprit_ms;
            let reason = "an update of this device could not be applied: try again later";
            let culprit = Culprit { user, device, until_ms, reason };
            self.culprits.push(culprit);
        }
        self.journal(EntryKind::Quarantined, origin, take.update.clone(), fx);
        self.body = Body::Cold;
        self.refuse(take, "set_aside", "this update could not be applied: it was set aside", fx);
    }
}

/// Says whether a device has to answer for what it wrote. A clock that is ahead is overruled, and is no offence.
fn offends(judgement: &Judgement) -> bool {
    judgement.heals.iter().any(|heal| heal.rule != Rule::Future)
        || !judgement.malformed.is_empty()
        // Each time the document has to be written anew.
        || judgement.revived
}
