//! Documents as batches of texts.

use std::collections::BTreeSet;

use syncline_document::{
    Broken, Replica,
    record::Sequence,
    schema::{
        Kind,
        conversation::{self, Text},
        index::{self, Conversation},
    },
};
use syncline_protocol::names::DocumentName;
use syncline_search::{Batch, Item, limits::TEXT_BYTES};

/// Texts in one batch, in bytes and in number: a long conversation takes several.
const BATCH_BYTES: usize = 512 << 10;
const BATCH_TEXTS: usize = 256;

/// What is read of a document.
pub(super) enum Texts {
    /// Messages of a conversation.
    Messages(Vec<Text>),
    /// Titles, with the conversations that were asked for.
    Titles(Vec<Conversation>),
}

/// Says whether a document has texts to find.
pub(super) fn has_texts(name: &DocumentName) -> bool {
    matches!(Kind::of(name), Kind::Conversation(_) | Kind::Index(_))
}

/// Reads texts of a document: those that are named, or all.
pub(super) fn texts(
    replica: &mut Replica,
    name: &DocumentName,
    wanted: Option<&BTreeSet<String>>,
) -> Result<Texts, Broken> {
    match (Kind::of(name), wanted) {
        (Kind::Conversation(_), wanted) => {
            conversation::texts(replica, wanted, TEXT_BYTES).map(Texts::Messages)
        }
        (_, Some(wanted)) => index::read_some(replica, wanted).map(Texts::Titles),
        (_, None) => index::read(replica).map(Texts::Titles),
    }
}

/// Makes batches of what was read. The last says that the document is indexed up to `sequence`.
pub(super) fn batches(name: &DocumentName, texts: Texts, sequence: Sequence) -> Vec<Batch> {
    let Some((user, _)) = name.as_str().split_once('/') else { return Vec::new() };
    let mut batches = Vec::new();
    let (mut batch, mut bytes, mut count) = (Batch::new(user), 0, 0);
    for (conversation, message, item) in items(name, texts) {
        if bytes > BATCH_BYTES || count >= BATCH_TEXTS {
            batches.push(std::mem::replace(&mut batch, Batch::new(user)));
            (bytes, count) = (0, 0);
        }
        count += 1;
        batch = match item {
            Some(item) => {
                bytes += item.text.len();
                batch.put(item)
            }
            None => batch.remove_message(conversation, message.as_deref()),
        };
    }
    batches.push(batch.seen(name.as_str(), sequence));
    batches
}

/// Makes the batch of a document that is not there any more.
pub(super) fn gone(name: &DocumentName) -> Option<Batch> {
    let (user, _) = name.as_str().split_once('/')?;
    let batch = Batch::new(user).forget(name.as_str());
    Some(match Kind::of(name) {
        Kind::Conversation(id) => batch.remove_conversation(id.as_str()),
        _ => batch,
    })
}

/// Lists texts by conversation and message; without an item where there is nothing to find any more.
fn items(name: &DocumentName, texts: Texts) -> Vec<(String, Option<String>, Option<Item>)> {
    let of = match Kind::of(name) {
        Kind::Conversation(id) => id.to_string(),
        _ => String::new(),
    };
    let message = |text: Text| {
        let item = Item {
            conversation: of.clone(),
            message: Some(text.message.clone()),
            role: text.role,
            at_ms: i64::try_from(text.at_ms).unwrap_or(i64::MAX),
            alternative: text.alternative,
            text: text.text,
        };
        (of.clone(), Some(text.message), Some(item).filter(|item| !item.text.is_empty()))
    };
    let title = |seen: Conversation| {
        let item = seen.title.filter(|title| !title.is_empty()).map(|text| Item {
            conversation: seen.id.clone(),
            message: None,
            role: String::new(),
            at_ms: i64::try_from(seen.created_at).unwrap_or(i64::MAX),
            alternative: false,
            text,
        });
        (seen.id, None, item)
    };
    match texts {
        Texts::Messages(texts) => texts.into_iter().map(message).collect(),
        Texts::Titles(seen) => seen.into_iter().map(title).collect(),
    }
}
