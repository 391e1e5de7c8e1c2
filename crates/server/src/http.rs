//! HTTP beside the sockets: health, metrics, the page, y-sweet's REST, and what operators ask for.

mod admin;
mod body;
mod description;
mod error;
mod linger;
pub(crate) mod origin;
mod page;
pub(crate) mod rates;
mod ysweet;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde_json::json;
use syncline_protocol::names::DocumentName;
use syncline_store::Store;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    api,
    app::App,
    auth::{Denied, Principal},
    logging::redact,
    metrics::Sample,
};

use error::Refusal;

/// Builds the routes. Socket paths are not among them: the listener takes those.
pub fn router(app: Arc<App>) -> Router {
    let (api, mut described) = api::router().split_for_parts();
    let (uploads, of_uploads) = api::uploads().split_for_parts();
    let (transfers, of_transfers) = api::transfers().split_for_parts();
    described.merge(of_uploads);
    described.merge(of_transfers);
    let described: Arc<str> = description::render(described).into();
    let asked = Router::new()
        .merge(api.route_layer(from_fn_with_state(app.clone(), api::once)))
        .route("/ready", get(ysweet::ready))
        .route("/check_store", post(ysweet::check_store))
        .route("/doc/new", post(ysweet::new))
        .route("/doc/{*rest}", post(ysweet::auth))
        .route("/d/{*rest}", get(ysweet::as_update).post(ysweet::update))
        .route("/v1/admin/documents", get(admin::documents))
        .route("/v1/admin/documents/{*name}", get(admin::document))
        .route("/v1/admin/backup", get(admin::backup))
        .layer(from_fn_with_state(app.clone(), limit_time))
        .layer(from_fn_with_state(app.clone(), rates::limit));
    // Watchers and pages come as often as they like.
    let looked_up = Router::new()
        .route(
            "/openapi.json",
            get(async move || ([(header::CONTENT_TYPE, "application/json")], described.to_string())),
        )
        .route("/metrics", get(metrics))
        .layer(from_fn_with_state(app.clone(), limit_time));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .merge(looked_up)
        // Uploads, imports and exports have times of their own.
        .merge(
            transfers
                .route_layer(from_fn_with_state(app.clone(), api::once))
                .layer(from_fn_with_state(app.clone(), limit_transfer))
                .layer(from_fn_with_state(app.clone(), rates::limit)),
        )
        .merge(uploads.layer(from_fn_with_state(app.clone(), rates::limit)))
        .merge(asked)
        .fallback(page::serve)
        .method_not_allowed_fallback(wrong_method)
        .layer(origin::cors(&app))
        .layer(from_fn_with_state(app.clone(), origin::guard))
        .layer(map_response(harden))
        .layer(from_fn_with_state(app.clone(), count))
        .layer(from_fn_with_state(app.clone(), linger::linger))
        .with_state(app)
}

/// Says that the process lives.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, body = String)))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Says whether edits are taken: the store is open and checked.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses((status = 200, body = Object)))]
async fn readyz(State(app): State<Arc<App>>) -> Response {
    match app.is_ready() {
        Ok(()) => Json(json!({ "ready": true })).into_response(),
        Err(reason) => Refusal::not_ready(reason).into_response(),
    }
}

/// Gives the counters in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, body = String)))]
async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    // The size of the store is asked of the file system.
    let text = blocking(move || {
        let limits = &app.config.limits;
        let large_free = app.shares.pool.available_permits() << 10;
        let mut sample = Sample {
            ready: app.is_ready().is_ok(),
            large_bytes: limits.large_pool_bytes.saturating_sub(large_free) as u64,
            outbound_bytes: app.room.queued() as u64,
            ..Sample::default()
        };
        if let Some(engine) = app.engine() {
            sample.waiting_pool_bytes = engine.registry.engine().settings.waiting_pool.held() as u64;
            sample.resident_bytes = engine.registry.engine().resident.bytes() as u64;
            let journal = &engine.registry.engine().journal;
            sample.search = engine.registry.engine().finder.standing();
            sample.queue = journal.queued();
            sample.oldest_unacked_ms = journal.oldest_queued_ms();
            sample.writer = Some(&**journal.stats());
            sample.store_bytes = engine.store.size_on_disk();
            sample.free_bytes = engine.store.free_bytes();
            sample.journal = engine.store.journal();
            sample.poisoned = engine.store.poisoned().is_some();
        }
        app.metrics.render(&sample)
    });
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text.await?).into_response())
}

async fn wrong_method(uri: Uri) -> Response {
    if api::is_api(uri.path()) {
        return api::wrong_method();
    }
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "this path takes another method")
        .into_response()
}

/// Finds out who asks.
fn principal(app: &App, headers: &HeaderMap) -> Result<Principal, Refusal> {
    bearer(app, headers).map_err(|denied| match denied {
        Denied::Unknown => Refusal::not_ready(denied.to_string()),
        denied => Refusal::new(StatusCode::UNAUTHORIZED, denied.code(), denied.to_string()),
    })
}

/// Judges the token of a request.
pub(crate) fn bearer(app: &App, headers: &HeaderMap) -> Result<Principal, Denied> {
    app.principal(token(headers)).inspect_err(|denied| app.metrics.denied(denied.code()))
}

/// Returns the token of a request.
fn token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// Returns the store, once it is open.
fn store(app: &App) -> Result<Arc<dyn Store>, Refusal> {
    match app.engine() {
        Some(engine) => Ok(engine.store.clone()),
        None => Err(Refusal::not_ready("the store is being opened".to_owned())),
    }
}

/// Takes a place among the reads of a document.
fn reading(app: &App, name: &DocumentName) -> Result<OwnedSemaphorePermit, Refusal> {
    let Some(engine) = app.engine() else {
        return Err(Refusal::not_ready("the store is being opened".to_owned()));
    };
    Ok(engine.registry.reading(name)?)
}

/// Runs what reads the disk or builds documents where it holds up nobody, and where the stacks are deep.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(event = "request_panicked", %error);
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "bug",
            "the request failed inside the server; its log says more",
        )
    })
}

async fn limit_time(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    within(app.config.limits.http_ms, request, next).await
}

async fn limit_transfer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    within(app.config.limits.transfer_ms, request, next).await
}

async fn within(limit_ms: u64, request: Request, next: Next) -> Response {
    let limit = Duration::from_millis(limit_ms);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let text = format!("the request took longer than {} ms", limit.as_millis());
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", text).into_response()
        }
    }
}

async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let target = redact(&request.uri().to_string()).into_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    app.metrics.answered(status);
    tracing::debug!(event = "request", %method, target, status);
    response
}

async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
