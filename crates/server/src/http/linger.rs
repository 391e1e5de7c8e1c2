//! Who is refused while still sending hears why. A server that answers early and closes makes the sender's next write
//! fail, and many clients then never read the answer: so what is left of a body is read and thrown away for a while.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use futures_util::StreamExt;
use http::header;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// Makes the body of a request one that is read to its end, within bounds, whatever becomes of the request.
pub(super) async fn linger(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // Who waits to be told to go on sends nothing before, and must not be told to.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    next.run(request.map(|body| Body::new(Lingering { body, app }))).await
}

/// A body of which the rest is drained when nobody wants it any more.
struct Lingering {
    body: Body,
    app: Arc<App>,
}

impl hyper::body::Body for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            // It came to its end, or its connection did.
            self.body = Body::empty();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            return;
        }
        let limit = Duration::from_millis(self.app.config.limits.linger_ms);
        let rest = std::mem::take(&mut self.body);
        self.app.tasks.spawn(drain(rest, limit, self.app.draining.clone()));
    }
}

/// Reads until the body or the time ends, or the server goes down. Nothing is kept.
async fn drain(rest: Body, limit: Duration, draining: CancellationToken) {
    let mut pieces = rest.into_data_stream();
    let read = timeout(limit, async { while let Some(Ok(_)) = pieces.next().await {} });
    tokio::select! {
        biased;
        () = draining.cancelled() => {}
        // Whether it came to its end changes nothing: the answer is on its way.
        _ = read => {}
    }
}
