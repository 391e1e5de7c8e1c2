//! What time brings: expired presence, coalesced status, held updates, folding and eviction.

use crate::{Effect, Session, body::Body, peer::Peer, release::flush_held, session::id_of};

use syncline_protocol::frame::Reply;

/// Shortest time from one tick to the next that is asked for.
const STEP_MS: u64 = 20;

impl Session {
    /// Does what is due. Call it at [`Session::next_tick_ms`]; calling it more often changes nothing.
    pub fn tick(&mut self, now_ms: u64, fx: &mut Vec<Effect>) {
        let settings = self.settings.clone();
        self.ticked_ms = now_ms;
        if self.hangs(now_ms) {
            self.turn_waiting_away(fx);
        }
        self.end_overdue(now_ms, fx);
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
        let fold = self.fold_at_ms().is_some_and(|at_ms| at_ms <= now_ms);
        if fold && self.fold_wanted && matches!(self.body, Body::Resting(_)) && self.ready(now_ms, fx) {
            self.drain(now_ms, fx);
        }
        let fold = fold || (self.unfolded.0 > 0 && self.store_failure.is_none() && self.unused(now_ms));
        if fold && matches!(self.body, Body::Live(_)) {
            self.fold(now_ms, fx);
        }
        if self.may_evict(now_ms) {
            self.body = Body::Cold;
        }
    }

    /// Returns the time at which [`Session::tick`] has something to do; `None` if nothing is ahead. Right after a
    /// tick it is never the present.
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
        let (live, resting) = (matches!(self.body, Body::Live(_)), matches!(self.body, Body::Resting(_)));
        // What is not settled does not become so by itself: the call that settles it asks again.
        if (live || resting) && self.is_settled() {
            at(self.used_ms + settings.evict_after_ms);
        }
        if let Some(fold_ms) = self.fold_at_ms().filter(|_| live || (resting && self.fold_wanted)) {
            at(fold_ms);
        }
        if let Some(leave_ms) = self.peers.iter().flatten().filter_map(Peer::leaves_at_ms).min() {
            at(leave_ms);
        }
        if let Some(hangs_ms) = self.busy_since_ms.map(|since_ms| since_ms + settings.busy_ms)
            && self.ticked_ms < hangs_ms
        {
            at(hangs_ms);
        }
        // What stays overdue is looked at again, but not in a busy loop.
        next.map(|next| next.max(self.ticked_ms + STEP_MS))
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

    fn unused(&self, now_ms: u64) -> bool {
        now_ms >= self.used_ms + self.settings.evict_after_ms && self.is_settled()
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
