//! What the commit thread takes out of the queue in one go, and how it is cut into commits.

use std::{ops::Range, time::Instant};

use bytes::Bytes;
use syncline_document::record::Entry;

use crate::{jobs::Job, store::Row, writer::RowsReply};

/// Everything that waits.
pub(crate) struct Work<T> {
    pub(crate) entries: Vec<Entry>,
    pub(crate) tags: Vec<T>,
    /// What is more than a single entry, in the order of arrival.
    pub(crate) bundles: Vec<Bundle>,
    /// Rows in the bundles.
    pub(crate) rows: usize,
    /// Bytes of entries and rows.
    pub(crate) bytes: usize,
    pub(crate) oldest: Option<Instant>,
    pub(crate) jobs: Vec<Job>,
}

/// Entries that go into one commit, and rows that go with them.
pub(crate) struct Bundle {
    /// Their places among the entries of the work; empty where rows came alone, at the place of the next entry.
    pub(crate) entries: Range<usize>,
    pub(crate) rows: Vec<Row>,
    pub(crate) reply: Option<RowsReply>,
}

impl<T> Default for Work<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            tags: Vec::new(),
            bundles: Vec::new(),
            rows: 0,
            bytes: 0,
            oldest: None,
            jobs: Vec::new(),
        }
    }
}

impl<T> Work<T> {
    /// Takes in one entry.
    pub(crate) fn push(&mut self, entry: Entry, tag: T) {
        self.bytes += entry.bytes.len();
        self.entries.push(entry);
        self.tags.push(tag);
        self.note_arrival();
    }

    /// Takes in entries and rows that belong together.
    pub(crate) fn push_bundle(&mut self, entries: Vec<(Entry, T)>, rows: Vec<Row>, reply: Option<RowsReply>) {
        let first = self.entries.len();
        for (entry, tag) in entries {
            self.push(entry, tag);
        }
        self.rows += rows.len();
        self.bytes += rows.iter().map(row_bytes).sum::<usize>();
        self.bundles.push(Bundle { entries: first..self.entries.len(), rows, reply });
        self.note_arrival();
    }

    fn note_arrival(&mut self) {
        if self.oldest.is_none() {
            self.oldest = Some(Instant::now());
        }
    }

    /// Says whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.bundles.is_empty() && self.jobs.is_empty()
    }

    /// Returns how many entries and rows there are.
    pub(crate) fn items(&self) -> usize {
        self.entries.len() + self.rows
    }

    /// Returns the ends, among entries and bundles, of the commit that begins at `entry` and `bundle`: what fits
    /// into `limit` bytes, and at least one entry or bundle.
    pub(crate) fn piece_end(&self, entry: usize, bundle: usize, limit: usize) -> (usize, usize) {
        let (mut end, mut bundles, mut bytes) = (entry, bundle, 0);
        loop {
            let (next, rows) = match self.bundles.get(bundles) {
                Some(bundle) if bundle.entries.start == end => (bundle.entries.end, Some(&bundle.rows)),
                _ if end < self.entries.len() => (end + 1, None),
                _ => return (end, bundles),
            };
            bytes += self.entries[end..next].iter().map(|entry| entry.bytes.len()).sum::<usize>();
            bytes += rows.into_iter().flatten().map(row_bytes).sum::<usize>();
            let is_first = (end, bundles) == (entry, bundle);
            if bytes > limit && !is_first {
                return (end, bundles);
            }
            end = next;
            bundles += usize::from(rows.is_some());
        }
    }

    /// Empties what was committed and keeps its room for the next.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bundles.clear();
        self.rows = 0;
        self.bytes = 0;
        self.oldest = None;
    }
}

/// Returns the bytes of a row's key and value.
fn row_bytes(row: &Row) -> usize {
    row.key.len() + row.value.as_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acceptance::entry;

    fn sized(sequence: u64) -> (Entry, ()) {
        (Entry { bytes: vec![0; 10].into(), ..entry("a", sequence) }, ())
    }

    fn row(bytes: usize) -> Row {
        Row { key: vec![b'k'], value: Some(vec![0; bytes - 1].into()) }
    }

    /// Returns the number of entries and bundles of each commit.
    fn pieces(work: &Work<()>, limit: usize) -> Vec<(usize, usize)> {
        let (mut entry, mut bundle, mut pieces) = (0, 0, Vec::new());
        while (entry, bundle) != (work.entries.len(), work.bundles.len()) {
            let end = work.piece_end(entry, bundle, limit);
            pieces.push((end.0 - entry, end.1 - bundle));
            (entry, bundle) = end;
        }
        pieces
    }

    #[test]
    fn what_came_together_is_never_cut_and_rows_follow_what_came_before_them() {
        let mut work = Work::default();
        work.push(sized(1).0, ());
        work.push(sized(2).0, ());
        work.push_bundle((3..=6).map(sized).collect(), vec![row(30)], None);
        work.push_bundle(Vec::new(), vec![row(10)], None);
        work.push(sized(7).0, ());
        work.push_bundle(Vec::new(), vec![row(10)], None);
        assert_eq!((work.items(), work.bytes), (10, 120));
        assert_eq!(pieces(&work, 1000), [(7, 3)]);
        assert_eq!(pieces(&work, 20), [(2, 0), (4, 1), (1, 1), (0, 1)], "a bundle may be beyond the limit");
        assert_eq!(pieces(&work, 15), [(1, 0), (1, 0), (4, 1), (0, 1), (1, 0), (0, 1)]);
        assert_eq!(pieces(&work, 90), [(6, 1), (1, 2)], "rows count");
        assert_eq!(pieces(&work, 0).len(), 6, "one at least");
    }
}
