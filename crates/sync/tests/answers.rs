//! How a SyncStep1 is answered: always, in bounded time, and never with what the peer must not see yet.

#![allow(missing_docs)]

mod support;

use bytes::Bytes;
use support::{Bench, deleted, frame, holds, saved, typed};
use syncline_document::record::Origin;
use syncline_protocol::{
    frame::{
        Dialect::{Hocuspocus, Plain},
        Reply,
    },
    limits::Limits,
    state_vector,
};
use syncline_sync::{Access, Edit, Effect, Ending, Settings};

fn edit(bench: &mut Bench, number: u64, update: &[u8]) {
    let origin = Origin { user: None, device: None, at_ms: 0 };
    let update = Bytes::copy_from_slice(update);
    bench.call(|session, now_ms, fx| session.edit(Edit(number), update, origin, now_ms, fx));
}

fn durable(bench: &mut Bench, sequence: u64) {
    bench.call(|session, now_ms, fx| session.durable(sequence, now_ms, fx));
}

fn endings(bench: &Bench) -> usize {
    let ends = |effect: &&Effect| matches!(effect, Effect::End { ending: Ending::TryLater(_), .. });
    bench.asked.iter().filter(ends).count()
}

#[test]
fn a_plain_peer_is_answered_while_another_never_stops_writing() {
    let mut bench = Bench::new(Settings::default());
    let writer = bench.synced(Hocuspocus);
    bench.update(writer, Hocuspocus, &typed(1, 0, "a"));
    let reader = bench.join(Plain, Access::Write);
    bench.step1(reader, Plain, &[0]);
    // The disk is always one edit behind.
    bench.update(writer, Hocuspocus, &typed(1, 1, "b"));
    assert!(bench.told(reader).is_empty(), "nothing of it is durable");
    durable(&mut bench, 1);
    assert_eq!(
        bench.told(reader),
        [frame(Plain, &Reply::SyncStep2(&typed(1, 0, "a"))), frame(Plain, &Reply::SyncStep1(&holds(1, 1)))],
        "as of its question"
    );
    bench.update(writer, Hocuspocus, &typed(1, 2, "c"));
    durable(&mut bench, 2);
    assert_eq!(bench.told(reader), [frame(Plain, &Reply::Update(&typed(1, 1, "b")))]);
    durable(&mut bench, 3);
    assert_eq!(bench.told(reader), [frame(Plain, &Reply::Update(&typed(1, 2, "c")))]);
}

#[test]
fn a_hocuspocus_peer_is_answered_while_the_server_never_stops_writing() {
    let mut bench = Bench::new(Settings::default());
    let peer = bench.join(Hocuspocus, Access::Write);
    edit(&mut bench, 1, &typed(5, 0, "a"));
    bench.step1(peer, Hocuspocus, &[0]);
    edit(&mut bench, 2, &typed(5, 1, "b"));
    assert!(bench.told(peer).is_empty());
    durable(&mut bench, 1);
    let told = bench.told(peer);
    let answer = [Reply::SyncStep2(&typed(5, 0, "a")), Reply::SyncStep1(&holds(5, 1))];
    assert_eq!(told[..2], answer.map(|reply| frame(Hocuspocus, &reply)));
    let second = frame(Hocuspocus, &Reply::Update(&typed(5, 1, "b")));
    assert!(!told.contains(&second), "the second edit is not durable");
    durable(&mut bench, 2);
    assert_eq!(bench.told(peer), [second]);
}

#[test]
fn what_comes_after_an_answer_that_is_held_back_is_sent_after_it() {
    let mut bench = Bench::new(Settings::default());
    let writer = bench.synced(Hocuspocus);
    let peer = bench.join(Hocuspocus, Access::Write);
    edit(&mut bench, 1, &typed(5, 0, "a"));
    bench.step1(peer, Hocuspocus, &[0]);
    bench.update(writer, Hocuspocus, &typed(1, 0, "w"));
    assert!(bench.told(peer).is_empty(), "an update before the answer would be lost on a client");
    durable(&mut bench, 1);
    let told = bench.told(peer);
    assert_eq!(told[0], frame(Hocuspocus, &Reply::SyncStep2(&typed(5, 0, "a"))));
    let update = frame(Hocuspocus, &Reply::Update(&typed(1, 0, "w")));
    assert!(told[1..].contains(&update), "who counts waits for nothing more");
}

#[test]
fn a_sync_step_1_that_comes_while_an_answer_is_held_back_is_answered_next() {
    let mut bench = Bench::new(Settings::default());
    let writer = bench.synced(Hocuspocus);
    let reader = bench.join(Plain, Access::Write);
    bench.update(writer, Hocuspocus, &typed(1, 0, "a"));
    bench.step1(reader, Plain, &[0]);
    bench.update(writer, Hocuspocus, &typed(1, 1, "b"));
    bench.step1(reader, Plain, &holds(1, 1));
    let step2s = |told: Vec<Bytes>| told.iter().filter(|frame| frame.starts_with(&[0, 1])).count();
    durable(&mut bench, 1);
    assert_eq!(step2s(bench.told(reader)), 1, "the first");
    durable(&mut bench, 2);
    assert_eq!(step2s(bench.told(reader)), 1, "the second");
    assert!(bench.session.is_settled());
}

#[test]
fn answers_that_wait_for_the_disk_are_bounded() {
    let mut bench = Bench::new(Settings { waiting_bytes: 200, ..Settings::default() });
    let writer = bench.synced(Hocuspocus);
    let reader = bench.join(Plain, Access::Write);
    bench.update(writer, Hocuspocus, &typed(1, 0, "a"));
    let many = state_vector::encode((1..40).map(|client| (client, 1)));
    for _ in 0..3 {
        bench.step1(reader, Plain, &many);
    }
    assert_eq!(endings(&bench), 0);
    bench.step1(reader, Plain, &many);
    assert_eq!(endings(&bench), 1);
}

#[test]
fn a_held_answer_counts_as_one_sync_of_a_client_that_counts() {
    let mut bench = Bench::new(Settings::default());
    let peer = bench.join(Hocuspocus, Access::Write);
    edit(&mut bench, 1, &typed(5, 0, "a"));
    bench.step1(peer, Hocuspocus, &holds(1, 1));
    durable(&mut bench, 1);
    bench.told(peer);
    bench.step2(peer, Hocuspocus, &typed(1, 0, "x"));
    bench.update(peer, Hocuspocus, &deleted(1, 0, 1));
    bench.commit();
    assert_eq!(bench.told(peer), [saved(), saved()]);
}

#[test]
fn who_asks_for_a_document_that_cannot_be_read_is_told_and_sent_away_when_there_is_hope() {
    for dialect in [Plain, Hocuspocus] {
        let mut bench = Bench::new(Settings { reload_after_ms: 1_000, ..Settings::default() });
        bench.by_hand = true;
        let peer = bench.join(dialect, Access::Write);
        bench.step1(peer, dialect, &[0]);
        bench.call(|session, now_ms, fx| session.loaded(Err("a bad moment".to_owned()), now_ms, fx));
        assert_eq!(bench.told(peer).len(), 1, "why");
        let next = bench.session.next_tick_ms();
        assert_eq!((endings(&bench), next), (0, Some(1_000)), "at once it would be back at once");
        bench.tick_at(1_000);
        bench.tick_at(2_000);
        assert_eq!(endings(&bench), 1);
        bench.call(|session, now_ms, fx| {
            session.detach(peer, now_ms, fx);
        });
        bench.by_hand = false;
        let again = bench.join(dialect, Access::Write);
        bench.step1(again, dialect, &[0]);
        assert_eq!(bench.told(again).len(), 2);
    }
}

#[test]
fn who_is_answered_after_all_is_not_sent_away() {
    let mut bench = Bench::new(Settings { reload_after_ms: 1_000, ..Settings::default() });
    bench.by_hand = true;
    let peer = bench.join(Plain, Access::Write);
    bench.step1(peer, Plain, &[0]);
    bench.call(|session, now_ms, fx| session.loaded(Err("a bad moment".to_owned()), now_ms, fx));
    bench.told(peer);
    (bench.by_hand, bench.now_ms) = (false, 1_000);
    bench.step1(peer, Plain, &[0]);
    assert_eq!(bench.told(peer).len(), 2);
    bench.tick_at(2_000);
    assert_eq!(endings(&bench), 0);
}

#[test]
fn a_state_vector_that_is_too_long_is_not_parsed() {
    let limits = Limits { sections: 2, ..Limits::default() };
    let mut bench = Bench::new(Settings { limits, ..Settings::default() });
    let peer = bench.join(Plain, Access::Write);
    bench.step1(peer, Plain, &state_vector::encode([(1 << 52, u32::MAX), (1 << 51, u32::MAX)]));
    assert_eq!(bench.told(peer).len(), 2, "two entries fit, however large they are");
    bench.step1(peer, Plain, &state_vector::encode((1..20).map(|client| (client, 1))));
    assert!(bench.told(peer).is_empty());
    assert!(matches!(bench.asked.last(), Some(Effect::End { ending: Ending::Malformed(_), .. })));
}

#[test]
fn a_text_that_is_too_long_is_ignored() {
    let mut bench = Bench::new(Settings::default());
    let (peer, writer) = (bench.synced(Hocuspocus), bench.synced(Hocuspocus));
    let padded = |bytes: usize| format!("{:bytes$}", r#"{"type":"visibility","hidden":true}"#);
    bench.json(peer, &padded(4_097));
    bench.update(writer, Hocuspocus, &typed(1, 0, "a"));
    assert_eq!(bench.told(peer).len(), 1, "it is not hidden");
    bench.json(peer, &padded(4_096));
    bench.update(writer, Hocuspocus, &typed(1, 1, "b"));
    assert!(bench.told(peer).is_empty());
    assert!(!bench.asked.iter().any(|effect| matches!(effect, Effect::End { .. })), "nobody is sent away");
}
