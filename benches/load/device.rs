//! One device's socket: opens it, goes through the handshake of its dialect, then sends what is due and hears the rest.

use crate::document::Document;
use crate::stats::Stats;
use crate::target::Address;
use anyhow::{Context as _, bail};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Sink, Stream as _};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use syncline_benches::wire::{self, Dialect, Heard};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

pub(crate) type Web = WebSocketStream<TcpStream>;

/// Sockets that one source address is used for: the kernel has about 28,000 ports.
const SOCKETS_A_SOURCE: usize = 25_000;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Opens a WebSocket; `number` spreads many sockets over several source addresses.
pub(crate) async fn dial(
    address: &Address,
    document: &str,
    dialect: Dialect,
    number: usize,
    read_buffer: usize,
) -> anyhow::Result<Web> {
    let socket = TcpSocket::new_v4()?;
    if number >= SOCKETS_A_SOURCE {
        let host = 2 + u8::try_from(number / SOCKETS_A_SOURCE)?;
        socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 0))?;
    }
    let stream = socket.connect(address.socket).await.context("connect")?;
    stream.set_nodelay(true)?;
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = read_buffer;
    config.max_frame_size = None;
    let url = address.url(document, dialect);
    let (web, _) = tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await?;
    Ok(web)
}

/// The frames a device sends at once when its socket opens.
pub(crate) fn opening(dialect: Dialect, address: &[u8], state_vector: &[u8]) -> Vec<Bytes> {
    let sync = wire::sync_frame(address, 0, state_vector);
    match dialect {
        Dialect::Plain => vec![sync],
        Dialect::Ysweet => vec![sync, wire::version_frame(0)],
        Dialect::Hocuspocus => vec![wire::auth_frame(address, ""), sync],
    }
}

pub(crate) struct Link {
    web: Web,
    document: Rc<RefCell<Document>>,
    stats: Rc<RefCell<Stats>>,
    me: usize,
    dialect: Dialect,
    address: Bytes,
    control: VecDeque<Bytes>,
    scratch: BytesMut,
    unflushed: bool,
    got_step1: bool,
    got_step2: bool,
}

impl Link {
    pub(crate) fn new(
        web: Web,
        name: &str,
        document: Rc<RefCell<Document>>,
        stats: Rc<RefCell<Stats>>,
        me: usize,
    ) -> Self {
        let dialect = document.borrow().devices[me].dialect;
        let address = wire::address(dialect, name);
        let control = opening(dialect, &address, wire::EMPTY_STATE_VECTOR).into();
        Self {
            web,
            document,
            stats,
            me,
            dialect,
            address,
            control,
            scratch: BytesMut::new(),
            unflushed: false,
            got_step1: false,
            got_step2: false,
        }
    }

    /// Exchanges both SyncSteps.
    pub(crate) async fn synchronize(&mut self) -> anyhow::Result<()> {
        let handshake = std::future::poll_fn(|cx| match self.poll(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending if self.got_step1 && self.got_step2 && self.control.is_empty() => {
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
        });
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(result) => result,
            Err(_) => bail!("no answer to SyncStep1 within {HANDSHAKE_TIMEOUT:?}"),
        }
    }

    /// Runs until the socket ends.
    pub(crate) async fn run(mut self) {
        let error = std::future::poll_fn(|cx| self.poll(cx)).await;
        let mut stats = self.stats.borrow_mut();
        stats.closed += 1;
        if stats.closed == 1 {
            eprintln!("a device lost its socket: {error}");
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<anyhow::Error> {
        loop {
            match Pin::new(&mut self.web).poll_next(cx) {
                Poll::Ready(Some(Ok(Message::Binary(frame)))) => self.hear(&frame),
                Poll::Ready(Some(Ok(Message::Close(reason)))) => {
                    return Poll::Ready(anyhow::anyhow!("closed by the server: {reason:?}"));
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(error.into()),
                Poll::Ready(None) => return Poll::Ready(anyhow::anyhow!("ended")),
                Poll::Pending => break,
            }
        }
        match self.send(cx) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(error.into()),
        }
    }

    fn hear(&mut self, frame: &[u8]) {
        match wire::read_frame(self.dialect, &self.address, frame) {
            Some(Heard::SyncStep1(_)) => {
                self.got_step1 = true;
                self.control.push_back(wire::sync_frame(&self.address, 1, wire::EMPTY_UPDATE));
            }
            Some(Heard::Ping) => self.control.push_back(Bytes::from_static(&[10])),
            Some(heard) => {
                self.got_step2 |= matches!(heard, Heard::SyncStep2(_));
                self.document.borrow_mut().hear(self.me, &heard);
            }
            None => self.stats.borrow_mut().garbled += 1,
        }
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        while let Some(frame) = self.control.pop_front() {
            Pin::new(&mut self.web).start_send(Message::Binary(frame))?;
            self.unflushed = true;
        }
        let document = Rc::clone(&self.document);
        let mut document = document.borrow_mut();
        loop {
            let device = &document.devices[self.me];
            if device.sent >= device.scheduled {
                break;
            }
            if let Poll::Ready(ready) = Pin::new(&mut self.web).poll_ready(cx) {
                ready?;
            } else {
                break;
            }
            let index = device.sent;
            document.note_sent(self.me);
            self.send_update(&document, index)?;
            self.unflushed = true;
        }
        let device = &mut document.devices[self.me];
        if !device.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            device.waker = Some(cx.waker().clone());
        }
        if self.unflushed && Pin::new(&mut self.web).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }

    fn send_update(
        &mut self,
        document: &Document,
        index: u32,
    ) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        let stream = &document.streams[self.me];
        let mut web = Pin::new(&mut self.web);
        match self.dialect {
            Dialect::Plain => web.start_send(Message::Binary(stream.frame(index as usize))),
            Dialect::Hocuspocus => {
                self.scratch.put_slice(&self.address);
                self.scratch.put_slice(stream.frame_bytes(index as usize));
                web.start_send(Message::Binary(self.scratch.split().freeze()))
            }
            Dialect::Ysweet => {
                web.as_mut().start_send(Message::Binary(stream.frame(index as usize)))?;
                let version = u64::from(index) + 1;
                self.scratch.put_u8(102);
                self.scratch.put_u8(version_length(version));
                wire::put_var(&mut self.scratch, version);
                web.start_send(Message::Binary(self.scratch.split().freeze()))
            }
        }
    }
}

fn version_length(version: u64) -> u8 {
    (64 - version.leading_zeros()).div_ceil(7).max(1) as u8
}
