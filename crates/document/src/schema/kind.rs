//! Which schema a document has: its name alone says it.

use syncline_protocol::names::DocumentName;

use super::drafts;
use crate::{
    ids::{ConversationId, Quarter},
    register::Ranking,
};

/// What a document is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `{user}/profile`: preferences, devices, folders.
    Profile,
    /// `{user}/index/{yyyy}-q{n}`: what people set on the conversations made in that quarter.
    Index(Quarter),
    /// `{user}/marks`: read marks.
    Marks,
    /// `{user}/drafts`: what stands in the composers.
    Drafts,
    /// `{user}/c/{conversation}`: one conversation.
    Conversation(ConversationId),
    /// Any other name: no schema, nothing is judged.
    FreeForm,
}

impl Kind {
    /// Reads the kind of a document from its name.
    pub fn of(name: &DocumentName) -> Self {
        let Some((_, rest)) = name.as_str().split_once('/') else { return Self::FreeForm };
        match rest {
            "profile" => Self::Profile,
            "marks" => Self::Marks,
            "drafts" => Self::Drafts,
            _ => {
                if let Some(quarter) = rest.strip_prefix("index/").and_then(Quarter::parse) {
                    Self::Index(quarter)
                } else if let Some(id) = rest.strip_prefix("c/").and_then(ConversationId::parse) {
                    Self::Conversation(id)
                } else {
                    Self::FreeForm
                }
            }
        }
    }

    /// Returns the root maps that hold registers, and how their values are compared.
    pub(crate) fn registers(&self) -> &'static [(&'static str, Ranking)] {
        match self {
            Self::Profile => {
                &[("preferences", Ranking::Source), ("devices", Ranking::Time), ("folders", Ranking::Time)]
            }
            Self::Index(_) => &[("conversations", Ranking::Time)],
            Self::Marks => &[("marks", Ranking::Value)],
            // A draft is its writer's own and competes with nobody's: there is nothing to heal or fold.
            Self::Drafts => &[],
            Self::Conversation(_) => {
                &[("selected", Ranking::Time), ("feedback", Ranking::Time), ("hidden", Ranking::Time)]
            }
            Self::FreeForm => &[],
        }
    }

    /// Returns the root map whose history is renewed once it has grown long. Drafts are not: one that comes late would
    /// have to show under another writer's name, as a second draft.
    pub(crate) fn renewed(&self) -> Option<(&'static str, Ranking)> {
        matches!(self, Self::Marks).then_some(("marks", Ranking::Value))
    }

    /// Says whether its history is ever renewed.
    pub fn is_renewed(&self) -> bool {
        self.renewed().is_some()
    }

    /// Returns the root map whose keys begin with the conversation they are about.
    pub(crate) fn conversations(&self) -> Option<&'static str> {
        match self {
            Self::Index(_) => Some("conversations"),
            Self::Marks => Some("marks"),
            Self::Drafts => Some("drafts"),
            Self::Profile | Self::Conversation(_) | Self::FreeForm => None,
        }
    }

    /// Returns all root maps that the judge looks at, to judge or to tell what changed.
    pub(crate) fn watched(&self) -> &'static [&'static str] {
        match self {
            Self::Profile => &["preferences", "devices", "folders"],
            Self::Index(_) => &["conversations"],
            Self::Marks => &["marks"],
            Self::Conversation(_) => {
                &["meta", "messages", "accepted", "state", "facts", "runs", "selected", "feedback", "hidden"]
            }
            Self::Drafts => &[drafts::ROOT],
            Self::FreeForm => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_the_kind() {
        let of = |name: &str| Kind::of(&DocumentName::parse(name).expect("a name"));
        let id = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
        assert_eq!(of("ada/profile"), Kind::Profile);
        assert_eq!(of("ada/marks"), Kind::Marks);
        assert_eq!(of("ada/drafts"), Kind::Drafts);
        assert_eq!(of("ada/index/2026-q4"), Kind::Index(Quarter { year: 2026, quarter: 4 }));
        assert!(matches!(of(&format!("ada/c/{id}")), Kind::Conversation(found) if found.as_str() == id));
        for free in ["profile", "ada/profile/x", "ada/index/2026-q5", "ada/c/1", "ada/c/x/y", "ada/notes", id]
        {
            assert_eq!(of(free), Kind::FreeForm, "{free}");
        }
    }
}
