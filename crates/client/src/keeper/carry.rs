//! What becomes of a copy whose edits the server refuses: it is set aside, whole, and what is valid of this device's edits
//! goes into a fresh copy under a fresh client id.
//!
//! First the refused copy is on the disk among those set aside, then the document begins anew in one step, empty. It syncs;
//! once it is in step, the edits are written into it, each once the one before is saved. So one that is refused
//! again is known: it is left behind, and the document begins anew once more for the others. A crash anywhere leaves the
//! note that this is still to be done; what is there already is not written twice.

use std::collections::VecDeque;

use syncline_document::{Replica, carry, schema::Kind};
use syncline_protocol::names::DocumentName;

use super::{Keeper, local_ms};
use crate::{ClientError, copy::Carried};

impl Keeper {
    /// Sets the copy of a document aside and begins a fresh one.
    pub(super) fn set_aside(&mut self, name: &DocumentName) {
        let (now_ms, limits) = (local_ms(), &self.config.limits);
        let recent = self.asides.since(name.as_str(), now_ms.saturating_sub(limits.carries_ms));
        let full = self.asides.list().len() >= limits.set_aside as usize || recent >= limits.carries as usize;
        let free_form = self.copies.get(name).is_none_or(|copy| copy.kind == Kind::FreeForm);
        if full || free_form {
            return;
        }
        if let Err(error) = self.begin_anew(name, now_ms) {
            tracing::error!(document = %name, %error, "a refused copy stays as it is");
            self.reopen(name);
            return;
        }
        // On the server, too, the document has to be joined anew: what it refused it refuses for as long as we are joined.
        self.frames.retain(|(of, _)| of != name);
        self.leave(name);
        self.join(name);
    }

    fn begin_anew(&mut self, name: &DocumentName, now_ms: u64) -> Result<(), ClientError> {
        let Some(copy) = self.copies.get_mut(name) else { return Ok(()) };
        // It went alone, and it was refused.
        if let Some(Carried { aside, place, .. }) = copy.carried.take() {
            self.asides.leave_behind(&aside, place)?;
        }
        let reason = copy.joint.refusal.as_ref().map(|refusal| refusal.reason.clone()).unwrap_or_default();
        let (state, kind) = (copy.replica.encode_state()?, copy.kind.clone());
        self.asides.keep(name.as_str(), now_ms, &reason, false, &state)?;
        let pieces = self.pieces(name, &kind)?;
        let Some(copy) = self.copies.get_mut(name) else { return Ok(()) };
        let nothing = pieces.is_empty();
        copy.begin_anew(pieces)?;
        if nothing { self.note_carried(name) } else { Ok(()) }
    }

    /// Notes that nothing of a document waits any more.
    fn note_carried(&mut self, name: &DocumentName) -> Result<(), ClientError> {
        for aside in self.asides.waiting(name.as_str()) {
            self.asides.carried(&aside.id)?;
        }
        Ok(())
    }

    /// Lists what is to be carried over of a document, from all its copies that were set aside, each edit once.
    pub(super) fn pieces(&self, name: &DocumentName, kind: &Kind) -> Result<VecDeque<Carried>, ClientError> {
        let bytes = usize::try_from(self.config.limits.edit_bytes).unwrap_or(usize::MAX);
        let mut pieces: VecDeque<Carried> = VecDeque::new();
        let mut refused: Vec<String> = Vec::new();
        for aside in self.asides.waiting(name.as_str()) {
            let state = self.asides.read(&aside.id)?;
            let mut replica = Replica::load([&state[..]])?;
            let found = carry::collect(&mut replica, kind, &self.config.device, bytes)?;
            for (place, piece) in (0_u32..).zip(found) {
                if aside.left_behind.contains(&place) {
                    refused.push(piece.key());
                } else if !pieces.iter().any(|known| known.piece.key() == piece.key()) {
                    pieces.push_back(Carried { aside: aside.id.clone(), place, piece });
                }
            }
        }
        pieces.retain(|carried| !refused.contains(&carried.piece.key()));
        Ok(pieces)
    }

    /// Carries over the next edit that waits, into a copy that is in step and of which everything is saved.
    pub(super) fn carry_over(&mut self, name: &DocumentName) {
        if let Err(error) = self.carry(name) {
            tracing::error!(document = %name, %error, "a copy that was set aside waits to be carried over");
        }
    }

    fn carry(&mut self, name: &DocumentName) -> Result<(), ClientError> {
        loop {
            let Some(copy) = self.copies.get_mut(name) else { return Ok(()) };
            copy.carried = None;
            let Some(next) = copy.waiting.pop_front() else { break };
            let before = copy.made();
            self.edit(name, |pen, _| {
                next.piece.write(pen);
                Ok(())
            })?;
            let Some(copy) = self.copies.get_mut(name) else { return Ok(()) };
            if copy.made() > before {
                // The next one goes once this one is saved.
                copy.carried = Some(next);
                return Ok(());
            }
        }
        self.note_carried(name)
    }
}
