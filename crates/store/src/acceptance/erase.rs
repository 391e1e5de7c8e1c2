//! The cases about erasing. What is to go says so: `SECRET` is looked for in an export.

use bytes::Bytes;
use syncline_document::record::{Checkpoint, Entry, EntryKind, Sequence};

use super::{Bench, checkpoint, commit, entry, name, prune_all, read, write_checkpoint};
use crate::{
    codec::Prepared,
    error::StoreError,
    export::export,
    store::{Erase, Erased, Store},
};

const SECRET: &[u8] = b"what nobody is to read again";

fn secret(document: &str, sequence: Sequence, kind: EntryKind) -> Entry {
    Entry { kind, bytes: Bytes::from_static(SECRET), ..entry(document, sequence) }
}

/// Returns what takes a document's place.
fn replacement(document: &str, sequence: Sequence) -> Erase {
    let prepared = Prepared::new(&checkpoint(sequence)).unwrap_or_else(|error| panic!("{error}"));
    Erase { document: name(document), replacement: Some(prepared) }
}

fn whole(document: &str) -> Erase {
    Erase { document: name(document), replacement: None }
}

fn erase(store: &impl Store, documents: &[Erase]) -> Erased {
    store.erase(documents).unwrap_or_else(|error| panic!("erase: {error}"))
}

fn tells(store: &impl Store) -> bool {
    let mut file = Vec::new();
    export(store, &mut file).unwrap_or_else(|error| panic!("export: {error}"));
    let plain = zstd::decode_all(&*file).unwrap_or_else(|error| panic!("zstd: {error}"));
    plain.windows(SECRET.len()).any(|window| window == SECRET)
}

/// Two documents whose entries share records; `a` tells in its checkpoint, its tail, what is pending and quarantined.
fn told<S: Store>(bench: &mut dyn Bench<Store = S>) -> S {
    let store = bench.fresh();
    let kept = Entry { bytes: vec![7; 200_000].into(), ..entry("b", 1) };
    commit(&store, &[secret("a", 1, EntryKind::Update), kept]);
    commit(&store, &[secret("a", 2, EntryKind::Quarantined)]);
    commit(&store, &[entry("b", 2), secret("a", 3, EntryKind::Pending)]);
    let pending = vec![secret("a", 3, EntryKind::Pending)];
    let update = Bytes::from_static(SECRET);
    write_checkpoint(&store, "a", &Checkpoint { pending, update, ..checkpoint(3) });
    commit(&store, &[secret("a", 4, EntryKind::Quarantined), secret("a", 5, EntryKind::Pending)]);
    commit(&store, &[entry("b", 3), secret("a", 6, EntryKind::Update), entry("b", 4)]);
    assert_eq!(store.put_side(&name("a"), "side".into()), Ok(()));
    assert!(tells(&store));
    store
}

fn assert_b_is_whole(store: &impl Store) {
    let b = read(store, "b");
    let sequences: Vec<_> = b.tail.iter().map(|entry| entry.sequence).collect();
    assert_eq!((sequences, b.tail[0].bytes.len(), b.sequence), (vec![1, 2, 3, 4], 200_000, 4));
}

pub(super) fn replaced<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let mut store = told(bench);
    let erased = erase(&store, &[replacement("a", 6)]);
    assert_eq!(erased, Erased { documents: 1, entries: 6, records: 5 });
    for round in 0..2 {
        let a = read(&store, "a");
        assert_eq!(a.checkpoint, Some(checkpoint(6)), "round {round}");
        assert_eq!((a.tail, a.quarantined, a.sequence, &*a.side), (vec![], vec![], 6, &b"side"[..]));
        assert_b_is_whole(&store);
        assert!(!tells(&store), "round {round}");
        store = bench.crash(store);
    }
    assert_eq!(erase(&store, &[replacement("a", 6)]).entries, 0, "nothing is left to do");
    commit(&store, &[entry("a", 7), entry("b", 5)]);
    let store = bench.crash(store);
    assert_eq!((read(&store, "a").tail, read(&store, "b").tail.len()), (vec![entry("a", 7)], 5));
    // Records that were written anew go like any other.
    write_checkpoint(&store, "a", &checkpoint(7));
    write_checkpoint(&store, "b", &checkpoint(5));
    assert!(prune_all(&store) > 0);
    assert_eq!(store.journal().records, 1);
    commit(&store, &[entry("b", 6)]);
    let store = bench.crash(store);
    assert_eq!((store.journal().records, read(&store, "b").sequence), (2, 6));
}

pub(super) fn removed<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let mut store = told(bench);
    assert_eq!(store.mark(), Ok(()));
    let erased = erase(&store, &[whole("a"), whole("never")]);
    assert_eq!(erased, Erased { documents: 1, entries: 6, records: 5 });
    for _ in 0..2 {
        assert_eq!(store.read(&name("a")), Ok(None));
        let listed = store.documents(None, 10).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(listed.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_b_is_whole(&store);
        assert!(!tells(&store));
        store = bench.crash(store);
    }
    // The name begins anew.
    commit(&store, &[entry("a", 1)]);
    write_checkpoint(&store, "a", &checkpoint(1));
    let store = bench.crash(store);
    assert_eq!(read(&store, "a").checkpoint, Some(checkpoint(1)));
}

pub(super) fn later_entries<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let store = told(bench);
    commit(&store, &[entry("a", 8), entry("b", 5)]);
    erase(&store, &[replacement("a", 6)]);
    let store = bench.crash(store);
    let a = read(&store, "a");
    assert_eq!((a.checkpoint, a.tail), (Some(checkpoint(6)), vec![entry("a", 8)]));
    assert!(!tells(&store));
}

pub(super) fn refusals<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let store = told(bench);
    let held = store.snapshot().unwrap_or_else(|error| panic!("{error}"));
    for erase in [replacement("a", 6), whole("a")] {
        assert!(matches!(store.erase(&[erase]), Err(StoreError::Busy(_))), "a backup reads it");
    }
    assert!(held.read(&name("a")).is_ok_and(|stored| stored.is_some_and(|stored| stored.tail.len() == 2)));
    drop(held);
    assert!(matches!(store.erase(&[replacement("a", 2)]), Err(StoreError::Busy(_))), "an older one");
    assert!(matches!(store.erase(&[replacement("a", 7)]), Err(StoreError::Bug(_))), "ahead");
    assert_eq!((store.poisoned(), tells(&store)), (None, true));
    erase(&store, &[replacement("a", 6)]);
    assert!(!tells(&store));
}
