//! The neutral form of a store: backups, restores, compaction, moves to another storage engine.
//!
//! A zstd stream of records, each `[kind u8][length u32][crc32 of the payload u32][payload]`, numbers little-endian:
//!
//! | kind | payload |
//! |---|---|
//! | `H` | first, JSON: `{"format":2,"commit":N,"created_ms":N}` |
//! | `D` | a document, JSON: `{"name","sequence","checkpoint":S or null,"pending":N,"quarantined":N,"tail":N}`; then its parts in this order |
//! | `V` | state vector of its checkpoint (lib0 v1) |
//! | `C` | its checkpoint, one update (lib0 v1) |
//! | `E` | an entry, JSON `{"sequence","kind","user","device","at_ms"}`, a line feed, the bytes: first the pending ones of the checkpoint, then the quarantined, then the tail |
//! | `S` | its side record, present for every document |
//! | `R` | a row, after the documents: the length of its key (2), the key, the value |
//! | `Z` | last, JSON: `{"documents":N,"entries":N,"rows":N}`; a file without it is not whole |
//!
//! Format 1 had no rows; it is still read.
//!
//! The server's identity is not in it: a restored server writes under other client ids.

use std::{
    io::{Read, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use syncline_document::record::{Checkpoint, Entry, EntryKind, Origin, Sequence, Stored};
use syncline_protocol::names::DocumentName;

use crate::{
    error::StoreError,
    store::{CommitNumber, Row, Snapshot, Store, VALUE_BYTES},
};

/// The format that is written.
pub const EXPORT_FORMAT: u64 = 2;

/// Documents listed at a time.
const PAGE: usize = 256;

/// Rows listed at a time, and rows written in one commit of an import: each may be of 48 KiB.
const ROW_PAGE: usize = 64;

const ZSTD_LEVEL: i32 = 3;

/// What an export or import held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// The commit that it shows.
    pub commit: CommitNumber,
    /// Documents.
    pub documents: u64,
    /// Entries of every kind.
    pub entries: u64,
    /// Rows.
    pub rows: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u64,
    commit: CommitNumber,
    created_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct DocumentLine {
    name: String,
    sequence: Sequence,
    checkpoint: Option<Sequence>,
    pending: u64,
    quarantined: u64,
    tail: u64,
}

#[derive(Serialize, Deserialize)]
struct EntryLine {
    sequence: Sequence,
    kind: Kind,
    user: Option<String>,
    device: Option<String>,
    at_ms: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Update,
    Pending,
    Quarantined,
}

#[derive(Serialize, Deserialize)]
struct Trailer {
    documents: u64,
    entries: u64,
    #[serde(default)]
    rows: u64,
}

/// Writes every document and every row as of now; the store stays in use meanwhile.
///
/// # Errors
/// [`StoreError::Damaged`] where a document or a row cannot be read whole: what was written so far is not a usable export.
pub fn export(store: &dyn Store, to: &mut dyn Write) -> Result<Exported, StoreError> {
    let snapshot = store.snapshot()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut out = Output(zstd::stream::write::Encoder::new(to, ZSTD_LEVEL)?);
    let mut exported = Exported { commit: snapshot.commit(), ..Exported::default() };
    let created_ms = u64::try_from(now.as_millis()).unwrap_or(0);
    out.json(b'H', &Header { format: EXPORT_FORMAT, commit: exported.commit, created_ms })?;
    let mut after = None;
    loop {
        let names = snapshot.documents(after.as_ref(), PAGE)?;
        let Some(last) = names.last() else { break };
        after = Some(last.clone());
        for name in names {
            if let Some(stored) = snapshot.read(&name)? {
                exported.entries += out.document(&name, &stored)?;
                exported.documents += 1;
            }
        }
    }
    exported.rows = out.rows(&*snapshot)?;
    let Exported { documents, entries, rows, .. } = exported;
    out.json(b'Z', &Trailer { documents, entries, rows })?;
    out.0.finish()?.flush()?;
    Ok(exported)
}

struct Output<'a>(zstd::stream::write::Encoder<'static, &'a mut dyn Write>);

impl Output<'_> {
    fn record(&mut self, kind: u8, payload: &[u8]) -> Result<(), StoreError> {
        let length = u32::try_from(payload.len()).map_err(|_| {
            StoreError::TooLarge(format!("{} bytes in one record of an export", payload.len()))
        })?;
        let mut head = [kind; 9];
        head[1..5].copy_from_slice(&length.to_le_bytes());
        head[5..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        self.0.write_all(&head)?;
        Ok(self.0.write_all(payload)?)
    }

    fn json<T: Serialize>(&mut self, kind: u8, value: &T) -> Result<(), StoreError> {
        self.record(kind, &to_json(value)?)
    }

    /// Returns the number of entries.
    fn document(&mut self, name: &DocumentName, stored: &Stored) -> Result<u64, StoreError> {
        let checkpoint = stored.checkpoint.as_ref();
        let pending = checkpoint.map_or(&[][..], |checkpoint| &checkpoint.pending);
        let line = DocumentLine {
            name: name.as_str().to_owned(),
            sequence: stored.sequence,
            checkpoint: checkpoint.map(|checkpoint| checkpoint.sequence),
            pending: pending.len() as u64,
            quarantined: stored.quarantined.len() as u64,
            tail: stored.tail.len() as u64,
        };
        self.json(b'D', &line)?;
        if let Some(checkpoint) = checkpoint {
            self.record(b'V', &checkpoint.state_vector)?;
            self.record(b'C', &checkpoint.update)?;
        }
        for entry in pending.iter().chain(&stored.quarantined).chain(&stored.tail) {
            let line = EntryLine {
                sequence: entry.sequence,
                kind: match entry.kind {
                    EntryKind::Update => Kind::Update,
                    EntryKind::Pending => Kind::Pending,
                    EntryKind::Quarantined => Kind::Quarantined,
                },
                user: entry.origin.user.as_deref().map(str::to_owned),
                device: entry.origin.device.as_deref().map(str::to_owned),
                at_ms: entry.origin.at_ms,
            };
            let mut payload = to_json(&line)?;
            payload.push(b'\n');
            payload.extend_from_slice(&entry.bytes);
            self.record(b'E', &payload)?;
        }
        self.record(b'S', &stored.side)?;
        Ok(line.pending + line.quarantined + line.tail)
    }

    /// Returns the number of rows.
    fn rows(&mut self, snapshot: &dyn Snapshot) -> Result<u64, StoreError> {
        let mut count = 0;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = snapshot.rows(after.as_deref(), ROW_PAGE)?;
            let Some((last, _)) = rows.last() else { return Ok(count) };
            after = Some(last.clone());
            for (key, value) in rows {
                let length = u16::try_from(key.len()).map_err(|_| StoreError::Bug("a row's key".into()))?;
                self.record(b'R', &[&length.to_le_bytes(), &key[..], &value?[..]].concat())?;
                count += 1;
            }
        }
    }
}

/// Reads an export into a store that has none of its documents and rows. Into an empty one, please: where this fails, what
/// was read so far stays there.
///
/// # Errors
/// [`StoreError::Export`] says what is wrong with the file; others as [`Store::restore`].
pub fn import(store: &dyn Store, from: &mut dyn Read) -> Result<Exported, StoreError> {
    let mut input = Input(zstd::stream::read::Decoder::new(from)?);
    let header: Header = input.json(b'H')?;
    if header.format == 0 || header.format > EXPORT_FORMAT {
        let text = format!("it has format {}, this version reads 1 to {EXPORT_FORMAT}", header.format);
        return Err(StoreError::Export(text));
    }
    let mut imported = Exported { commit: header.commit, ..Exported::default() };
    let mut rows = Vec::new();
    loop {
        let (kind, payload) = input.record()?;
        match kind {
            b'D' => {
                let (name, stored) = input.document(&from_json(&payload)?)?;
                let pending = stored.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.pending.len());
                imported.entries += (pending + stored.quarantined.len() + stored.tail.len()) as u64;
                imported.documents += 1;
                store.restore(&name, &stored)?;
            }
            b'R' => {
                imported.rows += 1;
                rows.push(new_row(store, &payload.into())?);
                if rows.len() == ROW_PAGE {
                    store.commit(&[], &std::mem::take(&mut rows))?;
                }
            }
            b'Z' => {
                store.commit(&[], &rows)?;
                let trailer: Trailer = from_json(&payload)?;
                let Exported { documents, entries, rows, .. } = imported;
                if (trailer.documents, trailer.entries, trailer.rows) != (documents, entries, rows) {
                    return Err(StoreError::Export("it holds less than it says at its end".into()));
                }
                store.mark()?;
                return Ok(imported);
            }
            other => return Err(unexpected(other, "a document or a row")),
        }
    }
}

/// Parses a row that the store has not.
fn new_row(store: &dyn Store, payload: &Bytes) -> Result<Row, StoreError> {
    let broken = || StoreError::Export("a row is shorter than it says".into());
    let length = payload.first_chunk::<2>().ok_or_else(broken)?;
    let end = 2 + usize::from(u16::from_le_bytes(*length));
    let key = payload.get(2..end).ok_or_else(broken)?.to_vec();
    if store.row(&key)?.is_some() {
        let key = key.escape_ascii();
        return Err(StoreError::Bug(format!("row {key} is to be restored and is there already")));
    }
    Ok(Row { key, value: Some(payload.slice(end..)) })
}

struct Input<'a>(zstd::stream::read::Decoder<'static, std::io::BufReader<&'a mut dyn Read>>);

impl Input<'_> {
    fn record(&mut self) -> Result<(u8, Vec<u8>), StoreError> {
        let cut =
            |error: std::io::Error| StoreError::Export(format!("it ends early or is not zstd: {error}"));
        let mut head = [0; 9];
        self.0.read_exact(&mut head).map_err(cut)?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        if length as usize > VALUE_BYTES + (1 << 20) {
            return Err(StoreError::Export(format!("a record claims {length} bytes")));
        }
        let mut payload = Vec::new();
        // Grows with what is there, not by what is claimed.
        self.0.by_ref().take(u64::from(length)).read_to_end(&mut payload).map_err(cut)?;
        if payload.len() != length as usize {
            return Err(StoreError::Export("it ends in the middle of a record".into()));
        }
        if crc32fast::hash(&payload) != u32::from_le_bytes([head[5], head[6], head[7], head[8]]) {
            return Err(StoreError::Export("a record fails its checksum".into()));
        }
        Ok((head[0], payload))
    }

    fn expect(&mut self, kind: u8) -> Result<Vec<u8>, StoreError> {
        match self.record()? {
            (found, payload) if found == kind => Ok(payload),
            (found, _) => Err(unexpected(found, &format!("{:?}", char::from(kind)))),
        }
    }

    fn json<T: DeserializeOwned>(&mut self, kind: u8) -> Result<T, StoreError> {
        from_json(&self.expect(kind)?)
    }

    fn document(&mut self, line: &DocumentLine) -> Result<(DocumentName, Stored), StoreError> {
        let name = DocumentName::parse(&line.name)
            .map_err(|error| StoreError::Export(format!("{:?} is no document: {error}", line.name)))?;
        let mut stored = Stored { sequence: line.sequence, ..Stored::default() };
        if let Some(sequence) = line.checkpoint {
            let state_vector = self.expect(b'V')?.into();
            let update = self.expect(b'C')?.into();
            let pending = self.entries(&name, line.pending)?;
            stored.checkpoint = Some(Checkpoint { sequence, state_vector, update, pending });
        }
        stored.quarantined = self.entries(&name, line.quarantined)?;
        stored.tail = self.entries(&name, line.tail)?;
        stored.side = self.expect(b'S')?.into();
        Ok((name, stored))
    }

    fn entries(&mut self, document: &DocumentName, count: u64) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        for _ in 0..count {
            let payload = Bytes::from(self.expect(b'E')?);
            let split = payload.iter().position(|byte| *byte == b'\n');
            let split =
                split.ok_or_else(|| StoreError::Export("an entry without a line of its own".into()))?;
            let line: EntryLine = from_json(&payload[..split])?;
            entries.push(Entry {
                document: document.clone(),
                sequence: line.sequence,
                kind: match line.kind {
                    Kind::Update => EntryKind::Update,
                    Kind::Pending => EntryKind::Pending,
                    Kind::Quarantined => EntryKind::Quarantined,
                },
                origin: Origin {
                    user: line.user.map(Into::into),
                    device: line.device.map(Into::into),
                    at_ms: line.at_ms,
                },
                bytes: payload.slice(split + 1..),
            });
        }
        Ok(entries)
    }
}

fn unexpected(kind: u8, wanted: &str) -> StoreError {
    StoreError::Export(format!("a record of kind {:?} where {wanted} belongs", char::from(kind)))
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Bug(error.to_string()))
}

fn from_json<T: DeserializeOwned>(payload: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(payload)
        .map_err(|error| StoreError::Export(format!("a record is not what it says: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, acceptance};

    /// Returns an export of a document and, where `format` knows them, a row, as that format has it.
    fn written(format: u64, header: u64, rows: u64) -> Vec<u8> {
        let store = MemoryStore::new().unwrap();
        store.commit(&[acceptance::entry("a", 1)], &[]).unwrap();
        let stored = store.read(&acceptance::name("a")).unwrap().unwrap();
        let mut file = Vec::new();
        let to: &mut dyn Write = &mut file;
        let mut out = Output(zstd::stream::write::Encoder::new(to, ZSTD_LEVEL).unwrap());
        out.json(b'H', &Header { format: header, commit: 1, created_ms: 1 }).unwrap();
        out.document(&acceptance::name("a"), &stored).unwrap();
        if format > 1 {
            out.record(b'R', b"\x03\0keyvalue").unwrap();
            out.json(b'Z', &Trailer { documents: 1, entries: 1, rows }).unwrap();
        } else {
            out.record(b'Z', br#"{"documents":1,"entries":1}"#).unwrap();
        }
        out.0.finish().unwrap();
        file
    }

    fn read(file: &[u8]) -> Result<(Exported, MemoryStore), StoreError> {
        let store = MemoryStore::new().unwrap();
        import(&store, &mut &file[..]).map(|imported| (imported, store))
    }

    #[test]
    fn a_backup_of_the_format_before_rows_is_read_and_one_of_a_later_format_is_not() {
        let (imported, store) = read(&written(1, 1, 0)).unwrap();
        assert_eq!((imported.documents, imported.entries, imported.rows), (1, 1, 0));
        assert_eq!(store.read(&acceptance::name("a")).unwrap().unwrap().sequence, 1);
        let (imported, store) = read(&written(2, 2, 1)).unwrap();
        assert_eq!((imported.rows, store.row(b"key")), (1, Ok(Some("value".into()))));
        for format in [0, 3] {
            assert!(matches!(read(&written(2, format, 1)), Err(StoreError::Export(_))));
        }
        assert!(matches!(read(&written(2, 2, 2)), Err(StoreError::Export(_))), "a row is missing");
    }

    #[test]
    fn a_row_that_is_shorter_than_it_says_is_refused() {
        let store = MemoryStore::new().unwrap();
        for payload in [&b""[..], b"\x01", b"\x04\0key"] {
            assert!(matches!(new_row(&store, &payload.into()), Err(StoreError::Export(_))), "{payload:?}");
        }
    }
}
