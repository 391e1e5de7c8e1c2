//! Cutting an update with gaps in two: what can be applied now, and the rest. Blocks keep their bytes.

use smallvec::SmallVec;

use super::Gap;
use crate::{
    lib0::write_var_uint,
    update::{Block, Content, Delete, Scan, Section},
};

/// How far a section got: index of the first block that did not, and the client's clock then.
pub(super) struct Reach {
    /// Index of the first block that is not wholly known.
    pub(super) new: u32,
    /// Index of the first block that could not be integrated.
    pub(super) next: u32,
}

/// Cuts. `have` tells a client's clock once the closed part is applied, `news` whether a range deletes anything new.
pub(super) fn cut(
    scan: &Scan<'_>,
    reaches: &[Reach],
    have: impl Fn(u64) -> u32,
    news: impl Fn(&Delete) -> bool,
) -> Gap {
    let mut closed: SmallVec<[Part<'_, '_>; 4]> = SmallVec::new();
    let mut rest: SmallVec<[Part<'_, '_>; 4]> = SmallVec::new();
    for (section, reach) in scan.sections.iter().zip(reaches) {
        keep(scan, section, (reach.new, reach.next), &mut closed);
        keep(scan, section, (reach.next, section.blocks.1), &mut rest);
    }
    let mut now = Vec::new();
    let mut later = Vec::new();
    for delete in &scan.deletes {
        let have = have(delete.client).clamp(delete.start, delete.end);
        let reached = Delete { end: have, ..*delete };
        if delete.start < have && news(&reached) {
            now.push(reached);
        }
        if have < delete.end {
            later.push(Delete { start: have, ..*delete });
        }
    }
    let closed =
        if closed.is_empty() && now.is_empty() { None } else { Some(encode(scan.bytes, &closed, &now)) };
    Gap { closed, rest: encode(scan.bytes, &rest, &later) }
}

struct Part<'s, 'a> {
    client: u64,
    blocks: &'s [Block<'a>],
}

/// Keeps the blocks between two indexes, without the Skips at either end: they say nothing.
fn keep<'s, 'a>(
    scan: &'s Scan<'a>,
    section: &Section,
    (from, to): (u32, u32),
    parts: &mut SmallVec<[Part<'s, 'a>; 4]>,
) {
    let mut blocks = &scan.blocks[from as usize..to as usize];
    while let [first, others @ ..] = blocks
        && first.content == Content::Skip
    {
        blocks = others;
    }
    while let [others @ .., last] = blocks
        && last.content == Content::Skip
    {
        blocks = others;
    }
    if !blocks.is_empty() {
        parts.push(Part { client: section.client, blocks });
    }
}

/// What is new of one client in an update that is whole.
pub(super) struct News<'s, 'a> {
    pub(super) client: u64,
    /// The clock up to which it was known.
    pub(super) known: u32,
    /// The blocks that are not wholly known, Skips at the end among them.
    pub(super) blocks: &'s [Block<'a>],
}

/// Encodes what is new in an update. Of a deleted block whose beginning is known the rest is left, beside that beginning.
pub(super) fn encode_news(bytes: &[u8], sections: &[News<'_, '_>], deletes: &[Delete]) -> Vec<u8> {
    /// Kind: deleted, with a left neighbour.
    const DELETED_BESIDE: u8 = 0x81;
    let is_kept = |block: &&Block<'_>| block.content != Content::Skip;
    let sections: Vec<_> = sections
        .iter()
        .filter(|section| section.blocks.first().is_some_and(|first| is_kept(&first)))
        .collect();
    let mut out = Vec::new();
    write_var_uint(&mut out, sections.len() as u64);
    for section in sections {
        let News { client, known, blocks } = *section;
        // In a whole update only the last ones are.
        let blocks = &blocks[..blocks.iter().take_while(is_kept).count()];
        write_var_uint(&mut out, blocks.len() as u64);
        write_var_uint(&mut out, client);
        let mut rest = blocks;
        if let [first, others @ ..] = blocks
            && first.clock < known
            && first.content == Content::Deleted
        {
            write_var_uint(&mut out, u64::from(known));
            out.push(DELETED_BESIDE);
            for number in [client, u64::from(known - 1), u64::from(first.end() - known)] {
                write_var_uint(&mut out, number);
            }
            rest = others;
        } else if let Some(first) = blocks.first() {
            write_var_uint(&mut out, u64::from(first.clock));
        }
        if let (Some(first), Some(last)) = (rest.first(), rest.last()) {
            out.extend_from_slice(&bytes[first.bytes.0 as usize..last.bytes.1 as usize]);
        }
    }
    write_deletes(&mut out, deletes);
    out
}

fn encode(bytes: &[u8], parts: &[Part<'_, '_>], deletes: &[Delete]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    write_var_uint(&mut out, parts.len() as u64);
    for part in parts {
        let (first, last) = (&part.blocks[0], &part.blocks[part.blocks.len() - 1]);
        write_var_uint(&mut out, part.blocks.len() as u64);
        write_var_uint(&mut out, part.client);
        write_var_uint(&mut out, u64::from(first.clock));
        out.extend_from_slice(&bytes[first.bytes.0 as usize..last.bytes.1 as usize]);
    }
    write_deletes(&mut out, deletes);
    out
}

fn write_deletes(out: &mut Vec<u8>, deletes: &[Delete]) {
    let clients = deletes.chunk_by(|a, b| a.client == b.client);
    write_var_uint(out, clients.clone().count() as u64);
    for ranges in clients {
        write_var_uint(out, ranges[0].client);
        write_var_uint(out, ranges.len() as u64);
        for range in ranges {
            write_var_uint(out, u64::from(range.start));
            write_var_uint(out, u64::from(range.end - range.start));
        }
    }
}
