//! What time brings: expired presence, coalesced status, held updates, folding and eviction.

use syncline_document::record::Checkpoint;

use crate::{
    Effect, Session,
    body::{self, Body, Outcome, Work},
    fanout::flush_held,
    peer::Peer,
    session::id_of,
};

use syncline_protocol::frame::Reply;

impl Session {
    /// Does what is due. Call it at [`Session::next_tick_ms`]; calling it more often changes nothing.
    pub fn tick(&mut self, now_ms: u64, fx: &mut Vec<Effect>) {
        let settings = self.settings.clone();
        if let Some(payload) = self.presence.expire(now_ms.saturating_sub(settings.awareness_timeout_ms)) {
            self.tell_all(&Reply::Awareness(&payload), None, fx);
        }
        for (index, peer) in self.peers.iter_mut().enumerate() {
            let Some(peer) = peer else { continue };
            let Some(mut held) = peer.hidden.take() else { continue };
            if now_ms >= held.since_ms + settings.hidden_every_ms {
                flush_held(id_of(index, peer), peer, &mut held, fx);
            }
            peer.hidden = Some(held);
        }
        if self.status_due() && now_ms >= self.status_at_ms + settings.status_every_ms {
            self.status_at_ms = now_ms;
            self.send_status(fx);
        }
        if self.devices.unsaved && now_ms >= self.side_at_ms + settings.side_every_ms {
            self.save_side(now_ms, fx);
        }
        self.culprits.retain(|culprit| culprit.until_ms > now_ms);
        self.too_big.retain(|big| big.until_ms > now_ms);
        if matches!(self.body, Body::Live(_)) && self.pending_due {
            self.retry_pending();
            self.drain(now_ms, fx);
        }
        if self.fold_wanted && matches!(self.body, Body::Resting(_)) && self.ready(now_ms, fx) {
            self.drain(now_ms, fx);
        }
        if self.store_failure.is_none() && matches!(self.body, Body::Live(_)) && self.fold_due(now_ms) {
            self.fold(now_ms, fx);
        }
        if self.may_evict(now_ms) {
            self.body = Body::Cold;
        }
    }

    /// Returns the time at which [`Session::tick`] has something to do; `None` if nothing is ahead.
    pub fn next_tick_ms(&self) -> Option<u64> {
        let settings = &self.settings;
        let mut next: Option<u64> = None;
        let mut at = |ms: u64| next = Some(next.map_or(ms, |next| next.min(ms)));
        if let Some(oldest) = self.presence.oldest_ms() {
            at(oldest + settings.awareness_timeout_ms + 1);
        }
        for held in self.peers.iter().flatten().filter_map(|peer| peer.hidden.as_ref()) {
            if !held.updates.is_empty() {
                at(held.since_ms + settings.hidden_every_ms);
            }
        }
        if self.status_due() {
            at(self.status_at_ms + settings.status_every_ms);
        }
        if self.devices.unsaved {
            at(self.side_at_ms + settings.side_every_ms);
        }
        if let Some(culprit) = self.culprits.iter().map(|culprit| culprit.until_ms).min() {
            at(culprit);
        }
        if let Some(big) = self.too_big.iter().map(|big| big.until_ms).min() {
            at(big);
        }
        if self.pending_due && matches!(self.body, Body::Live(_)) {
            at(self.used_ms);
        }
        if matches!(self.body, Body::Live(_) | Body::Resting(_)) {
            at(self.used_ms + settings.evict_after_ms);
            if (self.fold_wanted || self.overgrown()) && self.checkpoint.is_none() {
                at(self.used_ms);
            }
        }
        next
    }

    /// Asks for a checkpoint soon: this document's entries hold back the journal. Says whether the document is
    /// in memory; if it is not, whoever asks may fold what is stored.
    pub fn fold_soon(&mut self) -> bool {
        let open = self.is_open();
        self.fold_wanted = open && self.unfolded.0 > 0;
        open
    }

    /// Writes the side record.
    pub(crate) fn save_side(&mut self, now_ms: u64, fx: &mut Vec<Effect>) {
        self.side_at_ms = now_ms;
        if !self.restored {
            // The document was never needed: what is stored of its devices was not read, and stays.
            self.devices.unsaved = false;
            return;
        }
        let side = self.devices.encode();
        fx.push(Effect::SaveSide(side));
    }

    /// Hands out what is to be kept before the server stops: the side record.
    pub fn close(&mut self, now_ms: u64, fx: &mut Vec<Effect>) {
        if self.devices.unsaved {
            self.save_side(now_ms, fx);
        }
    }

    fn status_due(&self) -> bool {
        self.peers.iter().flatten().any(Peer::may_have_status)
    }

    fn overgrown(&self) -> bool {
        self.unfolded.0 >= self.settings.fold_updates || self.unfolded.1 >= self.settings.fold_bytes
    }

    fn unused(&self, now_ms: u64) -> bool {
        now_ms >= self.used_ms + self.settings.evict_after_ms && self.is_settled()
    }

    fn fold_due(&self, now_ms: u64) -> bool {
        self.checkpoint.is_none()
            && (self.fold_wanted || self.overgrown() || (self.unfolded.0 > 0 && self.unused(now_ms)))
    }

    /// Encodes a checkpoint as of the newest applied sequence.
    fn fold(&mut self, now_ms: u64, fx: &mut Vec<Effect>) {
        let Body::Live(mut replica) = std::mem::replace(&mut self.body, Body::Cold) else { return };
        let (pending, sequence) = (self.pending.clone(), self.applied);
        if self.size > self.settings.heavy_document_bytes {
            return self.work(Some(replica), Work::Checkpoint { pending, sequence }, None, now_ms, fx);
        }
        match body::checkpoint(&mut replica, pending, sequence) {
            Outcome::Checkpoint(checkpoint) => {
                self.body = Body::Live(replica);
                self.offer_checkpoint(checkpoint, fx);
            }
            Outcome::Broken(broken) => self.body = Body::Failed { reason: broken.to_string(), at_ms: now_ms },
            _ => self.body = Body::Live(replica),
        }
    }

    /// Hands out a checkpoint, at once if its sequence is durable, else when it is.
    pub(crate) fn offer_checkpoint(&mut self, checkpoint: Checkpoint, fx: &mut Vec<Effect>) {
        self.size = checkpoint.update.len();
        self.pending.clone_from(&checkpoint.pending);
        self.unfolded = (0, 0);
        self.fold_wanted = false;
        if checkpoint.sequence <= self.durable {
            fx.push(Effect::Checkpoint(checkpoint));
        } else {
            self.checkpoint = Some(checkpoint);
        }
    }

    /// A document leaves memory when nobody used it for a while, it is all on disk, folded, and nobody is owed
    /// an ack.
    fn may_evict(&self, now_ms: u64) -> bool {
        let folded = match &self.body {
            Body::Live(_) => self.unfolded.0 == 0 || self.store_failure.is_some(),
            Body::Resting(_) => true,
            _ => false,
        };
        folded && self.checkpoint.is_none() && self.unused(now_ms)
    }
}
