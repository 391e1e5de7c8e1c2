//! A document that is loading or on the pool for too long: refused, until the work comes back.

#![allow(missing_docs)]

mod support;

use bytes::Bytes;
use support::{Bench, frame, typed};
use syncline_document::record::Origin;
use syncline_protocol::frame::{
    Dialect::{Hocuspocus, Plain, Ysweet},
    Reply,
};
use syncline_sync::{Access, Edit, Effect, Ending, PeerId, Settings};

fn sent_away(bench: &Bench) -> Vec<PeerId> {
    let ends = |effect: &Effect| match effect {
        Effect::End { peer, ending: Ending::TryLater(_) } => Some(*peer),
        _ => None,
    };
    bench.asked.iter().filter_map(ends).collect()
}

/// A document whose load does not come back.
fn loading(busy_ms: u64) -> (Bench, PeerId) {
    let mut bench = Bench::new(Settings { busy_ms, ..Settings::default() });
    bench.by_hand = true;
    let peer = bench.join(Plain, Access::Write);
    bench.step1(peer, Plain, &[0]);
    (bench, peer)
}

#[test]
fn a_document_that_hangs_refuses_what_waits_and_what_comes() {
    let (mut bench, first) = loading(1_000);
    bench.now_ms = 999;
    let second = bench.join(Hocuspocus, Access::Write);
    bench.step1(second, Hocuspocus, &[0]);
    assert!(sent_away(&bench).is_empty(), "it may take that long");
    assert_eq!(bench.session.next_tick_ms(), Some(1_000));
    bench.tick_at(1_000);
    assert_eq!(sent_away(&bench), [first, second]);
    assert_eq!(bench.session.waiting_bytes(), 0);
    let third = bench.join(Plain, Access::Write);
    bench.step1(third, Plain, &[0]);
    assert_eq!(sent_away(&bench), [first, second, third]);
    assert_eq!(bench.session.waiting_bytes(), 0);
    bench.call(|session, now_ms, fx| session.loaded(Ok(None), now_ms, fx));
    let fourth = bench.join(Plain, Access::Write);
    bench.step1(fourth, Plain, &[0]);
    assert_eq!(bench.told(fourth).len(), 2, "the work came back");
    assert_eq!(sent_away(&bench).len(), 3);
}

#[test]
fn who_was_sent_away_finds_the_document_open() {
    let (mut bench, _) = loading(1_000);
    bench.tick_at(40_000);
    bench.call(|session, now_ms, fx| session.loaded(Ok(None), now_ms, fx));
    bench.tick_at(41_000);
    assert!(bench.session.is_open(), "it took longer to load than an unused document stays");
}

#[test]
fn a_server_edit_does_not_wait_for_a_document_that_hangs() {
    let (mut bench, _) = loading(1_000);
    let update = Bytes::from(typed(5, 0, "server"));
    let submit = |bench: &mut Bench, number| {
        let (update, origin) = (update.clone(), Origin { user: None, device: None, at_ms: 0 });
        bench.call(|session, now_ms, fx| session.edit(Edit(number), update, origin, now_ms, fx));
    };
    submit(&mut bench, 1);
    bench.tick_at(1_000);
    submit(&mut bench, 2);
    let refused = |effect: &Effect| match effect {
        Effect::EditRefused(edit, ..) => Some(*edit),
        _ => None,
    };
    let refused: Vec<Edit> = bench.asked.iter().filter_map(refused).collect();
    assert_eq!(refused, [Edit(1), Edit(2)]);
    bench.call(|session, now_ms, fx| session.loaded(Ok(None), now_ms, fx));
    assert!(bench.appended.is_empty());
}

#[test]
fn what_a_peer_sent_before_it_left_waits_on() {
    let (mut bench, peer) = loading(1_000);
    bench.update(peer, Plain, &typed(1, 0, "a"));
    bench.call(|session, now_ms, fx| {
        session.detach(peer, now_ms, fx);
    });
    bench.tick_at(1_000);
    bench.call(|session, now_ms, fx| session.loaded(Ok(None), now_ms, fx));
    assert_eq!(bench.appended.len(), 1);
}

#[test]
fn nothing_is_acknowledged_that_comes_after_an_edit_that_was_turned_away() {
    let mut bench = Bench::new(Settings { heavy_bytes: 30, waiting_bytes: 300, ..Settings::default() });
    let (peer, other) = (bench.synced(Ysweet), bench.synced(Hocuspocus));
    bench.by_hand = true;
    bench.update(other, Hocuspocus, &typed(2, 0, &"o".repeat(50)));
    bench.update(peer, Ysweet, &typed(1, 0, &"x".repeat(400)));
    assert_eq!(sent_away(&bench), [peer], "no room for it");
    bench.version(peer, 7);
    let job = bench.asked.iter().position(|effect| matches!(effect, Effect::Work(_)));
    let Effect::Work(job) = bench.asked.remove(job.expect("a job")) else { panic!("a job") };
    let done = job.run();
    bench.call(|session, now_ms, fx| session.worked(done, now_ms, fx));
    bench.commit();
    assert!(!bench.told(peer).contains(&frame(Ysweet, &Reply::Version(7))), "7 speaks for that edit");
}
