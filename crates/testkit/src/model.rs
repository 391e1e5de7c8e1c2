//! A document with a meaning, read by the checkers' own eyes: straight from yrs, after the pages on the model, and not
//! by the code under test.

use std::collections::BTreeMap;

use yrs::{Any, Doc, GetString, Map, MapRef, Number, Out, ReadTxn, Transact};

use crate::page::{Page, ROOTS};

/// A mark in everything that a device writes where it may not: it must never last.
pub(crate) const FORGED: &str = "forged";

/// What the server says of a message's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its number, and what it follows.
    At(u64, Option<String>),
    /// It repeats that one.
    Same(String),
    /// Nothing that a server says.
    Odd(String),
}

/// A message as it is for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) role: String,
    pub(crate) req: Option<String>,
    /// The whole head, in one form.
    pub(crate) head: String,
    /// The texts of its parts; `None` where it was erased.
    pub(crate) texts: Option<Vec<String>>,
}

/// One register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Register {
    /// Unix milliseconds.
    pub(crate) ms: u64,
    /// All of it, in one form.
    pub(crate) value: String,
}

/// A document.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) accepted: BTreeMap<String, Place>,
    pub(crate) messages: BTreeMap<String, Content>,
    /// `meta`, `state`, `facts` and `runs`, by root and key.
    pub(crate) facts: BTreeMap<(&'static str, String), String>,
    pub(crate) registers: BTreeMap<(&'static str, String), Register>,
}

impl Model {
    /// Reads a document.
    pub(crate) fn read(doc: &Doc, page: Page) -> Self {
        let mut model = Self::default();
        if page == Page::Free {
            return model;
        }
        let txn = doc.transact();
        if page == Page::Conversation {
            model.accepted = places(&txn);
            if let Some(messages) = txn.get_map("messages") {
                for (id, out) in messages.iter(&txn) {
                    if let Out::YMap(container) = out
                        && let Some(content) = content_of(&txn, &container)
                    {
                        model.messages.insert(id.to_owned(), content);
                    }
                }
            }
            for root in ["meta", "state", "facts", "runs"] {
                for (key, value) in entries(&txn, root) {
                    model.facts.insert((root, key), value);
                }
            }
        }
        let roots = page.registers().iter().chain((page == Page::Drafts).then_some(&"drafts"));
        for root in roots {
            let Some(map) = txn.get_map(*root) else { continue };
            for (key, out) in map.iter(&txn) {
                let Out::Any(any) = out else { continue };
                let Any::Array(items) = &any else { continue };
                let Some(Any::String(hlc)) = items.first() else { continue };
                let Some(ms) = hlc.split_once('-').and_then(|(ms, _)| ms.parse().ok()) else { continue };
                model.registers.insert((*root, key.to_owned()), Register { ms, value: plain(&any) });
            }
        }
        model
    }
}

/// Reads the places that messages have.
pub(crate) fn places<T: ReadTxn>(txn: &T) -> BTreeMap<String, Place> {
    let Some(map) = txn.get_map("accepted") else { return BTreeMap::new() };
    map.iter(txn).map(|(id, out)| (id.to_owned(), place(&out))).collect()
}

fn place(out: &Out) -> Place {
    let odd = || {
        Place::Odd(match out {
            Out::Any(any) => plain(any),
            _ => "a shared type".to_owned(),
        })
    };
    let Out::Any(Any::Array(items)) = out else { return odd() };
    match &items[..] {
        [seq, Any::Null] if whole(seq).is_some_and(|seq| seq > 0) => {
            Place::At(whole(seq).unwrap_or_default(), None)
        }
        [seq, Any::String(after)] if whole(seq).is_some_and(|seq| seq > 0) => {
            Place::At(whole(seq).unwrap_or_default(), Some(after.to_string()))
        }
        [seq, Any::Null, Any::Map(rest)] if whole(seq) == Some(0) => match rest.get("same") {
            Some(Any::String(same)) => Place::Same(same.to_string()),
            _ => odd(),
        },
        _ => odd(),
    }
}

fn whole(any: &Any) -> Option<u64> {
    match any {
        Any::Number(Number::Int(whole)) => u64::try_from(*whole).ok(),
        Any::Number(Number::Float(float)) if float.fract() == 0.0 && *float >= 0.0 => Some(*float as u64),
        _ => None,
    }
}

/// Reads a message; `None` where something of it is missing, so that nobody can accept it.
fn content_of<T: ReadTxn>(txn: &T, container: &MapRef) -> Option<Content> {
    let Some(Out::Any(Any::Map(head))) = container.get(txn, "head") else { return None };
    let text = |key: &str| match head.get(key) {
        Some(Any::String(text)) => Some(text.to_string()),
        _ => None,
    };
    let texts = match container.get(txn, "parts")? {
        Out::Any(Any::Array(parts)) => Some(parts.iter().map(text_of).collect()),
        Out::Any(Any::Map(parts)) if parts.get("erased") == Some(&Any::Bool(true)) => None,
        Out::YMap(parts) if parts.len(txn) > 0 => {
            let mut texts: Vec<(String, String)> = Vec::new();
            for (ordinal, part) in parts.iter(txn) {
                let Out::YMap(part) = part else { continue };
                let Some(Out::YText(text)) = part.get(txn, "text") else { continue };
                texts.push((ordinal.to_owned(), text.get_string(txn)));
            }
            texts.sort();
            Some(texts.into_iter().map(|(_, text)| text).collect())
        }
        _ => return None,
    };
    Some(Content { role: text("role")?, req: text("req"), head: plain(&Any::Map(head.clone())), texts })
}

fn text_of(part: &Any) -> String {
    match part {
        Any::Map(part) => part.get("text").map(plain).unwrap_or_default(),
        other => plain(other),
    }
}

fn entries<T: ReadTxn>(txn: &T, root: &str) -> Vec<(String, String)> {
    let Some(map) = txn.get_map(root) else { return Vec::new() };
    map.iter(txn).map(|(key, out)| (key.to_owned(), shown(txn, &out))).collect()
}

/// Shows all maps of a document, keys in order.
pub(crate) fn maps(doc: &Doc) -> String {
    let maps = ROOTS.map(|root| (root, doc.get_or_insert_map(root)));
    let txn = doc.transact();
    let mut text = String::new();
    for (root, map) in maps {
        if map.len(&txn) > 0 {
            text.push_str(&format!(" {root}: {}", shown(&txn, &Out::YMap(map))));
        }
    }
    text
}

fn shown<T: ReadTxn>(txn: &T, out: &Out) -> String {
    match out {
        Out::Any(any) => plain(any),
        Out::YText(text) => format!("text {:?}", text.get_string(txn)),
        Out::YMap(map) => {
            let mut pairs: Vec<(String, String)> =
                map.iter(txn).map(|(key, out)| (key.to_owned(), shown(txn, &out))).collect();
            pairs.sort();
            format!("{pairs:?}")
        }
        other => format!("{other:?}"),
    }
}

/// Shows a value, keys in order. A text is shown bare.
pub(crate) fn plain(any: &Any) -> String {
    match any {
        Any::Null => "null".to_owned(),
        Any::Bool(value) => value.to_string(),
        Any::String(text) => text.to_string(),
        Any::Number(Number::Int(whole)) => whole.to_string(),
        Any::Array(items) => format!("{:?}", items.iter().map(plain).collect::<Vec<_>>()),
        Any::Map(map) => {
            let pairs: BTreeMap<&String, String> =
                map.iter().map(|(key, value)| (key, plain(value))).collect();
            format!("{pairs:?}")
        }
        other => format!("{other:?}"),
    }
}
