//! Which entries changed, at the cost of what changed: the judge never scans a document for an ordinary update.
//!
//! Observers on the root maps note the keys with what stood there before; one after each transaction notes the shared
//! types that changed and all that hold them, before anything is collected.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use yrs::{
    Any, BranchID, Doc, Observable as _, Transact as _, TransactionMut, WriteTxn as _, types::EntryChange,
};

use crate::pen::plain;

/// The origin of the server's own transactions.
pub(crate) const OWN: &str = "own";
/// The name of our observers.
const JUDGE: &str = "judge";

/// The identity of a nested shared type: client and clock of the block that made it.
pub(crate) type Place = (u64, u32);

/// What changed in a document since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Entries of the watched root maps.
    pub(crate) keys: HashMap<(&'static str, Arc<str>), Change>,
    /// Nested shared types that changed, or hold one that did.
    pub(crate) touched: HashMap<Place, Author>,
}

/// How one entry changed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// The plain value that was committed before any of it, or that the server itself set since.
    pub(crate) committed: Option<Any>,
    /// The plain value that stood there before any of it, whoever wrote.
    pub(crate) before: Option<Any>,
    /// Who wrote last.
    pub(crate) author: Author,
}

/// Who changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    /// The server itself.
    Own,
    /// A client.
    Client,
}

impl Author {
    fn of(txn: &TransactionMut<'_>) -> Self {
        if txn.origin().is_some_and(|origin| origin.as_ref() == OWN.as_bytes()) {
            Self::Own
        } else {
            Self::Client
        }
    }
}

impl Changes {
    /// Says whether nothing changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.touched.is_empty()
    }

    fn note(&mut self, root: &'static str, key: &Arc<str>, change: &EntryChange, author: Author) {
        let (before, after) = match change {
            EntryChange::Inserted(new) => (None, Some(new)),
            EntryChange::Updated(old, new) => (Some(old), Some(new)),
            EntryChange::Removed(old) => (Some(old), None),
        };
        let committed = match author {
            Author::Own => plain(after.cloned()),
            Author::Client => plain(before.cloned()),
        };
        let slot = self.keys.entry((root, key.clone()));
        let first = || Change { committed: committed.clone(), before: plain(before.cloned()), author };
        let entry = slot.or_insert_with(first);
        if author == Author::Own {
            entry.committed = committed;
        }
        entry.author = author;
    }
}

/// The observers on a document.
pub(crate) struct Watch(Arc<Mutex<Changes>>);

impl Watch {
    /// Puts observers on root maps.
    pub(crate) fn start(doc: &Doc, roots: &'static [&'static str]) -> Self {
        let shared = Arc::new(Mutex::new(Changes::default()));
        let mut txn = doc.transact_mut();
        for root in roots {
            let noted = shared.clone();
            // A root that came with an update has no kind yet, and would raise no event: this makes it a map.
            txn.get_or_insert_map(*root).observe(JUDGE, move |txn, event| {
                let author = Author::of(txn);
                let mut noted = lock(&noted);
                for (key, change) in event.keys(txn) {
                    noted.note(root, key, change, author);
                }
            });
        }
        let noted = shared.clone();
        txn.observe_after_transaction(JUDGE, move |txn| {
            let author = Author::of(txn);
            let mut seen = HashSet::new();
            let mut noted = lock(&noted);
            for branch in txn.changed_parent_types() {
                if let BranchID::Nested(id) = branch.id()
                    && seen.insert(id)
                {
                    noted.touched.insert((id.client.get(), id.clock), author);
                }
            }
        });
        drop(txn);
        Self(shared)
    }

    /// Hands out what was noted.
    pub(crate) fn take(&self) -> Changes {
        std::mem::take(&mut lock(&self.0))
    }
}

/// A panic while it was held breaks the replica it belongs to; what it holds is then never used.
fn lock(changes: &Mutex<Changes>) -> MutexGuard<'_, Changes> {
    changes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use yrs::{Map as _, MapPrelim, MapRef};

    fn key(name: &str) -> (&'static str, Arc<str>) {
        ("m", name.into())
    }

    #[test]
    fn what_stood_there_before_is_kept_until_it_is_asked_for() {
        let doc = Doc::with_client_id(1);
        let map = doc.get_or_insert_map("m");
        map.insert(&mut doc.transact_mut(), "a", 1);
        let watch = Watch::start(&doc, &["m"]);
        map.insert(&mut doc.transact_mut(), "a", 2);
        map.remove(&mut doc.transact_mut(), "a");
        map.insert(&mut doc.transact_mut(), "b", 5);
        map.insert(&mut doc.transact_mut_with(OWN), "c", 7);
        let changes = watch.take();
        assert_eq!(
            changes.keys[&key("a")],
            Change { committed: Some(Any::from(1)), before: Some(Any::from(1)), author: Author::Client }
        );
        assert_eq!(changes.keys[&key("b")], Change { committed: None, before: None, author: Author::Client });
        assert_eq!(
            changes.keys[&key("c")],
            Change { committed: Some(Any::from(7)), before: None, author: Author::Own }
        );
        assert!(watch.take().is_empty());
    }

    #[test]
    fn a_change_deep_inside_names_all_that_hold_it() {
        let doc = Doc::with_client_id(1);
        let map = doc.get_or_insert_map("m");
        let outer: MapRef = map.insert(&mut doc.transact_mut(), "x", MapPrelim::default());
        let inner: MapRef = outer.insert(&mut doc.transact_mut(), "y", MapPrelim::default());
        let watch = Watch::start(&doc, &["m"]);
        inner.insert(&mut doc.transact_mut(), "z", 1);
        let changes = watch.take();
        assert!(changes.keys.is_empty());
        let mut touched: Vec<Place> = changes.touched.into_keys().collect();
        touched.sort_unstable();
        assert_eq!(touched, [(1, 0), (1, 1)]);
    }
}
