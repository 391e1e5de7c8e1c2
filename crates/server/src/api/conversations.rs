//! Conversations: what the sidebar shows of them, and what people set on them.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{
        Query,
        rejection::{JsonRejection, QueryRejection},
    },
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_document::{
    ids::ConversationId,
    schema::{
        Kind, conversation,
        index::{self, Conversation, Setting},
        marks::{self, Mark},
    },
};
use utoipa::{IntoParams, ToSchema};

use super::{
    at::{AtConversation, parse_id},
    home::{Desk, Home, Stop},
    paging::{Page, Paging, digits, present},
    problem::Problem,
};
use crate::{
    clock::now_ms,
    tables::{self, Last},
};

/// Tags that one call sets.
const TAGS: usize = 64;
/// Bytes of what a conversation came from.
const ORIGIN_BYTES: usize = 4 << 10;

/// A conversation in a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Conversation)]
pub(super) struct Item {
    id: String,
    /// The person's own title, else the automatic one.
    title: Option<String>,
    /// The title is the automatic one.
    auto_title: bool,
    pinned: bool,
    archived: bool,
    folder: Option<String>,
    tags: Vec<String>,
    deleted: bool,
    /// It was deleted, and turns came that the deleter had not seen.
    news: bool,
    /// Unix milliseconds.
    created_at: u64,
    /// Its last turn.
    last: Option<LastTurn>,
    /// Turns after the last one read or written.
    unread: u64,
    /// Values that lost, by field: `[{value, writer, hlc}]`.
    #[schema(value_type = Object)]
    conflicts: Value,
}

/// The last turn of a conversation.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct LastTurn {
    id: String,
    seq: u64,
    role: String,
    /// The beginning of its text.
    preview: String,
    /// When it was accepted: unix milliseconds.
    at: u64,
}

/// Which conversations.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Words that the title holds, in any case.
    q: Option<String>,
    /// Only this folder.
    folder: Option<String>,
    /// Only archived ones, or none of them (the default).
    #[serde(default)]
    archived: bool,
    /// Only deleted ones, or none of them (the default).
    #[serde(default)]
    deleted: bool,
}

/// A conversation to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewConversation {
    /// A UUIDv7; drawn if not given. Making the same one twice changes nothing.
    id: Option<String>,
    title: Option<String>,
    folder: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    pinned: bool,
    /// What it came from, at most 4 KiB.
    origin: Option<String>,
}

/// What to set; what is not named stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Change {
    /// An empty one gives way to the automatic title.
    title: Option<String>,
    pinned: Option<bool>,
    archived: Option<bool>,
    /// Null for no folder.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    folder: Option<Option<String>>,
    /// All its tags.
    tags: Option<Vec<String>>,
}

/// What was read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    /// The last turn that was read; a lower number marks as unread, one beyond the last turn stands for that one.
    seq: u64,
    /// That turn's id.
    tip: Option<String>,
}

impl Item {
    fn new(seen: Conversation, last: Last, mark: Option<&Mark>) -> Self {
        let news = seen.has_news(last.seq, last.at);
        let unread = mark.map_or_else(|| last.unread(0, 0), |mark| last.unread(mark.seq, mark.hlc.ms()));
        Self {
            id: seen.id,
            title: seen.title,
            auto_title: seen.auto_title,
            pinned: seen.pinned,
            archived: seen.archived,
            folder: seen.folder,
            tags: seen.tags,
            deleted: seen.deleted,
            news,
            created_at: seen.created_at,
            unread,
            conflicts: serde_json::to_value(&seen.conflicts).unwrap_or_default(),
            last: (last.seq > 0).then_some(LastTurn {
                id: last.id,
                seq: last.seq,
                role: last.role,
                preview: last.preview,
                at: last.at,
            }),
        }
    }

    /// When something last happened.
    fn at(&self) -> u64 {
        self.last.as_ref().map_or(self.created_at, |last| last.at)
    }

    /// Its place in a list: pinned ones first, then the newest.
    fn place(&self) -> String {
        format!(
            "{}{:013}{}",
            u8::from(!self.pinned),
            9_999_999_999_999 - self.at().min(9_999_999_999_999),
            self.id
        )
    }
}

/// Says whether a text may be the place of an item.
fn is_place(text: &str) -> bool {
    let rest = text.strip_prefix(['0', '1']).and_then(|rest| digits(rest, 13));
    rest.is_some_and(|id| ConversationId::parse(id).is_some())
}

impl Filter {
    fn takes(&self, item: &Item) -> bool {
        let words = self.q.as_deref().map(str::to_lowercase).unwrap_or_default();
        let title = item.title.as_deref().unwrap_or_default().to_lowercase();
        item.deleted == self.deleted
            && (self.deleted || item.archived == self.archived)
            && self.folder.as_deref().is_none_or(|folder| item.folder.as_deref() == Some(folder))
            && words.split_whitespace().all(|word| title.contains(word))
    }
}

impl Home {
    /// Reads the last turns of all conversations, by id.
    async fn lasts(&self) -> Result<HashMap<String, Last>, Problem> {
        let (store, user) = (self.open.store.clone(), self.user.clone());
        let read = tokio::task::spawn_blocking(move || tables::lasts(&*store, &user));
        Ok(read.await.map_err(|_| Problem::unavailable("restarting", "the server is going down"))??)
    }

    /// Reads one conversation as a list shows it.
    pub(super) async fn conversation(&self, id: &ConversationId) -> Result<Item, Problem> {
        let wanted = id.clone();
        let seen = self.look(&self.index_of(id), move |replica| index::read_one(replica, &wanted)).await?;
        let last = tables::last(&*self.open.store, &self.name(&Kind::Conversation(id.clone()))?)?;
        let seen = match seen {
            Some(seen) => seen,
            // Made by a client that entered it nowhere.
            None if last.seq > 0 => Conversation::unlisted(id),
            None => return Err(Problem::missing("conversation")),
        };
        let mut marks = self.look(&Kind::Marks, marks::read).await?;
        Ok(Item::new(seen, last, marks.remove(id.as_str()).as_ref()))
    }

    /// Sets things on a conversation that is there.
    async fn set(&self, id: &ConversationId, settings: Vec<Setting>) -> Result<Item, Problem> {
        self.conversation(id).await?;
        let wanted = id.clone();
        self.write(&self.index_of(id), move |desk| apply(desk, &wanted, &settings)).await?;
        self.conversation(id).await
    }
}

fn apply(desk: &mut Desk<'_>, id: &ConversationId, settings: &[Setting]) -> Result<(), Stop> {
    settings.iter().try_for_each(index::check)?;
    desk.edit(|pen, stamp| settings.iter().try_for_each(|setting| index::set(pen, id, stamp, setting)))
}

/// Lists a user's conversations: pinned ones first, then those with the newest turns.
#[utoipa::path(get, path = "/v1/users/{user}/conversations", tag = "conversations",
    params(("user" = String, Path), Paging, Filter),
    responses((status = 200, body = Page<Item>), (status = "default", body = Problem)))]
pub(super) async fn list(
    home: Home,
    paging: Result<Query<Paging>, QueryRejection>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Page<Item>>, Problem> {
    let Query(filter) = filter?;
    let mut lasts = home.lasts().await?;
    let marks = home.look(&Kind::Marks, marks::read).await?;
    let mut items = Vec::new();
    for quarter in home.quarters().await? {
        for seen in home.look(&Kind::Index(quarter), index::read).await? {
            let last = lasts.remove(&seen.id).unwrap_or_default();
            let mark = marks.get(&seen.id);
            items.push(Item::new(seen, last, mark));
        }
    }
    for (id, last) in lasts {
        if let Some(id) = ConversationId::parse(&id) {
            items.push(Item::new(Conversation::unlisted(&id), last, marks.get(id.as_str())));
        }
    }
    items.retain(|item| filter.takes(item));
    items.sort_by_cached_key(Item::place);
    Ok(Json(paging?.0.cut(items, Item::place, is_place)?))
}

/// Makes a conversation.
#[utoipa::path(post, path = "/v1/users/{user}/conversations", tag = "conversations",
    params(("user" = String, Path)), request_body = NewConversation,
    responses((status = 201, body = Item), (status = "default", body = Problem)))]
pub(super) async fn create(
    home: Home,
    body: Result<Json<NewConversation>, JsonRejection>,
) -> Result<(StatusCode, Json<Item>), Problem> {
    home.writable()?;
    let Json(new) = body?;
    let now = now_ms();
    let id = match &new.id {
        Some(id) => parse_id(id)?,
        None => parse_id(&home.fresh_id())?,
    };
    home.alive(&id)?;
    if new.tags.len() > TAGS {
        return Err(Problem::bad(format!("a call sets at most {TAGS} tags")));
    }
    if new.origin.as_ref().is_some_and(|origin| origin.len() > ORIGIN_BYTES) {
        let detail = format!("`origin` has at most {ORIGIN_BYTES} bytes");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unfit", detail));
    }
    let mut settings: Vec<Setting> = new.tags.into_iter().map(|tag| Setting::Tag(tag, true)).collect();
    settings.extend(new.title.map(Setting::Title));
    settings.extend(new.folder.map(|folder| Setting::Folder(Some(folder))));
    settings.extend(new.pinned.then_some(Setting::Pinned(true)));
    let (owner, made) = (home.user.clone(), id.clone());
    // Entered first: one that is entered and not made is empty, one that is made and not entered is hidden.
    home.write(&home.index_of(&id), move |desk| {
        if index::read_one(desk.replica(), &made)?.is_some() {
            return Ok(());
        }
        settings.iter().try_for_each(index::check)?;
        desk.edit(|pen, stamp| {
            settings.iter().try_for_each(|setting| index::set(pen, &made, stamp, setting))?;
            index::enter(pen, &made, stamp, now);
            Ok(())
        })
    })
    .await?;
    let made = id.clone();
    home.write(&Kind::Conversation(id.clone()), move |desk| {
        if conversation::meta(desk.replica())?.is_some() {
            return Ok(());
        }
        desk.edit(|pen, _| {
            conversation::create(pen, &made, &owner, now, new.origin.as_deref());
            Ok(())
        })
    })
    .await?;
    Ok((StatusCode::CREATED, Json(home.conversation(&id).await?)))
}

/// Shows a conversation.
#[utoipa::path(get, path = "/v1/users/{user}/conversations/{conversation}", tag = "conversations",
    params(("user" = String, Path), ("conversation" = String, Path)),
    responses((status = 200, body = Item), (status = "default", body = Problem)))]
pub(super) async fn get(home: Home, AtConversation(id): AtConversation) -> Result<Json<Item>, Problem> {
    Ok(Json(home.conversation(&id).await?))
}

/// Renames, pins, archives, files or tags a conversation.
#[utoipa::path(patch, path = "/v1/users/{user}/conversations/{conversation}", tag = "conversations",
    params(("user" = String, Path), ("conversation" = String, Path)), request_body = Change,
    responses((status = 200, body = Item), (status = "default", body = Problem)))]
pub(super) async fn change(
    home: Home,
    AtConversation(id): AtConversation,
    body: Result<Json<Change>, JsonRejection>,
) -> Result<Json<Item>, Problem> {
    home.writable()?;
    let Json(change) = body?;
    let mut settings = Vec::new();
    settings.extend(change.title.map(Setting::Title));
    settings.extend(change.pinned.map(Setting::Pinned));
    settings.extend(change.archived.map(Setting::Archived));
    settings.extend(change.folder.map(Setting::Folder));
    if let Some(tags) = change.tags {
        if tags.len() > TAGS {
            return Err(Problem::bad(format!("a call sets at most {TAGS} tags")));
        }
        let before = home.conversation(&id).await?.tags;
        let gone = before.iter().filter(|tag| !tags.contains(tag));
        settings.extend(gone.map(|tag| Setting::Tag(tag.clone(), false)));
        let fresh = tags.iter().filter(|tag| !before.contains(tag));
        settings.extend(fresh.map(|tag| Setting::Tag(tag.clone(), true)));
    }
    Ok(Json(home.set(&id, settings).await?))
}

/// Moves a conversation to "recently deleted". Nothing is lost: it can be restored.
#[utoipa::path(delete, path = "/v1/users/{user}/conversations/{conversation}", tag = "conversations",
    params(("user" = String, Path), ("conversation" = String, Path)),
    responses((status = 200, body = Item), (status = "default", body = Problem)))]
pub(super) async fn delete(home: Home, AtConversation(id): AtConversation) -> Result<Json<Item>, Problem> {
    home.writable()?;
    let seen = home.conversation(&id).await?.last.map(|last| last.seq);
    Ok(Json(home.set(&id, vec![Setting::Deleted { seen }]).await?))
}

/// Brings a deleted conversation back.
#[utoipa::path(post, path = "/v1/users/{user}/conversations/{conversation}/restore", tag = "conversations",
    params(("user" = String, Path), ("conversation" = String, Path)),
    responses((status = 200, body = Item), (status = "default", body = Problem)))]
pub(super) async fn restore(home: Home, AtConversation(id): AtConversation) -> Result<Json<Item>, Problem> {
    home.writable()?;
    Ok(Json(home.set(&id, vec![Setting::Restored]).await?))
}

/// Marks a conversation as read up to a turn, or as unread from there on.
#[utoipa::path(put, path = "/v1/users/{user}/conversations/{conversation}/read", tag = "conversations",
    params(("user" = String, Path), ("conversation" = String, Path)), request_body = Read,
    responses((status = 200, body = Item), (status = "default", body = Problem)))]
pub(super) async fn read(
    home: Home,
    AtConversation(id): AtConversation,
    body: Result<Json<Read>, JsonRejection>,
) -> Result<Json<Item>, Problem> {
    home.writable()?;
    let Json(read) = body?;
    // What has not come yet cannot have been read: it would never count as unread.
    let last = home.conversation(&id).await?.last.map_or(0, |last| last.seq);
    let (wanted, seq) = (id.clone(), read.seq.min(last));
    home.write(&Kind::Marks, move |desk| {
        desk.edit(|pen, stamp| marks::set(pen, &wanted, stamp, seq, read.tip.as_deref()))
    })
    .await?;
    Ok(Json(home.conversation(&id).await?))
}
