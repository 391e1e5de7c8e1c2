//! The neutral form of a store: backups, restores, compaction, moves to another storage engine.
//!
//! A zstd stream of records, each `[kind u8][length u32][crc32 of the payload u32][payload]`, numbers little-endian:
//!
//! | kind | payload |
//! |---|---|
//! | `H` | first, JSON: `{"format":3,"commit":N,"created_ms":N}` |
//! | `D` | a document, JSON: `{"name","sequence","checkpoint":S or null,"pending":N,"quarantined":N,"tail":N}`; then its parts in this order |
//! | `V` | state vector of its checkpoint (lib0 v1) |
//! | `C` | its checkpoint, one update (lib0 v1) |
//! | `E` | an entry, JSON `{"sequence","kind","user","device","at_ms"}`, a line feed, the bytes: first the pending ones of the checkpoint, then the quarantined, then the tail |
//! | `S` | its side record, present for every document |
//! | `R` | a row, after the documents: the length of its key (2), the key, the value |
//! | `F` | a file from beside the store, after the rows, JSON: `{"name","bytes"}`; then its pieces and its end |
//! | `P` | a piece of it, 256 KiB at most |
//! | `G` | its end, without payload: all of it was there |
//! | `L` | a file that is left out, JSON: `{"name","why"}`; instead of `G` where that turned out while it was written |
//! | `Z` | last, JSON: `{"documents":N,"entries":N,"rows":N,"files":N or null,"left":N}`; a file without it is not whole |
//!
//! Format 1 had no rows, format 2 no files; both are still read. What the files are is for the caller to know: an export
//! made without them says `null`.
//!
//! The server's identity is not in it: a restored server writes under other client ids.

mod reading;

use std::{
    io::{Read, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use syncline_document::record::{EntryKind, Sequence, Stored};
use syncline_protocol::names::DocumentName;

pub use self::reading::{FileSink, import, import_with, survey};
use crate::{
    error::StoreError,
    store::{CommitNumber, Snapshot, Store},
};

/// The format that is written.
pub const EXPORT_FORMAT: u64 = 3;

/// Documents listed at a time.
const PAGE: usize = 256;

/// Rows listed at a time, and rows written in one commit of an import: each may be of 48 KiB.
const ROW_PAGE: usize = 64;

/// Bytes of a piece of a file.
const PIECE: usize = 256 << 10;

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
    /// Files from beside the store; none where it was made without them.
    pub files: Option<u64>,
    /// Files that were to be in it and are not.
    pub left: u64,
}

/// A file from beside the store, on its way into an export.
pub struct FileSource {
    /// What it is known by.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its content, or why there is none. An error while it is read leaves it out, with these words.
    pub content: std::io::Result<Box<dyn Read>>,
}

impl std::fmt::Debug for FileSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSource").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Files, one after the other.
pub type Files<'a> = &'a mut dyn Iterator<Item = Result<FileSource, StoreError>>;

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
    #[serde(default)]
    files: Option<u64>,
    #[serde(default)]
    left: u64,
}

#[derive(Serialize, Deserialize)]
struct FileLine {
    name: String,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct LeftLine {
    name: String,
    why: String,
}

/// Writes every document and every row as of now; the store stays in use meanwhile.
///
/// # Errors
/// [`StoreError::Damaged`] where a document or a row cannot be read whole: what was written so far is not a usable export.
pub fn export(store: &dyn Store, to: &mut dyn Write) -> Result<Exported, StoreError> {
    export_with(store, None, to)
}

/// As [`export`], and then files from beside the store, as they are when their turn comes. One that cannot be read whole
/// is left out, and that is noted.
///
/// # Errors
/// As [`export`].
pub fn export_with(
    store: &dyn Store,
    files: Option<Files<'_>>,
    to: &mut dyn Write,
) -> Result<Exported, StoreError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut out = Output(zstd::stream::write::Encoder::new(to, ZSTD_LEVEL)?);
    // Given back before the files are read: erasures wait for it.
    let mut exported = {
        let snapshot = store.snapshot()?;
        let created_ms = u64::try_from(now.as_millis()).unwrap_or(0);
        let commit = snapshot.commit();
        out.json(b'H', &Header { format: EXPORT_FORMAT, commit, created_ms })?;
        out.store(&*snapshot)?
    };
    if let Some(files) = files {
        let mut whole = 0;
        for file in files {
            match out.file(file?)? {
                true => whole += 1,
                false => exported.left += 1,
            }
        }
        exported.files = Some(whole);
    }
    let Exported { documents, entries, rows, files, left, .. } = exported;
    out.json(b'Z', &Trailer { documents, entries, rows, files, left })?;
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

    /// Writes all documents and rows.
    fn store(&mut self, snapshot: &dyn Snapshot) -> Result<Exported, StoreError> {
        let mut exported = Exported { commit: snapshot.commit(), ..Exported::default() };
        let mut after = None;
        loop {
            let names = snapshot.documents(after.as_ref(), PAGE)?;
            let Some(last) = names.last() else { break };
            after = Some(last.clone());
            for name in names {
                if let Some(stored) = snapshot.read(&name)? {
                    exported.entries += self.document(&name, &stored)?;
                    exported.documents += 1;
                }
            }
        }
        exported.rows = self.rows(snapshot)?;
        Ok(exported)
    }

    /// Writes a file; says whether all of it was there.
    fn file(&mut self, file: FileSource) -> Result<bool, StoreError> {
        let FileSource { name, bytes, content } = file;
        let copied = match content {
            Ok(content) => {
                self.json(b'F', &FileLine { name: name.clone(), bytes })?;
                self.pieces(bytes, content)?
            }
            Err(error) => Err(error.to_string()),
        };
        match copied {
            Ok(()) => self.record(b'G', &[])?,
            Err(why) => {
                self.json(b'L', &LeftLine { name, why })?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the pieces of a file; the inner error says what is wrong with it.
    fn pieces(&mut self, bytes: u64, mut content: impl Read) -> Result<Result<(), String>, StoreError> {
        let (mut piece, mut length) = (Vec::with_capacity(PIECE), 0);
        loop {
            piece.clear();
            if let Err(error) = content.by_ref().take(PIECE as u64).read_to_end(&mut piece) {
                return Ok(Err(error.to_string()));
            }
            length += piece.len() as u64;
            match piece.is_empty() {
                true if length == bytes => return Ok(Ok(())),
                true => return Ok(Err(format!("it has {length} bytes instead of {bytes}"))),
                false if length > bytes => return Ok(Err(format!("it has more than its {bytes} bytes"))),
                false => self.record(b'P', &piece)?,
            }
        }
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

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Bug(error.to_string()))
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
            out.json(b'Z', &Trailer { documents: 1, entries: 1, rows, files: None, left: 0 }).unwrap();
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
        for format in [0, EXPORT_FORMAT + 1] {
            assert!(matches!(read(&written(2, format, 1)), Err(StoreError::Export(_))));
        }
        assert!(matches!(read(&written(2, 2, 2)), Err(StoreError::Export(_))), "a row is missing");
    }

    fn named(name: &str, content: std::io::Result<&'static [u8]>, bytes: u64) -> FileSource {
        let content = content.map(|content| Box::new(content) as Box<dyn Read>);
        FileSource { name: name.to_owned(), bytes, content }
    }

    #[derive(Default)]
    struct Kept(Vec<String>);

    impl FileSink for Kept {
        fn begin(&mut self, name: &str, bytes: u64) -> Result<(), StoreError> {
            self.0.push(format!("{name} {bytes} "));
            Ok(())
        }

        fn piece(&mut self, piece: &[u8]) -> Result<(), StoreError> {
            self.0.last_mut().unwrap().push_str(std::str::from_utf8(piece).unwrap());
            Ok(())
        }

        fn end(&mut self) -> Result<(), StoreError> {
            self.0.last_mut().unwrap().push('.');
            Ok(())
        }

        fn left(&mut self, name: &str, why: &str) -> Result<(), StoreError> {
            self.0.push(format!("{name}: {why}"));
            Ok(())
        }
    }

    #[test]
    fn files_go_with_the_store_and_those_that_cannot_be_read_are_named() {
        let store = MemoryStore::new().unwrap();
        store.commit(&[acceptance::entry("a", 1)], &[]).unwrap();
        let missing = std::io::Error::other("it is gone");
        let files =
            vec![named("one", Ok(b"1111"), 4), named("two", Err(missing), 9), named("short", Ok(b"x"), 2)];
        let mut file = Vec::new();
        let exported = export_with(&store, Some(&mut files.into_iter().map(Ok)), &mut file).unwrap();
        assert_eq!((exported.files, exported.left), (Some(1), 2));
        let (copy, mut kept) = (MemoryStore::new().unwrap(), Kept::default());
        assert_eq!(import_with(&copy, &mut kept, &mut &file[..]).unwrap(), exported);
        let short = "short: it has 1 bytes instead of 2";
        assert_eq!(kept.0, ["one 4 1111.", "two: it is gone", "short 2 x", short]);
        let mut left = Vec::new();
        let seen = survey(&mut &file[..], &mut |name, _| left.push(name.to_owned())).unwrap();
        assert_eq!((seen, left), (exported, vec!["two".to_owned(), "short".to_owned()]));
        // Half of a file is none, and an export without files says so.
        assert!(survey(&mut &file[..file.len() - 1], &mut |_, _| ()).is_err());
        file.clear();
        assert_eq!(export(&store, &mut file).unwrap().files, None);
    }
}
