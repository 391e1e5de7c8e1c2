//! What can truthfully be said of this device's copies, of one document and of all together.

/// Why the server does not take what this device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCode {
    /// The document was erased for good.
    Gone,
    /// The token was not taken, or does not open this document.
    Access,
    /// The token reads this document; edits stay here.
    ReadOnly,
    /// More at once than the server takes.
    TooBig,
    /// An edit was not taken.
    Update,
    /// What the server sent, or what is stored here, cannot be read.
    Damaged,
}

/// The state of a copy. Only `Saved` means that the server holds every edit of this device on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// There is no connection; so many edits wait.
    Offline {
        /// Edits of which the server has not said that they are on disk.
        unsaved: u64,
    },
    /// There is a connection, and the copy is not in step yet.
    Connecting {
        /// Edits of which the server has not said that they are on disk.
        unsaved: u64,
    },
    /// Edits are on their way.
    Saving {
        /// Edits of which the server has not said that they are on disk.
        unsaved: u64,
    },
    /// All of this device's edits are saved; changes from elsewhere are still to be stored here.
    Merging {
        /// How many.
        changes: u64,
    },
    /// The server has all on disk, and this device all that the server has.
    Saved,
    /// The server does not take what is here.
    Refused {
        /// The kind of refusal.
        code: RefusalCode,
        /// Why, in words.
        reason: String,
        /// Edits that stay on this device.
        unsaved: u64,
    },
}

impl Status {
    /// Returns how many edits the server has not called saved.
    pub fn unsaved(&self) -> u64 {
        match self {
            Self::Offline { unsaved }
            | Self::Connecting { unsaved }
            | Self::Saving { unsaved }
            | Self::Refused { unsaved, .. } => *unsaved,
            Self::Merging { .. } | Self::Saved => 0,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Refused { .. } => 5,
            Self::Offline { .. } => 4,
            Self::Connecting { .. } => 3,
            Self::Saving { .. } => 2,
            Self::Merging { .. } => 1,
            Self::Saved => 0,
        }
    }

    /// Makes one status of several: the worst, with the counts added up.
    pub(crate) fn worst<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let total: u64 = all.clone().map(Self::unsaved).sum();
        let merging: u64 =
            all.clone().map(|status| if let Self::Merging { changes } = status { *changes } else { 0 }).sum();
        let mut worst =
            all.reduce(|a, b| if b.rank() > a.rank() { b } else { a }).cloned().unwrap_or(Self::Saved);
        match &mut worst {
            Self::Offline { unsaved }
            | Self::Connecting { unsaved }
            | Self::Saving { unsaved }
            | Self::Refused { unsaved, .. } => *unsaved = total,
            Self::Merging { changes } => *changes = merging,
            Self::Saved => {}
        }
        worst
    }
}

/// Another device that has opened a document, as the server tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceProgress {
    /// Its id.
    pub id: String,
    /// Its name for people.
    pub name: Option<String>,
    /// What it is.
    pub kind: Option<String>,
    /// It has a connection right now.
    pub online: bool,
    /// Unix milliseconds, by the server's clock.
    pub last_seen_ms: u64,
    /// Saved changes that are not in its own store.
    pub behind: u64,
}

/// What is to be shown of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentView {
    /// Its name.
    pub document: String,
    /// Its status.
    pub status: Status,
    /// Rises whenever its content changes: read it again then.
    pub revision: u64,
    /// The other devices that have it; empty while that is not known.
    pub devices: Vec<DeviceProgress>,
}

/// What is to be shown of all documents together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// The worst status of all documents, their counts added up.
    pub status: Status,
    /// Rises whenever the content of a document changes.
    pub revision: u64,
    /// Copies that were set aside because the server refused them: see [`Client::set_aside`](crate::Client::set_aside).
    pub set_aside: u32,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is in this device's store; the server has not accepted it yet.
    Pending,
    /// It is saved on the server and has its place.
    Accepted,
    /// It is in the store of every device that has opened the conversation.
    OnAllDevices,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_has_the_counts_of_all() {
        let all = [Status::Saved, Status::Saving { unsaved: 2 }, Status::Offline { unsaved: 3 }];
        assert_eq!(Status::worst(all.iter()), Status::Offline { unsaved: 5 });
        let refused = Status::Refused { code: RefusalCode::Update, reason: "no".to_owned(), unsaved: 1 };
        let all = [refused, Status::Connecting { unsaved: 4 }];
        assert_eq!(Status::worst(all.iter()).unsaved(), 5);
        let all = [Status::Merging { changes: 2 }, Status::Merging { changes: 1 }, Status::Saved];
        assert_eq!(Status::worst(all.iter()), Status::Merging { changes: 3 });
        assert_eq!(Status::worst([].iter()), Status::Saved);
    }
}
