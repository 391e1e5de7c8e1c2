//! Reading a document back: the newest state beside writers that replace and delete, or the state as of a held
//! commit. Every piece is checked; nothing is left out in silence.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use syncline_document::record::{Entry, EntryKind, Sequence, Stored};
use syncline_protocol::names::DocumentName;

use crate::{
    codec::{Blob, Chunk, Head, Part, Prepared, Side, decompress, unpack_entries, unseal},
    engine::{Engine, parse_head},
    error::StoreError,
    index::{Hold, Posting, Replaced, Tail},
    keys,
    kv::Kv,
    open::{record, record_entries},
    record::unpack_of,
    rows::View,
    store::{CheckedRow, CommitNumber, Snapshot, Summary},
};

/// How often a read that failed beside a change is tried before it waits for writers to pause.
const OPTIMISTIC_READS: usize = 8;

impl<K: Kv> Engine<K> {
    /// Reads a document as it is now.
    pub(crate) fn read_newest(&self, name: &DocumentName) -> Result<Option<Stored>, StoreError> {
        let read = || {
            let tail = self.index.lock().tails.get(name).cloned();
            let head = self.kv.get(&keys::head(name))?;
            self.assemble(name, head, tail.as_ref())
        };
        self.beside_changes(read)
    }

    /// Reads again where a failure may come from something being replaced meanwhile: a failure counts once
    /// nothing changed around it.
    fn beside_changes<R>(&self, read: impl Fn() -> Result<R, StoreError>) -> Result<R, StoreError> {
        for _ in 0..OPTIMISTIC_READS {
            let before = self.changes.load(Ordering::SeqCst);
            match Self::contain_read(&read) {
                Ok(done) => return Ok(done),
                Err(error) => {
                    let quiet = before.is_multiple_of(2) && self.changes.load(Ordering::SeqCst) == before;
                    if quiet {
                        return Err(error);
                    }
                }
            }
            std::thread::yield_now();
        }
        let _writing = self.writing.lock();
        Self::contain_read(&read)
    }

    /// Puts a document together from its head and the commits that hold its tail.
    fn assemble(
        &self,
        name: &DocumentName,
        head: Option<Bytes>,
        tail: Option<&Tail>,
    ) -> Result<Option<Stored>, StoreError> {
        let side = self.read_side(name)?;
        if head.is_none() && tail.is_none() && side.is_none() {
            return Ok(None);
        }
        let mut stored = Stored {
            side: side.unwrap_or_default(),
            server_client: self.identity.server_client(name),
            ..Stored::default()
        };
        if let Some(value) = head {
            let head = parse_head(name, &value)?;
            stored.quarantined = self.read_quarantine(name, &head)?;
            stored.checkpoint = Some(self.read_checkpoint(name, &head)?);
            stored.sequence = head.sequence;
        }
        for posting in tail.into_iter().flat_map(|tail| &tail.postings) {
            self.read_posting(name, posting, &mut stored)?;
        }
        Ok(Some(stored))
    }

    fn read_side(&self, name: &DocumentName) -> Result<Option<Bytes>, StoreError> {
        let Some(value) = self.kv.get(&keys::side(name))? else { return Ok(None) };
        let what = format_args!("side record of {name}");
        let side: Side<'_> = unseal(&what, &value)?;
        if side.name != name.as_str() {
            return Err(StoreError::damaged(what, format!("names {}", side.name)));
        }
        Ok(Some(value.slice_ref(side.bytes.0)))
    }

    fn read_checkpoint(
        &self,
        name: &DocumentName,
        head: &Head,
    ) -> Result<syncline_document::record::Checkpoint, StoreError> {
        let what = format!("checkpoint of {name} at {}", head.sequence);
        let raw = self.read_blob(&what, name, &head.body)?;
        let checkpoint = Prepared::open(&what, &raw, name)?;
        let (sequence, pending) = (checkpoint.sequence, checkpoint.pending.len());
        if sequence != head.sequence || pending != head.pending as usize {
            let wrong =
                format!("is of sequence {sequence} with {pending} pending, the head says {}", head.pending);
            return Err(StoreError::damaged(&what, wrong));
        }
        Ok(checkpoint)
    }

    /// Reads the quarantined entries that a head refers to.
    pub(crate) fn read_quarantine(&self, name: &DocumentName, head: &Head) -> Result<Vec<Entry>, StoreError> {
        let Some(blob) = &head.quarantine else { return Ok(Vec::new()) };
        let what = format!("quarantine of {name}");
        let entries = unpack_entries(&what, &self.read_blob(&what, name, blob)?, name)?;
        if entries.len() != head.quarantined as usize {
            let wrong = format!("{} are there, {} must be", entries.len(), head.quarantined);
            return Err(StoreError::damaged(&what, wrong));
        }
        Ok(entries)
    }

    fn read_blob(&self, what: &str, name: &DocumentName, blob: &Blob) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        for index in 0..blob.chunks {
            let value = self.kv.get(&keys::chunk(name, blob.generation, index))?.ok_or_else(|| {
                StoreError::damaged(what, format!("chunk {index} of {} is missing", blob.chunks))
            })?;
            let chunk: Chunk<'_> = unseal(&what, &value)?;
            if (chunk.generation, chunk.index) != (blob.generation, index) {
                return Err(StoreError::damaged(what, format!("chunk {index} is another one")));
            }
            bytes.extend_from_slice(chunk.bytes.0);
        }
        if bytes.len() as u64 != blob.stored || crc32fast::hash(&bytes) != blob.crc {
            return Err(StoreError::damaged(what, "its chunks do not add up to what the head says"));
        }
        decompress(&what, &bytes, blob.raw)
    }

    /// Adds what one commit holds of a document beyond `stored.sequence`.
    fn read_posting(
        &self,
        name: &DocumentName,
        posting: &Posting,
        stored: &mut Stored,
    ) -> Result<(), StoreError> {
        if posting.last <= stored.sequence {
            return Ok(());
        }
        let what = record(posting.commit);
        let bytes = self.read_record(&what, posting.commit)?;
        let mut entries = Vec::with_capacity(posting.entries as usize);
        unpack_of(&what, record_entries(&what, &bytes)?.packed, name, &mut entries)?;
        let bounds = (entries.first().map(|e| e.sequence), entries.last().map(|e| e.sequence));
        if entries.len() != posting.entries as usize || bounds != (Some(posting.first), Some(posting.last)) {
            let wrong = format!("holds {} entries of {name}, {} must be", entries.len(), posting.entries);
            return Err(StoreError::damaged(&what, wrong));
        }
        let covered = stored.sequence;
        for entry in entries.into_iter().filter(|entry| entry.sequence > covered) {
            stored.sequence = entry.sequence;
            match entry.kind {
                EntryKind::Quarantined => stored.quarantined.push(entry),
                EntryKind::Update | EntryKind::Pending => stored.tail.push(entry),
            }
        }
        Ok(())
    }

    /// Reads a journal record with all its parts.
    pub(crate) fn read_record(&self, what: &str, commit: CommitNumber) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let mut number = 0;
        loop {
            let value = self
                .kv
                .get(&keys::journal(commit, number))?
                .ok_or_else(|| StoreError::damaged(what, format!("part {number} is missing")))?;
            let part: Part<'_> = unseal(&what, &value)?;
            if (part.commit, part.part) != (commit, number) {
                return Err(StoreError::damaged(what, format!("part {number} is another one")));
            }
            bytes.extend_from_slice(part.bytes.0);
            number += 1;
            if number >= part.parts {
                return Ok(bytes);
            }
        }
    }

    /// Returns the quarantined entries of a document's tail up to a sequence.
    pub(crate) fn quarantined_in_tail(
        &self,
        name: &DocumentName,
        tail: &Tail,
        from: Sequence,
        to: Sequence,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        for posting in tail.postings.iter().filter(|posting| posting.quarantined > 0 && posting.first <= to) {
            let what = record(posting.commit);
            let bytes = self.read_record(&what, posting.commit)?;
            let mut entries = Vec::new();
            unpack_of(&what, record_entries(&what, &bytes)?.packed, name, &mut entries)?;
            found.extend(entries.into_iter().filter(|entry| {
                entry.kind == EntryKind::Quarantined && entry.sequence > from && entry.sequence <= to
            }));
        }
        Ok(found)
    }

    /// Lists documents by name.
    pub(crate) fn list(
        &self,
        after: Option<&DocumentName>,
        limit: usize,
    ) -> Result<Vec<Summary>, StoreError> {
        Self::contain_read(|| {
            self.names(after, limit)?
                .into_iter()
                .map(|name| {
                    let tail = self.index.lock().tails.get(&name).cloned();
                    let head = self.head(&name)?;
                    Ok(summary(name, head.as_ref(), tail.as_ref()))
                })
                .collect()
        })
    }

    fn names(&self, after: Option<&DocumentName>, limit: usize) -> Result<Vec<DocumentName>, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let mut names: Vec<DocumentName> = {
            let index = self.index.lock();
            let range = index.tails.range((after.map_or(Unbounded, Excluded), Unbounded));
            range.take(limit).map(|(name, _)| name.clone()).collect()
        };
        let from = after.map_or(keys::HEADS.to_vec(), |after| {
            let mut key = keys::head(after);
            key.push(0);
            key
        });
        let mut with_head = 0;
        self.kv.scan(&from, keys::HEADS_END, &mut |key, _| {
            let name = keys::parse_head(key)
                .ok_or_else(|| StoreError::damaged("checkpoints", "a key that names no document"))?;
            names.push(name);
            with_head += 1;
            Ok(with_head < limit)
        })?;
        names.sort_unstable();
        names.dedup();
        names.truncate(limit);
        Ok(names)
    }

    /// Begins to hold every document as of now.
    pub(crate) fn hold(&self) -> Result<Box<dyn Snapshot + '_>, StoreError> {
        // With the writer's place taken, the index and what it refers to agree.
        let _writing = self.writing.lock();
        let mut index = self.index.lock();
        if index.hold.is_some() {
            return Err(StoreError::Busy("another backup or check reads the store".into()));
        }
        let commit = index.last();
        index.hold = Some(Hold::default());
        self.former.lock().hold();
        Ok(Box::new(Held { engine: self, commit }))
    }
}

fn summary(name: DocumentName, head: Option<&Head>, tail: Option<&Tail>) -> Summary {
    let count = |of: fn(&Posting) -> u32| {
        tail.iter().flat_map(|tail| &tail.postings).map(|posting| u64::from(of(posting))).sum::<u64>()
    };
    let (tail_updates, tail_bytes) = tail.map_or((0, 0), |tail| (tail.entries, tail.bytes));
    let checkpoint = head.map(|head| (head.sequence, head.body.stored));
    Summary {
        sequence: tail.and_then(Tail::last).max(head.map(|head| head.sequence)).unwrap_or(0),
        updates: head.map_or(0, |head| head.folded) + tail_updates,
        tail_updates,
        bytes: checkpoint.map_or(0, |(_, bytes)| bytes) + tail_bytes,
        checkpoint,
        pending: head.map_or(0, |head| u64::from(head.pending)) + count(|posting| posting.pending),
        quarantined: head.map_or(0, |head| u64::from(head.quarantined))
            + count(|posting| posting.quarantined),
        name,
    }
}

/// The engine's [`Snapshot`].
struct Held<'a, K: Kv> {
    engine: &'a Engine<K>,
    commit: CommitNumber,
}

impl<K: Kv> Snapshot for Held<'_, K> {
    fn commit(&self) -> CommitNumber {
        self.commit
    }

    fn documents(&self, after: Option<&DocumentName>, limit: usize) -> Result<Vec<DocumentName>, StoreError> {
        Engine::<K>::contain_read(|| self.engine.names(after, limit))
    }

    fn read(&self, name: &DocumentName) -> Result<Option<Stored>, StoreError> {
        self.engine.beside_changes(|| {
            let (replaced, tail) = {
                let index = self.engine.index.lock();
                let replaced = index.hold.as_ref().and_then(|hold| hold.replaced.get(name).cloned());
                (replaced, index.tails.get(name).cloned())
            };
            let Replaced { head, tail } = match replaced {
                Some(replaced) => replaced,
                None => {
                    let head = self.engine.kv.get(&keys::head(name))?;
                    // A checkpoint may have replaced it between the two looks.
                    match self.engine.index.lock().hold.as_ref().and_then(|hold| hold.replaced.get(name)) {
                        Some(replaced) => replaced.clone(),
                        None => Replaced { head, tail },
                    }
                }
            };
            let tail = tail.map(|mut tail| {
                tail.postings.retain(|posting| posting.commit <= self.commit);
                tail
            });
            let tail = tail.filter(|tail| !tail.postings.is_empty());
            if head.is_none() && tail.is_none() {
                return Ok(None);
            }
            self.engine.assemble(name, head, tail.as_ref())
        })
    }

    fn rows(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<CheckedRow>, StoreError> {
        let from = after.map_or(keys::ROWS.to_vec(), |after| [&keys::row(after), &[0][..]].concat());
        self.engine.list_rows(View::Held, &from, keys::ROWS_END, limit)
    }
}

impl<K: Kv> Drop for Held<'_, K> {
    fn drop(&mut self) {
        // The index last: with it the next hold may begin.
        self.engine.former.lock().release();
        self.engine.index.lock().hold = None;
    }
}
