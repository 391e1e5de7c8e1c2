//! The structure of an update (lib0 v1), read without believing any of it: sections of blocks per client, then the
//! delete set. What passes [`scan`] yrs can decode; whether it may be applied is for [`Known::judge`] to say.
//!
//! [`Known::judge`]: crate::known::Known::judge

mod content;
mod refusal;

use std::{collections::HashMap, ops::Range};

use smallvec::SmallVec;

pub use self::refusal::Refusal;
use crate::{lib0::Reader, limits::Limits, state_vector::StateVector};

/// Clocks stay below this: yrs computes with `i32`, and the id of such a client could never write again.
pub const CLOCK_END: u64 = 1 << 31;

const HAS_ORIGIN: u8 = 0x80;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const HAS_PARENT_SUB: u8 = 0x20;

/// An id: client and clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) client: u64,
    pub(crate) clock: u32,
}

/// What a block says about where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor<'a> {
    /// GC, Skip: nowhere.
    Nowhere,
    /// Next to others, whose place is its own.
    Beside { left: Option<Id>, right: Option<Id> },
    /// Into a root.
    Root { name: &'a str, key: Option<&'a str> },
    /// Into a nested type.
    Nested { parent: Id, key: Option<&'a str> },
}

/// What a block holds, as far as safety cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// A hole: clocks the sender did not have.
    Skip,
    /// Clocks whose content is collected, and whose place is forgotten.
    Gc,
    /// Deleted content that keeps its place.
    Deleted,
    /// A shared type.
    Type,
    /// Text or any-values: may be longer than one clock.
    Run,
    /// Binary, embed, format: one clock.
    Single,
}

/// One block. `place` is filled in when it is resolved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) clock: u32,
    pub(crate) len: u32,
    /// First byte, and the one after the last.
    pub(crate) bytes: (u32, u32),
    pub(crate) content: Content,
    pub(crate) anchor: Anchor<'a>,
    pub(crate) place: u64,
}

impl Block<'_> {
    pub(crate) fn end(&self) -> u32 {
        self.clock + self.len
    }
}

/// Returns the index of the block that holds a clock; the blocks are of one client.
pub(crate) fn block_at(blocks: &[Block<'_>], clock: u32) -> Option<usize> {
    let at = blocks.partition_point(|block| block.end() <= clock);
    (blocks.get(at)?.clock <= clock).then_some(at)
}

/// Returns the bytes of the value of a block that holds one any-value; `None` where it holds anything else.
pub(crate) fn single_value<'a>(bytes: &'a [u8], block: &Block<'_>) -> Option<&'a [u8]> {
    const ANY: u8 = 8;
    let block = &bytes[block.bytes.0 as usize..block.bytes.1 as usize];
    let mut reader = Reader::new(block);
    let info = reader.byte().ok().filter(|info| info & 0x1f == ANY)?;
    anchor(&mut reader, info).ok()?;
    (reader.var_uint() == Ok(1)).then(|| &block[reader.position()..])
}

/// The blocks of one client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    pub(crate) client: u64,
    /// Index of the first block, and the one after the last.
    pub(crate) blocks: (u32, u32),
}

/// One range of the delete set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delete {
    pub(crate) client: u64,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// An update whose structure is sound.
#[derive(Debug)]
pub struct Scan<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) sections: SmallVec<[Section; 2]>,
    pub(crate) blocks: SmallVec<[Block<'a>; 2]>,
    /// Ranges of one client are neighbours, ascending.
    pub(crate) deletes: SmallVec<[Delete; 4]>,
}

/// Where the delete ranges of each client are in a [`Scan`].
#[derive(Debug)]
pub(crate) struct Deletions(HashMap<u64, Range<usize>>);

impl Deletions {
    /// Returns the ranges of a client, ascending; `scan` is the one that this was made of.
    pub(crate) fn of<'s>(&self, scan: &'s Scan<'_>, client: u64) -> &'s [Delete] {
        self.0.get(&client).and_then(|at| scan.deletes.get(at.clone())).unwrap_or_default()
    }
}

/// Says whether ascending ranges of one client hold a clock.
pub(crate) fn covers(ranges: &[Delete], clock: u32) -> bool {
    let next = ranges.partition_point(|range| range.end <= clock);
    ranges.get(next).is_some_and(|range| range.start <= clock)
}

impl Scan<'_> {
    /// Looks up where the delete ranges of each client are.
    pub(crate) fn deletions(&self) -> Deletions {
        let mut from = 0;
        let places = self.deletes.chunk_by(|a, b| a.client == b.client).map(|ranges| {
            let place = from..from + ranges.len();
            from = place.end;
            (ranges[0].client, place)
        });
        Deletions(places.collect())
    }

    /// Returns the number of blocks, Skips included.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Returns the number of client sections.
    pub fn sections(&self) -> usize {
        self.sections.len()
    }

    /// Returns the number of delete ranges.
    pub fn delete_ranges(&self) -> usize {
        self.deletes.len()
    }

    /// Tells whether a replica with this state vector holds every clock that the update inserts. It says nothing
    /// of deletions.
    pub fn covered_by(&self, state_vector: &StateVector) -> bool {
        self.sections.iter().all(|section| {
            let clock = state_vector.clock(section.client);
            let blocks = &self.blocks[section.blocks.0 as usize..section.blocks.1 as usize];
            blocks.iter().filter(|block| block.content != Content::Skip).all(|block| block.end() <= clock)
        })
    }
}

/// Reads the structure of an update.
///
/// # Errors
/// [`Refusal`] says what yrs could not survive, or which limit is passed.
pub fn scan<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Scan<'a>, Refusal> {
    if bytes.len() > limits.update_bytes.min(u32::MAX as usize) {
        return Err(Refusal::TooBig);
    }
    let mut reader = Reader::new(bytes);
    let mut values = limits.values;
    let mut scan =
        Scan { bytes, sections: SmallVec::new(), blocks: SmallVec::new(), deletes: SmallVec::new() };
    let sections = reader.var_uint()?;
    if sections > limits.sections as u64 {
        return Err(Refusal::TooManySections);
    }
    for _ in 0..sections {
        section(&mut reader, &mut scan, &mut values, limits)?;
    }
    if repeats(scan.sections.iter().map(|section| section.client)) {
        return Err(Refusal::DuplicateClient);
    }
    delete_set(&mut reader, &mut scan, limits)?;
    if reader.is_empty() { Ok(scan) } else { Err(Refusal::TrailingBytes) }
}

fn section<'a>(
    reader: &mut Reader<'a>,
    scan: &mut Scan<'a>,
    values: &mut usize,
    limits: &Limits,
) -> Result<(), Refusal> {
    let count = reader.var_uint()?;
    let client = reader.var_uint()?;
    let mut clock = reader.var_uint()?;
    if count == 0 {
        return Err(Refusal::EmptySection);
    }
    // yrs reserves room for as many as are claimed; a block takes two bytes at least.
    if count > reader.remaining() as u64 / 2 {
        return Err(Refusal::Malformed("more blocks claimed than there are bytes"));
    }
    if count + scan.blocks.len() as u64 > limits.blocks as u64 {
        return Err(Refusal::TooManyBlocks);
    }
    let first = scan.blocks.len() as u32;
    for _ in 0..count {
        if clock >= CLOCK_END {
            return Err(Refusal::ClockTooLarge);
        }
        let block = block(reader, clock as u32, values, limits)?;
        clock += u64::from(block.len);
        if clock >= CLOCK_END {
            return Err(Refusal::ClockTooLarge);
        }
        scan.blocks.push(block);
    }
    scan.sections.push(Section { client, blocks: (first, scan.blocks.len() as u32) });
    Ok(())
}

fn block<'a>(
    reader: &mut Reader<'a>,
    clock: u32,
    values: &mut usize,
    limits: &Limits,
) -> Result<Block<'a>, Refusal> {
    let start = reader.position() as u32;
    let info = reader.byte()?;
    let (anchor, content, len) = match info {
        0 => (Anchor::Nowhere, Content::Gc, reader.var_u32()?),
        10 => (Anchor::Nowhere, Content::Skip, reader.var_u32()?),
        _ => {
            let anchor = anchor(reader, info)?;
            let (content, len) = content::read(reader, info & 0x1f, values, limits)?;
            (anchor, content, len)
        }
    };
    if len == 0 {
        return Err(Refusal::EmptyBlock);
    }
    Ok(Block { clock, len, bytes: (start, reader.position() as u32), content, anchor, place: 0 })
}

fn anchor<'a>(reader: &mut Reader<'a>, info: u8) -> Result<Anchor<'a>, Refusal> {
    let left = if info & HAS_ORIGIN != 0 { Some(id(reader)?) } else { None };
    let right = if info & HAS_RIGHT_ORIGIN != 0 { Some(id(reader)?) } else { None };
    if left.is_some() || right.is_some() {
        return Ok(Anchor::Beside { left, right });
    }
    let key = |reader: &mut Reader<'a>| {
        if info & HAS_PARENT_SUB != 0 { reader.str().map(Some) } else { Ok(None) }
    };
    match reader.var_uint()? {
        1 => {
            let name = reader.str()?;
            Ok(Anchor::Root { name, key: key(reader)? })
        }
        0 => {
            let parent = id(reader)?;
            Ok(Anchor::Nested { parent, key: key(reader)? })
        }
        _ => Err(Refusal::Malformed("a parent is neither a root nor an id")),
    }
}

fn id(reader: &mut Reader<'_>) -> Result<Id, Refusal> {
    let client = reader.var_uint()?;
    let clock = reader.var_uint()?;
    if clock >= CLOCK_END {
        return Err(Refusal::ClockTooLarge);
    }
    Ok(Id { client, clock: clock as u32 })
}

fn delete_set(reader: &mut Reader<'_>, scan: &mut Scan<'_>, limits: &Limits) -> Result<(), Refusal> {
    let clients = reader.var_uint()?;
    if clients > reader.remaining() as u64 / 2 {
        return Err(Refusal::Malformed("more deletions claimed than there are bytes"));
    }
    let mut seen: SmallVec<[u64; 4]> = SmallVec::new();
    for _ in 0..clients {
        let client = reader.var_uint()?;
        seen.push(client);
        let ranges = reader.var_uint()?;
        if ranges > reader.remaining() as u64 / 2 {
            return Err(Refusal::Malformed("more deletions claimed than there are bytes"));
        }
        if ranges + scan.deletes.len() as u64 > limits.delete_ranges as u64 {
            return Err(Refusal::TooManyDeleteRanges);
        }
        let mut last = 0;
        for _ in 0..ranges {
            let start = reader.var_uint()?;
            let len = reader.var_uint()?;
            let end = start + len;
            if end >= CLOCK_END {
                return Err(Refusal::ClockTooLarge);
            }
            if len == 0 || start < last {
                return Err(Refusal::DeleteOrder);
            }
            last = end;
            scan.deletes.push(Delete { client, start: start as u32, end: end as u32 });
        }
    }
    if repeats(seen.iter().copied()) { Err(Refusal::DuplicateClient) } else { Ok(()) }
}

/// Tells whether a client occurs twice. Yjs writes them in descending order, which costs one comparison each; any other
/// order is legal.
fn repeats(clients: impl Iterator<Item = u64> + Clone) -> bool {
    let mut last = u64::MAX;
    if clients.clone().all(|client| std::mem::replace(&mut last, client) > client) {
        return false;
    }
    let mut all: Vec<u64> = clients.collect();
    all.sort_unstable();
    all.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests;
