//! Carries a device's own edits from a copy that the server refuses over into a fresh one.
//!
//! A refused edit stays in the device's copy and blocks all that follows it, since Yjs clocks are contiguous. So the copy
//! is set aside, and what is valid of the device's own goes into a fresh copy under a fresh client id, piece by piece: its
//! registers with their original times, and its messages that the server has not accepted. What others wrote comes from
//! the server; what is no valid edit stays behind, in the copy that was set aside.

use std::collections::{BTreeMap, BTreeSet};

use yrs::{Any, Map as _, Out, ReadTxn, Transact as _};

use crate::{
    Broken, Pen, Replica, json,
    order::ACCEPTED,
    pen::plain,
    register::{self, Entry},
    schema::{
        Kind,
        message::{Alt, Head},
        parts::Parts,
    },
    tree::{self, MESSAGES},
};

const META: &str = "meta";

/// One edit to carry over.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece(What);

#[derive(Debug, Clone, PartialEq)]
enum What {
    /// A key that its maker sets once.
    Meta(String, Any),
    Register {
        root: &'static str,
        field: String,
        entry: Entry,
    },
    Message {
        id: String,
        head: Head,
        parts: Any,
        /// The messages before its parent, nearest first: it follows the first that is there.
        ancestors: Vec<String>,
    },
}

/// Collects what a device wrote that is valid and has at most `piece_bytes` of JSON, in the order in which it is to be
/// written.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn collect(
    replica: &mut Replica,
    kind: &Kind,
    device: &str,
    piece_bytes: usize,
) -> Result<Vec<Piece>, Broken> {
    replica.read(|doc| {
        let txn = doc.transact();
        let fits = |value: &Any| json::read(value).to_string().len() <= piece_bytes;
        let mut pieces = Vec::new();
        if matches!(kind, Kind::Conversation(_)) {
            pieces.extend(meta(&txn));
            pieces.extend(messages(&txn, device, &fits));
        }
        for root in roots(kind) {
            pieces.extend(registers(&txn, root, device, &fits));
        }
        pieces
    })
}

/// Lists the root maps that hold registers of devices, those that are not judged too.
fn roots(kind: &Kind) -> Vec<&'static str> {
    let unjudged: &[&str] = match kind {
        Kind::Drafts => &["drafts"],
        Kind::Conversation(_) => &["control"],
        _ => &[],
    };
    kind.registers().iter().map(|(root, _)| *root).chain(unjudged.iter().copied()).collect()
}

fn meta<T: ReadTxn>(txn: &T) -> Vec<Piece> {
    let Some(map) = txn.get_map(META) else { return Vec::new() };
    let known = ["v", "id", "owner", "createdAt", "origin"].iter();
    let there = known.filter_map(|key| Some(((*key).to_owned(), plain(map.get(txn, key))?)));
    there.map(|(key, value)| Piece(What::Meta(key, value))).collect()
}

fn messages<T: ReadTxn>(txn: &T, device: &str, fits: &impl Fn(&Any) -> bool) -> Vec<Piece> {
    let Some(map) = txn.get_map(MESSAGES) else { return Vec::new() };
    let accepted: BTreeSet<String> = match txn.get_map(ACCEPTED) {
        Some(accepted) => accepted.keys(txn).map(str::to_owned).collect(),
        None => BTreeSet::new(),
    };
    let heads: BTreeMap<String, Head> = map
        .keys(txn)
        .filter_map(|id| {
            let container = tree::container(txn, id)?;
            Some((id.to_owned(), Head::parse(&tree::head_in(txn, &container)?).ok()?))
        })
        .collect();
    let own =
        heads.iter().filter(|(id, head)| !accepted.contains(*id) && head.by.device_id() == Some(device));
    let mut own: Vec<(&String, &Head)> = own.collect();
    own.sort_by_key(|(id, head)| (head.at, *id));
    own.into_iter()
        .filter_map(|(id, head)| {
            let container = tree::container(txn, id)?;
            let parts = Parts::of(txn, &container)?.freeze(txn);
            let ancestors = ancestors(&heads, head);
            let piece = What::Message { id: id.clone(), head: head.clone(), parts, ancestors };
            matches!(&piece, What::Message { parts, .. } if fits(parts)).then_some(Piece(piece))
        })
        .collect()
}

/// Lists the messages before a message's parent, nearest first. Heads may run in circles.
fn ancestors(heads: &BTreeMap<String, Head>, head: &Head) -> Vec<String> {
    const MOST: usize = 64;
    let mut found = Vec::new();
    let mut at = head.parent.as_ref().and_then(|parent| heads.get(parent));
    while let Some(parent) = at.and_then(|head| head.parent.as_ref())
        && found.len() < MOST
    {
        found.push(parent.clone());
        at = heads.get(parent);
    }
    found
}

fn registers<T: ReadTxn>(
    txn: &T,
    root: &'static str,
    device: &str,
    fits: &impl Fn(&Any) -> bool,
) -> Vec<Piece> {
    let Some(map) = txn.get_map(root) else { return Vec::new() };
    let mut pieces: Vec<(String, Entry)> = map
        .iter(txn)
        .filter_map(|(key, out)| {
            let (field, writer) = register::split(key)?;
            let Out::Any(stored) = out else { return None };
            let own = writer.device_id() == Some(device) && fits(&stored);
            let entry = Entry::parse(writer, &stored).filter(|_| own)?;
            Some((field.to_owned(), entry))
        })
        .collect();
    pieces.sort_by(|a, b| (a.1.hlc, &a.0).cmp(&(b.1.hlc, &b.0)));
    pieces.into_iter().map(|(field, entry)| Piece(What::Register { root, field, entry })).collect()
}

impl Piece {
    /// Names the edit: the same one out of two copies has the same key.
    pub fn key(&self) -> String {
        match &self.0 {
            What::Meta(key, _) => format!("{META}/{key}"),
            What::Register { root, field, entry } => format!("{root}/{field}@{}/{}", entry.writer, entry.hlc),
            What::Message { id, .. } => format!("{MESSAGES}/{id}"),
        }
    }

    /// Writes it, unless the document has it, or something later of the same writer.
    pub fn write(&self, pen: &mut Pen<'_, '_>) {
        match &self.0 {
            What::Meta(key, value) => {
                if !pen.has(META, key) {
                    pen.set(META, key.as_str(), value.clone());
                }
            }
            What::Register { root, field, entry } => {
                let key = format!("{field}@{}", entry.writer);
                let there =
                    pen.get(root, &key).and_then(|stored| Entry::parse(entry.writer.clone(), &stored));
                if there.is_none_or(|there| there.hlc < entry.hlc) {
                    pen.set(root, key, entry.stored());
                }
            }
            What::Message { id, head, parts, ancestors } => {
                if !pen.has(MESSAGES, id) {
                    let head = placed(pen, head.clone(), ancestors);
                    let container = pen.nest(MESSAGES, id);
                    pen.set_in(&container, "head", head.stored());
                    pen.set_in(&container, "parts", parts.clone());
                }
            }
        }
    }
}

/// Lets a message refer to messages that are there only: what it followed may have stayed behind.
fn placed(pen: &Pen<'_, '_>, mut head: Head, ancestors: &[String]) -> Head {
    if head.parent.as_ref().is_some_and(|parent| !pen.has(MESSAGES, parent)) {
        head.parent = ancestors.iter().find(|ancestor| pen.has(MESSAGES, ancestor)).cloned();
    }
    if matches!(&head.alt, Some(Alt::Of(id)) if !pen.has(MESSAGES, id)) {
        head.alt = None;
    }
    head
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        hlc::Hlc,
        ids::{ConversationId, Writer},
        register::Stamp,
        schema::conversation::{self, Branch, NewMessage},
    };

    const ID: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";

    fn stamp(writer: &str, ms: u64) -> Stamp {
        Stamp { writer: Writer::parse(writer).expect("a writer"), hlc: Hlc::at(ms) }
    }

    fn say(pen: &mut Pen<'_, '_>, id: &str, parent: Option<&str>, stamp: &Stamp, text: &str) {
        let message = NewMessage {
            id: id.to_owned(),
            role: "user".to_owned(),
            parent: parent.map(str::to_owned),
            alternative_to: None,
            stamp: stamp.clone(),
            req: None,
            model: None,
            parts: vec![json!({ "type": "text", "text": text })],
        };
        assert_eq!(conversation::append(pen, &message), Ok(true));
    }

    #[test]
    fn what_is_a_devices_own_and_valid_goes_over_once() {
        let id = ConversationId::parse(ID).expect("an id");
        let kind = Kind::Conversation(id.clone());
        let mut old = Replica::of_client(1);
        let edit = old.edit(|pen| {
            conversation::create(pen, &id, "ada", 5, None);
            say(pen, "m1", None, &stamp("phone.a", 10), "first");
            say(pen, "m3", None, &stamp("laptop.a", 10), "not the phone's");
            say(pen, "m4", Some("m1"), &stamp("phone.a", 15), &"too long".repeat(100));
            say(pen, "m2", Some("m4"), &stamp("phone.b", 20), "second");
            conversation::set_hidden(pen, "m1", &stamp("phone.a", 30), true)
        });
        assert_eq!(edit.expect("writes").value, Ok(()));
        let pieces = collect(&mut old, &kind, "phone", 500).expect("reads");
        let mut fresh = Replica::of_client(2);
        let writes = pieces.iter().map(|piece| fresh.edit(|pen| piece.write(pen)).expect("writes").update);
        assert_eq!(writes.filter(Option::is_some).count(), 4 + 2 + 1);
        let shown = conversation::messages(&mut fresh, Branch::All).expect("reads");
        let shown: Vec<_> = shown.iter().map(|message| (&*message.id, message.parent.as_deref())).collect();
        assert_eq!(shown, [("m1", None), ("m2", Some("m1"))], "it follows what is there");
        let again =
            pieces.iter().map(|piece| fresh.edit(|pen| piece.write(pen)).expect("writes").update.is_some());
        assert!(!again.into_iter().any(|wrote| wrote), "it is written once");
    }
}
