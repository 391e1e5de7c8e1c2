//! Blobs over HTTP: files that file parts refer to as `blob:sha256:{hex}`, uploaded so that a broken connection costs
//! only what was on its way.
//!
//! Uploads follow the IETF draft "Resumable Uploads for HTTP" (draft-ietf-httpbis-resumable-upload-09) rather than tus:
//! a blob's own URL is known before the first byte, so it is the upload's URL too. A plain `PUT` of a file is a whole
//! upload, nothing has to be created first, and whoever lost the connection asks `HEAD` where to go on with `PATCH`.
//! Interim responses (104) are not sent: what they tell is known beforehand.

mod answer;
mod request;

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequestParts, Request, State},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

pub(super) use self::{
    answer::denied,
    request::{BYTES, fit},
};
use self::{
    answer::{Item, content_headers, mismatch, upload_headers, whole},
    request::{Asked, Said, kind},
};
use super::{at, home::Home, problem::Problem};
use crate::{
    app::App,
    blobs::{
        Found, Key, Name, Place, Upload,
        collect::{Removal, TOLD, remove_unreferred},
        upload::Received,
    },
};

pub(crate) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(crate) const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
pub(crate) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(crate) const UPLOAD_LIMIT: HeaderName = HeaderName::from_static("upload-limit");
/// What the body of a `PATCH` is.
const PARTIAL: &str = "application/partial-upload";
/// Bytes sent at a time.
const PIECE: usize = 64 << 10;

/// A blob in a path: `{sha256}`.
pub(super) struct AtBlob(Name);

impl FromRequestParts<Arc<App>> for AtBlob {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let names = at::names(parts, app).await?;
        let name = names.get("sha256").and_then(|text| Name::parse(text));
        name.map(Self)
            .ok_or_else(|| Problem::bad("a blob's name is its SHA-256: 64 hexadecimal digits in lower case"))
    }
}

impl Home {
    fn blob(&self, name: Name) -> Key {
        (self.user.clone(), name)
    }
}

/// Uploads a blob, or its beginning (`Upload-Complete: ?0` with `Upload-Length`). Answers once it is on disk; a body that
/// breaks off is kept as far as it came, and `PATCH` goes on. What is there already is not sent again.
#[utoipa::path(put, path = "/v1/users/{user}/blobs/{sha256}", tag = "blobs",
    params(("user" = String, Path), ("sha256" = String, Path),
        ("Upload-Complete" = Option<String>, Header, description = "`?0`: more follows"),
        ("Upload-Length" = Option<u64>, Header, description = "bytes of the whole")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "any type; it is kept"),
    responses((status = 200, description = "it was there already", body = Item),
        (status = 201, description = "it is whole and on disk, or its beginning is (`Upload-Complete`)", body = Item),
        (status = 409, description = "another call took over", body = Problem),
        (status = 411, description = "the length is not declared", body = Problem),
        (status = 413, description = "over `limits.blob_bytes`", body = Problem),
        (status = 422, description = "the content has another hash: it was dropped", body = Problem),
        (status = 507, description = "the user or the disk has no room", body = Problem),
        (status = "default", body = Problem)))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    home: Home,
    AtBlob(name): AtBlob,
    request: Request,
) -> Result<Response, Problem> {
    home.writable()?;
    let (parts, body) = request.into_parts();
    let said = Said::read(&parts.headers, body.size_hint().exact())?;
    let (total, kind) = (said.total()?, kind(&parts.headers)?);
    let most = app.config.limits.blob_bytes;
    if total > most {
        let text = format!("a blob has at most {most} bytes, and this has {total}");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text));
    }
    let (step, complete) = (Step::Begin { total, kind }, said.complete.unwrap_or(true));
    upload(&app, &home, name, step, complete, body).await
}

/// Goes on with an upload at `Upload-Offset`; with `Upload-Complete: ?1` to its end.
#[utoipa::path(patch, path = "/v1/users/{user}/blobs/{sha256}", tag = "blobs",
    params(("user" = String, Path), ("sha256" = String, Path),
        ("Upload-Offset" = u64, Header), ("Upload-Complete" = String, Header, description = "`?1`: to the end")),
    request_body(content = Vec<u8>, content_type = "application/partial-upload"),
    responses((status = 201, description = "it is whole and on disk", body = Item),
        (status = 204, description = "it is on disk as far as `Upload-Offset`"),
        (status = 404, description = "no upload is under way: `PUT` begins one", body = Problem),
        (status = 409, description = "the offset is another one: `expected-offset` says which", body = Problem),
        (status = 415, description = "the body is no `application/partial-upload`", body = Problem),
        (status = 422, description = "the content has another hash: it was dropped", body = Problem),
        (status = "default", body = Problem)))]
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    home: Home,
    AtBlob(name): AtBlob,
    request: Request,
) -> Result<Response, Problem> {
    home.writable()?;
    let (parts, body) = request.into_parts();
    if parts.headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != PARTIAL) {
        let text = format!("the body of a PATCH here is {PARTIAL}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text));
    }
    let said = Said::read(&parts.headers, body.size_hint().exact())?;
    let (Some(offset), Some(complete)) = (said.offset, said.complete) else {
        return Err(Problem::bad(
            "say where the body belongs in upload-offset, and in upload-complete whether it ends there",
        ));
    };
    upload(&app, &home, name, Step::GoOn { offset }, complete, body).await
}

/// What a call does to an upload.
enum Step {
    Begin { total: u64, kind: String },
    GoOn { offset: u64 },
}

/// Takes in a body as the next step of an upload.
async fn upload(
    app: &Arc<App>,
    home: &Home,
    name: Name,
    step: Step,
    complete: bool,
    body: Body,
) -> Result<Response, Problem> {
    detached(app, home, name, move |app, home, place| async move {
        let shelf = &home.open.blobs;
        let upload = match (step, shelf.find(&place.key)?) {
            (Step::Begin { .. }, Some(Found::Whole(blob))) => {
                let blob = shelf.renew(&place.key, blob).await?;
                return Ok(whole(&app, StatusCode::OK, &place, &blob));
            }
            (Step::Begin { total, kind }, _) => {
                let begun = shelf.begin(&place, total, kind).await?;
                begun.map_err(|denial| denied(&app.config.limits, &denial))?
            }
            (Step::GoOn { offset }, Some(Found::Part(upload))) if offset == upload.offset => upload,
            (Step::GoOn { offset }, Some(Found::Part(upload))) => {
                return Err(mismatch(upload.offset, offset));
            }
            // The answer to its last piece was lost.
            (Step::GoOn { offset }, Some(Found::Whole(blob))) if offset == blob.bytes => {
                return Ok(whole(&app, StatusCode::CREATED, &place, &blob));
            }
            (Step::GoOn { offset }, Some(Found::Whole(blob))) => return Err(mismatch(blob.bytes, offset)),
            (Step::GoOn { .. }, None) => return Err(Problem::missing("upload: begin one with PUT")),
        };
        take(&app, &home, &place, upload, complete, body).await
    })
    .await
}

/// Works on a blob in a task of its own: what was received is put in order although the caller is gone.
async fn detached<F>(
    app: &Arc<App>,
    home: &Home,
    name: Name,
    work: impl FnOnce(Arc<App>, Home, Place) -> F + Send + 'static,
) -> Result<Response, Problem>
where
    F: Future<Output = Result<Response, Problem>> + Send + 'static,
{
    let shelf = &home.open.blobs;
    let Some(transfer) = shelf.transfer() else {
        return Err(Problem::unavailable("busy", "too many uploads at once: try again in a moment"));
    };
    let place = shelf.enter(&home.blob(name)).await?;
    let (app, home) = (app.clone(), home.clone());
    let running = app.tasks.clone().spawn(async move {
        let _transfer = transfer;
        work(app, home, place).await
    });
    running.await.map_err(|error| {
        tracing::error!(event = "request_panicked", %error);
        let detail = "the request failed inside the server; its log says more";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "bug", detail)
    })?
}

/// Takes in a body, and answers how far it came.
async fn take(
    app: &Arc<App>,
    home: &Home,
    place: &Place,
    upload: Upload,
    complete: bool,
    body: Body,
) -> Result<Response, Problem> {
    let (begun, total) = (upload.offset, upload.bytes);
    let body = body.into_data_stream();
    let is_welcome = || home.still_welcome(app).is_ok();
    let received = home.open.blobs.receive(place, upload, body, &app.draining, is_welcome).await;
    if let Err(problem) = home.still_welcome(app) {
        if problem.code() == "gone" {
            // The erasure may have been through here before the last of it was written.
            home.open.blobs.remove(place).await?;
        }
        return Err(problem);
    }
    match received? {
        Received::Whole(blob) => Ok(whole(app, StatusCode::CREATED, place, &blob)),
        Received::Part(offset) if complete => Err(Problem::bad(format!(
            "upload-complete is ?1, but {offset} of {total} bytes are here: go on there with PATCH"
        ))),
        Received::Part(offset) => {
            let status = if begun == 0 { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
            Ok((status, upload_headers(app, offset, total, false)).into_response())
        }
        Received::Broken(offset) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "upload_broken",
            format!("the body broke off: {offset} of {total} bytes are here; go on there with PATCH"),
        )),
        Received::TooLong(offset) => Err(Problem::bad(format!(
            "there is more than the {total} bytes that were declared; {offset} bytes are kept"
        ))),
        Received::Unwelcome => {
            Err(Problem::forbidden("the upload was dropped: its caller was not welcome any more"))
        }
        Received::Wrong(found) => {
            let text = format!("the content's SHA-256 is {found}: the upload was dropped, begin anew");
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "hash_mismatch", text))
        }
    }
}

/// Tells how far an upload is (204), or of the blob that it became (200).
#[utoipa::path(head, path = "/v1/users/{user}/blobs/{sha256}", tag = "blobs",
    params(("user" = String, Path), ("sha256" = String, Path)),
    responses((status = 200, description = "it is whole"),
        (status = 204, description = "it is on disk as far as `Upload-Offset`: a call that was uploading is ended"),
        (status = 404, description = "there is neither a blob nor an upload"),
        (status = "default", body = Problem)))]
pub(super) async fn head(
    State(app): State<Arc<App>>,
    home: Home,
    AtBlob(name): AtBlob,
) -> Result<Response, Problem> {
    let (shelf, key) = (&home.open.blobs, home.blob(name));
    let mut found = shelf.find(&key)?;
    if matches!(found, Some(Found::Part(_))) && home.writable().is_ok() {
        // Whoever asks wants to go on: what is told must not move any more.
        let _place = shelf.enter(&key).await?;
        found = shelf.find(&key)?;
    }
    match found {
        Some(Found::Whole(blob)) => {
            let mut headers = content_headers(name, &blob);
            headers.extend(upload_headers(&app, blob.bytes, blob.bytes, true));
            headers.insert(header::CONTENT_LENGTH, blob.bytes.into());
            Ok((StatusCode::OK, headers).into_response())
        }
        Some(Found::Part(upload)) => {
            let mut headers = upload_headers(&app, upload.offset, upload.bytes, false);
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok((StatusCode::NO_CONTENT, headers).into_response())
        }
        None => Err(Problem::missing("blob")),
    }
}

/// Gives out a blob, or a range of it.
#[utoipa::path(get, path = "/v1/users/{user}/blobs/{sha256}", tag = "blobs",
    params(("user" = String, Path), ("sha256" = String, Path),
        ("Range" = Option<String>, Header, description = "one range of bytes"),
        ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 206, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 304, description = "the caller has it"),
        (status = 404, description = "there is no such blob", body = Problem),
        (status = 416, description = "it is not that long", body = Problem),
        (status = "default", body = Problem)))]
pub(super) async fn get(home: Home, AtBlob(name): AtBlob, headers: HeaderMap) -> Result<Response, Problem> {
    let (shelf, key) = (&home.open.blobs, home.blob(name));
    let blob = match shelf.find(&key)? {
        Some(Found::Whole(blob)) => blob,
        Some(Found::Part(_)) => return Err(Problem::missing("blob: its upload is not finished")),
        None => return Err(Problem::missing("blob")),
    };
    let mut answer = content_headers(name, &blob);
    let tag = format!("\"{name}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| {
        known.split(',').any(|one| matches!(one.trim(), "*") || one.trim().trim_start_matches("W/") == tag)
    }) {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    let same = headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == tag.as_bytes());
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).filter(|_| same);
    let (from, to) = match asked.map_or(Asked::All, |range| Asked::read(range, blob.bytes)) {
        Asked::All => (0, blob.bytes),
        Asked::Part(from, to) => (from, to),
        Asked::Beyond => {
            let text = format!("the blob has {} bytes", blob.bytes);
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", text);
            let mut response = problem.into_response();
            if let Ok(range) = HeaderValue::from_str(&format!("bytes */{}", blob.bytes)) {
                response.headers_mut().insert(header::CONTENT_RANGE, range);
            }
            return Ok(response);
        }
    };
    let gone = |_| Problem::missing("blob");
    let mut file = tokio::fs::File::open(shelf.path(&key)).await.map_err(gone)?;
    file.seek(std::io::SeekFrom::Start(from)).await.map_err(gone)?;
    answer.insert(header::CONTENT_LENGTH, (to - from).into());
    let mut status = StatusCode::OK;
    if (from, to) != (0, blob.bytes) {
        status = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {from}-{}/{}", to - 1, blob.bytes);
        answer.extend(HeaderValue::from_str(&range).ok().map(|range| (header::CONTENT_RANGE, range)));
    }
    shelf.metrics().blobs.sent(to - from);
    let pieces = tokio_util::io::ReaderStream::with_capacity(file.take(to - from), PIECE);
    Ok((status, answer, Body::from_stream(pieces)).into_response())
}

/// Deletes a blob that no document refers to, or ends an upload.
#[utoipa::path(delete, path = "/v1/users/{user}/blobs/{sha256}", tag = "blobs",
    params(("user" = String, Path), ("sha256" = String, Path)),
    responses((status = 204, description = "it is gone"),
        (status = 404, description = "there is neither a blob nor an upload", body = Problem),
        (status = 409, description = "documents refer to it: `referrers` names some", body = Problem),
        (status = "default", body = Problem)))]
pub(super) async fn delete(home: Home, AtBlob(name): AtBlob) -> Result<StatusCode, Problem> {
    home.writable()?;
    let (shelf, key) = (&home.open.blobs, home.blob(name));
    let place = shelf.enter(&key).await?;
    match shelf.find(&key)? {
        None => return Err(Problem::missing("blob")),
        Some(Found::Part(_)) => shelf.remove(&place).await?,
        Some(Found::Whole(blob)) => {
            let look = shelf.look_at(&key).await;
            let referrers = match remove_unreferred(&home.open, &place, &look, &blob, TOLD).await? {
                Removal::Removed => return Ok(StatusCode::NO_CONTENT),
                Removal::Referred(referrers) => referrers,
                // Its document is not known here; it is on its way to the disk.
                Removal::Mentioned => Vec::new(),
            };
            let names: Vec<&str> = referrers.iter().map(|name| name.as_str()).collect();
            let text =
                "documents refer to this blob: it is collected some time after the last of them does not";
            let problem = Problem::new(StatusCode::CONFLICT, "referenced", text);
            return Err(problem.with("referrers", json!(names)));
        }
    }
    Ok(StatusCode::NO_CONTENT)
}
