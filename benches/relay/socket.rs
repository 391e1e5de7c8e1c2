//! One task a socket: reads frames, relays them, and writes whatever is queued for the socket in one go.

use crate::hub::{Document, Hub, Peer};
use crate::log::Append;
use bytes::Bytes;
use futures_util::{Sink, Stream};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use syncline_benches::wire::{self, Dialect};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

type Error = tokio_tungstenite::tungstenite::Error;

/// The eager read buffer is most of what an idle socket costs.
const READ_BUFFER_BYTES: usize = 4096;

struct Socket<'a> {
    web: WebSocketStream<TcpStream>,
    hub: &'a Hub,
    path_document: Option<(String, Dialect)>,
    joined: Option<(Arc<Document>, Arc<Peer>)>,
    outbound: VecDeque<Bytes>,
    unflushed: bool,
}

pub(crate) async fn run(stream: TcpStream, hub: &Hub) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = READ_BUFFER_BYTES;
    let mut path = String::new();
    #[expect(clippy::result_large_err, reason = "the callback's type is given")]
    let keep_path = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let web = tokio_tungstenite::accept_hdr_async_with_config(stream, keep_path, Some(config)).await?;
    let mut socket = Socket {
        web,
        hub,
        path_document: document_of(&path),
        joined: None,
        outbound: VecDeque::new(),
        unflushed: false,
    };
    let result = std::future::poll_fn(|cx| socket.poll(cx)).await;
    if let Some((document, peer)) = socket.joined.take() {
        document.leave(&peer);
    }
    result
}

/// `/sync/NAME` is plain, `/d/NAME/ws/NAME` is y-sweet, anything else names no document.
fn document_of(path: &str) -> Option<(String, Dialect)> {
    if let Some(name) = path.strip_prefix("/sync/") {
        return Some((name.to_owned(), Dialect::Plain));
    }
    let (_, name) = path.strip_prefix("/d/")?.split_once("/ws/")?;
    Some((name.to_owned(), Dialect::Ysweet))
}

impl Socket<'_> {
    /// Runs until the socket ends; the order read, write, flush lets answers share one write.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match Pin::new(&mut self.web).poll_next(cx) {
                Poll::Ready(Some(Ok(Message::Binary(frame)))) => self.hear(&frame),
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(match error {
                        Error::ConnectionClosed | Error::Protocol(_) | Error::Io(_) => Ok(()),
                        other => Err(other),
                    });
                }
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        self.write(cx)
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            if self.outbound.is_empty()
                && let Some((_, peer)) = &self.joined
            {
                peer.waker.register(cx.waker());
                if !peer.drain_into(&mut self.outbound) {
                    return Poll::Ready(Err(Error::AttackAttempt));
                }
            }
            if self.outbound.is_empty() {
                break;
            }
            while !self.outbound.is_empty() {
                ready!(Pin::new(&mut self.web).poll_ready(cx))?;
                if let Some(frame) = self.outbound.pop_front() {
                    Pin::new(&mut self.web).start_send(Message::Binary(frame))?;
                    self.unflushed = true;
                }
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.web).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Pending
    }

    fn hear(&mut self, frame: &Bytes) {
        if self.joined.is_none() && !self.join(frame) {
            return;
        }
        let Some((document, peer)) = &self.joined else { return };
        let Some(body) = frame.strip_prefix(&peer.address[..]) else { return };
        match body {
            [0, 2, ..] => {
                let body = frame.slice(peer.address.len()..);
                document.relay(peer, frame, &body);
                self.log(peer, body);
            }
            [0, 0, ..] => {
                peer.push(wire::sync_frame(&peer.address, 1, wire::EMPTY_UPDATE));
                peer.push(wire::sync_frame(&peer.address, 0, wire::EMPTY_STATE_VECTOR));
            }
            [0, 1, rest @ ..] => {
                if self.hub.log.is_some() && peer.dialect == Dialect::Hocuspocus {
                    peer.push(saved(&peer.address));
                }
                if rest != [2, 0, 0] {
                    let update = wire::take_buf(&mut &*rest).unwrap_or(wire::EMPTY_UPDATE);
                    let body = wire::sync_frame(&[], 2, update);
                    document.relay(peer, &wire::sync_frame(&peer.address, 2, update), &body);
                }
            }
            [2, 0, ..] => {
                let mut out = peer.address.to_vec();
                out.extend_from_slice(b"\x02\x02\x0aread-write");
                peer.push(out.into());
            }
            [102, ..] => {
                if let Some(log) = &self.hub.log {
                    let peer = Arc::clone(peer);
                    log.append(Append { update: Bytes::new(), ack: frame.clone(), peer });
                }
            }
            _ => {}
        }
    }

    fn log(&self, peer: &Arc<Peer>, body: Bytes) {
        let Some(log) = &self.hub.log else { return };
        let ack = match peer.dialect {
            Dialect::Plain => body.clone(),
            Dialect::Hocuspocus => saved(&peer.address),
            Dialect::Ysweet => Bytes::new(),
        };
        log.append(Append { update: body, peer: Arc::clone(peer), ack });
    }

    /// Finds out which document a socket is for: its path says so, or its first frame does.
    fn join(&mut self, frame: &[u8]) -> bool {
        let (name, dialect) = match self.path_document.take() {
            Some(named) => named,
            None => {
                let name = wire::take_buf(&mut &*frame).and_then(|name| std::str::from_utf8(name).ok());
                let Some(name) = name else { return false };
                (name.to_owned(), Dialect::Hocuspocus)
            }
        };
        self.joined = Some(self.hub.join(&name, dialect));
        true
    }
}

fn saved(address: &[u8]) -> Bytes {
    let mut out = address.to_vec();
    out.extend_from_slice(&[8, 1]);
    out.into()
}
