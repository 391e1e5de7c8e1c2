//! A document in memory: the yrs `Doc` behind the checker, with every call contained.

use std::{
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use syncline_protocol::{
    known::{Checked, Known, Tip, Verdict},
    limits::Limits,
    update::Refusal,
};
use yrs::{
    Any, Doc, OffsetKind, Options, ReadTxn, Snapshot, StateVector, Transact, Update, encoding::read::Cursor,
    updates::decoder::Decode,
};

use crate::{
    pen::Pen,
    watch::{self, Changes, Watch},
};

/// The update that holds nothing: no section, no delete range.
const EMPTY_UPDATE: &[u8] = &[0, 0];

/// The client id of a document that is not written to.
const READ_ONLY: u64 = 0;

/// What [`Replica::edit`] did.
#[derive(Debug)]
pub struct Edited<R> {
    /// What the writing function returned.
    pub value: R,
    /// The update (lib0 v1), where anything changed.
    pub update: Option<Bytes>,
}

/// Says whether an update holds nothing at all.
pub fn is_empty_update(update: &[u8]) -> bool {
    update == EMPTY_UPDATE
}

/// What an applied update changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// It held something that the document did not have.
    pub novel: bool,
    /// It deleted something that was there.
    pub deletes: bool,
}

/// What became of an update given to [`Replica::absorb`].
#[derive(Debug)]
pub enum Absorbed {
    /// It is part of the document now.
    Applied(Applied),
    /// It needs blocks that are not here; nothing was applied. `closed` is its largest part that needs none of
    /// them, `rest` what is left; together they are the update.
    Gap {
        /// Can be absorbed at once, if there is such a part.
        closed: Option<Bytes>,
        /// Waits for what is missing.
        rest: Bytes,
    },
    /// The checker refused it: the document is untouched.
    Refused(Refusal),
    /// yrs failed on it, past the checker. Drop the replica and load the document again.
    Broken(Broken),
}

/// yrs panicked, answered an error or was left with missing blocks. The replica must be dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the document engine failed ({0}): the document is loaded again from disk, the update is set aside")]
pub struct Broken(pub String);

/// Says why stored bytes do not make a document.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A stored update does not pass the checker.
    #[error("stored update {index} is refused: {refusal}")]
    Refused {
        /// Its place among the parts.
        index: usize,
        /// The checker's word.
        refusal: Refusal,
    },
    /// A stored update needs blocks that are not stored.
    #[error("stored update {index} needs blocks that are not stored")]
    Gap {
        /// Its place among the parts.
        index: usize,
    },
    /// yrs failed.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// A document in memory. One owner; not shared between threads, but may move between them.
pub struct Replica {
    /// `None` once yrs failed in it: what is left of the `Doc` is leaked, since its `Drop` may panic again.
    doc: Option<Doc>,
    known: Known,
    /// What changed since it was last asked, once [`Replica::watch`] was called.
    changes: Option<Watch>,
    /// What came late to a renewed map since it was last asked.
    late: Vec<(Arc<str>, Any)>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("broken", &self.doc.is_none()).finish_non_exhaustive()
    }
}

impl Default for Replica {
    fn default() -> Self {
        Self::new()
    }
}

impl Replica {
    /// Makes an empty document that is only read, and written by updates from elsewhere.
    pub fn new() -> Self {
        Self::of_client(READ_ONLY)
    }

    /// Makes an empty document that [`Replica::edit`] writes to under this Yjs client id.
    pub fn of_client(client: u64) -> Self {
        let mut options = Options::with_client_id(yrs::ClientID::new(client));
        options.offset_kind = OffsetKind::Utf16;
        // yrs would delete format marks by itself, which no journal and no device would know of.
        options.cleanup_formatting = false;
        Self { doc: Some(Doc::with_options(options)), known: Known::new(), changes: None, late: Vec::new() }
    }

    /// Builds a document from stored updates, in order, to be read only.
    ///
    /// # Errors
    /// [`LoadError`] names the first part that does not fit; the document is then refused, never shown empty.
    pub fn load<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, LoadError> {
        Self::load_as(READ_ONLY, parts)
    }

    /// Builds a document from stored updates, in order, that [`Replica::edit`] writes to under this Yjs client id,
    /// going on at the clock that is stored. So nothing may be left out that was ever shown to anyone.
    ///
    /// # Errors
    /// [`LoadError`] names the first part that does not fit; the document is then refused, never shown empty.
    pub fn load_as<'a>(client: u64, parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, LoadError> {
        let mut replica = Self::of_client(client);
        // What is stored once passed the limits of its time: they are not applied to it again.
        let limits = Limits::stored();
        for (index, part) in parts.into_iter().enumerate() {
            match replica.absorb(part, &limits) {
                Absorbed::Applied(_) => {}
                Absorbed::Gap { .. } => return Err(LoadError::Gap { index }),
                Absorbed::Refused(refusal) => return Err(LoadError::Refused { index, refusal }),
                Absorbed::Broken(broken) => return Err(LoadError::Broken(broken)),
            }
        }
        Ok(replica)
    }

    /// Checks an update and applies it if it is whole. The only way into a document.
    pub fn absorb(&mut self, update: &[u8], limits: &Limits) -> Absorbed {
        match self.judge(update, limits) {
            Err(refusal) => Absorbed::Refused(refusal),
            Ok(Verdict::Gap(gap)) => {
                Absorbed::Gap { closed: gap.closed.map(Bytes::from), rest: Bytes::from(gap.rest) }
            }
            Ok(Verdict::Whole(checked)) => match self.apply(&checked, update) {
                Ok(applied) => Absorbed::Applied(applied),
                Err(broken) => Absorbed::Broken(broken),
            },
        }
    }

    /// Checks an update against what the document holds, without applying it.
    ///
    /// # Errors
    /// The checker's [`Refusal`].
    pub fn judge(&self, update: &[u8], limits: &Limits) -> Result<Verdict, Refusal> {
        self.known.judge(update, limits)
    }

    /// Applies an update that [`Replica::judge`] found whole, just now and on this replica.
    ///
    /// # Errors
    /// [`Broken`] where yrs fails on it all the same; the replica must then be dropped.
    pub fn apply(&mut self, checked: &Checked, update: &[u8]) -> Result<Applied, Broken> {
        if checked.is_empty {
            return Ok(Applied { novel: false, deletes: false });
        }
        let update = checked.news.as_deref().unwrap_or(update);
        let applied = self.contained(|doc| {
            let update = Update::decode_v1(update).map_err(|error| error.to_string())?;
            // A second panic while a panicking transaction is dropped would abort the process: it is leaked
            // instead, with the lock it holds, and the Doc is dropped by name only.
            let mut txn = ManuallyDrop::new(doc.transact_mut());
            txn.apply_update(update).map_err(|error| error.to_string())?;
            let applied = Applied { novel: txn.has_changes(), deletes: !txn.delete_set().is_empty() };
            txn.commit();
            if txn.has_missing_updates() {
                return Err("blocks are missing after apply".to_owned());
            }
            drop(ManuallyDrop::into_inner(txn));
            Ok(applied)
        })?;
        self.known.admit(checked);
        for late in &checked.late {
            let value = catch_unwind(|| Any::decode(&mut Cursor::new(&late.value)));
            if let Ok(Ok(value)) = value {
                self.late.push((late.key.clone(), value));
            }
        }
        Ok(applied)
    }

    /// Says whether the document already holds all of an update, deletions included. For read-only peers,
    /// whose SyncStep2 is normal as long as it brings nothing new.
    ///
    /// # Errors
    /// [`Broken`] where yrs fails; the replica must then be dropped.
    pub fn holds(&mut self, checked: &Checked, update: &[u8]) -> Result<bool, Broken> {
        if checked.is_empty {
            return Ok(true);
        }
        if checked.advances {
            return Ok(false);
        }
        if !checked.new_deletes {
            return Ok(true);
        }
        self.contained(|doc| {
            let update = Update::decode_v1(update).map_err(|error| error.to_string())?;
            let Snapshot { delete_set, .. } = doc.transact().snapshot();
            Ok(update.delete_set().diff(&delete_set).is_empty())
        })
    }

    /// Writes to the document in one transaction, under the client id it was made with, and returns the update that
    /// came of it, if any: it must be durable before anybody is shown it, or a crash gives one id and clock two
    /// meanings.
    ///
    /// # Errors
    /// [`Broken`] where yrs fails, or the replica was made without a client id; it must then be dropped.
    pub fn edit<R>(&mut self, write: impl FnOnce(&mut Pen<'_, '_>) -> R) -> Result<Edited<R>, Broken> {
        let (value, update) = self.contained(|doc| {
            if doc.client_id().get() == READ_ONLY {
                return Err("a document without a client id of its own is not written to".to_owned());
            }
            let mut txn = ManuallyDrop::new(doc.transact_mut_with(watch::OWN));
            let value = write(&mut Pen::new(&mut txn));
            let update = txn.has_changes().then(|| Bytes::from(txn.encode_update_v1()));
            txn.commit();
            drop(ManuallyDrop::into_inner(txn));
            Ok((value, update))
        })?;
        if let Some(update) = &update {
            match self.judge(update, &Limits::stored()) {
                Ok(Verdict::Whole(checked)) => self.known.admit(&checked),
                _ => return Err(self.fail("what was written does not pass the checker")),
            }
        }
        Ok(Edited { value, update })
    }

    /// Says whether yrs failed in it: it must be dropped.
    pub fn is_broken(&self) -> bool {
        self.doc.is_none()
    }

    /// Starts to note which entries of these root maps change, for the judge.
    pub(crate) fn watch(&mut self, roots: &'static [&'static str]) -> Result<(), Broken> {
        self.changes = Some(self.contained(|doc| Ok(Watch::start(doc, roots)))?);
        Ok(())
    }

    /// Hands out what changed since it was last asked; nothing where nobody watches.
    pub(crate) fn changes(&mut self) -> Changes {
        self.changes.as_ref().map(Watch::take).unwrap_or_default()
    }

    /// Minds from now on that the history of a root map was renewed, if it was.
    pub(crate) fn mind_renewal(&mut self, root: &str, tips: impl IntoIterator<Item = Tip>) {
        if !self.known.is_renewed() {
            self.known.renew(root, tips);
        }
    }

    /// Hands out the values that came late to a renewed map since it was last asked, with their keys.
    pub(crate) fn late(&mut self) -> Vec<(Arc<str>, Any)> {
        std::mem::take(&mut self.late)
    }

    /// Encodes what a peer with this (checked) state vector lacks.
    ///
    /// # Errors
    /// [`Broken`] where yrs fails; the replica must then be dropped.
    pub fn diff(&mut self, state_vector: &[u8]) -> Result<Bytes, Broken> {
        self.contained(|doc| {
            let state_vector = StateVector::decode_v1(state_vector).map_err(|error| error.to_string())?;
            Ok(Bytes::from(doc.transact().encode_diff_v1(&state_vector)))
        })
    }

    /// Encodes the whole state as one update.
    ///
    /// # Errors
    /// [`Broken`] where yrs fails; the replica must then be dropped.
    pub fn encode_state(&mut self) -> Result<Bytes, Broken> {
        self.contained(|doc| Ok(Bytes::from(doc.transact().encode_diff_v1(&StateVector::default()))))
    }

    /// Encodes the state vector.
    pub fn state_vector(&self) -> Bytes {
        Bytes::from(self.known.state_vector())
    }

    /// Returns the checker's knowledge of the document.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Runs a read of the document for `content`.
    pub(crate) fn read<R>(&mut self, f: impl FnOnce(&Doc) -> R) -> Result<R, Broken> {
        self.contained(|doc| Ok(f(doc)))
    }

    /// Marks the replica as failed.
    fn fail(&mut self, reason: &str) -> Broken {
        std::mem::forget(self.doc.take());
        Broken(reason.to_owned())
    }

    /// Runs a call into yrs so that a panic stays inside and marks the replica.
    fn contained<R>(&mut self, f: impl FnOnce(&Doc) -> Result<R, String>) -> Result<R, Broken> {
        let Some(doc) = self.doc.as_ref() else {
            return Err(Broken("it failed before".to_owned()));
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| f(doc))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panic").to_owned())
        });
        outcome.map_err(|reason| {
            std::mem::forget(self.doc.take());
            Broken(reason)
        })
    }
}

/// Merges a few checked updates into one, for a peer that wants fewer frames. Quadratic in their number:
/// callers bound it, and documents are folded by replay instead.
///
/// # Errors
/// [`Broken`] where yrs fails; the updates are then sent one by one.
pub fn merge(updates: &[Bytes]) -> Result<Bytes, Broken> {
    match catch_unwind(|| yrs::merge_updates_v1(updates)) {
        Ok(Ok(merged)) => Ok(Bytes::from(merged)),
        Ok(Err(error)) => Err(Broken(error.to_string())),
        Err(_) => Err(Broken("panic in merge".to_owned())),
    }
}

/// Encodes a yrs state vector; for tests that compare with [`Replica::state_vector`].
#[cfg(test)]
pub(crate) fn yrs_state_vector(replica: &Replica) -> StateVector {
    let doc = replica.doc.as_ref().expect("a working replica");
    doc.transact().state_vector()
}

#[cfg(test)]
mod tests {
    use super::*;
    use yrs::{GetString, Text};

    fn typed(client: u64, text: &str) -> Vec<u8> {
        let doc = Doc::with_client_id(client);
        let root = doc.get_or_insert_text("t");
        root.push(&mut doc.transact_mut(), text);
        doc.transact().encode_diff_v1(&StateVector::default())
    }

    #[test]
    fn an_update_is_novel_once() {
        let mut replica = Replica::new();
        let update = typed(1, "hello");
        let limits = Limits::default();
        assert!(matches!(replica.absorb(&update, &limits), Absorbed::Applied(Applied { novel: true, .. })));
        assert!(matches!(replica.absorb(&update, &limits), Absorbed::Applied(Applied { novel: false, .. })));
        let state = replica.encode_state().expect("encodes");
        let doc = Doc::new();
        let root = doc.get_or_insert_text("t");
        doc.transact_mut().apply_update(Update::decode_v1(&state).expect("valid")).expect("applies");
        assert_eq!(root.get_string(&doc.transact()), "hello");
        assert_eq!(
            StateVector::decode_v1(&replica.state_vector()).expect("valid"),
            yrs_state_vector(&replica),
        );
    }

    #[test]
    fn a_deletion_alone_is_novel_and_not_held() {
        let doc = Doc::with_client_id(7);
        let root = doc.get_or_insert_text("t");
        root.push(&mut doc.transact_mut(), "abc");
        let before = doc.transact().encode_diff_v1(&StateVector::default());
        root.remove_range(&mut doc.transact_mut(), 1, 1);
        let after = doc.transact().encode_diff_v1(&doc.transact().state_vector());
        let limits = Limits::default();
        let mut replica = Replica::new();
        replica.absorb(&before, &limits);
        let Ok(Verdict::Whole(checked)) = replica.judge(&after, &limits) else { panic!("a whole update") };
        assert_eq!(replica.holds(&checked, &after), Ok(false));
        assert_eq!(replica.apply(&checked, &after), Ok(Applied { novel: true, deletes: true }));
        assert_eq!(replica.holds(&checked, &after), Ok(true));
    }

    #[test]
    fn a_gap_is_handed_back_and_nothing_is_applied() {
        let doc = Doc::with_client_id(3);
        let root = doc.get_or_insert_text("t");
        root.push(&mut doc.transact_mut(), "a");
        let first = doc.transact().state_vector();
        root.push(&mut doc.transact_mut(), "b");
        let second = doc.transact().encode_diff_v1(&first);
        let mut replica = Replica::new();
        assert!(matches!(replica.absorb(&second, &Limits::default()), Absorbed::Gap { closed: None, .. }));
        assert!(is_empty_update(&replica.encode_state().expect("encodes")));
    }

    #[test]
    fn stored_bytes_that_do_not_fit_are_refused() {
        assert!(matches!(Replica::load([&[1, 2, 3][..]]), Err(LoadError::Refused { index: 0, .. })));
    }
}
