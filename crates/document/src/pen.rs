//! One writing transaction on a document. The typed functions of [`crate::schema`] take it, so that several of them
//! make one update.

use std::sync::Arc;

use yrs::{Any, Map as _, MapPrelim, MapRef, Out, ReadTxn as _, TransactionMut, WriteTxn as _};

/// Writes to the flat maps of a document; made by [`Replica::edit`](crate::Replica::edit).
pub struct Pen<'a, 'doc> {
    txn: &'a mut TransactionMut<'doc>,
}

impl std::fmt::Debug for Pen<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pen").finish_non_exhaustive()
    }
}

impl<'a, 'doc> Pen<'a, 'doc> {
    pub(crate) fn new(txn: &'a mut TransactionMut<'doc>) -> Self {
        Self { txn }
    }

    /// Returns the transaction, to read in.
    pub(crate) fn txn(&self) -> &TransactionMut<'doc> {
        self.txn
    }

    /// Returns a root map.
    pub(crate) fn root(&mut self, name: &'static str) -> MapRef {
        self.txn.get_or_insert_map(name)
    }

    /// Reads a plain value of a root map.
    pub(crate) fn get(&self, root: &'static str, key: &str) -> Option<Any> {
        plain(self.txn.get_map(root)?.get(self.txn, key))
    }

    /// Says whether a root map has a key.
    pub(crate) fn has(&self, root: &'static str, key: &str) -> bool {
        self.txn.get_map(root).is_some_and(|map| map.contains_key(self.txn, key))
    }

    /// Lists the keys of a root map.
    pub(crate) fn keys(&self, root: &'static str) -> Vec<String> {
        let map = self.txn.get_map(root);
        map.map(|map| map.keys(self.txn).map(str::to_owned).collect()).unwrap_or_default()
    }

    /// Sets a key of a root map.
    pub(crate) fn set(&mut self, root: &'static str, key: impl Into<Arc<str>>, value: Any) {
        let map = self.root(root);
        map.insert(self.txn, key, value);
    }

    /// Sets a key of a nested map.
    pub(crate) fn set_in(&mut self, map: &MapRef, key: &'static str, value: Any) {
        map.insert(self.txn, key, value);
    }

    /// Puts a new, empty map under a key of a root map.
    pub(crate) fn nest(&mut self, root: &'static str, key: &str) -> MapRef {
        let map = self.root(root);
        map.insert(self.txn, key, MapPrelim::default())
    }

    /// Removes a key of a root map, if it is there.
    pub(crate) fn remove(&mut self, root: &'static str, key: &str) {
        let map = self.root(root);
        map.remove(self.txn, key);
    }

    /// Removes a key of a nested map, if it is there.
    pub(crate) fn remove_in(&mut self, map: &MapRef, key: &str) {
        map.remove(self.txn, key);
    }
}

/// Returns what is there if it is a plain value, not a shared type.
pub(crate) fn plain(out: Option<Out>) -> Option<Any> {
    match out {
        Some(Out::Any(any)) => Some(any),
        _ => None,
    }
}
