//! What changed, as it happens: server-sent events that go on where a client left them.
//!
//! A stream reads its user's log (`events.rs`) from the disk, from one position to the next: so it needs no queue of its
//! own, and a slow one holds nobody up. Each event's id is the position behind it.

use std::{convert::Infallible, fmt::Write, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syncline_protocol::names::DocumentName;
use syncline_store::StoreError;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use utoipa::{IntoParams, ToSchema};

use super::{home::Home, problem::Problem};
use crate::{
    app::App,
    clock::now_ms,
    events::{Batch, Gap, Position, Seat},
    listener::Hangup,
};

/// Batches read at a time.
const PAGE: u64 = 32;
/// Pieces of a stream that wait for its socket.
const PIECES: usize = 4;
/// How soon a client comes back after a stream ended.
const RETRY_MS: u64 = 2_000;

/// Where to go on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct From {
    /// The id of the last event that was heard, where the header `Last-Event-ID` cannot be sent.
    after: Option<String>,
}

/// One event's data.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "describes what is made of rows")]
pub(super) struct Event {
    /// What happened: the event's name.
    r#type: String,
    /// When it was written: unix milliseconds.
    at: u64,
    /// The device that wrote, if it said.
    by: Option<String>,
    /// The conversation, message, preference, ... by the type; see docs/events.md.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    more: Value,
}

/// Tells what changes, as server-sent events. Goes on behind the id in `Last-Event-ID` or `after`: nothing is missed and
/// nothing comes twice. Where that cannot be, the first event is `reset`: read the lists again.
#[utoipa::path(get, path = "/v1/users/{user}/events", tag = "events",
    params(("user" = String, Path), From, ("Last-Event-ID" = Option<String>, Header,
        description = "The id of the last event that was heard")),
    responses((status = 200, content_type = "text/event-stream", body = Event), (status = "default", body = Problem)))]
pub(super) async fn events(
    home: Home,
    State(app): State<Arc<App>>,
    hangup: Option<Extension<Hangup>>,
    headers: HeaderMap,
    from: Result<Query<From>, QueryRejection>,
) -> Result<Response, Problem> {
    let engine = home.open.registry.engine().clone();
    let most = app.config.limits.event_streams_per_user;
    let Some(seat) = engine.feeds.of(&home.user).enter(most) else {
        let text = format!("{most} event streams of this user are open: close one");
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", text));
    };
    let asked = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let asked = asked.or(from?.0.after);
    let (seat, listening) = home.on_disk(seat, |store, seat| seat.feed().listen(store)).await;
    let (newest, heard) = listening?;
    let epoch = engine.feeds.epoch();
    let begin = match asked.as_deref() {
        None => Ok(Position::behind(newest)),
        Some(id) => Position::parse(id, epoch),
    };
    let (give, mut pieces) = mpsc::channel(PIECES);
    let stream =
        Stream { home, app: app.clone(), seat: Some(seat), at: Position::behind(newest), epoch, give, heard };
    let hangup = hangup.map(|Extension(hangup)| hangup);
    app.tasks.spawn(stream.run(begin, hangup));
    let pieces = stream::poll_fn(move |cx| pieces.poll_recv(cx));
    let mut response = Body::from_stream(pieces.map(Ok::<Bytes, Infallible>)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // A proxy that gathers what it passes on would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Home {
    /// Works on the store where that holds up nobody, with something that is given back.
    async fn on_disk<T: Send + 'static, R: Send + 'static>(
        &self,
        with: T,
        work: impl FnOnce(&dyn syncline_store::Store, &T) -> Result<R, StoreError> + Send + 'static,
    ) -> (T, Result<R, StoreError>) {
        let store = self.open.store.clone();
        let done = tokio::task::spawn_blocking(move || {
            let outcome = work(&*store, &with);
            (with, outcome)
        });
        match done.await {
            Ok(done) => done,
            // The runtime is going down, or it panicked: either ends this task too.
            Err(error) => std::panic::resume_unwind(match error.try_into_panic() {
                Ok(panic) => panic,
                Err(_) => Box::new("the server is going down"),
            }),
        }
    }
}

/// Why a stream ends.
enum End {
    /// Its client went away, or the server does.
    Gone,
    /// Its client does not read.
    Slow,
    /// Its caller is not let in any more, and why: a stable word.
    Refused(&'static str),
    /// The log cannot be read.
    Failed(StoreError),
}

struct Stream {
    home: Home,
    app: Arc<App>,
    /// Given away while the disk is read.
    seat: Option<Seat>,
    at: Position,
    epoch: u32,
    give: mpsc::Sender<Bytes>,
    heard: watch::Receiver<u64>,
}

impl Stream {
    async fn run(mut self, begin: Result<Position, Gap>, hangup: Option<Hangup>) {
        let metrics = self.app.metrics.clone();
        metrics.event_stream_opened();
        let end = match self.tell_all(begin).await {
            Err(end) => end,
            Ok(never) => match never {},
        };
        match end {
            End::Gone => {}
            End::Slow => {
                metrics.event_stream_slow();
                // What is in its socket's buffers may never go: the connection ends with the stream.
                if let Some(hangup) = hangup {
                    hangup.hang_up();
                }
            }
            End::Refused(reason) => {
                let data = json!({ "type": "end", "reason": reason });
                let _ = self.give.try_send(format!("event: end\ndata: {data}\n\n").into());
            }
            End::Failed(error) => {
                tracing::error!(event = "event_stream_failed", user = &*self.home.user, %error);
            }
        }
        metrics.event_stream_closed();
    }

    async fn tell_all(&mut self, begin: Result<Position, Gap>) -> Result<Infallible, End> {
        // Looked at before anything is said: a stream that cannot go on says so first.
        let first = match begin {
            Ok(position) => {
                self.at = position;
                self.read_page().await?
            }
            Err(gap) => Err(gap),
        };
        match first {
            Ok(batches) => {
                let ready = format!("retry: {RETRY_MS}\n{}", self.written("ready", json!({}), self.at));
                self.send(ready).await?;
                self.tell(&batches).await?;
            }
            Err(gap) => self.reset(gap).await?,
        }
        let pace = Duration::from_millis(self.app.config.limits.event_keep_alive_ms);
        let mut keep_alive = interval_at(Instant::now() + pace, pace);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let expires = self.home.expires_at_ms();
        let stopping = self.app.draining.clone();
        loop {
            self.check()?;
            if self.tell_page().await? {
                continue;
            }
            let left =
                expires.map_or(Duration::MAX, |at| Duration::from_millis(at.saturating_sub(now_ms()) + 1));
            let gone = self.give.clone();
            tokio::select! {
                biased;
                () = stopping.cancelled() => return Err(End::Gone),
                () = gone.closed() => return Err(End::Gone),
                () = sleep(left), if expires.is_some() => {}
                changed = self.heard.changed() => changed.map_err(|_| End::Gone)?,
                _ = keep_alive.tick() => {
                    self.check()?;
                    self.send(":\n\n".to_owned()).await?;
                }
            }
        }
    }

    /// Ends the stream of a caller who would not be let in any more.
    fn check(&self) -> Result<(), End> {
        if self.home.expires_at_ms().is_some_and(|at| at <= now_ms()) {
            return Err(End::Refused("token_expired"));
        }
        self.home.still_welcome(&self.app).map_err(|problem| End::Refused(problem.code()))
    }

    /// Tells what comes next, if there is something. Says so.
    async fn tell_page(&mut self) -> Result<bool, End> {
        match self.read_page().await? {
            Ok(batches) => {
                self.tell(&batches).await?;
                Ok(!batches.is_empty())
            }
            Err(gap) => {
                self.reset(gap).await?;
                Ok(true)
            }
        }
    }

    async fn read_page(&mut self) -> Result<Result<Vec<(u64, Batch)>, Gap>, End> {
        // Before the disk is read: what is told of meanwhile wakes the stream once more.
        self.heard.mark_unchanged();
        let Some(seat) = self.seat.take() else { return Err(End::Gone) };
        let at = self.at;
        let (seat, read) =
            self.home.on_disk(seat, move |store, seat| seat.feed().read(store, at, PAGE)).await;
        self.seat = Some(seat);
        read.map_err(End::Failed)
    }

    async fn tell(&mut self, batches: &[(u64, Batch)]) -> Result<(), End> {
        for (number, batch) in batches {
            let text = self.text(*number, batch);
            self.at = Position::behind(*number);
            if !text.is_empty() {
                self.send(text).await?;
            }
        }
        Ok(())
    }

    /// Writes the events of a batch that were not told yet; none where the caller may not read their document.
    fn text(&self, number: u64, batch: &Batch) -> String {
        let name = DocumentName::parse(&format!("{}/{}", self.home.user, batch.document));
        let mut text = String::new();
        if !name.is_ok_and(|name| self.home.may_read(&name)) {
            return text;
        }
        let count = batch.events.len();
        for (at, event) in batch.events.iter().enumerate().skip(self.at.told_of(number)) {
            let within = (at + 1 < count).then_some(at + 1);
            let mut data = event.clone();
            data["at"] = batch.at.into();
            data["by"] = json!(batch.device);
            let name = data["type"].as_str().unwrap_or("many").to_owned();
            text.push_str(&self.written(&name, data, Position { number, within }));
        }
        self.app.metrics.events_sent(count);
        text
    }

    fn written(&self, name: &str, mut data: Value, behind: Position) -> String {
        data["type"] = name.into();
        let mut text = String::new();
        // JSON has no line breaks of its own; writing to a string does not fail.
        let _ = write!(text, "event: {name}\nid: {}\ndata: {data}\n\n", behind.id(self.epoch));
        text
    }

    /// Says that something was missed, and goes on with what comes from now on.
    async fn reset(&mut self, gap: Gap) -> Result<(), End> {
        let Some(seat) = self.seat.take() else { return Err(End::Gone) };
        let (seat, newest) = self.home.on_disk(seat, |store, seat| seat.feed().listen(store)).await;
        self.seat = Some(seat);
        self.at = Position::behind(newest.map_err(End::Failed)?.0);
        self.app.metrics.events_reset();
        let data = json!({ "reason": gap.as_str() });
        self.send(format!("retry: {RETRY_MS}\n{}", self.written("reset", data, self.at))).await
    }

    async fn send(&mut self, text: String) -> Result<(), End> {
        let patience = Duration::from_millis(self.app.config.limits.send_ms);
        match timeout(patience, self.give.send(text.into())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow),
        }
    }
}
