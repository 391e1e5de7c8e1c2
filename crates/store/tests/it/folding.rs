//! Folding cold documents, and checking stores.

use std::sync::Arc;

use syncline_document::record::{Checkpoint, Entry, Stored};
use syncline_store::{
    MemoryStore, Store, Writer, WriterOptions,
    acceptance::{entry, name},
    fold::{FoldOptions, Folder},
    store::FoldBounds,
    verify::{Place, verify},
};

/// A whole Yjs update without content.
const EMPTY_UPDATE: &[u8] = &[0, 0];

fn empty(document: &str, sequence: u64) -> Entry {
    Entry { bytes: EMPTY_UPDATE.into(), ..entry(document, sequence) }
}

#[test]
fn cold_documents_are_folded_open_ones_nudged_and_broken_ones_left_alone() {
    let store = Arc::new(MemoryStore::new().unwrap());
    let writer = Arc::new(Writer::<u64>::start(store.clone(), WriterOptions::default(), |_| {}).unwrap());
    for sequence in 1..=30 {
        store.commit(&[empty("cold", sequence), empty("open", sequence)], &[]).unwrap();
    }
    store
        .commit(&[empty("short", 1), Entry { bytes: vec![255; 40].into(), ..entry("broken", 1) }], &[])
        .unwrap();
    let bounds = FoldBounds { updates: 1, ..FoldBounds::default() };
    let options = FoldOptions { bounds: FoldBounds { updates: 30, ..bounds }, ..FoldOptions::default() };
    let nudged = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = nudged.clone();
    let is_open = move |document: &_| {
        let is_open = *document == name("open");
        if is_open {
            seen.lock().push(name("open"));
        }
        is_open
    };
    let now = entry("cold", 30).origin.at_ms;
    let mut folder = Folder::new(writer.clone(), options, is_open.clone());
    let round = folder.round(now);
    assert_eq!((round.folded, round.nudged, round.failed, round.pruned), (1, 1, 0, 0));
    assert_eq!(*nudged.lock(), [name("open")]);
    let cold = store.read(&name("cold")).unwrap().unwrap();
    assert_eq!((cold.checkpoint.map(|checkpoint| checkpoint.sequence), cold.tail.len()), (Some(30), 0));
    assert_eq!(store.read(&name("open")).unwrap().unwrap().tail.len(), 30);

    let mut folder = Folder::new(writer.clone(), FoldOptions { bounds, ..options }, |_| false);
    let round = folder.round(now);
    assert_eq!((round.folded, round.failed), (2, 1));
    assert_eq!(round.pruned, 30, "all but the newest record, which the broken document needs too");
    let again = folder.round(now);
    assert_eq!((again.folded, again.failed), (0, 0), "what failed is left alone for a while");
    assert_eq!(store.read(&name("broken")).unwrap().unwrap().tail.len(), 1, "and stays as it is");
    writer.shutdown().unwrap();
}

#[test]
fn verify_lists_what_fails_its_checks_and_what_does_not_replay() {
    let store = MemoryStore::new().unwrap();
    for document in ["fine", "rotten", "strange"] {
        store.commit(&[entry(document, 1)], &[]).unwrap();
        store.write_checkpoint(&name(document), &syncline_store::acceptance::checkpoint(1)).unwrap();
    }
    store.commit(&[entry("strange", 2)], &[]).unwrap();
    store.kv().corrupt(|key| key.starts_with(b"crotten"), |value| value.truncate(20));
    let replay = |stored: &Stored| -> Result<Checkpoint, String> {
        if stored.tail.is_empty() { Ok(stored.checkpoint.clone().unwrap()) } else { Err("a gap".into()) }
    };
    let verified = verify(&store, replay).unwrap();
    assert_eq!((verified.documents, verified.entries), (3, 1));
    let names: Vec<_> = verified.findings.iter().map(|finding| finding.at.clone()).collect();
    assert_eq!(names, [Place::Document(name("rotten")), Place::Document(name("strange"))]);
    assert!(verified.findings[1].problem.contains("a gap"));
    assert!(store.snapshot().is_ok(), "it gave the snapshot back");
}
