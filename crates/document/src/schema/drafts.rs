//! Drafts: what stands in a composer, one per conversation and device, until the message that came of it is saved.
//!
//! A draft is never overwritten by another device. One that takes it over writes a draft of its own with the same
//! `req`, so that sending either is one message.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use yrs::{Any, ReadTxn, Transact as _};

use super::{Unfit, check_name, profile::bounded};
use crate::{
    Broken, Pen, Replica,
    hlc::Hlc,
    ids::{ConversationId, Writer},
    json,
    register::{self, Entry, Ranking, Stamp},
};

pub(crate) const ROOT: &str = "drafts";

/// A draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Draft {
    /// The conversation it is for.
    pub conversation: String,
    /// Whose composer it stands in.
    pub writer: String,
    /// When it was written.
    pub hlc: Hlc,
    /// Its text.
    pub text: String,
    /// Its attachments.
    pub attachments: Vec<Value>,
    /// The model it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The request that the message will carry.
    pub req: String,
    /// Who goes on with it elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_by: Option<String>,
}

/// What a composer holds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Composer {
    /// Its text.
    pub text: String,
    /// Its attachments.
    #[serde(default)]
    pub attachments: Vec<Value>,
    /// The model it is for.
    #[serde(default)]
    pub model: Option<String>,
    /// The request that the message will carry: the same for as long as it is one draft.
    pub req: String,
}

/// Reads all drafts, by conversation and writer.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn read(replica: &mut Replica) -> Result<Vec<Draft>, Broken> {
    replica.read(|doc| read_in(&doc.transact()))
}

fn read_in<T: ReadTxn>(txn: &T) -> Vec<Draft> {
    let fields = register::read(txn, ROOT, Ranking::Time);
    let mut drafts = Vec::new();
    for (conversation, field) in &fields {
        for entry in field.entries() {
            drafts.extend(view(conversation, entry));
        }
    }
    let takers: Vec<(String, String, Hlc)> = drafts
        .iter()
        .filter(|draft| draft.taken_by.as_deref() == Some(&draft.writer))
        .map(|draft| (draft.req.clone(), draft.writer.clone(), draft.hlc))
        .collect();
    for draft in &mut drafts {
        // The latest taker holds it; its own draft is not taken.
        let taker =
            takers.iter().filter(|(req, ..)| *req == draft.req).max_by(|a, b| (a.2, &a.1).cmp(&(b.2, &b.1)));
        draft.taken_by = taker.map(|(_, writer, _)| writer.clone()).filter(|writer| *writer != draft.writer);
    }
    drafts.sort_by(|a, b| (&a.conversation, &a.writer).cmp(&(&b.conversation, &b.writer)));
    drafts
}

fn view(conversation: &str, entry: &Entry) -> Option<Draft> {
    let value = &entry.value;
    let attachments = match json::field(value, "attachments") {
        Some(Any::Array(items)) => items.iter().map(json::read).collect(),
        _ => Vec::new(),
    };
    Some(Draft {
        conversation: conversation.to_owned(),
        writer: entry.writer.to_string(),
        hlc: entry.hlc,
        text: json::text_field(value, "text")?.to_owned(),
        attachments,
        model: json::text_field(value, "model").map(str::to_owned),
        req: json::text_field(value, "req")?.to_owned(),
        taken_by: json::text_field(value, "takenBy").map(str::to_owned),
    })
}

/// Reads of a stored draft which conversation it is for, and the request that its message will carry.
pub(crate) fn request_of(key: &str, stored: &Any) -> Option<(ConversationId, String)> {
    let (conversation, writer) = register::split(key)?;
    let entry = Entry::parse(writer, stored)?;
    Some((ConversationId::parse(conversation)?, json::text_field(&entry.value, "req")?.to_owned()))
}

/// Keeps what a composer holds.
///
/// # Errors
/// [`Unfit::Name`], [`Unfit::TooLong`].
pub fn set(
    pen: &mut Pen<'_, '_>,
    conversation: &ConversationId,
    stamp: &Stamp,
    composer: &Composer,
) -> Result<(), Unfit> {
    write(pen, conversation, stamp, composer, None)
}

fn write(
    pen: &mut Pen<'_, '_>,
    conversation: &ConversationId,
    stamp: &Stamp,
    composer: &Composer,
    taken_by: Option<&Writer>,
) -> Result<(), Unfit> {
    check_name(&composer.req)?;
    let attachments = bounded(&Value::Array(composer.attachments.clone()))?;
    if composer.text.len() > super::VALUE_BYTES {
        return Err(Unfit::TooLong);
    }
    let value = json::object([
        ("text", Some(Any::from(composer.text.as_str()))),
        ("attachments", Some(attachments)),
        ("model", composer.model.as_deref().map(Any::from)),
        ("takenBy", taken_by.map(|writer| Any::from(writer.as_str()))),
        ("req", Some(Any::from(composer.req.as_str()))),
    ]);
    register::write(pen, ROOT, conversation.as_str(), stamp, value);
    Ok(())
}

/// Goes on with another writer's draft, under the same request.
///
/// # Errors
/// [`Unfit::Missing`] where there is no such draft.
pub fn take_over(
    pen: &mut Pen<'_, '_>,
    conversation: &ConversationId,
    stamp: &Stamp,
    from: &Writer,
) -> Result<(), Unfit> {
    let stored = pen.get(ROOT, &format!("{conversation}@{from}")).ok_or(Unfit::Missing)?;
    let entry = Entry::parse(from.clone(), &stored).ok_or(Unfit::Missing)?;
    let draft = view(conversation.as_str(), &entry).ok_or(Unfit::Missing)?;
    let composer =
        Composer { text: draft.text, attachments: draft.attachments, model: draft.model, req: draft.req };
    write(pen, conversation, stamp, &composer, Some(&stamp.writer))
}

/// Removes a writer's draft.
pub fn remove(pen: &mut Pen<'_, '_>, conversation: &ConversationId, writer: &Writer) {
    pen.remove(ROOT, &format!("{conversation}@{writer}"));
}

/// Removes all drafts of a request, on whatever device: the message that came of it is saved. Returns how many.
pub fn remove_sent(pen: &mut Pen<'_, '_>, conversation: &ConversationId, req: &str) -> usize {
    let sent: Vec<Draft> = read_in(pen.txn())
        .into_iter()
        .filter(|draft| draft.conversation == conversation.as_str() && draft.req == req)
        .collect();
    for draft in &sent {
        pen.remove(ROOT, &format!("{conversation}@{}", draft.writer));
    }
    sent.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";

    fn stamp(writer: &str, ms: u64) -> Stamp {
        Stamp { writer: Writer::parse(writer).expect("a writer"), hlc: Hlc::at(ms) }
    }

    fn composer(text: &str, req: &str) -> Composer {
        Composer { text: text.to_owned(), attachments: vec![], model: None, req: req.to_owned() }
    }

    #[test]
    fn each_device_keeps_its_own_until_one_takes_over_and_sending_ends_both() {
        let id = ConversationId::parse(ID).expect("an id");
        let mut replica = Replica::of_client(1);
        let edit = replica.edit(|pen| {
            set(pen, &id, &stamp("phone.a", 1), &composer("on the phone", "r1"))?;
            set(pen, &id, &stamp("laptop.a", 2), &composer("on the laptop", "r2"))?;
            take_over(pen, &id, &stamp("tablet.a", 3), &stamp("phone.a", 0).writer)
        });
        assert_eq!(edit.expect("writes").value, Ok(()));
        let drafts = read(&mut replica).expect("reads");
        let seen: Vec<_> =
            drafts.iter().map(|draft| (&*draft.writer, &*draft.req, draft.taken_by.as_deref())).collect();
        assert_eq!(
            seen,
            [("laptop.a", "r2", None), ("phone.a", "r1", Some("tablet.a")), ("tablet.a", "r1", None)]
        );
        let edit = replica.edit(|pen| remove_sent(pen, &id, "r1"));
        assert_eq!(edit.expect("writes").value, 2);
        assert_eq!(read(&mut replica).expect("reads").len(), 1);
    }
}
