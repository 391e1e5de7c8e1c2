//! Drafts: what stands in the composers, one per conversation and writer.

use axum::{Json, extract::rejection::JsonRejection};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_document::{
    ids::{ConversationId, Writer},
    schema::{
        Kind,
        drafts::{self, Composer},
    },
};
use syncline_sync::Room;
use utoipa::ToSchema;

use super::{at::AtConversation, home::Home, paging::Page, parts, problem::Problem};

/// A draft.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Draft)]
pub(super) struct Item {
    conversation: String,
    /// Whose composer it stands in.
    writer: String,
    text: String,
    #[schema(value_type = Vec<Object>)]
    attachments: Vec<Value>,
    model: Option<String>,
    /// The request that its message will carry: sent twice, it is one message.
    req: String,
    /// Who goes on with it elsewhere.
    taken_by: Option<String>,
    /// When it was written: unix milliseconds.
    at: u64,
}

/// What the composer holds.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDraft {
    text: String,
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    attachments: Vec<Value>,
    model: Option<String>,
    /// That of the draft so far, else drawn, if not given.
    req: Option<String>,
}

/// Whose draft.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    writer: String,
}

impl From<drafts::Draft> for Item {
    fn from(seen: drafts::Draft) -> Self {
        Self {
            conversation: seen.conversation,
            writer: seen.writer,
            text: seen.text,
            attachments: seen.attachments,
            model: seen.model,
            req: seen.req,
            taken_by: seen.taken_by,
            at: seen.hlc.ms(),
        }
    }
}

fn own(drafts: Vec<drafts::Draft>, id: &ConversationId, writer: &Writer) -> Option<drafts::Draft> {
    let is_own = |seen: &drafts::Draft| seen.conversation == id.as_str() && seen.writer == writer.as_str();
    drafts.into_iter().find(is_own)
}

impl Home {
    /// Returns the caller's draft for a conversation.
    async fn draft(&self, id: &ConversationId) -> Result<Json<Item>, Problem> {
        let drafts = self.look(&Kind::Drafts, drafts::read).await?;
        let own = own(drafts, id, &self.writer());
        own.map(|draft| Json(draft.into())).ok_or_else(|| Problem::missing("draft"))
    }
}

/// Lists all drafts, by conversation and writer.
#[utoipa::path(get, path = "/v1/users/{user}/drafts", tag = "drafts", params(("user" = String, Path)),
    responses((status = 200, body = Page<Item>), (status = "default", body = Problem)))]
pub(super) async fn list(home: Home) -> Result<Json<Page<Item>>, Problem> {
    let drafts = home.look(&Kind::Drafts, drafts::read).await?;
    Ok(Json(Page { items: drafts.into_iter().map(Item::from).collect(), next: None }))
}

/// Keeps what the caller's composer holds.
#[utoipa::path(put, path = "/v1/users/{user}/drafts/{conversation}", tag = "drafts",
    params(("user" = String, Path), ("conversation" = String, Path)), request_body = NewDraft,
    responses((status = 200, body = Item), (status = "default", body = Problem)))]
pub(super) async fn set(
    home: Home,
    AtConversation(id): AtConversation,
    body: Result<Json<NewDraft>, JsonRejection>,
) -> Result<Json<Item>, Problem> {
    home.writable()?;
    let Json(new) = body?;
    parts::check_urls(&new.attachments)?;
    let (writer, fresh) = (home.writer(), home.fresh_id());
    let written = home.write(&Kind::Drafts, move |desk| {
        let before = own(drafts::read(desk.replica())?, &id, &writer);
        let req = new.req.or(before.map(|draft| draft.req)).unwrap_or(fresh);
        let composer = Composer { text: new.text, attachments: new.attachments, model: new.model, req };
        desk.edit(|pen, stamp| drafts::set(pen, &id, stamp, &composer))?;
        // Read here: where its message is saved already, it is removed before it could be asked for.
        Ok(own(drafts::read(desk.replica())?, &id, &writer))
    });
    written.await?.map(|draft| Json(draft.into())).ok_or_else(|| Problem::missing("draft"))
}

/// Empties the caller's composer.
#[utoipa::path(delete, path = "/v1/users/{user}/drafts/{conversation}", tag = "drafts",
    params(("user" = String, Path), ("conversation" = String, Path)),
    responses((status = 204, description = "there is none any more"), (status = "default", body = Problem)))]
pub(super) async fn delete(home: Home, AtConversation(id): AtConversation) -> Result<StatusCode, Problem> {
    home.writable()?;
    home.write_with(Room::Made, &Kind::Drafts, move |desk| {
        desk.edit(|pen, stamp| {
            drafts::remove(pen, &id, &stamp.writer);
            Ok(())
        })
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Goes on with another writer's draft: sending either is one message.
#[utoipa::path(post, path = "/v1/users/{user}/drafts/{conversation}/take-over", tag = "drafts",
    params(("user" = String, Path), ("conversation" = String, Path)), request_body = Whose,
    responses((status = 200, body = Item), (status = "default", body = Problem)))]
pub(super) async fn take_over(
    home: Home,
    AtConversation(id): AtConversation,
    body: Result<Json<Whose>, JsonRejection>,
) -> Result<Json<Item>, Problem> {
    home.writable()?;
    let Json(from) = body?;
    let from = Writer::parse(&from.writer).ok_or_else(|| Problem::bad("this is no writer"))?;
    let wanted = id.clone();
    home.write(&Kind::Drafts, move |desk| {
        desk.edit(|pen, stamp| drafts::take_over(pen, &wanted, stamp, &from))
    })
    .await?;
    home.draft(&id).await
}
