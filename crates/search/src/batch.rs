//! Changes to the index that belong together.

use crate::{error::SearchError, limits::NAME_BYTES};

/// A text to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The conversation it belongs to.
    pub conversation: String,
    /// The message; `None` is the conversation's title.
    pub message: Option<String>,
    /// Who wrote it, as messages name it; empty for a title.
    pub role: String,
    /// When it was written, in milliseconds since 1970.
    pub at_ms: i64,
    /// It stands beside another message: an edited question, a new answer.
    pub alternative: bool,
    /// What is found.
    pub text: String,
}

/// Changes for one user that become durable and visible together, in the order they were added.
///
/// Whoever turns a document into a batch ends it with [`Batch::seen`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub(crate) user: String,
    pub(crate) changes: Vec<Change>,
    pub(crate) bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Put(Item),
    RemoveMessage { conversation: String, message: Option<String> },
    RemoveConversation(String),
    RemoveUser,
    Seen { document: String, sequence: u64 },
    Forget(String),
}

impl Batch {
    /// Begins a batch of a user's changes.
    pub fn new(user: impl Into<String>) -> Self {
        let user = user.into();
        Self { bytes: user.len(), user, changes: Vec::new() }
    }

    /// Adds a text, in place of an earlier one of the same message or title.
    #[must_use]
    pub fn put(self, item: Item) -> Self {
        self.add(Change::Put(item))
    }

    /// Removes a message, or the title.
    #[must_use]
    pub fn remove_message(self, conversation: impl Into<String>, message: Option<&str>) -> Self {
        let message = message.map(str::to_owned);
        self.add(Change::RemoveMessage { conversation: conversation.into(), message })
    }

    /// Removes the title and the messages of a conversation.
    #[must_use]
    pub fn remove_conversation(self, conversation: impl Into<String>) -> Self {
        self.add(Change::RemoveConversation(conversation.into()))
    }

    /// Removes all that there is of the user, with what [`Batch::seen`] said.
    #[must_use]
    pub fn remove_user(self) -> Self {
        self.add(Change::RemoveUser)
    }

    /// Says that the index now has what the document held at this sequence.
    #[must_use]
    pub fn seen(self, document: impl Into<String>, sequence: u64) -> Self {
        self.add(Change::Seen { document: document.into(), sequence })
    }

    /// Takes back what [`Batch::seen`] said of a document: it is gone, or has to be indexed again.
    #[must_use]
    pub fn forget(self, document: impl Into<String>) -> Self {
        self.add(Change::Forget(document.into()))
    }

    fn add(mut self, change: Change) -> Self {
        self.bytes += change.bytes();
        self.changes.push(change);
        self
    }

    pub(crate) fn check(&self) -> Result<(), SearchError> {
        let fits = |name: &str| name.len() <= NAME_BYTES;
        let good = fits(&self.user) && self.changes.iter().all(|change| change.names().all(fits));
        if good { Ok(()) } else { Err(SearchError::Name) }
    }
}

impl Change {
    fn names(&self) -> impl Iterator<Item = &str> {
        let names = match self {
            Self::Put(item) => [Some(item.conversation.as_str()), item.message.as_deref(), Some(&item.role)],
            Self::RemoveMessage { conversation, message } => {
                [Some(conversation.as_str()), message.as_deref(), None]
            }
            Self::RemoveConversation(name) | Self::Seen { document: name, .. } | Self::Forget(name) => {
                [Some(name.as_str()), None, None]
            }
            Self::RemoveUser => [None; 3],
        };
        names.into_iter().flatten()
    }

    /// Memory it takes in the queue.
    fn bytes(&self) -> usize {
        let text = if let Self::Put(item) = self { item.text.len() } else { 0 };
        size_of::<Self>() + text + self.names().map(str::len).sum::<usize>()
    }
}
