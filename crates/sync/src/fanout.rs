//! What peers are told: broadcasts, refusals, presence, sync status.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use syncline_document::record::Sequence;
use syncline_protocol::{
    awareness::State,
    frame::{Dialect, Reply, encode},
};

use crate::{
    Effect, PeerId, Session,
    acks::Answer,
    peer::{Held, Later},
    release::{flush_held, hold},
    session::id_of,
    tasks::{Source, Take},
};

/// What a client may say in JSON takes less: a longer text is not looked at.
const JSON_BYTES: usize = 4 << 10;

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
            // One whose answer is held back gets the update after it.
            if (!peer.synced && peer.later.is_empty()) || Some(id) == except {
                continue;
            }
            let confirms = peer.join.dialect == Dialect::Plain;
            let now = peer.later.is_empty() && (!confirms || sequence <= durable);
            if now
                && let Some(held) = &mut peer.hidden
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
            if now {
                fx.push(Effect::Send { to: id, frame });
            } else {
                // Who counts waits for what is before it only.
                let due = if confirms { sequence } else { 0 };
                peer.later.push_back((due, Later::Update { update: update.clone(), frame }));
            }
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

    /// Refuses an update. The sender's edits to this document stay refused: its next one would be a gap.
    pub(crate) fn refuse(&mut self, take: &Take, code: &'static str, reason: &str, fx: &mut Vec<Effect>) {
        if let Source::Pending(..) = take.source {
            // It was received long ago, and waits on.
            return self.keep_waiting(take);
        }
        fx.push(Effect::Refused(code));
        self.devices.refuse();
        if let Source::Edit(edit, _) = &take.source {
            return fx.push(Effect::EditRefused(*edit, code, reason.to_owned()));
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
        if text.len() > JSON_BYTES {
            return;
        }
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
