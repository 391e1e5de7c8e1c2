//! How calls on blobs are answered: headers, and problems with words that say what to do.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_LIMIT, UPLOAD_OFFSET, request::BYTES};
use crate::{
    api::problem::Problem,
    app::App,
    blobs::{Blob, Name, Place, Trouble, mentions::FORM, upload::Denial},
    config::Limits,
};

/// A blob may be anything, an HTML page too: it runs nowhere.
const POLICY: &str = "default-src 'none'; sandbox; frame-ancestors 'none'";

/// A blob that is whole.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Blob)]
pub(in crate::api) struct Item {
    /// Its name: the SHA-256 of its content, in hexadecimal digits.
    sha256: String,
    /// What the `url` of a file part says to refer to it.
    url: String,
    bytes: u64,
    content_type: String,
}

impl Item {
    fn new(name: Name, blob: &Blob) -> Self {
        let (sha256, url) = (name.to_string(), format!("{FORM}{name}"));
        Self { sha256, url, bytes: blob.bytes, content_type: blob.kind.clone() }
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        let text = trouble.to_string();
        match trouble {
            Trouble::TakenOver => Self::new(StatusCode::CONFLICT, "upload_taken_over", text),
            Trouble::Busy => Self::unavailable("busy", text),
            Trouble::Closed => Self::unavailable("restarting", text),
            Trouble::Store(error) => error.into(),
            Trouble::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => no_space(),
            Trouble::Io(_) => {
                tracing::error!(event = "blob_failed", text);
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store_failed", text)
            }
        }
    }
}

fn no_space() -> Problem {
    let text = "the server's disk has no room for this: try again when its operator has made some";
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, "no_space", text)
}

pub(super) fn mismatch(expected: u64, provided: u64) -> Problem {
    let text = format!("{expected} bytes are on disk: go on there, not at {provided}");
    Problem::new(StatusCode::CONFLICT, "mismatching_upload_offset", text)
        .with("expected-offset", json!(expected))
        .with("provided-offset", json!(provided))
}

pub(in crate::api) fn denied(limits: &Limits, denial: &Denial) -> Problem {
    match denial {
        Denial::NoSpace => no_space(),
        Denial::Full(left) => {
            let text = format!(
                "this user's blobs may take {} bytes, and {left} are left: delete some first",
                limits.blob_user_bytes
            );
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "user_full", text)
        }
        Denial::TooMany => {
            let text = format!("this user has {} blobs, as many as there may be", limits.blobs_per_user);
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "user_full", text)
        }
        Denial::Unfinished => {
            let text = format!(
                "{} uploads of this user are unfinished, as many as may be: finish or delete one first",
                limits.blob_uploads
            );
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_uploads", text)
        }
    }
}

pub(super) fn upload_headers(app: &App, offset: u64, total: u64, complete: bool) -> HeaderMap {
    let limits = &app.config.limits;
    let limit = format!("max-size={}, max-age={}", limits.blob_bytes, limits.blob_upload_ms / 1_000);
    let mut headers = HeaderMap::new();
    headers.insert(UPLOAD_OFFSET, offset.into());
    headers.insert(UPLOAD_LENGTH, total.into());
    headers.insert(UPLOAD_COMPLETE, HeaderValue::from_static(if complete { "?1" } else { "?0" }));
    if let Ok(limit) = HeaderValue::from_str(&limit) {
        headers.insert(UPLOAD_LIMIT, limit);
    }
    headers
}

/// Tells of a blob that is whole.
pub(super) fn whole(app: &App, status: StatusCode, place: &Place, blob: &Blob) -> Response {
    let (user, name) = &place.key;
    let mut headers = upload_headers(app, blob.bytes, blob.bytes, true);
    headers.insert(header::ETAG, etag(*name));
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/users/{user}/blobs/{name}")) {
        headers.insert(header::LOCATION, location);
    }
    (status, headers, Json(Item::new(*name, blob))).into_response()
}

fn etag(name: Name) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{name}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

pub(super) fn content_headers(name: Name, blob: &Blob) -> HeaderMap {
    let kind = HeaderValue::from_str(&blob.kind).unwrap_or(HeaderValue::from_static(BYTES));
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, kind),
        (header::ETAG, etag(name)),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable")),
    ])
}
