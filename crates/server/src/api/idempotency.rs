//! `Idempotency-Key`: a write that is tried again answers what it answered before, for a day.
//!
//! A row `idem/{user}/{hash of the key}` is there before the write begins, with a hash of the request and the id that it
//! gives to what it makes; the answer is added when it is known. So a server that dies in between makes the same thing
//! once more, not another one. The write goes on where its caller leaves: what it answers is kept for the next try.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::request::Parts,
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    home::{Drawn, Home},
    kept,
    problem::Problem,
};
use crate::{app::App, clock::now_ms};

const TABLE: &str = "idem";
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key: visible ASCII.
const KEY_BYTES: usize = 255;
/// How long an answer is kept.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The longest body that is kept; of a longer one its place is kept.
const BODY_BYTES: usize = 32 << 10;
/// The longest body of a request with a key: that of any request of the API.
const REQUEST_BYTES: usize = 2 << 20;
/// The longest answer of a write.
const ANSWER_BYTES: usize = 64 << 20;
/// Writes with keys that are under way at once.
const UNDER_WAY: usize = 4_096;

/// What is kept of a write.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The hash of the request.
    asked: String,
    /// The id that it gives to what it makes.
    drawn: String,
    answer: Option<Answer>,
}

/// What it answered; the body follows in the row.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    status: u16,
    kind: Option<String>,
    etag: Option<String>,
    /// Where to read what is too long to be kept.
    location: Option<String>,
}

/// A key that is being answered; the next one with it comes after.
struct Turn {
    app: Arc<App>,
    name: String,
}

impl Turn {
    fn take(app: &Arc<App>, name: String) -> Result<Self, Problem> {
        let mut under_way = app.keyed.lock();
        if under_way.len() >= UNDER_WAY {
            return Err(Problem::unavailable("busy", "too many writes are under way: try again in a moment"));
        }
        if !under_way.insert(name.clone()) {
            let detail = "a request with this key is being answered: try again in a moment";
            return Err(Problem::new(StatusCode::CONFLICT, "idempotency_in_progress", detail));
        }
        Ok(Self { app: app.clone(), name })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.app.keyed.lock().remove(&self.name);
    }
}

/// Answers a write with a key once, and others as they are.
pub(crate) async fn once(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    // Erasing again gives the same receipt, and leaves no row behind.
    let erases = request.uri().path().ends_with("/erase");
    if reads || erases || !request.headers().contains_key(KEY) {
        return next.run(request).await;
    }
    answer(&app, request, next).await.unwrap_or_else(Problem::into_response)
}

async fn answer(app: &Arc<App>, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let home = Home::from_request_parts(&mut parts, app).await?;
    home.writable()?;
    let key = kept::hash([read_key(&parts.headers)?]);
    let body = to_bytes(body, REQUEST_BYTES).await.map_err(|_| {
        let detail = format!("the body broke off or is over {REQUEST_BYTES} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    })?;
    let asked = hash_of(&parts, &body);
    let turn = Turn::take(app, format!("{}/{key}", home.user))?;
    let drawn = match stored(&home, &key)? {
        Some((kept, _)) if kept.asked != asked => {
            let detail = "this key was used for another request: draw a new one for each";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail));
        }
        Some((Kept { answer: Some(answer), .. }, body)) => return Ok(replay(answer, body)),
        Some((kept, _)) => kept.drawn,
        None => {
            let drawn = home.fresh_id();
            let kept = Kept { asked: asked.clone(), drawn: drawn.clone(), answer: None };
            store(&home, &key, &kept, &[]).await?;
            drawn
        }
    };
    let path = parts.uri.path().to_owned();
    parts.extensions.insert(Drawn(drawn.clone()));
    let request = Request::from_parts(parts, Body::from(body));
    let running = app.tasks.spawn(async move {
        let _turn = turn;
        let response = next.run(request).await;
        keep(&home, &key, Kept { asked, drawn, answer: None }, &path, response).await
    });
    running.await.map_err(|error| {
        tracing::error!(event = "request_panicked", %error);
        let detail = "the request failed inside the server; its log says more";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "bug", detail)
    })?
}

fn read_key(headers: &HeaderMap) -> Result<&[u8], Problem> {
    let mut keys = headers.get_all(KEY).iter().map(HeaderValue::as_bytes);
    match (keys.next(), keys.next()) {
        (Some(key), None) if (1..=KEY_BYTES).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic) => {
            Ok(key)
        }
        _ => Err(Problem::bad(format!(
            "an Idempotency-Key is one text of 1 to {KEY_BYTES} visible characters"
        ))),
    }
}

/// Returns the hash of what is asked for: the condition is part of it.
fn hash_of(parts: &Parts, body: &Bytes) -> String {
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let value = |name| parts.headers.get(name).map_or(&[][..], HeaderValue::as_bytes);
    let (only, unless) = (value(header::IF_MATCH), value(header::IF_NONE_MATCH));
    let mut said = vec![parts.method.as_str().as_bytes(), target.as_bytes(), only, body];
    // Last, and only where it is there: keys from before it was told are still known.
    said.extend(Some(unless).filter(|unless| !unless.is_empty()));
    kept::hash(said)
}

fn stored(home: &Home, key: &str) -> Result<Option<(Kept, Bytes)>, Problem> {
    let Some((_, content)) = home.kept(TABLE, key)? else { return Ok(None) };
    let end = content.iter().position(|byte| *byte == b'\n').unwrap_or(content.len());
    // One that cannot be read is as good as none: the write is made again.
    let kept = serde_json::from_slice(&content[..end]).ok();
    Ok(kept.map(|kept| (kept, content.slice((end + 1).min(content.len())..))))
}

async fn store(home: &Home, key: &str, kept: &Kept, body: &[u8]) -> Result<(), Problem> {
    let head = serde_json::to_vec(kept).unwrap_or_default();
    home.keep(TABLE, key, now_ms() + DAY_MS, &[&head, &b"\n"[..], body].concat()).await
}

/// Keeps an answer that would be the same if the write were tried again, and hands it on.
async fn keep(
    home: &Home,
    key: &str,
    mut kept: Kept,
    path: &str,
    response: Response,
) -> Result<Response, Problem> {
    let status = response.status();
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    if status.is_server_error() || passing.contains(&status) {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, ANSWER_BYTES).await.map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "bug", format!("the answer broke off: {error}"))
    })?;
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let whole = body.len() <= BODY_BYTES;
    kept.answer = Some(Answer {
        status: status.as_u16(),
        kind: text(header::CONTENT_TYPE),
        etag: text(header::ETAG),
        location: (!whole).then(|| location(path, status, &body)),
    });
    // What was written is written: where its answer cannot be kept, the next try makes the same once more.
    if let Err(problem) = store(home, key, &kept, if whole { &body } else { &[] }).await {
        tracing::warn!(event = "answer_not_kept", ?problem);
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Cuts the answer out of what is kept of a write: that it was made stays known, what it said does not. `None` where it
/// says none of these things, or nothing any more.
pub(crate) fn cut(row: &Bytes, says: &[&str]) -> Option<Bytes> {
    let (head, body) = kept::content(row)?.split_at(kept_head(kept::content(row)?));
    let text = String::from_utf8_lossy(body);
    if body.len() <= 1 || !(says.is_empty() || says.iter().any(|word| text.contains(word))) {
        return None;
    }
    let mut kept: Kept = serde_json::from_slice(head).ok()?;
    if let Some(answer) = &mut kept.answer {
        (answer.kind, answer.etag) = (None, None);
    }
    let head = serde_json::to_vec(&kept).ok()?;
    Some(kept::with_content(row, &[&head, &b"\n"[..]].concat()))
}

fn kept_head(content: &[u8]) -> usize {
    content.iter().position(|byte| *byte == b'\n').unwrap_or(content.len())
}

/// Says where what was written can be read.
fn location(path: &str, status: StatusCode, body: &[u8]) -> String {
    let made: Option<Value> = serde_json::from_slice(body).ok().filter(|_| status == StatusCode::CREATED);
    let Some(id) = made.as_ref().and_then(|made| made["id"].as_str()) else { return path.to_owned() };
    // Another wording stands among the turns, not below the one it replaces.
    let beside = path.strip_suffix("/alternatives").and_then(|path| path.rsplit_once('/'));
    format!("{}/{id}", beside.map_or(path, |(collection, _)| collection))
}

fn replay(answer: Answer, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    let told = [
        (header::CONTENT_TYPE, answer.kind.filter(|_| answer.location.is_none())),
        (header::ETAG, answer.etag),
        (header::LOCATION, answer.location),
    ];
    for (name, value) in told {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_to_be_kept_has_a_place() {
        let place = |path, status| location(path, status, br#"{"id":"m2"}"#);
        assert_eq!(place("/c/1/messages", StatusCode::CREATED), "/c/1/messages/m2");
        assert_eq!(place("/c/1/messages/m1/alternatives", StatusCode::CREATED), "/c/1/messages/m2");
        assert_eq!(place("/c/1/messages/m1/feedback", StatusCode::OK), "/c/1/messages/m1/feedback");
    }

    #[test]
    fn an_answer_that_says_what_was_erased_is_cut_and_the_write_stays_known() {
        let answer =
            Answer { status: 201, kind: Some("application/json".to_owned()), etag: None, location: None };
        let kept = Kept { asked: "a".to_owned(), drawn: "d".to_owned(), answer: Some(answer) };
        let head = serde_json::to_string(&kept).expect("JSON");
        let row = Bytes::from(format!("1700000000000{head}\n{{\"id\":\"m1\",\"text\":\"a secret\"}}"));
        assert_eq!(cut(&row, &["m2"]), None);
        for says in [&["m2", "m1"][..], &[]] {
            let cut_row = cut(&row, says).expect("it says so");
            assert!(
                cut_row.starts_with(b"1700000000000")
                    && !String::from_utf8_lossy(&cut_row).contains("secret")
            );
            let content = kept::content(&cut_row).expect("content");
            let left: Kept = serde_json::from_slice(&content[..kept_head(content)]).expect("reads");
            assert_eq!((left.drawn.as_str(), left.answer.map(|answer| answer.status)), ("d", Some(201)));
            assert_eq!(cut(&cut_row, says), None, "nothing is left to cut");
        }
    }

    #[test]
    fn a_key_is_one_visible_text() {
        let of = |keys: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for key in keys {
                headers.append(KEY, HeaderValue::from_static(key));
            }
            read_key(&headers).is_ok()
        };
        assert!(of(&["a-b_c:1"]));
        for bad in [&[""][..], &["a b"], &["a", "a"], &[]] {
            assert!(!of(bad), "{bad:?}");
        }
    }
}
