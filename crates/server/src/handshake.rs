//! The WebSocket handshake (RFC 6455) behind hyper: which path, which origin, which token, which subprotocol.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use syncline_protocol::names::{DocumentName, check_device};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{app::App, attachments::Visitor, config::Config, http::origin::check_host, outbound::Closing};

/// The subprotocol of clients that know this server.
const STATUS_PROTOCOL: &str = "syncline.v1";
/// The prefix of the subprotocol that bears a token.
const BEARER_PROTOCOL: &str = "bearer.";

/// Why a request is not upgraded. The text is the response's body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) reason: String,
}

fn reject(status: StatusCode, code: &'static str, reason: impl Into<String>) -> Rejection {
    Rejection { status, code, reason: reason.into() }
}

/// Which socket a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Path {
    /// `/sync`: documents are named in frames.
    Any,
    /// `/sync/{document}`.
    Named(DocumentName),
    /// `/d/{doc}/ws/{doc}`.
    Ysweet(DocumentName),
}

/// Says whether a request is for a socket, whatever comes of it.
pub(crate) fn is_socket_path(path: &str) -> bool {
    path == "/sync" || path.starts_with("/sync/") || (path.starts_with("/d/") && path.contains("/ws/"))
}

/// Judges an upgrade request: the response to send, and who comes.
///
/// # Errors
/// [`Rejection`], before the 101.
pub(crate) fn judge<B>(
    app: &App,
    request: &Request<B>,
    address: IpAddr,
) -> Result<(Response<()>, Visitor), Rejection> {
    let path = parse_path(request.uri().path())?;
    let key = upgrade_key(request)?;
    check_origin(&app.config, request.headers())?;
    check_host(&app.config, request.uri(), request.headers())?;
    let query = Query::parse(request.uri());
    let offered = protocols(request.headers());
    let bearer = offered.iter().find_map(|protocol| protocol.strip_prefix(BEARER_PROTOCOL));
    let token = authorization(request.headers()).or(bearer).or(query.token.as_deref());
    let principal = app.principal(token);
    let (document, ysweet) = match path {
        Path::Any => (None, false),
        Path::Named(name) => (Some(name), false),
        Path::Ysweet(name) => (Some(name), true),
    };
    let wants_status = query.status || offered.contains(&STATUS_PROTOCOL);
    let visitor = Visitor {
        document,
        ysweet,
        principal,
        device: query.device,
        device_name: query.device_name,
        device_kind: query.device_kind,
        wants_status,
        address,
    };
    if let Some(name) = &visitor.document
        && let Err(closing) = admission(app, &visitor, name)
    {
        if visitor.ysweet {
            let (status, code) = match closing {
                Closing::Erased(_) => (StatusCode::GONE, "gone"),
                _ => (StatusCode::UNAUTHORIZED, "unauthorized"),
            };
            return Err(reject(status, code, closing.code().1));
        }
        if !app.may_hold(address) {
            let reason = "too many refused connections from this address: wait, or send a valid token";
            return Err(reject(StatusCode::TOO_MANY_REQUESTS, "too_many_refused", reason));
        }
    }
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
    // A browser fails a connection that answers none of the subprotocols it offered.
    let chosen = offered.iter().find(|protocol| **protocol == STATUS_PROTOCOL).or(offered.first());
    if let Some(protocol) = chosen {
        response = response.header(header::SEC_WEBSOCKET_PROTOCOL, *protocol);
    }
    let response = response.body(()).map_err(|_| {
        reject(StatusCode::BAD_REQUEST, "bad_subprotocol", "the subprotocol is not a header value")
    })?;
    Ok((response, visitor))
}

/// Says whether a visitor will be let in to a document, as far as is known before the store is open.
fn admission(app: &App, visitor: &Visitor, name: &DocumentName) -> Result<(), Closing> {
    visitor.rights(app, name)?;
    match app.engine() {
        Some(open) => Ok(open.registry.alive(name)?),
        None => Ok(()),
    }
}

fn upgrade_key<B>(request: &Request<B>) -> Result<String, Rejection> {
    let has = |name: header::HeaderName, token: &str| {
        let values = request.headers().get_all(name);
        values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    if request.method() != http::Method::GET
        || !has(header::UPGRADE, "websocket")
        || !has(header::CONNECTION, "upgrade")
    {
        return Err(reject(
            StatusCode::UPGRADE_REQUIRED,
            "websocket_only",
            "this path speaks WebSocket only",
        ));
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(reject(StatusCode::UPGRADE_REQUIRED, "websocket_version", "use WebSocket version 13"));
    }
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let key = key.filter(|key| key.len() == 24);
    key.map(str::to_owned)
        .ok_or_else(|| reject(StatusCode::BAD_REQUEST, "websocket_key", "the Sec-WebSocket-Key is not one"))
}

/// An absent origin is allowed (there are no cookies to abuse); a present one must be ours or allowed.
pub(crate) fn check_origin(config: &Config, headers: &HeaderMap) -> Result<(), Rejection> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("null");
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let same = authority.is_some() && authority == host;
    let listed = config.allow_origin.iter().any(|allowed| allowed == origin);
    let local = config.open
        && authority.is_some_and(|authority| {
            let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name);
            matches!(name, "localhost" | "127.0.0.1" | "[::1]")
        });
    if origin != "null" && (same || listed || local) {
        return Ok(());
    }
    Err(reject(
        StatusCode::FORBIDDEN,
        "origin",
        "this origin is not allowed: start the server with --allow-origin",
    ))
}

fn parse_path(path: &str) -> Result<Path, Rejection> {
    let name = |encoded: &str| {
        let decoded = percent_decode_str(encoded).decode_utf8();
        let decoded = decoded.map_err(|_| {
            reject(StatusCode::BAD_REQUEST, "document_name", "the document's name is not UTF-8")
        })?;
        DocumentName::parse(&decoded)
            .map_err(|error| reject(StatusCode::BAD_REQUEST, "document_name", error.to_string()))
    };
    if path == "/sync" || path == "/sync/" {
        return Ok(Path::Any);
    }
    if let Some(document) = path.strip_prefix("/sync/") {
        return name(document).map(Path::Named);
    }
    let halves = path.strip_prefix("/d/").and_then(split_halves);
    match halves {
        Some(document) => name(document).map(Path::Ysweet),
        None => Err(reject(StatusCode::NOT_FOUND, "not_found", "connect to /sync or /sync/DOCUMENT")),
    }
}

/// Splits `{doc}/ws/{doc}` into its two equal halves: a name may hold `/ws/` itself.
fn split_halves(rest: &str) -> Option<&str> {
    const BETWEEN: &str = "/ws/";
    let half = rest.len().checked_sub(BETWEEN.len())? / 2;
    if let (Some(first), Some(other)) = (rest.get(..half), rest.get(half..))
        && other.strip_prefix(BETWEEN) == Some(first)
    {
        return Some(first);
    }
    // The halves may be encoded differently: then it is the first place where they decode to the same.
    rest.match_indices(BETWEEN).find_map(|(at, _)| {
        let (first, second) = (&rest[..at], &rest[at + BETWEEN.len()..]);
        percent_decode_str(first).eq(percent_decode_str(second)).then_some(first)
    })
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer "))
}

fn protocols(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim).collect()
}

/// What the URL says beside the document.
#[derive(Debug, Default)]
struct Query {
    token: Option<String>,
    device: Option<Arc<str>>,
    device_name: Option<Arc<str>>,
    device_kind: Option<Arc<str>>,
    status: bool,
}

impl Query {
    fn parse(uri: &Uri) -> Self {
        let mut query = Self::default();
        for pair in uri.query().unwrap_or("").split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace('+', " ");
            let Ok(value) = percent_decode_str(&value).decode_utf8() else { continue };
            match key {
                "token" => query.token = Some(value.into_owned()),
                "device" => query.device = Some(&*value).filter(|id| check_device(id).is_ok()).map(Arc::from),
                "deviceName" => query.device_name = label(&value),
                "deviceKind" => query.device_kind = label(&value),
                "status" => query.status = value == "1",
                _ => {}
            }
        }
        query
    }
}

/// A short text for people, or none.
fn label(value: &str) -> Option<Arc<str>> {
    let fits = !value.is_empty() && value.chars().count() <= 64 && !value.chars().any(char::is_control);
    fits.then(|| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> DocumentName {
        DocumentName::parse(name).expect("a name")
    }

    #[test]
    fn paths_name_documents_as_in_the_contract() {
        assert_eq!(parse_path("/sync"), Ok(Path::Any));
        assert_eq!(parse_path("/sync/a/b%20c"), Ok(Path::Named(named("a/b c"))));
        assert_eq!(parse_path("/d/a/b/ws/a/b"), Ok(Path::Ysweet(named("a/b"))));
        assert_eq!(parse_path("/d/a%2Fb/ws/a/b"), Ok(Path::Ysweet(named("a/b"))));
        assert_eq!(parse_path("/d/a/ws/b/ws/a/ws/b"), Ok(Path::Ysweet(named("a/ws/b"))));
        assert_eq!(parse_path("/d/a/ws/b").map_err(|r| r.status), Err(StatusCode::NOT_FOUND));
        assert_eq!(parse_path("/sync/a//b").map_err(|r| r.status), Err(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn origins_are_ours_or_allowed() {
        let mut config = Config { open: false, ..Config::default() };
        let from = |origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, header::HeaderValue::from_static("chat.example:443"));
            headers.insert(header::ORIGIN, origin.parse().expect("a header"));
            headers
        };
        assert_eq!(check_origin(&config, &HeaderMap::new()), Ok(()));
        assert_eq!(check_origin(&config, &from("https://chat.example:443")), Ok(()));
        for bad in ["null", "https://evil.example", "http://localhost:3000"] {
            assert!(check_origin(&config, &from(bad)).is_err(), "{bad}");
        }
        config.allow_origin = vec!["https://app.example".to_owned()];
        assert_eq!(check_origin(&config, &from("https://app.example")), Ok(()));
        config.open = true;
        assert_eq!(check_origin(&config, &from("http://localhost:3000")), Ok(()));
        assert!(check_origin(&config, &from("http://localhost.evil.example")).is_err());
    }

    #[test]
    fn a_device_outside_the_rules_is_no_device() {
        let query =
            Query::parse(&"/sync?device=a.b&deviceName=Ada%27s+phone&status=1".parse().expect("a uri"));
        assert_eq!(query.device, None);
        assert_eq!(query.device_name.as_deref(), Some("Ada's phone"));
        assert!(query.status);
    }
}
