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

/// As [`fold`], without what is pending: nobody can say what of it repeats what was erased from the document. A device
/// that still holds it offers it again.
///
/// # Errors
/// As [`fold`].
pub fn fold_erased(stored: &Stored) -> Result<Checkpoint, LoadError> {
    let mut replica = Replica::load(parts(stored))?;
    Ok(Checkpoint {
        sequence: stored.sequence,
        state_vector: replica.state_vector(),
        update: replica.encode_state()?,
        pending: Vec::new(),
    })
}

/// Keeps the pending entries that hold something the document does not have. One that the checker refuses, now that more
/// is known, is kept too: it harms nobody where it is, and the document must not depend on it.
///
/// # Errors
/// [`LoadError`] where yrs fails on one.
pub fn still_pending(
    replica: &mut Replica,
    entries: impl IntoIterator<Item = Entry>,
) -> Result<Vec<Entry>, LoadError> {
    let limits = Limits::stored();
    let mut kept = Vec::new();
    for entry in entries {
        match replica.judge(&entry.bytes, &limits) {
            Err(_) | Ok(Verdict::Gap(_)) => kept.push(entry),
            Ok(Verdict::Whole(checked)) => {
                if !replica.holds(&checked, &entry.bytes)? {
                    kept.push(entry);
                }
            }
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use syncline_protocol::names::DocumentName;

    use super::*;
    use crate::record::Origin;

    #[test]
    fn a_pending_entry_that_is_refused_by_now_does_not_spoil_the_document() {
        let entry = |sequence, kind, bytes: &'static [u8]| Entry {
            document: DocumentName::parse("ada/notes").expect("a good name"),
            sequence,
            kind,
            origin: Origin { user: None, device: None, at_ms: 0 },
            bytes: Bytes::from_static(bytes),
        };
        // It wants to be between two characters that turned out to be in different texts.
        let between = entry(1, EntryKind::Pending, &[1, 1, 2, 0, 0xc4, 1, 0, 1, 1, 1, b'z', 0]);
        let texts =
            entry(2, EntryKind::Update, &[1, 2, 1, 0, 4, 1, 1, b'a', 1, b'x', 4, 1, 1, b'b', 1, b'y', 0]);
        let stored = Stored { tail: vec![between.clone(), texts], sequence: 2, ..Stored::default() };
        let checkpoint = fold(&stored).expect("a checkpoint");
        assert_eq!(checkpoint.pending, [between]);
    }
}
