//! Erasing: what was stored of a document goes, and so does every journal entry that repeats it.
//!
//! A record of the journal holds entries of several documents, so it is written anew without those that are erased.
//! The record behind it repeats the checksum that it had before: that one is kept beside it (`f`), and the chain still
//! shows where a record is missing.
//!
//! Every step leaves a store that is whole. After a crash the same call does what is left.

use std::collections::HashMap;

use syncline_document::record::Sequence;
use syncline_protocol::names::DocumentName;

use crate::{
    checkpoint::DELETES_A_BATCH,
    codec::{CHUNK_BYTES, Former, Part, Raw, seal},
    engine::Engine,
    error::StoreError,
    keys,
    kv::{Change, Kv, Mark},
    open::{record, record_entries},
    record::without,
    store::{CommitNumber, Erase, Erased},
};

/// Documents removed while no commit can be made.
const REMOVED_AT_ONCE: usize = 64;
/// Records, and bytes of them, that are looked at while no commit can be made.
const RECORDS_AT_ONCE: usize = 64;
const BYTES_AT_ONCE: u64 = 8 << 20;

impl<K: Kv> Engine<K> {
    /// Erases documents; see [`crate::Store::erase`].
    pub(crate) fn erase_documents(&self, doomed: &[Erase]) -> Result<Erased, StoreError> {
        let mut erased = Erased::default();
        let mut until: HashMap<&DocumentName, Sequence> = HashMap::new();
        for erase in doomed {
            if let Some(replacement) = &erase.replacement {
                self.replace(erase)?;
                until.insert(&erase.document, replacement.sequence);
                erased.documents += 1;
            }
        }
        let removed: Vec<&DocumentName> =
            doomed.iter().filter(|erase| erase.replacement.is_none()).map(|erase| &erase.document).collect();
        for names in removed.chunks(REMOVED_AT_ONCE) {
            erased.documents += self.remove(names)?;
            until.extend(names.iter().map(|name| (*name, Sequence::MAX)));
        }
        let mut next = 0;
        while let Some(at) = self.scrub(next, &until, &mut erased)? {
            next = at;
        }
        Ok(erased)
    }

    /// Refuses while a snapshot still reads what is to go.
    fn unheld(&self) -> Result<(), StoreError> {
        if self.index.lock().hold.is_some() {
            return Err(StoreError::Busy("a backup or check reads what is to be erased".into()));
        }
        Ok(())
    }

    /// Writes the checkpoint that takes a document's place, and deletes the chunks of those before it.
    fn replace(&self, erase: &Erase) -> Result<(), StoreError> {
        let _writing = self.write()?;
        self.unheld()?;
        let Erase { document: name, replacement: Some(replacement) } = erase else { return Ok(()) };
        let plan = Self::contain_read(|| self.plan_replacement(name, replacement))?;
        self.write_planned(vec![plan])?;
        let current = Self::contain_read(|| self.head(name))?.map(|head| head.body.generation);
        let chunks = self.chunks_of(name)?;
        let old = chunks.into_iter().filter(|key| keys::parse_chunk_generation(key) != current);
        let mut old = old.map(Change::Delete).peekable();
        self.changing(|| {
            self.contain(|| {
                while old.peek().is_some() {
                    self.kv.apply(old.by_ref().take(DELETES_A_BATCH).collect())?;
                }
                self.kv.sync()
            })
        })
    }

    fn chunks_of(&self, name: &DocumentName) -> Result<Vec<Vec<u8>>, StoreError> {
        Self::contain_read(|| {
            let mut chunks = Vec::new();
            let (from, to) = (keys::chunk(name, 0, 0), keys::chunk(name, u64::MAX, u32::MAX));
            self.kv.scan(&from, &to, &mut |key, _| {
                chunks.push(key.to_vec());
                Ok(true)
            })?;
            Ok(chunks)
        })
    }

    /// Removes documents, each with all it has in one batch. Returns how many there were.
    fn remove(&self, names: &[&DocumentName]) -> Result<u64, StoreError> {
        let _writing = self.write()?;
        self.unheld()?;
        let mut doomed = Vec::with_capacity(names.len());
        for name in names {
            // A head that fails its check goes like any other.
            let has_head = Self::contain_read(|| self.kv.get(&keys::head(name)))?.is_some();
            let mut changes = vec![Change::Delete(keys::head(name)), Change::Delete(keys::side(name))];
            changes.extend(self.chunks_of(name)?.into_iter().map(Change::Delete));
            doomed.push((*name, has_head, changes));
        }
        let heads = doomed.iter().filter(|(_, has_head, _)| *has_head).count() as u64;
        let mark = {
            let mut index = self.index.lock();
            index.heads = index.heads.saturating_sub(heads);
            Mark { commit: index.last(), heads: index.heads }
        };
        let mut there = 0;
        self.changing(|| {
            self.contain(|| {
                // What has to be there is lowered first: more than that is no damage, less is.
                if heads > 0 {
                    self.kv.mark(mark)?;
                }
                for (name, has_head, mut changes) in doomed {
                    let mut index = self.index.lock();
                    there += u64::from(has_head || index.tails.contains_key(name));
                    index.cover(name, Sequence::MAX);
                    changes.push(Change::Put(keys::TOTALS.to_vec(), seal(&index.totals())?));
                    drop(index);
                    self.kv.apply(changes)?;
                }
                self.kv.sync()
            })
        })?;
        Ok(there)
    }

    /// Rewrites journal records from `from` on that hold entries up to these sequences, as many as may be done at
    /// once. Returns where to go on.
    fn scrub(
        &self,
        from: CommitNumber,
        until: &HashMap<&DocumentName, Sequence>,
        erased: &mut Erased,
    ) -> Result<Option<CommitNumber>, StoreError> {
        let _writing = self.write()?;
        self.unheld()?;
        let (first, last) = {
            let index = self.index.lock();
            (index.first.max(from), index.last())
        };
        let mut bytes = 0;
        let mut at = first;
        let mut rewritten = false;
        while at <= last && at < first + RECORDS_AT_ONCE as u64 && bytes < BYTES_AT_ONCE {
            let what = record(at);
            let whole = Self::contain_read(|| self.read_record(&what, at))?;
            bytes += whole.len() as u64;
            let before = record_entries(&what, &whole)?;
            let gone = |name: &DocumentName, sequence| until.get(name).is_some_and(|last| sequence <= *last);
            if let Some((packed, count)) = without(&what, before.packed, gone)? {
                self.rewrite(at, &whole, &[&before.chain.to_le_bytes(), &*packed].concat())?;
                erased.entries += count;
                erased.records += 1;
                rewritten = true;
            }
            at += 1;
        }
        if rewritten {
            self.contain(|| self.kv.sync())?;
        }
        Ok((at <= last).then_some(at))
    }

    /// Puts another record in the place of one.
    fn rewrite(&self, commit: CommitNumber, before: &[u8], after: &[u8]) -> Result<(), StoreError> {
        let parts = u32::try_from(after.len().div_ceil(CHUNK_BYTES))
            .map_err(|_| StoreError::TooLarge("parts of a record".into()))?;
        let mut changes = Vec::with_capacity(parts as usize + 1);
        let mut bytes = 0;
        for (part, piece) in (0..).zip(after.chunks(CHUNK_BYTES)) {
            let value = seal(&Part { commit, part, parts, bytes: Raw(piece) })?;
            bytes += value.len() as u64;
            changes.push(Change::Put(keys::journal(commit, part), value));
        }
        let known = Self::contain_read(|| self.kv.get(&keys::former(commit)))?.is_some();
        if !known {
            let former = Former { commit, crc: crc32fast::hash(before) };
            changes.push(Change::Put(keys::former(commit), seal(&former)?));
        }
        let old = self.index.lock().slot(commit).map_or(0, |slot| slot.parts);
        changes.extend((parts..old).map(|part| Change::Delete(keys::journal(commit, part))));
        self.changing(|| {
            self.contain(|| {
                self.kv.room_for(2 * changes.iter().map(Change::size).sum::<usize>())?;
                self.kv.apply(changes)
            })
        })?;
        self.index.lock().rewritten(commit, parts, bytes);
        Ok(())
    }
}
