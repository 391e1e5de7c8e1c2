//! Rows under power cuts and damage.

use bytes::Bytes;
use syncline_document::record::Entry;
use syncline_store::{
    MemoryStore, Row, Store, StoreError,
    acceptance::{all_rows, entry, name, row},
    export::export,
    memory::{Fault, PowerCut},
    verify::{Place, verify},
};

fn draw_from(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    move |bound| random.u64(0..bound)
}

fn last_sequence(store: &MemoryStore) -> u64 {
    store.read(&name("a")).unwrap().map_or(0, |stored| stored.sequence)
}

/// Returns a row that says as of which sequence it was written.
fn turn(key: &str, sequence: u64) -> Row {
    row(key.as_bytes(), &sequence.to_string())
}

fn read_turn(store: &MemoryStore, key: &str) -> u64 {
    let value = store.row(key.as_bytes()).unwrap();
    value.map_or(0, |value| std::str::from_utf8(&value).unwrap().parse().unwrap())
}

#[test]
fn a_power_cut_leaves_rows_and_the_entries_they_came_with_or_neither() {
    let mut survived = 0;
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut store = MemoryStore::new().unwrap();
        let mut acked = 0;
        for sequence in 1..random.u64(2..12) {
            let large = Entry { bytes: vec![1; random.usize(0..200_000)].into(), ..entry("a", sequence) };
            let rows = [turn("x", sequence), turn("y", sequence), Row { key: b"z".into(), value: None }];
            let fails = random.u8(0..4) == 0;
            if fails {
                store.kv().fail(Fault::Sync, 0);
            }
            if store.commit(&[large], &rows).is_ok() {
                acked = sequence;
                continue;
            }
            assert!(fails);
            store = store.power_cut(PowerCut::Drop, &mut draw_from(seed)).unwrap();
            survived += u64::from(last_sequence(&store) > acked);
            break;
        }
        let store = store.power_cut(PowerCut::Drop, &mut |_| 0).unwrap();
        let found = last_sequence(&store);
        assert!(found == acked || found == acked + 1, "seed {seed}");
        assert_eq!((read_turn(&store, "x"), read_turn(&store, "y")), (found, found), "seed {seed}");
    }
    assert!(survived > 10, "what was not acked came through {survived} times: both outcomes are to be seen");
}

#[test]
fn what_is_left_of_a_torn_batch_has_no_row_without_its_whole_record() {
    let (mut torn, mut whole) = (0, 0);
    for seed in 0..400 {
        let store = MemoryStore::new().unwrap();
        store.commit(&[entry("a", 1)], &[turn("x", 1), turn("y", 1)]).unwrap();
        store.kv().fail(Fault::Sync, 0);
        let large = Entry { bytes: vec![1; 200_000].into(), ..entry("a", 2) };
        let deleted = Row { key: b"y".into(), value: None };
        store.commit(&[large], &[deleted, turn("x", 2)]).unwrap_err();
        let after = store.power_cut(PowerCut::Tear, &mut draw_from(seed)).unwrap();
        let rows = (read_turn(&after, "x"), read_turn(&after, "y"));
        if last_sequence(&after) == 1 {
            assert_eq!(rows, (1, 1), "seed {seed}: a row of a record that is gone");
            torn += 1;
        } else {
            whole += 1;
        }
    }
    assert!(torn > 50 && whole > 50, "{torn} torn, {whole} whole");
}

#[test]
fn a_row_that_is_not_durable_is_shown_to_nobody() {
    for fault in [Fault::Sync, Fault::Full, Fault::Panic] {
        let store = MemoryStore::new().unwrap();
        store.commit(&[], &[row(b"changed", "old"), row(b"deleted", "old"), row(b"same", "old")]).unwrap();
        let before = all_rows(&store);
        store.kv().fail(fault, 0);
        let deleted = Row { key: b"deleted".into(), value: None };
        store.commit(&[], &[row(b"changed", "new"), deleted, row(b"made", "new")]).unwrap_err();
        assert!(matches!(store.commit(&[], &[row(b"more", "x")]), Err(StoreError::Poisoned(_))));
        assert_eq!(all_rows(&store), before, "{fault:?}");
        for (key, value) in [("changed", Some("old")), ("deleted", Some("old")), ("made", None)] {
            assert_eq!(store.row(key.as_bytes()).unwrap(), value.map(Bytes::from), "{fault:?}: {key}");
        }
        let held = store.snapshot().unwrap().rows(None, 10).unwrap();
        assert_eq!(held.into_iter().map(|(key, value)| (key, value.unwrap())).collect::<Vec<_>>(), before);
        let after = store.power_cut(PowerCut::Drop, &mut |_| 0).unwrap();
        assert_eq!(all_rows(&after), before, "{fault:?}");
    }
}

#[test]
fn rows_that_a_killed_process_left_unsynced_survive_once_the_next_has_shown_them() {
    let store = MemoryStore::new().unwrap();
    store.kv().fail(Fault::Sync, 0);
    store.commit(&[], &[turn("x", 7)]).unwrap_err();
    let next = store.process_death().unwrap();
    assert_eq!(read_turn(&next, "x"), 7, "the page cache outlives the process");
    assert_eq!(read_turn(&next.power_cut(PowerCut::Drop, &mut |_| 0).unwrap(), "x"), 7);
}

#[test]
fn a_changed_or_moved_row_is_damage_that_verify_lists_and_a_backup_refuses() {
    let store = MemoryStore::new().unwrap();
    let rows: Vec<Row> = (0..200).map(|n| turn(&format!("k{n:03}"), n)).collect();
    store.commit(&[entry("a", 1)], &rows).unwrap();
    let mut flip = 0;
    store.kv().corrupt(
        |key| key == b"rk007" || key == b"rk100",
        |value| {
            let at = flip % value.len();
            value[at] ^= 1;
            flip += 13;
        },
    );
    let moved = syncline_store::kv::Kv::get(store.kv(), b"rk150").unwrap().unwrap();
    store.kv().corrupt(|key| key == b"rk151", |value| *value = moved.to_vec());
    for damaged in ["k007", "k100", "k151"] {
        let read = store.row(damaged.as_bytes());
        assert!(matches!(&read, Err(StoreError::Damaged(text)) if text.contains(damaged)), "{read:?}");
    }
    assert_eq!(read_turn(&store, "k150"), 150, "the others are fine");
    assert!(store.rows(b"k007", b"k009", 10).is_err() && store.rows(b"k008", b"k009", 10).is_ok());
    let verified = verify(&store, syncline_store::fold::replay).unwrap();
    let places: Vec<Place> = verified.findings.iter().map(|finding| finding.at.clone()).collect();
    let damaged = ["k007", "k100", "k151"].map(|key| Place::Row(key.into()));
    assert_eq!(verified.rows, 200);
    assert!(damaged.iter().all(|place| places.contains(place)), "{places:?}");
    assert_eq!(places.iter().filter(|place| matches!(place, Place::Row(_))).count(), 3);
    assert!(matches!(export(&store, &mut Vec::new()), Err(StoreError::Damaged(_))));
}
