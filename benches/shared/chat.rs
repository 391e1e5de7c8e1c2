//! Documents as the data model lays them out, made as a plain Yjs client makes them.

use std::collections::HashMap;

use anyhow::{Context, ensure};
use bytes::Bytes;
use yrs::updates::decoder::Decode;
use yrs::{
    Any, ClientID, Doc, Map, MapPrelim, MapRef, OffsetKind, Options, Out, ReadTxn, StateVector, Text,
    TextPrelim, Transact, TransactionMut, Update, WriteTxn,
};

/// Milliseconds of a quarter, about.
pub const QUARTER_MS: u64 = 7_889_400_000;
const WRITER: &str = "laptop.bench";

/// A Yjs document as JavaScript clients have them.
pub fn document(client: u64) -> Doc {
    let mut options = Options::with_client_id(ClientID::new(client));
    options.offset_kind = OffsetKind::Utf16;
    Doc::with_options(options)
}

/// A UUIDv7 of that time; the same number makes the same id.
pub fn uuid7(ms: u64, number: u64) -> String {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (a, b) = (ms >> 16, ms & 0xffff);
    let (c, d, e) = (mixed >> 52, 0x8000 | (mixed >> 38 & 0x3fff), mixed & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-7{c:03x}-{d:04x}-{e:012x}")
}

/// The time of a register.
pub fn hlc(ms: u64) -> String {
    format!("{ms:013}-0000")
}

fn object<const N: usize>(entries: [(&str, Any); N]) -> Any {
    Any::from(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<HashMap<_, _>>())
}

/// Appends a message whose content is whole.
pub fn append(txn: &mut TransactionMut<'_>, id: &str, parent: Option<&str>, role: &str, ms: u64, text: &str) {
    let message: MapRef = txn.get_or_insert_map("messages").insert(txn, id.to_owned(), MapPrelim::default());
    message.insert(txn, "head", head(parent, role, ms));
    let part = object([("type", Any::from("text")), ("text", Any::from(text))]);
    message.insert(txn, "parts", Any::Array([part].into()));
}

fn head(parent: Option<&str>, role: &str, ms: u64) -> Any {
    object([
        ("role", Any::from(role)),
        ("parent", parent.map_or(Any::Null, Any::from)),
        ("by", Any::from(WRITER)),
        ("at", Any::from(hlc(ms))),
    ])
}

/// Sets a register.
pub fn set(txn: &mut TransactionMut<'_>, root: &str, field: &str, ms: u64, value: impl Into<Any>) {
    let stored = Any::Array([Any::from(hlc(ms)), value.into()].into());
    txn.get_or_insert_map(root).insert(txn, format!("{field}@{WRITER}"), stored);
}

/// Text of so many bytes, different for each number.
pub fn words(number: u64, bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(number);
    (0..bytes).map(|at| if at % 6 == 5 { ' ' } else { random.lowercase() }).collect()
}

/// A conversation of so many turns with so many bytes of text each, as one update.
pub fn conversation(client: u64, user: &str, id: &str, made_ms: u64, turns: u64, bytes: usize) -> Bytes {
    let doc = document(client);
    {
        let mut txn = doc.transact_mut();
        let meta = txn.get_or_insert_map("meta");
        meta.insert(&mut txn, "v", 1);
        meta.insert(&mut txn, "id", id);
        meta.insert(&mut txn, "owner", user);
        meta.insert(&mut txn, "createdAt", made_ms as f64);
        let mut parent = None;
        for turn in 0..turns {
            let ms = made_ms + turn * 1_000;
            let id = uuid7(ms, client ^ (turn << 8));
            let role = if turn % 2 == 0 { "user" } else { "assistant" };
            append(&mut txn, &id, parent.as_deref(), role, ms, &words(turn, bytes));
            parent = Some(id);
        }
    }
    whole(&doc)
}

/// The index of one quarter: conversations with a title each, every tenth pinned or in a folder.
pub fn index(client: u64, from_ms: u64, conversations: u64) -> Bytes {
    let doc = document(client);
    let mut txn = doc.transact_mut();
    for number in 0..conversations {
        let ms = from_ms + number * (QUARTER_MS / conversations.max(1)) * 9 / 10;
        let id = uuid7(ms, client ^ (number << 8));
        set(&mut txn, "conversations", &format!("{id}|made"), ms, ms as f64);
        set(&mut txn, "conversations", &format!("{id}|title"), ms, words(number, 30));
        match number % 10 {
            0 => set(&mut txn, "conversations", &format!("{id}|pinned"), ms, true),
            1 => set(&mut txn, "conversations", &format!("{id}|folder"), ms, "work"),
            _ => {}
        }
    }
    drop(txn);
    whole(&doc)
}

/// Streams text into a message part, `batch` tokens a transaction; returns the updates and the whole document.
pub fn streamed(client: u64, tokens: &[&str], batch: usize) -> (Vec<Bytes>, Bytes) {
    let doc = document(client);
    let mut updates = Vec::new();
    let text = {
        let mut txn = doc.transact_mut();
        let messages = txn.get_or_insert_map("messages");
        let message: MapRef = messages.insert(&mut txn, uuid7(0, 1), MapPrelim::default());
        message.insert(&mut txn, "head", head(None, "assistant", 0));
        let parts: MapRef = message.insert(&mut txn, "parts", MapPrelim::default());
        let part: MapRef = parts.insert(&mut txn, "0", MapPrelim::default());
        part.insert(&mut txn, "head", object([("type", Any::from("text"))]));
        part.insert(&mut txn, "text", TextPrelim::new(""))
    };
    for batch in tokens.chunks(batch) {
        let before = doc.transact().state_vector();
        text.push(&mut doc.transact_mut(), &batch.concat());
        updates.push(doc.transact().encode_diff_v1(&before).into());
    }
    (updates, whole(&doc))
}

fn whole(doc: &Doc) -> Bytes {
    doc.transact().encode_diff_v1(&StateVector::default()).into()
}

/// Checks that an update holds a conversation of so many messages.
///
/// # Errors
/// It does not.
pub fn check(update: &[u8], turns: usize) -> anyhow::Result<()> {
    let doc = document(1);
    doc.transact_mut().apply_update(Update::decode_v1(update)?)?;
    let txn = doc.transact();
    let messages = txn.get_map("messages").context("no messages")?;
    let whole = messages.iter(&txn).filter(|(_, message)| matches!(message, Out::YMap(_))).count();
    ensure!(whole == turns, "{whole} messages, not {turns}");
    Ok(())
}
