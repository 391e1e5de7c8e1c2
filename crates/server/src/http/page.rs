//! The pages at `/` (the demo) and `/docs` (the HTTP API): what `make web` built, inside the binary.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::error::Refusal;
use crate::api;

/// The built page. In development builds it is read from the folder at each request.
#[derive(RustEmbed)]
#[folder = "../../web-demo/app/dist"]
#[allow_missing = true]
struct Files;

/// Scripts and styles are files of ours; sockets may go to another server, which the page can be told to use.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; \
                      style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
const PAGES: [&str; 2] = ["index.html", "docs.html"];
const NOT_BUILT: &str = "the page is not in this binary: run `make web`, then build the server again";

pub(super) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if api::is_api(uri.path()) {
        return api::no_such_path();
    }
    if method != Method::GET && method != Method::HEAD {
        return Refusal::not_found("there is nothing at this path").into_response();
    }
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        "docs" | "docs/" => "docs.html",
        path => path,
    };
    match Files::get(path) {
        Some(file) => answer(path, &file, &headers),
        None if PAGES.contains(&path) => (StatusCode::NOT_FOUND, NOT_BUILT).into_response(),
        None => Refusal::not_found("there is nothing at this path").into_response(),
    }
}

fn answer(path: &str, file: &EmbeddedFile, asked: &HeaderMap) -> Response {
    let hash: String = file.metadata.sha256_hash()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{hash}\"");
    // Names under assets/ hold a hash of the content; everything else is asked for anew, and is mostly the same.
    let caching = match path.starts_with("assets/") {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let kind = match file.metadata.mimetype() {
        text if text.starts_with("text/") && !text.contains("charset") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    (headers, file.data.clone().into_owned()).into_response()
}
