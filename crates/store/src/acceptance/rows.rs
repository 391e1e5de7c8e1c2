//! The cases about rows.

use bytes::Bytes;
use syncline_document::record::Entry;

use super::{Bench, all_rows, entry, name, noise, read, row};
use crate::{
    error::StoreError,
    store::{CheckedRow, ROW_BYTES, ROW_KEY_BYTES, Row, Snapshot, Store},
};

fn deleted(key: &[u8]) -> Row {
    Row { key: key.to_vec(), value: None }
}

fn commit(store: &impl Store, entries: &[Entry], rows: &[Row]) {
    store.commit(entries, rows).unwrap_or_else(|error| panic!("commit: {error}"));
}

fn value(store: &impl Store, key: &[u8]) -> Option<Bytes> {
    store.row(key).unwrap_or_else(|error| panic!("{}: {error}", key.escape_ascii()))
}

pub(super) fn come_back<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let mut store = bench.fresh();
    assert_eq!((value(&store, b"turn/a"), all_rows(&store)), (None, vec![]));
    commit(&store, &[entry("a", 1)], &[row(b"turn/a", "1"), row(b"gone", "x"), row(b"twice", "first")]);
    commit(&store, &[entry("a", 2)], &[row(b"turn/a", "2"), deleted(b"gone"), deleted(b"never")]);
    commit(&store, &[], &[row(b"alone", ""), row(b"twice", "x"), deleted(b"twice"), row(b"twice", "last")]);
    assert_eq!(store.last_commit(), 2, "rows alone use up no number");
    for _ in 0..2 {
        assert_eq!(read(&store, "a").sequence, 2);
        let expected = [("alone", ""), ("turn/a", "2"), ("twice", "last")];
        let expected: Vec<_> = expected.map(|(key, value)| (key.into(), Bytes::from(value))).into();
        assert_eq!(all_rows(&store), expected);
        assert_eq!((value(&store, b"turn/a"), value(&store, b"gone")), (Some("2".into()), None));
        store = bench.crash(store);
    }
    commit(&store, &[entry("a", 3)], &[deleted(b"turn/a")]);
    let store = bench.crash(store);
    assert_eq!((value(&store, b"turn/a"), read(&store, "a").sequence), (None, 3));
}

pub(super) fn sizes<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let store = bench.fresh();
    let longest = vec![255; ROW_KEY_BYTES];
    let largest = Row { key: longest.clone(), value: Some(noise(ROW_BYTES, 1)) };
    let wrong = [
        row(b"", "no key"),
        row(&[longest.clone(), vec![0]].concat(), "a key too long"),
        Row { key: vec![1], value: Some(noise(ROW_BYTES + 1, 1)) },
        deleted(b""),
    ];
    for wrong in wrong {
        let refused = store.commit(&[entry("a", 1)], &[row(b"fine", "x"), wrong]);
        assert!(matches!(refused, Err(StoreError::TooLarge(_))), "{refused:?}");
    }
    let refused = store.commit(&[entry("b", 2), entry("b", 1)], &[row(b"fine", "x")]);
    assert!(matches!(refused, Err(StoreError::Bug(_))), "the entries are wrong");
    assert_eq!((store.read(&name("a")), value(&store, b"fine")), (Ok(None), None), "nothing was written");
    assert_eq!(store.poisoned(), None);
    commit(&store, &[entry("a", 1)], &[largest]);
    assert_eq!(value(&bench.crash(store), &longest), Some(noise(ROW_BYTES, 1)));
}

pub(super) fn listing<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let store = bench.fresh();
    // Beside everything else that a store holds.
    commit(&store, &[entry("r", 1), entry("s", 1)], &[]);
    assert_eq!(store.put_side(&name("r"), "side".into()), Ok(()));
    let keys: [&[u8]; 6] = [b"\0", b"a", b"a\0", b"a/1", b"b", b"\xff\xff"];
    let rows: Vec<Row> = keys.iter().rev().map(|key| row(key, "x")).collect();
    commit(&store, &[], &rows);
    let store = bench.crash(store);
    let list = |from: &[u8], to: &[u8], limit| -> Vec<Vec<u8>> {
        let rows = store.rows(from, to, limit).unwrap_or_else(|error| panic!("{error}"));
        rows.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(list(b"", &[255; 3], 10), keys);
    assert_eq!(list(b"a", b"b", 10), keys[1..4]);
    assert_eq!(list(b"a", b"b", 2), keys[1..3]);
    assert_eq!(list(b"a\0", b"a0", 10), keys[2..4]);
    assert!(list(b"c", b"d", 10).is_empty() && list(b"b", b"a", 10).is_empty());
    assert!(list(b"a", b"a", 10).is_empty() && list(b"a", b"b", 0).is_empty());
}

pub(super) fn snapshot<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let store = bench.fresh();
    commit(&store, &[entry("a", 1)], &[row(b"1", "old"), row(b"3", "old"), row(b"5", "old")]);
    let held = store.snapshot().unwrap_or_else(|error| panic!("{error}"));
    commit(&store, &[entry("a", 2)], &[row(b"0", "new"), row(b"3", "new"), row(b"4", "new"), deleted(b"5")]);
    commit(&store, &[], &[deleted(b"1"), row(b"3", "newer"), row(b"5", "again"), deleted(b"4")]);
    let expected: [(Vec<u8>, Result<Bytes, StoreError>); 3] =
        [b"1", b"3", b"5"].map(|key| (key.to_vec(), Ok("old".into())));
    assert_eq!(pages(&*held, 1), expected);
    assert_eq!(pages(&*held, 10), expected);
    drop(held);
    let next = store.snapshot().unwrap_or_else(|error| panic!("{error}"));
    let now: Vec<CheckedRow> = all_rows(&store).into_iter().map(|(key, value)| (key, Ok(value))).collect();
    assert_eq!(now.len(), 3, "0, 3 and 5");
    assert_eq!(pages(&*next, 2), now);
}

fn pages(held: &dyn Snapshot, limit: usize) -> Vec<CheckedRow> {
    let mut all: Vec<CheckedRow> = Vec::new();
    loop {
        let after = all.last().map(|(key, _)| key.as_slice());
        let page = held.rows(after, limit).unwrap_or_else(|error| panic!("{error}"));
        assert!(page.len() <= limit);
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}
