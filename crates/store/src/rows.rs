//! Rows: the server's own tables beside the documents. They are written in the batch of the journal record that
//! they came with, so that after a crash both are there or neither.
//!
//! The storage engine shows what is applied before it is synced. So what a row was before is kept until then, and
//! readers get that: an answer may rest on a row, and must not rest on what a power cut takes back. A snapshot
//! keeps it until it is dropped, and so shows the rows of its commit.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    codec::{Raw, SealedRow, seal, unseal},
    engine::Engine,
    error::StoreError,
    keys,
    kv::{Change, Kv},
    store::{CheckedRow, ROW_BYTES, ROW_KEY_BYTES, Row},
};

/// Rows as they were, by the storage engine's key: the sealed value, `None` where there was no row.
type Former = BTreeMap<Vec<u8>, Option<Bytes>>;

/// What rows were before changes that readers are not to see.
#[derive(Debug, Default)]
pub(crate) struct FormerRows {
    /// Before the write that is under way. After one that failed it stays: what was written may not be durable.
    unsynced: Former,
    /// Since the snapshot that is held began.
    held: Option<Former>,
}

/// Which rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// The newest durable ones.
    Newest,
    /// Those of the snapshot that is held.
    Held,
}

impl FormerRows {
    /// Begins to keep what changes from now on. No write is under way.
    pub(crate) fn hold(&mut self) {
        self.held = Some(self.unsynced.clone());
    }

    /// Ends what [`FormerRows::hold`] began.
    pub(crate) fn release(&mut self) {
        self.held = None;
    }

    fn of(&self, view: View) -> &Former {
        match (view, &self.held) {
            (View::Held, Some(held)) => held,
            _ => &self.unsynced,
        }
    }
}

/// Checks the sizes of a row's key and value.
pub(crate) fn check_row(row: &Row) -> Result<(), StoreError> {
    let (key, value) = (row.key.len(), row.value.as_ref().map_or(0, Bytes::len));
    if key == 0 || key > ROW_KEY_BYTES {
        return Err(StoreError::TooLarge(format!(
            "a row's key of {key} bytes, 1 to {ROW_KEY_BYTES} are taken"
        )));
    }
    if value > ROW_BYTES {
        let key = row.key.escape_ascii();
        return Err(StoreError::TooLarge(format!("row {key}: {value} bytes, {ROW_BYTES} are taken")));
    }
    Ok(())
}

/// Turns rows into what is written.
pub(crate) fn seal_rows(rows: &[Row]) -> Result<Vec<Change>, StoreError> {
    let seal_row = |row: &Row| {
        check_row(row)?;
        let key = keys::row(&row.key);
        match &row.value {
            Some(value) => Ok(Change::Put(key, seal(&SealedRow { key: Raw(&row.key), bytes: Raw(value) })?)),
            None => Ok(Change::Delete(key)),
        }
    };
    rows.iter().map(seal_row).collect()
}

fn unseal_row(key: &[u8], value: &Bytes) -> Result<Bytes, StoreError> {
    let what = format_args!("row {}", key.escape_ascii());
    let row: SealedRow<'_> = unseal(&what, value)?;
    if row.key.0 != key {
        return Err(StoreError::damaged(what, format!("is that of {}", row.key.0.escape_ascii())));
    }
    Ok(value.slice_ref(row.bytes.0))
}

impl<K: Kv> Engine<K> {
    /// Writes rows that came with no entries, with the writer's place taken.
    pub(crate) fn write_rows(&self, rows: Vec<Change>) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.keep_former(&rows)?;
        self.contain(|| {
            self.kv.room_for(2 * rows.iter().map(Change::size).sum::<usize>())?;
            self.kv.apply(rows)?;
            self.kv.sync()
        })?;
        self.forget_former();
        Ok(())
    }

    /// Keeps what rows are before they change, with the writer's place taken.
    pub(crate) fn keep_former(&self, rows: &[Change]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let before = rows.iter().map(|row| Ok((row.key().to_vec(), self.kv.get(row.key())?)));
        let before = Self::contain_read(|| before.collect::<Result<Former, StoreError>>())?;
        let mut former = self.former.lock();
        if let Some(held) = &mut former.held {
            for (key, value) in &before {
                held.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        former.unsynced = before;
        Ok(())
    }

    /// Shows what was written: it is durable.
    pub(crate) fn forget_former(&self) {
        self.former.lock().unsynced.clear();
    }

    /// Reads a row as of the newest durable commit.
    pub(crate) fn read_row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Self::contain_read(|| {
            let stored = keys::row(key);
            let now = self.kv.get(&stored)?;
            // In this order: a value that was read too early is covered by what it was before.
            let former = self.former.lock().of(View::Newest).get(&stored).cloned();
            former.unwrap_or(now).map(|value| unseal_row(key, &value)).transpose()
        })
    }

    /// Lists the rows between two keys of the storage engine.
    pub(crate) fn list_rows(
        &self,
        view: View,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<CheckedRow>, StoreError> {
        let values = Self::contain_read(|| self.scan_rows(view, from, to, limit))?;
        let open = |(stored, value): (Vec<u8>, Bytes)| {
            let key = stored[keys::ROWS.len()..].to_vec();
            let value = unseal_row(&key, &value);
            (key, value)
        };
        Ok(values.into_iter().map(open).collect())
    }

    /// Merges what is there with what was there before.
    fn scan_rows(
        &self,
        view: View,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let mut found = Vec::new();
        if limit == 0 || from >= to {
            return Ok(found);
        }
        let mut next = from.to_vec();
        self.kv.scan(from, to, &mut |key, value| {
            let former = self.former.lock();
            let former = former.of(view);
            add_deleted(former, &next, key, &mut found);
            match former.get(key) {
                None => found.push((key.to_vec(), Bytes::copy_from_slice(value))),
                Some(Some(before)) => found.push((key.to_vec(), before.clone())),
                Some(None) => {}
            }
            next = [key, &[0]].concat();
            Ok(found.len() < limit)
        })?;
        if found.len() < limit {
            add_deleted(self.former.lock().of(view), &next, to, &mut found);
        }
        found.truncate(limit);
        Ok(found)
    }
}

/// Adds rows that are not there any more, and were before.
fn add_deleted(former: &Former, from: &[u8], to: &[u8], found: &mut Vec<(Vec<u8>, Bytes)>) {
    let deleted = former.range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)));
    found.extend(deleted.filter_map(|(key, value)| Some((key.clone(), value.clone()?))));
}
