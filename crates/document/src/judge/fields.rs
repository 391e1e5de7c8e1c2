//! Which registers stand of each field: who needs all values of one field does not look through the others.

use std::{collections::BTreeSet, sync::Arc};

use yrs::{Map as _, Out, ReadTxn};

use crate::{
    register::{Entry, Field, Ranking, split},
    schema::Kind,
};

/// The registers of a document, by root map and field.
#[derive(Debug, Default)]
pub(super) struct Fields {
    roots: &'static [(&'static str, Ranking)],
    /// Root map, field, key.
    standing: BTreeSet<(&'static str, Arc<str>, Arc<str>)>,
}

impl Fields {
    /// Looks through a document, once.
    pub(super) fn of<T: ReadTxn>(txn: &T, kind: &Kind) -> Self {
        let mut fields = Self { roots: kind.registers(), standing: BTreeSet::new() };
        for (root, _) in fields.roots {
            let Some(map) = txn.get_map(*root) else { continue };
            let keys = map.keys(txn).filter_map(|key| split(key).map(|(field, _)| (field, key)));
            fields.standing.extend(keys.map(|(field, key)| (*root, field.into(), key.into())));
        }
        fields
    }

    /// Takes in that a key was set or removed.
    pub(super) fn refresh<T: ReadTxn>(&mut self, txn: &T, root: &'static str, key: &Arc<str>) {
        let Some((field, _)) = split(key).filter(|_| self.roots.iter().any(|(known, _)| *known == root))
        else {
            return;
        };
        let place = (root, Arc::from(field), key.clone());
        if txn.get_map(root).is_some_and(|map| map.contains_key(txn, key)) {
            self.standing.insert(place);
        } else {
            self.standing.remove(&place);
        }
    }

    /// Reads all values of a field. What is malformed is passed over.
    pub(super) fn read<T: ReadTxn>(
        &self,
        txn: &T,
        root: &'static str,
        field: &str,
        ranking: Ranking,
    ) -> Field {
        let Some(map) = txn.get_map(root) else { return Field::default() };
        let first = (root, Arc::from(field), Arc::from(""));
        let keys = self.standing.range(first..).take_while(|(at, of, _)| *at == root && &**of == field);
        let entries = keys.filter_map(|(_, _, key)| {
            let (_, writer) = split(key)?;
            let Out::Any(stored) = map.get(txn, key)? else { return None };
            Entry::parse(writer, &stored)
        });
        Field::of(entries.collect(), ranking)
    }
}

#[cfg(test)]
mod tests {
    use yrs::{Any, Transact as _};

    use super::*;
    use crate::{
        Pen, Replica,
        hlc::Hlc,
        ids::Writer,
        register::{Stamp, read, write},
    };

    #[test]
    fn what_is_kept_of_a_field_is_what_a_reader_finds() {
        let mut replica = Replica::of_client(1);
        let mut fields = replica.read(|doc| Fields::of(&doc.transact(), &Kind::Marks)).expect("reads");
        let set = |pen: &mut Pen<'_, '_>, field: &str, writer: &str, ms: u64| {
            let stamp = Stamp { writer: Writer::parse(writer).expect("a writer"), hlc: Hlc::at(ms) };
            write(pen, "marks", field, &stamp, Any::from(ms as f64));
        };
        let steps = [
            ("f", "a.1", 5),
            ("f@", "a.1", 9),
            ("f", "b.1", 7),
            ("e", "a.1", 1),
            ("f", "a.1", 8),
            ("f", "a.1", 0),
        ];
        for (field, writer, ms) in steps {
            let key: Arc<str> = format!("{field}@{writer}").into();
            let edited = replica.edit(|pen| match ms {
                0 => pen.remove("marks", &key),
                ms => set(pen, field, writer, ms),
            });
            edited.expect("writes");
            replica.edit(|pen| pen.set("marks", "f@nobody", Any::from(1.0))).expect("writes");
            let seen = replica.read(|doc| {
                let txn = doc.transact();
                fields.refresh(&txn, "marks", &key);
                fields.refresh(&txn, "marks", &"f@nobody".into());
                let afresh = Fields::of(&txn, &Kind::Marks);
                assert_eq!(fields.standing, afresh.standing);
                let all = read(&txn, "marks", Ranking::Value);
                all.into_iter()
                    .all(|(field, found)| fields.read(&txn, "marks", &field, Ranking::Value) == found)
            });
            assert!(seen.expect("reads"), "{key}");
        }
        assert_eq!(fields.standing.len(), 3);
    }
}
