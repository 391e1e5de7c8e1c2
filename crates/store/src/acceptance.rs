//! What every store has to do, whatever it keeps its bytes in: one suite, run by each store's tests.
//!
//! A [`Bench`] makes stores and reopens them; [`all`] runs every case on a fresh one and panics where a store falls
//! short, with the name of the case.

mod erase;
mod rows;

use bytes::Bytes;
use syncline_document::record::{Checkpoint, Entry, EntryKind, Origin, Sequence, Stored};
use syncline_protocol::names::DocumentName;

use crate::{
    codec::Prepared,
    error::StoreError,
    export::{export, import},
    store::{FoldBounds, Row, SIDE_BYTES, Store},
};

/// Makes and reopens the stores of one kind.
pub trait Bench {
    /// The store under test.
    type Store: Store;

    /// Makes an empty store.
    fn fresh(&mut self) -> Self::Store;

    /// Ends the store as a crash of the process and of the machine would, and opens what is durable.
    fn crash(&mut self, store: Self::Store) -> Self::Store;
}

/// A case of the suite.
type Case<S> = fn(&mut dyn Bench<Store = S>);

/// Runs every case.
///
/// # Panics
/// Where the store falls short of what [`Store`] promises.
pub fn all<B: Bench>(bench: &mut B) {
    let cases: [(&str, Case<B::Store>); 22] = [
        ("an unknown document is none", unknown_is_none),
        ("commits come back in order, after a crash too", commits_come_back),
        ("entries larger than a value of the engine come back", large_entries_come_back),
        ("sequences that do not go up are refused and harmless", sequences_go_up),
        ("a checkpoint replaces the tail it covers", checkpoint_covers),
        ("a checkpoint ahead of the journal is refused", checkpoint_ahead),
        ("an older checkpoint changes nothing", older_checkpoint),
        ("large checkpoints come back, replaced ones go", large_checkpoints),
        ("pruning removes only what is covered", prune_only_covered),
        ("pending and quarantined entries outlive their records", pending_and_quarantined),
        ("side records are replaced and ride along", side_records),
        ("rows come back with what they came with, after a crash too", rows::come_back),
        ("rows of a wrong size are refused and harmless", rows::sizes),
        ("rows are listed in the order of their keys", rows::listing),
        ("a snapshot shows the rows of its commit", rows::snapshot),
        ("what is erased and replaced is nowhere any more", erase::replaced),
        ("what is erased whole is nowhere any more", erase::removed),
        ("what comes after what is erased stays", erase::later_entries),
        ("erasing waits for snapshots and newer checkpoints", erase::refusals),
        ("documents are listed in pages with their numbers", listing),
        ("a snapshot shows one commit while the store goes on", snapshot_holds),
        ("an export is read back whole into another store", export_import),
    ];
    for (name, case) in cases {
        // A panic inside says what; this says where.
        eprintln!("acceptance: {name}");
        case(bench);
    }
}

/// Parses a name.
///
/// # Panics
/// Where it is none.
pub fn name(text: &str) -> DocumentName {
    DocumentName::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Makes an update of `document` whose bytes are drawn from its sequence.
pub fn entry(document: &str, sequence: Sequence) -> Entry {
    Entry {
        document: name(document),
        sequence,
        kind: EntryKind::Update,
        origin: Origin {
            user: Some("ada".into()),
            device: Some("phone".into()),
            at_ms: 1_700_000_000_000 + sequence,
        },
        bytes: format!("update {sequence} of {document}").into(),
    }
}

/// Makes a checkpoint whose bytes are drawn from its sequence.
pub fn checkpoint(sequence: Sequence) -> Checkpoint {
    Checkpoint {
        sequence,
        state_vector: format!("vector {sequence}").into(),
        update: format!("state {sequence}").repeat(5).into(),
        pending: Vec::new(),
    }
}

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> Bytes {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect::<Vec<u8>>().into()
}

/// Makes a row.
pub fn row(key: &[u8], value: &str) -> Row {
    Row { key: key.to_vec(), value: Some(value.to_owned().into()) }
}

/// Lists every row, keys and values.
///
/// # Panics
/// Where that fails.
pub fn all_rows(store: &impl Store) -> Vec<(Vec<u8>, Bytes)> {
    store.rows(&[], &[255; 8], usize::MAX).unwrap_or_else(|error| panic!("rows: {error}"))
}

fn read(store: &impl Store, document: &str) -> Stored {
    let stored = store.read(&name(document)).unwrap_or_else(|error| panic!("{document}: {error}"));
    stored.unwrap_or_else(|| panic!("{document} is not there"))
}

fn commit(store: &impl Store, entries: &[Entry]) {
    store.commit(entries, &[]).unwrap_or_else(|error| panic!("commit: {error}"));
}

fn write_checkpoint(store: &impl Store, document: &str, checkpoint: &Checkpoint) {
    store.write_checkpoint(&name(document), checkpoint).unwrap_or_else(|error| panic!("{document}: {error}"));
}

fn prune_all(store: &impl Store) -> usize {
    let mut total = 0;
    loop {
        match store.prune(10).unwrap_or_else(|error| panic!("prune: {error}")) {
            0 => return total,
            steps => total += steps,
        }
    }
}

fn unknown_is_none<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let store = bench.fresh();
    assert_eq!(store.read(&name("nobody/knows")), Ok(None));
    assert_eq!(store.documents(None, 10), Ok(vec![]));
    assert_eq!(store.last_commit(), 0);
    commit(&store, &[]);
    let store = bench.crash(store);
    assert_eq!((store.last_commit(), store.poisoned()), (0, None));
}

fn commits_come_back<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let mut store = bench.fresh();
    let identity = store.identity();
    let mut batch: Vec<Entry> = (1..=5).map(|sequence| entry("ada/a", sequence)).collect();
    batch.push(Entry {
        origin: Origin { user: Some("bob".into()), ..batch[0].origin.clone() },
        ..entry("ada/b", 7)
    });
    batch.push(Entry { origin: Origin { user: None, device: None, at_ms: 0 }, ..entry("open", 1) });
    commit(&store, &batch);
    for sequence in [6, 9, 100] {
        commit(&store, &[entry("ada/a", sequence)]);
    }
    for _ in 0..2 {
        let a = read(&store, "ada/a");
        let expected: Vec<Entry> = [1, 2, 3, 4, 5, 6, 9, 100].map(|sequence| entry("ada/a", sequence)).into();
        assert_eq!((a.checkpoint, a.tail, a.sequence), (None, expected, 100));
        assert_eq!(a.server_client, identity.server_client(&name("ada/a")));
        assert_eq!(read(&store, "ada/b").tail, &batch[5..6]);
        assert_eq!(read(&store, "open").tail, &batch[6..]);
        assert_eq!((store.last_commit(), store.identity()), (4, identity));
        store = bench.crash(store);
    }
    commit(&store, &[entry("ada/a", 101)]);
    assert_eq!(read(&bench.crash(store), "ada/a").tail.len(), 9);
}

fn large_entries_come_back<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let mut store = bench.fresh();
    for (sequence, length) in (1..).zip([65_535, 65_536, 65_537, 1 << 20, 3 << 20]) {
        commit(&store, &[Entry { bytes: noise(length, sequence), ..entry("large", sequence) }]);
    }
    for _ in 0..2 {
        let tail = read(&store, "large").tail;
        assert!(
            tail.len() == 5
                && tail.iter().all(|entry| entry.bytes == noise(entry.bytes.len(), entry.sequence))
        );
        store = bench.crash(store);
    }
}

fn sequences_go_up<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let store = bench.fresh();
    commit(&store, &[entry("a", 5)]);
    for wrong in
        [[entry("a", 5), entry("a", 6)], [entry("b", 2), entry("b", 2)], [entry("b", 1), entry("a", 4)]]
    {
        assert!(matches!(store.commit(&wrong, &[]), Err(StoreError::Bug(_))), "{wrong:?}");
    }
    write_checkpoint(&store, "a", &checkpoint(5));
    assert!(matches!(store.commit(&[entry("a", 5)], &[]), Err(StoreError::Bug(_))), "the checkpoint has it");
    assert_eq!(store.poisoned(), None, "nothing was written");
    assert_eq!(store.read(&name("b")), Ok(None));
    commit(&store, &[entry("a", 6)]);
    assert_eq!(read(&bench.crash(store), "a").tail, [entry("a", 6)]);
}

fn checkpoint_covers<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let mut store = bench.fresh();
    commit(&store, &[entry("a", 1), entry("a", 2), entry("b", 1)]);
    commit(&store, &[entry("a", 3), entry("a", 4)]);
    write_checkpoint(&store, "a", &checkpoint(3));
    for _ in 0..2 {
        let a = read(&store, "a");
        assert_eq!((a.checkpoint, a.tail, a.sequence), (Some(checkpoint(3)), vec![entry("a", 4)], 4));
        assert_eq!(read(&store, "b").tail, [entry("b", 1)]);
        store = bench.crash(store);
    }
    write_checkpoint(&store, "a", &checkpoint(4));
    prune_all(&store);
    for _ in 0..2 {
        let a = read(&store, "a");
        assert_eq!((a.checkpoint, a.tail, a.sequence), (Some(checkpoint(4)), vec![], 4));
        assert_eq!(read(&store, "b").tail, [entry("b", 1)]);
        store = bench.crash(store);
    }
}

fn checkpoint_ahead<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let store = bench.fresh();
    commit(&store, &[entry("a", 4)]);
    let good = (name("a"), Prepared::new(&checkpoint(4)).unwrap_or_else(|error| panic!("{error}")));
    let ahead = (name("b"), Prepared::new(&checkpoint(1)).unwrap_or_else(|error| panic!("{error}")));
    let results = store.write_checkpoints(&[ahead, good]);
    assert!(matches!(results[..], [Err(StoreError::Bug(_)), Ok(())]), "{results:?}");
    assert!(matches!(store.write_checkpoint(&name("a"), &checkpoint(5)), Err(StoreError::Bug(_))));
    assert_eq!(store.poisoned(), None);
    let store = bench.crash(store);
    assert_eq!(store.read(&name("b")), Ok(None));
    assert_eq!(read(&store, "a").checkpoint, Some(checkpoint(4)));
}

fn older_checkpoint<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let store = bench.fresh();
    commit(&store, &[entry("a", 1), entry("a", 2), entry("a", 3)]);
    let prepare =
        |sequence| (name("a"), Prepared::new(&checkpoint(sequence)).unwrap_or_else(|e| panic!("{e}")));
    assert_eq!(store.write_checkpoints(&[prepare(1), prepare(3), prepare(2)]), [Ok(()), Ok(()), Ok(())]);
    write_checkpoint(&store, "a", &checkpoint(2));
    let store = bench.crash(store);
    assert_eq!(read(&store, "a").checkpoint, Some(checkpoint(3)));
    assert_eq!(store.documents(None, 9).map(|list| list[0].updates), Ok(3));
}

fn large_checkpoints<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let mut store = bench.fresh();
    for sequence in 1..=3 {
        commit(&store, &[entry("a", sequence)]);
        let large = Checkpoint { update: noise(600_000, sequence), ..checkpoint(sequence) };
        write_checkpoint(&store, "a", &large);
        assert_eq!(read(&store, "a").checkpoint, Some(large));
    }
    assert!(prune_all(&store) >= 20, "the chunks of two checkpoints");
    assert_eq!(store.prune(10), Ok(0));
    for _ in 0..2 {
        assert_eq!(read(&store, "a").checkpoint.map(|c| c.update), Some(noise(600_000, 3)));
        store = bench.crash(store);
    }
}

fn prune_only_covered<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let mut store = bench.fresh();
    for sequence in 1..=40 {
        commit(&store, &[entry("a", sequence), entry("b", sequence)]);
    }
    assert_eq!(prune_all(&store), 0, "nothing is covered");
    write_checkpoint(&store, "a", &checkpoint(40));
    assert_eq!(prune_all(&store), 0, "b is in every record");
    write_checkpoint(&store, "b", &checkpoint(25));
    assert_eq!(prune_all(&store), 25);
    assert_eq!(store.journal().records, 15);
    for _ in 0..2 {
        let tail: Vec<Entry> = (26..=40).map(|sequence| entry("b", sequence)).collect();
        assert_eq!(read(&store, "b").tail, tail);
        assert_eq!(read(&store, "a").tail, []);
        store = bench.crash(store);
    }
    write_checkpoint(&store, "b", &checkpoint(40));
    prune_all(&store);
    assert_eq!(store.journal().records, 1, "the newest record stays");
    let store = bench.crash(store);
    assert_eq!((store.last_commit(), read(&store, "b").sequence), (40, 40));
    commit(&store, &[entry("b", 41)]);
    assert_eq!(read(&bench.crash(store), "b").tail, [entry("b", 41)]);
}

fn pending_and_quarantined<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let mut store = bench.fresh();
    let pending = Entry { kind: EntryKind::Pending, ..entry("a", 2) };
    let quarantined = |sequence| Entry { kind: EntryKind::Quarantined, ..entry("a", sequence) };
    commit(&store, &[entry("a", 1), pending.clone(), quarantined(3)]);
    commit(&store, &[quarantined(4)]);
    assert_eq!(read(&store, "a").quarantined, [quarantined(3), quarantined(4)]);
    let first = Checkpoint { pending: vec![pending.clone()], ..checkpoint(3) };
    write_checkpoint(&store, "a", &first);
    for _ in 0..2 {
        let a = read(&store, "a");
        assert_eq!(a.quarantined, [quarantined(3), quarantined(4)]);
        assert_eq!((a.checkpoint, a.tail, a.sequence), (Some(first.clone()), vec![], 4));
        store = bench.crash(store);
    }
    commit(&store, &[entry("a", 5)]);
    write_checkpoint(&store, "a", &checkpoint(5));
    prune_all(&store);
    let store = bench.crash(store);
    let summary = store.documents(None, 1).unwrap_or_else(|error| panic!("{error}")).remove(0);
    assert_eq!((summary.pending, summary.quarantined), (0, 2));
    assert_eq!(read(&store, "a").quarantined, [quarantined(3), quarantined(4)]);
}

fn side_records<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let store = bench.fresh();
    let too_large = store.put_side(&name("a"), noise(SIDE_BYTES + 1, 1));
    assert!(matches!(too_large, Err(StoreError::TooLarge(_))));
    for side in ["one", "two"] {
        assert_eq!(store.put_side(&name("a"), side.into()), Ok(()));
        assert_eq!(read(&store, "a").side, side);
    }
    commit(&store, &[entry("b", 1)]);
    let store = bench.crash(store);
    assert_eq!(read(&store, "a").side, "two", "the commit took it along");
    assert_eq!(store.put_side(&name("a"), noise(SIDE_BYTES, 2)), Ok(()));
    assert_eq!(read(&store, "a").side, noise(SIDE_BYTES, 2));
}

fn listing<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let store = bench.fresh();
    for number in 0..10 {
        commit(&store, &[entry(&format!("d{number}"), 1), entry(&format!("d{number}"), 2)]);
    }
    for number in [1, 4, 9] {
        write_checkpoint(&store, &format!("d{number}"), &checkpoint(2));
    }
    let mut names = Vec::new();
    loop {
        let page = store.documents(names.last(), 3).unwrap_or_else(|error| panic!("{error}"));
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        for summary in page {
            let covered = ["d1", "d4", "d9"].contains(&summary.name.as_str());
            assert_eq!(summary.checkpoint.map(|(sequence, _)| sequence), covered.then_some(2));
            assert_eq!(summary.tail_updates, if covered { 0 } else { 2 });
            assert_eq!((summary.sequence, summary.updates), (2, 2));
            assert!(summary.bytes > 0);
            names.push(summary.name);
        }
    }
    assert_eq!(names, (0..10).map(|number| name(&format!("d{number}"))).collect::<Vec<_>>());
    let bounds = FoldBounds { updates: 2, ..FoldBounds::default() };
    assert_eq!(store.due(&bounds, 0, 3), [name("d0"), name("d2"), name("d3")]);
}

fn snapshot_holds<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let store = bench.fresh();
    commit(&store, &[entry("a", 1), entry("b", 1)]);
    write_checkpoint(&store, "b", &checkpoint(1));
    let snapshot = store.snapshot().unwrap_or_else(|error| panic!("{error}"));
    assert!(matches!(store.snapshot(), Err(StoreError::Busy(_))));
    commit(&store, &[entry("a", 2), entry("b", 2), entry("c", 1)]);
    for (document, sequence) in [("a", 2), ("b", 2), ("c", 1)] {
        write_checkpoint(&store, document, &checkpoint(sequence));
    }
    commit(&store, &[entry("b", 3)]);
    write_checkpoint(&store, "b", &checkpoint(3));
    assert_eq!(store.prune(100), Ok(0), "what the snapshot needs stays");
    let held = |document| snapshot.read(&name(document)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(snapshot.commit(), 1);
    assert_eq!(held("a").map(|a| (a.checkpoint, a.tail, a.sequence)), Some((None, vec![entry("a", 1)], 1)));
    assert_eq!(held("b").map(|b| (b.checkpoint, b.tail, b.sequence)), Some((Some(checkpoint(1)), vec![], 1)));
    assert_eq!(held("c"), None);
    drop(snapshot);
    assert!(prune_all(&store) > 0);
    assert_eq!(read(&bench.crash(store), "b").checkpoint, Some(checkpoint(3)));
}

fn export_import<S: Store>(bench: &mut dyn Bench<Store = S>) {
    let store = bench.fresh();
    let pending = Entry { kind: EntryKind::Pending, ..entry("a", 2) };
    let quarantined = |sequence| Entry { kind: EntryKind::Quarantined, ..entry("a", sequence) };
    commit(&store, &[entry("a", 1), pending.clone(), quarantined(3), entry("b/x", 9)]);
    write_checkpoint(&store, "a", &Checkpoint { pending: vec![pending], ..checkpoint(3) });
    commit(&store, &[quarantined(4), entry("a", 5), Entry { bytes: noise(200_000, 3), ..entry("c", 1) }]);
    assert_eq!(store.put_side(&name("a"), "side".into()), Ok(()));
    let many: Vec<Row> = (0..150).map(|n| row(&[n, 0, 255], &"x".repeat(n.into()))).collect();
    assert_eq!(store.commit(&[], &many), Ok(()));
    let mut file = Vec::new();
    let exported = export(&store, &mut file).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((exported.commit, exported.documents, exported.entries, exported.rows), (2, 3, 6, 150));

    let copy = bench.fresh();
    assert_eq!(import(&copy, &mut &file[..]), Ok(exported));
    let copy = bench.crash(copy);
    for document in ["a", "b/x", "c"] {
        let client = copy.identity().server_client(&name(document));
        assert_eq!(read(&copy, document), Stored { server_client: client, ..read(&store, document) });
    }
    assert_eq!(all_rows(&copy), all_rows(&store));
    assert_eq!(all_rows(&copy).len(), 150);
    assert!(matches!(import(&copy, &mut &file[..]), Err(StoreError::Bug(_))), "the documents are there");
    let other = bench.fresh();
    assert_eq!(other.commit(&[], &[row(&[149, 0, 255], "mine")]), Ok(()));
    assert!(matches!(import(&other, &mut &file[..]), Err(StoreError::Bug(_))), "a row is there");
    for length in [0, 10, file.len() / 2, file.len() - 1] {
        let cut = import(&bench.fresh(), &mut &file[..length]);
        assert!(matches!(cut, Err(StoreError::Export(_) | StoreError::Io(_))), "cut to {length}: {cut:?}");
    }
    for at in (0..file.len()).step_by(file.len() / 50 + 1) {
        let mut broken = file.clone();
        broken[at] ^= 0x10;
        if let Ok(imported) = import(&bench.fresh(), &mut &broken[..]) {
            // A bit of zstd's header may carry no meaning: then everything is there.
            assert_eq!(imported, exported, "byte {at}");
        }
    }
}
