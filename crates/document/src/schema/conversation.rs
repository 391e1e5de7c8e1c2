//! One conversation: what it is, its messages, and what people and the server say of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use yrs::{Any, Map as _, ReadTxn, Transact as _};

use super::{
    Unfit, check_id, check_name,
    message::{Alt, Head, Message, State},
    parts,
    profile::bounded,
};
use crate::{
    Broken, Pen, Replica,
    hlc::Hlc,
    ids::{ConversationId, Writer},
    json,
    order::{ACCEPTED, Acceptance, Order, SELECTED, TOP},
    pen::plain,
    register::{self, Ranking, Stamp},
    tree::{self, FACTS, FEEDBACK, HIDDEN, MESSAGES, STATE},
};

const META: &str = "meta";
const CONTROL: &str = "control";
/// The version of this schema.
const VERSION: u64 = 1;

/// What a conversation is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// The version of the schema.
    pub v: u64,
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// Unix milliseconds, by its maker's clock.
    pub created_at: u64,
    /// Where it was made or imported from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// Which messages to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Branch {
    /// The branch that is shown, hidden messages left out.
    Selected,
    /// All, by acceptance.
    All,
}

/// A message to append.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage {
    /// Its id: a UUIDv7 drawn by the caller.
    pub id: String,
    /// Who speaks.
    pub role: String,
    /// The message it follows; none for a first one.
    pub parent: Option<String>,
    /// The message it stands beside on purpose: an edit, a regenerated answer, an imported branch. Without it, a second
    /// message behind the same parent is chained after the tip of the branch.
    pub alternative_to: Option<String>,
    /// Who writes it, and when.
    pub stamp: Stamp,
    /// The request it comes of: the same one twice is one message.
    pub req: Option<String>,
    /// The model that made it.
    pub model: Option<String>,
    /// Parts of an AI SDK UIMessage.
    pub parts: Vec<Value>,
}

/// What somebody thinks of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// 1, 0 or -1.
    pub v: i8,
    /// Why, in a word each.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Why, in words.
    #[serde(default)]
    pub text: Option<String>,
}

/// Something that a device asks of the server: `stop/{run}`, `approve/{id}`, `regenerate/{req}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// What it asks.
    pub verb: String,
    /// Of what.
    pub target: String,
    /// Who asks.
    pub writer: String,
    /// When.
    pub hlc: Hlc,
    /// With what.
    pub value: Value,
}

/// Reads what the conversation is; none where nobody made it yet.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn meta(replica: &mut Replica) -> Result<Option<Meta>, Broken> {
    replica.read(|doc| {
        let txn = doc.transact();
        let map = txn.get_map(META)?;
        let get = |key: &str| plain(map.get(&txn, key));
        let text = |key: &str| get(key).as_ref().and_then(json::text).map(str::to_owned);
        let whole = |key: &str| get(key).as_ref().and_then(json::whole);
        Some(Meta {
            v: whole("v")?,
            id: text("id")?,
            owner: text("owner")?,
            created_at: whole("createdAt")?,
            origin: text("origin"),
        })
    })
}

/// Makes the conversation, unless somebody did.
pub fn create(
    pen: &mut Pen<'_, '_>,
    id: &ConversationId,
    owner: &str,
    created_at_ms: u64,
    origin: Option<&str>,
) {
    let entries = [
        ("v", Some(json::int(VERSION))),
        ("id", Some(Any::from(id.as_str()))),
        ("owner", Some(Any::from(owner))),
        ("createdAt", Some(json::int(created_at_ms))),
        ("origin", origin.map(Any::from)),
    ];
    for (key, value) in entries {
        if let Some(value) = value.filter(|_| !pen.has(META, key)) {
            pen.set(META, key, value);
        }
    }
}

/// Lists the messages: first to last, what is pending at the end.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn messages(replica: &mut Replica, branch: Branch) -> Result<Vec<Message>, Broken> {
    replica.read(|doc| tree::list(&doc.transact(), branch))
}

/// Returns the number of the newest accepted message; 0 where none is.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn last_seq(replica: &mut Replica) -> Result<u64, Broken> {
    replica.read(|doc| {
        let txn = doc.transact();
        let Some(map) = txn.get_map(ACCEPTED) else { return 0 };
        let numbers = map.iter(&txn).filter_map(|(_, out)| match Acceptance::parse(&plain(Some(out))?)? {
            Acceptance::Placed { seq, .. } => Some(seq),
            Acceptance::Same(_) => None,
        });
        numbers.max().unwrap_or(0)
    })
}

/// Reads one message; one that repeats another gives that one.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn message(replica: &mut Replica, id: &str) -> Result<Option<Message>, Broken> {
    replica.read(|doc| tree::one(&doc.transact(), id))
}

/// Says whether the person's message that came of a request is accepted, or repeats one that is.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn is_sent(replica: &mut Replica, req: &str) -> Result<bool, Broken> {
    replica.read(|doc| {
        let txn = doc.transact();
        let Some(accepted) = txn.get_map(ACCEPTED) else { return false };
        accepted.keys(&txn).any(|id| {
            let head = tree::container(&txn, id).and_then(|container| tree::head_in(&txn, &container));
            head.is_some_and(|head| {
                json::text_field(&head, "req") == Some(req) && json::text_field(&head, "role") == Some("user")
            })
        })
    })
}

/// Says whether something stands under a message's id, whatever it is.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn message_exists(replica: &mut Replica, id: &str) -> Result<bool, Broken> {
    replica.read(|doc| {
        let txn = doc.transact();
        txn.get_map(MESSAGES).is_some_and(|map| map.contains_key(&txn, id))
    })
}

/// What can be searched in a message with a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The message.
    pub message: String,
    /// Who speaks.
    pub role: String,
    /// When it was written, by the writer's clock: unix milliseconds.
    pub at_ms: u64,
    /// It stands beside a message that was there before it.
    pub alternative: bool,
    /// Its text parts; empty where it has none, or none any more.
    pub text: String,
}

/// Reads the texts of messages with a place, at most so many bytes of each: of those that are named, or of all.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn texts(
    replica: &mut Replica,
    wanted: Option<&BTreeSet<String>>,
    most: usize,
) -> Result<Vec<Text>, Broken> {
    replica.read(|doc| tree::texts(&doc.transact(), wanted, most))
}

/// Appends a message with its content whole. It has no place until the judge judges the document.
/// Answers false where a message of that id is there: it is left as it is.
///
/// # Errors
/// [`Unfit::Name`] where an id cannot be one, [`Unfit::Form`] where the role or a part has no such form.
pub fn append(pen: &mut Pen<'_, '_>, message: &NewMessage) -> Result<bool, Unfit> {
    check_id(&message.id)?;
    let head = Head {
        role: message.role.clone(),
        parent: message.parent.clone(),
        alt: message.alternative_to.clone().map(Alt::Of),
        by: message.stamp.writer.clone(),
        at: message.stamp.hlc,
        req: message.req.clone(),
        model: message.model.clone(),
    };
    let stored = head.stored();
    // What the judge would not accept is not written in the first place.
    if Head::parse(&stored) != Ok(head) || !message.parts.iter().all(Value::is_object) {
        return Err(Unfit::Form);
    }
    if pen.has(MESSAGES, &message.id) {
        return Ok(false);
    }
    let container = pen.nest(MESSAGES, &message.id);
    pen.set_in(&container, "head", stored);
    pen.set_in(&container, "parts", Any::Array(message.parts.iter().map(json::store).collect()));
    Ok(true)
}

fn check_there(pen: &Pen<'_, '_>, message: &str) -> Result<(), Unfit> {
    if pen.has(MESSAGES, message) { Ok(()) } else { Err(Unfit::Missing) }
}

/// Says what somebody thinks of a message; nothing takes it back.
///
/// # Errors
/// [`Unfit::Missing`], [`Unfit::TooLong`]; [`Unfit::Form`] for another number than 1, 0 and -1.
pub fn set_feedback(
    pen: &mut Pen<'_, '_>,
    message: &str,
    stamp: &Stamp,
    feedback: Option<&Feedback>,
) -> Result<(), Unfit> {
    check_there(pen, message)?;
    let value = match feedback {
        None => Any::Null,
        Some(feedback) if !(-1..=1).contains(&feedback.v) => return Err(Unfit::Form),
        Some(feedback) => {
            let mut value = serde_json::json!({ "v": feedback.v, "tags": feedback.tags });
            if let Some(text) = &feedback.text {
                value["text"] = text.as_str().into();
            }
            bounded(&value)?
        }
    };
    register::write(pen, FEEDBACK, message, stamp, value);
    Ok(())
}

/// Chooses which message is shown behind a parent (as [`Message::parent`] says it), or first.
///
/// # Errors
/// [`Unfit::Missing`] where there is no such message.
pub fn select(pen: &mut Pen<'_, '_>, parent: Option<&str>, stamp: &Stamp, child: &str) -> Result<(), Unfit> {
    check_there(pen, child)?;
    parent.map_or(Ok(()), |parent| check_there(pen, parent))?;
    register::write(pen, SELECTED, parent.unwrap_or(TOP), stamp, Any::from(child));
    Ok(())
}

/// Lists which message was chosen behind each parent, or first, as people chose: some may not be shown for now.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn selected(replica: &mut Replica) -> Result<Vec<(Option<String>, String)>, Broken> {
    replica.read(|doc| {
        let fields = register::read(&doc.transact(), SELECTED, Ranking::Time);
        let choices = fields.into_iter().filter_map(|(parent, field)| {
            let child = field.text()?.to_owned();
            Some((Some(parent).filter(|parent| parent != TOP), child))
        });
        choices.collect()
    })
}

/// Keeps a message out of sight, or shows it again.
///
/// # Errors
/// [`Unfit::Missing`].
pub fn set_hidden(pen: &mut Pen<'_, '_>, message: &str, stamp: &Stamp, hidden: bool) -> Result<(), Unfit> {
    check_there(pen, message)?;
    register::write(pen, HIDDEN, message, stamp, Any::Bool(hidden));
    Ok(())
}

/// Sets how far a message is. A message that ended stays as it ended: whoever comes second (the producer's end, a stop)
/// is answered false.
///
/// # Errors
/// [`Unfit::Missing`], [`Unfit::TooLong`]; [`Unfit::Form`] for pending, which is no fact.
pub fn set_state(
    pen: &mut Pen<'_, '_>,
    message: &str,
    state: State,
    details: Option<&Value>,
) -> Result<bool, Unfit> {
    check_there(pen, message)?;
    if state == State::Pending {
        return Err(Unfit::Form);
    }
    let before = pen.get(STATE, message);
    if before.as_ref().and_then(State::read).is_some_and(|(state, _)| state.is_final()) {
        return Ok(false);
    }
    let mut items = vec![Any::from(state.as_str())];
    if let Some(details) = details {
        items.push(bounded(details)?);
    }
    pen.set(STATE, message, Any::Array(items.into()));
    Ok(true)
}

/// Sets usage, timing, citations of a message, once. Answers false where that was done.
///
/// # Errors
/// [`Unfit::Missing`], [`Unfit::TooLong`].
pub fn set_facts(pen: &mut Pen<'_, '_>, message: &str, facts: &Value) -> Result<bool, Unfit> {
    check_there(pen, message)?;
    if pen.has(FACTS, message) {
        return Ok(false);
    }
    let facts = bounded(facts)?;
    pen.set(FACTS, message, facts);
    Ok(true)
}

/// Erases the content of a message for good, with what was said of it: the only way a turn disappears. The judge sets
/// it again against whatever any device still holds.
///
/// # Errors
/// [`Unfit::Missing`].
pub fn erase(pen: &mut Pen<'_, '_>, message: &str) -> Result<(), Unfit> {
    let container = tree::container(pen.txn(), message).ok_or(Unfit::Missing)?;
    let keys: Vec<String> = container.keys(pen.txn()).map(str::to_owned).collect();
    for key in keys.iter().filter(|key| *key != "head" && *key != "parts") {
        pen.remove_in(&container, key);
    }
    // A head may have more in it than what places the message.
    let head = tree::head_in(pen.txn(), &container);
    let bare = head.as_ref().and_then(|head| Head::parse(head).ok()).map(|head| head.stored());
    if let Some(bare) = bare.filter(|bare| Some(bare) != head.as_ref()) {
        pen.set_in(&container, "head", bare);
    }
    if plain(container.get(pen.txn(), "parts")) != Some(parts::erased()) {
        pen.set_in(&container, "parts", parts::erased());
    }
    pen.remove(FACTS, message);
    let before = pen.get(STATE, message);
    if let Some((state, _)) = before.as_ref().and_then(State::read) {
        let state = if state.is_final() { state } else { State::Stopped };
        let bare = Any::Array([Any::from(state.as_str())].as_slice().into());
        if before.as_ref() != Some(&bare) {
            pen.set(STATE, message, bare);
        }
    }
    let said = format!("{message}@");
    for key in pen.keys(FEEDBACK).into_iter().filter(|key| key.starts_with(&said)) {
        pen.remove(FEEDBACK, &key);
    }
    Ok(())
}

/// A message that was erased, whoever asked how often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erasure {
    /// The message, and those that repeat it under other ids.
    pub messages: Vec<String>,
    /// The requests they came of: drafts with these hold the same words.
    pub requests: Vec<String>,
}

/// Erases a message, by its own id or that of one that repeats it, together with all that repeat it. One that has no
/// place goes whole.
///
/// # Errors
/// [`Unfit::Missing`].
pub fn erase_repeats(pen: &mut Pen<'_, '_>, message: &str) -> Result<Erasure, Unfit> {
    check_there(pen, message)?;
    let order = Order::read(pen.txn());
    let original = match order.acceptance(message) {
        Some(Acceptance::Same(original)) => original.to_string(),
        Some(Acceptance::Placed { .. }) => message.to_owned(),
        None => {
            pen.remove(MESSAGES, message);
            return Ok(Erasure { messages: vec![message.to_owned()], requests: Vec::new() });
        }
    };
    let mut erasure = Erasure::default();
    for id in order.repeats(&original).into_iter().chain([original.as_str()]) {
        let Some(container) = tree::container(pen.txn(), id) else { continue };
        let head = tree::head_in(pen.txn(), &container).and_then(|head| Head::parse(&head).ok());
        erasure.requests.extend(head.and_then(|head| head.req));
        erase(pen, id)?;
        erasure.messages.push(id.to_owned());
    }
    Ok(erasure)
}

/// Lists what devices ask of the server, oldest first.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn requests(replica: &mut Replica) -> Result<Vec<Request>, Broken> {
    replica.read(|doc| {
        let fields = register::read(&doc.transact(), CONTROL, Ranking::Time);
        let mut requests = Vec::new();
        for (field, entries) in &fields {
            let Some((verb, target)) = field.split_once('/') else { continue };
            requests.extend(entries.entries().iter().map(|entry| Request {
                verb: verb.to_owned(),
                target: target.to_owned(),
                writer: entry.writer.to_string(),
                hlc: entry.hlc,
                value: json::read(&entry.value),
            }));
        }
        requests.sort_by(|a, b| (a.hlc, &a.writer).cmp(&(b.hlc, &b.writer)));
        requests
    })
}

/// Asks something of the server, as a device does.
///
/// # Errors
/// [`Unfit::Name`], [`Unfit::TooLong`].
pub fn request(
    pen: &mut Pen<'_, '_>,
    verb: &str,
    target: &str,
    stamp: &Stamp,
    value: &Value,
) -> Result<(), Unfit> {
    check_id(verb)?;
    check_name(target)?;
    let value = bounded(value)?;
    register::write(pen, CONTROL, &format!("{verb}/{target}"), stamp, value);
    Ok(())
}

/// Removes what was asked, once it is done or moot, whoever asked.
pub fn settle_request(pen: &mut Pen<'_, '_>, verb: &str, target: &str) {
    let wanted = format!("{verb}/{target}");
    let fields = register::read_where(pen.txn(), CONTROL, Ranking::Time, |field| field == wanted);
    let writers: Vec<Writer> =
        fields.values().flat_map(register::Field::entries).map(|entry| entry.writer.clone()).collect();
    for writer in writers {
        pen.remove(CONTROL, &format!("{wanted}@{writer}"));
    }
}
