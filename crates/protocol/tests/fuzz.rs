//! Hostile traffic: honest updates mutated, and updates made up from a grammar. What the checker calls whole is applied
//! to yrs; it must not panic, crash, hang, or leave a document that cannot be written, read back or cleared.
//!
//! SYNCLINE_FUZZ_SECONDS (default 5) says for how long, SYNCLINE_SEED where to start. Freed memory is poisoned and kept
//! back for a while, so that a use after free shows itself. A crash that kills the process leaves the seed of its case in
//! the file that SYNCLINE_FUZZ_TRACE names.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{Seek, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use support::{apply, content, edit, hex, new_doc, seed, unhex};
use syncline_protocol::{
    known::{Known, Verdict},
    lib0::{write_str, write_var_uint},
    limits::Limits,
};
use yrs::{Doc, ReadTxn, StateVector, Transact, Update, updates::decoder::Decode};

/// Fills what is freed and keeps it from being used again for the next 32,768 frees.
struct Poison;

const RING: usize = 32_768;
static POISON: AtomicBool = AtomicBool::new(false);
static SLOT: AtomicUsize = AtomicUsize::new(0);
static KEPT: [Mutex<(usize, Layout)>; RING] = [const { Mutex::new((0, Layout::new::<u8>())) }; RING];

// SAFETY: memory comes from `System` and goes back to it with its own layout, later than asked.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Poison {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if !POISON.load(Ordering::Relaxed) || layout.size() > 1024 {
            return unsafe { System.dealloc(pointer, layout) };
        }
        unsafe { pointer.write_bytes(0xde, layout.size()) };
        let slot = SLOT.fetch_add(1, Ordering::Relaxed) % RING;
        let Ok(mut kept) = KEPT[slot].lock() else { return };
        let (old, old_layout) = std::mem::replace(&mut *kept, (pointer as usize, layout));
        drop(kept);
        if old != 0 {
            unsafe { System.dealloc(old as *mut u8, old_layout) };
        }
    }
}

#[global_allocator]
static ALLOCATOR: Poison = Poison;

/// Counts what came of the cases, so that a run that tests nothing shows.
#[derive(Default)]
struct Tally {
    refused: AtomicU64,
    gaps: AtomicU64,
    whole: AtomicU64,
}

static TALLY: Tally = Tally { refused: AtomicU64::new(0), gaps: AtomicU64::new(0), whole: AtomicU64::new(0) };

/// Makes up an update from a few clients, clocks and names, so that references often meet something.
fn grammar(rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    let clients = rng.u64(0..4);
    write_var_uint(&mut out, clients);
    let mut ids: Vec<u64> = vec![1, 2, 3, 4];
    rng.shuffle(&mut ids);
    for client in ids.iter().take(clients as usize) {
        let blocks = rng.u64(1..6);
        write_var_uint(&mut out, blocks);
        write_var_uint(&mut out, *client);
        write_var_uint(&mut out, small(rng));
        for _ in 0..blocks {
            block(rng, &mut out);
        }
    }
    delete_set(rng, &mut out);
    out
}

fn small(rng: &mut Rng) -> u64 {
    if rng.bool() { 0 } else { rng.u64(0..12) }
}

fn id(rng: &mut Rng, out: &mut Vec<u8>) {
    write_var_uint(out, rng.u64(1..5));
    write_var_uint(out, rng.u64(0..14));
}

fn block(rng: &mut Rng, out: &mut Vec<u8>) {
    let kind = [0, 1, 1, 3, 4, 4, 4, 5, 6, 6, 7, 7, 7, 7, 8, 8, 8, 10][rng.usize(0..18)];
    if matches!(kind, 0 | 10) {
        out.push(kind);
        write_var_uint(out, rng.u64(1..4));
        return;
    }
    let flags = [0, 0, 0x20, 0x20, 0x80, 0x80, 0x40, 0xc0, 0xa0][rng.usize(0..9)];
    out.push(kind | flags);
    if flags & 0x80 != 0 {
        id(rng, out);
    }
    if flags & 0x40 != 0 {
        id(rng, out);
    }
    if flags & 0xc0 == 0 {
        if rng.bool() {
            out.push(1);
            write_str(out, ["a", "m", "t", "x"][rng.usize(0..4)]);
        } else {
            out.push(0);
            id(rng, out);
        }
        if flags & 0x20 != 0 {
            write_str(out, ["k", "l"][rng.usize(0..2)]);
        }
    }
    match kind {
        1 => write_var_uint(out, rng.u64(1..4)),
        3 => write_str(out, "bin"),
        4 => write_str(out, ["a", "xyz", "\u{1f642}", "ab"][rng.usize(0..4)]),
        5 => write_str(out, ["{}", "1", "[[]]"][rng.usize(0..3)]),
        6 => {
            write_str(out, ["b", "i"][rng.usize(0..2)]);
            write_str(out, ["null", "true", "\"x\""][rng.usize(0..3)]);
        }
        7 => match rng.u8(0..6) {
            3 => {
                out.push(3);
                write_str(out, "p");
            }
            5 => out.push(6),
            other => out.push(other),
        },
        _ => {
            let count = rng.u64(1..4);
            write_var_uint(out, count);
            (0..count).for_each(|_| out.push(126));
        }
    }
}

fn delete_set(rng: &mut Rng, out: &mut Vec<u8>) {
    let clients = rng.u64(0..4);
    write_var_uint(out, clients);
    for client in 1..=clients {
        let ranges = rng.u64(1..4);
        write_var_uint(out, client);
        write_var_uint(out, ranges);
        let mut at = 0;
        for _ in 0..ranges {
            let start = at + rng.u64(0..4);
            let len = rng.u64(1..4);
            write_var_uint(out, start);
            write_var_uint(out, len);
            at = start + len;
        }
    }
}

fn mutate(update: &[u8], others: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut out = update.to_vec();
    for _ in 0..=rng.usize(0..4) {
        if out.is_empty() {
            break;
        }
        let at = rng.usize(0..out.len());
        match rng.u8(0..8) {
            0 => out[at] ^= 1 << rng.u8(0..8),
            1 | 2 => out[at] = rng.u8(0..16),
            3 => out.truncate(at),
            4 => {
                out.remove(at);
            }
            5 => {
                let mut number = Vec::new();
                write_var_uint(&mut number, [0, 1, 2, 127, 128, 1 << 31, (1 << 53) - 1][rng.usize(0..7)]);
                out.splice(at..at, number);
            }
            6 => out[at] = out[at].wrapping_add(1),
            _ => {
                let other = &others[rng.usize(0..others.len())];
                if !other.is_empty() {
                    let from = rng.usize(0..other.len());
                    let to = rng.usize(from..=other.len().min(from + 24));
                    out.splice(at..at, other[from..to].iter().copied());
                }
            }
        }
    }
    out
}

/// The updates that broke yrs, as found by others, and some that broke this checker once.
fn hostile() -> Vec<Vec<u8>> {
    let file = std::fs::read_to_string("../../tests/vectors/hostile-updates.json").unwrap();
    let json: serde_json::Value = serde_json::from_str(&file).unwrap();
    let cases = json["updates"].as_array().unwrap();
    cases
        .iter()
        .flat_map(|case| case["hex"].as_array().unwrap())
        .map(|text| unhex(text.as_str().unwrap()))
        .collect()
}

/// A document under attack.
struct Target {
    doc: Doc,
    known: Known,
    log: Vec<Vec<u8>>,
}

impl Target {
    fn receive(&mut self, update: &[u8], depth: usize) {
        match self.known.judge(update, &Limits::default()) {
            Err(_) => {
                TALLY.refused.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Verdict::Gap(gap)) => {
                TALLY.gaps.fetch_add(1, Ordering::Relaxed);
                assert!(depth < 2, "a closed part has no gap: {}", hex(update));
                if let Some(closed) = gap.closed {
                    self.receive(&closed, depth + 1);
                }
                // What is left is a gap still, or an offence that shows only now; never whole.
                assert!(
                    !matches!(self.known.judge(&gap.rest, &Limits::default()), Ok(Verdict::Whole(checked)) if checked.advances),
                    "the closed part of {} is not the largest",
                    hex(update)
                );
            }
            Ok(Verdict::Whole(checked)) => {
                TALLY.whole.fetch_add(1, Ordering::Relaxed);
                self.log.push(update.to_vec());
                let mut txn = self.doc.transact_mut();
                txn.apply_update(Update::decode_v1(update).expect("decodes")).expect("applies");
                assert!(!txn.has_missing_updates(), "nothing is left over");
                drop(txn);
                self.known.admit(&checked);
                let ours = StateVector::decode_v1(&self.known.state_vector()).unwrap();
                assert_eq!(ours, self.doc.transact().state_vector());
            }
        }
    }

    /// Does to the document what a server does, then deletes all of it.
    fn inspect(&mut self) {
        let before = content(&self.doc);
        let state = self.doc.transact().encode_state_as_update_v1(&StateVector::default());
        let half: StateVector =
            self.doc.transact().state_vector().iter().map(|(client, clock)| (*client, clock / 2)).collect();
        self.doc.transact().encode_state_as_update_v1(&half);
        // The checkpoint can be loaded again.
        let known = Known::new();
        match known.judge(&state, &Limits::default()) {
            Ok(Verdict::Whole(_)) => {}
            other => panic!("checkpoint {}: {other:?}", hex(&state)),
        }
        let fresh = new_doc(9, true);
        apply(&fresh, &state);
        assert!(!fresh.transact().has_missing_updates());
        assert_eq!(fresh.transact().state_vector(), self.doc.transact().state_vector());
        // The order of concurrent entries may differ where the ids of the update lie about their order; what matters
        // here is that the fresh document can be walked and cleared too.
        content(&fresh);
        let mut wipe = vec![0];
        let clocks: Vec<(u64, u32)> =
            self.doc.transact().state_vector().iter().map(|(client, clock)| (client.get(), *clock)).collect();
        write_var_uint(&mut wipe, clocks.len() as u64);
        for (client, clock) in clocks {
            write_var_uint(&mut wipe, client);
            write_var_uint(&mut wipe, 1);
            write_var_uint(&mut wipe, 0);
            write_var_uint(&mut wipe, u64::from(clock));
        }
        for doc in [&self.doc, &fresh] {
            apply(doc, &wipe);
            content(doc);
            doc.transact().encode_state_as_update_v1(&StateVector::default());
        }
        drop(before);
    }
}

fn case(seed: u64, hostile: &[Vec<u8>]) {
    let mut rng = Rng::with_seed(seed);
    let mut target = Target { doc: new_doc(0, true), known: Known::new(), log: Vec::new() };
    let result = catch_unwind(AssertUnwindSafe(|| {
        if rng.bool() {
            for _ in 0..rng.usize(1..8) {
                let update = if rng.u8(0..16) == 0 {
                    hostile[rng.usize(0..hostile.len())].clone()
                } else {
                    grammar(&mut rng)
                };
                target.receive(&update, 0);
            }
        } else {
            let peers = [new_doc(1, true), new_doc(2, rng.bool())];
            let mut honest = Vec::new();
            for _ in 0..rng.usize(1..12) {
                let peer = &peers[rng.usize(0..2)];
                honest.push(edit(peer, &mut rng));
                if rng.u8(0..3) == 0 {
                    let state = peers[0].transact().encode_state_as_update_v1(&StateVector::default());
                    apply(&peers[1], &state);
                    let state = peers[1].transact().encode_state_as_update_v1(&StateVector::default());
                    apply(&peers[0], &state);
                    honest.push(state);
                }
            }
            for update in &honest {
                if rng.u8(0..3) == 0 {
                    target.receive(&mutate(update, &honest, &mut rng), 0);
                } else {
                    target.receive(update, 0);
                }
            }
        }
        target.inspect();
    }));
    if let Err(panic) = result {
        println!("SYNCLINE_SEED={seed}");
        target.log.iter().for_each(|update| println!("  {}", hex(update)));
        std::mem::forget(target);
        std::panic::resume_unwind(panic);
    }
}

static CASE: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicBool = AtomicBool::new(false);

#[test]
fn nothing_that_passes_breaks_the_engine() {
    let first = seed();
    println!("SYNCLINE_SEED={first}");
    let seconds =
        std::env::var("SYNCLINE_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(5);
    let end = Instant::now() + Duration::from_secs(seconds);
    POISON.store(true, Ordering::Relaxed);
    let worker = std::thread::Builder::new().stack_size(16 << 20).spawn(move || {
        let hostile = hostile();
        let mut trace =
            std::env::var("SYNCLINE_FUZZ_TRACE").ok().map(|path| std::fs::File::create(path).unwrap());
        let mut seed = first;
        while Instant::now() < end {
            CASE.store(seed, Ordering::Relaxed);
            if let Some(trace) = trace.as_mut() {
                trace.rewind().unwrap();
                write!(trace, "{seed:020}").unwrap();
            }
            case(seed, &hostile);
            seed = seed.wrapping_add(1);
        }
        DONE.store(true, Ordering::Relaxed);
    });
    let worker = worker.unwrap();
    let mut last = (0, Instant::now());
    while !worker.is_finished() {
        std::thread::park_timeout(Duration::from_millis(50));
        let now = CASE.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        if last.1.elapsed() > Duration::from_secs(30) {
            // Not by a macro: what those print is kept back until a test ends.
            let _ = writeln!(std::io::stderr(), "hangs: SYNCLINE_SEED={now}");
            std::process::abort();
        }
    }
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    POISON.store(false, Ordering::Relaxed);
    let [refused, gaps, whole] =
        [&TALLY.refused, &TALLY.gaps, &TALLY.whole].map(|count| count.load(Ordering::Relaxed));
    println!(
        "{} cases: {whole} whole, {gaps} gaps, {refused} refused",
        CASE.load(Ordering::Relaxed).wrapping_sub(first)
    );
    assert!(whole > 100 && gaps > 100 && refused > 100, "the mix tests nothing");
}
