//! What waits in many documents is bounded by one budget.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;

use support::{Bench, typed};
use syncline_protocol::frame::Dialect;
use syncline_sync::{Access, Budget, Effect, Ending, Settings};

const PLAIN: Dialect = Dialect::Plain;

fn settings(budget: &Arc<Budget>) -> Settings {
    Settings { waiting_pool: budget.clone(), ..Settings::default() }
}

/// Takes the words with which a connection was sent away for a while.
fn sent_away(bench: &mut Bench) -> Option<String> {
    bench.asked.drain(..).find_map(|effect| match effect {
        Effect::End { ending: Ending::TryLater(reason), .. } => Some(reason),
        _ => None,
    })
}

#[test]
fn parked_updates_of_all_documents_share_a_budget() {
    let budget = Arc::new(Budget::new(3_000, 100));
    let mut benches: Vec<Bench> = (0..3).map(|n| Bench::of(&format!("ada/{n}"), settings(&budget))).collect();
    let peers: Vec<_> = benches.iter_mut().map(|bench| bench.synced(PLAIN)).collect();
    // Each has a gap: the first letters never came. What it takes is held once parked, once to be echoed.
    let gappy = |n: u64| typed(7, 10 * n, &"x".repeat(500));
    for at in [0, 1] {
        benches[at].update(peers[at], PLAIN, &gappy(1));
        assert_eq!(sent_away(&mut benches[at]), None);
    }
    let before = budget.held();
    assert!((2_000..3_000).contains(&before), "{before}");
    benches[2].update(peers[2], PLAIN, &gappy(1));
    let reason = sent_away(&mut benches[2]).expect("there is no room");
    assert!(reason.contains("reconnect"), "{reason}");
    // Who goes, or syncs again, gives back what it had.
    benches[0].call(|session, now_ms, fx| {
        session.detach(peers[0], now_ms, fx);
    });
    assert!(budget.held() < before);
    benches[1].step1(peers[1], PLAIN, &[0]);
    benches.truncate(2);
    assert_eq!(budget.held(), 0);
    let again = benches[0].synced(PLAIN);
    benches[0].update(again, PLAIN, &gappy(2));
    assert_eq!(sent_away(&mut benches[0]), None);
    drop(benches);
    assert_eq!(budget.held(), 0);
}

#[test]
fn what_waits_for_documents_that_are_loaded_shares_it_too() {
    let budget = Arc::new(Budget::new(2_000, 400));
    let mut benches: Vec<Bench> = (0..2).map(|n| Bench::of(&format!("ada/{n}"), settings(&budget))).collect();
    let update = typed(7, 0, &"x".repeat(1_500));
    let peers: Vec<_> = benches
        .iter_mut()
        .map(|bench| {
            bench.by_hand = true;
            bench.join(Dialect::Hocuspocus, Access::Write)
        })
        .collect();
    benches[0].update(peers[0], Dialect::Hocuspocus, &update);
    assert_eq!(sent_away(&mut benches[0]), None);
    benches[1].update(peers[1], Dialect::Hocuspocus, &update);
    assert!(sent_away(&mut benches[1]).is_some_and(|reason| reason.contains("reconnect")));
    benches[0].call(|session, now_ms, fx| session.loaded(Ok(None), now_ms, fx));
    assert_eq!(budget.held(), 0);
}
