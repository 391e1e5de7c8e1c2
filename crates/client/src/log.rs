//! One document on disk: a file that is only appended to, and now and then written anew.
//!
//! A file is eight bytes that say what it is, then records: the length of kind and payload (u32, little end first), the
//! CRC-32 of length, kind and payload, the kind, the payload. The first record is the document's name. A record that is cut
//! short or does not fit its checksum ends the file: that is what a crash leaves.
//!
//! [`Log::append`] puts a record into the file, [`Log::sync`] onto the disk: an edit is called kept, and is offered to the
//! server, only after the second. Records are written in one piece, so what stands before a torn one is whole.

use std::{
    fs::{File, OpenOptions},
    io::{Error, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;

const MAGIC: &[u8; 8] = b"SYNCCL\0\x01";
/// Length and checksum.
const HEAD: usize = 8;
/// A file is written anew once what came after its state is this large, and larger than twice the state: bytes.
const REWRITE_BYTES: u64 = 64 << 10;

const NAME: u8 = 0;
const STATE: u8 = 1;
const OWN: u8 = 2;
const REMOTE: u8 = 3;
const SAVED: u8 = 4;
const DELIVERED: u8 = 5;

/// Something to keep.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Record<'a> {
    /// An edit of this device.
    Own(&'a [u8]),
    /// An update from elsewhere.
    Remote(&'a [u8]),
    /// The server has so many of this device's edits on disk.
    Saved(u64),
    /// Every device has the messages up to this number.
    Delivered(u64),
}

/// The counts that are kept with a document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Edits that this device made.
    pub(crate) made: u64,
    /// Edits of which the server has said that they are on disk.
    pub(crate) saved: u64,
    /// Every device has the messages up to this number.
    pub(crate) delivered: u64,
}

/// What was in a file.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Updates, oldest first.
    pub(crate) parts: Vec<Bytes>,
    pub(crate) counts: Counts,
    /// Whole records stand behind one that is damaged: this was no crash. The file as it was is kept under this path.
    pub(crate) damaged: Option<PathBuf>,
}

/// An open file.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    path: PathBuf,
    len: u64,
    /// Where the state ends.
    state_end: u64,
    /// Where the file ended when it was last tried to write it anew.
    tried: u64,
    /// Something may be in the file and not on the disk.
    dirty: bool,
    /// The file's name may not be on the disk.
    unnamed: bool,
    /// Called where the file goes onto the disk; its error is the disk's.
    #[cfg(test)]
    pub(crate) disk: Option<Disk>,
}

/// Stands in for a disk in tests.
#[cfg(test)]
pub(crate) struct Disk(pub(crate) Box<dyn FnMut() -> Result<(), Error> + Send>);

#[cfg(test)]
impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

impl Log {
    /// Opens or makes the file of a document. A torn end is cut off.
    pub(crate) fn open(path: &Path, name: &str, most_bytes: u64) -> Result<(Self, Loaded), Error> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() > most_bytes {
            return Err(Error::new(ErrorKind::InvalidData, format!("{} is too large", path.display())));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let bytes = Bytes::from(bytes);
        let mut loaded = Loaded::default();
        let mut log = Self {
            file,
            path: path.to_owned(),
            len: 0,
            state_end: 0,
            tried: 0,
            // Who had it open before may have ended, or given it up, before it was put onto the disk.
            dirty: true,
            unnamed: true,
            #[cfg(test)]
            disk: None,
        };
        let Some(end) = log.read(&bytes, name, &mut loaded)? else {
            log.begin(name)?;
            return Ok((log, Loaded::default()));
        };
        if end < bytes.len() {
            if is_damage(&bytes[end..]) {
                let copy = path.with_extension("damaged");
                std::fs::write(&copy, &bytes)?;
                loaded.damaged = Some(copy);
            }
            log.file.set_len(end as u64)?;
            log.file.sync_all()?;
        }
        log.len = end as u64;
        log.tried = log.state_end;
        log.file.seek(SeekFrom::Start(log.len))?;
        Ok((log, loaded))
    }

    /// Reads records up to the first that is not whole; returns where they end, or nothing where the file was never begun.
    fn read(&mut self, bytes: &Bytes, name: &str, loaded: &mut Loaded) -> Result<Option<usize>, Error> {
        if bytes.len() < MAGIC.len() || &bytes[..MAGIC.len()] != MAGIC {
            // A crash while it was made leaves it short; anything longer is somebody else's.
            return if bytes.len() <= MAGIC.len() + HEAD + 1 + name.len()
                && MAGIC.starts_with(&bytes[..bytes.len().min(7)])
            {
                Ok(None)
            } else {
                Err(Error::new(ErrorKind::InvalidData, format!("{} is no log", self.path.display())))
            };
        }
        let mut at = MAGIC.len();
        let mut named = false;
        while let Some((kind, payload)) = record_at(bytes, at) {
            at += HEAD + 1 + payload.len();
            let number = || u64::from_le_bytes(payload[..8].try_into().unwrap_or_default());
            match kind {
                NAME if &payload[..] == name.as_bytes() => named = true,
                NAME => {
                    let other = format!("{} is of another document", self.path.display());
                    return Err(Error::new(ErrorKind::InvalidData, other));
                }
                STATE if payload.len() >= 24 => {
                    let count = |index: usize| {
                        let bytes = payload[index * 8..index * 8 + 8].try_into().unwrap_or_default();
                        u64::from_le_bytes(bytes)
                    };
                    loaded.counts = Counts { made: count(0), saved: count(1), delivered: count(2) };
                    loaded.parts = vec![payload.slice(24..)];
                    self.state_end = at as u64;
                }
                OWN => {
                    loaded.counts.made += 1;
                    loaded.parts.push(payload);
                }
                REMOTE => loaded.parts.push(payload),
                SAVED if payload.len() == 8 => {
                    loaded.counts.saved = loaded.counts.saved.max(number()).min(loaded.counts.made);
                }
                DELIVERED if payload.len() == 8 => {
                    loaded.counts.delivered = loaded.counts.delivered.max(number());
                }
                // Of a later version: what it means is not known here, and it is kept until the file is written anew.
                _ => {}
            }
        }
        Ok(named.then_some(at))
    }

    fn begin(&mut self, name: &str) -> Result<(), Error> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        let mut head = MAGIC.to_vec();
        write_record(&mut head, NAME, &[name.as_bytes()])?;
        self.file.write_all(&head)?;
        self.len = head.len() as u64;
        self.state_end = self.len;
        self.tried = self.len;
        self.dirty = true;
        Ok(())
    }

    /// Adds a record. Where that fails the file is as it was before.
    pub(crate) fn append(&mut self, record: Record<'_>) -> Result<(), Error> {
        let mut out = Vec::new();
        match record {
            Record::Own(update) => write_record(&mut out, OWN, &[update])?,
            Record::Remote(update) => write_record(&mut out, REMOTE, &[update])?,
            Record::Saved(saved) => write_record(&mut out, SAVED, &[&saved.to_le_bytes()])?,
            Record::Delivered(seq) => write_record(&mut out, DELIVERED, &[&seq.to_le_bytes()])?,
        }
        if let Err(error) = self.file.write_all(&out) {
            self.file.set_len(self.len)?;
            self.file.seek(SeekFrom::Start(self.len))?;
            return Err(error);
        }
        self.len += out.len() as u64;
        self.dirty = true;
        Ok(())
    }

    /// Puts all that was added onto the disk.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        if self.dirty {
            #[cfg(test)]
            if let Some(Disk(disk)) = &mut self.disk {
                disk()?;
            }
            self.file.sync_data()?;
            self.dirty = false;
        }
        if self.unnamed {
            sync_folder(&self.path)?;
            self.unnamed = false;
        }
        Ok(())
    }

    /// Returns how long the file is.
    pub(crate) fn bytes(&self) -> u64 {
        self.len
    }

    /// Says whether the file is worth writing anew. Where that failed it has to grow once more before it is tried again.
    pub(crate) fn is_long(&self) -> bool {
        self.len.saturating_sub(self.tried) > REWRITE_BYTES.max(self.state_end * 2)
    }

    /// Notes that it was tried to write the file anew.
    pub(crate) fn note_try(&mut self) {
        self.tried = self.len;
    }

    /// Writes the file anew from a state: either it stands as before or as it is to be, and it can be used on in any case.
    pub(crate) fn rewrite(&mut self, name: &str, counts: Counts, state: &[u8]) -> Result<(), Error> {
        let path = self.path.with_extension("new");
        let mut out = MAGIC.to_vec();
        write_record(&mut out, NAME, &[name.as_bytes()])?;
        let numbers = [counts.made, counts.saved, counts.delivered].map(u64::to_le_bytes).concat();
        write_record(&mut out, STATE, &[&numbers, state])?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.write_all(&out)?;
        file.sync_all()?;
        std::fs::rename(&path, &self.path)?;
        self.file = file;
        self.len = out.len() as u64;
        self.state_end = self.len;
        self.tried = self.len;
        self.dirty = false;
        self.unnamed = true;
        self.sync()
    }
}

/// Puts the names in the folder of a file onto the disk.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    // Only unix lets a folder be opened.
    if cfg!(unix)
        && let Some(folder) = path.parent()
    {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn write_record(out: &mut Vec<u8>, kind: u8, payload: &[&[u8]]) -> Result<(), Error> {
    let bytes: usize = payload.iter().map(|part| part.len()).sum();
    let len =
        u32::try_from(bytes + 1).map_err(|_| Error::new(ErrorKind::InvalidInput, "a record is too large"))?;
    let len = len.to_le_bytes();
    let mut crc = crc32fast::Hasher::new();
    crc.update(&len);
    crc.update(&[kind]);
    payload.iter().for_each(|part| crc.update(part));
    out.reserve(HEAD + 1 + bytes);
    out.extend_from_slice(&len);
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    out.push(kind);
    payload.iter().for_each(|part| out.extend_from_slice(part));
    Ok(())
}

/// Returns the whole record that stands somewhere.
fn record_at(bytes: &Bytes, at: usize) -> Option<(u8, Bytes)> {
    let rest = bytes.get(at..)?;
    let number = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    let len = usize::try_from(number(0)?).ok()?;
    let body = rest.get(HEAD..HEAD.checked_add(len)?)?;
    let (kind, _) = body.split_first()?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&rest[..4]);
    crc.update(body);
    (crc.finalize() == number(4)?).then(|| (*kind, bytes.slice(at + HEAD + 1..at + HEAD + len)))
}

/// Says whether more is gone than a crash takes: a record that claims to be whole and is not, with others behind it.
fn is_damage(rest: &[u8]) -> bool {
    let Some(len) = rest.get(..4).and_then(|len| len.try_into().ok()).map(u32::from_le_bytes) else {
        return false;
    };
    rest.len() > HEAD + len as usize && len > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> (Log, Loaded) {
        Log::open(path, "ada/notes", 1 << 20).expect("opens")
    }

    #[test]
    fn what_was_added_is_there_and_a_torn_end_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        let (mut log, loaded) = open(&path);
        assert!(loaded.parts.is_empty());
        log.append(Record::Own(b"one")).expect("added");
        log.append(Record::Remote(b"two")).expect("added");
        log.append(Record::Own(b"three")).expect("added");
        log.append(Record::Saved(1)).expect("added");
        log.sync().expect("synced");
        let whole = std::fs::read(&path).expect("reads");
        drop(log);
        let counts = Counts { made: 2, saved: 1, delivered: 0 };
        for end in 0..=whole.len() {
            std::fs::write(&path, &whole[..end]).expect("writes");
            let (mut log, loaded) = open(&path);
            assert!(loaded.damaged.is_none());
            let read: Vec<&[u8]> = loaded.parts.iter().map(|part| &part[..]).collect();
            assert!([&b"one"[..], b"two", b"three"].starts_with(&read), "cut at {end}");
            assert!(end < whole.len() || loaded.counts == counts);
            log.append(Record::Own(b"more")).expect("added");
            drop(log);
            assert_eq!(open(&path).1.parts.last().map(|part| &part[..]), Some(&b"more"[..]), "cut at {end}");
        }
    }

    #[test]
    fn a_file_that_is_written_anew_says_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        let (mut log, _) = open(&path);
        log.append(Record::Own(&[7; 100_000])).expect("added");
        assert!(log.is_long());
        let counts = Counts { made: 5, saved: 4, delivered: 3 };
        log.rewrite("ada/notes", counts, b"state").expect("written");
        log.append(Record::Own(b"more")).expect("added");
        drop(log);
        let (log, loaded) = open(&path);
        assert!(!log.is_long());
        assert_eq!(loaded.parts, [Bytes::from_static(b"state"), Bytes::from_static(b"more")]);
        assert_eq!(loaded.counts, Counts { made: 6, ..counts });
    }

    #[test]
    fn damage_is_not_taken_for_a_crash() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        let (mut log, _) = open(&path);
        log.append(Record::Own(b"one")).expect("added");
        log.append(Record::Own(b"two")).expect("added");
        drop(log);
        let mut bytes = std::fs::read(&path).expect("reads");
        let at = bytes.windows(3).position(|window| window == b"one").expect("is there");
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).expect("writes");
        let copy = open(&path).1.damaged.expect("the file is kept as it was");
        assert_eq!(std::fs::read(copy).expect("reads"), bytes);
        assert!(Log::open(&path, "ada/other", 1 << 20).is_err(), "of another document");
    }
}
