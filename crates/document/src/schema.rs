//! What stands where in the documents that have a meaning, read and written by type.
//!
//! Reading functions take a [`Replica`](crate::Replica) and pass over what is malformed: a device may have written
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

use yrs::Transact as _;

pub use self::kind::Kind;
use crate::{
    Broken, Replica,
    hlc::Hlc,
    register::{self, Field},
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
