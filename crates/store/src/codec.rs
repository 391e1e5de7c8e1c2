//! What is written where: every value is `[version u8][key id u8][length u32][crc32 u32][payload]`, the payload
//! bincode. Key id 0 means not encrypted; encryption per document comes later and must not change this. The crc
//! covers everything but itself, and decoding must consume the payload to its last byte.
//!
//! Bytes from disk are not trusted: lengths inside are checked against the bytes that are there before anything
//! is allocated by them.

use std::{fmt::Display, io::Read};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use syncline_document::record::{Checkpoint, Entry, Sequence};
use syncline_protocol::names::DocumentName;

use crate::{
    error::StoreError,
    record::{PackedEntries, unpack},
    store::{CommitNumber, VALUE_BYTES},
};

/// The version byte of every value.
pub(crate) const FORMAT: u8 = 1;
/// Not encrypted.
pub(crate) const PLAIN_KEY: u8 = 0;
/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 10;
/// What bincode may claim while decoding one value, journal records with all their parts included.
const CLAIM_BYTES: usize = VALUE_BYTES + (1 << 20);
/// The largest value handed to the storage engine; sled turns much larger ones into files it never syncs.
pub(crate) const ENGINE_VALUE_BYTES: usize = 64 * 1024;
/// The part of a chunk that is left for its bytes, after header, numbers and lengths.
pub(crate) const CHUNK_BYTES: usize = ENGINE_VALUE_BYTES - 64;

/// zstd's own default: checkpoints are written seldom and read often.
const ZSTD_LEVEL: i32 = 3;

fn bincode_config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<CLAIM_BYTES>()
}

/// Bytes that are written and read in one piece, borrowed from where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> de::Visitor<'de> for Borrowed {
            type Value = &'de [u8];
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Borrowed).map(Raw)
    }
}

/// Appends a value's bincode to `out`.
pub(crate) fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), StoreError> {
    bincode::serde::encode_into_std_write(value, out, bincode_config())
        .map(|_| ())
        .map_err(|error| StoreError::Bug(format!("a record does not encode: {error}")))
}

/// Decodes a value that takes up all of `payload`.
pub(crate) fn decode<'de, T: Deserialize<'de>>(
    what: &dyn Display,
    payload: &'de [u8],
) -> Result<T, StoreError> {
    let (value, consumed) = bincode::serde::borrow_decode_from_slice(payload, bincode_config())
        .map_err(|error| StoreError::damaged(what, format!("does not decode: {error}")))?;
    if consumed != payload.len() {
        return Err(StoreError::damaged(
            what,
            format!("{consumed} of {} bytes are its content", payload.len()),
        ));
    }
    Ok(value)
}

/// Encodes a value with its header.
pub(crate) fn seal<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut out = vec![0; HEADER_BYTES];
    encode_into(value, &mut out)?;
    let length = u32::try_from(out.len() - HEADER_BYTES)
        .map_err(|_| StoreError::TooLarge("a record of more than 4 GiB".into()))?;
    out[0] = FORMAT;
    out[1] = PLAIN_KEY;
    out[2..6].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(&out[..6], &out[HEADER_BYTES..]);
    out[6..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    Ok(out)
}

/// Checks a value's header and decodes it.
pub(crate) fn unseal<'de, T: Deserialize<'de>>(
    what: &dyn Display,
    value: &'de [u8],
) -> Result<T, StoreError> {
    let Some((header, payload)) = value.split_at_checked(HEADER_BYTES) else {
        return Err(StoreError::damaged(what, format!("has only {} bytes", value.len())));
    };
    if header[0] != FORMAT {
        return Err(StoreError::damaged(what, format!("has format {}, {FORMAT} is known", header[0])));
    }
    if header[1] != PLAIN_KEY {
        return Err(StoreError::damaged(what, format!("is encrypted with key {}", header[1])));
    }
    let length = u32::from_le_bytes([header[2], header[3], header[4], header[5]]);
    if usize::try_from(length).ok() != Some(payload.len()) {
        return Err(StoreError::damaged(what, format!("has {} bytes and says {length}", payload.len())));
    }
    let crc = u32::from_le_bytes([header[6], header[7], header[8], header[9]]);
    if checksum(&header[..6], payload) != crc {
        return Err(StoreError::damaged(what, "fails its checksum"));
    }
    decode(what, payload)
}

/// Returns the crc32 of two pieces in a row.
pub(crate) fn checksum(head: &[u8], tail: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(tail);
    hasher.finalize()
}

/// One part of a journal record, of at most [`ENGINE_VALUE_BYTES`] once sealed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Part<'a> {
    pub(crate) commit: CommitNumber,
    pub(crate) part: u32,
    pub(crate) parts: u32,
    #[serde(borrow)]
    pub(crate) bytes: Raw<'a>,
}

/// One chunk of something large.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Chunk<'a> {
    pub(crate) generation: u64,
    pub(crate) index: u32,
    #[serde(borrow)]
    pub(crate) bytes: Raw<'a>,
}

/// Where something chunked lies, and what it must add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blob {
    pub(crate) generation: u64,
    pub(crate) chunks: u32,
    /// Bytes in the chunks together, compressed.
    pub(crate) stored: u64,
    /// Bytes once decompressed.
    pub(crate) raw: u64,
    /// crc32 of the chunks' bytes in a row.
    pub(crate) crc: u32,
}

/// What every load of a document starts from: which checkpoint is the newest and what must be found of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) name: String,
    pub(crate) sequence: Sequence,
    /// The newest commit when it was written: a journal that ends before it has lost something.
    pub(crate) commit: CommitNumber,
    /// Entries of this document that left the journal's index.
    pub(crate) folded: u64,
    pub(crate) pending: u32,
    pub(crate) body: Blob,
    /// Entries in `quarantine`.
    pub(crate) quarantined: u32,
    pub(crate) quarantine: Option<Blob>,
}

/// What the store as a whole must hold, written together with what changes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Documents with a head.
    pub(crate) heads: u64,
    /// The oldest journal record that is kept.
    pub(crate) first: CommitNumber,
    /// The newest commit when this was written.
    pub(crate) commit: CommitNumber,
}

/// What a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) layout: u64,
    pub(crate) identity: [u8; 16],
}

/// The checksum that a journal record had before something was erased from it: the next record repeats that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Former {
    pub(crate) commit: CommitNumber,
    pub(crate) crc: u32,
}

/// A side record.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Side<'a> {
    pub(crate) name: &'a str,
    #[serde(borrow)]
    pub(crate) bytes: Raw<'a>,
}

/// A row. Its key is in it, so that the checksum says whose value it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SealedRow<'a> {
    #[serde(borrow)]
    pub(crate) key: Raw<'a>,
    #[serde(borrow)]
    pub(crate) bytes: Raw<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Body<'a> {
    sequence: Sequence,
    #[serde(borrow)]
    state_vector: Raw<'a>,
    #[serde(borrow)]
    update: Raw<'a>,
    #[serde(borrow)]
    pending: Raw<'a>,
}

/// A checkpoint, encoded and compressed: made on any thread, written by the store.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub(crate) sequence: Sequence,
    pub(crate) pending: u32,
    pub(crate) raw: u64,
    pub(crate) bytes: Bytes,
}

impl Prepared {
    /// Encodes and compresses a checkpoint: some milliseconds per megabyte, so not on a thread that commits.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] where it is more than the store takes.
    pub fn new(checkpoint: &Checkpoint) -> Result<Self, StoreError> {
        let mut pending = Vec::new();
        encode_into(&PackedEntries::new(&checkpoint.pending), &mut pending)?;
        let mut raw = Vec::with_capacity(checkpoint.update.len() + checkpoint.state_vector.len() + 64);
        encode_into(
            &Body {
                sequence: checkpoint.sequence,
                state_vector: Raw(&checkpoint.state_vector),
                update: Raw(&checkpoint.update),
                pending: Raw(&pending),
            },
            &mut raw,
        )?;
        let pending = u32::try_from(checkpoint.pending.len())
            .map_err(|_| StoreError::TooLarge("pending entries of a checkpoint".into()))?;
        let (bytes, length) = compress(&raw)?;
        Ok(Self { sequence: checkpoint.sequence, pending, raw: length, bytes })
    }

    /// Returns the sequence that it is the state of.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Returns its size on disk.
    pub fn stored_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Reads back what [`Prepared::new`] encoded.
    pub(crate) fn open(
        what: &dyn Display,
        raw: &[u8],
        name: &DocumentName,
    ) -> Result<Checkpoint, StoreError> {
        let body: Body<'_> = decode(what, raw)?;
        Ok(Checkpoint {
            sequence: body.sequence,
            state_vector: Bytes::copy_from_slice(body.state_vector.0),
            update: Bytes::copy_from_slice(body.update.0),
            pending: unpack_entries(what, body.pending.0, name)?,
        })
    }
}

/// Packs entries of one document, for a blob.
pub(crate) fn pack_entries(entries: &[Entry]) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::new();
    encode_into(&PackedEntries::new(entries), &mut out)?;
    Ok(out)
}

/// Reads back what [`pack_entries`] packed, all of `name`.
pub(crate) fn unpack_entries(
    what: &dyn Display,
    bytes: &[u8],
    name: &DocumentName,
) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    unpack(what, bytes, |entry| {
        if entry.document == *name {
            entries.push(entry);
            Ok(())
        } else {
            Err(StoreError::damaged(what, format!("holds an entry of {}", entry.document)))
        }
    })?;
    Ok(entries)
}

/// Compresses; returns the length it came from too.
pub(crate) fn compress(raw: &[u8]) -> Result<(Bytes, u64), StoreError> {
    if raw.len() > VALUE_BYTES {
        return Err(StoreError::TooLarge(format!("{} bytes, {VALUE_BYTES} are taken", raw.len())));
    }
    let bytes = zstd::bulk::compress(raw, ZSTD_LEVEL)
        .map_err(|error| StoreError::Bug(format!("a checkpoint does not compress: {error}")))?;
    Ok((bytes.into(), raw.len() as u64))
}

/// Decompresses to exactly `raw` bytes; grows with what comes out, never by what is claimed.
pub(crate) fn decompress(what: &dyn Display, stored: &[u8], raw: u64) -> Result<Vec<u8>, StoreError> {
    let wrong = |error: std::io::Error| StoreError::damaged(what, format!("does not decompress: {error}"));
    if raw > VALUE_BYTES as u64 {
        return Err(StoreError::damaged(what, format!("claims {raw} bytes")));
    }
    let mut out = Vec::new();
    let decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(wrong)?;
    decoder.take(raw + 1).read_to_end(&mut out).map_err(wrong)?;
    if out.len() as u64 != raw {
        return Err(StoreError::damaged(what, format!("decompresses to {} bytes, not {raw}", out.len())));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_value_is_seen() {
        let value = seal(&Part { commit: 7, part: 0, parts: 1, bytes: Raw(b"some bytes") }).unwrap();
        assert!(unseal::<Part<'_>>(&"a part", &value).is_ok());
        for bit in 0..value.len() * 8 {
            let mut broken = value.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal::<Part<'_>>(&"a part", &broken).is_err(), "bit {bit}");
        }
        for length in 0..value.len() {
            assert!(unseal::<Part<'_>>(&"a part", &value[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_payload_with_bytes_left_over_is_refused() {
        let mut payload = Vec::new();
        encode_into(&Totals { heads: 1, first: 2, commit: 3 }, &mut payload).unwrap();
        assert!(decode::<Totals>(&"totals", &payload).is_ok());
        payload.push(0);
        assert!(matches!(decode::<Totals>(&"totals", &payload), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn hostile_lengths_fail_without_allocating_by_them() {
        // A byte string, a string and a list that claim 2^62 elements.
        let mut claim = vec![253];
        claim.extend_from_slice(&(1_u64 << 62).to_le_bytes());
        assert!(decode::<Raw<'_>>(&"bytes", &claim).is_err());
        assert!(decode::<String>(&"text", &claim).is_err());
        assert!(decode::<Vec<u64>>(&"list", &claim).is_err());
        // One that is within the limit, and beyond the bytes that are there.
        let mut claim = vec![252];
        claim.extend_from_slice(&(400_u32 << 20).to_le_bytes());
        assert!(decode::<Raw<'_>>(&"bytes", &claim).is_err());
        assert!(decode::<Vec<u64>>(&"list", &claim).is_err());
    }

    #[test]
    fn a_blob_that_decompresses_to_more_than_it_says_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 8 << 20], 3).unwrap();
        assert!(decompress(&"a blob", &bomb, 8 << 20).is_ok());
        assert!(decompress(&"a blob", &bomb, 1000).is_err());
        assert!(decompress(&"a blob", &bomb, u64::MAX).is_err());
        assert!(decompress(&"a blob", &bomb[..bomb.len() - 1], 8 << 20).is_err());
    }
}
