//! Hostile traffic through everything that a frame meets before the disk: frame, checker, session, yrs. Honest devices of
//! every dialect are on the same document and must not notice; what is journalled must always make the same document
//! again; one input must not take much memory or for ever.
//!
//! SYNCLINE_FUZZ_SECONDS (default 10) says for how long, half of it is for this one, SYNCLINE_SEED where to start: a failure prints the seed that
//! replays it and the input.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod host;
mod inputs;
mod meter;
mod peers;
#[path = "../../../protocol/tests/support/mod.rs"]
mod support;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use bytes::Bytes;
use fastrand::Rng;
use host::Host;
use inputs::{Kind, frame, generated, killers, mutate};
use meter::{measure, watched};
use peers::{Attacker, DIALECTS, Honest, write};
use support::{apply, edit, hex, new_doc, seed};
use syncline_document::{content, record::EntryKind};
use syncline_protocol::{frame::Dialect, lib0::write_var_uint};
use syncline_sync::{Access, Settings};
use yrs::{
    ReadTxn, StateVector, Transact, Update, merge_updates_v1,
    updates::{decoder::Decode, encoder::Encode},
};

/// What one input may allocate, as long as it only concerns itself: so many times its bytes,
const TIMES: usize = 64;
/// and this.
const SLACK: usize = 1 << 20;

/// Counts what came of the inputs, so that a run that tests nothing shows.
#[derive(Debug, Default)]
struct Tally {
    inputs: u64,
    malformed: u64,
    refused: u64,
    accepted: u64,
    pending: u64,
    forged: u64,
    quiet: u64,
    /// The largest share of its allowance that an input took, in percent.
    peak: usize,
}

struct World {
    seed: u64,
    host: Host,
    honest: Vec<Honest>,
    attackers: Vec<Attacker>,
    /// An attacker wrote under an honest device's id, which is not ours to prevent: from here on the devices may differ,
    /// and only the server has to stand.
    forged: bool,
    /// The newest input.
    input: Bytes,
    tally: Tally,
}

impl World {
    fn new(seed: u64, settings: Settings, rng: &mut Rng) -> Self {
        let mut host = Host::new(settings);
        let honest = DIALECTS.map(|dialect| Honest::join(&mut host, dialect, rng)).into();
        let attackers = [
            (Dialect::Plain, "a1", Access::Write),
            (Dialect::Ysweet, "a2", Access::Write),
            (Dialect::Hocuspocus, "a3", Access::Write),
            (Dialect::Hocuspocus, "a4!", Access::Write),
            (Dialect::Plain, "a5!", Access::Write),
            (Dialect::Plain, "a6", Access::Read),
        ];
        let attackers: Vec<Attacker> = attackers
            .map(|(dialect, device, access)| Attacker::join(&mut host, dialect, device, access))
            .into();
        attackers.iter().for_each(|attacker| attacker.sync(&mut host));
        let (input, tally) = (Bytes::new(), Tally::default());
        let mut world = Self { seed, host, honest, attackers, forged: false, input, tally };
        world.deliver();
        world
    }

    /// Lets an attacker say something, and the honest hear of it.
    fn attack(&mut self, index: usize, bytes: &Bytes) {
        let attacker = &self.attackers[index];
        let stored =
            self.host.stored_bytes() + self.host.journalled.iter().map(|e| e.bytes.len()).sum::<usize>();
        self.input = bytes.clone();
        let label = format!("SYNCLINE_SEED={} {:?}", self.seed, attacker.dialect);
        let ((), peak) = measure(&label, bytes, || self.host.feed(attacker.id, attacker.dialect, bytes));
        // It may release what waited for it, load the document, and be answered with all of it: each once as it is and
        // once as a frame.
        let released = self.host.accepted.saturating_sub(bytes.len()) + self.host.loaded;
        let allowed = TIMES * (bytes.len() + released) + 8 * stored + SLACK;
        self.tally.peak = self.tally.peak.max(peak * 100 / allowed);
        assert!(peak <= allowed, "{} bytes allocate {peak}; {allowed} were allowed", bytes.len());
        self.tally.inputs += 1;
        self.tally.accepted += u64::from(self.host.accepted > 0);
        self.look();
        self.deliver();
    }

    /// Looks for forgeries in what was journalled.
    fn look(&mut self) {
        for entry in std::mem::take(&mut self.host.journalled) {
            self.tally.pending += u64::from(entry.kind == EntryKind::Pending);
            if entry.origin.device.as_deref() == Some("honest") || entry.kind != EntryKind::Update {
                continue;
            }
            let written = Update::decode_v1(&entry.bytes).unwrap().insertions(true);
            self.forged |= self.honest.iter().any(|honest| written.contains(&honest.next()));
        }
    }

    /// Hands out what was sent, and throws out who is to be.
    fn deliver(&mut self) {
        while !self.host.sent.is_empty() || !self.host.ended.is_empty() {
            for peer in std::mem::take(&mut self.host.ended) {
                let honest = self.honest.iter().any(|honest| honest.id == peer);
                assert!(!honest || self.forged, "an honest connection is ended");
                if let Some(attacker) = self.attackers.iter_mut().find(|attacker| attacker.id == peer) {
                    attacker.again(&mut self.host);
                }
            }
            for (to, bytes) in std::mem::take(&mut self.host.sent) {
                if self.forged {
                    continue;
                }
                if let Some(honest) = self.honest.iter_mut().find(|honest| honest.id == to) {
                    let taken = honest.hear(&mut self.host, &bytes);
                    if !taken {
                        let parts = syncline_document::fold::parts(&self.host.stored);
                        parts.for_each(|part| println!("  stored {}", hex(part)));
                        println!("  last of it {}", hex(&honest.newest));
                        panic!("an honest device is refused: {:?}", self.host.refusals);
                    }
                }
            }
            self.look();
        }
    }

    fn commit(&mut self) {
        self.host.commit();
        self.deliver();
        self.host.commit();
    }

    /// Asks as a new device does: the state vector and the whole state, as the session has them.
    fn probe(&mut self, theirs: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let probe = self.host.attach(Dialect::Plain, "probe", Access::Read);
        self.host.feed(probe, Dialect::Plain, &frame(Dialect::Plain, Kind::Step1, theirs));
        let said: Vec<Bytes> =
            self.host.sent.iter().filter(|(to, _)| *to == probe).map(|(_, bytes)| bytes.clone()).collect();
        self.host.detach(probe);
        let payload = |kind: u8| {
            let frame = said
                .iter()
                .find(|bytes| bytes[..2] == [0, kind])
                .unwrap_or_else(|| panic!("no answer: {said:?}"));
            let mut reader = syncline_protocol::lib0::Reader::new(&frame[2..]);
            reader.buf().unwrap().to_vec()
        };
        let answer = (payload(0), payload(1));
        self.deliver();
        answer
    }

    /// What is durable makes the document that the session has, now and after it left memory.
    fn quiet(&mut self, rng: &mut Rng) {
        self.tally.quiet += 1;
        self.commit();
        // What is pending is tried again, as long as that releases more of it.
        loop {
            let before = self.host.session.sequences();
            self.host.pass(1);
            self.commit();
            if self.host.session.sequences() == before {
                break;
            }
        }
        let (vector, state) = self.probe(&[0]);
        let vector = StateVector::decode_v1(&vector).unwrap();
        let mut replica = self.host.replay();
        assert_eq!(
            StateVector::decode_v1(&replica.state_vector()).unwrap(),
            vector,
            "another document is stored"
        );
        // Concurrent entries may change places in a checkpoint, where the ids of an update lied about their order.
        let folded = self.host.stored.checkpoint.is_some();
        assert_same(&replica.encode_state().unwrap(), &state, !folded);
        content::content(&mut replica).unwrap();
        let half: StateVector = vector.iter().map(|(client, clock)| (*client, rng.u32(0..=*clock))).collect();
        self.probe(&half.encode_v1());
        if !self.forged {
            let discontent = self.honest.iter().find(|honest| !honest.is_content(&vector));
            assert!(discontent.is_none(), "{:?} is not served", discontent.map(|honest| honest.dialect));
        }
        if rng.bool() {
            // Long enough to be folded, written and forgotten.
            for _ in 0..4 {
                self.host.pass(40_000);
                self.commit();
            }
            let (again, folded) = self.probe(&[0]);
            assert_eq!(
                StateVector::decode_v1(&again).unwrap(),
                vector,
                "a checkpoint holds another document"
            );
            assert_same(&folded, &state, false);
        }
    }
}

/// What two encoded states say: clocks, deletions, and what people see. Blocks may be cut in other places.
fn assert_same(one: &[u8], other: &[u8], visibly: bool) {
    if one == other {
        return;
    }
    let meaning = |state: &[u8]| {
        let doc = new_doc(0, true);
        apply(&doc, state);
        let seen = visibly.then(|| support::content(&doc));
        let txn = doc.transact();
        (txn.state_vector(), txn.snapshot().delete_set, seen)
    };
    assert_eq!(meaning(one), meaning(other), "{} and {}", hex(one), hex(other));
}

fn settings(rng: &mut Rng) -> Settings {
    let mut settings = Settings { step1_burst: 1_000, ..Settings::default() };
    if rng.bool() {
        // Small bounds, so that small inputs meet them.
        settings.heavy_bytes = rng.usize(1..200);
        settings.heavy_document_bytes = rng.usize(1..2_000);
        settings.fold_updates = rng.u64(1..20);
    }
    if rng.u8(0..4) == 0 {
        settings.pending_bytes = rng.usize(1..2_000);
    }
    settings
}

/// Makes an honest payload of a kind, mutated or not.
fn payload(
    kind: Kind,
    updates: &[Vec<u8>],
    killers: &[Vec<u8>],
    vectors: &[Vec<u8>],
    rng: &mut Rng,
) -> Vec<u8> {
    let some = |list: &[Vec<u8>], rng: &mut Rng| rng.choice(list).cloned().unwrap_or_default();
    let honest = match kind {
        Kind::Step1 => some(vectors, rng),
        Kind::Step2 | Kind::Update if rng.u8(0..16) == 0 => some(killers, rng),
        Kind::Step2 if rng.bool() => {
            let several: Vec<&Vec<u8>> = updates.iter().filter(|_| rng.bool()).collect();
            merge_updates_v1(several).unwrap_or_default()
        }
        Kind::Step2 | Kind::Update => some(updates, rng),
        Kind::Awareness => {
            let mut out = vec![1];
            write_var_uint(&mut out, rng.u64(1..1 << 40));
            out.extend_from_slice(&[1, 12]);
            out.extend_from_slice(br#"{"name":"x"}"#);
            out
        }
        Kind::Query => Vec::new(),
        Kind::Version => vec![rng.u8(0..100)],
        Kind::Json => {
            let said = [
                r#"{"type":"visibility","hidden":true}"#,
                r#"{"type":"visibility","hidden":false}"#,
                r#"{"type":"received","saved":3}"#,
            ];
            rng.choice(said).unwrap_or("").into()
        }
    };
    if rng.bool() { honest } else { mutate(&honest, updates, rng) }
}

fn case(seed: u64, killers: &[Vec<u8>]) -> Tally {
    let mut rng = Rng::with_seed(seed);
    let settings = settings(&mut rng);
    let mut world = World::new(seed, settings, &mut rng);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let (mut updates, mut vectors) = (vec![vec![0, 0]], vec![vec![0]]);
        let (mut device, mut joined) = (new_doc(1, true), false);
        for _ in 0..rng.usize(5..60) {
            let index = rng.usize(0..world.attackers.len());
            match rng.u8(0..24) {
                0..=2 if !world.forged => {
                    let at = rng.usize(0..world.honest.len());
                    world.honest[at].write(&mut world.host, &mut rng);
                    world.look();
                    world.deliver();
                }
                0..=4 => world.commit(),
                5 => {
                    // A device of the attacker's that starts anew, or has what the server has.
                    world.commit();
                    let (vector, state) = world.probe(&[0]);
                    device = new_doc(rng.u64(1..6), true);
                    joined = rng.bool();
                    if joined {
                        apply(&device, &state);
                    }
                    vectors.push(vector);
                    updates.push(state);
                }
                6..=8 if joined => updates.push(write(&device, &mut rng)),
                6..=8 => updates.push(edit(&device, &mut rng)),
                9 => world.host.pass(rng.u64(0..2_000)),
                10 => world.attackers[index].again(&mut world.host),
                11 if rng.u8(0..4) == 0 => world.quiet(&mut rng),
                _ => {
                    let kind = match rng.u8(0..20) {
                        0 | 1 => Kind::Step1,
                        2..=7 => Kind::Step2,
                        8..=15 => Kind::Update,
                        16 => Kind::Awareness,
                        17 => Kind::Version,
                        18 => Kind::Json,
                        _ => Kind::Query,
                    };
                    let payload = payload(kind, &updates, killers, &vectors, &mut rng);
                    let mut bytes = frame(world.attackers[index].dialect, kind, &payload);
                    if rng.u8(0..8) == 0 {
                        bytes = mutate(&bytes, &updates, &mut rng).into();
                    }
                    let refused = world.host.refusals.len();
                    world.attack(index, &bytes);
                    if world.host.refusals.len() > refused && rng.u8(0..8) != 0 {
                        world.attackers[index].again(&mut world.host);
                    }
                }
            }
        }
        world.quiet(&mut rng);
    }));
    if let Err(panic) = outcome {
        println!("SYNCLINE_SEED={seed}, newest input {}", hex(&world.input));
        std::mem::forget(world);
        std::panic::resume_unwind(panic);
    }
    let mut tally = world.tally;
    tally.malformed = world.host.malformed;
    tally.refused = world.host.refusals.len() as u64;
    tally.forged = u64::from(world.forged);
    tally
}

#[test]
fn mutated_traffic_leaves_the_document_and_its_honest_devices_whole() {
    let first = seed();
    println!("SYNCLINE_SEED={first}");
    // Half of what the checker's own fuzz takes under the same name.
    let seconds: Option<u64> =
        std::env::var("SYNCLINE_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let seconds = seconds.map_or(5, |seconds| seconds / 2);
    watched(Duration::from_secs(5), move || {
        let end = Instant::now() + Duration::from_secs(seconds);
        let killers = killers();
        let mut all = Tally::default();
        let mut cases = 0;
        while Instant::now() < end || cases == 0 {
            let tally = case(first.wrapping_add(cases), &killers);
            cases += 1;
            all.inputs += tally.inputs;
            all.malformed += tally.malformed;
            all.refused += tally.refused;
            all.accepted += tally.accepted;
            all.pending += tally.pending;
            all.forged += tally.forged;
            all.quiet += tally.quiet;
            all.peak = all.peak.max(tally.peak);
        }
        println!("{cases} cases: {all:?}");
        if cases > 100 {
            let least = [all.malformed, all.refused, all.accepted, all.pending].into_iter().min();
            assert!(least > Some(cases / 4) && all.forged < cases / 2, "the mix tests nothing");
        }
    });
}

#[test]
fn what_a_generator_makes_is_stopped_or_carried() {
    watched(Duration::from_secs(20), || {
        let mut rng = Rng::with_seed(0);
        for (number, attack) in generated().into_iter().enumerate() {
            for (kind, index) in [(Kind::Update, number % 4), (Kind::Step2, (number + 1) % 4)] {
                let settings = Settings { step1_burst: 10_000, ..Settings::default() };
                let mut world = World::new(0, settings, &mut rng);
                world.commit();
                let (id, dialect) = (world.attackers[index].id, world.attackers[index].dialect);
                let begin = Instant::now();
                for update in &attack.updates {
                    let bytes = frame(dialect, kind, update);
                    let ((), peak) = measure(&attack.what, &bytes, || world.host.feed(id, dialect, &bytes));
                    let allowed = attack.times * bytes.len() + SLACK + attack.more;
                    assert!(peak <= allowed, "{}: {} bytes allocate {peak}", attack.what, bytes.len());
                    world.look();
                    world.deliver();
                }
                let taken = begin.elapsed();
                for honest in 0..3 {
                    world.honest[honest].write(&mut world.host, &mut rng);
                    world.look();
                    world.deliver();
                }
                world.quiet(&mut rng);
                println!("{}: {kind:?} {dialect:?} {taken:?} {:?}", attack.what, world.host.refusals);
            }
        }
    });
}
