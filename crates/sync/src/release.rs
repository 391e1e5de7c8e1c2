//! What a peer gets later: acks and updates once they are durable, and what is held for a page that nobody looks at.

use bytes::Bytes;
use syncline_document::{is_empty_update, record::Sequence};
use syncline_protocol::{
    frame::{Dialect, Reply, encode},
    update::scan,
};

use crate::{
    Access, Effect, PeerId, Session,
    acks::{Answer, Owed},
    peer::{Held, Later, Peer},
    session::id_of,
    tasks::{Source, Take},
};

/// Updates held for a hidden peer before they are sent all the same.
const HELD_UPDATES: usize = 256;
const HELD_BYTES: usize = 64 << 10;
impl Session {
    /// What the sender of an update is to get once it is saved.
    pub(crate) fn owed(&self, take: &Take) -> Owed {
        let Some(peer) = take.source.peer().and_then(|id| self.peer(id)) else { return Owed::Silent };
        match peer.join.dialect {
            Dialect::Hocuspocus if self.was_queued(peer, take) => Owed::Silent,
            Dialect::Hocuspocus => Owed::Status,
            Dialect::Ysweet => Owed::Silent,
            Dialect::Plain if is_empty_update(&take.update) => Owed::Silent,
            Dialect::Plain => Owed::Echo(match (&take.source, &take.frame) {
                (Source::Update(_), Some(frame)) => frame.clone(),
                _ => encode(None, &Reply::Update(&take.update)),
            }),
        }
    }

    /// Says whether a Hocuspocus client no longer counts this Update: it was made before the connection was, so
    /// the client's first SyncStep1 shows it. A deletion shows nowhere: it gets no ack either, because one too
    /// many is believed for good and one too few until the next sync.
    fn was_queued(&self, peer: &Peer, take: &Take) -> bool {
        matches!(take.source, Source::Update(_))
            && peer.shown.as_ref().is_some_and(|shown| {
                scan(&take.update, &self.settings.limits).is_ok_and(|scan| scan.covered_by(shown))
            })
    }

    /// Owes the sender of an update its ack, and sends what is due by now.
    pub(crate) fn owe(&mut self, take: &Take, ticket: Sequence, fx: &mut Vec<Effect>) {
        let owed = self.owed(take);
        let durable = self.durable;
        let Some(id) = take.source.peer() else { return };
        let Some(peer) = self.peer_mut(id) else { return };
        match (&take.source, take.answer) {
            (Source::Update(_), _) => peer.acks.owe(ticket, owed),
            (Source::Parked(_), _) => peer.acks.unpark(ticket),
            (Source::Step2(_), Some(Answer::Pair)) => {
                peer.acks.owe_pair(ticket, owed);
                if let Some(held) = peer.confirmation.take() {
                    peer.acks.owe(ticket, Owed::Echo(held));
                }
            }
            _ => {}
        }
        if ticket <= durable {
            release_peer(id, peer, durable, fx);
        }
    }

    /// Sends every ack that is due.
    pub(crate) fn release(&mut self, fx: &mut Vec<Effect>) {
        let (now_ms, durable) = (self.used_ms, self.durable);
        let mut unasked = Vec::new();
        for (index, peer) in self.peers.iter_mut().enumerate() {
            let Some(peer) = peer else { continue };
            let id = id_of(index, peer);
            if release_later(id, peer, durable, now_ms, fx) {
                unasked.push(id);
            }
            release_peer(id, peer, durable, fx);
        }
        for id in unasked {
            self.introduce(id, fx);
        }
    }

    /// Sends one peer what was held back for it and may be seen by now.
    pub(crate) fn release_to(&mut self, id: PeerId, fx: &mut Vec<Effect>) {
        let (now_ms, durable) = (self.used_ms, self.durable);
        if self.peer_mut(id).is_some_and(|peer| release_later(id, peer, durable, now_ms, fx)) {
            self.introduce(id, fx);
        }
    }
}

/// Sends a peer what was held back for it, as far as it may be seen by now. Says whether it was answered without a
/// question: such a peer is to be introduced now, since it sends no SyncStep2.
fn release_later(id: PeerId, peer: &mut Peer, durable: Sequence, now_ms: u64, fx: &mut Vec<Effect>) -> bool {
    let mut unasked = false;
    while peer.later.front().is_some_and(|(due, _)| *due <= durable) {
        match peer.later.pop_front() {
            Some((_, Later::Update { update, frame })) => {
                if peer.hidden.as_mut().is_none_or(|held| !hold(held, &update, now_ms)) {
                    fx.push(Effect::Send { to: id, frame });
                }
            }
            Some((_, Later::Pair { step2, step1, asks_first })) => {
                peer.synced = true;
                if let Some(held) = &mut peer.hidden {
                    // What is held is older than the answer and part of it.
                    held.updates.clear();
                    held.bytes = 0;
                }
                let mut frames = if asks_first { [step1, step2] } else { [step2, step1] };
                // A refused peer would only bring the same bytes back.
                let is_refused = peer.refused.is_some();
                unasked |= is_refused;
                if is_refused && asks_first {
                    frames.reverse();
                }
                let sent = frames.into_iter().take(if is_refused { 1 } else { 2 });
                fx.extend(sent.map(|frame| Effect::Send { to: id, frame }));
            }
            None => break,
        }
    }
    unasked
}

fn release_peer(id: PeerId, peer: &mut Peer, durable: Sequence, fx: &mut Vec<Effect>) {
    let mut version = None;
    while let Some(owed) = peer.acks.due(durable) {
        match owed {
            Owed::Status => {
                fx.push(Effect::Send { to: id, frame: peer.frame(&Reply::Status { saved: true }) });
            }
            Owed::Echo(frame) => fx.push(Effect::Send { to: id, frame }),
            Owed::Version(next) => version = version.max(Some(next)),
            Owed::Silent => {}
        }
    }
    if let Some(version) = version.filter(|_| peer.join.access == Access::Write) {
        let version = version.max(peer.version.unwrap_or(0));
        peer.version = Some(version);
        fx.push(Effect::Send { to: id, frame: peer.frame(&Reply::Version(version)) });
    }
}

/// Holds an update for a hidden peer, if there is room.
pub(crate) fn hold(held: &mut Held, update: &Bytes, now_ms: u64) -> bool {
    if held.updates.len() >= HELD_UPDATES || held.bytes + update.len() > HELD_BYTES {
        return false;
    }
    if held.updates.is_empty() {
        held.since_ms = now_ms;
    }
    held.bytes += update.len();
    held.updates.push(update.clone());
    true
}

/// Sends what is held for a hidden peer, as one frame.
pub(crate) fn flush_held(id: PeerId, peer: &Peer, held: &mut Held, fx: &mut Vec<Effect>) {
    let updates = std::mem::take(&mut held.updates);
    held.bytes = 0;
    match updates.as_slice() {
        [] => {}
        [one] => fx.push(Effect::Send { to: id, frame: peer.frame(&Reply::Update(one)) }),
        many => match syncline_document::merge(many) {
            Ok(merged) => fx.push(Effect::Send { to: id, frame: peer.frame(&Reply::Update(&merged)) }),
            Err(_) => fx.extend(
                many.iter().map(|one| Effect::Send { to: id, frame: peer.frame(&Reply::Update(one)) }),
            ),
        },
    }
}
