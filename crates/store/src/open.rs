//! Opening a store: what must be there is there, and the index is built from the journal.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
};

use parking_lot::Mutex;
use syncline_protocol::names::DocumentName;

use crate::{
    codec::{Former, Meta, Part, Totals, seal, unseal},
    engine::{Engine, Writing},
    error::StoreError,
    index::{Index, Posting, Slot, Tail},
    keys,
    kv::{Change, Kv, Mark},
    record::visit,
    store::{CommitNumber, Identity},
};

/// The layout of keys and values that this version writes. A newer one is refused, an older one is migrated.
/// Rows did not make a new one: a version without them never looks at their keys and misreads nothing. Nor did
/// erasing: a version that does not know of it takes a record without what was erased for damage.
pub const LAYOUT: u64 = 1;

impl<K: Kv> Engine<K> {
    /// Makes a store in an empty map.
    ///
    /// # Errors
    /// As the map fails.
    pub fn create(kv: K, identity: Identity) -> Result<Self, StoreError> {
        let totals = Totals { heads: 0, first: 1, commit: 0 };
        kv.apply(vec![
            Change::Put(keys::META.to_vec(), seal(&Meta { layout: LAYOUT, identity: identity.0 })?),
            Change::Put(keys::TOTALS.to_vec(), seal(&totals)?),
        ])?;
        kv.sync()?;
        kv.mark(Mark::default())?;
        Ok(Self::over(kv, identity, Index { first: 1, ..Index::default() }, Writing::default()))
    }

    /// Opens a store, checking that nothing of it is missing.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names what is missing or fails a check, [`StoreError::TooNew`] a newer layout.
    pub fn open(kv: K) -> Result<Self, StoreError> {
        Self::open_or_return(kv).map_err(|(_, error)| error)
    }

    /// As [`Engine::open`], handing the map back where it fails.
    pub(crate) fn open_or_return(kv: K) -> Result<Self, (K, StoreError)> {
        match Self::contain_read(|| check(&kv)) {
            Ok((identity, index, writing)) => Ok(Self::over(kv, identity, index, writing)),
            Err(error) => Err((kv, error)),
        }
    }

    fn over(kv: K, identity: Identity, index: Index, writing: Writing) -> Self {
        Self {
            kv,
            identity,
            index: Mutex::new(index),
            writing: Mutex::new(writing),
            changes: Default::default(),
            former: Mutex::default(),
            poison: Mutex::default(),
        }
    }
}

/// Checks that everything that must be there is, and builds the index.
fn check<K: Kv>(kv: &K) -> Result<(Identity, Index, Writing), StoreError> {
    let meta = read_meta(kv)?
        .ok_or_else(|| StoreError::damaged("store", "nothing is in it, not even what it is"))?;
    let totals: Totals = match kv.get(keys::TOTALS)? {
        Some(value) => unseal(&"totals", &value)?,
        None => return Err(StoreError::damaged("totals", "missing")),
    };
    let mark = kv.marked()?;
    let heads = count_heads(kv)?;
    let wanted = totals.heads.max(mark.heads);
    // One more may be there: the power may fail between a head and the totals. One less is a loss.
    if heads < wanted {
        return Err(StoreError::damaged("checkpoints", format!("{heads} are there, {wanted} must be")));
    }
    let journal = Journal::scan(kv, &totals, totals.commit.max(mark.commit))?;
    // A process that was killed may have written what it did not sync. From here on that counts as stored, so it
    // has to survive a power loss too.
    kv.sync()?;
    let (index, writing) = journal.into_index(kv, heads)?;
    Ok((Identity(meta.identity), index, writing))
}

/// Reads what a store is; `None` for an empty map.
pub(crate) fn read_meta<K: Kv>(kv: &K) -> Result<Option<Meta>, StoreError> {
    let Some(value) = kv.get(keys::META)? else { return Ok(None) };
    let meta: Meta = unseal(&"store", &value)?;
    if meta.layout > LAYOUT {
        return Err(StoreError::TooNew { found: meta.layout, known: LAYOUT });
    }
    Ok(Some(meta))
}

fn count_heads<K: Kv>(kv: &K) -> Result<u64, StoreError> {
    let mut heads = 0;
    kv.scan(keys::HEADS, keys::HEADS_END, &mut |key, _| {
        if keys::parse_head(key).is_none() {
            return Err(StoreError::damaged("checkpoints", "a key that names no document"));
        }
        heads += 1;
        Ok(true)
    })?;
    Ok(heads)
}

/// Reads the former checksums of records that something was erased from; those of records that are gone are to be
/// deleted.
fn scan_formers<K: Kv>(
    kv: &K,
    first: CommitNumber,
) -> Result<(BTreeMap<CommitNumber, u32>, Vec<Change>), StoreError> {
    let (mut formers, mut leftover) = (BTreeMap::new(), Vec::new());
    kv.scan(keys::FORMER, keys::FORMER_END, &mut |key, value| {
        let commit = keys::parse_former(key)
            .ok_or_else(|| StoreError::damaged("former checksums", "a key that is not one"))?;
        let former: Former = unseal(&format_args!("former checksum of {}", record(commit)), value)?;
        if former.commit != commit {
            return Err(StoreError::damaged(record(commit), "its former checksum is another one's"));
        }
        if commit < first {
            leftover.push(Change::Delete(key.to_vec()));
        } else {
            formers.insert(commit, former.crc);
        }
        Ok(true)
    })?;
    Ok((formers, leftover))
}

/// The journal while it is read.
struct Journal {
    first: CommitNumber,
    slots: Vec<Slot>,
    postings: HashMap<DocumentName, Tail>,
    chain: u32,
    /// The checksums of records before something was erased from them.
    formers: BTreeMap<CommitNumber, u32>,
    /// The record whose parts are being gathered.
    open: Option<Gathering>,
    /// A record that failed, allowed only at the very end, and only if it was never durable.
    failed: Option<(CommitNumber, StoreError)>,
}

struct Gathering {
    commit: CommitNumber,
    parts: u32,
    next: u32,
    bytes: Vec<u8>,
    stored: u64,
}

impl Journal {
    /// Reads every record. `durable` is a commit that is known to have been durable.
    fn scan<K: Kv>(kv: &K, totals: &Totals, durable: CommitNumber) -> Result<Self, StoreError> {
        let (formers, mut leftover) = scan_formers(kv, totals.first)?;
        let mut journal = Self {
            formers,
            first: totals.first,
            slots: Vec::new(),
            postings: HashMap::new(),
            chain: 0,
            open: None,
            failed: None,
        };
        kv.scan(keys::JOURNAL, keys::JOURNAL_END, &mut |key, value| {
            let (commit, part) = keys::parse_journal(key)
                .ok_or_else(|| StoreError::damaged("journal", "a key that is not one"))?;
            if commit < totals.first {
                // Deleting it was under way when the process ended.
                leftover.push(Change::Delete(key.to_vec()));
                return Ok(true);
            }
            if value.is_empty() || journal.tolerate(commit)? == ControlFlow::Break(()) {
                return Ok(true);
            }
            if let Err(error) = journal.take(commit, part, value) {
                journal.open = None;
                journal.failed = Some((commit, error));
            }
            Ok(true)
        })?;
        for change in leftover {
            kv.apply(vec![change])?;
        }
        if let Some(open) = &journal.open {
            let missing = StoreError::damaged(record(open.commit), format!("has {} of its parts", open.next));
            journal.failed = Some((open.commit, missing));
        }
        let last = journal.first + journal.slots.len() as u64 - 1;
        if let Some((commit, error)) = journal.failed.take() {
            if commit != last + 1 || commit <= durable {
                return Err(error);
            }
            journal.drop_torn(kv, commit, &error)?;
        }
        if last < durable {
            return Err(StoreError::damaged(
                "journal",
                format!("ends at record {last}, {durable} was durable"),
            ));
        }
        Ok(journal)
    }

    /// After a failed record nothing but its own other parts may follow.
    fn tolerate(&self, commit: CommitNumber) -> Result<ControlFlow<()>, StoreError> {
        match &self.failed {
            None => Ok(ControlFlow::Continue(())),
            Some((failed, _)) if *failed == commit => Ok(ControlFlow::Break(())),
            Some((_, error)) => Err(error.clone()),
        }
    }

    fn take(&mut self, commit: CommitNumber, number: u32, value: &[u8]) -> Result<(), StoreError> {
        let part: Part<'_> = unseal(&record(commit), value)?;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Gathering { commit, parts: part.parts, next: 0, bytes: Vec::new(), stored: 0 },
        };
        let expected = self.first + self.slots.len() as u64;
        if open.commit != expected {
            return Err(StoreError::damaged(record(expected), "missing"));
        }
        if open.commit != commit {
            return Err(StoreError::damaged(record(open.commit), format!("has {} of its parts", open.next)));
        }
        if (part.commit, part.part, part.parts) != (commit, number, open.parts) || number != open.next {
            return Err(StoreError::damaged(
                record(commit),
                format!("part {} is not where it belongs", part.part),
            ));
        }
        open.bytes.extend_from_slice(part.bytes.0);
        open.stored += value.len() as u64;
        open.next += 1;
        if open.next < open.parts {
            self.open = Some(open);
            return Ok(());
        }
        self.finish(&open)
    }

    fn finish(&mut self, open: &Gathering) -> Result<(), StoreError> {
        let what = record(open.commit);
        let entries = record_entries(&what, &open.bytes)?;
        if !self.slots.is_empty() && entries.chain != self.chain {
            return Err(StoreError::damaged(&what, "does not follow the record before it"));
        }
        let mut groups: HashMap<DocumentName, Posting> = HashMap::new();
        visit(&what, entries.packed, |entry| {
            let posting = match groups.get_mut(entry.document) {
                Some(posting) => posting,
                None => groups.entry(entry.document.clone()).or_insert(Posting {
                    commit: open.commit,
                    first: entry.sequence,
                    last: self.postings.get(entry.document).and_then(Tail::last).unwrap_or(0),
                    entries: 0,
                    pending: 0,
                    quarantined: 0,
                    bytes: 0,
                    at_ms: entry.at_ms,
                }),
            };
            if entry.sequence <= posting.last {
                let wrong =
                    format!("{} goes from sequence {} to {}", entry.document, posting.last, entry.sequence);
                return Err(StoreError::damaged(&what, wrong));
            }
            posting.count(entry.sequence, entry.kind, entry.bytes.len());
            Ok(())
        })?;
        let former = self.formers.get(&open.commit).copied();
        self.chain = former.unwrap_or_else(|| crc32fast::hash(&open.bytes));
        let rewritten = former.is_some();
        self.slots.push(Slot { documents: 0, parts: open.parts, bytes: open.stored, rewritten });
        for (name, posting) in groups {
            self.postings.entry(name).or_default().push(posting);
        }
        Ok(())
    }

    /// Removes what a crash left of the record that was being written: it was never durable, so never acked.
    fn drop_torn<K: Kv>(&self, kv: &K, commit: CommitNumber, error: &StoreError) -> Result<(), StoreError> {
        tracing::warn!(event = "torn_record_dropped", commit, %error);
        let mut doomed = Vec::new();
        kv.scan(&keys::journal(commit, 0), &keys::journal(commit + 1, 0), &mut |key, _| {
            doomed.push(Change::Delete(key.to_vec()));
            Ok(true)
        })?;
        kv.apply(doomed)?;
        kv.sync()
    }

    /// Sets aside what checkpoints cover.
    fn into_index<K: Kv>(self, kv: &K, heads: u64) -> Result<(Index, Writing), StoreError> {
        let mut index = Index { first: self.first, heads, ..Index::default() };
        index.bytes = self.slots.iter().map(|slot| slot.bytes).sum();
        index.slots = self.slots.into();
        for (name, tail) in self.postings {
            for posting in &tail.postings {
                if let Some(slot) = index.slots.get_mut((posting.commit - self.first) as usize) {
                    slot.documents += 1;
                }
            }
            let covered = match kv.get(&keys::head(&name))? {
                Some(value) => crate::engine::parse_head(&name, &value).map(|head| head.sequence),
                None => Ok(0),
            };
            index.tails.insert(name.clone(), tail);
            // A head that fails its check is that document's damage: it is told when the document is read.
            index.cover(&name, covered.unwrap_or(0));
        }
        let writing = Writing { chain: self.chain, reserved: index.last() };
        Ok((index, writing))
    }
}

/// A record's bytes, split.
pub(crate) struct RecordEntries<'a> {
    /// The crc of the record before it.
    pub(crate) chain: u32,
    pub(crate) packed: &'a [u8],
}

/// Splits a whole record.
pub(crate) fn record_entries<'a>(what: &str, bytes: &'a [u8]) -> Result<RecordEntries<'a>, StoreError> {
    let (chain, packed) =
        bytes.split_first_chunk::<4>().ok_or_else(|| StoreError::damaged(what, "is empty"))?;
    Ok(RecordEntries { chain: u32::from_le_bytes(*chain), packed })
}

/// Names a record in errors.
pub(crate) fn record(commit: CommitNumber) -> String {
    format!("journal record {commit}")
}
