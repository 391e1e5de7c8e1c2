//! Many seeds, each a whole life of devices, network, crashes and power cuts. A failing one says how to see it
//! again.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use syncline_testkit::{DevicePlan, Outcome, Page, Plan, World};

fn run(seed: u64) -> Outcome {
    World::new(Plan::new(seed)).expect("a world").run()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_seed_becomes_quiet_with_every_promise_kept() {
    let (first, count) = match number("SYNCLINE_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("SYNCLINE_SEEDS").unwrap_or(500)),
    };
    let next = AtomicU64::new(first);
    let failures = Mutex::new(Vec::new());
    let (edits, saved, crashes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (messages, heals) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let outcome = run(seed);
                    edits.fetch_add(outcome.edits, Ordering::Relaxed);
                    saved.fetch_add(outcome.saved, Ordering::Relaxed);
                    crashes.fetch_add(outcome.crashes, Ordering::Relaxed);
                    messages.fetch_add(outcome.order.len() as u64, Ordering::Relaxed);
                    heals.fetch_add(outcome.heals, Ordering::Relaxed);
                    if let Some(violation) = outcome.violation {
                        eprintln!("SYNCLINE_SEED={seed} cargo test -p syncline-testkit --test seeds");
                        eprintln!("  {:?} at {} ms: {}", violation.check, violation.at_ms, violation.text);
                        failures.lock().expect("no panic").push(seed);
                    }
                }
            });
        }
    });
    eprintln!(
        "{count} seeds: {edits:?} edits, {saved:?} times saved, {crashes:?} crashes, {messages:?} messages, \
         {heals:?} heals"
    );
    let mut failures = failures.into_inner().expect("no panic");
    failures.sort_unstable();
    assert!(failures.is_empty(), "{} of {count} seeds fail: {failures:?}", failures.len());
    if count > 10 {
        // A simulation in which nothing happens proves nothing.
        assert!(
            edits.into_inner() > 10 * count
                && saved.into_inner() > 10 * count
                && crashes.into_inner() > count / 2
                && messages.into_inner() > 5 * count
                && heals.into_inner() > count
        );
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [1, 7, 23, 400] {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

#[test]
fn no_order_depends_on_a_clock() {
    let mut messages = 0;
    for seed in 0..25 {
        let told = |clocks| {
            let plan = Plan { documents: vec![Page::Conversation], clocks, ..Plan::new(seed) };
            let devices = plan.devices.iter().cloned();
            let devices = devices.map(|device| DevicePlan { document: 0, ..device }).collect();
            World::new(Plan { devices, ..plan }).expect("a world").run()
        };
        // Only what the heads of messages say of their time differs.
        let (one, other) = (told(seed), told(!seed));
        assert_eq!(one, other, "seed {seed}");
        messages += one.order.len();
    }
    assert!(messages > 250, "{messages} messages prove nothing");
}
