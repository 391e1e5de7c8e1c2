//! What the documents of a run are: free-form ones, and those that have a meaning, by the names that say so.

use crate::rng::Rng;

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Page {
    /// Without a schema: nothing is judged.
    Free,
    /// Messages, and what people and the server say of them.
    Conversation,
    /// Preferences.
    Profile,
    /// What people set on conversations.
    Index,
    /// Read marks.
    Marks,
    /// What stands in the composers.
    Drafts,
}

/// The conversation that other documents speak of.
pub(crate) const CONVERSATION: &str = "0190a8f0-79b0-7cc3-98c4-dc0c0c07398";

impl Page {
    /// Draws one: conversations are where most can go wrong.
    pub fn draw(rng: &mut Rng) -> Self {
        match rng.below(100) {
            0..=34 => Self::Free,
            35..=79 => Self::Conversation,
            80..=86 => Self::Profile,
            87..=92 => Self::Index,
            93..=96 => Self::Marks,
            _ => Self::Drafts,
        }
    }

    /// Returns the name of the `number`th document of a run.
    pub fn name(self, number: usize) -> String {
        match self {
            Self::Free => format!("ada/doc{number}"),
            Self::Conversation => format!("ada/c/{}", conversation(number)),
            Self::Profile => format!("ada{number}/profile"),
            Self::Index => format!("ada{number}/index/2026-q{}", 1 + number % 4),
            Self::Marks => format!("ada{number}/marks"),
            Self::Drafts => format!("ada{number}/drafts"),
        }
    }

    /// Returns the root maps whose registers the server judges.
    pub(crate) fn registers(self) -> &'static [&'static str] {
        match self {
            Self::Free | Self::Drafts => &[],
            Self::Conversation => &["selected", "feedback", "hidden"],
            Self::Profile => &["preferences", "devices", "folders"],
            Self::Index => &["conversations"],
            Self::Marks => &["marks"],
        }
    }
}

/// All root maps of all documents, so that documents are compared whole.
pub(crate) const ROOTS: [&str; 17] = [
    "m",
    "meta",
    "messages",
    "accepted",
    "state",
    "facts",
    "runs",
    "selected",
    "feedback",
    "hidden",
    "control",
    "preferences",
    "devices",
    "folders",
    "conversations",
    "marks",
    "drafts",
];

/// Returns the id of a conversation: a UUIDv7.
pub(crate) fn conversation(number: usize) -> String {
    format!("{CONVERSATION}{}", number % 10)
}
