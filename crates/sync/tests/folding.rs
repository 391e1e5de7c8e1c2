//! When a document is folded into a checkpoint, and when its owner is woken for that and for everything else.

#![allow(missing_docs)]

mod support;

use bytes::Bytes;
use support::{Bench, holds, typed};
use syncline_document::record::{Checkpoint, Entry, EntryKind, Origin, Stored};
use syncline_protocol::{frame::Dialect::Hocuspocus, names::DocumentName};
use syncline_sync::{Access, Effect, PeerId, Settings};

/// A document of this many bytes at rest, and a peer that is synced to it.
fn document(bytes: usize, settings: Settings) -> (Bench, PeerId) {
    let mut bench = Bench::new(settings);
    let checkpoint = Checkpoint {
        sequence: 1,
        state_vector: Bytes::from(holds(9, bytes as u64)),
        update: Bytes::from(typed(9, 0, &"x".repeat(bytes))),
        pending: Vec::new(),
    };
    bench.stored = Some(Stored { checkpoint: Some(checkpoint), sequence: 1, ..Stored::default() });
    let peer = bench.synced(Hocuspocus);
    (bench, peer)
}

fn checkpoints(bench: &Bench) -> usize {
    bench.asked.iter().filter(|effect| matches!(effect, Effect::Checkpoint(_))).count()
}

/// Types letters, each saved, until a checkpoint is made; says how many.
fn letters_until_folded(bench: &mut Bench, peer: PeerId, most: u64) -> u64 {
    for clock in 0..most {
        bench.update(peer, Hocuspocus, &typed(1, clock, "y"));
        bench.commit();
        bench.tick_at(bench.now_ms + 1);
        if checkpoints(bench) > 0 {
            return clock + 1;
        }
    }
    panic!("no checkpoint after {most} letters")
}

#[test]
fn a_small_document_is_folded_by_its_updates_or_bytes() {
    let (mut bench, peer) = document(16, Settings { fold_updates: 7, ..Settings::default() });
    assert_eq!(letters_until_folded(&mut bench, peer, 20), 7);
    let (mut bench, peer) = document(16, Settings { fold_bytes: 100, ..Settings::default() });
    assert!(letters_until_folded(&mut bench, peer, 20) < 12);
}

#[test]
fn a_large_document_is_not_written_again_for_a_few_edits() {
    let (mut bench, peer) = document(16_000, Settings { fold_updates: 7, ..Settings::default() });
    let letters = letters_until_folded(&mut bench, peer, 200);
    assert!((70..130).contains(&letters), "a sixteenth of it: {letters}");
    let (mut bench, peer) = document(4_000, Settings { fold_bytes: 100, ..Settings::default() });
    let letters = letters_until_folded(&mut bench, peer, 200);
    assert!((70..150).contains(&letters), "a quarter of it: {letters}");
}

#[test]
fn a_tail_is_folded_before_it_has_too_many_updates_however_large_the_document_is() {
    let (mut bench, peer) = document(60_000, Settings { fold_updates: 4, ..Settings::default() });
    assert_eq!(letters_until_folded(&mut bench, peer, 300), 200);
}

#[test]
fn the_store_may_ask_for_a_small_tail_once_a_minute() {
    let settings = Settings { evict_after_ms: 1_000_000, ..Settings::default() };
    let (mut bench, peer) = document(16_000, settings);
    bench.tick_at(100_000);
    let ask = |bench: &mut Bench, clock| {
        bench.update(peer, Hocuspocus, &typed(1, clock, "y"));
        bench.commit();
        assert!(bench.session.fold_soon());
        bench.tick_at(bench.now_ms + 1);
        checkpoints(bench)
    };
    assert_eq!(ask(&mut bench, 0), 1);
    assert_eq!(ask(&mut bench, 1), 1);
    bench.tick_at(159_999);
    assert_eq!((checkpoints(&bench), bench.session.next_tick_ms()), (1, Some(160_019)));
    bench.tick_at(160_000);
    assert_eq!(checkpoints(&bench), 2);
}

#[test]
fn one_checkpoint_at_a_time_waits_for_the_disk() {
    let (mut bench, peer) = document(16, Settings { fold_updates: 2, ..Settings::default() });
    for clock in 0..6 {
        bench.update(peer, Hocuspocus, &typed(1, clock, "y"));
        bench.tick_at(bench.now_ms + 100);
    }
    bench.call(|session, now_ms, fx| session.durable(3, now_ms, fx));
    assert_eq!(checkpoints(&bench), 1);
    let Some(Effect::Checkpoint(made)) = bench.asked.last() else { panic!("a checkpoint") };
    assert_eq!(made.sequence, 3);
}

/// Counts how often the owner is woken in an hour in which nothing happens.
fn wakes(bench: &mut Bench) -> usize {
    let end_ms = bench.now_ms + 3_600_000;
    let mut wakes = 0;
    while let Some(next) = bench.session.next_tick_ms()
        && next < end_ms
        && wakes < 1_000
    {
        bench.tick_at(next.max(bench.now_ms));
        wakes += 1;
    }
    wakes
}

#[test]
fn the_owner_is_not_woken_for_what_time_does_not_mend() {
    let (mut bench, peer) = document(16, Settings::default());
    bench.update(peer, Hocuspocus, &typed(1, 0, "y"));
    assert!(wakes(&mut bench) < 10, "an edit that is not on disk");

    let (mut bench, peer) = document(16, Settings::default());
    bench.update(peer, Hocuspocus, &typed(1, 1, "y"));
    assert!(wakes(&mut bench) < 10, "an update that is parked");

    let (mut bench, peer) = document(16, Settings { fold_updates: 1, ..Settings::default() });
    bench.update(peer, Hocuspocus, &typed(1, 0, "y"));
    bench.commit();
    bench.call(|session, now_ms, fx| session.store_failed("full", now_ms, fx));
    assert!(wakes(&mut bench) < 10, "a store that failed");
    assert_eq!(checkpoints(&bench), 0, "it takes none");

    let mut bench = Bench::new(Settings::default());
    bench.by_hand = true;
    let peer = bench.join(Hocuspocus, Access::Write);
    bench.step1(peer, Hocuspocus, &[0]);
    assert!(wakes(&mut bench) < 10, "a load that never ends");
}

#[test]
fn a_long_tail_at_rest_wakes_nobody() {
    let origin = Origin { user: None, device: None, at_ms: 0 };
    let document = DocumentName::parse("ada/doc").expect("a name");
    let bytes = Bytes::from(typed(1, 0, "a"));
    let entry = Entry { document, sequence: 1, kind: EntryKind::Update, origin, bytes };
    let mut bench = Bench::new(Settings { fold_updates: 1, ..Settings::default() });
    bench.stored = Some(Stored { tail: vec![entry], sequence: 1, ..Stored::default() });
    let reader = bench.join(Hocuspocus, Access::Read);
    bench.by_hand = true;
    bench.step1(reader, Hocuspocus, &[0]);
    bench.call(|session, now_ms, fx| {
        session.detach(reader, now_ms, fx);
    });
    let stored = bench.stored.clone();
    bench.call(|session, now_ms, fx| session.loaded(Ok(stored), now_ms, fx));
    assert!(bench.session.is_open());
    assert!(wakes(&mut bench) < 10);
    assert!(!bench.session.is_open());
}

#[test]
fn right_after_a_tick_the_next_one_is_ahead() {
    let (mut bench, peer) = document(16, Settings { fold_updates: 1, ..Settings::default() });
    bench.tick_at(50_000);
    bench.update(peer, Hocuspocus, &typed(1, 0, "y"));
    assert!(bench.session.next_tick_ms() > Some(50_000));
    bench.tick_at(50_020);
    bench.commit();
    assert_eq!(checkpoints(&bench), 1, "and it is not put off");
}
