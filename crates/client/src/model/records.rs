//! Records: texts, numbers, lists and enums only, so that bindings need to know nothing of Rust. Values of any shape are
//! JSON in a text.

use std::collections::BTreeMap;

use syncline_document::{
    register::Hint,
    schema::{
        conversation, drafts, index,
        marks::Mark,
        message::{self, State},
        preferences::{self, Source},
        profile,
    },
};

use crate::status::Delivery;

/// A value that lost against another one: "also named 'Rome' on the phone". Set it again to undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What it is of: title, folder, name.
    pub field: String,
    /// The value, as JSON.
    pub value_json: String,
    /// Who wrote it: `device.session`, `server`, `agent:NAME`.
    pub writer: String,
    /// When: unix milliseconds.
    pub at_ms: u64,
}

fn conflicts(fields: BTreeMap<String, Vec<Hint>>) -> Vec<Conflict> {
    fields
        .into_iter()
        .flat_map(|(field, hints)| hints.into_iter().map(move |hint| conflict(&field, hint)))
        .collect()
}

fn conflict(field: &str, hint: Hint) -> Conflict {
    Conflict {
        field: field.to_owned(),
        value_json: hint.value.to_string(),
        writer: hint.writer,
        at_ms: hint.hlc.ms(),
    }
}

/// A conversation as a sidebar shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// Its title: the person's own, else the automatic one.
    pub title: Option<String>,
    /// The title is the automatic one.
    pub auto_title: bool,
    /// It stands on top.
    pub pinned: bool,
    /// It is put away.
    pub archived: bool,
    /// The folder it stands in.
    pub folder: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Unix milliseconds, by its maker's clock.
    pub created_at_ms: u64,
    /// It was deleted; it can be restored.
    pub deleted: bool,
    /// When: unix milliseconds.
    pub deleted_at_ms: Option<u64>,
    /// The last message that the deleter had seen: what came after shows as news.
    pub deleted_seq: Option<u64>,
    /// Values that lost.
    pub conflicts: Vec<Conflict>,
}

impl From<index::Conversation> for Conversation {
    fn from(seen: index::Conversation) -> Self {
        Self {
            id: seen.id,
            title: seen.title,
            auto_title: seen.auto_title,
            pinned: seen.pinned,
            archived: seen.archived,
            folder: seen.folder,
            tags: seen.tags,
            created_at_ms: seen.created_at,
            deleted: seen.deleted,
            deleted_at_ms: seen.deleted_at,
            deleted_seq: seen.deleted_seq,
            conflicts: conflicts(seen.conflicts),
        }
    }
}

/// How far a conversation was read, on any device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadMark {
    /// The conversation.
    pub conversation: String,
    /// The number of the last message that was read.
    pub seq: u64,
    /// The message at the end of the branch that was read.
    pub tip: Option<String>,
    /// When: unix milliseconds.
    pub at_ms: u64,
}

impl ReadMark {
    pub(super) fn new(conversation: String, mark: Mark) -> Self {
        Self { conversation, seq: mark.seq, tip: mark.tip, at_ms: mark.hlc.ms() }
    }
}

/// Which messages to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    /// The branch that is shown, hidden messages left out.
    Selected,
    /// All, by acceptance.
    All,
}

impl From<Branch> for conversation::Branch {
    fn from(branch: Branch) -> Self {
        match branch {
            Branch::Selected => Self::Selected,
            Branch::All => Self::All,
        }
    }
}

/// How far the making of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    /// Not accepted by the server yet.
    Pending,
    /// Asked for; nothing of it is there.
    Submitted,
    /// It is being written.
    Streaming,
    /// It waits for somebody's approval.
    RequiresAction,
    /// It is whole.
    Done,
    /// Somebody stopped it.
    Stopped,
    /// Its producer went away.
    Interrupted,
    /// It failed.
    Failed,
}

impl From<State> for MessageState {
    fn from(state: State) -> Self {
        match state {
            State::Pending => Self::Pending,
            State::Submitted => Self::Submitted,
            State::Streaming => Self::Streaming,
            State::RequiresAction => Self::RequiresAction,
            State::Done => Self::Done,
            State::Stopped => Self::Stopped,
            State::Interrupted => Self::Interrupted,
            State::Error => Self::Failed,
        }
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// The message it follows; none for a first one.
    pub parent: Option<String>,
    /// Who speaks: user, assistant, system.
    pub role: String,
    /// Its number of acceptance; none while it is pending.
    pub seq: Option<u64>,
    /// How far its making is.
    pub state: MessageState,
    /// How far it has come.
    pub delivery: Delivery,
    /// Its place among the messages at the same place of the tree, from 1: "2 of 3".
    pub alternative: u64,
    /// How many there are.
    pub alternatives: u64,
    /// Their ids: those around it, where they are many.
    pub alternative_ids: Vec<String>,
    /// Its text parts, one after the other.
    pub text: String,
    /// All its parts, as a JSON array of the AI SDK's UIMessage parts.
    pub parts_json: String,
    /// Who wrote it: `device.session`, `server`, `agent:NAME`.
    pub by: String,
    /// When, by its writer: unix milliseconds. It says nothing of the order.
    pub at_ms: u64,
    /// The request it comes of.
    pub req: Option<String>,
    /// The model that made it.
    pub model: Option<String>,
    /// More on its state, as JSON.
    pub details_json: Option<String>,
    /// Usage, timing, citations, as JSON.
    pub facts_json: Option<String>,
    /// What was thought of it, as JSON.
    pub feedback_json: Option<String>,
    /// It is kept out of sight.
    pub hidden: bool,
    /// Its content was erased for good.
    pub erased: bool,
}

impl Message {
    pub(super) fn new(seen: message::Message, delivered: u64) -> Self {
        let texts = seen.parts.iter().filter(|part| part["type"] == "text");
        let texts: Vec<&str> = texts.filter_map(|part| part["text"].as_str()).collect();
        let json = |value: Option<serde_json::Value>| value.map(|value| value.to_string());
        Self {
            delivery: match seen.seq {
                None => Delivery::Pending,
                Some(seq) if seq <= delivered => Delivery::OnAllDevices,
                Some(_) => Delivery::Accepted,
            },
            id: seen.id,
            parent: seen.parent,
            role: seen.role,
            seq: seen.seq,
            state: seen.state.into(),
            alternative: seen.alternatives.index as u64,
            alternatives: seen.alternatives.count as u64,
            alternative_ids: seen.alternatives.ids,
            text: texts.join("\n"),
            parts_json: serde_json::Value::Array(seen.parts).to_string(),
            by: seen.by,
            at_ms: seen.at.ms(),
            req: seen.req,
            model: seen.model,
            details_json: json(seen.details),
            facts_json: json(seen.facts),
            feedback_json: json(seen.feedback),
            hidden: seen.hidden,
            erased: seen.erased,
        }
    }
}

/// A message to send. [`NewMessage::text`] fills in what most need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Who speaks: user, assistant, system.
    pub role: String,
    /// Its parts, as a JSON array of the AI SDK's UIMessage parts.
    pub parts_json: String,
    /// The message it follows; without it, the last one that is shown.
    pub parent: Option<String>,
    /// It begins the conversation: there is no message that it follows.
    pub first: bool,
    /// The message it stands beside on purpose: an edit, a regenerated answer.
    pub alternative_to: Option<String>,
    /// The request it comes of: the same one twice is one message. That of the draft it was, for instance.
    pub req: Option<String>,
    /// The model that made it.
    pub model: Option<String>,
}

impl NewMessage {
    /// Makes a user's message of a text.
    pub fn text(text: String) -> Self {
        let part = serde_json::Value::from_iter([("type", "text".to_owned()), ("text", text)]);
        Self {
            role: "user".to_owned(),
            parts_json: serde_json::Value::Array(vec![part]).to_string(),
            parent: None,
            first: false,
            alternative_to: None,
            req: None,
            model: None,
        }
    }
}

/// What somebody thinks of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// 1, 0 or -1.
    pub value: i8,
    /// Why, in a word each.
    pub tags: Vec<String>,
    /// Why, in words.
    pub text: Option<String>,
}

/// Where a preference's value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreferenceSource {
    /// The application's own.
    Default,
    /// An agent concluded it.
    Inferred,
    /// It came from elsewhere, as the person had set it there.
    Imported,
    /// The person set it.
    Explicit,
}

impl From<Source> for PreferenceSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Default => Self::Default,
            Source::Inferred => Self::Inferred,
            Source::Imported => Self::Imported,
            Source::Explicit => Self::Explicit,
        }
    }
}

/// A preference as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Preference {
    /// Its name.
    pub name: String,
    /// Its value, as JSON; null while it is blocked.
    pub value_json: String,
    /// Where the value came from.
    pub source: PreferenceSource,
    /// The person stopped inference.
    pub blocked: bool,
    /// How sure its source is, 0 to 1.
    pub confidence: Option<f64>,
    /// What it was concluded from, as JSON.
    pub evidence_json: Option<String>,
    /// For how many seconds it holds.
    pub ttl_seconds: Option<u64>,
    /// It still holds.
    pub fresh: bool,
    /// Who wrote it.
    pub writer: String,
    /// When: unix milliseconds.
    pub at_ms: u64,
    /// Values that lost.
    pub conflicts: Vec<Conflict>,
}

impl From<preferences::Preference> for Preference {
    fn from(seen: preferences::Preference) -> Self {
        Self {
            conflicts: seen.conflicts.into_iter().map(|hint| conflict(&seen.name, hint)).collect(),
            name: seen.name,
            value_json: seen.value.to_string(),
            source: seen.source.into(),
            blocked: seen.blocked,
            confidence: seen.confidence,
            evidence_json: seen.evidence.map(|value| value.to_string()),
            ttl_seconds: seen.ttl,
            fresh: seen.fresh,
            writer: seen.writer,
            at_ms: seen.hlc.ms(),
        }
    }
}

/// A draft: what stands in a composer of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The conversation it is for.
    pub conversation: String,
    /// Whose composer it stands in.
    pub writer: String,
    /// It is this device's.
    pub own: bool,
    /// When it was written: unix milliseconds.
    pub at_ms: u64,
    /// Its text.
    pub text: String,
    /// Its attachments, as a JSON array.
    pub attachments_json: String,
    /// The model it is for.
    pub model: Option<String>,
    /// The request that the message will carry.
    pub req: String,
    /// Who goes on with it elsewhere.
    pub taken_by: Option<String>,
}

impl Draft {
    pub(super) fn new(seen: drafts::Draft, own: bool) -> Self {
        Self {
            own,
            conversation: seen.conversation,
            writer: seen.writer,
            at_ms: seen.hlc.ms(),
            text: seen.text,
            attachments_json: serde_json::Value::Array(seen.attachments).to_string(),
            model: seen.model,
            req: seen.req,
            taken_by: seen.taken_by,
        }
    }
}

/// A device of the user's, as its owner named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDevice {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// What it is.
    pub kind: Option<String>,
    /// Its owner signed it out for good.
    pub revoked: bool,
    /// Values that lost.
    pub conflicts: Vec<Conflict>,
}

impl From<profile::Device> for UserDevice {
    fn from(seen: profile::Device) -> Self {
        let conflicts = conflicts(seen.conflicts);
        Self { id: seen.id, name: seen.name, kind: seen.kind, revoked: seen.revoked, conflicts }
    }
}

/// A folder of conversations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// The folder it stands in.
    pub parent: Option<String>,
    /// Its place among its siblings: a text that sorts.
    pub order: Option<String>,
    /// It was deleted.
    pub deleted: bool,
    /// Values that lost.
    pub conflicts: Vec<Conflict>,
}

impl From<profile::Folder> for Folder {
    fn from(seen: profile::Folder) -> Self {
        Self {
            conflicts: conflicts(seen.conflicts),
            id: seen.id,
            name: seen.name,
            parent: seen.parent,
            order: seen.order,
            deleted: seen.deleted,
        }
    }
}
