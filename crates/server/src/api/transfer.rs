//! Import from other products and from our own archives, and export of all of a user's state.
//!
//! An import answers line by line while it works: a report for each conversation, then the totals. A bad one never
//! stops the rest, and the same file once more changes nothing.

mod archive;
mod blobs;
mod intake;

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json,
    body::Body,
    extract::{Query, Request, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use syncline_document::schema::{
    Kind,
    conversation::{self, Branch},
};
use syncline_exchange::openai::{self, ChatMessage};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};

pub(crate) use self::{
    blobs::BlobStatus,
    intake::{Told, take_in},
};
use super::{
    at::AtConversation,
    home::Home,
    problem::{Problem, told_before},
};
use crate::app::App;

/// Conversations read ahead of those that are written, and lines ahead of those that were told.
pub(crate) const AHEAD: usize = 4;
/// How long an import may say nothing before it is answered.
const FIRST: Duration = Duration::from_secs(5);
/// Bytes of an archive sent at a time.
const PIECE: usize = 64 << 10;

/// Imports a ChatGPT data export (`conversations.json`, its shards, or the zip), message trees as JSON lines, or an
/// archive made by export. Answers JSON lines: `{"report": {...}, "new": N, "changed": B, "read": N, "of": N}` for each
/// conversation (turns that were not there; whether anything was written; bytes read of the file's), `{"blob": {...},
/// "read": N, "of": N}` for each blob (`stored`, `present` or `failed`), then `{"totals": {...}, "unchanged": N,
/// "left": [...]}`, or `{"problem": {...}}` where it ends early. A file of no kind that is known is refused as a whole.
#[utoipa::path(post, path = "/v1/users/{user}/import", tag = "transfer",
    params(("user" = String, Path)),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 200, content_type = "application/x-ndjson", body = String),
        (status = 413, description = "over `limits.import_bytes`", body = Problem),
        (status = 422, description = "it cannot be read as any kind of export", body = Problem),
        (status = "default", body = Problem)))]
pub(super) async fn import(
    State(app): State<Arc<App>>,
    home: Home,
    request: Request,
) -> Result<Response, Problem> {
    home.writable()?;
    let place = place(&app)?;
    let file = spool(&home, app.config.limits.import_bytes, request.into_body()).await?;
    let (lines, mut told) = mpsc::channel::<Told>(AHEAD);
    let (give, mut shown) = mpsc::channel::<Told>(AHEAD);
    let patience = Duration::from_millis(app.config.limits.send_ms);
    app.tasks.spawn(async move {
        take_in(home, file, lines).await;
        drop(place);
    });
    app.tasks.spawn(async move {
        while let Some(line) = told.recv().await {
            if !matches!(timeout(patience, give.send(line)).await, Ok(Ok(()))) {
                // Who does not read does not hold up the import, nor its place.
                return;
            }
        }
    });
    // What ends before anything is told is no answer of lines: a status says it. Much that is read before the first
    // line does not keep the caller waiting.
    let first = timeout(FIRST, shown.recv()).await.unwrap_or_default();
    if let Some(Told::Stopped { problem }) = &first {
        return Ok(told_before(problem));
    }
    let rest = stream::poll_fn(move |cx| shown.poll_recv(cx));
    let lines = stream::iter(first).chain(rest);
    let body = Body::from_stream(lines.map(|line| {
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        Ok::<_, serde_json::Error>(text)
    }));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Takes a place among the imports and exports.
fn place(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    app.transfers.clone().try_acquire_owned().map_err(|_| {
        Problem::unavailable("busy", "too many imports and exports at once: try again in a while")
    })
}

/// Makes a file beside the store that goes with its handle: where temporary files are may be memory.
fn spooled(home: &Home) -> Result<File, Problem> {
    tempfile::tempfile_in(home.open.blobs.data()).map_err(unwritable)
}

#[allow(clippy::needless_pass_by_value, reason = "what `map_err` takes")]
fn unwritable(error: io::Error) -> Problem {
    Problem::unavailable("no_room", format!("the file cannot be kept for reading: {error}"))
}

/// Puts a body in a file that goes with its handle.
async fn spool(home: &Home, most: u64, body: Body) -> Result<File, Problem> {
    let mut file = spooled(home)?;
    let mut pieces = body.into_data_stream();
    let mut total = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| Problem::bad(format!("the body broke off: {error}")))?;
        total += piece.len() as u64;
        if total > most {
            let text = format!("a file has at most {} MiB: split it, or import it offline", most >> 20);
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text));
        }
        home.open.blobs.room_for(piece.len() as u64)?;
        file.write_all(&piece).map_err(unwritable)?;
    }
    file.seek(SeekFrom::Start(0)).map_err(unwritable)?;
    Ok(file)
}

/// What an export or a backup is to hold.
#[derive(Debug, Deserialize)]
pub(crate) struct With {
    /// False leaves the blobs out.
    pub(crate) blobs: Option<bool>,
}

/// Gives out all of a user's state as a zip of JSON files and of the files that messages refer to, which imports again.
/// Its `blobs.json` says which of these are in it (`blobs`), which are not and why (`left`), and which names in messages
/// stand for nothing here (`absent`).
#[utoipa::path(get, path = "/v1/users/{user}/export", tag = "transfer",
    params(("user" = String, Path), ("blobs" = Option<bool>, Query, description = "false leaves the files out")),
    responses((status = 200, content_type = "application/zip", body = Vec<u8>), (status = "default", body = Problem)))]
pub(super) async fn export(
    State(app): State<Arc<App>>,
    home: Home,
    with: Result<Query<With>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(with) = with?;
    let place = place(&app)?;
    let file = Box::pin(home.archive(with.blobs.unwrap_or(true))).await?;
    let bytes = file
        .metadata()
        .map_err(|error| Problem::unavailable("no_room", format!("the archive cannot be read: {error}")))?
        .len();
    let (give, mut pieces) = mpsc::channel(AHEAD);
    app.tasks.clone().spawn(async move {
        tokio::select! {
            biased;
            () = app.draining.cancelled() => {}
            () = hand_over(file, give, app.config.limits.send_ms, app.config.limits.transfer_ms) => {}
        }
        drop(place);
    });
    let mut response = Body::from_stream(stream::poll_fn(move |cx| pieces.poll_recv(cx))).into_response();
    let headers = response.headers_mut();
    // One that breaks off is seen by this.
    headers.insert(header::CONTENT_LENGTH, bytes.into());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    let name = HeaderValue::from_static("attachment; filename=\"syncline-export.zip\"");
    headers.insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// Gives a file to whoever reads, as long as they do.
async fn hand_over(file: File, give: mpsc::Sender<io::Result<Bytes>>, idle_ms: u64, longest_ms: u64) {
    let mut pieces = tokio_util::io::ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE);
    let giving = async {
        while let Some(piece) = pieces.next().await {
            let given = timeout(Duration::from_millis(idle_ms), give.send(piece)).await;
            if !matches!(given, Ok(Ok(()))) {
                return;
            }
        }
    };
    // Whoever reads on sees by the length that was announced that something is missing.
    let _ = timeout(Duration::from_millis(longest_ms), giving).await;
}

/// Gives out the branch that is shown as OpenAI chat messages.
#[utoipa::path(get, path = "/v1/users/{user}/conversations/{conversation}/openai", tag = "transfer",
    params(("user" = String, Path), ("conversation" = String, Path)),
    responses((status = 200, body = Vec<Object>), (status = "default", body = Problem)))]
pub(super) async fn chat(
    home: Home,
    AtConversation(id): AtConversation,
) -> Result<Json<Vec<ChatMessage>>, Problem> {
    home.conversation(&id).await?;
    let kind = Kind::Conversation(id);
    let read = home.look(&kind, |replica| conversation::messages(replica, Branch::Selected));
    Ok(Json(openai::chat_messages(&read.await?)))
}
