//! Power cuts and faults, in memory: only a store with a durable image apart from its live one tests the sync.

use syncline_document::record::Entry;
use syncline_store::{
    Store, StoreError,
    acceptance::{checkpoint, entry, name},
    memory::{Fault, MemoryStore, PowerCut},
};

fn draw_from(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    move |bound| random.u64(0..bound)
}

#[test]
fn whatever_a_power_cut_takes_every_commit_that_returned_is_there() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut store = MemoryStore::new().unwrap();
        let mut acked: Vec<Entry> = Vec::new();
        let mut sequence = 0;
        for _ in 0..random.usize(1..30) {
            let batch: Vec<Entry> = (0..random.u64(1..5))
                .map(|_| {
                    sequence += random.u64(1..3);
                    Entry { bytes: vec![seed as u8; random.usize(0..200_000)].into(), ..entry("a", sequence) }
                })
                .collect();
            let fails = random.u8(0..8) == 0;
            if fails {
                store.kv().fail(Fault::Sync, random.u64(0..2));
            }
            match store.commit(&batch, &[]) {
                Ok(()) => acked.extend(batch),
                Err(error) => {
                    assert!(fails, "seed {seed}: {error}");
                    let cut = if random.bool() { PowerCut::Drop } else { PowerCut::Tear };
                    store = store.power_cut(cut, &mut draw_from(seed)).unwrap();
                    let tail = store.read(&name("a")).unwrap().map(|stored| stored.tail).unwrap_or_default();
                    assert!(tail.starts_with(&acked), "seed {seed}: an acked entry is gone");
                    // The commit that failed may have made it all the same, but whole.
                    let more = tail.len() - acked.len();
                    assert!(more == 0 || more == batch.len(), "seed {seed}: {more} of {}", batch.len());
                    acked = tail;
                }
            }
        }
        let store = store.power_cut(PowerCut::Drop, &mut |_| 0).unwrap();
        assert_eq!(store.read(&name("a")).unwrap().map(|stored| stored.tail).unwrap_or_default(), acked);
    }
}

#[test]
fn a_power_cut_while_a_checkpoint_is_written_leaves_the_old_state_or_the_new() {
    for seed in 0..100 {
        for cut in [PowerCut::Drop, PowerCut::Tear] {
            let store = MemoryStore::new().unwrap();
            store.commit(&[entry("a", 1), entry("b", 1)], &[]).unwrap();
            store.write_checkpoint(&name("a"), &checkpoint(1)).unwrap();
            store.commit(&[entry("a", 2)], &[]).unwrap();
            store.kv().fail(Fault::Sync, seed % 2);
            store.write_checkpoint(&name("a"), &checkpoint(2)).unwrap_err();
            let after = store.power_cut(cut, &mut draw_from(seed));
            let a = after.unwrap().read(&name("a")).unwrap().unwrap();
            let state = (a.checkpoint.map(|checkpoint| checkpoint.sequence), a.tail.len());
            assert!([(Some(1), 1), (Some(2), 0)].contains(&state), "seed {seed}: {state:?}");
        }
    }
}

#[test]
fn a_power_cut_while_the_first_checkpoint_is_written_does_not_keep_the_store_from_opening() {
    for seed in 0..100 {
        let store = MemoryStore::new().unwrap();
        store.commit(&[entry("a", 1), entry("b", 1)], &[]).unwrap();
        store.kv().fail(Fault::Sync, seed % 2);
        store.write_checkpoint(&name("a"), &checkpoint(1)).unwrap_err();
        // Its head may be there without the count of heads.
        let after = store.power_cut(PowerCut::Tear, &mut draw_from(seed)).unwrap();
        let a = after.read(&name("a")).unwrap().unwrap();
        let state = (a.checkpoint.map(|checkpoint| checkpoint.sequence), a.tail.len());
        assert!([(None, 1), (Some(1), 0)].contains(&state), "seed {seed}: {state:?}");
        after.commit(&[entry("b", 2)], &[]).unwrap();
        after.write_checkpoint(&name("b"), &checkpoint(2)).unwrap();
        let again = after.power_cut(PowerCut::Drop, &mut |_| 0).unwrap();
        assert_eq!(again.read(&name("b")).unwrap().unwrap().sequence, 2);
    }
}

#[test]
fn a_failing_or_panicking_store_takes_no_more_and_goes_on_reading() {
    for fault in [Fault::Full, Fault::Sync, Fault::Panic] {
        let store = MemoryStore::new().unwrap();
        store.commit(&[entry("a", 1)], &[]).unwrap();
        store.kv().fail(fault, 0);
        let failed = store.commit(&[entry("a", 2)], &[]).unwrap_err();
        assert_eq!(matches!(failed, StoreError::Full(_)), fault == Fault::Full);
        assert!(store.poisoned().is_some());
        assert!(matches!(store.commit(&[entry("a", 2)], &[]), Err(StoreError::Poisoned(_))));
        assert!(matches!(store.write_checkpoint(&name("a"), &checkpoint(1)), Err(StoreError::Poisoned(_))));
        assert!(matches!(store.put_side(&name("a"), "x".into()), Err(StoreError::Poisoned(_))));
        assert!(matches!(store.prune(1), Err(StoreError::Poisoned(_))));
        assert_eq!(store.read(&name("a")).unwrap().unwrap().tail, [entry("a", 1)], "what was durable");
    }
}

#[test]
fn a_changed_or_lost_value_is_an_error_and_never_a_shorter_document() {
    let store = MemoryStore::new().unwrap();
    for sequence in 1..=6 {
        store.commit(&[entry("a", sequence), entry("b", sequence)], &[]).unwrap();
    }
    store.write_checkpoint(&name("a"), &checkpoint(4)).unwrap();
    store.put_side(&name("a"), "side".into()).unwrap();
    store.commit(&[entry("c", 1)], &[]).unwrap();
    store.mark().unwrap();
    let whole = store.read(&name("a")).unwrap().unwrap();
    for key in [&b"h"[..], b"c", b"s", b"j\0\0\0\0\0\0\0\x05", b"j\0\0\0\0\0\0\0\x06"] {
        let copy = store.process_death().unwrap();
        copy.kv().corrupt(
            |candidate| candidate.starts_with(key),
            |value| {
                if let Some(last) = value.last_mut() {
                    *last ^= 1;
                }
            },
        );
        let read = copy.read(&name("a"));
        assert!(matches!(read, Err(StoreError::Damaged(_))), "{key:?}: {read:?}");
    }
    for letter in *b"mthcj" {
        let copy = store.process_death().unwrap();
        copy.kv().lose(|candidate| candidate.first() == Some(&letter));
        match copy.process_death() {
            Err(StoreError::Damaged(_)) => {}
            Err(error) => panic!("{}: {error}", char::from(letter)),
            Ok(reopened) => {
                let read = reopened.read(&name("a"));
                assert!(matches!(read, Err(StoreError::Damaged(_))), "{}: {read:?}", char::from(letter));
            }
        }
    }
    // Any single record of the journal, the newest included: the marker knows it.
    for commit in 1..=7_u64 {
        let copy = store.process_death().unwrap();
        copy.kv().lose(|key| key.starts_with(b"j") && key[1..9] == commit.to_be_bytes());
        assert!(matches!(copy.process_death(), Err(StoreError::Damaged(_))), "record {commit}");
    }
    assert_eq!(store.process_death().unwrap().read(&name("a")).unwrap().unwrap(), whole);
}

#[test]
fn what_a_killed_process_left_unsynced_survives_once_the_next_has_shown_it() {
    let store = MemoryStore::new().unwrap();
    store.kv().fail(Fault::Sync, 0);
    assert!(store.commit(&[entry("a", 1)], &[]).is_err());
    let next = store.process_death().unwrap();
    assert_eq!(next.read(&name("a")).unwrap().unwrap().sequence, 1, "the page cache outlives the process");
    let after = next.power_cut(PowerCut::Drop, &mut |_| 0).unwrap();
    assert_eq!(after.read(&name("a")).unwrap().unwrap().sequence, 1);
}
