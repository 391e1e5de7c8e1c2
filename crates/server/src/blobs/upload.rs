//! How a blob comes in: begun with its length and type, received piece by piece, checked at its end.
//!
//! The pieces go through a short queue to a thread that hashes and writes them. Every [`STRIDE`] bytes, and where the
//! body ends or breaks off, the file is synced and then the offset written down: an offset that anybody is told is on
//! disk. Nothing is taken up behind it, so what a crash left there is cut off.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{BLOB, Blob, Blobs, Key, Name, PAGE, Place, Trouble, UPLOAD, Upload, deleted, make_folders, row};
use crate::clock::now_ms;

/// Bytes between two offsets that are written down.
const STRIDE: u64 = 4 << 20;
/// Pieces between the socket and the disk.
const PIECES: usize = 4;
/// Bytes read at a time where a file is hashed again.
const CHUNK: usize = 64 << 10;

/// Why an upload may not begin.
#[derive(Debug)]
pub(crate) enum Denial {
    /// The user's blobs would take more room than they may: what is left.
    Full(u64),
    /// The user has as many blobs as there may be.
    TooMany,
    /// As many uploads of the user are unfinished as may be.
    Unfinished,
    /// The disk has no room.
    NoSpace,
}

/// How far receiving came.
#[derive(Debug)]
pub(crate) enum Received {
    /// So much is on disk; the body was whole.
    Part(u64),
    /// So much is on disk; the body broke off, or came too slowly.
    Broken(u64),
    /// There was more than the length that was declared.
    TooLong(u64),
    /// It is whole and on disk.
    Whole(Blob),
    /// It is whole, and something else: it was dropped.
    Wrong(Name),
    /// It is whole, and its caller is not welcome any more: it was dropped.
    Unwelcome,
}

impl Blobs {
    /// Begins an upload from nothing, if its user may.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        place: &Place,
        bytes: u64,
        kind: String,
    ) -> Result<Result<Upload, Denial>, Trouble> {
        let user = &place.key.0;
        let gate = user.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        // Of two that begin at once, the second sees the first.
        let _gate = self.gates[gate % self.gates.len()].lock().await;
        let (shelf, key) = (self.clone(), place.key.clone());
        let counted = tokio::task::spawn_blocking(move || shelf.denial(&key, bytes));
        if let Some(denial) = counted.await.map_err(|_| Trouble::Closed)?? {
            return Ok(Err(denial));
        }
        let upload = Upload { bytes, kind, offset: 0, at: now_ms() };
        // A row of a blob whose file was taken away says nothing any more.
        self.write(vec![row(UPLOAD, &place.key, &upload), deleted(BLOB, &place.key)]).await?;
        Ok(Ok(upload))
    }

    fn denial(&self, key: &Key, bytes: u64) -> Result<Option<Denial>, Trouble> {
        if self.room_for(bytes).is_err() {
            return Ok(Some(Denial::NoSpace));
        }
        let (mut count, mut unfinished, mut held) = (0, 0, 0_u64);
        for (other, blob) in self.of_user::<Blob>(BLOB, &key.0)? {
            if other != key.1 {
                (count, held) = (count + 1, held.saturating_add(blob.bytes));
            }
        }
        for (other, upload) in self.of_user::<Upload>(UPLOAD, &key.0)? {
            if other != key.1 {
                (unfinished, held) = (unfinished + 1, held.saturating_add(upload.bytes));
            }
        }
        let left = self.limits.blob_user_bytes.saturating_sub(held);
        Ok(match () {
            () if bytes > left => Some(Denial::Full(left)),
            () if count + unfinished >= self.limits.blobs_per_user => Some(Denial::TooMany),
            () if unfinished >= self.limits.blob_uploads => Some(Denial::Unfinished),
            () => None,
        })
    }

    /// Lists a user's blobs that are whole, by name.
    pub(crate) fn all_of(&self, user: &str) -> Result<Vec<(Name, Blob)>, Trouble> {
        self.of_user(BLOB, user)
    }

    /// Lists what a user has in one of the tables; the limits on a user bound it.
    fn of_user<T: serde::de::DeserializeOwned>(
        &self,
        table: &str,
        user: &str,
    ) -> Result<Vec<(Name, T)>, Trouble> {
        let (mut from, end) = (format!("{table}/{user}/").into_bytes(), format!("{table}/{user}0"));
        let mut found = Vec::new();
        loop {
            let page = self.store().rows(&from, end.as_bytes(), PAGE)?;
            for (key, value) in &page {
                let name = super::parse_key(table, key).map(|key| key.1);
                found.extend(name.zip(serde_json::from_slice(value).ok()));
            }
            match page.into_iter().next_back() {
                Some((key, _)) => from = [key.as_slice(), &[0]].concat(),
                None => return Ok(found),
            }
        }
    }

    /// Says that a blob is still wanted: it stays for another grace period at least.
    pub(crate) async fn renew(&self, key: &Key, blob: Blob) -> Result<Blob, Trouble> {
        let blob = Blob { seen: now_ms(), ..blob };
        self.write(vec![row(BLOB, key, &blob)]).await?;
        Ok(blob)
    }

    /// Takes in the rest of an upload, from its offset on. Asks whether its caller is still welcome before it becomes a
    /// blob.
    pub(crate) async fn receive<E>(
        self: &Arc<Self>,
        place: &Place,
        upload: Upload,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        draining: &CancellationToken,
        is_welcome: impl Fn() -> bool,
    ) -> Result<Received, Trouble> {
        let (give, pieces) = mpsc::channel(PIECES);
        let file = Incoming { blobs: self.clone(), key: place.key.clone(), upload };
        let writing = tokio::task::spawn_blocking(move || file.write(pieces));
        let idle = Duration::from_millis(self.limits.send_ms);
        let feeding = feed(body, give, idle, &place.wanted, draining);
        let longest = Duration::from_millis(self.limits.blob_call_ms);
        let broke = tokio::time::timeout(longest, feeding).await.unwrap_or(true);
        let written = writing.await.map_err(|_| Trouble::Closed)??;
        if place.wanted.is_cancelled() && !matches!(written, Written::Whole(_)) {
            return Err(Trouble::TakenOver);
        }
        Ok(match written {
            Written::Part(offset) if broke => Received::Broken(offset),
            Written::Part(offset) => Received::Part(offset),
            Written::TooLong(offset) => Received::TooLong(offset),
            Written::Whole((name, _)) if name != place.key.1 => {
                self.remove(place).await?;
                self.metrics().blobs.dropped("hash");
                Received::Wrong(name)
            }
            Written::Whole(_) if !is_welcome() => {
                self.remove(place).await?;
                self.metrics().blobs.dropped("unwelcome");
                Received::Unwelcome
            }
            Written::Whole((_, upload)) => {
                let now = now_ms();
                let blob = Blob { bytes: upload.bytes, kind: upload.kind, at: now, seen: now };
                self.write(vec![row(BLOB, &place.key, &blob), deleted(UPLOAD, &place.key)]).await?;
                self.metrics().blobs.stored();
                Received::Whole(blob)
            }
        })
    }

    /// Writes down how much of an upload is on disk. For threads that may wait.
    fn note_offset(&self, key: &Key, upload: &Upload) -> Result<(), Trouble> {
        let (told, tell) = oneshot::channel();
        let reply = Box::new(move |outcome| {
            let _ = told.send(outcome);
        });
        self.engine.journal.put_rows(vec![row(UPLOAD, key, upload)], reply);
        Ok(tell.blocking_recv().map_err(|_| Trouble::Closed)??)
    }
}

/// Hands the pieces of a body to the thread that writes. Says whether it broke off.
async fn feed<E>(
    mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    give: mpsc::Sender<Bytes>,
    idle: Duration,
    wanted: &CancellationToken,
    draining: &CancellationToken,
) -> bool {
    loop {
        let piece = tokio::select! {
            biased;
            () = wanted.cancelled() => return true,
            () = draining.cancelled() => return true,
            piece = tokio::time::timeout(idle, body.next()) => piece,
        };
        match piece {
            Ok(Some(Ok(piece))) => {
                if give.send(piece).await.is_err() {
                    // The thread ended: it says why.
                    return false;
                }
            }
            Ok(None) => return false,
            Ok(Some(Err(_))) | Err(_) => return true,
        }
    }
}

enum Written {
    Part(u64),
    TooLong(u64),
    Whole((Name, Upload)),
}

/// A file that is being written.
struct Incoming {
    blobs: Arc<Blobs>,
    key: Key,
    upload: Upload,
}

impl Incoming {
    /// Writes pieces until there are no more; what it returns is on disk.
    fn write(mut self, mut pieces: mpsc::Receiver<Bytes>) -> Result<Written, Trouble> {
        let path = self.blobs.path(&self.key);
        make_folders(&path, self.blobs.data())?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let begun = self.upload.offset;
        file.set_len(begun)?;
        file.seek(SeekFrom::Start(begun))?;
        // What was received earlier is hashed when it is clear that all of it is there.
        let mut hash = (begun == 0).then(Sha256::new);
        let (mut at, total) = (begun, self.upload.bytes);
        while let Some(piece) = pieces.blocking_recv() {
            self.blobs.metrics().blobs.received(piece.len());
            if piece.len() as u64 > total - at {
                self.settle(&file, at)?;
                return Ok(Written::TooLong(at));
            }
            if let Some(hash) = &mut hash {
                hash.update(&piece);
            }
            file.write_all(&piece)?;
            at += piece.len() as u64;
            if at - self.upload.offset >= STRIDE && at < total {
                self.settle(&file, at)?;
            }
        }
        if at < total {
            self.settle(&file, at)?;
            return Ok(Written::Part(at));
        }
        file.sync_all()?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        let hash = match hash {
            Some(hash) => hash,
            None => hash_file(&mut file)?,
        };
        self.upload.offset = total;
        Ok(Written::Whole((Name::of(hash), self.upload)))
    }

    /// Syncs what is there, then writes down how much it is.
    fn settle(&mut self, file: &File, at: u64) -> Result<(), Trouble> {
        if at == self.upload.offset {
            return Ok(());
        }
        file.sync_data()?;
        (self.upload.offset, self.upload.at) = (at, now_ms());
        self.blobs.note_offset(&self.key, &self.upload)
    }
}

/// Hashes a whole file.
pub(super) fn hash_file(file: &mut File) -> io::Result<Sha256> {
    file.seek(SeekFrom::Start(0))?;
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hash),
            Ok(length) => hash.update(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
