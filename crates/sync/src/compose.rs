//! What the server itself writes and reads: edits made by the HTTP API and the like, and what the judge adds to what
//! others wrote.

use bytes::Bytes;
use syncline_document::{
    Applied, Judgement,
    record::{EntryKind, Origin},
};

use crate::{
    Edit, Effect, Ending, PeerId, Session, Verdict,
    body::{Body, Took},
    session::{Culprit, HeldEdit},
    tasks::{Compose, Look, Source, Take, Task},
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
        if self.size >= self.settings.document_bytes {
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
                let take = Take { source: Source::Edit(edit, origin), update, frame: None, answer: None };
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
        (look.0)(Ok(&mut live.replica));
        self.body = Body::Live(live);
        Ok(())
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

    /// Counts what had to be healed after a device wrote. One that goes on is closed: it writes in a loop.
    pub(crate) fn count_heals(&mut self, id: PeerId, heals: usize, now_ms: u64, fx: &mut Vec<Effect>) {
        let Some(join) = self.peer(id).map(|peer| &peer.join) else { return };
        let until_ms = now_ms + self.settings.culprit_ms;
        let (user, device) = (join.user.clone(), join.device.clone());
        self.healed.retain(|(culprit, _)| culprit.until_ms > now_ms);
        let known =
            self.healed.iter().position(|(culprit, _)| culprit.user == user && culprit.device == device);
        let at = known.unwrap_or_else(|| {
            self.healed.push((Culprit { user, device, until_ms }, 0));
            self.healed.len() - 1
        });
        let Some((culprit, count)) = self.healed.get_mut(at) else { return };
        culprit.until_ms = until_ms;
        *count = count.saturating_add(u32::try_from(heals).unwrap_or(u32::MAX));
        if *count > self.settings.heals {
            fx.push(Effect::Refused("heals"));
            let reason =
                "this device keeps changing what only the server writes: its copy has to be made anew";
            self.end(id, Ending::Forbidden(reason.to_owned()), fx);
        }
    }
}

/// Says whether an update (lib0 v1) deletes anything: it ends with its delete set, and an empty one is a single zero.
fn deletes(update: &[u8]) -> bool {
    update.last() != Some(&0)
}
