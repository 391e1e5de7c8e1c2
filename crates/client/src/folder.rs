//! The folder of a device's store: who may open it, which documents are in it, which of them wait to be saved.
//!
//! ```text
//! lock            held while a client has the store open
//! identity.json   whose store this is, and the sessions that wrote in it
//! documents/      {hash of the name}.log, and .unsaved beside it while an edit of it may not be saved
//! aside/          copies that the server refused
//! ```

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions, TryLockError},
    io::{Error, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use syncline_document::ids::Writer;
use syncline_protocol::names::DocumentName;

use crate::{ClientError, Config, log::sync_folder};

/// Earlier sessions that are remembered: their registers are folded into those of the session that runs.
const SESSIONS: usize = 256;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Identity {
    user: String,
    device: String,
    sessions: Vec<String>,
}

/// An open store.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// This session: never one that was there before.
    writer: Writer,
    /// Writers that were sessions of this store.
    gone: BTreeSet<String>,
    _lock: File,
}

impl Folder {
    /// Opens the store, or makes it.
    pub(crate) fn open(config: &Config) -> Result<Self, ClientError> {
        let root = PathBuf::from(&config.folder);
        for part in ["documents", "aside"] {
            std::fs::create_dir_all(root.join(part))?;
        }
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(root.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ClientError::StoreInUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let path = root.join("identity.json");
        let mut identity = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| ClientError::Damaged(format!("{}: {error}", path.display())))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Identity { user: config.user.clone(), device: config.device.clone(), sessions: Vec::new() }
            }
            Err(error) => return Err(error.into()),
        };
        if (&identity.user, &identity.device) != (&config.user, &config.device) {
            return Err(ClientError::StoreOfAnother(format!("{} on {}", identity.user, identity.device)));
        }
        let gone = identity.sessions.iter().map(|session| format!("{}.{session}", identity.device)).collect();
        let session = random_text()?;
        let writer = Writer::device(&config.device, &session)
            .ok_or_else(|| ClientError::Configuration("the device's id cannot be a writer".to_owned()))?;
        identity.sessions.push(session);
        let surplus = identity.sessions.len().saturating_sub(SESSIONS);
        identity.sessions.drain(..surplus);
        write_whole(&path, &serde_json::to_vec(&identity).unwrap_or_default())?;
        Ok(Self { root, writer, gone, _lock: lock })
    }

    /// Returns who writes in this session.
    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Says whether a writer is an earlier session of this store: it will not write any more.
    pub(crate) fn is_gone(&self, writer: &Writer) -> bool {
        self.gone.contains(writer.as_str())
    }

    /// Returns the file of a document.
    pub(crate) fn log(&self, document: &DocumentName) -> PathBuf {
        self.root.join("documents").join(format!("{}.log", hash(document)))
    }

    /// Returns the folder of copies that were set aside.
    pub(crate) fn aside(&self) -> PathBuf {
        self.root.join("aside")
    }

    /// Says whether the store has a document.
    pub(crate) fn has(&self, document: &DocumentName) -> bool {
        self.log(document).exists()
    }

    /// Notes, on disk, that a document has edits that may not be saved.
    pub(crate) fn mark_unsaved(&self, document: &DocumentName) -> Result<(), Error> {
        let path = self.log(document).with_extension("unsaved");
        if !path.exists() {
            write_whole(&path, document.as_str().as_bytes())?;
        }
        Ok(())
    }

    /// Forgets that. A crash in between leaves the note, which costs nothing but a look.
    pub(crate) fn unmark_unsaved(&self, document: &DocumentName) {
        // It may not be there.
        let _ = std::fs::remove_file(self.log(document).with_extension("unsaved"));
    }

    /// Lists the documents that may have edits that are not saved.
    pub(crate) fn unsaved(&self) -> Result<Vec<DocumentName>, Error> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.root.join("documents"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "unsaved") {
                let name = std::fs::read_to_string(&path)?;
                names.extend(DocumentName::parse(&name).ok().filter(|name| self.log(name).exists()));
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&part, path)?;
    sync_folder(path)
}

/// Names a document's files: names are longer than file names may be, and not all characters go.
fn hash(document: &DocumentName) -> String {
    let digest = Sha256::digest(document.as_str().as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Draws a text that nobody drew before.
pub(crate) fn random_text() -> Result<String, ClientError> {
    let mut bytes = [0_u8; 10];
    getrandom::fill(&mut bytes).map_err(|error| ClientError::Store(format!("no randomness: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Draws a Yjs client id of 32 bits, as Yjs does. Never 0, which is a document that is only read.
pub(crate) fn random_client() -> Result<u64, ClientError> {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes).map_err(|error| ClientError::Store(format!("no randomness: {error}")))?;
    Ok(u64::from(u32::from_le_bytes(bytes)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path, device: &str) -> Config {
        let text = |text: &str| text.to_owned();
        Config::new(text("http://localhost"), text("ada"), text(device), folder.display().to_string())
    }

    #[test]
    fn one_client_at_a_time_of_one_device() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Folder::open(&config(folder.path(), "phone")).expect("opens");
        assert_eq!(Folder::open(&config(folder.path(), "phone")).err(), Some(ClientError::StoreInUse));
        let writer = first.writer().clone();
        assert!(!first.is_gone(&writer));
        drop(first);
        let other = Folder::open(&config(folder.path(), "laptop")).err();
        assert_eq!(other, Some(ClientError::StoreOfAnother("ada on phone".to_owned())));
        let second = Folder::open(&config(folder.path(), "phone")).expect("opens");
        assert!(second.is_gone(&writer) && *second.writer() != writer);
    }

    #[test]
    fn what_waits_to_be_saved_is_found_by_its_note() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Folder::open(&config(folder.path(), "phone")).expect("opens");
        let name = DocumentName::parse("ada/profile").expect("a name");
        store.mark_unsaved(&name).expect("marked");
        assert!(store.unsaved().expect("lists").is_empty(), "there is no log of it");
        std::fs::write(store.log(&name), b"").expect("writes");
        assert_eq!(store.unsaved().expect("lists"), std::slice::from_ref(&name));
        store.unmark_unsaved(&name);
        assert!(store.unsaved().expect("lists").is_empty());
    }
}
