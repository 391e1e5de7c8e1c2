//! What peers are told: broadcasts, acks that are due, refusals, presence, sync status.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use syncline_document::{is_empty_update, record::Sequence};
use syncline_protocol::{
    awareness::State,
    frame::{Dialect, Reply, encode},
    update::scan,
};

use crate::{
    Access, Effect, Ending, PeerId, Session,
    acks::{Answer, Owed},
    peer::{Held, Peer},
    session::id_of,
    tasks::{Source, Take, Task},
};

/// Updates held for a hidden peer before they are sent all the same.
const HELD_UPDATES: usize = 256;
const HELD_BYTES: usize = 64 << 10;

/// What a client may say in JSON.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said {
    Received { saved: Sequence },
    Visibility { hidden: bool },
}

impl Session {
    /// Relays an applied update to every synced peer but its sender: to plain peers once `sequence` is durable.
    /// The frame is encoded once for each address; `plain` is the frame it came in, if that can be sent on as it
    /// is.
    pub(crate) fn broadcast(
        &mut self,
        update: &Bytes,
        sequence: Sequence,
        plain: Option<&Bytes>,
        except: Option<PeerId>,
        fx: &mut Vec<Effect>,
    ) {
        let mut plain = plain.cloned();
        let mut addressed: Option<(Arc<str>, Bytes)> = None;
        let (now_ms, durable) = (self.used_ms, self.durable);
        for (index, peer) in self.peers.iter_mut().enumerate() {
            let Some(peer) = peer else { continue };
            let id = id_of(index, peer);
            if !peer.synced || Some(id) == except {
                continue;
            }
            if !peer.later.is_empty() || (peer.join.dialect == Dialect::Plain && sequence > durable) {
                let frame = plain.get_or_insert_with(|| encode(None, &Reply::Update(update))).clone();
                peer.later.push_back((sequence, update.clone(), frame));
                continue;
            }
            if let Some(held) = &mut peer.hidden
                && hold(held, update, now_ms)
            {
                continue;
            }
            let frame = match &peer.join.address {
                None => plain.get_or_insert_with(|| encode(None, &Reply::Update(update))).clone(),
                Some(address) => match &addressed {
                    Some((same, frame)) if same == address => frame.clone(),
                    _ => {
                        let frame = encode(Some(address), &Reply::Update(update));
                        addressed = Some((address.clone(), frame.clone()));
                        frame
                    }
                },
            };
            fx.push(Effect::Send { to: id, frame });
        }
    }

    /// Sends a reply to one peer.
    pub(crate) fn send(&self, to: PeerId, reply: &Reply<'_>, fx: &mut Vec<Effect>) {
        if let Some(peer) = self.peer(to) {
            fx.push(Effect::Send { to, frame: peer.frame(reply) });
        }
    }

    /// Sends a reply to every synced peer but one.
    pub(crate) fn tell_all(&self, reply: &Reply<'_>, except: Option<PeerId>, fx: &mut Vec<Effect>) {
        for (index, peer) in self.peers.iter().enumerate() {
            let Some(peer) = peer else { continue };
            let to = id_of(index, peer);
            if peer.synced && Some(to) != except {
                fx.push(Effect::Send { to, frame: peer.frame(reply) });
            }
        }
    }

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
        for (index, peer) in self.peers.iter_mut().enumerate() {
            if let Some(peer) = peer {
                release_later(id_of(index, peer), peer, durable, now_ms, fx);
                release_peer(id_of(index, peer), peer, durable, fx);
            }
        }
    }

    /// Refuses an update. The sender's edits to this document stay refused: its next one would be a gap.
    pub(crate) fn refuse(&mut self, take: &Take, code: &'static str, reason: &str, fx: &mut Vec<Effect>) {
        fx.push(Effect::Refused(code));
        self.devices.refuse();
        if let Source::Edit(edit, _) = &take.source {
            return fx.push(Effect::EditRefused(*edit, reason.to_owned()));
        }
        let Some(id) = take.source.peer() else { return };
        self.refuse_peer(id, code, reason, fx);
        self.not_saved(id, take, fx);
    }

    /// Refuses whatever a peer edits from now on, and tells it why.
    pub(crate) fn refuse_peer(&mut self, id: PeerId, code: &'static str, reason: &str, fx: &mut Vec<Effect>) {
        let Some(peer) = self.peer_mut(id) else { return };
        peer.refused = Some(reason.to_owned());
        peer.acks.void();
        peer.unpark_all();
        if !peer.is_hocuspocus() {
            fx.push(Effect::Send { to: id, frame: peer.frame(&Reply::Denied(reason)) });
        }
        if peer.join.wants_status {
            let text = serde_json::json!({
                "type": "refused", "document": self.name.as_str(), "code": code, "reason": reason
            });
            self.send(id, &Reply::Json(&text.to_string()), fx);
        }
    }

    /// Tells a peer that an update of it was not taken: it stays unsaved on the device.
    pub(crate) fn not_saved(&mut self, id: PeerId, take: &Take, fx: &mut Vec<Effect>) {
        let Some(peer) = self.peer_mut(id) else { return };
        let counted = matches!(take.source, Source::Update(_) | Source::Parked(_))
            || (matches!(take.source, Source::Step2(_)) && take.answer == Some(Answer::Pair));
        if peer.is_hocuspocus() {
            if counted {
                fx.push(Effect::Send { to: id, frame: peer.frame(&Reply::Status { saved: false }) });
            }
        } else if peer.refused.is_none() && !std::mem::replace(&mut peer.told_read_only, true) {
            fx.push(Effect::Send { to: id, frame: peer.frame(&Reply::Denied("read-only")) });
        }
    }

    /// Answers a task of a document that cannot be opened.
    pub(crate) fn turn_away(&mut self, task: &Task, reason: &str, fx: &mut Vec<Effect>) {
        match task {
            Task::Step1 { peer, .. } | Task::Answer { peer, .. } => {
                fx.push(Effect::Refused("unavailable"));
                self.send(*peer, &Reply::Denied(reason), fx);
            }
            Task::Take(take) => match take.source.peer() {
                // It may be open again in a while, and a refusal would hold for as long as the connection does:
                // the peer comes back and offers its edits again.
                Some(peer) => {
                    fx.push(Effect::Refused("unavailable"));
                    fx.push(Effect::End { peer, ending: Ending::TryLater(reason.to_owned()) });
                }
                None => self.refuse(take, "unavailable", reason, fx),
            },
            Task::Version { peer, .. } => {
                self.send(*peer, &Reply::Awareness(syncline_protocol::frame::EMPTY_AWARENESS), fx);
            }
        }
    }

    /// Sends a peer everyone's awareness, once: after its first SyncStep2, so that its own state came before.
    pub(crate) fn introduce(&mut self, id: PeerId, fx: &mut Vec<Effect>) {
        let Some(peer) = self.peer_mut(id) else { return };
        if std::mem::replace(&mut peer.introduced, true) {
            return;
        }
        if let Some(payload) = self.presence.everyone() {
            self.send(id, &Reply::Awareness(&payload), fx);
        }
    }

    /// Takes in an awareness message.
    pub(crate) fn hear(&mut self, id: PeerId, states: &[State<'_>], now_ms: u64, fx: &mut Vec<Effect>) {
        let Some(peer) = self.peer(id) else { return };
        let heard = self.presence.hear(id, peer.awareness, peer.introduced, states, now_ms);
        if let Some(peer) = heard.lost.and_then(|lost| self.peer_mut(lost)) {
            peer.awareness = None;
        }
        if let Some(peer) = self.peer_mut(id)
            && heard.claimed.is_some()
        {
            peer.awareness = heard.claimed;
        }
        if let Some(payload) = heard.relay {
            self.tell_all(&Reply::Awareness(&payload), Some(id), fx);
        }
    }

    /// Takes in what a client that knows this server says in JSON; anything else is ignored.
    pub(crate) fn hear_json(&mut self, id: PeerId, text: &str, now_ms: u64, fx: &mut Vec<Effect>) {
        let durable = self.durable;
        let Some(peer) = self.peer_mut(id).filter(|peer| peer.join.wants_status) else { return };
        match serde_json::from_str::<Said>(text) {
            Ok(Said::Received { saved }) => {
                let Some(device) = peer.join.device.clone() else { return };
                if self.devices.receive(&device, saved.min(durable)) {
                    self.status_changed();
                }
            }
            Ok(Said::Visibility { hidden: true }) => {
                peer.hidden.get_or_insert_with(Held::default).since_ms = now_ms;
            }
            Ok(Said::Visibility { hidden: false }) => {
                if let Some(mut held) = peer.hidden.take() {
                    flush_held(id, peer, &mut held, fx);
                }
            }
            Err(_) => {}
        }
    }

    /// Marks every peer that asked for status as to be told.
    pub(crate) fn status_changed(&mut self) {
        for peer in self.peers.iter_mut().flatten() {
            peer.status_due |= peer.join.wants_status;
        }
    }

    /// Sends the status to those who are to be told.
    pub(crate) fn send_status(&mut self, fx: &mut Vec<Effect>) {
        let status = self.devices.status(self.name.as_str(), self.durable);
        for (index, peer) in self.peers.iter_mut().enumerate() {
            let Some(peer) = peer else { continue };
            if peer.may_have_status() {
                peer.status_due = false;
                let frame = peer.frame(&Reply::Json(&status));
                fx.push(Effect::Send { to: id_of(index, peer), frame });
            }
        }
    }
}

/// Sends a plain peer what others wrote, as far as it is durable by now.
fn release_later(id: PeerId, peer: &mut Peer, durable: Sequence, now_ms: u64, fx: &mut Vec<Effect>) {
    while peer.later.front().is_some_and(|(sequence, ..)| *sequence <= durable) {
        let Some((_, update, frame)) = peer.later.pop_front() else { return };
        if peer.hidden.as_mut().is_none_or(|held| !hold(held, &update, now_ms)) {
            fx.push(Effect::Send { to: id, frame });
        }
    }
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
fn hold(held: &mut Held, update: &Bytes, now_ms: u64) -> bool {
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
