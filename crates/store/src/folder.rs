//! The data folder around the storage engine: its lock, the marker that says what must be there, the reserve.
//!
//! | file | what for |
//! |---|---|
//! | `syncline.json` | the marker: layout, identity, and how much was stored when it was last written |
//! | `lock` | held while a process has the store open; `secret` beside it may be read all the same |
//! | `reserve` | room to give back when the disk is full: delete it, and the server starts again |
//! | `store/` | sled's |

use std::{
    fs::{File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{error::StoreError, kv::Mark, open::LAYOUT, store::Identity};

/// What `syncline.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    pub(crate) layout: u64,
    pub(crate) created_ms: u64,
    /// [`Identity::to_hex`]: a marker from another folder is noticed.
    pub(crate) identity: String,
    /// The newest commit when this was written.
    pub(crate) commit: u64,
    /// Documents with a checkpoint when this was written.
    pub(crate) checkpoints: u64,
}

impl Marker {
    pub(crate) fn new(identity: Identity) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created_ms = u64::try_from(now.as_millis()).unwrap_or(0);
        Self { layout: LAYOUT, created_ms, identity: identity.to_hex(), commit: 0, checkpoints: 0 }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { commit: self.commit, heads: self.checkpoints }
    }
}

/// A data folder that this process has locked.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    /// Unlocked when dropped.
    _lock: File,
}

impl DataFolder {
    /// Locks a data folder, making it where there is none.
    pub(crate) fn lock(path: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(path).map_err(|error| at(path, &error))?;
        let lock = path.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&lock);
        let file = file.map_err(|error| at(&lock, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.display().to_string())),
            Err(TryLockError::Error(error)) => Err(at(&lock, &error)),
        }
    }

    /// Returns the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where sled keeps its files.
    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Returns sled's log, the file that has to be synced.
    pub(crate) fn log(&self) -> PathBuf {
        self.store().join("db")
    }

    /// Reads the marker; `None` where there is none.
    pub(crate) fn marker(&self) -> Result<Option<Marker>, StoreError> {
        let path = self.path.join("syncline.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path, &error)),
        };
        // The layout is looked at first: a newer one may have other fields.
        #[derive(Deserialize)]
        struct Layout {
            layout: u64,
        }
        let wrong = |error: serde_json::Error| StoreError::damaged(path.display(), error);
        let Layout { layout } = serde_json::from_slice(&text).map_err(wrong)?;
        if layout > LAYOUT {
            return Err(StoreError::TooNew { found: layout, known: LAYOUT });
        }
        serde_json::from_slice(&text).map(Some).map_err(wrong)
    }

    /// Replaces the marker, durable when it returns.
    pub(crate) fn write_marker(&self, marker: &Marker) -> Result<(), StoreError> {
        let (new, path) = (self.path.join("syncline.json.new"), self.path.join("syncline.json"));
        let text = serde_json::to_vec_pretty(marker).map_err(|error| StoreError::Bug(error.to_string()))?;
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            sync_folder(&self.path)
        };
        write().map_err(|error| at(&path, &error))
    }

    /// Removes snapshots that sled did not finish: with one there, every open fails.
    pub(crate) fn remove_unfinished_snapshots(&self) -> Result<(), StoreError> {
        for path in self.store_files()? {
            if path.extension().is_some_and(|extension| extension == "generating") {
                tracing::warn!(event = "unfinished_snapshot_removed", path = %path.display());
                std::fs::remove_file(&path).map_err(|error| at(&path, &error))?;
            }
        }
        Ok(())
    }

    /// Renames sled's snapshots, so that it reads its whole log instead. Returns whether there were any.
    pub(crate) fn set_snapshots_aside(&self) -> Result<bool, StoreError> {
        let mut any = false;
        for path in self.store_files()? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.starts_with("snap.") {
                let aside = path.with_file_name(format!("aside-{name}"));
                tracing::warn!(event = "snapshot_set_aside", path = %path.display());
                std::fs::rename(&path, &aside).map_err(|error| at(&path, &error))?;
                any = true;
            }
        }
        Ok(any)
    }

    fn store_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let store = self.store();
        let entries = match std::fs::read_dir(&store) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at(&store, &error)),
        };
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(|error| at(&store, &error))).collect()
    }

    /// Says whether sled has ever written here.
    pub(crate) fn has_store(&self) -> bool {
        self.log().exists()
    }

    /// Makes the entries of the data folder and of sled's durable: a log that was synced is of no use if its name
    /// is gone.
    pub(crate) fn sync_entries(&self) -> Result<(), StoreError> {
        for folder in [&self.store(), &self.path] {
            sync_folder(folder).map_err(|error| at(folder, &error))?;
        }
        Ok(())
    }

    /// Makes the reserve, if it is not there and there is ample room. Going without is fine.
    pub(crate) fn make_reserve(&self, bytes: u64) {
        let path = self.path.join("reserve");
        if bytes == 0 || path.exists() || self.free_bytes().is_none_or(|free| free < 2 * bytes) {
            return;
        }
        let fill = || {
            let mut file = File::create(&path)?;
            io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
            file.sync_all()
        };
        if let Err(error) = fill() {
            tracing::warn!(event = "no_reserve", %error);
            // A reserve that is not whole takes room for nothing.
            let _ = std::fs::remove_file(&path);
        }
    }

    /// Returns the bytes that this process may still write to the disk.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.path).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Names the file that an error is about.
pub(crate) fn at(path: &Path, error: &io::Error) -> StoreError {
    io::Error::new(error.kind(), format!("{}: {error}", path.display())).into()
}
