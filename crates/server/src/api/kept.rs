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
pub(super) const CONTENT_BYTES: usize = ROW_BYTES - END;

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

    /// Keeps something until a time; returns once it is durable.
    pub(super) async fn keep(
        &self,
        table: &str,
        hash: &str,
        until_ms: u64,
        content: &[u8],
    ) -> Result<(), Problem> {
        let key = format!("{table}/{}/{hash}", self.user).into_bytes();
        let value = [format!("{until_ms:013}").as_bytes(), content].concat();
        let after = [&*key, &[0]].concat();
        let end = format!("{table}/{}0", self.user);
        let mut rows = vec![Row { key, value: Some(value.into()) }];
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
