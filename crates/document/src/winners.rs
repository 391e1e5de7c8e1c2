//! The winners of some registers, kept as registers change: who needs one value does not read all of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use yrs::{Any, Map as _, Out, ReadTxn};

use crate::{
    hlc::Hlc,
    register::{Entry, split},
};

/// Field, time, writer: the last of a field is its winner.
type Rank = (Arc<str>, Hlc, Arc<str>);

/// The registers of a root map whose later value wins ([`Ranking::Time`](crate::register::Ranking::Time)).
#[derive(Debug, Default)]
pub(crate) struct Winners {
    ranked: BTreeMap<Rank, Any>,
    /// The time of each register, by its key.
    times: HashMap<Arc<str>, Hlc>,
}

impl Winners {
    /// Reads the registers whose field satisfies a condition. What is malformed is passed over.
    pub(crate) fn read<T: ReadTxn>(txn: &T, root: &str, wanted: impl Fn(&str) -> bool) -> Self {
        let mut winners = Self::default();
        let Some(map) = txn.get_map(root) else { return winners };
        for (key, out) in map.iter(txn) {
            if split(key).is_some_and(|(field, _)| wanted(field)) {
                winners.note(key, Some(&out));
            }
        }
        winners
    }

    /// Takes a register as it stands now.
    pub(crate) fn refresh<T: ReadTxn>(&mut self, txn: &T, root: &str, key: &str) {
        let stored = txn.get_map(root).and_then(|map| map.get(txn, key));
        self.note(key, stored.as_ref());
    }

    fn note(&mut self, key: &str, stored: Option<&Out>) {
        let Some((field, writer)) = split(key) else { return };
        let rank = |hlc| (Arc::from(field), hlc, Arc::from(writer.as_str()));
        if let Some(before) = self.times.remove(key) {
            self.ranked.remove(&rank(before));
        }
        let Some(Out::Any(stored)) = stored else { return };
        if let Some(entry) = Entry::parse(writer.clone(), stored) {
            self.times.insert(key.into(), entry.hlc);
            self.ranked.insert(rank(entry.hlc), entry.value);
        }
    }

    /// Returns when a field was last set, and to what.
    pub(crate) fn winner(&self, field: &str) -> Option<(Hlc, &Any)> {
        let first = (Arc::from(field), Hlc::default(), Arc::from(""));
        let behind = (Arc::from(format!("{field}\0")), Hlc::default(), Arc::from(""));
        let ((_, hlc, _), value) = self.ranked.range(first..behind).next_back()?;
        Some((*hlc, value))
    }
}

#[cfg(test)]
mod tests {
    use yrs::Transact as _;

    use super::*;
    use crate::{
        Replica,
        ids::Writer,
        register::{Ranking, Stamp, read, write},
    };

    fn set(replica: &mut Replica, field: &str, writer: &str, ms: u64, value: &str) {
        let stamp = Stamp { writer: Writer::parse(writer).expect("a writer"), hlc: Hlc::at(ms) };
        replica.edit(|pen| write(pen, "r", field, &stamp, Any::from(value))).expect("writes");
    }

    #[test]
    fn what_is_kept_is_what_a_reader_finds() {
        let mut replica = Replica::of_client(1);
        set(&mut replica, "f", "a.1", 5, "first");
        set(&mut replica, "f\0", "a.1", 9, "another field");
        let mut winners = replica.read(|doc| Winners::read(&doc.transact(), "r", |_| true)).expect("reads");
        let changes =
            [("f", "b.1", 7, "b"), ("f", "a.1", 8, "a"), ("g", "a.1", 1, "g"), ("f", "a.1", 6, "back")];
        for (field, writer, ms, value) in changes {
            set(&mut replica, field, writer, ms, value);
            let key = format!("{field}@{writer}");
            replica.read(|doc| winners.refresh(&doc.transact(), "r", &key)).expect("reads");
            let fields = replica.read(|doc| read(&doc.transact(), "r", Ranking::Time)).expect("reads");
            for (field, expected) in fields {
                let expected = expected.winner().map(|entry| (entry.hlc, entry.value.clone()));
                let kept = winners.winner(&field).map(|(hlc, value)| (hlc, value.clone()));
                assert_eq!(kept, expected, "{field}");
            }
        }
        replica.edit(|pen| pen.remove("r", "g@a.1")).expect("writes");
        replica.read(|doc| winners.refresh(&doc.transact(), "r", "g@a.1")).expect("reads");
        assert_eq!(winners.winner("g"), None);
    }
}
