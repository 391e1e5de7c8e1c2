//! Carries out what a session asks for: frames into the queues of sockets, edits into the journal with all that follows
//! from them, loads and heavy work elsewhere.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use syncline_document::record::{Entry, Sequence};
use syncline_store::{Row, StoreError};
use syncline_sync::{Effect, PeerId, Session, Verdict};

use super::{Document, Inner, durable::Untold};
use crate::{events::Batch, finder::Noted, outbound::Closing, tables};

impl Document {
    pub(super) fn perform(&self, inner: &mut Inner, effect: Effect) {
        let link = |peer: PeerId| inner.links.get(peer.index as usize).and_then(Option::as_ref);
        match effect {
            Effect::Send { to, frame } => {
                if let Some(link) = link(to) {
                    link.push(frame);
                }
            }
            Effect::End { peer, ending } => {
                if let Some(link) = link(peer) {
                    link.close(Closing::from(ending));
                }
            }
            Effect::Append(entry) => {
                let Some(me) = self.me.upgrade() else { return };
                let rows = self.engine.mentions.rows(&self.name, [&*entry.bytes]);
                if rows.is_empty() {
                    self.engine.journal.append(entry, me);
                } else {
                    self.append_together(inner, [(entry, me)], rows);
                }
            }
            Effect::AppendJudged { entry, judged, verdict } => {
                self.append_judged(inner, entry, judged, &verdict);
            }
            Effect::Checkpoint(checkpoint) => {
                let name = self.name.clone();
                let reply = move |outcome: Result<(), StoreError>| {
                    if let Err(error) = outcome {
                        // Nothing is lost: the journal still holds what the checkpoint was to fold.
                        tracing::warn!(document = %name, %error, "checkpoint not written");
                    }
                };
                self.engine.metrics.folded();
                self.engine.journal.checkpoint(self.name.clone(), checkpoint, Box::new(reply));
            }
            Effect::Renewed => self.engine.metrics.renewed(),
            Effect::SaveSide(side) => self.engine.journal.side(self.name.clone(), side),
            Effect::Load => self.load(inner.epoch),
            Effect::Work(job) => {
                let (Some(me), epoch) = (self.me.upgrade(), inner.epoch) else { return };
                self.engine.pool.run(move || match catch_unwind(AssertUnwindSafe(|| job.run())) {
                    Ok(done) => me.enter_epoch(epoch, |session, now, fx| session.worked(done, now, fx)),
                    Err(_) => me.end_epoch(epoch),
                });
            }
            Effect::Accepted(bytes) => self.engine.metrics.update_in(bytes),
            Effect::Refused(code) => {
                self.engine.metrics.refused(code);
                self.engine.metrics.refused_in(&self.name);
            }
            Effect::EditSaved(edit) => inner.edits.saved(edit),
            Effect::EditRefused(edit, code, reason) => inner.edits.refused(edit, code, reason),
        }
    }

    fn append_together(
        &self,
        inner: &mut Inner,
        entries: impl IntoIterator<Item = (Entry, Arc<Self>)>,
        rows: Vec<Row>,
    ) {
        if let Err(error) = self.engine.journal.append_together(entries, rows) {
            self.not_queued(inner, &error);
        }
    }

    /// Draws the consequences of an edit that was applied and not queued.
    fn not_queued(&self, inner: &mut Inner, error: &StoreError) {
        if *error == StoreError::Closed {
            // Nothing is acked any more, and the devices keep what they wrote.
            tracing::error!(document = %self.name, %error, "an edit came too late");
            return;
        }
        // The session believes that it is on its way: a later commit would ack it. Devices offer it to a fresh one.
        tracing::error!(event = "edit_not_queued", document = %self.name, %error);
        self.end_session(inner);
    }

    /// Queues what was judged with all that follows from it, and notes what is to be told once that is durable.
    fn append_judged(&self, inner: &mut Inner, entry: Entry, judged: Option<Entry>, verdict: &Verdict) {
        let Some(me) = self.me.upgrade() else { return };
        let first = entry.sequence;
        if !verdict.judgement.devices.is_empty() {
            let standings = verdict.judgement.devices.clone();
            self.standings.lock().push((first, standings));
        }
        let mut rows = self.rows(inner, entry.sequence, verdict);
        let updates = [Some(&entry), judged.as_ref()].into_iter().flatten().map(|entry| &*entry.bytes);
        rows.extend(self.engine.mentions.rows(&self.name, updates));
        let sequence = judged.as_ref().map_or(entry.sequence, |judged| judged.sequence);
        let entries = [Some(entry), judged].into_iter().flatten().map(|entry| (entry, me.clone()));
        let journal = &self.engine.journal;
        let appended = match Batch::of(&self.name, verdict) {
            None => journal.append_together(entries, rows).map(|()| None),
            Some((user, batch)) => {
                let feed = self.engine.feeds.of(&user);
                let number = feed.append(&**journal.store(), batch, |more| {
                    rows.extend(more);
                    journal.append_together(entries, rows)
                });
                number.map(|number| number.map(|number| (feed, number)))
            }
        };
        match appended {
            Ok(event) => {
                let texts = Noted::of(&self.name, sequence, &verdict.judgement);
                if event.is_some() || texts.is_some() {
                    inner.untold.push_back(Untold { sequence, event, texts });
                }
            }
            Err(error) => {
                self.standings.lock().retain(|(due, _)| *due != first);
                self.not_queued(inner, &error);
                return;
            }
        }
        self.engine.metrics.judged(&verdict.judgement);
        self.engine.sent.judged(&self.name, &verdict.judgement);
        if verdict.judgement.revived {
            self.engine.revived.notify_one();
        }
    }

    /// Returns the rows that follow from a judgement.
    fn rows(&self, inner: &mut Inner, sequence: Sequence, verdict: &Verdict) -> Vec<Row> {
        if inner.last.is_none() && tables::has_last(&self.name) {
            match tables::last(&**self.engine.journal.store(), &self.name) {
                Ok(last) => inner.last = Some(last),
                // It is derived and comes right with the next turn.
                Err(error) => tracing::warn!(document = %self.name, %error, "last turn cannot be read"),
            }
        }
        tables::rows(&self.name, sequence, &mut inner.last, verdict)
    }

    fn load(&self, epoch: u64) {
        let Some(me) = self.me.upgrade() else { return };
        let runtime = self.engine.runtime.clone();
        if self.engine.resident.is_full() {
            // Not from here: the document is being worked on.
            runtime.spawn(async move { me.turn_away(epoch) });
            return;
        }
        self.engine.metrics.loaded();
        // The answer comes on a thread of the store; documents are built where the stacks are deep.
        let reply = move |outcome: Result<_, StoreError>| {
            runtime.spawn(async move {
                let outcome = outcome.map_err(|error| error.to_string());
                if let Err(reason) = &outcome {
                    tracing::error!(document = %me.name, reason, "document cannot be loaded");
                    me.engine.metrics.load_failed();
                }
                // Others were loaded meanwhile.
                if me.engine.resident.is_full() {
                    return me.turn_away(epoch);
                }
                me.enter_epoch(epoch, |session, now, fx| {
                    session.loaded(outcome, now, fx);
                    me.forget_revoked(session);
                });
                me.engine.sent.loaded(&me.name);
            });
        };
        self.engine.journal.load(self.name.clone(), Box::new(reply));
    }

    fn turn_away(&self, epoch: u64) {
        const FULL: &str = "the server has as many documents open as it may: try again in a while";
        self.engine.metrics.refused("open_bytes");
        self.enter_epoch(epoch, |session, now, fx| session.crowded(FULL, now, fx));
    }

    /// Has a session forget the devices that were signed out while it was not in memory.
    fn forget_revoked(&self, session: &mut Session) {
        let Some(user) = self.name.owner().map(Arc::<str>::from) else { return };
        for device in session.devices() {
            match self.engine.revoked.is_revoked(&**self.engine.journal.store(), &user, &device) {
                Ok(true) => session.forget_device(&device),
                Ok(false) => {}
                // It counts as one that may come back, until the document is loaded again.
                Err(error) => {
                    tracing::warn!(document = %self.name, %error, "a device's standing cannot be read");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
