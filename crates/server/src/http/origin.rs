//! Which web pages may use the HTTP calls. A page of another origin changes nothing and reads nothing unless it is
//! allowed; an open server on this machine cannot be reached under a name that a page's owner made up for it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header, uri::Authority};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::Refusal;
use crate::{
    api::blobs::{UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_LIMIT, UPLOAD_OFFSET},
    app::App,
    config::Config,
    handshake::{Rejection, check_origin},
};

/// How long a browser may keep what a preflight told it.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// Answers preflights and tells browsers whose pages may read the answers.
pub(super) fn cors(app: &App) -> CorsLayer {
    let config = app.config.clone();
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |_, parts| check_origin(&config, &parts.headers).is_ok()))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::RANGE,
            header::IF_RANGE,
            header::IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            UPLOAD_OFFSET,
            UPLOAD_COMPLETE,
            UPLOAD_LENGTH,
        ])
        .expose_headers([
            header::RETRY_AFTER,
            header::ETAG,
            header::DATE,
            header::LOCATION,
            HeaderName::from_static("idempotency-replayed"),
            header::CONTENT_RANGE,
            header::ACCEPT_RANGES,
            UPLOAD_OFFSET,
            UPLOAD_COMPLETE,
            UPLOAD_LENGTH,
            UPLOAD_LIMIT,
            super::rates::POLICY,
            super::rates::STANDING,
        ])
        .max_age(PREFLIGHT_AGE)
}

/// Refuses what a page of a foreign origin would change, before anybody looks at it: browsers send simple POSTs
/// without asking first.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let host = check_host(&app.config, request.uri(), request.headers());
    let judged = host.and_then(|()| match reads {
        // Without CORS headers a foreign page cannot see the answer.
        true => Ok(()),
        false => check_origin(&app.config, request.headers()),
    });
    match judged {
        Ok(()) => next.run(request).await,
        Err(rejection) => Refusal::from(rejection).into_response(),
    }
}

/// An open server has no tokens to protect it, only that nobody reaches it from outside. A page could, by a name of
/// its own that it points at this machine ("DNS rebinding"): then the browser takes us for the page's own host.
pub(crate) fn check_host(config: &Config, uri: &Uri, headers: &HeaderMap) -> Result<(), Rejection> {
    if !config.open || config.open_to_the_world {
        return Ok(());
    }
    let named = headers.get(header::HOST).map(|host| Authority::try_from(host.as_bytes()).ok());
    let mut names = named.into_iter().chain(uri.authority().cloned().map(Some)).peekable();
    let some = names.peek().is_some();
    if some && names.all(|name| name.is_some_and(|name| is_loopback(name.host()))) {
        return Ok(());
    }
    Err(Rejection {
        status: StatusCode::MISDIRECTED_REQUEST,
        code: "host",
        reason: "a server with --open answers to localhost, 127.0.0.1 and [::1] only: use one of them, or start it \
                 with tokens, or with --open-to-the-world"
            .to_owned(),
    })
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_open_server_answers_to_loopback_names_only() {
        let mut config = Config { open: true, ..Config::default() };
        let ask = |config: &Config, host: &'static str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            check_host(config, &Uri::from_static("/doc/new"), &headers).map_err(|refused| refused.status)
        };
        for good in ["localhost", "LOCALHOST:8787", "127.0.0.1:1", "127.0.0.1", "[::1]", "[::1]:8787"] {
            assert_eq!(ask(&config, good), Ok(()), "{good}");
        }
        let misdirected = Err(StatusCode::MISDIRECTED_REQUEST);
        let bad =
            ["evil.example", "localhost.evil.example:8787", "localhost@evil.example", "10.0.0.1", "", "::1"];
        for bad in bad {
            assert_eq!(ask(&config, bad), misdirected, "{bad}");
        }
        let nothing = check_host(&config, &Uri::from_static("/"), &HeaderMap::new());
        assert_eq!(nothing.map_err(|refused| refused.status), misdirected);
        let absolute = Uri::from_static("http://evil.example/doc/new");
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
        assert!(check_host(&config, &absolute, &headers).is_err());
        config.open_to_the_world = true;
        assert_eq!(ask(&config, "evil.example"), Ok(()));
        config = Config::default();
        assert_eq!(ask(&config, "chat.example"), Ok(()), "tokens protect it");
    }
}
