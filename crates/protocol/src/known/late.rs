//! Values that come late to a map whose history was renewed: those that were set beside something collected since, and
//! those at the root. See [`Known::renew`](super::Known::renew).

use std::{collections::HashMap, sync::Arc};

use crate::update::{Anchor, Block, Content, Deletions, Id, Scan, block_at, covers, single_value};

/// Tips that are remembered of one document, at most. Beyond that their writers are asked.
const TIPS: usize = 1 << 16;
/// What one step along a chain costs: bytes moved.
const STEP_BYTES: u64 = 256;

/// A collected block of which it is remembered whose it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// Its client.
    pub client: u64,
    /// Its clock.
    pub clock: u32,
    /// The entry it belonged to.
    pub key: Arc<str>,
}

/// A value that comes late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    /// The entry that it was set to.
    pub key: Arc<str>,
    /// One encoded any-value.
    pub value: Vec<u8>,
    /// It is collected as soon as it is applied: what is set after it comes late too.
    pub is_collected: bool,
    client: u64,
    clock: u32,
}

impl Late {
    pub(super) fn tip(&self) -> Tip {
        Tip { client: self.client, clock: self.clock, key: self.key.clone() }
    }
}

/// That a map was renewed.
#[derive(Debug, Clone)]
pub(super) struct Renewed {
    root: String,
    tips: HashMap<Id, Arc<str>>,
}

impl Renewed {
    pub(super) fn new(root: &str, tips: impl IntoIterator<Item = Tip>) -> Self {
        let mut renewed = Self { root: root.to_owned(), tips: HashMap::new() };
        renewed.remember(tips);
        renewed
    }

    /// Remembers whose collected blocks were, as many as there is room for.
    pub(super) fn remember(&mut self, tips: impl IntoIterator<Item = Tip>) {
        for Tip { client, clock, key } in tips.into_iter().take(TIPS.saturating_sub(self.tips.len())) {
            self.tips.insert(Id { client, clock }, key);
        }
    }
}

/// Where a chain leads.
#[derive(Debug, Clone)]
pub(super) enum Lead {
    /// To an entry of the renewed map.
    Entry(Arc<str>),
    /// To nothing that matters here.
    Nowhere,
    /// To a block that is not in the update, and of which nobody knows any more whose it was.
    Missing,
}

/// What is found out about the late values of one update.
pub(super) struct Leads<'k> {
    renewed: &'k Renewed,
    /// By index of the block: every block is passed once.
    found: HashMap<u32, Lead>,
    /// Where the deletions are, once they are needed.
    deletions: Option<Deletions>,
    pub(super) late: Vec<Late>,
}

impl<'k> Leads<'k> {
    pub(super) fn new(renewed: &'k Renewed) -> Self {
        Self { renewed, found: HashMap::new(), deletions: None, late: Vec::new() }
    }

    /// Says whether a new block is a value that may not show: set beside what is collected (`is_gone`) or at the root,
    /// and not deleted by its sender since.
    pub(super) fn concerns(
        &mut self,
        scan: &Scan<'_>,
        client: u64,
        block: &Block<'_>,
        is_gone: bool,
    ) -> bool {
        let is_late = match block.anchor {
            Anchor::Beside { .. } => is_gone,
            Anchor::Root { name, key: Some(_) } => name == self.renewed.root,
            Anchor::Root { .. } | Anchor::Nested { .. } | Anchor::Nowhere => false,
        };
        if !is_late || block.content != Content::Run || single_value(scan.bytes, block).is_none() {
            return false;
        }
        let deletions = self.deletions.get_or_insert_with(|| scan.deletions());
        !covers(deletions.of(scan, client), block.clock)
    }

    /// Follows a block, by index and id, to the entry in which its chain began, in the update itself and in what is
    /// remembered. Lists its value if there is one.
    pub(super) fn follow(
        &mut self,
        scan: &Scan<'_>,
        sections: impl Fn(u64) -> Option<(u32, u32)>,
        start: u32,
        id: Id,
        work: &mut u64,
    ) -> Lead {
        let mut path = Vec::new();
        let mut at = start;
        let is_collected = matches!(scan.blocks[start as usize].anchor, Anchor::Beside { .. });
        let lead = loop {
            if let Some(found) = self.found.get(&at) {
                break found.clone();
            }
            // Where a hostile chain runs in a circle, it leads nowhere.
            self.found.insert(at, Lead::Nowhere);
            path.push(at);
            *work += STEP_BYTES;
            let beside = match scan.blocks[at as usize].anchor {
                Anchor::Root { name, key: Some(key) } if name == self.renewed.root => {
                    break Lead::Entry(key.into());
                }
                Anchor::Root { .. } | Anchor::Nested { .. } | Anchor::Nowhere => break Lead::Nowhere,
                Anchor::Beside { left, right } => left.or(right),
            };
            let Some(beside) = beside else { break Lead::Nowhere };
            if let Some(key) = self.renewed.tips.get(&beside) {
                break Lead::Entry(key.clone());
            }
            let next = sections(beside.client).and_then(|(first, end)| {
                let blocks = &scan.blocks[first as usize..end as usize];
                block_at(blocks, beside.clock).map(|at| at as u32 + first)
            });
            match next {
                Some(next) if scan.blocks[next as usize].content != Content::Skip => at = next,
                _ => break Lead::Missing,
            }
        };
        for at in path {
            self.found.insert(at, lead.clone());
        }
        if let Lead::Entry(key) = &lead
            && let Some(value) = single_value(scan.bytes, &scan.blocks[start as usize])
        {
            let (key, value) = (key.clone(), value.to_vec());
            self.late.push(Late { key, value, is_collected, client: id.client, clock: id.clock });
        }
        lead
    }
}
