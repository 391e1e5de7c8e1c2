//! `syncline compact`: the store written anew, without what the storage engine never gives back.
//!
//! The new store is complete before the old one is moved. From then on the steps only go forward, and the next
//! `compact` finishes what a crash left: 1. `store` becomes `store.old`; 2. the new `store` takes its place; 3. the
//! new marker takes the place of the old one; 4. `store.old` goes.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use syncline_store::{
    SledStore, Store, StoreError,
    export::{export, import},
    sled_store::{Expect, SledOptions},
};

use crate::{
    cli::{Compact, Failure},
    commands::{MARKER_FILE, STORE_FOLDER, open_existing, print},
};

/// Pipes have a small buffer of their own; records are written in pieces of this size.
const PIECE: usize = 256 << 10;

pub(crate) fn run(arguments: &Compact) -> Result<(), Failure> {
    let folders = Folders::of(&arguments.data);
    if folders.old.exists() {
        let _lock = lock(&arguments.data)?;
        folders.swap()?;
        return print("finished what an earlier compact began");
    }
    let store = open_existing(&arguments.data)?;
    let before = store.size_on_disk();
    remove(&folders.draft)?;
    let documents = rewrite(&store, &folders.draft)?;
    let left = store.last_commit();
    drop(store);
    let _lock = lock(&arguments.data)?;
    fs::rename(&folders.store, &folders.old).map_err(|error| failed(&folders.store, &error))?;
    folders.swap()?;
    let after = size(&folders.store);
    tracing::debug!(left, "compacted");
    print(&format!("{documents} documents, {before} bytes before, {after} bytes now"))
}

/// Exports into a pipe, and imports from it into a new store.
fn rewrite(store: &SledStore, draft: &Path) -> Result<u64, Failure> {
    let expect = Expect::Successor(store.identity());
    let next = SledStore::open_folder(draft, &SledOptions::default(), expect)?;
    let (reader, writer) = io::pipe().map_err(StoreError::from)?;
    let imported = std::thread::scope(|scope| {
        let exporting = scope.spawn(|| {
            let mut out = BufWriter::with_capacity(PIECE, writer);
            export(store, &mut out).and_then(|_| Ok(out.flush()?))
        });
        let imported = import(&next, &mut BufReader::with_capacity(PIECE, reader));
        // The reader is gone now: an export that failed or was not read to its end comes back.
        let exported =
            exporting.join().unwrap_or_else(|_| Err(StoreError::Bug("the export panicked".into())));
        match (exported, imported) {
            (_, Ok(imported)) => Ok(imported),
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
        }
    })?;
    next.mark()?;
    Ok(imported.documents)
}

struct Folders {
    data: PathBuf,
    store: PathBuf,
    old: PathBuf,
    marker: PathBuf,
    draft: PathBuf,
}

impl Folders {
    fn of(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            store: data.join(STORE_FOLDER),
            old: data.join("store.old"),
            marker: data.join(MARKER_FILE),
            draft: data.join("compacting"),
        }
    }

    /// Steps 2 to 4, each of which may have been done.
    fn swap(&self) -> Result<(), Failure> {
        let new_store = self.draft.join(STORE_FOLDER);
        let new_marker = self.draft.join(MARKER_FILE);
        if new_store.exists() {
            fs::rename(&new_store, &self.store).map_err(|error| failed(&new_store, &error))?;
        }
        self.sync()?;
        if new_marker.exists() {
            fs::rename(&new_marker, &self.marker).map_err(|error| failed(&new_marker, &error))?;
        }
        self.sync()?;
        remove(&self.old)?;
        remove(&self.draft)
    }

    fn sync(&self) -> Result<(), Failure> {
        File::open(&self.data)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| failed(&self.data, &error))
    }
}

/// Keeps a server from starting while files are moved.
fn lock(data: &Path) -> Result<File, Failure> {
    let path = data.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| failed(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(StoreError::InUse(path.display().to_string()).into()),
    }
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(folder, &error)),
        _ => Ok(()),
    }
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some(if metadata.is_dir() { size(&entry.path()) } else { metadata.len() })
        })
        .sum()
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Check(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_after(steps: usize) -> (tempfile::TempDir, Folders) {
        let data = tempfile::tempdir().expect("a folder");
        let folders = Folders::of(data.path());
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        write(&folders.old.join("db"), "old");
        write(&folders.marker, "old");
        write(&folders.draft.join("store/db"), "new");
        write(&folders.draft.join("syncline.json"), "new");
        if steps >= 2 {
            fs::rename(folders.draft.join("store"), &folders.store).expect("moved");
        }
        if steps >= 3 {
            fs::rename(folders.draft.join("syncline.json"), &folders.marker).expect("moved");
        }
        (data, folders)
    }

    #[test]
    fn a_crash_between_any_two_steps_is_finished_later() {
        for steps in 1..=3 {
            let (_data, folders) = folder_after(steps);
            folders.swap().expect("finished");
            assert_eq!(fs::read_to_string(folders.store.join("db")).expect("there"), "new", "after {steps}");
            assert_eq!(fs::read_to_string(&folders.marker).expect("there"), "new", "after {steps}");
            assert!(!folders.old.exists() && !folders.draft.exists(), "after {steps}");
        }
    }
}
