//! What the engine knows of the journal without reading it: which commits hold entries that their document's
//! checkpoint does not cover, and which records nothing needs any more. Built at open from the journal's records.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use syncline_document::record::Sequence;
use syncline_protocol::names::DocumentName;

use crate::{
    codec::Totals,
    store::{CommitNumber, FoldBounds},
};

/// What one commit holds of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Posting {
    pub(crate) commit: CommitNumber,
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    pub(crate) entries: u32,
    pub(crate) pending: u32,
    pub(crate) quarantined: u32,
    pub(crate) bytes: u64,
    /// Arrival of its first entry.
    pub(crate) at_ms: u64,
}

/// The commits that hold entries of a document beyond its checkpoint, oldest first. The oldest may also hold
/// entries that are covered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) postings: VecDeque<Posting>,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Tail {
    pub(crate) fn last(&self) -> Option<Sequence> {
        self.postings.back().map(|posting| posting.last)
    }

    pub(crate) fn push(&mut self, posting: Posting) {
        self.entries += u64::from(posting.entries);
        self.bytes += posting.bytes;
        self.postings.push_back(posting);
    }

    fn pop(&mut self) -> Option<Posting> {
        let posting = self.postings.pop_front()?;
        self.entries -= u64::from(posting.entries);
        self.bytes -= posting.bytes;
        Some(posting)
    }

    /// Returns the entries in postings that a checkpoint of `sequence` covers wholly.
    pub(crate) fn covered_entries(&self, sequence: Sequence) -> u64 {
        let covered = self.postings.iter().take_while(|posting| posting.last <= sequence);
        covered.map(|posting| u64::from(posting.entries)).sum()
    }
}

/// One journal record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Documents with a posting for it; at 0 it may go.
    pub(crate) documents: u32,
    pub(crate) parts: u32,
    pub(crate) bytes: u64,
    /// Something was erased from it: its former checksum is kept.
    pub(crate) rewritten: bool,
}

/// A view of every document as of one commit: what was replaced since is kept here.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    pub(crate) replaced: HashMap<DocumentName, Replaced>,
}

/// A document's head and tail before the first checkpoint since a [`Hold`] began.
#[derive(Debug, Clone)]
pub(crate) struct Replaced {
    pub(crate) head: Option<Bytes>,
    pub(crate) tail: Option<Tail>,
}

/// The index of the journal, and the counts that go with it.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) tails: BTreeMap<DocumentName, Tail>,
    /// The records kept, the first being number `first`.
    pub(crate) slots: VecDeque<Slot>,
    pub(crate) first: CommitNumber,
    pub(crate) bytes: u64,
    /// Documents with a head.
    pub(crate) heads: u64,
    /// Documents whose replaced chunks are still to be deleted.
    pub(crate) stale: VecDeque<DocumentName>,
    pub(crate) hold: Option<Hold>,
}

impl Index {
    /// Returns the number of the newest record; `first - 1` where none is kept.
    pub(crate) fn last(&self) -> CommitNumber {
        self.first + self.slots.len() as u64 - 1
    }

    /// Takes in a new record with what it holds of each document.
    pub(crate) fn push(&mut self, slot: Slot, postings: impl IntoIterator<Item = (DocumentName, Posting)>) {
        self.bytes += slot.bytes;
        self.slots.push_back(slot);
        for (name, posting) in postings {
            self.tails.entry(name).or_default().push(posting);
        }
    }

    /// Returns a record that is kept.
    pub(crate) fn slot(&self, commit: CommitNumber) -> Option<&Slot> {
        self.slots.get(usize::try_from(commit.checked_sub(self.first)?).ok()?)
    }

    /// Takes note of a record that was written anew.
    pub(crate) fn rewritten(&mut self, commit: CommitNumber, parts: u32, bytes: u64) {
        let Some(at) = commit.checked_sub(self.first) else { return };
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        self.bytes = self.bytes - slot.bytes + bytes;
        *slot = Slot { parts, bytes, rewritten: true, ..*slot };
    }

    /// Returns what the store as a whole must hold.
    pub(crate) fn totals(&self) -> Totals {
        Totals { heads: self.heads, first: self.first, commit: self.last() }
    }

    /// Drops what a checkpoint of `sequence` covers of a document's tail.
    pub(crate) fn cover(&mut self, name: &DocumentName, sequence: Sequence) {
        let Some(tail) = self.tails.get_mut(name) else { return };
        while tail.postings.front().is_some_and(|posting| posting.last <= sequence) {
            let Some(posting) = tail.pop() else { break };
            if let Some(slot) = self.slots.get_mut((posting.commit - self.first) as usize) {
                slot.documents -= 1;
            }
        }
        if tail.postings.is_empty() {
            self.tails.remove(name);
        }
    }

    /// Returns the oldest record, if nothing needs it. The newest record is always kept.
    pub(crate) fn prunable(&self) -> Option<(CommitNumber, Slot)> {
        let slot = self.slots.front()?;
        (self.slots.len() > 1 && slot.documents == 0).then_some((self.first, *slot))
    }

    /// Forgets the oldest record.
    pub(crate) fn drop_first(&mut self) {
        if let Some(slot) = self.slots.pop_front() {
            self.first += 1;
            self.bytes -= slot.bytes;
        }
    }

    /// Lists documents beyond the bounds, most urgent first.
    pub(crate) fn due(&self, bounds: &FoldBounds, now_ms: u64, limit: usize) -> Vec<DocumentName> {
        let pins = self.bytes > bounds.journal_bytes;
        let mut due: Vec<(bool, CommitNumber, &DocumentName)> = Vec::new();
        for (name, tail) in &self.tails {
            let Some(oldest) = tail.postings.front() else { continue };
            let beyond = tail.entries >= bounds.updates
                || tail.bytes >= bounds.bytes
                || now_ms.saturating_sub(oldest.at_ms) >= bounds.age_ms;
            if beyond || pins {
                due.push((!beyond, oldest.commit, name));
            }
        }
        if pins {
            // Only what pins the oldest records makes room.
            due.sort_unstable_by_key(|(_, commit, _)| *commit);
        } else {
            due.sort_unstable();
        }
        due.into_iter().take(limit).map(|(_, _, name)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DocumentName {
        DocumentName::parse(text).unwrap()
    }

    fn posting(commit: u64, first: u64, last: u64) -> Posting {
        let entries = (last - first + 1) as u32;
        Posting { commit, first, last, entries, pending: 0, quarantined: 0, bytes: 100, at_ms: commit * 1000 }
    }

    fn three_records() -> Index {
        let mut index = Index { first: 1, ..Index::default() };
        let slot = |documents| Slot { documents, parts: 1, bytes: 1000, rewritten: false };
        index.push(slot(2), [(name("a"), posting(1, 1, 2)), (name("b"), posting(1, 1, 1))]);
        index.push(slot(1), [(name("a"), posting(2, 3, 5))]);
        index.push(slot(1), [(name("b"), posting(3, 2, 2))]);
        index
    }

    #[test]
    fn a_record_goes_once_every_document_in_it_is_covered_beyond_it() {
        let mut index = three_records();
        index.cover(&name("a"), 2);
        assert_eq!(index.prunable(), None, "b is not covered");
        index.cover(&name("b"), 1);
        assert_eq!(index.prunable().map(|(commit, _)| commit), Some(1));
        index.drop_first();
        assert_eq!(index.prunable(), None, "a holds the second");
        index.cover(&name("a"), 4);
        assert_eq!(index.prunable(), None, "the checkpoint is in the middle of the record");
        index.cover(&name("a"), 5);
        assert_eq!(index.prunable().map(|(commit, _)| commit), Some(2));
        index.drop_first();
        index.cover(&name("b"), 2);
        assert_eq!(index.prunable(), None, "the newest record stays");
        assert_eq!((index.last(), index.tails.len()), (3, 0));
    }

    #[test]
    fn what_is_due_is_beyond_a_bound_or_pins_a_journal_that_is() {
        let index = three_records();
        let none = FoldBounds { updates: 100, bytes: 10_000, age_ms: 1_000_000, journal_bytes: 100_000 };
        assert!(index.due(&none, 4000, 10).is_empty());
        assert_eq!(index.due(&FoldBounds { updates: 5, ..none }, 4000, 10), [name("a")]);
        assert_eq!(index.due(&FoldBounds { age_ms: 3000, ..none }, 4000, 10), [name("a"), name("b")]);
        assert_eq!(index.due(&FoldBounds { journal_bytes: 10, ..none }, 4000, 1), [name("a")]);
    }
}
