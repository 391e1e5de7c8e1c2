//! The files of an archive on their way to a user's blobs, piece by piece: the way of every upload.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use syncline_exchange::{
    archive::{Blob, LeftBlob},
    import::Item,
};
use tokio::sync::mpsc;

use super::intake::{Intake, Left};
use crate::{
    api::{
        blobs::{BYTES, denied, fit},
        problem::Problem,
    },
    blobs::{
        Found, Name,
        upload::{Denial, Received},
    },
};

/// Failures that are told once more at the end.
const TOLD: usize = 1_000;

/// What became of a file of an archive.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BlobReport {
    /// Its name.
    pub(crate) sha256: String,
    /// What became of it.
    pub(crate) status: BlobStatus,
    /// Why it was not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// What became of a file of an archive, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BlobStatus {
    /// It is a blob of the user now.
    Stored,
    /// It was there.
    Present,
    /// It could not be stored, or was not in the archive.
    Failed,
}

impl Intake {
    /// Stores a blob that begins, whose pieces and end come next. What is wrong with it stops nothing; an error does.
    pub(super) async fn blob(
        &mut self,
        blob: Blob,
        items: &mut mpsc::Receiver<Item>,
    ) -> Result<BlobReport, Problem> {
        let mut pieces = Pieces { items, end: None };
        let outcome = self.store(&blob, &mut pieces).await;
        // What was not taken of it is passed over; it is short, or was there.
        while pieces.end.is_none() && !self.home.draining.is_cancelled() {
            pieces.next().await;
        }
        let broken = pieces.end.and_then(Result::err);
        let outcome = match (outcome, broken) {
            (Err(problem), _) if problem.is_general() => return Err(problem),
            (_, Some(why)) => Err(why),
            (Err(problem), None) => Err(problem.to_string()),
            (Ok(outcome), None) => outcome,
        };
        Ok(self.tell(blob.sha256, outcome))
    }

    /// Notes a blob that the archive does not hold whole, unless it is here.
    pub(super) fn blob_left(&mut self, left: LeftBlob) -> Result<BlobReport, Problem> {
        let key = Name::parse(&left.sha256).map(|name| (self.home.user.clone(), name));
        let found = key.map(|key| self.home.open.blobs.find(&key)).transpose()?.flatten();
        let outcome = match found {
            Some(Found::Whole(_)) => Ok(BlobStatus::Present),
            _ => Err(left.why),
        };
        Ok(self.tell(left.sha256, outcome))
    }

    fn tell(&mut self, sha256: String, outcome: Result<BlobStatus, String>) -> BlobReport {
        let (status, reason) = match outcome {
            Ok(status) => (status, None),
            Err(why) => {
                self.note_failure(&sha256, &why);
                (BlobStatus::Failed, Some(why))
            }
        };
        BlobReport { sha256, status, reason }
    }

    fn note_failure(&mut self, sha256: &str, why: &str) {
        self.blobs_failed += 1;
        match self.blobs_failed {
            ..=TOLD => self.left.push(Left { what: format!("blob {sha256}"), why: why.to_owned() }),
            // The last of them counts all that come after it.
            _ => {
                let more = self.blobs_failed - TOLD;
                if more > 1 {
                    self.left.pop();
                }
                self.left
                    .push(Left { what: format!("{more} more blobs"), why: "see their lines".to_owned() });
            }
        }
    }

    /// Takes in a blob; the inner error says what is wrong with it.
    async fn store(
        &mut self,
        blob: &Blob,
        pieces: &mut Pieces<'_>,
    ) -> Result<Result<BlobStatus, String>, Problem> {
        let Some(name) = Name::parse(&blob.sha256) else {
            return Ok(Err("its name is no SHA-256".to_owned()));
        };
        let shelf = self.home.open.blobs.clone();
        let place = shelf.enter(&(self.home.user.clone(), name)).await?;
        if let Some(Found::Whole(_)) = shelf.find(&place.key)? {
            return Ok(Ok(BlobStatus::Present));
        }
        if let Some(why) = &self.blobs_refused {
            return Ok(Err(why.clone()));
        }
        let kind = blob.media_type.as_deref().and_then(fit).unwrap_or_else(|| BYTES.to_owned());
        let upload = match shelf.begin(&place, blob.bytes, kind).await? {
            Ok(upload) => upload,
            Err(denial) => {
                let problem = denied(&shelf.limits, &denial);
                if matches!(denial, Denial::TooMany) {
                    self.blobs_refused = Some(problem.to_string());
                }
                return Err(problem);
            }
        };
        let is_welcome = || self.home.stands().is_ok();
        let received = shelf.receive(&place, upload, pieces, &self.home.draining, is_welcome).await;
        if let Err(problem) = self.home.stands() {
            // The erasure may have been through here before the last of it was written.
            shelf.remove(&place).await?;
            return Err(problem);
        }
        let why = match received? {
            Received::Whole(_) => return Ok(Ok(BlobStatus::Stored)),
            // Dropped already.
            Received::Wrong(found) => return Ok(Err(format!("its content is that of {found}"))),
            Received::Unwelcome => return Err(Problem::gone("the user was erased")),
            Received::Part(offset) | Received::TooLong(offset) | Received::Broken(offset) => {
                format!("only {offset} of its {} bytes could be read", blob.bytes)
            }
        };
        // Nobody goes on with it: the next import begins anew.
        shelf.remove(&place).await?;
        Ok(Err(why))
    }
}

/// The pieces of a blob, up to its end.
struct Pieces<'a> {
    items: &'a mut mpsc::Receiver<Item>,
    /// How it ended.
    end: Option<Result<(), String>>,
}

impl Stream for Pieces<'_> {
    type Item = Result<Bytes, ()>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        let end = match self.items.poll_recv(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Item::BlobPiece(piece))) => return Poll::Ready(Some(Ok(piece.into()))),
            Poll::Ready(Some(Item::BlobEnd(end))) => end,
            Poll::Ready(_) => Err("the file could not be read on".to_owned()),
        };
        let is_whole = end.is_ok();
        self.end = Some(end);
        Poll::Ready(if is_whole { None } else { Some(Err(())) })
    }
}
