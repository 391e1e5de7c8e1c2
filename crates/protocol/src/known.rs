//! What a document holds, as far as safety must know it, and the judgement of an update against that.
//!
//! yrs keeps its blocks in lists linked by raw pointers and trusts what an update says about neighbours and parents. A
//! block whose left neighbour is in one list and whose right one is in another ends up in both; when one of them is
//! collected, the other points to freed memory. So [`Known`] remembers for every clock which *place* it went to (a list,
//! or one entry of a map), which is a few bytes a run of clocks, and lets a block in only where its neighbours and its
//! parent agree. Honest clients cannot break that: they insert between neighbours.

mod client;
mod crowd;
mod cut;
mod late;
mod resolve;

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
};

use smallvec::SmallVec;

pub use self::late::{Late, Tip};
use self::{
    client::{Class, Client, ENTRY, Place},
    late::Renewed,
};
use crate::{
    limits::Limits,
    state_vector::{self, StateVector},
    update::{self, Delete, Id, Refusal},
};

/// What a document holds: next clock per client, the place of every clock, the depth of nested types.
///
/// Built by [`Known::judge`] and [`Known::admit`] of every applied update, or of a checkpoint, which is one.
#[derive(Debug, Clone)]
pub struct Known {
    /// Keys the hashes below, so that nobody outside can make them collide.
    key: u64,
    clients: HashMap<u64, Client, Spread>,
    /// Set where the history of a root map was renewed.
    renewed: Option<Renewed>,
}

/// What [`Known::judge`] says of an update that is not refused.
#[derive(Debug)]
pub enum Verdict {
    /// All of it can be applied now.
    Whole(Checked),
    /// Something before it is missing.
    Gap(Gap),
}

/// The facts of an update that may be applied. They hold for the [`Known`] that judged it, as it was then.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Blocks in the update, known ones included.
    pub blocks: u64,
    /// Delete ranges in the update, known ones included.
    pub delete_ranges: u64,
    /// Bytes that yrs moves, at most, to apply it.
    pub work: u64,
    /// Some clock goes beyond what is known.
    pub advances: bool,
    /// Some clock is deleted of which no delete set said so. It may still be deleted in yrs already, with its parent.
    pub new_deletes: bool,
    /// It says nothing at all.
    pub is_empty: bool,
    /// Values that it brings to a renewed map and that may not show there; see [`Known::renew`].
    pub late: Vec<Late>,
    /// The part of it that is new, where only that may be applied: what it repeats says whose its late values are.
    pub news: Option<Vec<u8>>,
    runs: SmallVec<[Fresh; 2]>,
    deletes: SmallVec<[Delete; 2]>,
    /// Blocks of these clients are split, so many times.
    splits: SmallVec<[(u64, u32); 2]>,
}

/// An update of which something is missing, cut in two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The largest part that can be applied now: a valid update without gaps, to be judged in its turn.
    pub closed: Option<Vec<u8>>,
    /// All that is left: a valid update, perhaps with Skips, to be judged again when more is known.
    pub rest: Vec<u8>,
}

/// Clocks to append to a client.
#[derive(Debug, Clone, Copy)]
struct Fresh {
    client: u64,
    clock: u32,
    len: u32,
    class: Class,
    place: Place,
    fragments: u32,
}

impl Checked {
    /// Returns how many clocks it deletes that were there, at most.
    pub fn deleted_clocks(&self) -> u64 {
        self.deletes.iter().map(|delete| u64::from(delete.end - delete.start)).sum()
    }
}

impl Default for Known {
    fn default() -> Self {
        Self::new()
    }
}

impl Known {
    /// Knows nothing: an empty document.
    pub fn new() -> Self {
        let key = RandomState::new().hash_one(0_u64);
        Self { key, clients: HashMap::with_hasher(Spread { key }), renewed: None }
    }

    /// Minds from now on that the history of this root map was renewed, if any of it was: that it is collected in part
    /// (see [`crate::renewal`]). `tips` says whose some of what was collected was.
    ///
    /// A value that was set beside something collected would be collected itself: it tells no key. Where the sender's
    /// copy of the collected chain is in the update, or the tip is known, the value is listed in [`Checked::late`]; else
    /// the update has a gap there, and the sender is to be asked for all it has. A value at the root is listed too: it
    /// comes before what stands in its entry where its client id is lower.
    pub fn renew(&mut self, root: &str, tips: impl IntoIterator<Item = Tip>) {
        if self.clients.values().any(Client::is_collected) {
            self.renewed = Some(Renewed::new(root, tips));
        }
    }

    /// Says whether it minds that a history was renewed.
    pub fn is_renewed(&self) -> bool {
        self.renewed.is_some()
    }

    /// Checks an update against what is known. Nothing reaches yrs without it.
    ///
    /// # Errors
    /// [`Refusal`] where applying it would be unsafe, or over a limit. What is merely strange is not refused.
    pub fn judge(&self, update: &[u8], limits: &Limits) -> Result<Verdict, Refusal> {
        let mut scan = update::scan(update, limits)?;
        resolve::judge(self, &mut scan, limits)
    }

    /// Takes in an update that was applied: the one that was judged last.
    pub fn admit(&mut self, checked: &Checked) {
        if let Some(renewed) = &mut self.renewed {
            renewed.remember(checked.late.iter().filter(|late| late.is_collected).map(Late::tip));
        }
        for fresh in &checked.runs {
            let client = self.clients.entry(fresh.client).or_default();
            // What an update judged meanwhile has already brought is skipped.
            let end = fresh.clock + fresh.len;
            if fresh.clock > client.clock || end <= client.clock {
                debug_assert!(fresh.clock <= client.clock, "an update is admitted that was judged elsewhere");
                continue;
            }
            let start = client.clock;
            client.push(end - start, fresh.class, fresh.place);
            client.fragments = client.fragments.saturating_add(fresh.fragments);
            if matches!(fresh.class, Class::Gc | Class::Deleted) {
                client.delete(&[(start, end)]);
            }
        }
        let mut rest = checked.deletes.as_slice();
        let mut ranges: SmallVec<[(u32, u32); 4]> = SmallVec::new();
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|delete| delete.client == first.client).count();
            ranges.clear();
            ranges.extend(rest[..count].iter().map(|delete| (delete.start, delete.end)));
            if let Some(client) = self.clients.get_mut(&first.client) {
                client.delete(&ranges);
                client.fragments = client.fragments.saturating_add(2 * count as u32);
            }
            rest = &rest[count..];
        }
        for (client, count) in &checked.splits {
            if let Some(client) = self.clients.get_mut(client) {
                client.fragments = client.fragments.saturating_add(*count);
            }
        }
    }

    /// Returns the next clock of a client: everything below is known.
    pub fn clock(&self, client: u64) -> u32 {
        self.clients.get(&client).map_or(0, |client| client.clock)
    }

    /// Returns the state vector (lib0 v1), equal in meaning to that of yrs.
    pub fn state_vector(&self) -> Vec<u8> {
        state_vector::encode(self.clients.iter().map(|(id, client)| (*id, client.clock)))
    }

    /// Tells whether a peer with this state vector has every clock that is known. It says nothing of deletions.
    pub fn covered_by(&self, state_vector: &StateVector) -> bool {
        self.clients.iter().all(|(id, client)| state_vector.clock(*id) >= client.clock)
    }

    fn root_place(&self, name: &str, entry: Option<&str>) -> Place {
        self.place(hash(self.key, name.as_bytes()), entry, 0)
    }

    fn nested_place(&self, parent: Id, entry: Option<&str>, depth: usize) -> Place {
        let container = mix(mix(self.key ^ parent.client, TURN) ^ u64::from(parent.clock), !TURN);
        self.place(container, entry, depth)
    }

    fn place(&self, container: u64, entry: Option<&str>, depth: usize) -> Place {
        let (hash, flag) = match entry {
            Some(key) => (hash(container, key.as_bytes()), ENTRY),
            None => (mix(container, self.key | 1), 0),
        };
        // Never zero, which is GONE.
        ((hash | 1) << 8) | flag | depth as u64
    }
}

const TURN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = seed ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = mix(state ^ u64::from_le_bytes(word), TURN);
    }
    mix(state, !TURN)
}

/// Hashes client ids: one multiplication under a secret key. Peers choose their ids.
#[derive(Debug, Clone, Copy)]
struct Spread {
    key: u64,
}

impl BuildHasher for Spread {
    type Hasher = SpreadHasher;

    fn build_hasher(&self) -> SpreadHasher {
        SpreadHasher(self.key)
    }
}

struct SpreadHasher(u64);

impl Hasher for SpreadHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(self.0, bytes);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix(self.0 ^ value, TURN);
    }
}
