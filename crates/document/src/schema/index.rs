//! What people set on conversations: title, pinned, archived, folder, tags, deleted.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use yrs::{Any, ReadTxn, Transact as _};

use super::{
    Unfit, VALUE_BYTES, check_id, check_name, grouped,
    profile::{conflicts, is_true, text},
};
use crate::{
    Broken, Pen, Replica,
    hlc::Hlc,
    ids::{ConversationId, Writer},
    json,
    register::{self, Field, Hint, Ranking, Stamp},
};

const ROOT: &str = "conversations";

/// A conversation as the sidebar shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// Its title: the person's own, else the automatic one.
    pub title: Option<String>,
    /// Says whether the title is the automatic one.
    pub auto_title: bool,
    /// Says whether it stands on top.
    pub pinned: bool,
    /// Says whether it is put away.
    pub archived: bool,
    /// The folder it stands in.
    pub folder: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Unix milliseconds, by its maker's clock.
    pub created_at: u64,
    /// Says whether it was deleted. It is restored by setting this back.
    pub deleted: bool,
    /// When it was deleted, by the deleter's clock: unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<u64>,
    /// The last message that the deleter had seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_seq: Option<u64>,
    /// Values that lost, by field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conflicts: BTreeMap<String, Vec<Hint>>,
}

impl Conversation {
    /// Makes what is shown of a conversation that stands in no index: a client made it and entered it nowhere.
    pub fn unlisted(id: &ConversationId) -> Self {
        Self {
            id: id.to_string(),
            title: None,
            auto_title: true,
            pinned: false,
            archived: false,
            folder: None,
            tags: Vec::new(),
            created_at: id.ms(),
            deleted: false,
            deleted_at: None,
            deleted_seq: None,
            conflicts: BTreeMap::new(),
        }
    }

    /// Says whether messages came that whoever deleted it had not seen: it then shows as "recently deleted, with new
    /// activity". Judged by the sequence, where the deleter noted one, so that no clock counts.
    pub fn has_news(&self, last_seq: u64, last_at_ms: u64) -> bool {
        match (self.deleted, self.deleted_seq, self.deleted_at) {
            (false, ..) => false,
            (true, Some(seen), _) => last_seq > seen,
            (true, None, at) => at.is_some_and(|at| last_at_ms > at),
        }
    }
}

/// What can be set on a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// The person's own title; an empty one gives way to the automatic one.
    Title(String),
    /// On top of the list, or not.
    Pinned(bool),
    /// Put away, or not.
    Archived(bool),
    /// The folder; none for no folder.
    Folder(Option<String>),
    /// A tag, there or not.
    Tag(String, bool),
    /// Deleted, with the last sequence that the deleter had seen.
    Deleted {
        /// The sequence; none where it is not known.
        seen: Option<u64>,
    },
    /// Not deleted any more.
    Restored,
}

/// Reads all conversations of an index, by id.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn read(replica: &mut Replica) -> Result<Vec<Conversation>, Broken> {
    replica.read(|doc| {
        let groups = grouped(register::read(&doc.transact(), ROOT, Ranking::Time));
        groups.into_iter().filter_map(|(id, fields)| view(&id, &fields)).collect()
    })
}

/// Reads some conversations of an index, by id.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn read_some(replica: &mut Replica, ids: &BTreeSet<String>) -> Result<Vec<Conversation>, Broken> {
    replica.read(|doc| {
        let wanted = |field: &str| field.split_once('|').is_some_and(|(id, _)| ids.contains(id));
        let groups = grouped(register::read_where(&doc.transact(), ROOT, Ranking::Time, wanted));
        groups.into_iter().filter_map(|(id, fields)| view(&id, &fields)).collect()
    })
}

/// Reads one conversation of an index.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn read_one(replica: &mut Replica, id: &ConversationId) -> Result<Option<Conversation>, Broken> {
    replica.read(|doc| {
        let groups = grouped(one(&doc.transact(), id));
        groups.into_iter().find_map(|(id, fields)| view(&id, &fields))
    })
}

fn one<T: ReadTxn>(txn: &T, id: &ConversationId) -> BTreeMap<String, Field> {
    let mine = |field: &str| field.strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with('|'));
    register::read_where(txn, ROOT, Ranking::Time, mine)
}

fn view(id: &str, fields: &BTreeMap<String, Field>) -> Option<Conversation> {
    let id = ConversationId::parse(id)?;
    // What a device says of it is no news: the name is burned.
    if fields.get("erased").is_some_and(|field| field.entries().iter().any(|entry| entry.writer.is_server()))
    {
        return None;
    }
    let own_title = text(fields, "title").filter(|title| !title.is_empty());
    let deletion = fields.get("deleted").filter(|field| field.is_true()).and_then(Field::winner);
    let made = fields.get("made").and_then(Field::winner).and_then(|entry| json::whole(&entry.value));
    let tags = fields.iter().filter(|(_, field)| field.is_true());
    Some(Conversation {
        auto_title: own_title.is_none(),
        title: own_title.or_else(|| text(fields, "autotitle")),
        pinned: is_true(fields, "pinned"),
        archived: is_true(fields, "archived"),
        folder: text(fields, "folder"),
        tags: tags.filter_map(|(name, _)| name.strip_prefix("tag:").map(str::to_owned)).collect(),
        created_at: made.unwrap_or_else(|| id.ms()),
        deleted: deletion.is_some(),
        deleted_at: deletion.map(|entry| entry.hlc.ms()),
        deleted_seq: deletion
            .and_then(|entry| entry.meta.as_ref())
            .and_then(|meta| json::field(meta, "seq"))
            .and_then(json::whole),
        conflicts: conflicts(fields),
        id: id.to_string(),
    })
}

/// Enters a conversation that was just made.
pub fn enter(pen: &mut Pen<'_, '_>, id: &ConversationId, stamp: &Stamp, created_at_ms: u64) {
    register::write(pen, ROOT, &format!("{id}|made"), stamp, json::int(created_at_ms));
}

/// Sets the automatic title, which gives way to the person's own. Only the server writes it.
///
/// # Errors
/// [`Unfit::TooLong`].
pub fn set_autotitle(pen: &mut Pen<'_, '_>, id: &ConversationId, hlc: Hlc, title: &str) -> Result<(), Unfit> {
    if title.len() > VALUE_BYTES {
        return Err(Unfit::TooLong);
    }
    let stamp = Stamp { writer: Writer::server(), hlc };
    register::write(pen, ROOT, &format!("{id}|autotitle"), &stamp, Any::from(title));
    Ok(())
}

/// Sets something on a conversation.
///
/// # Errors
/// [`Unfit::Name`], [`Unfit::TooLong`].
pub fn set(
    pen: &mut Pen<'_, '_>,
    id: &ConversationId,
    stamp: &Stamp,
    setting: &Setting,
) -> Result<(), Unfit> {
    check(setting)?;
    let (field, value, meta) = match setting {
        Setting::Title(title) => ("title".to_owned(), Any::from(title.as_str()), None),
        Setting::Pinned(pinned) => ("pinned".to_owned(), Any::Bool(*pinned), None),
        Setting::Archived(archived) => ("archived".to_owned(), Any::Bool(*archived), None),
        Setting::Folder(None) => ("folder".to_owned(), Any::Null, None),
        Setting::Folder(Some(folder)) => ("folder".to_owned(), Any::from(folder.as_str()), None),
        Setting::Tag(tag, there) => (format!("tag:{tag}"), Any::Bool(*there), None),
        Setting::Deleted { seen } => {
            let meta = seen.map(|seq| json::object([("seq", Some(json::int(seq)))]));
            ("deleted".to_owned(), Any::Bool(true), meta)
        }
        Setting::Restored => ("deleted".to_owned(), Any::Bool(false), None),
    };
    register::write_with(pen, ROOT, &format!("{id}|{field}"), stamp, value, meta);
    Ok(())
}

/// Says whether a setting can be written: a call of several writes all of them or none.
///
/// # Errors
/// As [`set`].
pub fn check(setting: &Setting) -> Result<(), Unfit> {
    match setting {
        Setting::Title(title) if title.len() > VALUE_BYTES => Err(Unfit::TooLong),
        Setting::Folder(Some(folder)) => check_id(folder),
        Setting::Tag(tag, _) => check_name(tag),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";

    fn stamp(writer: &str, ms: u64) -> Stamp {
        Stamp { writer: Writer::parse(writer).expect("a writer"), hlc: Hlc::at(ms) }
    }

    #[test]
    fn a_persons_title_beats_the_automatic_one_and_the_other_name_is_a_hint() {
        let id = ConversationId::parse(ID).expect("an id");
        let mut replica = Replica::of_client(1);
        let edit = replica.edit(|pen| {
            enter(pen, &id, &stamp("phone.a", 5), 4);
            set(pen, &id, &stamp("phone.a", 10), &Setting::Title("Rome".to_owned()))?;
            set(pen, &id, &stamp("laptop.a", 20), &Setting::Title("Trip".to_owned()))?;
            set(pen, &id, &stamp("laptop.a", 21), &Setting::Tag("a@b|c".to_owned(), true))?;
            set(pen, &id, &stamp("laptop.a", 22), &Setting::Pinned(true))?;
            set_autotitle(pen, &id, Hlc::at(99), "A trip to Rome")
        });
        assert_eq!(edit.expect("writes").value, Ok(()));
        let seen = read(&mut replica).expect("reads").remove(0);
        assert_eq!((seen.title.as_deref(), seen.auto_title, seen.created_at), (Some("Trip"), false, 4));
        assert_eq!((seen.pinned, &seen.tags[..]), (true, &["a@b|c".to_owned()][..]));
        assert_eq!(seen.conflicts["title"][0].value, json!("Rome"));
        assert_eq!(read_one(&mut replica, &id), Ok(Some(seen)));
    }

    #[test]
    fn what_was_said_after_a_deletion_shows_whatever_the_clocks_say() {
        let id = ConversationId::parse(ID).expect("an id");
        let mut replica = Replica::of_client(1);
        let edit = replica
            .edit(|pen| set(pen, &id, &stamp("phone.a", 1 << 40), &Setting::Deleted { seen: Some(7) }));
        assert_eq!(edit.expect("writes").value, Ok(()));
        let seen = read_one(&mut replica, &id).expect("reads").expect("is there");
        assert!(seen.deleted && !seen.has_news(7, 0) && seen.has_news(8, 0));
    }
}
