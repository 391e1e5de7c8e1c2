//! The rows that say what was erased. They are written before anything is erased, stay for ever, and are in every
//! backup.

use bytes::Bytes;
use syncline_document::{ids::ConversationId, schema::Kind};
use syncline_protocol::names::DocumentName;
use syncline_store::{Row, Store, StoreError, Writer};
use tokio::sync::oneshot;

use super::{ErasureError, Receipt, Target};

/// What starts the name of a burned name's reason: clients tell it by that.
const CONVERSATION_GONE: &str = "gone: this conversation was erased for good";
const USER_GONE: &str = "gone: everything of this user was erased for good";
/// Rows read at a time.
const PAGE: usize = 256;

/// The erasures that are not done lie from here to [`ERASING_END`].
const ERASING: &[u8] = b"erasing/";
/// The first key after those.
const ERASING_END: &[u8] = b"erasing0";

/// Tables that tell of erasures: they outlive what they tell of.
pub(super) const TABLES: [&str; 3] = ["erased", "erasure", "erasing"];

/// Says why a document's name is burned, if it is.
///
/// # Errors
/// As the store fails.
pub(crate) fn burned(store: &dyn Store, name: &DocumentName) -> Result<Option<&'static str>, StoreError> {
    let Some(user) = name.owner() else { return Ok(None) };
    if let Some(reason) = user_burned(store, user)? {
        return Ok(Some(reason));
    }
    match Kind::of(name) {
        Kind::Conversation(_) if store.row(format!("erased/{name}").as_bytes())?.is_some() => {
            Ok(Some(CONVERSATION_GONE))
        }
        _ => Ok(None),
    }
}

/// Says why all names of a user are burned, if they are.
///
/// # Errors
/// As the store fails.
pub(crate) fn user_burned(store: &dyn Store, user: &str) -> Result<Option<&'static str>, StoreError> {
    Ok(store.row(format!("erased/{user}").as_bytes())?.map(|_| USER_GONE))
}

/// Says why a conversation is burned, if it is.
///
/// # Errors
/// As the store fails.
pub(crate) fn conversation_burned(
    store: &dyn Store,
    user: &str,
    id: &ConversationId,
) -> Result<Option<&'static str>, StoreError> {
    Ok(store.row(format!("erased/{user}/c/{id}").as_bytes())?.map(|_| CONVERSATION_GONE))
}

/// Returns what is said where a target is burned.
pub(super) fn reason(target: &Target) -> &'static str {
    if target.conversation.is_some() { CONVERSATION_GONE } else { USER_GONE }
}

/// Finds the erasure of a target, done or not.
pub(crate) fn find(store: &dyn Store, target: &Target) -> Result<Option<Receipt>, ErasureError> {
    let Some(id) = store.row(format!("erased/{}", target.path()).as_bytes())? else { return Ok(None) };
    read(store, &target.user, &String::from_utf8_lossy(&id))
}

/// Reads an erasure.
fn read(store: &dyn Store, user: &str, id: &str) -> Result<Option<Receipt>, ErasureError> {
    let Some(value) = store.row(&erasure_key(user, id))? else { return Ok(None) };
    parse(&value).map(Some)
}

fn parse(value: &Bytes) -> Result<Receipt, ErasureError> {
    serde_json::from_slice(value)
        .map_err(|error| ErasureError::Engine(format!("a receipt cannot be read: {error}")))
}

/// Lists the erasures that are not done.
pub(super) fn undone(store: &dyn Store) -> Result<Vec<Receipt>, ErasureError> {
    let mut undone = Vec::new();
    for (key, user) in store.rows(ERASING, ERASING_END, PAGE)? {
        let id = String::from_utf8_lossy(&key[ERASING.len()..]).into_owned();
        undone.extend(read(store, &String::from_utf8_lossy(&user), &id)?);
    }
    Ok(undone)
}

/// Lists a user's erasures by id, those after `after`, at most `limit`.
///
/// # Errors
/// As the store fails.
pub(crate) fn list(
    store: &dyn Store,
    user: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Receipt>, ErasureError> {
    let from = match after {
        Some(after) => [&erasure_key(user, after)[..], &[0]].concat(),
        None => erasure_key(user, ""),
    };
    let rows = store.rows(&from, format!("erasure/{user}0").as_bytes(), limit)?;
    rows.iter().map(|(_, value)| parse(value)).collect()
}

/// Lists every erasure of a store, page by page.
///
/// # Errors
/// As the store fails.
pub(crate) fn all(
    store: &dyn Store,
    mut each: impl FnMut(Receipt) -> Result<(), ErasureError>,
) -> Result<(), ErasureError> {
    let mut from = b"erasure/".to_vec();
    loop {
        let page = store.rows(&from, b"erasure0", PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        from = [last, &[0][..]].concat();
        for (_, value) in &page {
            each(parse(value)?)?;
        }
    }
}

/// Returns the rows of an erasure that begins.
pub(crate) fn begin(receipt: &Receipt) -> Vec<Row> {
    vec![
        put(format!("erased/{}", receipt.target().path()).into_bytes(), receipt.id.clone()),
        put(erasure_key(&receipt.user, &receipt.id), json(receipt)),
        put(erasing_key(receipt), receipt.user.clone()),
    ]
}

/// Returns the rows of an erasure that is done.
pub(super) fn finish(receipt: &Receipt) -> Vec<Row> {
    vec![
        put(erasure_key(&receipt.user, &receipt.id), json(receipt)),
        Row { key: erasing_key(receipt), value: None },
    ]
}

fn erasure_key(user: &str, id: &str) -> Vec<u8> {
    format!("erasure/{user}/{id}").into_bytes()
}

fn erasing_key(receipt: &Receipt) -> Vec<u8> {
    [ERASING, receipt.id.as_bytes()].concat()
}

fn json(receipt: &Receipt) -> String {
    serde_json::to_string(receipt).unwrap_or_default()
}

fn put(key: Vec<u8>, value: String) -> Row {
    Row { key, value: Some(value.into()) }
}

/// Writes rows; returns once they are durable, and all that was queued before them.
pub(super) async fn write<T: Send + 'static>(
    journal: &Writer<T>,
    rows: Vec<Row>,
) -> Result<(), ErasureError> {
    let (told, tell) = oneshot::channel();
    journal.put_rows(
        rows,
        Box::new(move |outcome| {
            // Whoever asked may be gone; what is written is written all the same.
            let _ = told.send(outcome);
        }),
    );
    Ok(tell.await.map_err(|_| ErasureError::Restarting)??)
}
