//! When each dialect is told that an edit is saved: the contract's table, row by row.

#![allow(missing_docs)]

mod support;

use support::{Bench, deleted, frame, holds, not_saved, saved, typed};
use syncline_document::record::EntryKind;
use syncline_protocol::frame::{
    Dialect::{Hocuspocus, Plain, Ysweet},
    EMPTY_AWARENESS, Reply,
};
use syncline_sync::{Access, Effect, Settings};

#[test]
fn hocuspocus_gets_one_status_for_each_update_once_it_is_durable() {
    let mut bench = Bench::new(Settings::default());
    let peer = bench.synced(Hocuspocus);
    bench.update(peer, Hocuspocus, &typed(1, 0, "a"));
    bench.update(peer, Hocuspocus, &typed(1, 1, "b"));
    bench.update(peer, Hocuspocus, &deleted(1, 0, 1));
    assert!(bench.told(peer).is_empty(), "nothing is saved yet");
    bench.commit();
    assert_eq!(bench.told(peer), [saved(), saved(), saved()]);
    bench.update(peer, Hocuspocus, &typed(1, 0, "a"));
    assert_eq!(bench.told(peer), [saved()], "what brings nothing new is counted by the client too");
}

#[test]
fn an_update_before_the_sync_step_2_is_acknowledged_after_it() {
    let mut bench = Bench::new(Settings::default());
    let peer = bench.join(Hocuspocus, Access::Write);
    bench.step1(peer, Hocuspocus, &[0]);
    bench.update(peer, Hocuspocus, &typed(1, 0, "a"));
    bench.commit();
    assert!(!bench.told(peer).contains(&saved()));
    bench.step2(peer, Hocuspocus, &[0, 0]);
    assert_eq!(bench.told(peer), [saved(), saved()]);
}

#[test]
fn edits_queued_without_a_connection_earn_the_one_ack_of_the_sync() {
    let mut bench = Bench::new(Settings::default());
    let peer = bench.join(Hocuspocus, Access::Write);
    bench.step1(peer, Hocuspocus, &holds(1, 2));
    bench.update(peer, Hocuspocus, &typed(1, 0, "a"));
    bench.update(peer, Hocuspocus, &typed(1, 1, "b"));
    bench.update(peer, Hocuspocus, &deleted(1, 0, 1));
    // Made after the connection was there, so counted.
    bench.update(peer, Hocuspocus, &typed(1, 2, "c"));
    bench.step2(peer, Hocuspocus, &deleted(1, 0, 1));
    bench.told(peer);
    bench.commit();
    assert_eq!(bench.told(peer), [saved(), saved()]);
}

#[test]
fn a_repeated_sync_step_1_voids_what_was_owed() {
    let mut bench = Bench::new(Settings::default());
    let peer = bench.synced(Hocuspocus);
    bench.update(peer, Hocuspocus, &typed(1, 0, "a"));
    bench.step1(peer, Hocuspocus, &holds(1, 1));
    bench.told(peer);
    bench.commit();
    assert!(bench.told(peer).is_empty(), "the client counts from one again");
    bench.step2(peer, Hocuspocus, &typed(1, 0, "a"));
    assert_eq!(bench.told(peer), [saved()]);
}

#[test]
fn a_plain_sender_gets_its_update_back_once_it_is_durable() {
    let mut bench = Bench::new(Settings::default());
    let (sender, other, third) = (bench.synced(Plain), bench.synced(Plain), bench.synced(Hocuspocus));
    let update = typed(1, 0, "a");
    bench.update(sender, Plain, &update);
    assert!(bench.told(sender).is_empty());
    assert!(bench.told(other).is_empty(), "a plain client takes any frame for a confirmation");
    assert_eq!(bench.told(third), [frame(Hocuspocus, &Reply::Update(&update))], "this one counts: at once");
    bench.commit();
    assert_eq!(bench.told(sender), [frame(Plain, &Reply::Update(&update))]);
    assert_eq!(bench.told(other), [frame(Plain, &Reply::Update(&update))]);
    assert!(bench.told(third).is_empty());
}

#[test]
fn a_plain_sync_step_2_comes_back_unless_it_is_empty() {
    let mut bench = Bench::new(Settings::default());
    let peer = bench.join(Plain, Access::Write);
    bench.step1(peer, Plain, &holds(1, 1));
    bench.told(peer);
    bench.step2(peer, Plain, &typed(1, 0, "a"));
    bench.commit();
    assert_eq!(bench.told(peer), [frame(Plain, &Reply::Update(&typed(1, 0, "a")))]);
    let empty = bench.synced(Plain);
    assert!(bench.told(empty).is_empty());
}

#[test]
fn an_edit_whose_echo_was_lost_is_confirmed_after_the_resync() {
    let mut bench = Bench::new(Settings::default());
    let first = bench.synced(Plain);
    bench.update(first, Plain, &typed(7, 0, "abcdef"));
    bench.commit();
    bench.call(|session, now_ms, fx| {
        session.detach(first, now_ms, fx);
    });
    let again = bench.join(Plain, Access::Write);
    bench.step1(again, Plain, &holds(7, 6));
    bench.told(again);
    bench.step2(again, Plain, &[0, 0]);
    assert_eq!(
        bench.told(again),
        [&[0, 2, 7, 1, 1, 7, 0, 0, 6, 0][..]],
        "its ids come back as collected blocks"
    );
}

#[test]
fn a_y_sweet_version_is_held_until_everything_before_it_is_durable() {
    let mut bench = Bench::new(Settings::default());
    let peer = bench.join(Ysweet, Access::Write);
    let alive = frame(Ysweet, &Reply::Awareness(EMPTY_AWARENESS));
    bench.step1(peer, Ysweet, &holds(1, 1));
    bench.told(peer);
    bench.version(peer, 3);
    assert_eq!(
        bench.told(peer),
        std::slice::from_ref(&alive),
        "some frame has to come, no version is saved yet"
    );
    bench.step2(peer, Ysweet, &typed(1, 0, "a"));
    assert!(bench.told(peer).is_empty());
    bench.commit();
    assert_eq!(bench.told(peer), [frame(Ysweet, &Reply::Version(3))]);
    bench.update(peer, Ysweet, &typed(1, 1, "b"));
    bench.version(peer, 4);
    assert_eq!(bench.told(peer), [frame(Ysweet, &Reply::Version(3))], "the last one that is durable");
    bench.commit();
    assert_eq!(bench.told(peer), [frame(Ysweet, &Reply::Version(4))], "no echo");
}

#[test]
fn nothing_overtakes_an_update_that_is_on_the_pool() {
    let mut bench = Bench::new(Settings { heavy_bytes: 8, ..Settings::default() });
    let peer = bench.synced(Ysweet);
    bench.version(peer, 0);
    bench.told(peer);
    bench.by_hand = true;
    bench.update(peer, Ysweet, &typed(1, 0, "a long text for the pool"));
    bench.version(peer, 1);
    assert!(bench.told(peer).is_empty());
    let Some(Effect::Work(job)) = bench.asked.pop() else { panic!("a job for the pool") };
    let done = job.run();
    bench.call(|session, now_ms, fx| session.worked(done, now_ms, fx));
    assert_eq!(bench.told(peer), [frame(Ysweet, &Reply::Version(0))]);
    bench.commit();
    assert_eq!(bench.told(peer), [frame(Ysweet, &Reply::Version(1))]);
}

#[test]
fn a_gap_is_parked_asked_for_once_and_released() {
    let mut bench = Bench::new(Settings::default());
    let peer = bench.synced(Hocuspocus);
    bench.update(peer, Hocuspocus, &typed(1, 1, "b"));
    bench.update(peer, Hocuspocus, &typed(1, 2, "c"));
    assert_eq!(bench.told(peer), [frame(Hocuspocus, &Reply::SyncStep1(&[0]))], "one question is enough");
    assert!(bench.appended.is_empty());
    bench.step2(peer, Hocuspocus, &typed(1, 0, "a"));
    assert_eq!(bench.kinds(), [EntryKind::Update; 3]);
    bench.commit();
    assert_eq!(bench.told(peer), [saved(), saved()], "the SyncStep2 that was asked for earns none");
}

#[test]
fn a_sync_step_2_with_a_gap_is_cut_and_its_rest_is_kept() {
    let mut bench = Bench::new(Settings::default());
    let peer = bench.join(Hocuspocus, Access::Write);
    let other = bench.synced(Hocuspocus);
    bench.step1(peer, Hocuspocus, &[0]);
    bench.told(peer);
    // Client 9 is whole, client 1 lacks its first clock.
    let (whole, gap) = (typed(9, 0, "w"), typed(1, 1, "b"));
    let both = [&[2][..], &whole[1..whole.len() - 1], &gap[1..]].concat();
    bench.step2(peer, Hocuspocus, &both);
    assert_eq!(bench.kinds(), [EntryKind::Update, EntryKind::Pending]);
    assert!(bench.told(peer).is_empty(), "it is not asked again");
    assert_eq!(bench.told(other).len(), 1, "what could be applied is relayed");
    bench.commit();
    assert_eq!(bench.told(peer), [saved()]);
    bench.update(other, Hocuspocus, &typed(1, 0, "a"));
    let now_ms = bench.now_ms;
    bench.tick_at(now_ms + 1);
    assert_eq!(bench.kinds().last(), Some(&EntryKind::Update), "what was kept is applied when it can be");
    assert_eq!(bench.appended.len(), 4);
}

#[test]
fn a_cut_sync_step_2_is_saved_once_both_of_its_parts_are() {
    let (gap, whole) = (typed(1, 1, "b"), typed(9, 0, "w"));
    let both = [&[2][..], &whole[1..whole.len() - 1], &gap[1..]].concat();
    let mut bench = Bench::new(Settings::default());
    let peer = bench.join(Hocuspocus, Access::Write);
    bench.step1(peer, Hocuspocus, &[0]);
    bench.told(peer);
    bench.step2(peer, Hocuspocus, &both);
    bench.call(|session, now_ms, fx| session.durable(1, now_ms, fx));
    assert!(bench.told(peer).is_empty(), "what waits is not on disk");
    bench.call(|session, now_ms, fx| session.durable(2, now_ms, fx));
    assert_eq!(bench.told(peer), [saved()]);

    // What waits is on disk already, what is applied is not.
    let more = typed(9, 1, "x");
    let both = [&[2][..], &more[1..more.len() - 1], &gap[1..]].concat();
    bench.step1(peer, Hocuspocus, &[0]);
    bench.told(peer);
    bench.step2(peer, Hocuspocus, &both);
    assert_eq!(bench.kinds(), [EntryKind::Update, EntryKind::Pending, EntryKind::Update], "it is kept once");
    assert!(bench.told(peer).is_empty());
    bench.commit();
    assert_eq!(bench.told(peer), [saved()]);
}

#[test]
fn what_waits_for_missing_edits_is_tried_until_they_come() {
    let mut bench = Bench::new(Settings { fold_updates: 3, ..Settings::default() });
    let writer = bench.synced(Hocuspocus);
    for client in [1, 2] {
        let peer = bench.join(Hocuspocus, Access::Write);
        bench.step1(peer, Hocuspocus, &[0]);
        bench.step2(peer, Hocuspocus, &typed(client, 1, "b"));
    }
    bench.update(writer, Hocuspocus, &typed(5, 0, "of no help"));
    bench.commit();
    bench.tick_at(100);
    let Some(Effect::Checkpoint(made)) = bench.asked.pop() else { panic!("a checkpoint") };
    assert_eq!(made.pending.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2]);
    for (client, at_ms) in [(2, 200), (1, 300)] {
        bench.update(writer, Hocuspocus, &typed(client, 0, "a"));
        bench.tick_at(at_ms);
    }
    assert_eq!(bench.kinds()[3..], [EntryKind::Update; 4], "both are applied");
    bench.commit();
    bench.tick_at(400);
    let Some(Effect::Checkpoint(made)) = bench.asked.pop() else { panic!("a checkpoint") };
    assert!(made.pending.is_empty());
}

#[test]
fn what_is_refused_while_it_waits_goes_on_waiting() {
    let settings = Settings { document_bytes: 30, fold_updates: 3, ..Settings::default() };
    let mut bench = Bench::new(settings);
    let (peer, writer) = (bench.join(Hocuspocus, Access::Write), bench.synced(Hocuspocus));
    bench.step1(peer, Hocuspocus, &[0]);
    bench.step2(peer, Hocuspocus, &typed(1, 1, "b"));
    bench.update(writer, Hocuspocus, &typed(1, 0, "a"));
    bench.update(writer, Hocuspocus, &typed(5, 0, "full"));
    bench.commit();
    bench.tick_at(100);
    let Some(Effect::Checkpoint(made)) = bench.asked.pop() else { panic!("a checkpoint") };
    assert_eq!(made.pending.len(), 1, "there is no room for it, and it is not lost");
    let refused = |effect: &Effect| matches!(effect, Effect::Refused(_));
    assert!(!bench.asked.iter().any(refused), "it was counted when it came");
}

#[test]
fn many_small_edits_with_a_gap_count_for_what_they_take() {
    let mut bench = Bench::new(Settings { pending_bytes: 1_000, ..Settings::default() });
    let peer = bench.synced(Hocuspocus);
    for clock in 1..4 {
        bench.update(peer, Hocuspocus, &typed(1, clock, "b"));
    }
    assert!(!bench.told(peer).contains(&not_saved()));
    bench.update(peer, Hocuspocus, &typed(1, 4, "b"));
    assert!(bench.told(peer).contains(&not_saved()), "three fit");
}

#[test]
fn a_reader_is_told_that_its_edits_are_not_saved() {
    let mut bench = Bench::new(Settings::default());
    let writer = bench.synced(Hocuspocus);
    bench.update(writer, Hocuspocus, &typed(1, 0, "a"));
    bench.commit();
    let reader = bench.join(Hocuspocus, Access::Read);
    bench.step1(reader, Hocuspocus, &holds(1, 1));
    bench.told(reader);
    bench.step2(reader, Hocuspocus, &typed(1, 0, "a"));
    assert_eq!(bench.told(reader), [saved()], "it holds nothing new");
    bench.update(reader, Hocuspocus, &typed(2, 0, "x"));
    assert_eq!(bench.told(reader), [not_saved()]);
    bench.step1(reader, Hocuspocus, &holds(1, 1));
    bench.told(reader);
    bench.step2(reader, Hocuspocus, &deleted(1, 0, 1));
    assert_eq!(bench.told(reader), [not_saved()], "a deletion is new");
    assert_eq!(bench.appended.len(), 1);
    let plain = bench.join(Plain, Access::Read);
    bench.step1(plain, Plain, &[0]);
    bench.step2(plain, Plain, &[0, 0]);
    bench.told(plain);
    bench.update(plain, Plain, &typed(3, 0, "x"));
    bench.update(plain, Plain, &typed(3, 1, "y"));
    assert_eq!(bench.told(plain), [frame(Plain, &Reply::Denied("read-only"))], "once a connection");
}
