//! What changed, told by its meaning: for those who are no CRDT client, and for what is derived from documents.
//!
//! A change is told where what holds changed: a value that lost against another writer's tells nothing, nor does one
//! that was healed, nor text that grows in a message while it is streamed. What a person wrote is never told, only where
//! it stands: so what is erased later stands nowhere else.
//!
//! This file lists the changes; `changed/note.rs` finds them, `changed/fields.rs` knows what a field of registers means.

mod fields;
mod note;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub(super) use self::note::note;
use crate::schema::message::State;

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Changed {
    /// A conversation was entered in an index.
    #[serde(rename = "conversation.made")]
    ConversationMade {
        /// Which.
        conversation: String,
    },
    /// Its title changed.
    #[serde(rename = "conversation.renamed")]
    ConversationRenamed {
        /// Which.
        conversation: String,
        /// It was the automatic title, which gives way to the person's own.
        auto: bool,
    },
    /// It was put on top, or not any more.
    #[serde(rename = "conversation.pinned")]
    ConversationPinned {
        /// Which.
        conversation: String,
        /// It stands on top.
        pinned: bool,
    },
    /// It was put away, or taken out again.
    #[serde(rename = "conversation.archived")]
    ConversationArchived {
        /// Which.
        conversation: String,
        /// It is put away.
        archived: bool,
    },
    /// It stands in another folder.
    #[serde(rename = "conversation.moved")]
    ConversationMoved {
        /// Which.
        conversation: String,
        /// The folder; none for no folder.
        folder: Option<String>,
    },
    /// Its tags changed.
    #[serde(rename = "conversation.tagged")]
    ConversationTagged {
        /// Which.
        conversation: String,
    },
    /// It was moved to "recently deleted".
    #[serde(rename = "conversation.deleted")]
    ConversationDeleted {
        /// Which.
        conversation: String,
    },
    /// It came back from there.
    #[serde(rename = "conversation.restored")]
    ConversationRestored {
        /// Which.
        conversation: String,
    },
    /// It was erased for good.
    #[serde(rename = "conversation.erased")]
    ConversationErased {
        /// Which.
        conversation: String,
    },
    /// It was read up to a turn, or marked unread from there on.
    #[serde(rename = "conversation.read")]
    ConversationRead {
        /// Which.
        conversation: String,
        /// The last turn that was read.
        seq: u64,
    },
    /// Another branch is shown.
    #[serde(rename = "conversation.selected")]
    ConversationSelected {
        /// Which.
        conversation: String,
        /// Behind which turn; none for the first.
        parent: Option<String>,
        /// The turn that is shown there; none where nothing is chosen any more.
        child: Option<String>,
    },
    /// A message got its place.
    #[serde(rename = "message.accepted")]
    MessageAccepted {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
        /// Its number; 0 for one that repeats another.
        seq: u64,
        /// The message it follows.
        after: Option<String>,
        /// Who speaks.
        role: String,
        /// The message it repeats, if it does: it has no place of its own.
        #[serde(skip_serializing_if = "Option::is_none")]
        same: Option<String>,
    },
    /// What a device had done to it was taken back: it stands as it was accepted.
    #[serde(rename = "message.healed")]
    MessageHealed {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
    },
    /// Its content is gone for good.
    #[serde(rename = "message.erased")]
    MessageErased {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
    },
    /// It began, waits, or ended.
    #[serde(rename = "message.state")]
    MessageState {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
        /// How far it is.
        state: State,
    },
    /// Usage, timing, citations came.
    #[serde(rename = "message.facts")]
    MessageFacts {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
    },
    /// Somebody thinks otherwise of it.
    #[serde(rename = "message.feedback")]
    MessageFeedback {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
        /// 1, 0 or -1; none where the opinion was taken back.
        v: Option<i8>,
    },
    /// It is kept out of sight, or shown again.
    #[serde(rename = "message.hidden")]
    MessageHidden {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
        /// It is out of sight.
        hidden: bool,
    },
    /// A preference has another value, or another source.
    #[serde(rename = "preference.set")]
    PreferenceSet {
        /// Its name.
        name: String,
    },
    /// It has no value any more.
    #[serde(rename = "preference.cleared")]
    PreferenceCleared {
        /// Its name.
        name: String,
    },
    /// It is not to be inferred.
    #[serde(rename = "preference.blocked")]
    PreferenceBlocked {
        /// Its name.
        name: String,
    },
    /// A device was named, or said what it is.
    #[serde(rename = "device.changed")]
    DeviceChanged {
        /// Its id.
        device: String,
    },
    /// It was signed out for good, or let in again.
    #[serde(rename = "device.revoked")]
    DeviceRevoked {
        /// Its id.
        device: String,
        /// It is signed out.
        revoked: bool,
    },
    /// A folder was made, named, moved, deleted or brought back.
    #[serde(rename = "folder.changed")]
    FolderChanged {
        /// Its id.
        folder: String,
    },
    /// A composer holds something else.
    #[serde(rename = "draft.changed")]
    DraftChanged {
        /// The conversation it is for.
        conversation: String,
        /// Whose composer it is.
        writer: String,
    },
    /// A composer was emptied.
    #[serde(rename = "draft.removed")]
    DraftRemoved {
        /// The conversation it was for.
        conversation: String,
        /// Whose composer it was.
        writer: String,
    },
}
