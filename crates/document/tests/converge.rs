//! Random devices, one hostile, random partitions, crashes and erasures, under the judge: whatever happens, all replicas end
//! equal, nothing accepted changes or is lost, and no order depends on a clock. `SYNCLINE_SEEDS` says how many runs.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use support::{Device, NOW, Server};
use syncline_document::{
    Judgement, Replica, content,
    register::Source,
    schema::{
        Kind,
        conversation::{self, Branch},
        preferences,
    },
};

/// SplitMix64: a seed means the same run for ever.
struct Rng(u64);

impl Rng {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

fn seeds() -> u64 {
    std::env::var("SYNCLINE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300)
}

/// All that a document holds. A root that was only looked at is there for the one that looked.
fn state(replica: &mut Replica) -> Value {
    let mut state = content::content(replica).expect("reads");
    if let Some(roots) = state.as_object_mut() {
        roots.retain(|_, root| *root != json!({}) && *root != json!(""));
    }
    state
}

struct World {
    rng: Rng,
    server: Server,
    /// The last one is hostile; it hears of messages from the server only.
    devices: Vec<Device>,
    /// Text by id of what honest devices said.
    said: BTreeMap<String, String>,
    /// What was accepted: seq and what it follows.
    accepted: BTreeMap<String, (u64, Option<String>)>,
    erased: BTreeSet<String>,
    chooses: bool,
}

impl World {
    fn new(seed: u64, skewed: bool) -> Self {
        let mut rng = Rng(seed);
        let count = 3 + rng.below(3);
        let devices = (0..count).map(|at| {
            // Client ids are no order either: each is drawn, and unlike any other.
            let mut device = Device::new((rng.draw() % 1_000_000) * 8 + at as u64 + 1, &format!("d{at}"));
            let hours = rng.draw() % 48;
            if skewed {
                device.clock_ms = NOW + hours * 3_600_000 - 24 * 3_600_000;
            }
            device
        });
        let devices = devices.collect();
        Self {
            server: Server::with_client(
                Kind::Conversation(support::conversation_id()),
                rng.draw() % 1_000_000 * 8,
            ),
            rng,
            devices,
            said: BTreeMap::new(),
            accepted: BTreeMap::new(),
            erased: BTreeSet::new(),
            chooses: seed % 2 == 1,
        }
    }

    fn hostile(&self) -> usize {
        self.devices.len() - 1
    }

    fn known(&mut self, at: usize) -> Option<String> {
        let ids: Vec<String> =
            self.devices[at].messages(Branch::All).into_iter().map(|message| message.id).collect();
        let mut ids = ids;
        // Pending ones come in the order of clocks, which must not steer what happens.
        ids.sort();
        if ids.is_empty() { None } else { Some(ids.swap_remove(self.rng.below(ids.len()))) }
    }

    fn say(&mut self, at: usize) {
        let id = format!("m{}", self.said.len());
        let parent = self.known(at);
        let mut more = json!({});
        if self.rng.chance(20) {
            more["alt"] = self.known(at).map_or(json!(true), |id| json!(id));
        }
        if self.rng.chance(20) {
            more["req"] = json!(format!("r{}", self.rng.below(4)));
        }
        let text = format!("text of {id}");
        self.devices[at].say(&id, parent.as_deref(), &text, &more);
        self.said.insert(id, text);
    }

    fn choose(&mut self, at: usize) {
        let (Some(parent), Some(child)) = (self.known(at), self.known(at)) else { return };
        let score = self.rng.below(3) as i64 - 1;
        if self.chooses {
            self.devices[at].set("selected", &parent, &json!(child));
        }
        self.devices[at].set("feedback", &child, &json!({ "v": score }));
    }

    fn offend(&mut self) {
        let at = self.hostile();
        let Some(id) = self.known(at) else { return };
        let seq = self.rng.below(20);
        let bad = match self.rng.below(10) {
            0 => return self.devices[at].delete("messages", &id),
            1 => {
                return self.devices[at].tamper(&id, "parts", &json!([{ "type": "text", "text": "forged" }]));
            }
            2 => return self.devices[at].tamper(&id, "head", &json!({ "role": "system" })),
            3 => return self.devices[at].say(&id, None, "forged", &json!({})),
            4 => return self.devices[at].delete("accepted", &id),
            5 => ("accepted", id, json!([seq, null])),
            6 => ("accepted", format!("m{}", self.said.len() + seq), json!([seq + 1, id])),
            7 => ("state", id, json!(["error"])),
            8 => ("messages", id, json!("scalar")),
            _ => ("runs", id, json!({ "state": "forged" })),
        };
        self.devices[at].put(bad.0, &bad.1, &bad.2);
    }

    fn sync(&mut self, at: usize) {
        let judgement = self.devices[at].sync(&mut self.server);
        self.note(&judgement);
    }

    fn note(&mut self, judgement: &Judgement) {
        for accepted in &judgement.accepted {
            let place = (accepted.seq, accepted.after.clone().or_else(|| accepted.same.clone()));
            assert_eq!(
                self.accepted.insert(accepted.id.clone(), place),
                None,
                "{} is accepted twice",
                accepted.id
            );
        }
    }

    /// Two honest devices meet beside the server.
    fn meet(&mut self) {
        let honest = self.hostile();
        let (a, b) = (self.rng.below(honest), self.rng.below(honest));
        let update = self.devices[a].diff(&[0]);
        self.devices[b].apply(&update);
    }

    /// The server dies before what it just judged is committed: nobody was shown any of it.
    fn crash(&mut self) {
        let at = self.rng.below(self.devices.len());
        let committed = self.server.journal.len();
        self.server.receive(&self.devices[at].diff(&self.server.replica.state_vector()));
        self.server.journal.truncate(committed);
        self.server.restart();
    }

    fn erase(&mut self) {
        let ids: Vec<String> = self.accepted.keys().cloned().collect();
        if ids.is_empty() {
            return;
        }
        let id = &ids[self.rng.below(ids.len())];
        let (done, judgement) = self.server.edit(|pen| conversation::erase(pen, id));
        assert!(done == Ok(()) && judgement.heals.is_empty(), "{judgement:?}");
        self.erased.insert(id.clone());
    }

    fn step(&mut self) {
        let honest = self.hostile();
        match self.rng.below(20) {
            0..=6 => {
                let at = self.rng.below(honest);
                self.say(at);
            }
            7..=8 => {
                let at = self.rng.below(honest);
                self.choose(at);
            }
            9..=11 => self.offend(),
            12 => self.meet(),
            13 => self.crash(),
            14 => self.erase(),
            _ => {
                let at = self.rng.below(honest + 1);
                self.sync(at);
            }
        }
    }

    fn run(mut self) -> Self {
        for _ in 0..60 {
            self.step();
        }
        for _ in 0..2 {
            for at in 0..self.devices.len() {
                self.sync(at);
            }
        }
        self
    }

    fn check(&mut self) {
        let state = state(&mut self.server.replica);
        for device in &self.devices {
            let theirs = self::state(&mut device.replica());
            for root in state.as_object().into_iter().chain(theirs.as_object()).flat_map(|roots| roots.keys())
            {
                assert_eq!(theirs[root], state[root], "{} of {}", root, device.name);
            }
        }
        let all = self.server.messages(Branch::All);
        let shown: BTreeMap<_, _> = all.iter().map(|message| (message.id.as_str(), message)).collect();
        for (id, text) in &self.said {
            let (seq, after) = self.accepted.get(id).unwrap_or_else(|| panic!("{id} was never accepted"));
            if *seq == 0 {
                continue;
            }
            let message = shown.get(id.as_str()).unwrap_or_else(|| panic!("{id} is lost"));
            assert_eq!((message.seq, &message.parent), (Some(*seq), after), "{id} has moved");
            assert_eq!(message.erased, self.erased.contains(id), "{id} is not as it was erased");
            if !message.erased {
                assert_eq!(message.parts[0]["text"].as_str(), Some(text.as_str()), "{id} was changed");
            }
        }
        for (at, message) in all.iter().enumerate() {
            assert_eq!(message.seq, Some(at as u64 + 1));
            let parent = message.parent.as_ref().map(|parent| shown[parent.as_str()].seq);
            assert!(parent.is_none_or(|parent| parent < message.seq));
        }
        self.server.restart();
        assert_eq!(self.server.judge().update, None, "what was committed was not whole");
    }
}

#[test]
fn whatever_devices_do_all_replicas_end_equal_and_nothing_accepted_changes() {
    for seed in 0..seeds() {
        println!("seed {seed}");
        let mut world = World::new(seed, true).run();
        world.check();
        if !world.chooses {
            // A branch choice is by time, and tells where a message is chained; nothing else may look at a clock.
            assert_eq!(World::new(seed, false).run().accepted, world.accepted);
        }
    }
}

#[test]
fn explicit_is_never_beaten_by_inferred() {
    for seed in 0..seeds() {
        println!("seed {seed}");
        let mut rng = Rng(seed);
        let mut server = Server::with_client(Kind::Profile, rng.draw() % 1_000_000 * 8);
        let mut devices: Vec<Device> = (0..4)
            .map(|at| {
                let mut device = Device::new(rng.draw() % 1_000_000 * 8 + at + 1, &format!("d{at}"));
                device.clock_ms = NOW + rng.draw() % 172_800_000 - 86_400_000;
                device
            })
            .collect();
        let mut explicit = false;
        for step in 0..30 {
            let at = rng.below(4);
            match rng.below(4) {
                0 => devices[at].sync(&mut server).heals.clear(),
                source => {
                    // The last two only infer: a session's own key holds one value, as a person's hand and an agent are
                    // two writers.
                    let source =
                        if at >= 2 { "inferred" } else { ["explicit", "explicit", "imported"][source - 1] };
                    if at < 2 && source == "imported" {
                        continue;
                    }
                    explicit |= source == "explicit";
                    let (value, meta) = (json!(format!("{source} {step}")), json!({ "source": source }));
                    devices[at].set_with("preferences", "tone", &value, &meta);
                }
            }
        }
        for _ in 0..2 {
            for device in &devices {
                device.sync(&mut server);
            }
        }
        let seen = preferences::read(&mut server.replica, NOW).expect("reads");
        for device in &devices {
            assert_eq!(preferences::read(&mut device.replica(), NOW).expect("reads"), seen);
        }
        if explicit {
            assert_eq!(seen[0].source, Source::Explicit);
        }
    }
}
