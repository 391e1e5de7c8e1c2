//! All of a user's state as a zip of JSON files and blobs, which imports again without loss.
//!
//! ```text
//! syncline-export.json      {format, version, user, exportedAt}: always the first entry
//! profile.json              {preferences, devices, folders}
//! index.json                {entries}: title, pinned, archived, folder, tags, deleted of every conversation
//! conversations/{id}.json   {meta, selected, messages}: all messages in UIMessage form, by acceptance
//! marks.json                {marks}: how far each conversation was read
//! drafts.json               {drafts}: what stands in the composers
//! blobs/{sha256}            the files that messages refer to, as they are
//! blobs.json                {blobs, left, absent}: their length and media type, and which of them are not here
//! ```
//!
//! The values are the views of `syncline_document::schema`. What an archive leaves out: values that lost against
//! another one (conflict hints), an automatic title behind a person's own, runs and requests on their way, messages that
//! repeat another one, and documents without a schema. Readers pass over entries that they do not know: archives from before
//! there were blobs in them have the same version.

mod files;
mod restore;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use syncline_document::{
    ids::ConversationId,
    schema::{
        conversation::Meta,
        drafts::Draft,
        index,
        marks::Mark,
        message::Message,
        preferences::Preference,
        profile::{Device, Folder},
    },
};

pub(crate) use self::files::{fill, is_name};
pub use self::{
    files::{BLOB_URL, Blob, Blobs, LeftBlob, names_in},
    restore::{Left, Restore, restore},
    write::{ArchiveError, Writer},
};
use crate::{Report, import::Selection};

/// The names of the entries.
pub(crate) mod entries {
    pub(crate) const FORMAT: &str = "syncline-export";
    pub(crate) const VERSION: u64 = 1;
    pub(crate) const MANIFEST: &str = "syncline-export.json";
    pub(crate) const PROFILE: &str = "profile.json";
    pub(crate) const INDEX: &str = "index.json";
    pub(crate) const CONVERSATIONS: &str = "conversations/";
    pub(crate) const MARKS: &str = "marks.json";
    pub(crate) const DRAFTS: &str = "drafts.json";
    pub(crate) const BLOBS: &str = "blobs.json";
    pub(crate) const BLOB: &str = "blobs/";
}

/// What an archive is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always `syncline-export`.
    pub format: String,
    /// The version of the format.
    pub version: u64,
    /// Whose state it is.
    pub user: String,
    /// When it was made: unix milliseconds.
    pub exported_at: u64,
}

/// `profile.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Preferences, with where they came from.
    #[serde(default)]
    pub preferences: Vec<Preference>,
    /// Devices.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Folders.
    #[serde(default)]
    pub folders: Vec<Folder>,
}

/// `index.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// What was set on each conversation, of all quarters.
    #[serde(default)]
    pub entries: Vec<index::Conversation>,
}

/// `marks.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Marks {
    /// By conversation.
    #[serde(default)]
    pub marks: BTreeMap<String, Mark>,
}

/// `drafts.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Drafts {
    /// By conversation and writer.
    #[serde(default)]
    pub drafts: Vec<Draft>,
}

/// `conversations/{id}.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// What it is.
    pub meta: Meta,
    /// Which branches are shown.
    #[serde(default)]
    pub selected: Vec<Selection>,
    /// All messages, by acceptance; what is pending at the end.
    pub messages: Vec<Message>,
}

impl Profile {
    /// Drops the values that lost.
    fn settled(mut self) -> Self {
        self.preferences.iter_mut().for_each(|preference| preference.conflicts.clear());
        self.devices.iter_mut().for_each(|device| device.conflicts.clear());
        self.folders.iter_mut().for_each(|folder| folder.conflicts.clear());
        self
    }
}

impl Index {
    /// Drops the values that lost.
    fn settled(mut self) -> Self {
        self.entries.iter_mut().for_each(|entry| entry.conflicts.clear());
        self
    }
}

impl Conversation {
    /// Returns its id.
    pub fn id(&self) -> Option<ConversationId> {
        ConversationId::parse(&self.meta.id)
    }

    /// Checks that it is the conversation that its file is named after.
    pub(crate) fn checked(self, stem: &str) -> Result<Self, String> {
        let fits = self.id().is_some_and(|id| id.as_str() == stem);
        if fits { Ok(self) } else { Err("its id is none, or not that of its file".to_owned()) }
    }

    /// Completes a report of it.
    pub(crate) fn report(&self, mut report: Report) -> Report {
        let mut parents = std::collections::HashSet::new();
        parents.extend(self.messages.iter().filter_map(|message| message.parent.as_deref()));
        report.turns = self.messages.len();
        report.branches =
            self.messages.iter().filter(|message| !parents.contains(message.id.as_str())).count();
        report
    }
}
