//! The renewal of read marks, at random: devices with long histories, some of them offline across one renewal or more,
//! with edits that nobody has seen, and fresh ones. Whatever they meet, no mark is lost and none comes back: the winner of
//! each conversation is the strongest mark that was ever set, on every replica, and the document stays small.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use support::{Device, NOW, Server, any};
use syncline_document::{
    Replica,
    hlc::Hlc,
    renewal::renew,
    schema::{Kind, marks},
};
use syncline_protocol::{known::Verdict, limits::Limits, state_vector};
use yrs::{Map as _, ReadTxn as _, StateVector, Transact as _, updates::encoder::Encode as _};

const CONVERSATIONS: u64 = 6;

/// How many worlds there are; `SYNCLINE_SEEDS` says another number.
fn seeds() -> u64 {
    std::env::var("SYNCLINE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// Xorshift: the same numbers for the same seed.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

fn conversation(n: u64) -> String {
    format!("018c1f3e-0000-7000-8000-{n:012}")
}

/// A server that renews its document, devices, and what marks there should be.
struct World {
    rng: Rng,
    server: Server,
    devices: Vec<Device>,
    /// What devices held some time ago.
    backups: Vec<Vec<u8>>,
    /// By conversation: the strongest mark that was ever set.
    model: BTreeMap<String, (Hlc, u64)>,
    now_ms: u64,
    clients: u64,
    renewals: u64,
    asked: u64,
    /// Nobody sets anything more.
    is_quiet: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let server = Server::with_client(Kind::Marks, 500);
        let mut world = Self {
            rng,
            server,
            devices: Vec::new(),
            backups: Vec::new(),
            model: BTreeMap::new(),
            now_ms: NOW,
            clients: 0,
            renewals: 0,
            asked: 0,
            is_quiet: false,
        };
        for name in ["phone", "laptop", "tablet", "tab"] {
            let device = world.device(name);
            world.devices.push(device);
        }
        world
    }

    fn device(&mut self, name: &str) -> Device {
        self.clients += 1;
        // Low and high ones: Yjs prefers the higher.
        let client = if self.rng.once_in(2) { self.clients } else { u64::from(u32::MAX) - self.clients };
        // Some are of yrs, with ids of 53 bits.
        let client = if self.rng.once_in(8) { (1 << 50) + client } else { client };
        Device::new(client, name)
    }

    /// Sets a mark on a device.
    fn mark(&mut self, at: usize) {
        self.now_ms += 1 + self.rng.below(3);
        let (conversation, seq) = (conversation(self.rng.below(CONVERSATIONS)), self.rng.below(1_000));
        let hlc = Hlc::at(self.now_ms);
        let device = &mut self.devices[at];
        let key = format!("{conversation}|read@{}.s", device.name);
        let value = serde_json::json!([hlc.to_string(), seq, "018c1f3e-0000-7000-8000-00000000ffff"]);
        device.put("marks", &key, &value);
        let strongest = self.model.entry(conversation).or_insert((hlc, seq));
        *strongest = (*strongest).max((hlc, seq));
    }

    /// A device is asked and told, as a session does it: where it may not know of a renewal, it is asked for all it has
    /// before it is told. Its answer is on its way while it is told, and somebody may set a mark in between.
    fn sync(&mut self, at: usize) {
        let known = self.server.replica.known();
        let state_vector = self.devices[at].doc.transact().state_vector().encode_v1();
        let theirs = state_vector::parse(&state_vector, &Limits::default()).expect("a state vector");
        let may_be_late = known.is_renewed() && !theirs.is_empty() && !known.covered_by(&theirs);
        let ours = if may_be_late { vec![0] } else { self.server.replica.state_vector().to_vec() };
        self.asked += u64::from(may_be_late);
        if may_be_late && !self.is_quiet && self.rng.once_in(4) {
            self.mark(at);
        }
        let mut offer = self.devices[at].diff(&ours);
        self.pull(at);
        if !may_be_late {
            // Between question and answer it was told: its answer shows what became of its edits.
            offer = self.devices[at].diff(&ours);
        }
        if let Verdict::Gap(gap) = self.server.replica.judge(&offer, &Limits::default()).expect("no refusal")
        {
            assert!(self.server.replica.known().is_renewed(), "a gap in what is whole");
            if let Some(closed) = gap.closed {
                self.receive(&closed);
            }
            self.asked += 1;
            offer = self.devices[at].diff(&[0]);
        }
        self.receive(&offer);
        self.pull(at);
    }

    fn pull(&mut self, at: usize) {
        let state_vector = self.devices[at].doc.transact().state_vector().encode_v1();
        let diff = self.server.replica.diff(&state_vector).expect("encodes");
        self.devices[at].apply(&diff);
    }

    fn receive(&mut self, update: &[u8]) {
        self.server.now_ms = self.server.now_ms.max(self.now_ms);
        let judged = self.server.replica.judge(update, &Limits::default()).expect("no refusal");
        let Verdict::Whole(checked) = judged else { panic!("a gap in what was asked for") };
        let news = checked.news.clone().unwrap_or_else(|| update.to_vec());
        self.server.replica.apply(&checked, &news).expect("applies");
        self.server.journal.push(news);
        let judgement = self.server.judge();
        assert_eq!(judgement.heals, [], "nobody did anything wrong");
    }

    fn renew(&mut self) {
        let renewed = renew(&mut self.server.replica, &Kind::Marks, 500, 1, self.now_ms).expect("works");
        let Some(renewed) = renewed else { return };
        self.renewals += 1;
        let mut replica = renewed.replica;
        let before = marks::read(&mut self.server.replica).expect("reads");
        assert_eq!(marks::read(&mut replica).expect("reads"), before);
        // What is stored from now on is what is left, and the journal begins anew.
        self.server.journal = vec![replica.encode_state().expect("encodes").to_vec()];
        if self.rng.once_in(2) {
            self.server.restart();
        } else {
            self.server.ledger = syncline_document::Ledger::of(Kind::Marks, &mut replica).expect("a ledger");
            self.server.replica = replica;
        }
    }

    /// A device goes on in another session, with what it held, with a backup of that, or with nothing: or, as a plain client
    /// may, under the name of the session before.
    fn replace(&mut self, at: usize, same_name: bool) {
        // What was on no other device is gone with this one.
        self.sync(at);
        self.backups.push(self.devices[at].diff(&[0]));
        let kept = match self.rng.below(3) {
            0 => None,
            1 => self.backups.last().cloned(),
            _ => {
                let backup = self.rng.below(self.backups.len() as u64) as usize;
                Some(self.backups[backup].clone())
            }
        };
        let before = self.devices[at].name.clone();
        let name = if same_name { before } else { format!("{}{}", &before[..3], self.clients) };
        let device = self.device(&name);
        if let Some(kept) = kept {
            device.apply(&kept);
        }
        self.devices[at] = device;
    }

    fn winners(replica: &mut Replica) -> BTreeMap<String, (Hlc, u64)> {
        let marks = marks::read(replica).expect("reads");
        marks.into_iter().map(|(id, mark)| (id, (mark.hlc, mark.seq))).collect()
    }

    /// Everybody meets until nothing is new, and then all show the same: the strongest of all.
    fn settle(&mut self) {
        self.is_quiet = true;
        for _ in 0..3 {
            for at in 0..self.devices.len() {
                self.sync(at);
            }
        }
        let fresh = self.device("fresh");
        self.devices.push(fresh);
        let last = self.devices.len() - 1;
        self.sync(last);
        let winners = Self::winners(&mut self.server.replica);
        for device in &self.devices {
            assert_eq!(Self::winners(&mut device.replica()), winners, "{}", device.name);
        }
        let mut stored = Replica::load(self.server.journal.iter().map(Vec::as_slice)).expect("loads");
        assert_eq!(Self::winners(&mut stored), winners, "what is stored");
    }

    /// Nothing that was ever set was lost.
    fn check(&mut self) {
        assert_eq!(Self::winners(&mut self.server.replica), self.model);
    }

    fn run(&mut self, steps: u64, same_name: bool) {
        self.is_quiet = false;
        for _ in 0..steps {
            // The last of the devices are seldom online.
            let at = (self.rng.below(10) * self.rng.below(10) / 25) as usize;
            match self.rng.below(40) {
                0..24 => self.mark(at),
                24..37 => self.sync(at),
                37..39 => self.renew(),
                _ => self.replace(at, same_name),
            }
        }
        self.settle();
    }
}

#[test]
fn no_mark_is_lost_whoever_was_away_while_the_history_was_renewed() {
    let (mut renewals, mut asked) = (0, 0);
    for seed in 1..=seeds() {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..3 {
            world.run(150, false);
            world.check();
        }
        renewals += world.renewals;
        asked += world.asked;
        world.renew();
        world.settle();
        let size = world.server.replica.encode_state().expect("encodes").len();
        assert!(size < 24_000, "{size} bytes are left");
    }
    println!("{renewals} renewals, {asked} devices asked");
    assert!(renewals > 2 * seeds() && asked > seeds() / 2, "{renewals} renewals, {asked} asked");
}

/// A device's chain on a replica that has the beginning of it only: what was carried over comes last there too.
#[test]
fn what_was_carried_over_is_shown_by_who_has_the_beginning_of_the_old_history() {
    let mut world = World::new(1);
    for _ in 0..40 {
        world.mark(0);
    }
    world.sync(0);
    world.sync(1);
    for _ in 0..400 {
        world.mark(0);
    }
    world.sync(0);
    world.renew();
    assert_eq!(world.renewals, 1);
    world.sync(1);
    assert_eq!(World::winners(&mut world.devices[1].replica()), world.model);
    // Its writer goes on, and is seen by all.
    for _ in 0..40 {
        world.sync(0);
        world.mark(0);
        world.sync(0);
        world.sync(1);
        assert_eq!(World::winners(&mut world.devices[1].replica()), world.model);
    }
    world.settle();
    world.check();
}

/// Edits that were made before the device knew of the renewal, and a server that has forgotten whose they are.
#[test]
fn what_a_device_set_offline_is_carried_over_once_it_says_whose_it_is() {
    let mut world = World::new(2);
    for _ in 0..400 {
        world.mark(0);
    }
    world.sync(0);
    world.mark(0);
    world.mark(0);
    world.renew();
    world.server.restart();
    world.sync(0);
    assert_eq!(world.asked, 1);
    assert_eq!(World::winners(&mut world.server.replica), world.model);
    // What it sets now stands beside what was carried over.
    for _ in 0..20 {
        world.mark(0);
        world.sync(0);
    }
    assert_eq!(world.asked, 1);
    world.settle();
    world.check();
}

/// Plain clients that write on under the name of a session whose history they do not have. In Yjs one of two concurrent
/// values of a key is lost; but all agree on which, and once the history was renewed none is.
#[test]
fn all_agree_whatever_history_a_writer_goes_on_with() {
    for seed in 1..=seeds() {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..3 {
            world.run(150, true);
        }
    }
}

#[test]
fn the_size_depends_on_the_marks_and_not_on_how_often_they_were_set() {
    const DEVICES: [&str; 5] = ["phone", "laptop", "tablet", "tab", "work"];
    // `SYNCLINE_CONVERSATIONS=5000` gives the figure of docs/merging.md.
    let conversations = std::env::var("SYNCLINE_CONVERSATIONS").ok().and_then(|text| text.parse().ok());
    let (conversations, sets) = (conversations.unwrap_or(200_u64), 100_u64);
    let mut server = Server::with_client(Kind::Marks, 500);
    let mut devices: Vec<Device> =
        DEVICES.iter().enumerate().map(|(n, name)| Device::new(1_000 + n as u64, name)).collect();
    let mut at_ms = NOW - 1_000_000;
    for set in 0..sets {
        for n in 0..conversations {
            let device = &mut devices[((set + n) % 5) as usize];
            at_ms += 1;
            let key = format!("{}|read@{}.s", conversation(n), device.name);
            let value = serde_json::json!([Hlc::at(at_ms).to_string(), set * 2, conversation(set)]);
            let map = device.root("marks");
            map.insert(&mut device.doc.transact_mut(), key, any(&value));
        }
    }
    for device in &devices {
        server.receive(&device.diff(&StateVector::default().encode_v1()));
    }
    let before = server.replica.encode_state().expect("encodes").len();
    let mut renewed =
        renew(&mut server.replica, &Kind::Marks, 500, 2, NOW).expect("works").expect("it is worth it");
    let after = renewed.replica.encode_state().expect("encodes").len();
    println!("{conversations} conversations, {sets} sets each on 5 devices: {before} bytes, {after} after");
    assert!(after * 2 < before);
    assert!(after as u64 / conversations < 600, "{after}");
    let again = renew(&mut renewed.replica, &Kind::Marks, 500, 2, NOW).expect("works");
    assert!(again.is_none(), "it is not renewed again before it has grown");
}
