//! Writing checkpoints, and deleting what they make superfluous.

use std::collections::HashMap;

use syncline_document::record::{Entry, Sequence, Stored};
use syncline_protocol::names::DocumentName;

use crate::{
    codec::{Blob, CHUNK_BYTES, Chunk, Head, Prepared, Raw, Side, Totals, compress, pack_entries, seal},
    engine::Engine,
    error::StoreError,
    index::{Replaced, Tail},
    keys,
    kv::{Change, Kv},
    store::SIDE_BYTES,
};

/// Quarantined entries kept for each document: the newest ones.
pub const QUARANTINED_ENTRIES: usize = 64;
/// Bytes of quarantined entries kept for each document.
pub const QUARANTINED_BYTES: usize = 4 << 20;

/// Keys deleted in one batch: large batches of deletes cost sled memory without bound.
pub(crate) const DELETES_A_BATCH: usize = 32;

/// A checkpoint that is about to be written.
pub(crate) struct Planned<'a> {
    place: usize,
    name: &'a DocumentName,
    head: Head,
    chunks: Vec<Change>,
    replaced: Replaced,
    is_new: bool,
    leaves_stale: bool,
}

impl<K: Kv> Engine<K> {
    /// Writes the newest checkpoint of each document in the list, all durable when it returns.
    pub(crate) fn write_prepared(
        &self,
        checkpoints: &[(DocumentName, Prepared)],
    ) -> Vec<Result<(), StoreError>> {
        let mut results = vec![Ok(()); checkpoints.len()];
        let _writing = match self.write() {
            Ok(writing) => writing,
            Err(error) => return vec![Err(error); checkpoints.len()],
        };
        let mut newest: HashMap<&DocumentName, usize> = HashMap::new();
        for (place, (name, prepared)) in checkpoints.iter().enumerate() {
            let known = newest.entry(name).or_insert(place);
            if checkpoints[*known].1.sequence < prepared.sequence {
                *known = place;
            }
        }
        let mut planned = Vec::new();
        for (name, place) in newest {
            match Self::contain_read(|| self.plan(place, name, &checkpoints[place].1)) {
                Ok(Some(plan)) => planned.push(plan),
                Ok(None) => {}
                Err(error) => results[place] = Err(error),
            }
        }
        let places: Vec<usize> = planned.iter().map(|plan| plan.place).collect();
        if let Err(error) = self.write_planned(planned) {
            for place in places {
                results[place] = Err(error.clone());
            }
        }
        results
    }

    /// Checks a checkpoint against what is stored; `None` where it is not newer.
    fn plan<'a>(
        &self,
        place: usize,
        name: &'a DocumentName,
        prepared: &Prepared,
    ) -> Result<Option<Planned<'a>>, StoreError> {
        let (tail, commit) = {
            let index = self.index.lock();
            (index.tails.get(name).cloned(), index.last())
        };
        let old_value = self.kv.get(&keys::head(name))?;
        let old = old_value.as_ref().map(|value| crate::engine::parse_head(name, value)).transpose()?;
        let covered = old.as_ref().map_or(0, |head| head.sequence);
        let durable = tail.as_ref().and_then(Tail::last).unwrap_or(covered);
        if prepared.sequence > durable {
            return Err(StoreError::Bug(format!(
                "a checkpoint of {name} at {} ahead of its journal, which is durable up to {durable}",
                prepared.sequence
            )));
        }
        if prepared.sequence <= covered {
            return Ok(None);
        }
        let mut chunks = Vec::new();
        let generation = next_generation(old.as_ref());
        let body = Blob { raw: prepared.raw, ..put_blob(name, generation, &prepared.bytes, &mut chunks)? };
        let (quarantine, quarantined) = self.plan_quarantine(
            name,
            old.as_ref(),
            tail.as_ref(),
            prepared.sequence,
            generation + 1,
            &mut chunks,
        )?;
        let folded = folded_by(old.as_ref(), tail.as_ref(), prepared.sequence);
        let head = Head {
            name: name.as_str().to_owned(),
            sequence: prepared.sequence,
            commit,
            folded,
            pending: prepared.pending,
            body,
            quarantined,
            quarantine,
        };
        let replaced = Replaced { head: old_value, tail };
        Ok(Some(Planned {
            place,
            name,
            head,
            chunks,
            replaced,
            is_new: old.is_none(),
            leaves_stale: old.is_some(),
        }))
    }

    /// Checks a checkpoint that takes the place of all that is stored of a document; nothing quarantined is carried
    /// over, and one of the same sequence is replaced too.
    pub(crate) fn plan_replacement<'a>(
        &self,
        name: &'a DocumentName,
        prepared: &Prepared,
    ) -> Result<Planned<'a>, StoreError> {
        let (tail, commit) = {
            let index = self.index.lock();
            (index.tails.get(name).cloned(), index.last())
        };
        let old_value = self.kv.get(&keys::head(name))?;
        let old = old_value.as_ref().map(|value| crate::engine::parse_head(name, value)).transpose()?;
        let covered = old.as_ref().map_or(0, |head| head.sequence);
        if prepared.sequence < covered {
            return Err(StoreError::Busy(format!("{name} has a newer checkpoint by now")));
        }
        let durable = tail.as_ref().and_then(Tail::last).unwrap_or(covered);
        if prepared.sequence > durable {
            return Err(StoreError::Bug(format!("a replacement of {name} ahead of its journal ({durable})")));
        }
        let mut chunks = Vec::new();
        let generation = next_generation(old.as_ref());
        let body = Blob { raw: prepared.raw, ..put_blob(name, generation, &prepared.bytes, &mut chunks)? };
        let head = Head {
            name: name.as_str().to_owned(),
            sequence: prepared.sequence,
            commit,
            folded: folded_by(old.as_ref(), tail.as_ref(), prepared.sequence),
            pending: prepared.pending,
            body,
            quarantined: 0,
            quarantine: None,
        };
        let is_new = old.is_none();
        let replaced = Replaced { head: old_value, tail };
        Ok(Planned { place: 0, name, head, chunks, replaced, is_new, leaves_stale: false })
    }

    /// Carries quarantined entries over from the journal, whose records will go.
    fn plan_quarantine(
        &self,
        name: &DocumentName,
        old: Option<&Head>,
        tail: Option<&Tail>,
        sequence: Sequence,
        generation: u64,
        chunks: &mut Vec<Change>,
    ) -> Result<(Option<Blob>, u32), StoreError> {
        let from = old.map_or(0, |head| head.sequence);
        let fresh = match tail {
            Some(tail) => self.quarantined_in_tail(name, tail, from, sequence)?,
            None => Vec::new(),
        };
        if fresh.is_empty() {
            return Ok((old.and_then(|head| head.quarantine), old.map_or(0, |head| head.quarantined)));
        }
        let mut entries = match old {
            Some(head) => self.read_quarantine(name, head)?,
            None => Vec::new(),
        };
        entries.extend(fresh);
        put_quarantine(name, generation, entries, chunks)
    }

    /// Chunks first, heads after them: should only some of it survive, the old heads still stand.
    pub(crate) fn write_planned(&self, planned: Vec<Planned<'_>>) -> Result<(), StoreError> {
        if planned.is_empty() {
            return Ok(());
        }
        let fresh = planned.iter().filter(|plan| plan.is_new).count() as u64;
        let mut heads = Vec::with_capacity(planned.len() + 1);
        let mut done = Vec::with_capacity(planned.len());
        let mut batches = Vec::with_capacity(planned.len());
        for plan in planned {
            heads.push(Change::Put(keys::head(plan.name), seal(&plan.head)?));
            batches.push(plan.chunks);
            done.push((plan.name, plan.head.sequence, plan.replaced, plan.leaves_stale));
        }
        let totals = {
            let mut index = self.index.lock();
            if let Some(hold) = &mut index.hold {
                for (name, _, replaced, _) in &done {
                    hold.replaced.entry((*name).clone()).or_insert_with(|| replaced.clone());
                }
            }
            Totals { heads: index.heads + fresh, ..index.totals() }
        };
        heads.push(Change::Put(keys::TOTALS.to_vec(), seal(&totals)?));
        self.changing(|| {
            self.contain(|| {
                let bytes: usize = batches.iter().flatten().map(Change::size).sum();
                self.kv.room_for(2 * bytes)?;
                for batch in batches {
                    self.kv.apply(batch)?;
                }
                self.kv.apply(heads)?;
                self.kv.sync()
            })?;
            let mut index = self.index.lock();
            index.heads += fresh;
            for (name, sequence, _, leaves_stale) in done {
                index.cover(name, sequence);
                if leaves_stale {
                    index.stale.push_back(name.clone());
                }
            }
            Ok(())
        })
    }

    /// Deletes what is superfluous, a key a step, in small batches that the next commit makes durable.
    pub(crate) fn prune_steps(&self, max_steps: usize) -> Result<usize, StoreError> {
        let _writing = self.write()?;
        let mut steps = 0;
        while steps < max_steps {
            let wanted = DELETES_A_BATCH.min(max_steps - steps);
            if self.index.lock().hold.is_some() {
                return Ok(steps);
            }
            let done = match self.prune_stale(wanted)? {
                0 => self.prune_journal(wanted)?,
                done => done,
            };
            if done == 0 {
                return Ok(steps);
            }
            steps += done;
        }
        Ok(steps)
    }

    /// Deletes chunks of replaced checkpoints, also those that a crash left behind.
    fn prune_stale(&self, wanted: usize) -> Result<usize, StoreError> {
        let Some(name) = self.index.lock().stale.front().cloned() else { return Ok(0) };
        let mut doomed = Vec::new();
        let looked = Self::contain_read(|| {
            let Some(head) = self.head(&name)? else { return Ok(()) };
            let kept = head.quarantine.map(|blob| blob.generation);
            let (from, to) = (keys::chunk(&name, 0, 0), keys::chunk(&name, head.body.generation, 0));
            self.kv.scan(&from, &to, &mut |key, _| {
                if keys::parse_chunk_generation(key) != kept {
                    doomed.push(Change::Delete(key.to_vec()));
                }
                Ok(doomed.len() < wanted)
            })
        });
        if let Err(error) = &looked {
            // That document's damage, told when it is read; nothing of it is deleted.
            tracing::warn!(event = "prune_skipped", document = %name, %error);
            doomed.clear();
        }
        let count = doomed.len();
        if count < wanted {
            self.index.lock().stale.pop_front();
        }
        if count > 0 {
            self.changing(|| self.contain(|| self.kv.apply(doomed)))?;
        }
        // A document without stale chunks is a step too, or the next ones would never be looked at.
        Ok(count.max(1))
    }

    fn prune_journal(&self, wanted: usize) -> Result<usize, StoreError> {
        let mut doomed = Vec::new();
        let (totals, before) = {
            let mut index = self.index.lock();
            let before = index.first;
            while let Some((commit, slot)) = index.prunable() {
                let fits = doomed.is_empty() || doomed.len() + slot.parts as usize <= wanted;
                if !fits {
                    break;
                }
                doomed.extend((0..slot.parts).map(|part| Change::Delete(keys::journal(commit, part))));
                if slot.rewritten {
                    doomed.push(Change::Delete(keys::former(commit)));
                }
                index.drop_first();
            }
            (index.totals(), before)
        };
        let count = doomed.len();
        if count == 0 {
            return Ok(0);
        }
        tracing::trace!(event = "journal_pruned", from = before, to = totals.first);
        self.changing(|| {
            self.contain(|| {
                // What stays is named first: a record that is still there below it is ignored, not missed.
                doomed.insert(0, Change::Put(keys::TOTALS.to_vec(), seal(&totals)?));
                let mut rest = doomed.into_iter().peekable();
                while rest.peek().is_some() {
                    self.kv.apply(rest.by_ref().take(DELETES_A_BATCH).collect())?;
                }
                Ok(())
            })
        })?;
        Ok(count)
    }

    /// Writes a whole document where there is none.
    pub(crate) fn restore_document(&self, name: &DocumentName, stored: &Stored) -> Result<(), StoreError> {
        let prepared = stored.checkpoint.as_ref().map(Prepared::new).transpose()?;
        if stored.side.len() > SIDE_BYTES {
            return Err(StoreError::TooLarge(format!("side record of {name}: {} bytes", stored.side.len())));
        }
        let mut writing = self.write()?;
        if self.index.lock().tails.contains_key(name) || self.head(name)?.is_some() {
            return Err(StoreError::Bug(format!("{name} is to be restored and is there already")));
        }
        let covered = prepared.as_ref().map_or(0, |prepared| prepared.sequence);
        let (old, mut entries): (Vec<Entry>, Vec<Entry>) =
            stored.quarantined.iter().cloned().partition(|entry| entry.sequence <= covered);
        entries.extend(stored.tail.iter().cloned());
        entries.sort_by_key(|entry| entry.sequence);
        let mut changes = Vec::new();
        if !stored.side.is_empty() {
            let value = seal(&Side { name: name.as_str(), bytes: Raw(&stored.side) })?;
            changes.push(Change::Put(keys::side(name), value));
        }
        if let Some(prepared) = &prepared {
            let commit = self.index.lock().last();
            let body = Blob { raw: prepared.raw, ..put_blob(name, 1, &prepared.bytes, &mut changes)? };
            let (quarantine, quarantined) = put_quarantine(name, 2, old, &mut changes)?;
            let head = Head {
                name: name.as_str().to_owned(),
                sequence: covered,
                commit,
                folded: 0,
                pending: prepared.pending,
                body,
                quarantined,
                quarantine,
            };
            changes.push(Change::Put(keys::head(name), seal(&head)?));
            let now = self.index.lock().totals();
            let totals = Totals { heads: now.heads + 1, ..now };
            changes.push(Change::Put(keys::TOTALS.to_vec(), seal(&totals)?));
        }
        self.contain(|| {
            self.kv.room_for(changes.iter().map(Change::size).sum())?;
            self.kv.apply(changes)?;
            self.kv.sync()
        })?;
        if prepared.is_some() {
            self.index.lock().heads += 1;
        }
        self.commit_locked(&mut writing, &entries, &[])
    }
}

/// Counts the entries that left the journal's index once a checkpoint of `sequence` is there.
fn folded_by(old: Option<&Head>, tail: Option<&Tail>, sequence: Sequence) -> u64 {
    old.map_or(0, |head| head.folded) + tail.map_or(0, |tail| tail.covered_entries(sequence))
}

fn next_generation(old: Option<&Head>) -> u64 {
    let quarantine = |head: &Head| head.quarantine.map_or(0, |blob| blob.generation);
    old.map_or(1, |head| head.body.generation.max(quarantine(head)) + 1)
}

/// Cuts something into chunks; the caller knows its length before compression.
fn put_blob(
    name: &DocumentName,
    generation: u64,
    bytes: &[u8],
    changes: &mut Vec<Change>,
) -> Result<Blob, StoreError> {
    let mut chunks = 0;
    for piece in bytes.chunks(CHUNK_BYTES) {
        let value = seal(&Chunk { generation, index: chunks, bytes: Raw(piece) })?;
        changes.push(Change::Put(keys::chunk(name, generation, chunks), value));
        chunks += 1;
    }
    Ok(Blob { generation, chunks, stored: bytes.len() as u64, raw: 0, crc: crc32fast::hash(bytes) })
}

/// Writes the newest of the quarantined entries, as many as are kept.
fn put_quarantine(
    name: &DocumentName,
    generation: u64,
    mut entries: Vec<Entry>,
    changes: &mut Vec<Change>,
) -> Result<(Option<Blob>, u32), StoreError> {
    let mut bytes = 0;
    let kept = entries.iter().rev().take(QUARANTINED_ENTRIES).take_while(|entry| {
        bytes += entry.bytes.len();
        bytes <= QUARANTINED_BYTES
    });
    let kept = kept.count();
    entries.drain(..entries.len() - kept);
    if entries.is_empty() {
        return Ok((None, 0));
    }
    let (stored, raw) = compress(&pack_entries(&entries)?)?;
    let blob = Blob { raw, ..put_blob(name, generation, &stored, changes)? };
    Ok((Some(blob), u32::try_from(kept).unwrap_or(u32::MAX)))
}
