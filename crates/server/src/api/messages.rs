//! The turns of a conversation: listed by branch, appended, edited as alternatives, judged by people.

use std::sync::Arc;

use axum::{
    Json,
    extract::{
        Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_document::{
    Replica,
    ids::ConversationId,
    schema::{
        Kind, Unfit,
        conversation::{self, Branch, Feedback, NewMessage},
        message::Message,
    },
};
use syncline_sync::Room;
use utoipa::{IntoParams, ToSchema};

use super::{
    at::{AtConversation, AtMessage},
    home::{Desk, Home, Stop},
    paging::{Page, Paging, digits},
    parts,
    problem::Problem,
};
use crate::app::App;

/// A turn.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Turn {
    id: String,
    /// The turn it follows, as the server decided; null for a first one.
    parent: Option<String>,
    /// "user", "assistant", "system", ...
    role: String,
    /// Its number; null while it is pending.
    seq: Option<u64>,
    /// "done", "streaming", "error", ...
    state: &'static str,
    /// The turns that stand in its place, itself among them: "2 of 3".
    alternatives: Alternatives,
    /// The parts of an AI SDK UIMessage.
    #[schema(value_type = Vec<Object>)]
    parts: Vec<Value>,
    /// Who wrote it.
    by: String,
    /// When, by the writer's clock: unix milliseconds. The order is that of `seq`.
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    req: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// Usage, timing, citations.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    facts: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    feedback: Option<Value>,
    hidden: bool,
    erased: bool,
}

/// Turns that stand in one place.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Alternatives {
    /// From 1.
    index: usize,
    count: usize,
    /// Those around it, 16 at most.
    ids: Vec<String>,
}

/// Which turns.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// `selected`, the branch that is shown (the default), or `all`.
    branch: Option<String>,
}

/// A turn to append.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewTurn {
    /// Drawn if not given. Appending the same one twice changes nothing.
    id: Option<String>,
    role: String,
    /// The parts of an AI SDK UIMessage.
    #[schema(value_type = Vec<Object>)]
    parts: Vec<Value>,
    /// The turn it follows: the last of the branch that is shown, if not given.
    parent: Option<String>,
    /// The request it comes of: the same one twice is one turn.
    req: Option<String>,
    model: Option<String>,
}

/// Another wording of a turn.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewAlternative {
    /// Drawn if not given.
    id: Option<String>,
    /// The parts of an AI SDK UIMessage.
    #[schema(value_type = Vec<Object>)]
    parts: Vec<Value>,
    req: Option<String>,
    model: Option<String>,
}

/// What somebody thinks of a turn.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Opinion {
    /// 1, 0 or -1; null takes back what was said.
    #[serde(deserialize_with = "Option::deserialize")]
    v: Option<i8>,
    #[serde(default)]
    tags: Vec<String>,
    text: Option<String>,
}

impl From<Message> for Turn {
    fn from(message: Message) -> Self {
        let alternatives = message.alternatives;
        Self {
            id: message.id,
            parent: message.parent,
            role: message.role,
            seq: message.seq,
            state: message.state.as_str(),
            alternatives: Alternatives {
                index: alternatives.index,
                count: alternatives.count,
                ids: alternatives.ids,
            },
            parts: message.parts,
            by: message.by,
            at: message.at.ms(),
            req: message.req,
            model: message.model,
            facts: message.facts,
            feedback: message.feedback,
            hidden: message.hidden,
            erased: message.erased,
        }
    }
}

impl Turn {
    /// Its place in a list: what is pending comes last.
    fn place(&self) -> String {
        match self.seq {
            Some(seq) => format!("{seq:016x}"),
            None => format!("{:016x}{:013}{}", u64::MAX, self.at, self.id),
        }
    }

    /// Says whether a text may be such a place.
    fn is_place(text: &str) -> bool {
        let Some((seq, rest)) = text.split_at_checked(16) else { return false };
        seq.bytes().all(|b| b.is_ascii_hexdigit()) && (rest.is_empty() || digits(rest, 13).is_some())
    }
}

impl Home {
    async fn turn(&self, conversation: &ConversationId, id: &str) -> Result<Turn, Problem> {
        let wanted = id.to_owned();
        let kind = Kind::Conversation(conversation.clone());
        let found = self.look(&kind, move |replica| conversation::message(replica, &wanted)).await?;
        found.map(Turn::from).ok_or_else(|| Problem::missing("message"))
    }

    /// Writes to a conversation about a turn of it, and shows the turn.
    async fn about(
        &self,
        conversation: ConversationId,
        id: String,
        write: impl FnOnce(&mut Desk<'_>, &str) -> Result<(), Stop> + Send + 'static,
    ) -> Result<Turn, Problem> {
        let wanted = id.clone();
        self.write_with(Room::Little, &Kind::Conversation(conversation.clone()), move |desk| {
            if conversation::message(desk.replica(), &wanted)?.is_none() {
                return Err(Problem::missing("message").into());
            }
            write(desk, &wanted)
        })
        .await?;
        self.turn(&conversation, &id).await
    }

    /// Appends a message; returns its id, or that of the one it repeats.
    async fn append(
        &self,
        conversation: &ConversationId,
        make: impl FnOnce(&mut Desk<'_>) -> Result<NewMessage, Stop> + Send + 'static,
    ) -> Result<Turn, Problem> {
        self.conversation(conversation).await?;
        let kind = Kind::Conversation(conversation.clone());
        let appended = self.write(&kind, move |desk| {
            let mut message = make(desk)?;
            if let Some(same) = repeated(desk.replica(), &message)? {
                return Ok(same);
            }
            let id = message.id.clone();
            desk.edit(|pen, stamp| {
                message.stamp = stamp.clone();
                conversation::append(pen, &message)
            })?;
            Ok(id)
        });
        let id = appended.await?;
        self.turn(conversation, &id).await
    }
}

/// Returns the message of the same request and role, which a retry repeats.
fn repeated(replica: &mut Replica, message: &NewMessage) -> Result<Option<String>, Stop> {
    if message.req.is_none() {
        return Ok(None);
    }
    let messages = conversation::messages(replica, Branch::All)?;
    let same = messages.into_iter().find(|seen| seen.req == message.req && seen.role == message.role);
    Ok(same.map(|seen| seen.id))
}

/// Lists the turns of a conversation, first to last. A page has at most `limits.http_page_bytes` (4 MiB), or one turn.
#[utoipa::path(get, path = "/v1/users/{user}/conversations/{conversation}/messages", tag = "messages",
    params(("user" = String, Path), ("conversation" = String, Path), Paging, Which),
    responses((status = 200, body = Page<Turn>), (status = "default", body = Problem)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    home: Home,
    AtConversation(id): AtConversation,
    paging: Result<Query<Paging>, QueryRejection>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Page<Turn>>, Problem> {
    let Query(which) = which?;
    let branch = match which.branch.as_deref() {
        None | Some("selected") => Branch::Selected,
        Some("all") => Branch::All,
        Some(_) => return Err(Problem::bad("a branch is `selected` or `all`")),
    };
    home.conversation(&id).await?;
    let messages =
        home.look(&Kind::Conversation(id), move |replica| conversation::messages(replica, branch)).await?;
    let turns = messages.into_iter().map(Turn::from).collect();
    let page = paging?.0.cut(turns, Turn::place, Turn::is_place)?;
    Ok(Json(page.within(app.config.limits.http_page_bytes, Turn::place)))
}

/// Appends a turn.
#[utoipa::path(post, path = "/v1/users/{user}/conversations/{conversation}/messages", tag = "messages",
    params(("user" = String, Path), ("conversation" = String, Path)), request_body = NewTurn,
    responses((status = 201, body = Turn), (status = "default", body = Problem)))]
pub(super) async fn append(
    home: Home,
    AtConversation(id): AtConversation,
    body: Result<Json<NewTurn>, JsonRejection>,
) -> Result<(StatusCode, Json<Turn>), Problem> {
    home.writable()?;
    let Json(new) = body?;
    parts::check(&new.parts)?;
    let stamp = home.blank_stamp();
    let id_of = new.id.unwrap_or_else(|| home.fresh_id());
    let turn = home.append(&id, move |desk| {
        let parent = match new.parent {
            Some(parent) if conversation::message(desk.replica(), &parent)?.is_none() => {
                let detail =
                    "`parent` names no turn of this conversation: leave it out to follow the last one";
                return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_parent", detail).into());
            }
            Some(parent) => Some(parent),
            None => tip(desk.replica())?,
        };
        Ok(NewMessage {
            id: id_of,
            role: new.role,
            parent,
            alternative_to: None,
            stamp,
            req: new.req,
            model: new.model,
            parts: new.parts,
        })
    });
    Ok((StatusCode::CREATED, Json(turn.await?)))
}

/// Returns the last accepted message of the branch that is shown.
fn tip(replica: &mut Replica) -> Result<Option<String>, Stop> {
    let shown = conversation::messages(replica, Branch::Selected)?;
    Ok(shown.into_iter().rfind(|message| message.seq.is_some()).map(|message| message.id))
}

/// Shows a turn.
#[utoipa::path(get, path = "/v1/users/{user}/conversations/{conversation}/messages/{message}", tag = "messages",
    params(("user" = String, Path), ("conversation" = String, Path), ("message" = String, Path)),
    responses((status = 200, body = Turn), (status = "default", body = Problem)))]
pub(super) async fn get(home: Home, AtMessage(id, message): AtMessage) -> Result<Json<Turn>, Problem> {
    Ok(Json(home.turn(&id, &message).await?))
}

/// Puts another wording beside a turn: an edited question, a new answer. Turns never change.
#[utoipa::path(post, path = "/v1/users/{user}/conversations/{conversation}/messages/{message}/alternatives",
    tag = "messages",
    params(("user" = String, Path), ("conversation" = String, Path), ("message" = String, Path)),
    request_body = NewAlternative,
    responses((status = 201, body = Turn), (status = "default", body = Problem)))]
pub(super) async fn alternative(
    home: Home,
    AtMessage(id, message): AtMessage,
    body: Result<Json<NewAlternative>, JsonRejection>,
) -> Result<(StatusCode, Json<Turn>), Problem> {
    home.writable()?;
    let Json(new) = body?;
    parts::check(&new.parts)?;
    let stamp = home.blank_stamp();
    let id_of = new.id.unwrap_or_else(|| home.fresh_id());
    let turn = home.append(&id, move |desk| {
        let Some(beside) = conversation::message(desk.replica(), &message)? else {
            return Err(Problem::missing("message").into());
        };
        Ok(NewMessage {
            id: id_of,
            role: beside.role,
            parent: beside.parent,
            alternative_to: Some(beside.id),
            stamp,
            req: new.req,
            model: new.model,
            parts: new.parts,
        })
    });
    Ok((StatusCode::CREATED, Json(turn.await?)))
}

/// Notes what the user thinks of a turn.
#[utoipa::path(put, path = "/v1/users/{user}/conversations/{conversation}/messages/{message}/feedback",
    tag = "messages",
    params(("user" = String, Path), ("conversation" = String, Path), ("message" = String, Path)),
    request_body = Opinion,
    responses((status = 200, body = Turn), (status = "default", body = Problem)))]
pub(super) async fn feedback(
    home: Home,
    AtMessage(id, message): AtMessage,
    body: Result<Json<Opinion>, JsonRejection>,
) -> Result<Json<Turn>, Problem> {
    home.writable()?;
    let Json(opinion) = body?;
    let feedback = opinion.v.map(|v| Feedback { v, tags: opinion.tags, text: opinion.text });
    let turn = home.about(id, message, move |desk, id| {
        desk.edit(|pen, stamp| conversation::set_feedback(pen, id, stamp, feedback.as_ref()))
    });
    Ok(Json(turn.await?))
}

/// Shows the branch that a turn is on.
#[utoipa::path(post, path = "/v1/users/{user}/conversations/{conversation}/messages/{message}/select",
    tag = "messages",
    params(("user" = String, Path), ("conversation" = String, Path), ("message" = String, Path)),
    responses((status = 200, body = Turn), (status = "default", body = Problem)))]
pub(super) async fn select(home: Home, AtMessage(id, message): AtMessage) -> Result<Json<Turn>, Problem> {
    home.writable()?;
    let turn = home.about(id, message, |desk, id| {
        let path = path_to(desk.replica(), id)?;
        desk.edit(|pen, stamp| {
            path.iter()
                .try_for_each(|(parent, child)| conversation::select(pen, parent.as_deref(), stamp, child))
        })
    });
    Ok(Json(turn.await?))
}

/// Returns the choices that lead to a message: at each step up where there was one.
fn path_to(replica: &mut Replica, id: &str) -> Result<Vec<(Option<String>, String)>, Stop> {
    let messages = conversation::messages(replica, Branch::All)?;
    let mut path = Vec::new();
    let mut at = Some(id.to_owned());
    while let Some(child) = at {
        let Some(message) = messages.iter().find(|message| message.id == child) else { break };
        if message.alternatives.count > 1 {
            path.push((message.parent.clone(), child));
        }
        at = message.parent.clone();
        if path.len() > messages.len() {
            return Err(Unfit::Form.into());
        }
    }
    Ok(path)
}
