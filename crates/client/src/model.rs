//! The typed model: what is in a user's documents, as plain records that any language can hold, and the calls that read
//! and change them.

mod conversations;
mod drafts;
mod messages;
mod preferences;
mod profile;
mod records;

pub use self::records::{
    Branch, Conflict, Conversation, Draft, Feedback, Folder, Message, MessageState, NewMessage, Preference,
    PreferenceSource, ReadMark, UserDevice,
};

use serde_json::Value;
use syncline_document::ids::ConversationId;

use crate::ClientError;

/// Reads JSON that a caller hands over.
fn json(text: &str, what: &str, most_bytes: u64) -> Result<Value, ClientError> {
    if text.len() as u64 > most_bytes {
        return Err(ClientError::Invalid(format!("{what} has more than {most_bytes} bytes")));
    }
    serde_json::from_str(text).map_err(|error| ClientError::Invalid(format!("{what} is no JSON: {error}")))
}

fn conversation_id(text: &str) -> Result<ConversationId, ClientError> {
    ConversationId::parse(text).ok_or_else(|| {
        ClientError::Invalid(format!("a conversation's id is a lower-case UUIDv7, not {text:?}"))
    })
}

/// Draws an id: a UUIDv7 of this time.
fn new_id(now_ms: u64) -> String {
    let (seconds, nanos) = (now_ms / 1000, (now_ms % 1000) as u32 * 1_000_000);
    uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos)).to_string()
}
