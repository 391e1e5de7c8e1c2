//! What stands in the index: one entry per title and message, one per document that was seen.
//!
//! Names are kept as keys (`key.rs`). Nothing here is a fast field of strings: a segment's dictionaries of those
//! would keep words of their own.

use tantivy::{
    TantivyDocument, Term,
    schema::{
        FAST, Field, IndexRecordOption, STORED, STRING, Schema as Fields, TextFieldIndexing, TextOptions,
        Value,
    },
};

use crate::{batch::Item, key, limits::TEXT_BYTES};

/// The layout of the index and the way words are made. Another number is another folder: a change of either raises
/// it, and the index is built again.
pub(crate) const VERSION: u32 = 3;

/// The name under which the library knows [`crate::tokens::UserWords`].
pub(crate) const TOKENIZER: &str = "user-words";

/// The fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema {
    user: Field,
    conversation: Field,
    message: Field,
    role: Field,
    /// Key of a document that was seen.
    seen: Field,
    words: Field,
    text: Field,
    conversation_name: Field,
    message_name: Field,
    role_name: Field,
    at: Field,
    tie: Field,
    alternative: Field,
    sequence: Field,
}

/// Fast fields, which are read by name.
pub(crate) const AT: &str = "at";
pub(crate) const TIE: &str = "tie";
pub(crate) const SEQUENCE: &str = "sequence";

/// What is kept of an entry for showing it.
pub(crate) struct Shown {
    pub(crate) conversation: String,
    pub(crate) message: Option<String>,
    pub(crate) role: String,
    pub(crate) alternative: bool,
    pub(crate) text: String,
}

impl Schema {
    pub(crate) fn new() -> (Self, Fields) {
        let mut fields = Fields::builder();
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(TOKENIZER)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions);
        let schema = Self {
            user: fields.add_text_field("user", STRING),
            conversation: fields.add_text_field("conversation", STRING),
            message: fields.add_text_field("message", STRING),
            role: fields.add_text_field("role", STRING),
            seen: fields.add_text_field("seen", STRING),
            words: fields.add_text_field("words", TextOptions::default().set_indexing_options(indexing)),
            text: fields.add_text_field("text", STORED),
            conversation_name: fields.add_text_field("conversation_name", STORED),
            message_name: fields.add_text_field("message_name", STORED),
            role_name: fields.add_text_field("role_name", STORED),
            at: fields.add_i64_field(AT, FAST),
            tie: fields.add_u64_field(TIE, FAST),
            alternative: fields.add_bool_field("alternative", STORED),
            sequence: fields.add_u64_field(SEQUENCE, FAST),
        };
        (schema, fields.build())
    }

    pub(crate) fn entry(&self, user: &str, item: &Item) -> TantivyDocument {
        let end = item.text.floor_char_boundary(TEXT_BYTES);
        let text = &item.text[..end];
        let message = key::message(user, &item.conversation, item.message.as_deref());
        let mut entry = TantivyDocument::new();
        entry.add_text(self.user, key::join(&[user]));
        entry.add_text(self.conversation, key::join(&[user, &item.conversation]));
        entry.add_text(self.role, &item.role);
        entry.add_text(self.words, key::join(&[user]) + text);
        entry.add_text(self.text, text);
        entry.add_text(self.conversation_name, &item.conversation);
        if let Some(name) = &item.message {
            entry.add_text(self.message_name, name);
        }
        entry.add_text(self.role_name, &item.role);
        entry.add_i64(self.at, item.at_ms);
        entry.add_bool(self.alternative, item.alternative);
        entry.add_u64(self.tie, key::number(&message));
        entry.add_text(self.message, message);
        entry
    }

    pub(crate) fn seen_entry(&self, user: &str, document: &str, sequence: u64) -> TantivyDocument {
        let mut entry = TantivyDocument::new();
        entry.add_text(self.user, key::join(&[user]));
        entry.add_text(self.seen, key::join(&[user, document]));
        entry.add_u64(self.sequence, sequence);
        entry
    }

    pub(crate) fn shown(&self, entry: &TantivyDocument) -> Shown {
        let name = |field| entry.get_first(field).and_then(|value| value.as_str()).map(str::to_owned);
        Shown {
            conversation: name(self.conversation_name).unwrap_or_default(),
            message: name(self.message_name),
            role: name(self.role_name).unwrap_or_default(),
            alternative: entry
                .get_first(self.alternative)
                .and_then(|value| value.as_bool())
                .unwrap_or_default(),
            text: name(self.text).unwrap_or_default(),
        }
    }

    pub(crate) fn of_user(&self, user: &str) -> Term {
        Term::from_field_text(self.user, &key::join(&[user]))
    }

    pub(crate) fn of_conversation(&self, user: &str, conversation: &str) -> Term {
        Term::from_field_text(self.conversation, &key::join(&[user, conversation]))
    }

    pub(crate) fn of_message(&self, user: &str, conversation: &str, message: Option<&str>) -> Term {
        Term::from_field_text(self.message, &key::message(user, conversation, message))
    }

    pub(crate) fn of_role(&self, role: &str) -> Term {
        Term::from_field_text(self.role, role)
    }

    pub(crate) fn of_seen(&self, user: &str, document: &str) -> Term {
        Term::from_field_text(self.seen, &key::join(&[user, document]))
    }

    /// A word as this user has it.
    pub(crate) fn of_word(&self, user: &str, word: &str) -> Term {
        Term::from_field_text(self.words, &(key::join(&[user]) + word))
    }

    /// Behind every word of this user that begins so.
    pub(crate) fn behind_word(&self, user: &str, word: &str) -> Term {
        Term::from_field_text(self.words, &(key::join(&[user]) + word + "\u{10ffff}"))
    }
}
