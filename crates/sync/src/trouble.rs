//! What does not go well around a document: a store that fails, a document that cannot be opened or is away for too
//! long, and peers that have to go.

use syncline_protocol::frame::{EMPTY_AWARENESS, Reply};

use crate::{
    Effect, Ending, PeerId, Session,
    body::Body,
    tasks::{Source, Task},
};

/// What who comes to a busy document is told.
pub(crate) const BUSY: &str = "this document is busy: reconnect in a while";
/// What who comes is told where all documents together hold too much of what waits.
pub(crate) const CROWDED: &str = "too many edits wait on this server: reconnect in a while";

impl Session {
    /// Ends a peer's connection. What it says from now on is not heard: something of it was turned away, which an ack
    /// of what comes later would seem to cover.
    pub(crate) fn end(&mut self, id: PeerId, ending: Ending, fx: &mut Vec<Effect>) {
        if let Some(peer) = self.peer_mut(id)
            && !std::mem::replace(&mut peer.ended, true)
        {
            fx.push(Effect::End { peer: id, ending });
        }
    }

    /// Tells every peer that the document was erased, and lets it go. A Hocuspocus socket may have other documents: there
    /// only this one is denied.
    pub fn expel(&mut self, reason: &str, fx: &mut Vec<Effect>) {
        for id in self.peer_ids() {
            self.send(id, &Reply::Denied(reason), fx);
            let Some(peer) = self.peer_mut(id) else { continue };
            if peer.is_hocuspocus() {
                peer.ended = true;
            } else {
                self.end(id, Ending::Erased(reason.to_owned()), fx);
            }
        }
    }

    /// Ends the connections of peers that waited for a document which could not be opened, once it may be tried again.
    pub(crate) fn end_overdue(&mut self, now_ms: u64, fx: &mut Vec<Effect>) {
        for id in self.peer_ids() {
            if self.peer(id).and_then(|peer| peer.leave_at_ms).is_some_and(|at_ms| at_ms <= now_ms) {
                let reason = "this document could not be opened: reconnect";
                self.end(id, Ending::TryLater(reason.to_owned()), fx);
            }
        }
    }

    /// Answers a task of a document that cannot be opened.
    pub(crate) fn turn_away(&mut self, task: Task, reason: &str, now_ms: u64, fx: &mut Vec<Effect>) {
        match task {
            Task::Step1 { peer, .. } | Task::Answer { peer, .. } => {
                // It is told why at once, and has to go when there is hope again: a client that is sent away from
                // a damaged document comes back at once.
                fx.push(Effect::Refused("unavailable"));
                self.send(peer, &Reply::Denied(reason), fx);
                let leave_at_ms = match self.body {
                    Body::Failed { at_ms, .. } => at_ms + self.settings.reload_after_ms,
                    _ => now_ms,
                };
                if let Some(peer) = self.peer_mut(peer) {
                    peer.leave_at_ms.get_or_insert(leave_at_ms);
                }
            }
            Task::Take(take) => match take.source.peer() {
                // It may be open again in a while, and a refusal would hold for as long as the connection does:
                // the peer comes back and offers its edits again.
                Some(peer) => {
                    fx.push(Effect::Refused("unavailable"));
                    self.end(peer, Ending::TryLater(reason.to_owned()), fx);
                }
                None => self.refuse(&take, "unavailable", reason, fx),
            },
            Task::Version { peer, .. } => {
                self.send(peer, &Reply::Awareness(EMPTY_AWARENESS), fx);
            }
            Task::Compose(compose) => self.refuse_edit(compose.edit, "unavailable", reason, fx),
            Task::Look(look) => (look.0)(Err(reason))(),
        }
    }

    /// Says whether the document has been loading or busy for longer than anyone is to wait for.
    pub(crate) fn hangs(&self, now_ms: u64) -> bool {
        self.busy_since_ms.is_some_and(|since_ms| now_ms >= since_ms + self.settings.busy_ms)
    }

    /// The document is back. Who was sent away meanwhile is to find it open: it is as good as used now.
    pub(crate) fn back(&mut self, now_ms: u64) {
        if self.hangs(now_ms) {
            self.used_ms = now_ms;
        }
        self.busy_since_ms = None;
    }

    /// Turns a task away that would have to wait for too long, or behind too much.
    pub(crate) fn turn_from_busy(&mut self, task: Task, reason: &str, fx: &mut Vec<Effect>) {
        match (task.peer(), task) {
            (Some(peer), _) => self.end(peer, Ending::TryLater(reason.to_owned()), fx),
            (None, Task::Take(take)) => self.refuse(&take, "unavailable", reason, fx),
            (None, Task::Compose(compose)) => self.refuse_edit(compose.edit, "unavailable", reason, fx),
            (None, Task::Look(look)) => (look.0)(Err(reason))(),
            // The others are of peers.
            (None, Task::Step1 { .. } | Task::Answer { .. } | Task::Version { .. }) => {}
        }
    }

    /// Turns away what waits for a document that hangs. What a peer that has left sent was received: it waits on, and
    /// so does what is pending.
    pub(crate) fn turn_waiting_away(&mut self, fx: &mut Vec<Effect>) {
        for task in std::mem::take(&mut self.waiting) {
            let stays = match (task.peer(), &task) {
                (Some(id), _) => self.peer(id).is_none(),
                (None, Task::Take(take)) => !matches!(take.source, Source::Edit(..)),
                (None, _) => false,
            };
            if stays {
                self.waiting.push_back(task);
            } else {
                self.turn_from_busy(task, BUSY, fx);
            }
        }
        self.count_waiting();
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
            if let Some(edit) = held.edit {
                fx.push(Effect::EditRefused(edit, "store", reason.to_owned()));
            }
        }
        self.deferred.clear();
        // Who waits for these learns that the reads came to nothing.
        self.looks.clear();
        self.checkpoint = None;
        for id in self.peer_ids() {
            let ending = Ending::TryLater(format!("the server cannot save: {reason}"));
            self.end(id, ending, fx);
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

    /// Drops a document that came back from the pool after the store had failed, and what was done with it.
    pub(crate) fn forsake(&mut self, task: Option<&Task>, now_ms: u64, fx: &mut Vec<Effect>) {
        self.forget_unsaved();
        if let (Some(Task::Take(take)), Some(reason)) = (task, self.store_failure.clone()) {
            self.refuse(take, "store", &format!("the server cannot save: {reason}"), fx);
        }
        self.drain(now_ms, fx);
    }

    /// Returns how long the document has been loading or busy, for the watchdog.
    pub fn busy_since_ms(&self) -> Option<u64> {
        self.busy_since_ms
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use syncline_document::{
        Broken,
        record::{Entry, EntryKind, Origin, Stored},
    };
    use syncline_protocol::{
        frame::{Dialect, Reply, decode_plain, encode},
        names::DocumentName,
    };

    use super::*;
    use crate::{
        Access, Join, Settings,
        body::{Done, Outcome},
    };

    const NAME: &str = "notes";

    /// A session with what is stored, and a plain peer in it; everything goes to the pool.
    fn session(stored: Stored) -> (Session, PeerId) {
        let name = DocumentName::parse(NAME).expect("a name");
        let settings = Settings { heavy_bytes: 0, heavy_document_bytes: 0, ..Settings::default() };
        let mut session = Session::new(name, 1, Arc::new(settings), 0);
        let join = Join {
            dialect: Dialect::Plain,
            address: None,
            access: Access::Write,
            user: None,
            device: None,
            device_name: None,
            device_kind: None,
            wants_status: false,
        };
        let peer = session.attach(join, 0);
        let mut fx = say(&mut session, peer, &Reply::SyncStep1(&[1, 1, 1]));
        session.loaded(Ok(Some(stored)), 0, &mut fx);
        finish(&mut session, &mut fx);
        (session, peer)
    }

    fn say(session: &mut Session, peer: PeerId, reply: &Reply<'_>) -> Vec<Effect> {
        let frame = encode(None, reply);
        let message = decode_plain(&frame).expect("a message");
        let mut fx = Vec::new();
        session.receive(peer, &message, &frame, 0, &mut fx);
        fx
    }

    /// Runs the jobs among the effects, and those that follow from them.
    fn finish(session: &mut Session, fx: &mut Vec<Effect>) {
        while let Some(at) = fx.iter().position(|effect| matches!(effect, Effect::Work(_))) {
            let Effect::Work(job) = fx.remove(at) else { return };
            session.worked(job.run(), 0, fx);
        }
    }

    fn broken() -> Done {
        Done { live: None, outcome: Outcome::Broken(Broken("a test".to_owned())) }
    }

    fn letter(client: u8, clock: u8) -> Bytes {
        match clock {
            0 => Bytes::from(vec![1, 1, client, 0, 4, 1, 1, b't', 1, b'x', 0]),
            _ => Bytes::from(vec![1, 1, client, clock, 0x84, client, clock - 1, 1, b'x', 0]),
        }
    }

    fn entry(sequence: u64, kind: EntryKind, bytes: Bytes) -> Entry {
        let document = DocumentName::parse(NAME).expect("a name");
        let origin = Origin { user: None, device: None, at_ms: 0 };
        Entry { document, sequence, kind, origin, bytes }
    }

    #[test]
    fn who_asks_is_told_when_the_answer_fails_on_the_pool() {
        let stored = Stored {
            tail: vec![entry(1, EntryKind::Update, letter(1, 0))],
            sequence: 1,
            ..Stored::default()
        };
        let (mut session, peer) = session(stored);
        let fx = say(&mut session, peer, &Reply::SyncStep1(&[1, 1, 1]));
        assert!(matches!(fx[..], [Effect::Work(_)]));
        let mut fx = Vec::new();
        session.worked(broken(), 0, &mut fx);
        assert!(fx.iter().any(|effect| matches!(effect, Effect::Send { to, .. } if *to == peer)), "why");
        let at_ms = session.next_tick_ms().expect("something is due");
        session.tick(at_ms, &mut fx);
        let end = |effect: &Effect| matches!(effect, Effect::End { ending: Ending::TryLater(_), .. });
        assert!(fx.iter().any(end));
    }

    #[test]
    fn pending_entries_are_tried_once_when_the_document_is_loaded_amid_a_try() {
        let pending = |sequence, client| entry(sequence, EntryKind::Pending, letter(client, 1));
        let tail = vec![pending(1, 1), pending(2, 2), pending(3, 3)];
        let stored = Stored { tail, sequence: 3, ..Stored::default() };
        let (mut session, _) = session(stored.clone());
        let mut fx = Vec::new();
        session.tick(0, &mut fx);
        assert!(matches!(fx[..], [Effect::Work(_)]), "the first is on the pool, two wait");
        fx.clear();
        session.worked(broken(), 0, &mut fx);
        assert!(matches!(fx.pop(), Some(Effect::Load)));
        session.loaded(Ok(Some(stored)), 0, &mut fx);
        finish(&mut session, &mut fx);
        session.tick(0, &mut fx);
        finish(&mut session, &mut fx);
        let pending: Vec<u64> = session.pending.iter().map(|entry| entry.sequence).collect();
        assert_eq!(pending, [1, 2, 3]);
    }
}
