//! What stands where in the documents that have a meaning, read and written by type.
//!
//! Reading functions take a [`Replica`] and pass over what is malformed: a device may have written
//! anything. Writing functions take a [`Pen`], so that several make one update, and leave the document
//! untouched where they answer an error.

pub mod conversation;
pub mod drafts;
pub mod index;
mod kind;
pub mod marks;
pub mod message;
pub(crate) mod parts;
pub mod preferences;
pub mod profile;

use std::collections::BTreeMap;

use yrs::{Any, Transact as _};

pub use self::kind::Kind;
use crate::{
    Broken, Pen, Replica,
    hlc::Hlc,
    ids::{ConversationId, Writer},
    register::{self, Field, Stamp},
};

/// The longest value of a register that the server writes for a client: bytes of JSON.
pub const VALUE_BYTES: usize = 64 << 10;
/// The longest name (of a preference, a folder, a tag), in bytes.
pub const NAME_BYTES: usize = 256;

/// Says why nothing was written. All are the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A name or an id that cannot be one.
    #[error("this name cannot be one")]
    Name,
    /// More than [`VALUE_BYTES`].
    #[error("a value has at most 64 KiB")]
    TooLong,
    /// There is nothing of that id.
    #[error("there is nothing of that id")]
    Missing,
    /// The person has blocked inference of this preference.
    #[error("the user has blocked inference of this preference")]
    Blocked,
    /// A value of another form than the schema's.
    #[error("this value does not have the form that it must have")]
    Form,
}

/// Folds the registers of writers that are gone into another writer's, with their original times: what a device does with
/// its own earlier sessions. Returns how many went.
pub fn fold_writers(
    pen: &mut Pen<'_, '_>,
    kind: &Kind,
    into: &Writer,
    is_gone: impl Fn(&Writer) -> bool,
) -> usize {
    let roots = kind.registers().iter();
    roots.map(|(root, ranking)| register::fold(pen, root, *ranking, into, &is_gone)).sum()
}
/// Returns the newest time of any register of a document, those from the future left out: what the server writes next has
/// to be later.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn latest(replica: &mut Replica, kind: &Kind, now_ms: u64) -> Result<Hlc, Broken> {
    replica.read(|doc| {
        let txn = doc.transact();
        let fields = kind.registers().iter().flat_map(|(root, ranking)| register::read(&txn, root, *ranking));
        let times =
            fields.flat_map(|(_, field)| field.entries().iter().map(|entry| entry.hlc).collect::<Vec<_>>());
        times.filter(|hlc| !hlc.is_future(now_ms)).max().unwrap_or_default()
    })
}

/// What ends the key that says that a conversation was erased.
pub(crate) const ERASED: &str = "|erased@server";

/// Removes everything that stands of a conversation in a document that holds something of many (an index, the marks, the
/// drafts), and marks it as erased: from then on the judge removes what anybody writes of it. Returns how many entries
/// went.
pub fn erase_conversation(pen: &mut Pen<'_, '_>, kind: &Kind, id: &ConversationId, hlc: Hlc) -> usize {
    let Some(root) = kind.conversations() else { return 0 };
    let (mark, mut went) = (format!("{id}{ERASED}"), 0);
    for key in pen.keys(root) {
        let rest = key.strip_prefix(id.as_str());
        if key != mark && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['|', '@'])) {
            pen.remove(root, &key);
            went += 1;
        }
    }
    if !pen.has(root, &mark) {
        let stamp = Stamp { writer: Writer::server(), hlc };
        register::write(pen, root, &format!("{id}|erased"), &stamp, Any::Bool(true));
    }
    went
}

/// Says whether a key is the mark of an erased conversation.
pub(crate) fn is_erasure_mark(key: &str) -> bool {
    key.ends_with(ERASED)
}

/// Says whether the conversation that a key begins with was erased.
pub(crate) fn is_marked_erased(pen: &Pen<'_, '_>, root: &'static str, key: &str) -> bool {
    let id = key.split(['|', '@']).next().unwrap_or_default();
    pen.has(root, &format!("{id}{ERASED}"))
}

fn check_name(name: &str) -> Result<(), Unfit> {
    let fits = (1..=NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(Unfit::Name) }
}

fn check_id(id: &str) -> Result<(), Unfit> {
    if crate::ids::is_id(id) { Ok(()) } else { Err(Unfit::Name) }
}

/// Sorts fields `{id}|{what}` by their ids.
fn grouped(fields: BTreeMap<String, Field>) -> BTreeMap<String, BTreeMap<String, Field>> {
    let mut groups: BTreeMap<String, BTreeMap<String, Field>> = BTreeMap::new();
    for (name, field) in fields {
        if let Some((id, what)) = name.split_once('|') {
            groups.entry(id.to_owned()).or_default().insert(what.to_owned(), field);
        }
    }
    groups
}
