//! The REST calls of y-sweet's SDK: client tokens, and whole documents.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use syncline_document::record::Origin;
use syncline_protocol::names::{DocumentName, check_user};

use super::{Refusal, blocking, body, principal, reading, store};
use crate::{
    app::{App, Open},
    auth::{Claims, DocumentAccess, Grant, GrantAccess, Principal, Role, now_seconds},
    clock::now_ms,
    inspection,
};

/// How long a client token is good for if nobody says, as in y-sweet.
const VALID_SECONDS: u64 = 3_600;
/// The longest that anybody may ask for.
const MOST_SECONDS: u64 = 366 * 24 * 3_600;
/// Whom a client token names if nobody says.
const NOBODY: &str = "anonymous";
/// An update without anything in it.
const EMPTY_UPDATE: &[u8] = &[0, 0];
/// What stays as it is in a path: slashes of names do.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'@');

/// What y-sweet's client connects with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientToken {
    url: String,
    base_url: String,
    doc_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    authorization: Authorization,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Authorization {
    #[default]
    Full,
    ReadOnly,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AuthRequest {
    authorization: Authorization,
    user_id: Option<String>,
    valid_for_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NewRequest {
    doc_id: Option<String>,
}

/// Says whether edits are taken, as y-sweet does.
#[utoipa::path(get, path = "/ready", tag = "documents", responses((status = 200, body = Object)))]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Value>, Refusal> {
    app.is_ready().map_err(Refusal::not_ready)?;
    Ok(Json(json!({ "ok": true })))
}

/// Says whether the store works.
#[utoipa::path(post, path = "/check_store", tag = "documents", responses((status = 200, body = Object)))]
pub(super) async fn check_store(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    principal(&app, &headers)?;
    Ok(Json(match app.is_ready() {
        Ok(()) => json!({ "ok": true }),
        Err(reason) => json!({ "ok": false, "error": reason }),
    }))
}

/// Names a document. Documents need no making: the first edit does it.
#[utoipa::path(post, path = "/doc/new", tag = "documents", request_body = Object,
    responses((status = 200, body = Object)))]
pub(super) async fn new(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let principal = principal(&app, &headers)?;
    let request: NewRequest = read(&app, &headers, body).await?;
    let name = match request.doc_id {
        Some(name) => DocumentName::parse(&name)?,
        None => DocumentName::parse(&fresh_name(&principal))?,
    };
    if !principal.may_operate() && principal.access(&name) < DocumentAccess::Write {
        return Err(Refusal::forbidden(format!("this token may not write {name}")));
    }
    Ok(Json(json!({ "docId": name.as_str() })))
}

/// A name nobody has: in the user's own folder, unless the caller acts for others.
fn fresh_name(principal: &Principal) -> String {
    let name = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    match principal.user() {
        Some(user) if !principal.may_operate() => format!("{user}/{name}"),
        _ => name,
    }
}

/// Makes a client token for one document: `POST /doc/{id}/auth`.
#[utoipa::path(post, path = "/doc/{id}/auth", tag = "documents", params(("id" = String, Path)),
    request_body = Object, responses((status = 200, body = Object)))]
pub(super) async fn auth(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ClientToken>, Refusal> {
    let principal = principal(&app, &headers)?;
    let name = document(&uri, "/doc/", "/auth")?;
    if !principal.may_operate() && principal.access(&name) == DocumentAccess::None {
        return Err(Refusal::forbidden(format!("this token does not open {name}")));
    }
    alive(&app, &name)?;
    let request: AuthRequest = read(&app, &headers, body).await?;
    let token = match principal.claims() {
        None => None,
        Some(_) => Some(mint(&app, &principal, &name, &request)?),
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host =
        host.ok_or_else(|| Refusal::new(http::StatusCode::BAD_REQUEST, "bad_host", "send a Host header"))?;
    // Behind a proxy that ends TLS, only the proxy knows.
    let proxied = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https");
    let secure = if app.config.is_tls() || proxied { "s" } else { "" };
    let base = format!("{host}/d/{}", utf8_percent_encode(name.as_str(), PATH));
    Ok(Json(ClientToken {
        url: format!("ws{secure}://{base}/ws"),
        base_url: format!("http{secure}://{base}"),
        doc_id: name.as_str().to_owned(),
        token,
        authorization: request.authorization,
    }))
}

/// An operator mints for whom it names, as an application's server does with y-sweet; everyone else hands on no
/// more than they have, in their own name, for no longer than they may.
fn mint(
    app: &App,
    principal: &Principal,
    name: &DocumentName,
    request: &AuthRequest,
) -> Result<String, Refusal> {
    let Some(caller) = principal.claims() else { return Err(Refusal::forbidden("nobody asks")) };
    let (wanted, role, access) = match request.authorization {
        Authorization::Full => (DocumentAccess::Write, Role::Owner, GrantAccess::Write),
        Authorization::ReadOnly => (DocumentAccess::Read, Role::Reader, GrantAccess::Read),
    };
    if let Some(user) = &request.user_id {
        check_user(user)?;
    }
    let operator = principal.may_operate();
    if !operator {
        if principal.access(name) < wanted {
            return Err(Refusal::forbidden(format!("this token does not allow that on {name}")));
        }
        if request.user_id.as_ref().is_some_and(|user| *user != caller.sub) {
            return Err(Refusal::forbidden("only a token of role admin makes tokens for other users"));
        }
    }
    let sub = match (&request.user_id, operator) {
        (Some(user), _) => user.clone(),
        (None, true) => NOBODY.to_owned(),
        (None, false) => caller.sub.clone(),
    };
    // A token that is bound to a device stays so; an operator's device is not that of the user it mints for.
    let device = caller.device.clone().filter(|_| sub == caller.sub);
    let now = now_seconds();
    let asked = now + request.valid_for_seconds.unwrap_or(VALID_SECONDS).clamp(1, MOST_SECONDS);
    let claims = Claims {
        sub,
        device,
        role,
        grants: vec![Grant { prefix: name.as_str().to_owned(), access }],
        only: Some(name.as_str().to_owned()),
        exp: if operator { asked } else { asked.min(caller.exp) },
        iat: now,
        nbf: None,
    };
    app.auth
        .mint(&claims)
        .map_err(|error| Refusal::new(http::StatusCode::INTERNAL_SERVER_ERROR, "bug", error.to_string()))
}

/// Gives a whole document, as far as it is on disk: `GET /d/{id}/as-update`.
#[utoipa::path(get, path = "/d/{id}/as-update", tag = "documents", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>)))]
pub(super) async fn as_update(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let principal = principal(&app, &headers)?;
    let name = document(&uri, "/d/", "/as-update")?;
    if principal.access(&name) < DocumentAccess::Read {
        return Err(Refusal::forbidden(format!("this token may not read {name}")));
    }
    alive(&app, &name)?;
    let store = store(&app)?;
    let place = reading(&app, &name)?;
    let state = blocking(move || (inspection::state(&*store, &name), place)).await?.0?;
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, kind)], state.unwrap_or(Bytes::from_static(EMPTY_UPDATE))).into_response())
}

/// Takes an update; answers once it is on disk: `POST /d/{id}/update`.
#[utoipa::path(post, path = "/d/{id}/update", tag = "documents", params(("id" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = Object)))]
pub(super) async fn update(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let principal = principal(&app, &headers)?;
    let name = document(&uri, "/d/", "/update")?;
    if principal.access(&name) < DocumentAccess::Write {
        return Err(Refusal::forbidden(format!("this token may not write {name}")));
    }
    app.is_ready().map_err(Refusal::not_ready)?;
    let Some(engine) = app.engine() else {
        return Err(Refusal::not_ready("the store is being opened".to_owned()));
    };
    alive(&app, &name)?;
    // First before the body is read, so that a full queue is not waited for with the body in memory.
    wait_for_room(&app, engine).await?;
    let body = body::read(&app, &headers, body, app.config.limits.message_bytes).await?;
    wait_for_room(&app, engine).await?;
    let origin =
        Origin { user: principal.user().cloned(), device: principal.device().cloned(), at_ms: now_ms() };
    engine.registry.submit(&name, body, origin).await?;
    Ok(Json(json!({ "ok": true })))
}

/// Refuses documents that were erased for good.
fn alive(app: &App, name: &DocumentName) -> Result<(), Refusal> {
    match app.engine() {
        Some(open) => Ok(open.registry.alive(name)?),
        None => Ok(()),
    }
}

/// Waits until the journal's queue has room, as sockets do.
async fn wait_for_room(app: &App, engine: &Open) -> Result<(), Refusal> {
    if engine.registry.engine().journal.has_room() {
        return Ok(());
    }
    // Half of the request's time: the other half is for the edit itself.
    let limit = Duration::from_millis(app.config.limits.http_ms / 2);
    let full = |_| Refusal::busy("too many edits are on their way to the disk: try again in a while");
    tokio::time::timeout(limit, engine.room()).await.map_err(full)
}

/// Reads a JSON body; none is like an empty object.
async fn read<T: Default + DeserializeOwned>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Refusal> {
    let body = body::read(app, headers, body, app.config.limits.http_json_bytes).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&body).map_err(|error| body::bad_body(format!("the body: {error}")))
}

/// Takes a document's name out of a path; it may hold slashes, raw or escaped.
fn document(uri: &Uri, before: &str, after: &str) -> Result<DocumentName, Refusal> {
    let raw = uri.path().strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    let raw = raw.ok_or_else(|| Refusal::not_found("there is nothing at this path"))?;
    let name = percent_decode_str(raw).decode_utf8().map_err(|_| {
        Refusal::new(http::StatusCode::BAD_REQUEST, "bad_name", "a document name is UTF-8, percent-encoded")
    })?;
    Ok(DocumentName::parse(&name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_slashes_are_found_in_paths() {
        let name = |path: &'static str| {
            let uri = Uri::from_static(path);
            document(&uri, "/d/", "/as-update").map(|name| name.to_string()).ok()
        };
        assert_eq!(name("/d/doc/as-update?z=1").as_deref(), Some("doc"));
        assert_eq!(name("/d/ada/c/1/as-update").as_deref(), Some("ada/c/1"));
        assert_eq!(name("/d/ada%2Fc%20d/as-update").as_deref(), Some("ada/c d"));
        assert_eq!(name("/d/as-update/as-update").as_deref(), Some("as-update"));
        assert_eq!(name("/d/a%2F..%2Fb/as-update"), None);
        assert_eq!(name("/d/%FF/as-update"), None);
        assert_eq!(name("/d/doc/update"), None);
    }

    #[test]
    fn a_new_document_lies_in_the_folder_of_who_asks() {
        assert!(!fresh_name(&Principal::anyone()).contains('/'));
        let claims = |role| Claims {
            sub: "ada".into(),
            device: None,
            role,
            grants: vec![],
            only: None,
            exp: 1,
            iat: 0,
            nbf: None,
        };
        assert!(fresh_name(&Principal::of(claims(Role::Owner))).starts_with("ada/"));
        assert!(!fresh_name(&Principal::of(claims(Role::Admin))).contains('/'));
    }
}
