//! The store on disk: sled 0.34.7, with what it does under fire worked around.
//!
//! - `flush` does not survive power loss on Linux (`sync_file_range`): after it we `fdatasync` sled's log through a
//!   handle of our own.
//! - Values of a quarter of a page group become files that are never synced: segments are 8 MiB, values 64 KiB.
//! - `flush_async` deadlocks: never called; one writer at a time, and no flusher thread of sled's.
//! - Damage makes it panic at open or come up empty: it is opened under `catch_unwind`, once more with its
//!   snapshots set aside, and what comes up is held against the marker and the totals.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    engine::{Engine, panic_text},
    error::StoreError,
    folder::{DataFolder, Marker, at},
    kv::{Change, Kv, Mark, Visit},
    open::read_meta,
    store::Identity,
};

/// A store on disk.
pub type SledStore = Engine<SledKv>;

/// Keeps values inline up to a quarter of it. Part of the layout: sled refuses to open with another one.
const SEGMENT_BYTES: usize = 8 << 20;

/// How the store on disk works. The default suits a small server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SledOptions {
    /// Memory for pages that were read.
    pub cache_bytes: u64,
    /// Size of the file that may be deleted when the disk is full; 0 for none. sled writes up to two segments of
    /// 8 MiB when it opens, so less is of no use.
    pub reserve_bytes: u64,
    /// Writes are refused while less than this is free: sled does not take a full disk well.
    pub min_free_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, reserve_bytes: 24 << 20, min_free_bytes: 32 << 20 }
    }
}

/// Whether there must be a store already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Opened where there is one, else made: for serving.
    Any,
    /// Never made: for looking at it.
    Existing,
    /// Must not be there: for restoring into it. Draws a new identity.
    Nothing,
    /// As [`Expect::Nothing`], with the identity of the store that it takes over from: for compacting.
    Successor(Identity),
}

/// The map below a [`SledStore`].
pub struct SledKv {
    db: sled::Db,
    log: File,
    folder: DataFolder,
    marker: Mutex<Marker>,
    min_free_bytes: u64,
}

impl SledStore {
    /// Opens the store of a data folder, and locks it until dropped.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::TooNew`], [`StoreError::Damaged`] where something that was stored is
    /// not found or fails a check; [`StoreError::Bug`] where what was expected is not so.
    pub fn open_folder(path: &Path, options: &SledOptions, expect: Expect) -> Result<Self, StoreError> {
        if expect == Expect::Existing && !path.is_dir() {
            return Err(StoreError::Io(format!("there is no data folder at {}", path.display())));
        }
        let folder = DataFolder::lock(path)?;
        let marker = folder.marker()?;
        let stored = marker.as_ref().is_some_and(|marker| marker.mark() != Mark::default());
        let exists = folder.has_store();
        if stored && !exists {
            return Err(StoreError::damaged(
                folder.log().display(),
                "missing, and the marker says there was data",
            ));
        }
        match expect {
            Expect::Nothing | Expect::Successor(_) if exists || marker.is_some() => {
                Err(StoreError::Bug(format!("there is a store at {} already", path.display())))
            }
            Expect::Existing if !exists => {
                Err(StoreError::Io(format!("there is no store at {}", path.display())))
            }
            Expect::Successor(identity) => make(folder, options, identity),
            _ if exists => open(folder, options, marker),
            _ => make(folder, options, Identity::draw()?),
        }
    }
}

/// Makes a store. The marker comes first: from then on, a store that is not there is missed.
fn make(folder: DataFolder, options: &SledOptions, identity: Identity) -> Result<SledStore, StoreError> {
    let marker = Marker::new(identity);
    folder.write_marker(&marker)?;
    folder.make_reserve(options.reserve_bytes);
    let kv = open_sled(folder, options, marker).map_err(|(_, error)| error)?;
    kv.folder.sync_entries()?;
    SledStore::create(kv, identity)
}

fn open(folder: DataFolder, options: &SledOptions, marker: Option<Marker>) -> Result<SledStore, StoreError> {
    folder.remove_unfinished_snapshots()?;
    let had_marker = marker.is_some();
    let known = marker.unwrap_or_else(|| Marker::new(Identity([0; 16])));
    let (folder, first) = match open_whole(folder, options, known.clone(), had_marker) {
        Ok(store) => return Ok(store),
        Err((folder, error @ StoreError::Damaged(_))) => (folder, error),
        Err((_, error)) => return Err(error),
    };
    // sled reads its whole log where it has no snapshot: that mends a damaged snapshot, nothing else.
    match folder {
        Some(folder) if folder.set_snapshots_aside()? => {
            tracing::warn!(event = "store_opened_again", error = %first);
            open_whole(folder, options, known, had_marker).map_err(|_| first)
        }
        _ => Err(first),
    }
}

/// Why opening failed, and the folder for another attempt.
type Failed = (Option<DataFolder>, StoreError);

fn open_whole(
    folder: DataFolder,
    options: &SledOptions,
    marker: Marker,
    had_marker: bool,
) -> Result<SledStore, Failed> {
    let kv = open_sled(folder, options, marker)?;
    // A store that was never finished making has no meta record, and no mark: it is made anew.
    let meta = match SledStore::contain_read(|| read_meta(&kv)) {
        Ok(meta) => meta,
        Err(error) => return Err((kv.close(), error)),
    };
    let Some(meta) = meta else {
        let untouched = had_marker && kv.marker.lock().mark() == Mark::default() && kv.db.is_empty();
        if !untouched {
            let error = StoreError::damaged("store", "it came up empty, and there was data");
            return Err((kv.close(), error));
        }
        let identity = match Identity::from_hex(&kv.marker.lock().identity) {
            Some(identity) => identity,
            None => return Err((None, StoreError::damaged("syncline.json", "has no usable identity"))),
        };
        return SledStore::create(kv, identity).map_err(|error| (None, error));
    };
    let identity = Identity(meta.identity).to_hex();
    if !had_marker {
        kv.marker.lock().identity = identity;
    } else if kv.marker.lock().identity != identity {
        return Err((None, StoreError::damaged("syncline.json", "belongs to another store")));
    }
    kv.folder.make_reserve(options.reserve_bytes);
    match SledStore::open_or_return(kv) {
        Ok(store) => {
            crate::store::Store::mark(&store).map_err(|error| (None, error))?;
            Ok(store)
        }
        Err((kv, error)) => Err((kv.close(), error)),
    }
}

fn open_sled(folder: DataFolder, options: &SledOptions, marker: Marker) -> Result<SledKv, Failed> {
    let config = sled::Config::new()
        .path(folder.store())
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(options.cache_bytes)
        .use_compression(false)
        .flush_every_ms(None);
    let opened = catch_unwind(AssertUnwindSafe(|| config.open())).unwrap_or_else(|panic| {
        let text = format!("the storage engine panicked while opening: {}", panic_text(&*panic));
        Err(sled::Error::ReportableBug(text))
    });
    let db = match opened {
        Ok(db) => db,
        Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
            return Err((None, StoreError::InUse(folder.store().display().to_string())));
        }
        Err(error) => return Err((Some(folder), from_sled(error))),
    };
    let log = match File::options().read(true).write(true).open(folder.log()) {
        Ok(log) => log,
        Err(error) => return Err((None, at(&folder.log(), &error))),
    };
    Ok(SledKv { db, log, folder, marker: Mutex::new(marker), min_free_bytes: options.min_free_bytes })
}

impl SledKv {
    /// Returns the data folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Closes sled and hands the folder back, still locked.
    fn close(self) -> Option<DataFolder> {
        let Self { db, folder, .. } = self;
        // Dropping flushes, which a damaged sled may not survive.
        catch_unwind(AssertUnwindSafe(|| drop(db))).ok().map(|()| folder)
    }
}

impl Kv for SledKv {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.db.get(key).map_err(from_sled)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, from: &[u8], to: &[u8], each: Visit<'_>) -> Result<(), StoreError> {
        for item in self.db.range(from..to) {
            let (key, value) = item.map_err(from_sled)?;
            if !each(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, mut batch: Vec<Change>) -> Result<(), StoreError> {
        if batch.len() == 1 {
            // Atomic by itself: spares the batch's own record in sled's log.
            match batch.remove(0) {
                Change::Put(key, value) => self.db.insert(key, value),
                Change::Delete(key) => self.db.remove(key),
            }
            .map_err(from_sled)?;
            return Ok(());
        }
        let mut sled_batch = sled::Batch::default();
        for change in batch {
            match change {
                Change::Put(key, value) => sled_batch.insert(key, value),
                Change::Delete(key) => sled_batch.remove(key),
            }
        }
        self.db.apply_batch(sled_batch).map_err(from_sled)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(from_sled)?;
        self.log.sync_data().map_err(|error| at(&self.folder.log(), &error))
    }

    fn marked(&self) -> Result<Mark, StoreError> {
        Ok(self.marker.lock().mark())
    }

    fn mark(&self, mark: Mark) -> Result<(), StoreError> {
        let mut marker = self.marker.lock();
        marker.commit = mark.commit;
        marker.checkpoints = mark.heads;
        self.folder.write_marker(&marker)
    }

    fn size_on_disk(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }

    fn free_bytes(&self) -> Option<u64> {
        self.folder.free_bytes()
    }

    fn room_for(&self, bytes: usize) -> Result<(), StoreError> {
        match self.folder.free_bytes() {
            Some(free) if free < self.min_free_bytes.saturating_add(bytes as u64) => {
                Err(StoreError::Full(format!("{free} bytes are free, {} are kept free", self.min_free_bytes)))
            }
            _ => Ok(()),
        }
    }
}

fn from_sled(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => match StoreError::from(error) {
            // sled reads beyond a file that was cut.
            StoreError::Io(text) if text.contains("failed to fill whole buffer") => StoreError::Damaged(text),
            other => other,
        },
        sled::Error::Corruption { at, .. } => StoreError::Damaged(format!("sled found damage at {at:?}")),
        sled::Error::ReportableBug(text) => StoreError::Damaged(text),
        other => StoreError::Io(other.to_string()),
    }
}
