//! What is kept for a time in the server's own tables: rows `{table}/{user}/{sha256, hex}` that begin with their end
//! (unix milliseconds, 13 digits).
//!
//! Who writes such a row takes away those that follow it and have ended. Their keys are spread evenly, so a table stays
//! about as large as what still holds, and no task has to walk it.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use syncline_store::{Row, store::ROW_BYTES};
use tokio::sync::oneshot;

use super::{home::Home, problem::Problem};
use crate::clock::now_ms;

/// Rows that each write looks at.
const SWEPT: usize = 8;
/// The digits of a row's end.
const END: usize = 13;
/// The longest content of such a row.
const CONTENT_BYTES: usize = ROW_BYTES - END;

/// Rows over which something long is spread, at most.
const PARTS: usize = 64;
/// What is kept is shorter than this.
const LONG_BYTES: usize = PARTS * CONTENT_BYTES;

/// Returns the name of a row that goes on where others end.
fn part_of(hash: &str, number: usize) -> String {
    format!("{hash}-{number:02}")
}

/// Returns the hash of some texts, in hex; how they are cut counts.
pub(super) fn hash<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut sha = Sha256::new();
    for text in texts {
        sha.update((text.len() as u64).to_le_bytes());
        sha.update(text);
    }
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn end_of(value: &[u8]) -> u64 {
    let digits = value.get(..END).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

/// Returns what is kept in a row, without its end.
pub(super) fn content(row: &[u8]) -> Option<&[u8]> {
    row.get(END..)
}

/// Makes a row with the same end and another content.
pub(super) fn with_content(row: &[u8], content: &[u8]) -> Bytes {
    [&row[..END.min(row.len())], content].concat().into()
}

impl Home {
    /// Returns what is kept, and until when; `None` where there is nothing or it has ended.
    pub(super) fn kept(&self, table: &str, hash: &str) -> Result<Option<(u64, Bytes)>, Problem> {
        let row = self.open.store.row(format!("{table}/{}/{hash}", self.user).as_bytes())?;
        let row = row.map(|value| (end_of(&value), value));
        Ok(row.filter(|(end, _)| *end > now_ms()).map(|(end, value)| (end, value.slice(END..))))
    }

    /// Returns what [`Home::keep_long`] kept, and until when.
    pub(super) fn kept_long(&self, table: &str, hash: &str) -> Result<Option<(u64, Vec<u8>)>, Problem> {
        let Some((until, first)) = self.kept(table, hash)? else { return Ok(None) };
        let mut whole = first.to_vec();
        let mut part = first;
        for number in 1..PARTS {
            if part.len() < CONTENT_BYTES {
                break;
            }
            let Some((_, next)) = self.kept(table, &part_of(hash, number))? else { return Ok(None) };
            whole.extend_from_slice(&next);
            part = next;
        }
        Ok(Some((until, whole)))
    }

    /// Keeps something that may be longer than a row until a time; returns once it is durable.
    pub(super) async fn keep_long(
        &self,
        table: &str,
        hash: &str,
        until_ms: u64,
        content: &[u8],
    ) -> Result<(), Problem> {
        if content.len() >= LONG_BYTES {
            return Err(Problem::bad(format!("{} bytes are too long to be kept", content.len())));
        }
        // A part that is not full is the last: where the last is full, an empty one follows.
        let count = content.len() / CONTENT_BYTES + 1;
        let part = |number: usize| {
            let from = number * CONTENT_BYTES;
            let name = if number == 0 { hash.to_owned() } else { part_of(hash, number) };
            (name, &content[from..content.len().min(from + CONTENT_BYTES)])
        };
        self.keep_all(table, until_ms, (0..count).map(part).collect()).await
    }

    /// Keeps something until a time; returns once it is durable.
    pub(super) async fn keep(
        &self,
        table: &str,
        hash: &str,
        until_ms: u64,
        content: &[u8],
    ) -> Result<(), Problem> {
        self.keep_all(table, until_ms, vec![(hash.to_owned(), content)]).await
    }

    async fn keep_all(
        &self,
        table: &str,
        until_ms: u64,
        contents: Vec<(String, &[u8])>,
    ) -> Result<(), Problem> {
        let mut rows = Vec::with_capacity(contents.len() + SWEPT);
        for (name, content) in contents {
            let key = format!("{table}/{}/{name}", self.user).into_bytes();
            let value = [format!("{until_ms:013}").as_bytes(), content].concat();
            rows.push(Row { key, value: Some(value.into()) });
        }
        let after = rows.last().map(|row| [&*row.key, &[0]].concat()).unwrap_or_default();
        let end = format!("{table}/{}0", self.user);
        let now = now_ms();
        for (key, value) in self.open.store.rows(&after, end.as_bytes(), SWEPT)? {
            if end_of(&value) <= now {
                rows.push(Row { key, value: None });
            }
        }
        let (told, tell) = oneshot::channel();
        self.open.registry.engine().journal.put_rows(
            rows,
            Box::new(move |outcome| {
                // Whoever asked may be gone; what is kept is kept all the same.
                let _ = told.send(outcome);
            }),
        );
        tell.await.map_err(|_| Problem::unavailable("restarting", "the server is going down"))??;
        Ok(())
    }
}
