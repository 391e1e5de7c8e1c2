//! The keys of the storage engine: one tree, a letter per kind, so that one batch may hold every kind.
//!
//! | key | value |
//! |---|---|
//! | `m` | what this store is ([`crate::codec::Meta`]) |
//! | `t` | what it must hold ([`crate::codec::Totals`]) |
//! | `j` commit (8, big-endian) part (4) | a part of a journal record; empty while the number is only reserved |
//! | `f` commit (8) | the checksum of a record before something was erased from it ([`crate::codec::Former`]) |
//! | `h` name | a document's head |
//! | `c` name 0 generation (8) index (4) | a chunk of a checkpoint or of quarantined entries |
//! | `s` name | a document's side record |
//! | `r` key | a row: any key of 1 to 1,024 bytes |
//!
//! A name has no control character, so the 0 ends it.

use syncline_protocol::names::DocumentName;

use crate::store::CommitNumber;

/// The key of [`crate::codec::Meta`].
pub(crate) const META: &[u8] = b"m";
/// The key of [`crate::codec::Totals`].
pub(crate) const TOTALS: &[u8] = b"t";
/// All journal keys lie from here to [`JOURNAL_END`].
pub(crate) const JOURNAL: &[u8] = b"j";
/// The first key after the journal.
pub(crate) const JOURNAL_END: &[u8] = b"k";
/// The checksums of records before something was erased from them lie from here to [`FORMER_END`].
pub(crate) const FORMER: &[u8] = b"f";
/// The first key after those.
pub(crate) const FORMER_END: &[u8] = b"g";
/// All heads lie from here to [`HEADS_END`].
pub(crate) const HEADS: &[u8] = b"h";
/// The first key after the heads.
pub(crate) const HEADS_END: &[u8] = b"i";
/// All rows lie from here to [`ROWS_END`].
pub(crate) const ROWS: &[u8] = b"r";
/// The first key after the rows.
pub(crate) const ROWS_END: &[u8] = b"s";

/// Returns the key of a part of a journal record.
pub(crate) fn journal(commit: CommitNumber, part: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(13);
    key.push(b'j');
    key.extend_from_slice(&commit.to_be_bytes());
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// Parses what [`journal`] returns.
pub(crate) fn parse_journal(key: &[u8]) -> Option<(CommitNumber, u32)> {
    let rest = key.strip_prefix(b"j")?;
    let (commit, part) = rest.split_first_chunk::<8>()?;
    Some((CommitNumber::from_be_bytes(*commit), u32::from_be_bytes(part.try_into().ok()?)))
}

/// Returns the key of a record's former checksum.
pub(crate) fn former(commit: CommitNumber) -> Vec<u8> {
    [FORMER, &commit.to_be_bytes()].concat()
}

/// Parses what [`former`] returns.
pub(crate) fn parse_former(key: &[u8]) -> Option<CommitNumber> {
    Some(CommitNumber::from_be_bytes(key.strip_prefix(FORMER)?.try_into().ok()?))
}

/// Returns the key of a document's head.
pub(crate) fn head(name: &DocumentName) -> Vec<u8> {
    named(b'h', name)
}

/// Parses what [`head`] returns.
pub(crate) fn parse_head(key: &[u8]) -> Option<DocumentName> {
    DocumentName::parse(std::str::from_utf8(key.strip_prefix(b"h")?).ok()?).ok()
}

/// Returns the key of a document's side record.
pub(crate) fn side(name: &DocumentName) -> Vec<u8> {
    named(b's', name)
}

/// Returns the key of a chunk.
pub(crate) fn chunk(name: &DocumentName, generation: u64, index: u32) -> Vec<u8> {
    let mut key = named(b'c', name);
    key.reserve(13);
    key.push(0);
    key.extend_from_slice(&generation.to_be_bytes());
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// Returns the generation in what [`chunk`] returns.
pub(crate) fn parse_chunk_generation(key: &[u8]) -> Option<u64> {
    let (_, tail) = key.split_last_chunk::<12>()?;
    Some(u64::from_be_bytes(*tail.first_chunk::<8>()?))
}

/// Returns the key of a row.
pub(crate) fn row(key: &[u8]) -> Vec<u8> {
    [ROWS, key].concat()
}

fn named(kind: u8, name: &DocumentName) -> Vec<u8> {
    let name = name.as_str().as_bytes();
    let mut key = Vec::with_capacity(1 + name.len() + 13);
    key.push(kind);
    key.extend_from_slice(name);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_parse_back_and_sort_by_commit() {
        assert_eq!(parse_journal(&journal(258, 3)), Some((258, 3)));
        assert!(journal(255, 9) < journal(256, 0) && journal(256, 0) < journal(256, 1));
        assert_eq!(parse_journal(b"j123"), None);
        let name = DocumentName::parse("ada/ü").unwrap();
        assert_eq!(parse_head(&head(&name)), Some(name.clone()));
        assert_eq!(parse_chunk_generation(&chunk(&name, 77, 1)), Some(77));
        assert!(row(b"\xff\xff").as_slice() < ROWS_END && row(b"\0").as_slice() > ROWS);
    }

    #[test]
    fn a_name_that_begins_another_keeps_its_chunks_apart() {
        let (short, long) = (DocumentName::parse("a").unwrap(), DocumentName::parse("ab").unwrap());
        assert!(chunk(&short, u64::MAX, u32::MAX) < chunk(&long, 0, 0));
    }
}
