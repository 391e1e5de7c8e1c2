//! Copies that the server refused, or that were found damaged: kept until the application takes or discards them.

use std::{
    io::{Error, ErrorKind},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{ClientError, folder::write_whole};

/// A copy that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetAside {
    /// Names it.
    pub id: String,
    /// The document.
    pub document: String,
    /// Unix milliseconds, by this device's clock.
    pub at_ms: u64,
    /// Why.
    pub reason: String,
    /// What is valid of this device's edits is in the fresh copy; until then that waits for a connection.
    pub carried_over: bool,
    /// Edits that the server refused once more when they came alone: they are in this copy only.
    pub left_behind: Vec<u32>,
}

/// The folder of copies that were set aside.
#[derive(Debug)]
pub(crate) struct Asides {
    folder: PathBuf,
    list: Vec<SetAside>,
}

impl Asides {
    pub(crate) fn open(folder: PathBuf) -> Result<Self, Error> {
        let mut list = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                // One that cannot be read is left where it is, for a person to look at.
                list.extend(serde_json::from_slice::<SetAside>(&std::fs::read(&path)?).ok());
            }
        }
        list.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Self { folder, list })
    }

    pub(crate) fn list(&self) -> &[SetAside] {
        &self.list
    }

    /// Keeps a copy: an update (lib0 v1) that holds all of it. It is on disk when this returns.
    pub(crate) fn keep(
        &mut self,
        document: &str,
        at_ms: u64,
        reason: &str,
        carried_over: bool,
        update: &[u8],
    ) -> Result<(), Error> {
        let mut id = format!("{at_ms:013}");
        while self.list.iter().any(|aside| aside.id == id) {
            id.push('x');
        }
        let reason = reason.to_owned();
        let aside = SetAside {
            id,
            document: document.to_owned(),
            at_ms,
            reason,
            carried_over,
            left_behind: Vec::new(),
        };
        write_whole(&self.folder.join(format!("{}.update", aside.id)), update)?;
        self.note(&aside)?;
        self.list.push(aside);
        Ok(())
    }

    fn note(&self, aside: &SetAside) -> Result<(), Error> {
        let text = serde_json::to_vec(aside).unwrap_or_default();
        write_whole(&self.folder.join(format!("{}.json", aside.id)), &text)
    }

    /// Lists the copies of a document that are still to be carried over, oldest first.
    pub(crate) fn waiting(&self, document: &str) -> Vec<SetAside> {
        let waiting = self.list.iter().filter(|aside| aside.document == document && !aside.carried_over);
        waiting.cloned().collect()
    }

    /// Notes that an edit of a copy is refused, by its place among all of it.
    pub(crate) fn leave_behind(&mut self, id: &str, place: u32) -> Result<(), Error> {
        let Some(aside) = self.list.iter_mut().find(|aside| aside.id == id) else { return Ok(()) };
        aside.left_behind.push(place);
        let aside = aside.clone();
        self.note(&aside)
    }

    /// Notes that a copy was carried over.
    pub(crate) fn carried(&mut self, id: &str) -> Result<(), Error> {
        let Some(aside) = self.list.iter_mut().find(|aside| aside.id == id) else { return Ok(()) };
        aside.carried_over = true;
        let aside = aside.clone();
        self.note(&aside)
    }

    /// Counts the copies of a document that were set aside since a time.
    pub(crate) fn since(&self, document: &str, at_ms: u64) -> usize {
        self.list.iter().filter(|aside| aside.document == document && aside.at_ms >= at_ms).count()
    }

    /// Returns a copy as an update (lib0 v1).
    pub(crate) fn read(&self, id: &str) -> Result<Vec<u8>, ClientError> {
        let path = self.path(id)?;
        Ok(std::fs::read(path)?)
    }

    /// Removes a copy for good.
    pub(crate) fn discard(&mut self, id: &str) -> Result<(), ClientError> {
        let path = self.path(id)?;
        if self.list.iter().any(|aside| aside.id == id && !aside.carried_over) {
            let reason = "this copy waits to be carried over: connect first";
            return Err(ClientError::Invalid(reason.to_owned()));
        }
        remove(&path.with_extension("json"))?;
        remove(&path)?;
        self.list.retain(|aside| aside.id != id);
        Ok(())
    }

    /// Returns the file of a copy that is listed: an id from outside names no other file.
    fn path(&self, id: &str) -> Result<PathBuf, ClientError> {
        let known = self.list.iter().find(|aside| aside.id == id);
        let known = known.ok_or_else(|| ClientError::NotFound(id.to_owned()))?;
        Ok(self.folder.join(format!("{}.update", known.id)))
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_kept_until_it_was_carried_over_and_discarded() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut asides = Asides::open(folder.path().to_owned()).expect("opens");
        asides.keep("ada/profile", 5, "no", false, b"state").expect("kept");
        asides.keep("ada/profile", 5, "no", true, b"other").expect("kept");
        let mut asides = Asides::open(folder.path().to_owned()).expect("opens");
        let id = asides.waiting("ada/profile")[0].id.clone();
        assert_eq!(asides.read(&id).as_deref(), Ok(&b"state"[..]));
        assert!(asides.discard(&id).is_err(), "it is not carried over yet");
        asides.carried(&id).expect("noted");
        asides.discard(&id).expect("discarded");
        assert!(asides.read(&id).is_err() && asides.read("../identity").is_err());
        assert_eq!(Asides::open(folder.path().to_owned()).expect("opens").list().len(), 1);
    }
}
