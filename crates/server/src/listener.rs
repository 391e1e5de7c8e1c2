//! Our own accept loop: a cap on connections, a time limit on handshakes and headers, then hyper for HTTP, and
//! the raw socket taken back from hyper for WebSockets.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};
use tokio_util::{either::Either, sync::CancellationToken};
use tower::ServiceExt;

use crate::{
    app::{App, Open},
    attachments::Visitor,
    connection::{Connection, websocket_config},
    gate::Gate,
    handshake::{self, Rejection},
};

/// A socket, with TLS or without; what TLS keeps does not weigh on those without.
type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Accepts connections until the server drains.
pub(crate) async fn accept(app: Arc<App>, listener: TcpListener, tls: Option<TlsAcceptor>, router: Router) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = app.draining.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let Ok(place) = app.connections.clone().try_acquire_owned() else {
                    turn_away(&app, &stream);
                    continue;
                };
                let (app, tls, router) = (app.clone(), tls.clone(), router.clone());
                let tasks = app.tasks.clone();
                tasks.spawn(serve_stream(app, stream, address, tls, router, place));
            }
            Err(error) => {
                // Out of file descriptors, most likely: some are given back in a moment.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Closes a connection beyond the cap, with a word to those who can read it without a handshake.
fn turn_away(app: &App, stream: &TcpStream) {
    const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\
        content-type: text/plain\r\ncontent-length: 47\r\n\r\nthe server is full: try again in a few seconds\n";
    app.metrics.refused("connections");
    if app.config.tls_cert.is_none() {
        // It has room for this much; who does not get it sees the connection closed.
        let _ = stream.try_write(FULL.as_bytes());
    }
}

async fn serve_stream(
    app: Arc<App>,
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    place: OwnedSemaphorePermit,
) {
    // Frames are small and wanted at once.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let socket = match tls {
        None => Either::Left(stream),
        Some(acceptor) => {
            let limit = Duration::from_millis(app.config.limits.tls_handshake_ms);
            match timeout(limit, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => Either::Right(Box::new(stream)),
                Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => return tracing::debug!("TLS handshake timed out"),
            }
        }
    };
    serve_http(app, socket, address, router, Arc::new(place)).await;
}

/// Ends the connection that a request came on, whatever is still to be written: for clients that do not read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hangup(CancellationToken);

impl Hangup {
    pub(crate) fn hang_up(&self) {
        self.0.cancel();
    }
}

async fn serve_http(
    app: Arc<App>,
    socket: Socket,
    address: SocketAddr,
    router: Router,
    place: Arc<OwnedSemaphorePermit>,
) {
    let draining = app.draining.clone();
    let hangup = Hangup::default();
    let hung_up = hangup.0.clone();
    let header_read = Duration::from_millis(app.config.limits.header_read_ms);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (app, router, place) = (app.clone(), router.clone(), place.clone());
        request.extensions_mut().insert(hangup.clone());
        async move { Ok::<_, Infallible>(answer(app, request, address, router, place).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_read)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection.as_mut() => outcome,
                () = hung_up.cancelled() => return,
            }
        }
        () = hung_up.cancelled() => return,
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

async fn answer(
    app: Arc<App>,
    mut request: Request<Incoming>,
    address: SocketAddr,
    router: Router,
    place: Arc<OwnedSemaphorePermit>,
) -> Response<Body> {
    if !handshake::is_socket_path(request.uri().path()) {
        request.extensions_mut().insert(axum::extract::ConnectInfo(address));
        let answered = router.oneshot(request.map(Body::new)).await;
        return answered.unwrap_or_else(|never| match never {});
    }
    let open = tokio::select! {
        open = app.wait_open() => open.cloned(),
        () = app.draining.cancelled() => None,
    };
    let Some(open) = open else {
        return refuse(&Rejection {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "draining",
            reason: "the server is going down: reconnect".to_owned(),
        });
    };
    match handshake::judge(&app, &request, address.ip()) {
        Ok((response, visitor)) => {
            let upgrade = hyper::upgrade::on(&mut request);
            let tasks = app.tasks.clone();
            tasks.spawn(async move {
                match open_connection(app.clone(), open, upgrade, visitor).await {
                    // A task of its own: this one carries what only the upgrade needed.
                    Ok(connection) => drop(app.tasks.spawn(connection.run(place))),
                    Err(error) => tracing::debug!(%error, "upgrade failed"),
                }
            });
            response.map(|()| Body::empty())
        }
        Err(rejection) => {
            app.metrics.refused(rejection.code);
            refuse(&rejection)
        }
    }
}

/// Takes the raw socket back from hyper, so that an idle connection costs no HTTP state.
async fn open_connection(
    app: Arc<App>,
    open: Arc<Open>,
    upgrade: OnUpgrade,
    visitor: Visitor,
) -> io::Result<Box<Connection<Socket>>> {
    let parts = upgrade
        .await
        .map_err(io::Error::other)?
        .downcast::<TokioIo<Socket>>()
        .map_err(|_| io::Error::other("the upgraded connection is not a socket of ours"))?;
    let limit = app.config.limits.pre_auth_bytes;
    let gate = Gate::new(parts.io.into_inner(), app.shares.clone(), limit).with_read(&parts.read_buf);
    let socket = WebSocketStream::from_raw_socket(gate, Role::Server, Some(websocket_config(&app))).await;
    Ok(Box::new(Connection::new(app, open, socket, visitor)))
}

fn refuse(rejection: &Rejection) -> Response<Body> {
    let body = serde_json::json!({ "error": { "code": rejection.code, "message": rejection.reason } });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = rejection.status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    if rejection.status == StatusCode::UPGRADE_REQUIRED {
        response.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    }
    response
}
