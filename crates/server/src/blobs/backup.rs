//! Blobs in backups: read for one, and put in their places from one.
//!
//! In a backup a blob is called `{user}/{sha256}`. Its content is checked on both ways.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use syncline_store::{
    Row, Store, StoreError,
    export::{FileSink, FileSource},
};

use super::{BLOB, Blob, FOLDER, Key, Name, PAGE, make_folders, parse_key, path, row_key};

/// Where blobs are while a restore is under way. As long as it is there the restore did not come to its end.
pub(crate) const DRAFT: &str = "blobs.restoring";

/// All blobs of a store, one after the other, for a backup.
pub(crate) struct Carried<'a> {
    store: &'a dyn Store,
    folder: PathBuf,
    page: VecDeque<(Key, Blob)>,
    from: Vec<u8>,
}

impl<'a> Carried<'a> {
    /// Begins with the first one.
    pub(crate) fn new(store: &'a dyn Store, data: &Path) -> Self {
        let from = format!("{BLOB}/").into_bytes();
        Self { store, folder: data.join(FOLDER), page: VecDeque::new(), from }
    }

    /// Returns the next one, as the store has it now.
    fn next_row(&mut self) -> Result<Option<(Key, Blob)>, StoreError> {
        while self.page.is_empty() {
            let rows = self.store.rows(&self.from, format!("{BLOB}0").as_bytes(), PAGE)?;
            let Some((last, _)) = rows.last() else { return Ok(None) };
            self.from = [last.as_slice(), &[0]].concat();
            self.page.extend(rows.iter().filter_map(|(key, value)| {
                Some((parse_key(BLOB, key)?, serde_json::from_slice(value).ok()?))
            }));
        }
        Ok(self.page.pop_front())
    }

    fn source(&self, key: &Key, blob: &Blob) -> Result<Option<FileSource>, StoreError> {
        let (user, name) = key;
        let content = match File::open(path(&self.folder, user, *name)) {
            Ok(file) => Ok(Box::new(Hashed { file, name: *name, hash: Sha256::new() }) as Box<dyn Read>),
            // Collected or deleted meanwhile: there is nothing to miss.
            Err(_) if self.store.row(&row_key(BLOB, key))?.is_none() => return Ok(None),
            Err(error) => Err(io::Error::new(error.kind(), format!("its file cannot be read: {error}"))),
        };
        Ok(Some(FileSource { name: format!("{user}/{name}"), bytes: blob.bytes, content }))
    }
}

impl Iterator for Carried<'_> {
    type Item = Result<FileSource, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (key, blob) = match self.next_row() {
                Ok(Some(row)) => row,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
            if let Some(source) = self.source(&key, &blob).transpose() {
                return Some(source);
            }
        }
    }
}

/// A file whose end is an error where it was not what its name says.
struct Hashed {
    file: File,
    name: Name,
    hash: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() {
            let found = Name::of(self.hash.clone());
            if found != self.name {
                return Err(io::Error::other(format!("its file holds something else: {found}")));
            }
        }
        Ok(count)
    }
}

/// Puts the blobs of a backup in their places, all at once at its end.
pub(crate) struct Restored<'a> {
    store: &'a dyn Store,
    data: PathBuf,
    open: Option<Incoming>,
    /// Blobs that the backup does not hold, and why.
    pub(crate) left: Vec<(String, String)>,
    /// Blobs that are whole.
    pub(crate) whole: u64,
}

/// A blob on its way.
struct Incoming {
    key: Key,
    path: PathBuf,
    file: File,
    hash: Sha256,
}

impl<'a> Restored<'a> {
    /// Begins to restore into a data folder.
    pub(crate) fn new(store: &'a dyn Store, data: &Path) -> Self {
        Self { store, data: data.to_owned(), open: None, left: Vec::new(), whole: 0 }
    }

    fn draft(&self) -> PathBuf {
        self.data.join(DRAFT)
    }

    /// Forgets blobs of which the backup holds neither the content nor a word: they were removed while it was made.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        let mut carried = Carried::new(self.store, &self.data);
        let mut rows = Vec::new();
        while let Some((key, _)) = carried.next_row()? {
            let (user, name) = &key;
            let is_here = [DRAFT, FOLDER].iter().any(|at| path(&self.data.join(at), user, *name).exists());
            let is_named = self.left.iter().any(|(left, _)| *left == format!("{user}/{name}"));
            if !is_here && !is_named {
                rows.push(Row { key: row_key(BLOB, &key), value: None });
            }
            if rows.len() >= PAGE {
                self.store.commit(&[], &std::mem::take(&mut rows))?;
            }
        }
        self.store.commit(&[], &rows)
    }

    /// Gives the blobs their places. Where some are there already they stay: the same name is the same content.
    pub(crate) fn keep(self) -> io::Result<()> {
        let (draft, folder) = (self.draft(), self.data.join(FOLDER));
        if !draft.exists() {
            return Ok(());
        }
        if !folder.exists() {
            fs::rename(&draft, &folder)?;
            return File::open(&self.data)?.sync_all();
        }
        for file in super::check::files(&draft, 3) {
            let Ok(below) = file.strip_prefix(&draft) else { continue };
            let place = folder.join(below);
            make_folders(&place, &self.data)?;
            fs::rename(&file, &place)?;
            if let Some(folder) = place.parent() {
                File::open(folder)?.sync_all()?;
            }
        }
        remove(&draft)
    }
}

/// Removes what a restore that did not come to its end left of blobs.
pub(crate) fn discard(data: &Path) -> io::Result<()> {
    remove(&data.join(DRAFT))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl FileSink for Restored<'_> {
    fn begin(&mut self, name: &str, _bytes: u64) -> Result<(), StoreError> {
        let key = parse_key(BLOB, format!("{BLOB}/{name}").as_bytes());
        let key = key.ok_or_else(|| StoreError::Export(format!("{name:?} is no name of a blob")))?;
        let path = path(&self.draft(), &key.0, key.1);
        make_folders(&path, &self.data)?;
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        self.open = Some(Incoming { key, path, file, hash: Sha256::new() });
        Ok(())
    }

    fn piece(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        if let Some(open) = &mut self.open {
            open.hash.update(piece);
            open.file.write_all(piece)?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), StoreError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let (found, (user, name)) = (Name::of(open.hash), &open.key);
        if found != *name {
            let text = format!("blob {user}/{name} fails its checksum: it holds {found}");
            return Err(StoreError::Export(text));
        }
        if self.store.row(&row_key(BLOB, &open.key))?.is_none() {
            // Uploaded after the moment that the backup shows.
            fs::remove_file(&open.path)?;
            return Ok(());
        }
        open.file.sync_all()?;
        if let Some(folder) = open.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        self.whole += 1;
        Ok(())
    }

    fn left(&mut self, name: &str, why: &str) -> Result<(), StoreError> {
        if let Some(open) = self.open.take() {
            fs::remove_file(&open.path)?;
        }
        self.left.push((name.to_owned(), why.to_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use syncline_store::MemoryStore;

    use super::*;

    #[test]
    fn what_was_removed_while_the_backup_was_made_is_forgotten() {
        let (store, folder) = (MemoryStore::new().expect("a store"), tempfile::tempdir().expect("a folder"));
        let blob = Blob { bytes: 1, kind: "text/plain".to_owned(), at: 0, seen: 0 };
        let keys: Vec<Key> = ["a", "b", "c"]
            .map(|digit| ("ada".into(), Name::parse(&digit.repeat(64)).expect("a name")))
            .to_vec();
        store
            .commit(&[], &keys.iter().map(|key| super::super::row(BLOB, key, &blob)).collect::<Vec<_>>())
            .expect("written");
        let mut restored = Restored::new(&store, folder.path());
        let place = path(&folder.path().join(DRAFT), "ada", keys[0].1);
        fs::create_dir_all(place.parent().expect("a folder")).expect("made");
        fs::write(&place, "x").expect("written");
        restored.left(&format!("ada/{}", keys[1].1), "its file cannot be read").expect("noted");
        restored.settle().expect("settled");
        let is_listed = |key: &Key| store.row(&row_key(BLOB, key)).expect("a store").is_some();
        assert_eq!(keys.iter().map(is_listed).collect::<Vec<_>>(), [true, true, false]);
    }
}
