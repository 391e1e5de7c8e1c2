//! Bodies of requests. They are read only once it is known who asks and that they may: until then a caller costs no
//! memory. Large ones share the memory of large messages, taken before they are gathered.

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode, header};
use tokio::sync::OwnedSemaphorePermit;

use super::Refusal;
use crate::app::App;

/// Reads a whole body of at most `limit` bytes. The time it may take is that of the request.
pub(super) async fn read(app: &App, headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let most: usize = declared.unwrap_or(limit);
    if most > limit {
        return Err(too_large(limit));
    }
    let large = app.config.limits.large_message_bytes;
    let mut share = None;
    if declared.is_some() && most > large {
        share = Some(take_share(app, most)?);
    }
    let mut gathered = Vec::with_capacity(declared.unwrap_or(0));
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| bad_body(format!("the body broke off: {error}")))?;
        let length = gathered.len() + piece.len();
        if length > most {
            return Err(too_large(most));
        }
        if length > large && share.is_none() {
            // Nobody knows how much follows. Taking more and more while others do the same could end with
            // everybody waiting for everybody.
            share = Some(take_share(app, most)?);
        }
        gathered.extend_from_slice(&piece);
    }
    let Some(mut share) = share else { return Ok(gathered.into()) };
    let unused = share.num_permits().saturating_sub(gathered.len() >> 10);
    drop(share.split(unused));
    Ok(Bytes::from_owner(Shared { bytes: gathered, _share: share }))
}

/// Takes memory for a large body, or says to come back: a caller over HTTP can, a thread of ours need not wait.
fn take_share(app: &App, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
    let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX);
    app.shares
        .pool
        .clone()
        .try_acquire_many_owned(kib)
        .map_err(|_| Refusal::busy("too many large messages at once: try again in a while"))
}

/// A large body with its share of memory, until the last user of the bytes is done.
struct Shared {
    bytes: Vec<u8>,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn too_large(limit: usize) -> Refusal {
    let text = format!("the body is over {limit} bytes: send less at once");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
}

pub(super) fn bad_body(text: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_body", text)
}
