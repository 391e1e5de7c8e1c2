//! Renewal of a flat map's history, on the level of structs: which blocks belong to which entry of the map, and the
//! same state with the chains of some entries collected.
//!
//! No block is ever changed. What stays keeps its bytes, and what goes becomes GC under the same ids, so every clock
//! stays covered and nobody offers anything again. Who may go is the caller's to say: only the chain of an entry whose
//! newest block stands at the root by itself (see `document/renewal.rs`).

use std::collections::HashMap;

use crate::{
    lib0::{write_str, write_var_uint},
    limits::Limits,
    update::{Anchor, Content, Delete, Deletions, Id, Refusal, Scan, block_at, covers, scan},
};

/// What a state holds of one entry of the map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Its blocks.
    pub blocks: usize,
    /// Bytes of them.
    pub bytes: usize,
    /// Where its value is, if it has one: client and clock.
    pub live: Option<(u64, u32)>,
}

/// What a state holds of a root map.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Its entries, those too that were removed.
    pub chains: HashMap<String, Chain>,
    /// Bytes of what belongs to no entry.
    pub other_bytes: usize,
    /// The highest client id that wrote anything.
    pub highest_client: u64,
}

/// Whose a block is, by the entry's index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Unknown,
    Entry(u32),
    /// Collected, in another root, or inside a nested type.
    Other,
}

/// A state, and whose its blocks are.
struct Plan<'a> {
    scan: Scan<'a>,
    owners: Vec<Owner>,
    keys: Vec<&'a str>,
    deletions: Deletions,
}

/// Lists what a whole state holds of the entries of a root map.
///
/// # Errors
/// [`Refusal`] where the state is none.
pub fn survey(state: &[u8], root: &str) -> Result<Survey, Refusal> {
    let plan = Plan::of(state, root)?;
    let mut chains: Vec<Chain> = vec![Chain::default(); plan.keys.len()];
    let mut survey = Survey::default();
    for (client, first, end) in plan.sections() {
        survey.highest_client = survey.highest_client.max(client);
        let deleted = plan.deleted(client);
        for at in first..end {
            let block = &plan.scan.blocks[at];
            let bytes = (block.bytes.1 - block.bytes.0) as usize;
            let Owner::Entry(key) = plan.owners[at] else {
                survey.other_bytes += bytes;
                continue;
            };
            let chain = &mut chains[key as usize];
            chain.blocks += 1;
            chain.bytes += bytes;
            let is_live = block.content != Content::Deleted && !covers(deleted, block.clock);
            if is_live {
                chain.live = Some((client, block.clock));
            }
        }
    }
    survey.chains = plan.keys.iter().map(|key| (*key).to_owned()).zip(chains).collect();
    Ok(survey)
}

/// Writes a whole state anew, with the blocks of entries for which `stays` says no (by client and key) as GC. `None`
/// where one of them holds a value: nothing that is read may go.
///
/// # Errors
/// [`Refusal`] where the state is none.
pub fn retire(
    state: &[u8],
    root: &str,
    stays: impl Fn(u64, &str) -> bool,
) -> Result<Option<Vec<u8>>, Refusal> {
    let plan = Plan::of(state, root)?;
    let mut out = Vec::with_capacity(state.len() / 2);
    write_var_uint(&mut out, plan.scan.sections.len() as u64);
    for (client, first, end) in plan.sections() {
        let deleted = plan.deleted(client);
        let mut blocks = Vec::new();
        let (mut count, mut collected) = (0_u64, 0_u64);
        for at in first..end {
            let block = &plan.scan.blocks[at];
            let goes = match plan.owners[at] {
                Owner::Entry(key) => !stays(client, plan.keys[key as usize]),
                _ => block.content == Content::Gc,
            };
            if goes {
                let is_gone = matches!(block.content, Content::Gc | Content::Deleted)
                    || (block.clock..block.end()).all(|clock| covers(deleted, clock));
                if !is_gone {
                    return Ok(None);
                }
                collected += u64::from(block.len);
                continue;
            }
            count += flush(&mut blocks, &mut collected);
            blocks.extend_from_slice(&state[block.bytes.0 as usize..block.bytes.1 as usize]);
            count += 1;
        }
        count += flush(&mut blocks, &mut collected);
        write_var_uint(&mut out, count);
        write_var_uint(&mut out, client);
        write_var_uint(&mut out, u64::from(plan.scan.blocks[first].clock));
        out.extend_from_slice(&blocks);
    }
    // The delete set names ids, and all of them are still there.
    let blocks_end = plan.scan.blocks.last().map_or(1, |block| block.bytes.1 as usize);
    out.extend_from_slice(&state[blocks_end..]);
    Ok(Some(out))
}

/// Writes what was collected as one block. Returns how many blocks that are.
fn flush(blocks: &mut Vec<u8>, collected: &mut u64) -> u64 {
    let len = std::mem::take(collected);
    if len == 0 {
        return 0;
    }
    blocks.push(0);
    write_var_uint(blocks, len);
    1
}

/// Encodes an update that sets entries of a root map as if nothing had ever stood there: one block each, at the root,
/// without neighbours, from clock 0 of a client that has written nothing. `None` sets an entry that is deleted at once;
/// a value is one encoded any-value.
///
/// In Yjs such a block comes behind every other of its entry whose chain begins with a lower client id.
pub fn roots<'a>(
    client: u64,
    root: &str,
    entries: impl ExactSizeIterator<Item = (&'a str, Option<Vec<u8>>)>,
) -> Vec<u8> {
    const DELETED: u8 = 1;
    const ANY: u8 = 8;
    const HAS_PARENT_SUB: u8 = 0x20;
    let count = entries.len() as u64;
    if count == 0 {
        return vec![0, 0];
    }
    let mut out = vec![1];
    write_var_uint(&mut out, count);
    write_var_uint(&mut out, client);
    out.push(0);
    for (key, value) in entries {
        out.push(HAS_PARENT_SUB | if value.is_some() { ANY } else { DELETED });
        // The parent is a root, by name.
        out.push(1);
        write_str(&mut out, root);
        write_str(&mut out, key);
        // One clock.
        out.push(1);
        out.extend_from_slice(&value.unwrap_or_default());
    }
    out.push(0);
    out
}

impl<'a> Plan<'a> {
    fn of(state: &'a [u8], root: &str) -> Result<Self, Refusal> {
        let scan = scan(state, &Limits::stored())?;
        let owners = vec![Owner::Unknown; scan.blocks.len()];
        let deletions = scan.deletions();
        let mut plan = Self { scan, owners, keys: Vec::new(), deletions };
        let mut index: HashMap<&'a str, u32> = HashMap::new();
        let sections: HashMap<u64, (u32, u32)> =
            plan.scan.sections.iter().map(|section| (section.client, section.blocks)).collect();
        let mut path = Vec::new();
        for start in 0..plan.scan.blocks.len() {
            // From a block to the one it was put beside, until one is known: each block is passed once.
            let mut at = start;
            let owner = loop {
                if plan.owners[at] != Owner::Unknown {
                    break plan.owners[at];
                }
                path.push(at);
                // Where a hostile chain runs in a circle, it belongs to nobody.
                plan.owners[at] = Owner::Other;
                match plan.scan.blocks[at].anchor {
                    Anchor::Root { name, key: Some(key) } if name == root => {
                        let next = index.len() as u32;
                        let key_index = *index.entry(key).or_insert(next);
                        if key_index == next {
                            plan.keys.push(key);
                        }
                        break Owner::Entry(key_index);
                    }
                    Anchor::Root { .. } | Anchor::Nested { .. } | Anchor::Nowhere => break Owner::Other,
                    Anchor::Beside { left, right } => {
                        match left.or(right).and_then(|id| plan.find(&sections, id)) {
                            Some(next) => at = next,
                            None => break Owner::Other,
                        }
                    }
                }
            };
            for at in path.drain(..) {
                plan.owners[at] = owner;
            }
        }
        Ok(plan)
    }

    fn find(&self, sections: &HashMap<u64, (u32, u32)>, id: Id) -> Option<usize> {
        let (first, end) = *sections.get(&id.client)?;
        let blocks = &self.scan.blocks[first as usize..end as usize];
        block_at(blocks, id.clock).map(|at| at + first as usize)
    }

    fn sections(&self) -> impl Iterator<Item = (u64, usize, usize)> + '_ {
        let sections = self.scan.sections.iter();
        sections.map(|section| (section.client, section.blocks.0 as usize, section.blocks.1 as usize))
    }

    /// Returns the deleted ranges of a client, ascending.
    fn deleted(&self, client: u64) -> &[Delete] {
        self.deletions.of(&self.scan, client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An any-value: `undefined`.
    const VALUE: [u8; 1] = [127];

    #[test]
    fn entries_at_the_root_are_found_and_collected() {
        let update = roots(7, "m", [("a", Some(VALUE.to_vec())), ("b", None)].into_iter());
        let survey = survey(&update, "m").expect("a state");
        assert_eq!(survey.highest_client, 7);
        assert_eq!((survey.chains["a"].live, survey.chains["b"].live), (Some((7, 0)), None));
        let kept = retire(&update, "m", |_, key| key == "a").expect("a state").expect("only what is deleted");
        assert_eq!(&kept[kept.len() - 3..], [0, 1, 0], "one clock collected, nothing else deleted");
        assert_eq!(retire(&update, "m", |_, key| key == "b"), Ok(None), "a value is never collected");
        assert_eq!(retire(&update, "other", |_, _| false), Ok(Some(update.clone())), "another root stays");
    }

    #[test]
    fn a_chain_belongs_to_the_entry_that_it_began_in() {
        // 1:0 at the root, 2:0 beside it, 1:1 beside that; the first two deleted.
        let update = [
            2, 1, 2, 0, 0xa8, 1, 0, 1, 127, // client 2
            2, 1, 0, 0x28, 1, 1, b'm', 1, b'a', 1, 127, 0xa8, 2, 0, 1, 127, // client 1
            2, 2, 1, 0, 1, 1, 1, 0, 1,
        ];
        let survey = survey(&update, "m").expect("a state");
        assert_eq!(survey.chains.len(), 1);
        assert_eq!((survey.chains["a"].blocks, survey.chains["a"].live), (3, Some((1, 1))));
        assert_eq!(retire(&update, "m", |client, _| client == 2), Ok(None));
    }
}
