//! The parts of a message: frozen JSON where the content was whole when it was written, a map of maps with a text each
//! where it is streamed.

use std::cmp::Ordering;

use serde_json::{Map, Value};
use yrs::{Any, GetString as _, Map as _, MapRef, Out, ReadTxn};

use crate::json;

/// How many parts of a streamed message are read.
const PARTS: usize = 4096;

/// What stands under `parts`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Parts {
    /// The content as it is for ever.
    Frozen(Any),
    /// Content in the making.
    Live(MapRef),
}

/// The content of an erased message.
pub(crate) fn erased() -> Any {
    json::object([("erased", Some(Any::Bool(true)))])
}

/// Says whether this is the content of an erased message.
pub(crate) fn is_erased(parts: &Any) -> bool {
    json::field(parts, "erased") == Some(&Any::Bool(true))
}

impl Parts {
    /// Reads what stands in a message's container; `None` where nothing does that can be content.
    pub(crate) fn of<T: ReadTxn>(txn: &T, container: &MapRef) -> Option<Self> {
        match container.get(txn, "parts")? {
            Out::Any(frozen @ Any::Array(_)) => Some(Self::Frozen(frozen)),
            Out::Any(any) if is_erased(&any) => Some(Self::Frozen(any)),
            Out::YMap(live) if live.len(txn) > 0 => Some(Self::Live(live)),
            _ => None,
        }
    }

    /// Returns the content as it would be frozen now. Frozen content is shared, not copied.
    pub(crate) fn freeze<T: ReadTxn>(&self, txn: &T) -> Any {
        match self {
            Self::Frozen(any) => any.clone(),
            Self::Live(live) => {
                let values = read_live(txn, live);
                Any::Array(values.iter().map(json::store).collect())
            }
        }
    }
}

/// Returns frozen content as UIMessage parts.
pub(crate) fn read(frozen: &Any) -> Vec<Value> {
    match frozen {
        Any::Array(items) => items.iter().map(json::read).collect(),
        _ => Vec::new(),
    }
}

fn read_live<T: ReadTxn>(txn: &T, live: &MapRef) -> Vec<Value> {
    let mut ordinals: Vec<(String, Out)> = live.iter(txn).map(|(key, out)| (key.to_owned(), out)).collect();
    ordinals.sort_by(|a, b| by_ordinal(&a.0, &b.0));
    ordinals.into_iter().take(PARTS).filter_map(|(_, out)| read_part(txn, &out)).collect()
}

/// Whole numbers by their size, before all else.
fn by_ordinal(a: &str, b: &str) -> Ordering {
    let number = |key: &str| key.parse::<u64>().unwrap_or(u64::MAX);
    number(a).cmp(&number(b)).then_with(|| a.cmp(b))
}

fn read_part<T: ReadTxn>(txn: &T, out: &Out) -> Option<Value> {
    let map = match out {
        Out::YMap(map) => map,
        Out::Any(any @ Any::Map(_)) => return Some(json::read(any)),
        _ => return None,
    };
    let mut part = match map.get(txn, "head")? {
        Out::Any(head @ Any::Map(_)) => match json::read(&head) {
            Value::Object(part) => part,
            _ => return None,
        },
        _ => return None,
    };
    drop_own_id(&mut part);
    if let Some(Out::YText(text)) = map.get(txn, "text") {
        part.insert("text".to_owned(), Value::String(text.get_string(txn)));
    }
    for key in ["state", "output"] {
        if let Some(Out::Any(value)) = map.get(txn, key) {
            part.insert(key.to_owned(), json::read(&value));
        }
    }
    Some(Value::Object(part))
}

/// The id in a part's head is the document's own; only data parts have one in a UIMessage.
fn drop_own_id(part: &mut Map<String, Value>) {
    let is_data = part.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("data-"));
    if !is_data {
        part.remove("id");
    }
}

/// Returns the text of a message, at most so many bytes of it.
pub(crate) fn text(frozen: &Any, most: usize) -> String {
    let Any::Array(items) = frozen else { return String::new() };
    let texts = items.iter().filter(|part| json::text_field(part, "type") == Some("text"));
    let mut whole = String::new();
    for text in texts.filter_map(|part| json::text_field(part, "text")) {
        if !whole.is_empty() {
            whole.push('\n');
        }
        let room = most.saturating_sub(whole.len());
        whole.push_str(&text[..text.floor_char_boundary(room)]);
        if whole.len() + 4 > most {
            break;
        }
    }
    whole
}

/// Returns the beginning of a message's text, for lists.
pub(crate) fn preview(frozen: &Any, chars: usize) -> String {
    let Any::Array(items) = frozen else { return String::new() };
    let texts = items.iter().filter(|part| json::text_field(part, "type") == Some("text"));
    let mut preview = String::new();
    for text in texts.filter_map(|part| json::text_field(part, "text")) {
        if !preview.is_empty() {
            preview.push(' ');
        }
        preview.extend(text.chars().take(chars));
        // A message may have any number of parts: no more of them are read than are shown.
        if preview.chars().nth(chars).is_some() {
            break;
        }
    }
    match preview.char_indices().nth(chars) {
        Some((end, _)) => preview[..end].to_owned(),
        None => preview,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use yrs::{Doc, MapPrelim, TextPrelim, Transact as _};

    #[test]
    fn streamed_parts_read_like_frozen_ones_in_the_order_of_their_numbers() {
        let doc = Doc::with_client_id(1);
        let container = doc.get_or_insert_map("m");
        let mut txn = doc.transact_mut();
        let live = container.insert(&mut txn, "parts", MapPrelim::default());
        let part = |key: &str, head: Value, txn: &mut yrs::TransactionMut<'_>| {
            let part = live.insert(txn, key.to_owned(), MapPrelim::default());
            part.insert(txn, "head", json::store(&head));
            part
        };
        let last = part("10", json!({ "id": "p2", "type": "text" }), &mut txn);
        last.insert(&mut txn, "text", TextPrelim::new("world 😀"));
        last.insert(&mut txn, "state", "done");
        part("9", json!({ "id": "d", "type": "data-x", "data": [1] }), &mut txn);
        live.insert(&mut txn, "odd", 5);
        let parts = Parts::of(&txn, &container).expect("parts");
        let frozen = parts.freeze(&txn);
        assert_eq!(
            read(&frozen),
            [
                json!({ "id": "d", "type": "data-x", "data": [1] }),
                json!({ "type": "text", "text": "world 😀", "state": "done" }),
            ]
        );
        assert_eq!(preview(&frozen, 5), "world");
    }
}
