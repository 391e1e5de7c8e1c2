//! One document on this device: its replica, its log, and how many of its edits are saved.
//!
//! What a copy wants to be sent it hands out as [`Out`]; the keeper sends it once the log is on the disk.

mod joint;
mod report;

use std::collections::VecDeque;

use bytes::Bytes;
use syncline_document::{
    Absorbed, Pen, Replica,
    carry::Piece,
    schema::{Kind, conversation},
};
use syncline_protocol::{limits::Limits as Checker, names::DocumentName};

pub(crate) use self::joint::{Hearing, Joining, Joint, Out, Phase, Refusal};
use crate::{
    ClientError,
    folder::{Folder, random_client},
    log::{Counts, Log, Record},
    status::{DocumentView, RefusalCode, Status},
};

/// The connection, as all documents have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// None, and none is about to be.
    Down,
    /// The first try to connect is on its way.
    Dialing,
    /// There is one.
    Up,
}

/// An edit of a copy that was set aside.
#[derive(Debug)]
pub(crate) struct Carried {
    /// The copy.
    pub(crate) aside: String,
    /// Its place among the edits of that copy.
    pub(crate) place: u32,
    pub(crate) piece: Piece,
}

/// A document of this device.
pub(crate) struct LocalCopy {
    pub(crate) name: DocumentName,
    pub(crate) kind: Kind,
    pub(crate) replica: Replica,
    pub(crate) log: Log,
    counts: Counts,
    /// Edits of copies that were set aside which are still to be written into this one.
    pub(crate) waiting: VecDeque<Carried>,
    /// The one that was written last, until it is saved.
    pub(crate) carried: Option<Carried>,
    /// Rises with every change of content.
    pub(crate) revision: u64,
    /// When it was last used, in uses of all documents.
    pub(crate) used: u64,
    /// The clock has seen all times that stand here.
    pub(crate) wound: bool,
    /// The registers of earlier sessions were folded.
    pub(crate) folded: bool,
    /// Something was added that has to be on the disk before anybody hears of it.
    urgent: bool,
    pub(crate) joint: Joint,
    /// The newest accepted message as of a revision, to spare a walk.
    newest: Option<(u64, u64)>,
}

impl LocalCopy {
    /// Opens what is stored of a document, or begins it. A path is returned where the file was damaged.
    pub(crate) fn open(
        folder: &Folder,
        name: &DocumentName,
        log_bytes: u64,
    ) -> Result<(Self, Option<std::path::PathBuf>), ClientError> {
        let (log, loaded) = Log::open(&folder.log(name), name.as_str(), log_bytes)?;
        let parts = || loaded.parts.iter().map(|part| &part[..]);
        // A new id for every session and every load: one that wrote what was never stored, or whose store was copied to
        // another device, is not used again.
        let mut client = random_client()?;
        let mut replica = Replica::load_as(client, parts())?;
        while replica.known().clock(client) > 0 {
            client = random_client()?;
            replica = Replica::load_as(client, parts())?;
        }
        let copy = Self {
            kind: Kind::of(name),
            name: name.clone(),
            replica,
            log,
            counts: loaded.counts,
            waiting: VecDeque::new(),
            carried: None,
            revision: 1,
            used: 0,
            wound: false,
            folded: false,
            // Edits of somebody who gave the copy up, or crashed, may not be on the disk yet, and are offered.
            urgent: true,
            joint: Joint::default(),
            newest: None,
        };
        Ok((copy, loaded.damaged))
    }

    /// Returns how many edits of this device the server has not called saved.
    pub(crate) fn unsaved(&self) -> u64 {
        self.counts.made - self.counts.saved + self.waiting.len() as u64
    }

    /// Returns how many edits were made, ever.
    pub(crate) fn made(&self) -> u64 {
        self.counts.made
    }

    /// Returns how much there is to be offered, at most: bytes.
    pub(crate) fn unsent_bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// Every device has the messages up to this number.
    pub(crate) fn delivered(&self) -> u64 {
        self.counts.delivered
    }

    /// Writes to the document. What came of it is in the log, and offered once that is on the disk.
    ///
    /// After an error the copy has to be opened anew: it may hold what is not stored.
    pub(crate) fn edit<R>(
        &mut self,
        write: impl FnOnce(&mut Pen<'_, '_>) -> R,
        out: &mut Vec<Out>,
    ) -> Result<R, ClientError> {
        let edited = self.replica.edit(write)?;
        if let Some(update) = edited.update {
            self.log.append(Record::Own(&update))?;
            self.urgent = true;
            self.counts.made += 1;
            self.revision += 1;
            self.offer(&update, out);
        }
        Ok(edited.value)
    }

    /// Takes in an update from the server.
    fn absorb(&mut self, update: &Bytes, checker: &Checker) -> Result<Taken, Trouble> {
        let damaged = |reason: &str| Refusal::new(RefusalCode::Damaged, reason);
        match self.replica.absorb(update, checker) {
            Absorbed::Applied(applied) => {
                if applied.novel {
                    // An update that is not stored would leave a gap before all that is.
                    let added = self.log.append(Record::Remote(update));
                    added.map_err(|error| Trouble::Broken(damaged(&format!("the store: {error}"))))?;
                    self.revision += 1;
                    self.wound = false;
                }
                Ok(Taken::All)
            }
            Absorbed::Gap { .. } => Ok(Taken::Gap),
            Absorbed::Refused(refusal) => {
                let reason = format!("the server sent what cannot be taken in: {refusal}");
                Err(Trouble::Refused(damaged(&reason)))
            }
            Absorbed::Broken(broken) => Err(Trouble::Broken(damaged(&broken.to_string()))),
        }
    }

    /// The server has so many edits of this device on disk.
    fn saved(&mut self, made: u64) {
        if made > self.counts.saved {
            self.counts.saved = made.min(self.counts.made);
            // Without it the edits count as unsaved after a restart, and are offered again: no harm.
            if let Err(error) = self.log.append(Record::Saved(self.counts.saved)) {
                tracing::warn!(document = %self.name, %error, "the log takes nothing");
            }
        }
    }

    /// Notes that every device has the messages up to a number.
    fn deliver(&mut self, seq: u64) {
        if seq > self.counts.delivered {
            self.counts.delivered = seq;
            self.revision += 1;
            if let Err(error) = self.log.append(Record::Delivered(seq)) {
                tracing::warn!(document = %self.name, %error, "the log takes nothing");
            }
        }
    }

    /// Returns the number of the newest accepted message; 0 where there is none.
    pub(crate) fn newest_seq(&mut self) -> u64 {
        if !matches!(self.kind, Kind::Conversation(_)) {
            return 0;
        }
        match self.newest {
            Some((revision, seq)) if revision == self.revision => seq,
            _ => {
                let seq = conversation::last_seq(&mut self.replica).unwrap_or(0);
                self.newest = Some((self.revision, seq));
                seq
            }
        }
    }

    /// Says whether something has to be on the disk before anybody hears of it.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Puts what has to be on the disk there: edits, and what is about to be confirmed.
    pub(crate) fn sync(&mut self) -> Result<(), ClientError> {
        if std::mem::take(&mut self.urgent) || self.joint.owes_confirmation() {
            self.log.sync()?;
        }
        Ok(())
    }

    /// Writes the log anew where it has grown long: what a document costs on disk follows its state, not its history.
    pub(crate) fn compact(&mut self) -> Result<(), ClientError> {
        if self.log.is_long() {
            self.log.note_try();
            let state = self.replica.encode_state()?;
            self.log.rewrite(self.name.as_str(), self.counts, &state)?;
        }
        Ok(())
    }

    /// Begins anew, with nothing but edits that are to be carried over. The file changes in one step.
    pub(crate) fn begin_anew(&mut self, waiting: VecDeque<Carried>) -> Result<(), ClientError> {
        let client = random_client()?;
        let counts = Counts { delivered: self.counts.delivered, ..Counts::default() };
        self.log.rewrite(self.name.as_str(), counts, &[0, 0])?;
        self.counts = counts;
        self.replica = Replica::of_client(client);
        self.waiting = waiting;
        self.carried = None;
        self.revision += 1;
        self.folded = false;
        self.wound = false;
        self.joint = Joint::default();
        Ok(())
    }

    /// Says what is true of it.
    pub(crate) fn status(&self, line: Line) -> Status {
        let unsaved = self.unsaved();
        if let Some(Refusal { code, reason, .. }) = &self.joint.refusal {
            return Status::Refused { code: *code, reason: reason.clone(), unsaved };
        }
        match line {
            Line::Down => Status::Offline { unsaved },
            Line::Dialing => Status::Connecting { unsaved },
            Line::Up if !self.joint.is_in_step() => Status::Connecting { unsaved },
            Line::Up if unsaved > 0 => Status::Saving { unsaved },
            Line::Up => match self.joint.to_merge() {
                0 => Status::Saved,
                changes => Status::Merging { changes },
            },
        }
    }

    pub(crate) fn view(&self, line: Line, own_device: &str) -> DocumentView {
        DocumentView {
            document: self.name.to_string(),
            status: self.status(line),
            revision: self.revision,
            devices: self.joint.others(own_device),
        }
    }
}

/// How an update was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    All,
    /// Something before it is missing: nothing of it was taken.
    Gap,
}

/// Why an update was not taken in.
enum Trouble {
    /// It is no update that may be taken in; nothing has changed.
    Refused(Refusal),
    /// What is in memory is not what is stored any more.
    Broken(Refusal),
}

impl std::fmt::Debug for LocalCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCopy")
            .field("name", &self.name)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
