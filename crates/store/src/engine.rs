//! The store itself, over any [`Kv`]: one journal record per commit, checkpoints in chunks, an index in memory.
//!
//! Order of every write: applied, synced, then taken into the index. So what the index shows is durable, and a
//! failure in between leaves the index where it was.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use syncline_document::record::{Entry, EntryKind, Sequence, Stored};
use syncline_protocol::names::DocumentName;

use crate::{
    codec::{CHUNK_BYTES, Head, Part, Prepared, Raw, Side, encode_into, seal, unseal},
    error::StoreError,
    index::{Index, Posting, Slot},
    keys,
    kv::{Change, Kv, Mark},
    record::PackedEntries,
    rows::{FormerRows, View, seal_rows},
    store::{
        CommitNumber, Erase, Erased, FoldBounds, Identity, JournalSize, Row, SIDE_BYTES, Snapshot, Store,
        Summary, VALUE_BYTES,
    },
};

/// How many journal keys exist ahead of the newest commit, with empty values. sled splits a page at 17 items and
/// writes both halves again, so pages that fill up with records are written four times over; pages that split
/// while their items are still empty are not: a record then goes to a page that never splits.
const RESERVED_AHEAD: u64 = 32;

/// A store over an ordered map.
pub struct Engine<K> {
    pub(crate) kv: K,
    pub(crate) identity: Identity,
    pub(crate) index: Mutex<Index>,
    /// Held by whoever writes: the engine has one writer at a time.
    pub(crate) writing: Mutex<Writing>,
    /// Odd while something that readers may be looking at is replaced or deleted; counts those changes.
    pub(crate) changes: AtomicU64,
    /// What rows were before changes that readers are not to see.
    pub(crate) former: Mutex<FormerRows>,
    pub(crate) poison: Mutex<Option<String>>,
}

/// What only the writer needs.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    /// The crc of the newest record, which the next one repeats.
    pub(crate) chain: u32,
    /// The newest journal number that has a key.
    pub(crate) reserved: CommitNumber,
}

impl<K: Kv> Engine<K> {
    /// Returns the map below.
    pub fn kv(&self) -> &K {
        &self.kv
    }

    /// Takes the writer's place, unless the store is poisoned.
    pub(crate) fn write(&self) -> Result<MutexGuard<'_, Writing>, StoreError> {
        let writing = self.writing.lock();
        match &*self.poison.lock() {
            Some(reason) => Err(StoreError::Poisoned(reason.clone())),
            None => Ok(writing),
        }
    }

    /// Runs a write; poisons the store where it fails or panics.
    pub(crate) fn contain<R>(&self, write: impl FnOnce() -> Result<R, StoreError>) -> Result<R, StoreError> {
        let failed = match catch_unwind(AssertUnwindSafe(write)) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error,
            Err(panic) => StoreError::Io(format!("the storage engine panicked: {}", panic_text(&*panic))),
        };
        tracing::error!(event = "store_poisoned", error = %failed);
        self.poison.lock().get_or_insert_with(|| failed.to_string());
        Err(failed)
    }

    /// Runs a read; a panic of the storage engine is damage it found.
    pub(crate) fn contain_read<R>(read: impl FnOnce() -> Result<R, StoreError>) -> Result<R, StoreError> {
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
            Err(StoreError::Damaged(format!(
                "the storage engine panicked while reading: {}",
                panic_text(&*panic)
            )))
        })
    }

    /// Reads a document's head.
    pub(crate) fn head(&self, name: &DocumentName) -> Result<Option<Head>, StoreError> {
        match self.kv.get(&keys::head(name))? {
            Some(value) => parse_head(name, &value).map(Some),
            None => Ok(None),
        }
    }

    /// Returns a document's newest durable sequence.
    fn durable_sequence(&self, name: &DocumentName) -> Result<Sequence, StoreError> {
        if let Some(last) = self.index.lock().tails.get(name).and_then(|tail| tail.last()) {
            return Ok(last);
        }
        Ok(self.head(name)?.map_or(0, |head| head.sequence))
    }

    /// Works out what a batch holds of each document, and that its sequences go up.
    fn group(
        &self,
        batch: &[Entry],
        commit: CommitNumber,
    ) -> Result<Vec<(DocumentName, Posting)>, StoreError> {
        let mut groups: Vec<(DocumentName, Posting)> = Vec::new();
        let mut places: HashMap<&DocumentName, usize> = HashMap::new();
        for entry in batch {
            let place = match groups.last() {
                Some((name, _)) if *name == entry.document => groups.len() - 1,
                _ => *places.entry(&entry.document).or_insert(groups.len()),
            };
            if place == groups.len() {
                let before = self.durable_sequence(&entry.document)?;
                groups.push((entry.document.clone(), Posting::start(commit, before, entry)));
            }
            let posting = &mut groups[place].1;
            if entry.sequence <= posting.last {
                return Err(StoreError::Bug(format!(
                    "{} has sequence {} already, {} was to follow",
                    entry.document, posting.last, entry.sequence
                )));
            }
            posting.add(entry);
        }
        Ok(groups)
    }

    /// Encodes a record into the parts that are written; returns its crc too.
    fn encode_record(&self, commit: CommitNumber, batch: &[Entry], chain: u32) -> Result<Record, StoreError> {
        let claimed: usize = batch.iter().map(|entry| entry.bytes.len()).sum();
        if claimed > VALUE_BYTES {
            return Err(StoreError::TooLarge(format!(
                "{claimed} bytes in one commit, {VALUE_BYTES} are taken"
            )));
        }
        let mut record = Vec::with_capacity(claimed + 16 * batch.len() + 256);
        record.extend_from_slice(&chain.to_le_bytes());
        encode_into(&PackedEntries::new(batch), &mut record)?;
        let count = record.len().div_ceil(CHUNK_BYTES);
        let parts = u32::try_from(count).map_err(|_| StoreError::TooLarge("parts of a record".into()))?;
        let mut changes = Vec::with_capacity(count);
        let mut bytes = 0;
        for (part, piece) in (0..).zip(record.chunks(CHUNK_BYTES)) {
            let value = seal(&Part { commit, part, parts, bytes: Raw(piece) })?;
            bytes += value.len() as u64;
            changes.push(Change::Put(keys::journal(commit, part), value));
        }
        Ok(Record { changes, parts, bytes, crc: crc32fast::hash(&record) })
    }

    /// Commits with the writer's place taken.
    pub(crate) fn commit_locked(
        &self,
        writing: &mut Writing,
        batch: &[Entry],
        rows: &[Row],
    ) -> Result<(), StoreError> {
        let rows = seal_rows(rows)?;
        if batch.is_empty() {
            return self.write_rows(rows);
        }
        let commit = self.index.lock().last() + 1;
        let groups = self.group(batch, commit)?;
        let record = self.encode_record(commit, batch, writing.chain)?;
        let row_bytes: usize = rows.iter().map(Change::size).sum();
        self.keep_former(&rows)?;
        self.contain(|| {
            self.kv.room_for(2 * (record.bytes as usize + row_bytes))?;
            // Rows last: what is left of a torn batch has none of them without the whole record.
            let mut changes = record.changes;
            changes.extend(rows);
            self.kv.apply(changes)?;
            while writing.reserved < commit + RESERVED_AHEAD {
                writing.reserved = writing.reserved.max(commit) + 1;
                self.kv.apply(vec![Change::Put(keys::journal(writing.reserved, 0), Vec::new())])?;
            }
            self.kv.sync()
        })?;
        writing.chain = record.crc;
        let documents = u32::try_from(groups.len()).unwrap_or(u32::MAX);
        let slot = Slot { documents, parts: record.parts, bytes: record.bytes, rewritten: false };
        self.index.lock().push(slot, groups);
        // After the entries: who sees a row finds what it is about.
        self.forget_former();
        Ok(())
    }

    /// Marks the time in which something that readers look at is replaced: a read that fails meanwhile is
    /// tried again.
    pub(crate) fn changing<R>(&self, change: impl FnOnce() -> R) -> R {
        self.changes.fetch_add(1, Ordering::SeqCst);
        let done = change();
        self.changes.fetch_add(1, Ordering::SeqCst);
        done
    }
}

struct Record {
    changes: Vec<Change>,
    parts: u32,
    bytes: u64,
    crc: u32,
}

impl Posting {
    /// Begins a posting before its first entry; `before` is the document's newest sequence so far.
    pub(crate) fn start(commit: CommitNumber, before: Sequence, first: &Entry) -> Self {
        let at_ms = first.origin.at_ms;
        Self {
            commit,
            first: first.sequence,
            last: before,
            entries: 0,
            pending: 0,
            quarantined: 0,
            bytes: 0,
            at_ms,
        }
    }

    fn add(&mut self, entry: &Entry) {
        self.count(entry.sequence, entry.kind, entry.bytes.len());
    }

    /// Takes in one more entry.
    pub(crate) fn count(&mut self, sequence: Sequence, kind: EntryKind, bytes: usize) {
        self.last = sequence;
        self.entries += 1;
        self.bytes += bytes as u64;
        match kind {
            EntryKind::Update => {}
            EntryKind::Pending => self.pending += 1,
            EntryKind::Quarantined => self.quarantined += 1,
        }
    }
}

impl<K: Kv> Store for Engine<K> {
    fn commit(&self, batch: &[Entry], rows: &[Row]) -> Result<(), StoreError> {
        self.commit_locked(&mut *self.write()?, batch, rows)
    }

    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read_row(key)
    }

    fn rows(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let rows = self.list_rows(View::Newest, &keys::row(from), &keys::row(to), limit)?;
        rows.into_iter().map(|(key, value)| value.map(|value| (key, value))).collect()
    }

    fn read(&self, name: &DocumentName) -> Result<Option<Stored>, StoreError> {
        self.read_newest(name)
    }

    fn write_checkpoints(&self, checkpoints: &[(DocumentName, Prepared)]) -> Vec<Result<(), StoreError>> {
        self.write_prepared(checkpoints)
    }

    fn put_side(&self, name: &DocumentName, side: Bytes) -> Result<(), StoreError> {
        if side.len() > SIDE_BYTES {
            return Err(StoreError::TooLarge(format!(
                "side record of {name}: {} bytes, {SIDE_BYTES} are taken",
                side.len()
            )));
        }
        let _writing = self.write()?;
        let value = seal(&Side { name: name.as_str(), bytes: Raw(&side) })?;
        self.contain(|| {
            self.kv.room_for(value.len())?;
            self.kv.apply(vec![Change::Put(keys::side(name), value)])
        })
    }

    fn prune(&self, max_steps: usize) -> Result<usize, StoreError> {
        self.prune_steps(max_steps)
    }

    fn erase(&self, documents: &[Erase]) -> Result<Erased, StoreError> {
        self.erase_documents(documents)
    }

    fn documents(&self, after: Option<&DocumentName>, limit: usize) -> Result<Vec<Summary>, StoreError> {
        self.list(after, limit)
    }

    fn due(&self, bounds: &FoldBounds, now_ms: u64, limit: usize) -> Vec<DocumentName> {
        self.index.lock().due(bounds, now_ms, limit)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, StoreError> {
        self.hold()
    }

    fn restore(&self, name: &DocumentName, stored: &Stored) -> Result<(), StoreError> {
        self.restore_document(name, stored)
    }

    fn identity(&self) -> Identity {
        self.identity
    }

    fn last_commit(&self) -> CommitNumber {
        self.index.lock().last()
    }

    fn size_on_disk(&self) -> u64 {
        self.kv.size_on_disk()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.kv.free_bytes()
    }

    fn journal(&self) -> JournalSize {
        let index = self.index.lock();
        JournalSize {
            records: index.slots.len() as u64,
            bytes: index.bytes,
            documents: index.tails.len() as u64,
        }
    }

    fn poisoned(&self) -> Option<String> {
        self.poison.lock().clone()
    }

    fn mark(&self) -> Result<(), StoreError> {
        let mark = {
            let index = self.index.lock();
            Mark { commit: index.last(), heads: index.heads }
        };
        self.kv.mark(mark)
    }
}

/// Decodes a head and checks that it is this document's.
pub(crate) fn parse_head(name: &DocumentName, value: &[u8]) -> Result<Head, StoreError> {
    let what = format_args!("head of {name}");
    let head: Head = unseal(&what, value)?;
    if head.name != name.as_str() {
        return Err(StoreError::damaged(what, format!("names {}", head.name)));
    }
    Ok(head)
}

/// Returns what a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "no text".to_owned(),
    }
}
