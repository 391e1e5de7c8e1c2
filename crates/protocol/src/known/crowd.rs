//! What concurrent inserts at one spot cost: yrs passes those that are there already, one by one.

use std::collections::HashMap;

use super::{Spread, client::Place};
use crate::update::Id;

/// Passing one block while a conflict is resolved: two hash set entries and a lookup, in bytes moved.
const STEP_BYTES: u64 = 5000;
/// Smaller updates cannot cost enough to be counted.
pub(super) const CROWD: usize = 512;

/// Blocks with one left neighbour in one place, in the order in which yrs integrates them.
struct Siblings {
    count: u64,
    /// The lowest client, the right neighbour of the first, whether all have the same, the newest block.
    lowest: u64,
    right: Option<Id>,
    uniform: bool,
    newest: Id,
}

/// Every spot of an update where blocks were inserted.
pub(super) struct Crowd(HashMap<(Place, Option<Id>), Siblings, Spread>);

impl Crowd {
    pub(super) fn new(key: u64) -> Self {
        Self(HashMap::with_hasher(Spread { key }))
    }

    /// Counts one more block; returns what passing its siblings costs. It passes none where it goes right before the
    /// newest (typing backwards), or where it comes first by its client: yrs takes higher clients first.
    pub(super) fn insert(&mut self, place: Place, left: Option<Id>, right: Option<Id>, id: Id) -> u64 {
        let siblings = self.0.entry((place, left)).or_insert(Siblings {
            count: 0,
            lowest: id.client,
            right,
            uniform: true,
            newest: id,
        });
        siblings.uniform &= siblings.right == right;
        let free = right == Some(siblings.newest) || (siblings.uniform && id.client <= siblings.lowest);
        let cost = if free { 0 } else { siblings.count * STEP_BYTES };
        siblings.count += 1;
        siblings.lowest = siblings.lowest.min(id.client);
        siblings.newest = id;
        cost
    }
}
