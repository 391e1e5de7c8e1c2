//! Blobs: files that messages and drafts refer to, kept beside the store and named by their content.
//!
//! A blob of a user is a file `DATA/blobs/{hash of the user}/{2 hex}/{sha256}`, and a row of the store says what it is:
//!
//! | key | value (JSON) |
//! |---|---|
//! | `blob/{user}/{sha256}` | [`Blob`]: it is whole, its hash was checked, and it is on disk |
//! | `upload/{user}/{sha256}` | [`Upload`]: it is on its way, and so much of the file is on disk |
//! | `mention/{user}/{sha256}/{rest of a document's name}` | a document may refer to it ([`mentions`]) |
//!
//! The file has its place from the first byte; one commit turns the upload into a blob. So a crash at any moment leaves
//! an upload that goes on at its last durable offset, or a blob, and no file without a row. Start reading at
//! [`upload`]; [`collect`] removes what nothing refers to, [`check`] is for `syncline verify`.
//!
//! Invariants:
//! 1. A blob's row is written after its file, and the folders it lies in, are synced.
//! 2. One call at a time works on a file: it holds the file's [`Place`]. A later one takes it over.
//! 3. Nothing is collected that a document refers to: see [`mentions`] for why no edit can slip in.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod collect;
pub(crate) mod erased;
pub(crate) mod mentions;
pub(crate) mod upload;

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use syncline_store::{Row, Store, StoreError};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Limits,
    erasure::{Forgets, Target},
    metrics::Metrics,
    registry::Engine,
};

/// The folder of all blobs in the data folder.
pub(crate) const FOLDER: &str = "blobs";
const BLOB: &str = "blob";
const UPLOAD: &str = "upload";
/// Rows read at a time.
const PAGE: usize = 256;
/// What a call that is taken over has to put in order what it received.
const HANDOVER: Duration = Duration::from_secs(10);
/// One lock for so many users: who begins an upload is counted against the user's quota.
const GATES: usize = 16;

/// The SHA-256 of a blob's content, which is its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name([u8; 32]);

impl Name {
    /// Parses 64 hexadecimal digits in lower case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    fn of(hash: Sha256) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&hash.finalize());
        Self(bytes)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A blob that is whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Blob {
    pub(crate) bytes: u64,
    /// The media type, as its uploader named it.
    pub(crate) kind: String,
    /// When it became whole: unix milliseconds.
    pub(crate) at: u64,
    /// When it was last uploaded, or found to be referred to.
    pub(crate) seen: u64,
}

/// A blob on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Upload {
    /// Of the whole.
    pub(crate) bytes: u64,
    pub(crate) kind: String,
    /// So much of it is on disk.
    pub(crate) offset: u64,
    /// When that was last written down.
    pub(crate) at: u64,
}

/// What there is under a name.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Whole(Blob),
    Part(Upload),
}

/// Why a call on a blob does not go through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("another call took over")]
    TakenOver,
    #[error("it is still being worked on: try again in a moment")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the file cannot be kept: {0}")]
    Io(#[from] io::Error),
    #[error("the server is going down")]
    Closed,
}

/// Whose blob, and which.
pub(crate) type Key = (Arc<str>, Name);

struct Slot {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Tells whoever works there that another call wants the place.
    wanted: CancellationToken,
}

/// All blobs of the server.
pub(crate) struct Blobs {
    folder: PathBuf,
    engine: Arc<Engine>,
    pub(crate) limits: Limits,
    slots: Mutex<HashMap<Key, Slot>>,
    transfers: Arc<Semaphore>,
    gates: [tokio::sync::Mutex<()>; GATES],
    /// Held by whoever looks whether a blob may go.
    looking: tokio::sync::Mutex<()>,
}

/// What is said of a folder in which a restore did not come to its end.
pub(crate) const HALF_RESTORED: &str =
    "a restore into this folder did not come to its end: remove the folder and restore again";

impl Blobs {
    /// Says whether a restore into a data folder was begun and did not come to its end.
    pub(crate) fn is_half_restored(data: &Path) -> bool {
        data.join(backup::DRAFT).exists()
    }

    /// Opens the shelf in a data folder.
    pub(crate) fn new(data: &Path, engine: Arc<Engine>, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            folder: data.join(FOLDER),
            engine,
            transfers: Arc::new(Semaphore::new(limits.blob_transfers)),
            limits: limits.clone(),
            slots: Mutex::default(),
            gates: Default::default(),
            looking: tokio::sync::Mutex::default(),
        })
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.engine.journal.store()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.engine.metrics
    }

    /// Takes one of the places for those who upload; `None` where all are taken.
    pub(crate) fn transfer(&self) -> Option<OwnedSemaphorePermit> {
        self.transfers.clone().try_acquire_owned().ok()
    }

    /// Returns where the file of a blob is.
    pub(crate) fn path(&self, (user, name): &Key) -> PathBuf {
        path(&self.folder, user, *name)
    }

    /// Refuses to write so many bytes to the disk where it has no room for them.
    pub(crate) fn room_for(&self, bytes: u64) -> Result<(), Trouble> {
        let wanted = bytes.saturating_add(self.limits.min_free_bytes);
        match self.store().free_bytes() {
            Some(free) if free < wanted => Err(io::Error::from(io::ErrorKind::StorageFull).into()),
            _ => Ok(()),
        }
    }

    /// Returns the data folder.
    pub(crate) fn data(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// Says whether the store tells of a blob that is whole, wherever its file is.
    pub(crate) fn is_listed(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.read::<Blob>(BLOB, key)?.is_some())
    }

    /// Looks up what there is under a name.
    pub(crate) fn find(&self, key: &Key) -> Result<Option<Found>, StoreError> {
        if let Some(blob) = self.read::<Blob>(BLOB, key)?
            && std::fs::metadata(self.path(key)).is_ok_and(|file| file.len() == blob.bytes)
        {
            return Ok(Some(Found::Whole(blob)));
        }
        let Some(mut upload) = self.read::<Upload>(UPLOAD, key)? else { return Ok(None) };
        // More may be there than is on disk for good; less only where somebody took the file away.
        let length = std::fs::metadata(self.path(key)).map_or(0, |file| file.len());
        if length < upload.offset {
            upload.offset = 0;
        }
        Ok(Some(Found::Part(upload)))
    }

    fn read<T: DeserializeOwned>(&self, table: &str, key: &Key) -> Result<Option<T>, StoreError> {
        let row = self.store().row(&row_key(table, key))?;
        Ok(row.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Writes rows; returns once they are durable, behind all that was queued before.
    async fn write(&self, rows: Vec<Row>) -> Result<(), Trouble> {
        let (told, tell) = oneshot::channel();
        let reply = Box::new(move |outcome| {
            // What is written is written, whether or not the caller is still there.
            let _ = told.send(outcome);
        });
        self.engine.journal.put_rows(rows, reply);
        tell.await.map_err(|_| Trouble::Closed)??;
        Ok(())
    }

    /// Takes the place of a file: whoever works there is asked to stop, and waited for.
    pub(crate) async fn enter(self: &Arc<Self>, key: &Key) -> Result<Place, Trouble> {
        let wanted = CancellationToken::new();
        let lock = {
            let mut slots = self.slots.lock();
            let slot = slots
                .entry(key.clone())
                .or_insert_with(|| Slot { lock: Arc::default(), wanted: CancellationToken::new() });
            slot.wanted.cancel();
            slot.wanted = wanted.clone();
            slot.lock.clone()
        };
        let mut place = Place { blobs: self.clone(), key: key.clone(), wanted, guard: None };
        match tokio::time::timeout(HANDOVER, lock.lock_owned()).await {
            Ok(guard) if !place.wanted.is_cancelled() => place.guard = Some(guard),
            Ok(guard) => {
                place.guard = Some(guard);
                return Err(Trouble::TakenOver);
            }
            Err(_) => return Err(Trouble::Busy),
        }
        Ok(place)
    }

    /// Takes the place of a file if nobody works there.
    fn enter_idle(self: &Arc<Self>, key: &Key) -> Option<Place> {
        let wanted = CancellationToken::new();
        let mut slots = self.slots.lock();
        if slots.contains_key(key) {
            return None;
        }
        let lock: Arc<tokio::sync::Mutex<()>> = Arc::default();
        let guard = lock.clone().try_lock_owned().ok()?;
        slots.insert(key.clone(), Slot { lock, wanted: wanted.clone() });
        Some(Place { blobs: self.clone(), key: key.clone(), wanted, guard: Some(guard) })
    }

    /// Removes a file and its rows. The caller has its place.
    pub(crate) async fn remove(&self, place: &Place) -> Result<(), Trouble> {
        let path = self.path(&place.key);
        unlink(&path).await?;
        self.write(vec![deleted(BLOB, &place.key), deleted(UPLOAD, &place.key)]).await
    }
}

impl Forgets for Blobs {
    /// Removes all files of an erased user; their rows go with all others of the user. What an erased message or
    /// conversation referred to goes by [`erased::remove`].
    fn forget(&self, target: &Target) -> Result<(), String> {
        if target.conversation.is_some() {
            return Ok(());
        }
        match std::fs::remove_dir_all(user_folder(&self.folder, &target.user)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("the user's blobs cannot be removed: {error}"))
            }
            _ => Ok(()),
        }
    }
}

/// The right to work on a file; given back when dropped.
pub(crate) struct Place {
    blobs: Arc<Blobs>,
    pub(crate) key: Key,
    /// Cancelled once another call wants the place.
    pub(crate) wanted: CancellationToken,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut slots = self.blobs.slots.lock();
        drop(self.guard.take());
        // Whoever waits holds the lock, too; new ones come by the table only.
        if slots.get(&self.key).is_some_and(|slot| Arc::strong_count(&slot.lock) == 1) {
            slots.remove(&self.key);
        }
    }
}

fn row_key(table: &str, (user, name): &Key) -> Vec<u8> {
    format!("{table}/{user}/{name}").into_bytes()
}

fn row(table: &str, key: &Key, value: &impl Serialize) -> Row {
    Row { key: row_key(table, key), value: serde_json::to_vec(value).ok().map(Into::into) }
}

fn deleted(table: &str, key: &Key) -> Row {
    Row { key: row_key(table, key), value: None }
}

/// Parses the key of a row of a table.
fn parse_key(table: &str, key: &[u8]) -> Option<Key> {
    let rest = std::str::from_utf8(key).ok()?.strip_prefix(table)?.strip_prefix('/')?;
    let (user, name) = rest.split_once('/')?;
    Some((user.into(), Name::parse(name)?))
}

/// Returns where the files of a user are. Users' names are hashed: what they may hold, a file system may not.
fn user_folder(folder: &Path, user: &str) -> PathBuf {
    let user = Name::of(Sha256::new_with_prefix(user)).to_string();
    folder.join(&user[..32])
}

/// Returns where the file of a blob is.
fn path(folder: &Path, user: &str, name: Name) -> PathBuf {
    let name = name.to_string();
    user_folder(folder, user).join(&name[..2]).join(name)
}

/// Makes the folders a file lies in, so that they are there after a power loss.
fn make_folders(path: &Path, data: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    for folder in folder.ancestors() {
        File::open(folder)?.sync_all()?;
        if folder == data {
            break;
        }
    }
    Ok(())
}

async fn unlink(path: &Path) -> io::Result<()> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_64_digits_in_lower_case() {
        let text = "0123456789abcdef".repeat(4);
        let name = Name::parse(&text).expect("a name");
        assert_eq!(name.to_string(), text);
        for bad in ["", "0", &text[1..], &text.to_uppercase(), &format!("{}é", &text[2..]), &"g".repeat(64)]
        {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_files_path_holds_nothing_that_a_user_chose() {
        let name = Name::of(Sha256::new_with_prefix("content"));
        let one = path(Path::new("blobs"), "../../etc", name);
        assert!(one.to_str().is_some_and(|path| !path.contains("..")), "{one:?}");
        assert_ne!(one, path(Path::new("blobs"), "ada", name), "users have folders of their own");
        let key = ("ada".into(), name);
        assert_eq!(parse_key(BLOB, &row_key(BLOB, &key)), Some(key.clone()));
        assert_eq!(parse_key(UPLOAD, &row_key(BLOB, &key)), None);
    }
}
