//! Peers that leave, and what of them stays.

#![allow(missing_docs)]

mod support;

use support::{Bench, frame, not_saved, typed};
use syncline_document::record::EntryKind;
use syncline_protocol::frame::{
    Dialect::{Hocuspocus, Plain},
    Reply,
};
use syncline_sync::{Access, Effect, PeerId, Settings};

fn leave(bench: &mut Bench, peer: PeerId) -> bool {
    let mut here = false;
    bench.call(|session, now_ms, fx| here = session.detach(peer, now_ms, fx));
    here
}

fn finish_job(bench: &mut Bench) {
    let job = bench.asked.iter().position(|effect| matches!(effect, Effect::Work(_)));
    let Effect::Work(job) = bench.asked.remove(job.expect("a job")) else { panic!("a job") };
    let done = job.run();
    bench.call(|session, now_ms, fx| session.worked(done, now_ms, fx));
}

#[test]
fn what_a_reader_sent_is_not_applied_after_it_left() {
    let mut bench = Bench::new(Settings::default());
    bench.by_hand = true;
    let reader = bench.join(Plain, Access::Read);
    bench.step1(reader, Plain, &[0]);
    bench.step2(reader, Plain, &typed(1, 0, "a"));
    bench.update(reader, Plain, &typed(1, 1, "b"));
    assert!(leave(&mut bench, reader));
    bench.call(|session, now_ms, fx| session.loaded(Ok(None), now_ms, fx));
    assert!(bench.appended.is_empty(), "nobody knows any more that it may not write");
}

#[test]
fn what_a_refused_peer_sent_is_not_applied_after_it_left() {
    let settings = Settings { document_bytes: 200, heavy_bytes: 60, ..Settings::default() };
    let mut bench = Bench::new(settings);
    let (peer, other) = (bench.synced(Hocuspocus), bench.synced(Hocuspocus));
    bench.update(peer, Hocuspocus, &typed(1, 0, &"x".repeat(300)));
    assert_eq!(bench.told(peer), [not_saved()]);
    bench.by_hand = true;
    bench.update(other, Hocuspocus, &typed(2, 0, &"y".repeat(70)));
    bench.update(peer, Hocuspocus, &typed(1, 0, "z"));
    leave(&mut bench, peer);
    finish_job(&mut bench);
    assert_eq!(bench.kinds(), [EntryKind::Update], "the other's");
}

#[test]
fn what_a_writer_sent_is_applied_after_it_left() {
    let mut bench = Bench::new(Settings::default());
    bench.by_hand = true;
    let writer = bench.join(Plain, Access::Write);
    bench.update(writer, Plain, &typed(1, 0, "a"));
    leave(&mut bench, writer);
    bench.call(|session, now_ms, fx| session.loaded(Ok(None), now_ms, fx));
    assert_eq!(bench.appended.len(), 1);
}

#[test]
fn a_peer_of_a_session_that_ended_does_no_harm_when_it_leaves() {
    let mut bench = Bench::new(Settings::default());
    let (old, gone) = (bench.synced(Hocuspocus), bench.synced(Hocuspocus));
    // What the owner does after a panic.
    bench.session = bench.session.successor(bench.now_ms);
    bench.appended.clear();
    let (new, writer) = (bench.synced(Hocuspocus), bench.synced(Hocuspocus));
    assert_eq!((old.index, gone.index), (new.index, writer.index), "they take the places");
    bench.awareness(new, Hocuspocus, &[(7, 1, "{}")]);
    bench.sent.clear();
    assert!(!leave(&mut bench, old) && !leave(&mut bench, gone));
    assert!(bench.sent.is_empty(), "nobody's presence ends");
    bench.update(old, Hocuspocus, &typed(3, 0, "ghost"));
    assert!(bench.appended.is_empty(), "and what it says is not heard");
    bench.update(writer, Hocuspocus, &typed(1, 0, "a"));
    assert_eq!(bench.told(new), [frame(Hocuspocus, &Reply::Update(&typed(1, 0, "a")))]);
    assert!(leave(&mut bench, new), "the new one is still here");
    assert!(!leave(&mut bench, new), "once");
}
