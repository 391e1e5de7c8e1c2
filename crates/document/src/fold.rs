//! Folds a stored document into a checkpoint, by replay: merging encoded updates instead takes a thousand
//! times as long and gives twice the size.

use syncline_protocol::{known::Verdict, limits::Limits};

use crate::{
    LoadError, Replica,
    record::{Checkpoint, Entry, EntryKind, Stored},
};

/// Lists the updates of a stored document, oldest first: what [`Replica::load`] wants.
pub fn parts(stored: &Stored) -> impl Iterator<Item = &[u8]> {
    let base = stored.checkpoint.iter().map(|checkpoint| &checkpoint.update[..]);
    base.chain(
        stored.tail.iter().filter(|entry| entry.kind == EntryKind::Update).map(|entry| &entry.bytes[..]),
    )
}

/// Lists the pending entries of a stored document, oldest first.
pub fn pending(stored: &Stored) -> impl Iterator<Item = &Entry> {
    let base = stored.checkpoint.iter().flat_map(|checkpoint| &checkpoint.pending);
    base.chain(stored.tail.iter().filter(|entry| entry.kind == EntryKind::Pending))
}

/// Makes the checkpoint of a stored document as of its newest sequence.
///
/// A pending entry stays pending unless the state already holds all of it: what has become integrable is
/// applied by the session, which journals and relays it, never here.
///
/// # Errors
/// [`LoadError`] names the stored update that does not fit.
pub fn fold(stored: &Stored) -> Result<Checkpoint, LoadError> {
    let mut replica = Replica::load(parts(stored))?;
    let kept = still_pending(&mut replica, pending(stored).cloned())?;
    Ok(Checkpoint {
        sequence: stored.sequence,
        state_vector: replica.state_vector(),
        update: replica.encode_state()?,
        pending: kept,
    })
}

/// Keeps the pending entries that hold something the document does not have.
///
/// # Errors
/// [`LoadError`] where yrs fails on one.
pub fn still_pending(
    replica: &mut Replica,
    entries: impl IntoIterator<Item = Entry>,
) -> Result<Vec<Entry>, LoadError> {
    let limits = Limits::stored();
    let mut kept = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        match replica.judge(&entry.bytes, &limits) {
            Err(refusal) => return Err(LoadError::Refused { index, refusal }),
            Ok(Verdict::Gap(_)) => kept.push(entry),
            Ok(Verdict::Whole(checked)) => {
                if !replica.holds(&checked, &entry.bytes)? {
                    kept.push(entry);
                }
            }
        }
    }
    Ok(kept)
}
