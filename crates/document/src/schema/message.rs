//! One message: its immutable head, its state, and how it is given out.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use yrs::Any;

use crate::{
    hlc::Hlc,
    ids::{Writer, is_id},
    json,
};

/// The longest role, in bytes.
const ROLE_BYTES: usize = 32;
/// The longest request or model name, in bytes.
const NAME_BYTES: usize = 256;

/// What a message is, for ever: `{role, parent|null, alt?, by, at, req?, model?}`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Head {
    pub(crate) role: String,
    pub(crate) parent: Option<String>,
    pub(crate) alt: Option<Alt>,
    pub(crate) by: Writer,
    pub(crate) at: Hlc,
    pub(crate) req: Option<String>,
    pub(crate) model: Option<String>,
}

/// A message stands beside another on purpose: it was edited or regenerated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Alt {
    /// Beside that message.
    Of(String),
    /// Beside whatever answers its parent.
    Any,
}

impl Head {
    /// Reads a head; the error says what is wrong with it.
    pub(crate) fn parse(stored: &Any) -> Result<Self, &'static str> {
        let text = |key: &str| json::text_field(stored, key);
        let role = text("role").filter(|role| {
            (1..=ROLE_BYTES).contains(&role.len())
                && role.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        });
        let parent = match json::field(stored, "parent") {
            None | Some(Any::Null | Any::Undefined) => None,
            Some(Any::String(parent)) if is_id(parent) => Some(parent.to_string()),
            Some(_) => return Err("head.parent is no message id"),
        };
        let alt = match json::field(stored, "alt") {
            None | Some(Any::Null | Any::Undefined | Any::Bool(false)) => None,
            Some(Any::Bool(true)) => Some(Alt::Any),
            Some(Any::String(alt)) if is_id(alt) => Some(Alt::Of(alt.to_string())),
            Some(_) => return Err("head.alt is neither true nor a message id"),
        };
        let short = |key: &str| text(key).filter(|text| !text.is_empty() && text.len() <= NAME_BYTES);
        Ok(Self {
            role: role.ok_or("head.role is missing or no role")?.to_owned(),
            parent,
            alt,
            by: text("by").and_then(Writer::parse).ok_or("head.by is missing or no writer")?,
            at: text("at").and_then(|at| at.parse().ok()).ok_or("head.at is missing or no time")?,
            req: short("req").map(str::to_owned),
            model: short("model").map(str::to_owned),
        })
    }

    /// Makes what is stored.
    pub(crate) fn stored(&self) -> Any {
        let alt = self.alt.as_ref().map(|alt| match alt {
            Alt::Of(id) => Any::from(id.as_str()),
            Alt::Any => Any::Bool(true),
        });
        json::object([
            ("role", Some(Any::from(self.role.as_str()))),
            ("parent", Some(self.parent.as_deref().map_or(Any::Null, Any::from))),
            ("alt", alt),
            ("by", Some(Any::from(self.by.as_str()))),
            ("at", Some(Any::from(self.at.to_string()))),
            ("req", self.req.as_deref().map(Any::from)),
            ("model", self.model.as_deref().map(Any::from)),
        ])
    }
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
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
    Error,
}

impl State {
    /// Says whether nothing can follow it: a message that ended stays as it ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Stopped | Self::Interrupted | Self::Error)
    }

    /// Returns its name in a document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Submitted => "submitted",
            Self::Streaming => "streaming",
            Self::RequiresAction => "requires-action",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
            Self::Error => "error",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let known = [
            Self::Submitted,
            Self::Streaming,
            Self::RequiresAction,
            Self::Done,
            Self::Stopped,
            Self::Interrupted,
            Self::Error,
        ];
        known.into_iter().find(|state| state.as_str() == text)
    }

    /// Reads `[state, details?]`, with the details.
    pub(crate) fn read(stored: &Any) -> Option<(Self, Option<&Any>)> {
        let Any::Array(items) = stored else { return None };
        Some((Self::parse(json::text(items.first()?)?)?, items.get(1)))
    }
}

/// The messages that stand at one place of the tree: "2 of 3".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alternatives {
    /// This one's place, from 1, in the order of acceptance.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// All of them.
    pub ids: Vec<String>,
}

/// A message as it is given out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Its id.
    pub id: String,
    /// The message it follows, as the server decided; none for a first one.
    pub parent: Option<String>,
    /// Who speaks: user, assistant, system.
    pub role: String,
    /// Its number of acceptance; none while it is pending.
    pub seq: Option<u64>,
    /// How far it is.
    pub state: State,
    /// What stands at the same place.
    pub alternatives: Alternatives,
    /// Its content: parts of an AI SDK UIMessage.
    pub parts: Vec<Value>,
    /// Who wrote it.
    pub by: String,
    /// When, by the writer's clock. It never decides the order.
    pub at: Hlc,
    /// The request it came of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub req: Option<String>,
    /// The model that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How it ended: run, finish, error, who stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// Usage, timing, citations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Value>,
    /// What was thought of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Value>,
    /// Says whether it is kept out of sight.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// Says whether its content was erased for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erased: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_head_goes_in_and_comes_out() {
        let value = json!({
            "role": "user", "parent": "m0", "alt": "m1", "by": "phone.a", "at": "1700000000000-0001",
            "req": "r", "model": "x", "later": { "than": "this version" },
        });
        let head = Head::parse(&json::store(&value)).expect("a head");
        assert_eq!((head.parent.as_deref(), &head.alt), (Some("m0"), &Some(Alt::Of("m1".to_owned()))));
        assert_eq!(Head::parse(&head.stored()), Ok(head));
    }

    #[test]
    fn what_is_no_head_says_why() {
        let good = json!({ "role": "user", "parent": null, "by": "phone.a", "at": "1700000000000-0001" });
        for (key, bad) in [
            ("role", json!("")),
            ("role", json!("User")),
            ("parent", json!(5)),
            ("parent", json!("a b")),
            ("alt", json!([])),
            ("by", json!("nobody")),
            ("at", json!(17)),
        ] {
            let mut value = good.clone();
            value[key] = bad;
            assert!(Head::parse(&json::store(&value)).is_err(), "{value}");
        }
        assert!(Head::parse(&Any::from("user")).is_err());
    }
}
