//! What a path names inside a user's state.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use syncline_document::ids::ConversationId;

use super::problem::Problem;
use crate::{app::App, erasure::ledger};

/// A conversation: `{conversation}`.
pub(super) struct AtConversation(pub(super) ConversationId);

/// A turn of a conversation: `{conversation}` and `{message}`.
pub(super) struct AtMessage(pub(super) ConversationId, pub(super) String);

/// Parses a conversation's id.
pub(super) fn parse_id(text: &str) -> Result<ConversationId, Problem> {
    ConversationId::parse(text).ok_or_else(|| Problem::bad("a conversation's id is a UUIDv7 in lower case"))
}

/// Returns what the path names, by the names of its places.
pub(super) async fn names(parts: &mut Parts, app: &Arc<App>) -> Result<HashMap<String, String>, Problem> {
    let Path(names) = Path::<HashMap<String, String>>::from_request_parts(parts, app).await?;
    Ok(names)
}

fn conversation(names: &HashMap<String, String>) -> Result<ConversationId, Problem> {
    parse_id(names.get("conversation").map(String::as_str).unwrap_or_default())
}

/// Refuses a conversation that was erased. Who calls is judged before, by [`Home`](super::home::Home).
fn alive(app: &App, names: &HashMap<String, String>, id: &ConversationId) -> Result<(), Problem> {
    let (Some(open), Some(user)) = (app.engine(), names.get("user")) else { return Ok(()) };
    match ledger::conversation_burned(&*open.store, user, id)? {
        Some(reason) => Err(Problem::gone(reason)),
        None => Ok(()),
    }
}

impl FromRequestParts<Arc<App>> for AtConversation {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let names = names(parts, app).await?;
        let id = conversation(&names)?;
        alive(app, &names, &id)?;
        Ok(Self(id))
    }
}

impl FromRequestParts<Arc<App>> for AtMessage {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let mut names = names(parts, app).await?;
        let conversation = conversation(&names)?;
        alive(app, &names, &conversation)?;
        Ok(Self(conversation, names.remove("message").unwrap_or_default()))
    }
}
