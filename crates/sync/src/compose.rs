//! What the server itself writes and reads: edits made by the HTTP API and the like, and what the judge adds to what
//! others wrote.

use bytes::Bytes;
use syncline_document::{
    Applied, Judgement,
    record::{EntryKind, Origin},
};

use crate::{
    Edit, Effect, Ending, PeerId, Session, Verdict,
    body::{Body, Took, Work},
    session::{Culprit, HeldEdit},
    tasks::{Compose, Look, Reading, Source, Take, Task},
};

impl Session {
    /// Has an edit written, or gives it back because the document is not there yet.
    pub(crate) fn write(
        &mut self,
        compose: Box<Compose>,
        now_ms: u64,
        fx: &mut Vec<Effect>,
    ) -> Result<(), Task> {
        let edit = compose.edit;
        if let Some(reason) = &self.store_failure {
            let reason = format!("the server cannot save: {reason}");
            self.refuse_edit(edit, "store", &reason, fx);
            return Ok(());
        }
        if !compose.room.admits(self.size, self.settings.document_bytes) {
            let limit = self.settings.document_bytes >> 20;
            self.refuse_edit(edit, "document_full", &format!("this document is full ({limit} MiB)"), fx);
            return Ok(());
        }
        if !self.ready(now_ms, fx) {
            return Err(Task::Compose(compose));
        }
        let Some(mut live) = self.live() else { return Ok(()) };
        let Compose { origin, writing, .. } = *compose;
        match live.compose(writing, now_ms) {
            Ok(written) => {
                self.body = Body::Live(live);
                let update = written.as_ref().map_or(Bytes::new(), |(update, _)| update.clone());
                let source = Source::Edit(edit, origin);
                let take = Take { source, update, frame: None, answer: None, left: None };
                let took = match written {
                    None => Took::only(None),
                    Some((update, judgement)) => {
                        let applied = Applied { novel: true, deletes: deletes(&update) };
                        Took { applied: Some((update, applied)), judgement, rest: None }
                    }
                };
                self.settle_taken(&take, took, now_ms, fx);
            }
            Err(broken) => {
                // What was written lived in memory only: the document is read again.
                tracing::error!(document = %self.name, %broken, "an edit of the server failed");
                self.body = Body::Cold;
                self.refuse_edit(edit, "unavailable", &broken.to_string(), fx);
            }
        }
        Ok(())
    }

    /// Has the document read, or gives it back because it is not there yet.
    pub(crate) fn show(&mut self, look: Look, now_ms: u64, fx: &mut Vec<Effect>) -> Result<(), Task> {
        if !self.ready(now_ms, fx) {
            return Err(Task::Look(look));
        }
        let Some(mut live) = self.live() else { return Ok(()) };
        if self.size > self.settings.heavy_document_bytes {
            // A read may go through all of it.
            self.work(Some(live), Work::Look(look), None, now_ms, fx);
            return Ok(());
        }
        let deliver = (look.0)(Ok(&mut live.replica));
        if !live.replica.is_broken() {
            self.body = Body::Live(live);
        }
        self.hand_over(Reading(deliver));
        Ok(())
    }

    /// Hands the outcome of a read over. All that was read is durable before anybody learns of it. Not only what the server
    /// wrote: a device may bring a message with its place, which another one gets if a crash takes this back.
    pub(crate) fn hand_over(&mut self, reading: Reading) {
        if self.applied > self.durable {
            self.looks.push_back((self.applied, reading));
        } else {
            (reading.0)();
        }
    }

    /// Refuses a server edit, and says why.
    pub(crate) fn refuse_edit(&mut self, edit: Edit, code: &'static str, reason: &str, fx: &mut Vec<Effect>) {
        fx.push(Effect::Refused(code));
        fx.push(Effect::EditRefused(edit, code, reason.to_owned()));
    }

    /// Hands what the judge wrote to the journal, beside the entry it judged, and holds it back until both are durable.
    pub(crate) fn journal_judged(
        &mut self,
        origin: Origin,
        update: Bytes,
        judgement: Judgement,
        now_ms: u64,
        fx: &mut Vec<Effect>,
    ) {
        let entry = self.next_entry(EntryKind::Update, origin.clone(), update, fx);
        let judged = judgement.update.clone().map(|written| {
            let server = Origin { user: None, device: None, at_ms: now_ms };
            let judged = self.next_entry(EntryKind::Update, server, written.clone(), fx);
            if deletes(&written) {
                self.last_delete = judged.sequence;
            }
            self.edits.push_back(HeldEdit { sequence: judged.sequence, edit: None, update: written });
            judged
        });
        fx.push(Effect::AppendJudged { entry, judged, verdict: Box::new(Verdict { origin, judgement }) });
    }

    /// Forgets what waits for edits that never came: nobody can say what of it repeats what was just erased. A device
    /// that still holds it offers it again.
    pub fn forget_pending(&mut self) {
        self.forget_retries();
        self.pending.clear();
        self.pending_due = false;
    }

    /// Counts an update that had to be healed. A device that goes on is closed: it writes in a loop. Where nobody named a
    /// device, others may look the same: then the connection is counted.
    pub(crate) fn count_heal(&mut self, id: PeerId, sender: &Origin, now_ms: u64, fx: &mut Vec<Effect>) {
        let limit = self.settings.heals;
        let until_ms = now_ms + self.settings.culprit_ms;
        // One that is gone already may be back: its device is counted all the same.
        let mut count = self.peer_mut(id).map_or(0, |peer| {
            peer.healed = peer.healed.saturating_add(1);
            peer.healed
        });
        let (user, device) = (sender.user.clone(), sender.device.clone());
        let reason = "this device keeps changing what only the server writes: its copy has to be made anew";
        if device.is_some() {
            let culprit = Culprit { user, device, until_ms, reason };
            count = self.note_heal(&culprit, now_ms);
            if count > limit {
                // What it offers when it is back is not taken for a while.
                self.culprits.push(culprit);
            }
        }
        if count > limit {
            fx.push(Effect::Refused("heals"));
            self.end(id, Ending::Forbidden(reason.to_owned()), fx);
        }
    }

    /// Counts for a device, on whatever connection; returns how often it was by now.
    fn note_heal(&mut self, culprit: &Culprit, now_ms: u64) -> u32 {
        self.healed.retain(|(known, _)| known.until_ms > now_ms);
        let same =
            |(known, _): &&mut (Culprit, u32)| known.user == culprit.user && known.device == culprit.device;
        match self.healed.iter_mut().find(same) {
            Some((known, count)) => {
                known.until_ms = culprit.until_ms;
                *count = count.saturating_add(1);
                *count
            }
            None => {
                self.healed.push((culprit.clone(), 1));
                1
            }
        }
    }
}

/// Says whether an update (lib0 v1) deletes anything: it ends with its delete set, and an empty one is a single zero.
fn deletes(update: &[u8]) -> bool {
    update.last() != Some(&0)
}
