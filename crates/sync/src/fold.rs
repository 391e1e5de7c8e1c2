//! When an open document is folded into a checkpoint, and how.
//!
//! A checkpoint is the whole document, so a large one must not be written again for a few edits: the more there is to
//! write, the longer a tail may grow first. What a load has to replay stays in proportion to what it has to read.

use syncline_document::record::{Checkpoint, EntryKind, Origin};

use crate::{
    Effect, Session,
    body::{self, Body, Folded, Outcome, Work},
    session::HeldEdit,
};

/// A tail of this part of the document is folded, however few its updates are: the checkpoints of a document take at
/// most four times what was written into it.
const BYTES_PART: usize = 4;
/// One of many updates is folded from this part on.
const UPDATES_PART: usize = 16;
/// And one of this many times the bound, whatever they weigh: 100,000 small updates replay in about 0.2 s.
const UPDATES_MOST: u64 = 50;
/// A tail that is small beside the document is folded on request, but not again within this time.
const ASKED_EVERY_MS: u64 = 60_000;

impl Session {
    /// Asks for a checkpoint soon: this document's entries hold back the journal. Says whether the document is
    /// in memory; if it is not, whoever asks may fold what is stored.
    pub fn fold_soon(&mut self) -> bool {
        let open = self.is_open();
        self.fold_wanted = open && self.unfolded.0 > 0;
        open
    }

    /// Returns the time from which on the document is to be folded; `None` while it need not be. One checkpoint at a
    /// time: the next waits until the last was handed out.
    pub(crate) fn fold_at_ms(&self) -> Option<u64> {
        if self.checkpoint.is_some() || self.store_failure.is_some() {
            return None;
        }
        if self.overgrown() || (self.fold_wanted && self.unfolded.1 >= self.size / UPDATES_PART) {
            return Some(0);
        }
        self.fold_wanted.then_some(self.folded_ms + ASKED_EVERY_MS)
    }

    fn overgrown(&self) -> bool {
        let (settings, (updates, bytes)) = (&self.settings, self.unfolded);
        bytes >= settings.fold_bytes.max(self.size / BYTES_PART)
            || (updates >= settings.fold_updates && bytes >= self.size / UPDATES_PART)
            || updates >= settings.fold_updates.saturating_mul(UPDATES_MOST)
    }

    /// Encodes a checkpoint as of the newest applied sequence.
    pub(crate) fn fold(&mut self, now_ms: u64, fx: &mut Vec<Effect>) {
        let Body::Live(mut live) = std::mem::replace(&mut self.body, Body::Cold) else { return };
        let (pending, sequence, renews) = (self.pending.clone(), self.applied, self.is_overwritten());
        // To renew it takes several times as long.
        if renews || self.size > self.settings.heavy_document_bytes {
            return self.work(Some(live), Work::Checkpoint { pending, sequence, renews }, None, now_ms, fx);
        }
        match body::fold_live(&mut live, pending, sequence, false, now_ms) {
            Outcome::Folded(folded) => {
                self.body = Body::Live(live);
                self.offer_folded(folded, now_ms, fx);
            }
            Outcome::Broken(broken) => self.body = Body::Failed { reason: broken.to_string(), at_ms: now_ms },
            _ => self.body = Body::Live(live),
        }
    }

    /// Says whether the document may hold much history that is of no more use. Not while something waits for what is
    /// missing: nobody knows what it refers to.
    fn is_overwritten(&self) -> bool {
        self.kind.is_renewed() && self.size >= self.settings.marks_epoch_bytes && self.pending.is_empty()
    }

    /// Takes in that the document was folded: what was written to renew it is journalled and held back until it is
    /// durable, like all that the server writes, and the checkpoint with it.
    pub(crate) fn offer_folded(&mut self, folded: Folded, now_ms: u64, fx: &mut Vec<Effect>) {
        let Folded { checkpoint, renewal } = folded;
        if let Some(update) = renewal {
            let server = Origin { user: None, device: None, at_ms: now_ms };
            let entry = self.next_entry(EntryKind::Update, server, update.clone(), fx);
            debug_assert_eq!(
                entry.sequence, checkpoint.sequence,
                "something was written while it was renewed"
            );
            self.last_delete = entry.sequence;
            self.edits.push_back(HeldEdit { sequence: entry.sequence, edit: None, update });
            fx.push(Effect::Append(entry));
            fx.push(Effect::Renewed);
        }
        self.offer_checkpoint(checkpoint, fx);
    }

    /// Hands out a checkpoint, at once if its sequence is durable, else when it is.
    pub(crate) fn offer_checkpoint(&mut self, checkpoint: Checkpoint, fx: &mut Vec<Effect>) {
        self.size = checkpoint.update.len();
        self.pending.clone_from(&checkpoint.pending);
        self.unfolded = (0, 0);
        self.fold_wanted = false;
        self.folded_ms = self.used_ms;
        if checkpoint.sequence <= self.durable {
            fx.push(Effect::Checkpoint(checkpoint));
        } else {
            self.checkpoint = Some(checkpoint);
        }
    }
}
