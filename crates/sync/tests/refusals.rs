//! What does not go well: refused edits, a store that fails, a document that cannot be opened; and presence.

#![allow(missing_docs)]

mod support;

use bytes::Bytes;
use support::{Bench, awareness, frame, holds, not_saved, saved, typed};
use syncline_document::record::Origin;
use syncline_protocol::frame::{
    Dialect::{Hocuspocus, Plain},
    Reply,
};
use syncline_sync::{Access, Edit, Effect, Ending, Settings};

#[test]
fn a_refused_peer_stays_refused_and_still_hears_the_others() {
    let mut bench = Bench::new(Settings { document_bytes: 40, ..Settings::default() });
    let (peer, other) = (bench.synced(Hocuspocus), bench.synced(Hocuspocus));
    bench.update(peer, Hocuspocus, &typed(1, 0, &"x".repeat(60)));
    assert_eq!(bench.told(peer), [not_saved()]);
    bench.update(peer, Hocuspocus, &typed(1, 0, "y"));
    assert_eq!(bench.told(peer), [not_saved()], "it would be a gap");
    bench.update(other, Hocuspocus, &typed(2, 0, "z"));
    assert_eq!(bench.told(peer), [frame(Hocuspocus, &Reply::Update(&typed(2, 0, "z")))]);
    bench.step1(peer, Hocuspocus, &[0]);
    let answer = bench.told(peer);
    assert_eq!(answer.len(), 1, "no SyncStep1: it would only bring the same bytes back");
    assert_eq!(answer[0], frame(Hocuspocus, &Reply::SyncStep2(&typed(2, 0, "z"))));
    assert_eq!(bench.appended.len(), 1);
}

#[test]
fn a_failed_store_acknowledges_nothing_and_refuses_edits() {
    let mut bench = Bench::new(Settings::default());
    let peer = bench.synced(Hocuspocus);
    bench.update(peer, Hocuspocus, &typed(1, 0, "a"));
    bench.call(|session, now_ms, fx| session.store_failed("the disk is full", now_ms, fx));
    assert!(!bench.told(peer).contains(&saved()));
    assert!(
        bench.asked.iter().any(|effect| matches!(effect, Effect::End { ending: Ending::TryLater(_), .. })),
        "what was not saved is still on the device, which comes back"
    );
    bench.call(|session, now_ms, fx| {
        session.detach(peer, now_ms, fx);
    });
    let again = bench.synced(Hocuspocus);
    bench.update(again, Hocuspocus, &typed(1, 0, "a"));
    assert_eq!(bench.told(again), [not_saved()]);
    assert_eq!(bench.appended.len(), 1);
}

#[test]
fn a_plain_device_reads_what_is_durable_after_the_store_failed() {
    let mut bench = Bench::new(Settings::default());
    let peer = bench.synced(Plain);
    bench.update(peer, Plain, &typed(1, 0, "never saved"));
    bench.call(|session, now_ms, fx| session.store_failed("the disk is full", now_ms, fx));
    bench.call(|session, now_ms, fx| {
        session.detach(peer, now_ms, fx);
    });
    let reader = bench.join(Plain, Access::Write);
    bench.step1(reader, Plain, &[0]);
    assert_eq!(bench.told(reader)[0], frame(Plain, &Reply::SyncStep2(&[0, 0])), "it waits for nothing");
}

#[test]
fn what_was_on_the_pool_when_the_store_failed_is_shown_to_nobody() {
    let mut bench = Bench::new(Settings { heavy_document_bytes: 4, ..Settings::default() });
    let peer = bench.synced(Hocuspocus);
    bench.update(peer, Hocuspocus, &typed(1, 0, "never saved"));
    bench.by_hand = true;
    bench.step1(peer, Hocuspocus, &[0]);
    let Some(Effect::Work(job)) = bench.asked.pop() else { panic!("a job for the pool") };
    bench.call(|session, now_ms, fx| session.store_failed("the disk is full", now_ms, fx));
    let done = job.run();
    bench.call(|session, now_ms, fx| session.worked(done, now_ms, fx));
    assert!(bench.told(peer).is_empty());
    assert!(!bench.session.is_open(), "it is read again from what is durable");
}

#[test]
fn a_document_that_cannot_be_read_is_never_shown_empty() {
    let mut bench = Bench::new(Settings::default());
    bench.by_hand = true;
    let peer = bench.join(Plain, Access::Write);
    bench.step1(peer, Plain, &[0]);
    assert!(bench.told(peer).is_empty());
    bench.call(|session, now_ms, fx| session.loaded(Err("damaged".to_owned()), now_ms, fx));
    let told = bench.told(peer);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with(&[2, 0]), "a reason, and no SyncStep2");
    bench.update(peer, Plain, &typed(1, 0, "a"));
    assert!(bench.appended.is_empty());
    assert!(
        matches!(bench.asked.last(), Some(Effect::End { ending: Ending::TryLater(_), .. })),
        "its edit waits on the device"
    );
}

#[test]
fn a_server_edit_is_shown_to_nobody_before_it_is_durable() {
    let mut bench = Bench::new(Settings::default());
    let peer = bench.synced(Hocuspocus);
    let update = Bytes::from(typed(5, 0, "server"));
    let origin = Origin { user: None, device: None, at_ms: 0 };
    bench.call(|session, now_ms, fx| session.edit(Edit(1), update.clone(), origin, now_ms, fx));
    bench.step1(peer, Hocuspocus, &[0]);
    assert!(bench.told(peer).is_empty(), "not even in a SyncStep2");
    bench.commit();
    assert_eq!(bench.told(peer)[0], frame(Hocuspocus, &Reply::SyncStep2(&update)));
    assert!(bench.asked.iter().any(|effect| matches!(effect, Effect::EditSaved(Edit(1)))));
}

#[test]
fn only_the_newest_holder_of_an_awareness_id_speaks_for_it() {
    let mut bench = Bench::new(Settings::default());
    let (ada, bob) = (bench.synced(Plain), bench.synced(Plain));
    bench.awareness(ada, Plain, &[(7, 1, "{}")]);
    assert_eq!(bench.told(bob), [frame(Plain, &Reply::Awareness(&awareness(&[(7, 1, "{}")])))]);
    bench.sent.clear();
    bench.awareness(bob, Plain, &[(8, 1, "{}")]);
    bench.sent.clear();
    bench.awareness(bob, Plain, &[(7, 9, "{}"), (8, 2, "{}")]);
    assert_eq!(bench.told(ada), [frame(Plain, &Reply::Awareness(&awareness(&[(8, 2, "{}")])))]);
    bench.sent.clear();
    bench.call(|session, now_ms, fx| {
        session.detach(bob, now_ms, fx);
    });
    let gone = frame(Plain, &Reply::Awareness(&awareness(&[(8, 2, "null")])));
    assert_eq!(bench.told(ada), [gone], "the clock is kept");
    bench.tick_at(40_000);
    let gone = frame(Plain, &Reply::Awareness(&awareness(&[(7, 1, "null")])));
    assert_eq!(bench.told(ada), [gone], "not renewed for 30 s");
}

#[test]
fn a_hidden_peer_gets_its_updates_together() {
    let mut bench = Bench::new(Settings::default());
    let (hidden, writer) = (bench.synced(Hocuspocus), bench.synced(Hocuspocus));
    bench.json(hidden, r#"{"type":"visibility","hidden":true}"#);
    bench.update(writer, Hocuspocus, &typed(1, 0, "a"));
    bench.update(writer, Hocuspocus, &typed(1, 1, "b"));
    assert!(bench.told(hidden).is_empty());
    bench.json(hidden, r#"{"type":"visibility","hidden":false}"#);
    assert_eq!(bench.told(hidden).len(), 1, "merged");
    bench.update(writer, Hocuspocus, &typed(1, 2, "c"));
    assert_eq!(bench.told(hidden), [frame(Hocuspocus, &Reply::Update(&typed(1, 2, "c")))]);
}

#[test]
fn a_document_is_not_evicted_while_an_ack_is_owed() {
    let mut bench = Bench::new(Settings { evict_after_ms: 10, ..Settings::default() });
    let peer = bench.synced(Hocuspocus);
    bench.update(peer, Hocuspocus, &typed(1, 0, "a"));
    bench.tick_at(1_000);
    assert!(bench.session.is_open() && !bench.session.is_settled());
    bench.commit();
    bench.tick_at(2_000);
    assert!(
        bench.asked.iter().any(|effect| matches!(effect, Effect::Checkpoint(made) if made.sequence == 1))
    );
    assert!(!bench.session.is_open(), "folded, then out of memory");
    bench.step1(peer, Hocuspocus, &holds(1, 1));
    assert!(bench.session.is_open());
}
