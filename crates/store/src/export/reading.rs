//! Reading an export: into a store, or to see whether it is whole.

use std::io::Read;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use syncline_document::record::{Checkpoint, Entry, EntryKind, Origin, Stored};
use syncline_protocol::names::DocumentName;

use super::{
    DocumentLine, EXPORT_FORMAT, EntryLine, Exported, FileLine, Header, Kind, LeftLine, ROW_PAGE, Trailer,
};
use crate::{
    error::StoreError,
    store::{Row, Store, VALUE_BYTES},
};

/// Takes the files of an export. An error ends the import.
pub trait FileSink {
    /// A file begins; its pieces follow.
    ///
    /// # Errors
    /// [`StoreError`], as all of these.
    fn begin(&mut self, name: &str, bytes: u64) -> Result<(), StoreError>;
    /// So much more of it.
    ///
    /// # Errors
    /// [`StoreError`].
    fn piece(&mut self, piece: &[u8]) -> Result<(), StoreError>;
    /// It is whole.
    ///
    /// # Errors
    /// [`StoreError`].
    fn end(&mut self) -> Result<(), StoreError>;
    /// A file is not in the export; what of it came before is no good.
    ///
    /// # Errors
    /// [`StoreError`].
    fn left(&mut self, name: &str, why: &str) -> Result<(), StoreError>;
}

/// One thing that an export holds.
enum Part<'a> {
    Document(&'a DocumentName, &'a Stored),
    Row(Bytes),
    File(&'a FileLine),
    Piece(&'a [u8]),
    FileEnd,
    Left(&'a LeftLine),
}

/// Reads an export into a store that has none of its documents and rows. Into an empty one, please: where this fails, what
/// was read so far stays there. Files are passed over.
///
/// # Errors
/// [`StoreError::Export`] says what is wrong with the file; others as [`Store::restore`].
pub fn import(store: &dyn Store, from: &mut dyn Read) -> Result<Exported, StoreError> {
    read_into(store, None, from)
}

/// As [`import`], with its files.
///
/// # Errors
/// As [`import`], and as the sink.
pub fn import_with(
    store: &dyn Store,
    files: &mut dyn FileSink,
    from: &mut dyn Read,
) -> Result<Exported, StoreError> {
    read_into(store, Some(files), from)
}

fn read_into(
    store: &dyn Store,
    mut files: Option<&mut dyn FileSink>,
    from: &mut dyn Read,
) -> Result<Exported, StoreError> {
    let mut rows = Vec::new();
    let imported = walk(from, &mut |part| {
        match (part, &mut files) {
            (Part::Document(name, stored), _) => store.restore(name, stored)?,
            (Part::Row(payload), _) => {
                rows.push(new_row(store, &payload)?);
                if rows.len() == ROW_PAGE {
                    store.commit(&[], &std::mem::take(&mut rows))?;
                }
            }
            (_, None) => {}
            (Part::File(file), Some(files)) => {
                // Files may look for what the store says of them.
                store.commit(&[], &std::mem::take(&mut rows))?;
                files.begin(&file.name, file.bytes)?;
            }
            (Part::Piece(piece), Some(files)) => files.piece(piece)?,
            (Part::FileEnd, Some(files)) => files.end()?,
            (Part::Left(left), Some(files)) => files.left(&left.name, &left.why)?,
        }
        Ok(())
    })?;
    store.commit(&[], &rows)?;
    store.mark()?;
    Ok(imported)
}

/// Reads an export to its end and checks that it is whole; names the files that it does not hold, and why.
///
/// # Errors
/// [`StoreError::Export`] says what is wrong with it.
pub fn survey(from: &mut dyn Read, left: &mut dyn FnMut(&str, &str)) -> Result<Exported, StoreError> {
    walk(from, &mut |part| {
        if let Part::Left(line) = part {
            left(&line.name, &line.why);
        }
        Ok(())
    })
}

/// Goes through all that an export holds.
fn walk(
    from: &mut dyn Read,
    take: &mut dyn FnMut(Part<'_>) -> Result<(), StoreError>,
) -> Result<Exported, StoreError> {
    let mut input = Input(zstd::stream::read::Decoder::new(from)?);
    let header: Header = input.json(b'H')?;
    if header.format == 0 || header.format > EXPORT_FORMAT {
        let text = format!("it has format {}, this version reads 1 to {EXPORT_FORMAT}", header.format);
        return Err(StoreError::Export(text));
    }
    let mut seen = Exported { commit: header.commit, ..Exported::default() };
    let mut files = 0;
    loop {
        let (kind, payload) = input.record()?;
        match kind {
            b'D' => {
                let (name, stored) = input.document(&from_json(&payload)?)?;
                let pending = stored.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.pending.len());
                seen.entries += (pending + stored.quarantined.len() + stored.tail.len()) as u64;
                seen.documents += 1;
                take(Part::Document(&name, &stored))?;
            }
            b'R' => {
                seen.rows += 1;
                take(Part::Row(payload.into()))?;
            }
            b'F' => match input.file(&from_json(&payload)?, take)? {
                true => files += 1,
                false => seen.left += 1,
            },
            b'L' => {
                seen.left += 1;
                take(Part::Left(&from_json(&payload)?))?;
            }
            b'Z' => {
                let trailer: Trailer = from_json(&payload)?;
                seen.files = trailer.files;
                let Exported { documents, entries, rows, left, .. } = seen;
                let said = (trailer.documents, trailer.entries, trailer.rows, trailer.left);
                if said != (documents, entries, rows, left) || trailer.files.unwrap_or(0) != files {
                    return Err(StoreError::Export("it holds less than it says at its end".into()));
                }
                return Ok(seen);
            }
            other => return Err(unexpected(other, "a document, a row or a file")),
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

    /// Reads a file to its end; says whether all of it is there.
    fn file(
        &mut self,
        file: &FileLine,
        take: &mut dyn FnMut(Part<'_>) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        take(Part::File(file))?;
        let mut length = 0;
        loop {
            let (kind, payload) = self.record()?;
            match kind {
                b'P' => {
                    length += payload.len() as u64;
                    take(Part::Piece(&payload))?;
                }
                b'G' if length == file.bytes => {
                    take(Part::FileEnd)?;
                    return Ok(true);
                }
                b'G' => {
                    let text = format!("{} has {length} bytes instead of {}", file.name, file.bytes);
                    return Err(StoreError::Export(text));
                }
                b'L' => {
                    take(Part::Left(&from_json(&payload)?))?;
                    return Ok(false);
                }
                other => return Err(unexpected(other, "a piece of a file")),
            }
        }
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

fn from_json<T: DeserializeOwned>(payload: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(payload)
        .map_err(|error| StoreError::Export(format!("a record is not what it says: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    #[test]
    fn a_row_that_is_shorter_than_it_says_is_refused() {
        let store = MemoryStore::new().unwrap();
        for payload in [&b""[..], b"\x01", b"\x04\0key"] {
            assert!(matches!(new_row(&store, &payload.into()), Err(StoreError::Export(_))), "{payload:?}");
        }
    }
}
