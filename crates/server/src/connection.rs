//! One WebSocket: a task that reads frames, gives them to their documents, and writes what is queued for it.

use std::{collections::VecDeque, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use syncline_protocol::frame::{self, EMPTY_AWARENESS, Reply};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, WebSocketConfig},
    },
};

use crate::{
    app::{App, Open},
    attachments::{Attachments, Family, Visitor},
    outbound::{Closing, Outbound},
};

/// Frames handled before what they caused is written.
const FRAMES_AT_ONCE: usize = 64;
/// Pings and pongs in one ping interval before the peer is closed.
const CONTROL_FRAMES: u32 = 200;

/// What a close frame holds beside its code.
const REASON_BYTES: usize = 123;
/// A closed connection is kept until its peer has read why, at most this long.
const LINGER: Duration = Duration::from_secs(2);

/// A socket over which any byte stream may run.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Returns how tungstenite is to be run: small buffers, since most sockets are idle; bounded both ways.
pub(crate) fn websocket_config(app: &App) -> WebSocketConfig {
    let limits = &app.config.limits;
    WebSocketConfig::default()
        .read_buffer_size(2 << 10)
        .write_buffer_size(16 << 10)
        // One frame may be as large as a document; more than one is never handed over before it is written.
        .max_write_buffer_size(limits.document_bytes + limits.outbound_bytes + (1 << 20))
        .max_message_size(Some(limits.message_bytes))
        .max_frame_size(Some(limits.message_bytes))
}

/// What woke a connection's task.
enum Event {
    Read(Option<Result<Message, Error>>),
    Write,
    Timer,
    Stop,
}

/// A connection's task.
pub(crate) struct Connection<S> {
    app: Arc<App>,
    open: Arc<Open>,
    socket: WebSocketStream<S>,
    outbound: Arc<Outbound>,
    attachments: Attachments,
    /// Where frames go on their way to the socket; kept to keep its place.
    frames: VecDeque<Bytes>,
    /// When something was last written.
    sent: Instant,
    /// When something was last read.
    heard: Instant,
    next_ping: Instant,
    /// Pings sent since something was heard.
    missed: u32,
    control_frames: u32,
    opened: Instant,
}

impl<S: Wire> Connection<S> {
    pub(crate) fn new(app: Arc<App>, open: Arc<Open>, socket: WebSocketStream<S>, visitor: Visitor) -> Self {
        let outbound = Arc::new(Outbound::new(app.config.limits.outbound_bytes));
        let now = Instant::now();
        Self {
            attachments: Attachments::new(app.clone(), open.clone(), outbound.clone(), visitor),
            next_ping: now + ping_interval(&app),
            app,
            open,
            socket,
            outbound,
            frames: VecDeque::new(),
            sent: now,
            heard: now,
            missed: 0,
            control_frames: 0,
            opened: now,
        }
    }

    /// Runs until the connection ends; then its peers are detached and it is closed with one code.
    pub(crate) async fn run(mut self) {
        let closing = self.serve().await;
        if let Closing::TooBig(_) = closing {
            self.attachments.too_big();
        }
        self.attachments.leave_all();
        let (code, reason) = closing.code();
        tracing::debug!(code, reason, speaks = ?self.attachments.speaks(), "connection ended");
        if closing != Closing::Gone {
            self.app.metrics.closed(code);
            let close = CloseFrame { code: code.into(), reason: clip(reason).into() };
            // The peer may be gone or not read: it has this long to take the code.
            let _ = timeout(LINGER, self.say_goodbye(close)).await;
        }
    }

    /// Sends the close frame, and lets the peer see it: a socket that is closed over unread bytes is reset, and the
    /// reset overtakes the code on its way to a peer that is still sending.
    async fn say_goodbye(&mut self, close: CloseFrame) {
        if self.socket.close(Some(close)).await.is_err() {
            // After some faults the WebSocket writes nothing more; the rest holds all the same.
            tracing::trace!("no close frame was sent");
        }
        let wire = self.socket.get_mut();
        let mut dropped = vec![0; 4 << 10];
        if wire.shutdown().await.is_ok() {
            while matches!(wire.read(&mut dropped).await, Ok(1..)) {}
        }
    }

    async fn serve(&mut self) -> Closing {
        let (draining, stopping) = (self.app.draining.clone(), self.app.stopping.clone());
        // Re-armed only when it fires or something is due earlier: most wake-ups leave it alone.
        let mut timer = pin!(sleep_until(self.deadline()));
        loop {
            let reading = !draining.is_cancelled();
            let event = tokio::select! {
                biased;
                () = stopping.cancelled() => Event::Stop,
                () = self.outbound.woken() => Event::Write,
                message = self.socket.next(), if reading => Event::Read(message),
                () = draining.cancelled(), if reading => Event::Write,
                () = timer.as_mut() => Event::Timer,
            };
            let outcome = match event {
                Event::Read(message) => self.read(message).await,
                Event::Timer => {
                    let outcome = self.timers().await;
                    timer.as_mut().reset(self.deadline());
                    outcome
                }
                Event::Write => Ok(()),
                Event::Stop => Err(Closing::Restarting),
            };
            // What was owed before a fault is still written.
            let written = self.write().await;
            if let Err(closing) = outcome.and(written) {
                return closing;
            }
            let deadline = self.deadline();
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
        }
    }

    /// Handles a message and those that have arrived behind it.
    async fn read(&mut self, first: Option<Result<Message, Error>>) -> Result<(), Closing> {
        let mut next = Some(first);
        let mut handled = 0;
        while let Some(message) = next {
            let message = message.ok_or(Closing::Gone)?.map_err(|error| fault(&error))?;
            self.heard = Instant::now();
            self.missed = 0;
            match message {
                Message::Binary(frame) => {
                    self.app.metrics.bytes_in(frame.len());
                    let frame = self.admit(frame).await?;
                    self.attachments.receive(&frame)?;
                    if !self.open.registry.engine().journal.has_room() {
                        self.open.room().await;
                    }
                }
                Message::Text(_) => {
                    return Err(Closing::Malformed("text frame: this protocol is binary".to_owned()));
                }
                Message::Ping(_) | Message::Pong(_) => {
                    self.control_frames += 1;
                    if self.control_frames > CONTROL_FRAMES {
                        return Err(Closing::TryLater("too many pings".to_owned()));
                    }
                }
                Message::Close(_) => return Err(Closing::Gone),
                Message::Frame(_) => {}
            }
            handled += 1;
            // Asked for before the next one is taken: what was taken must be handled.
            if handled == FRAMES_AT_ONCE || self.outbound.is_closing() || self.app.draining.is_cancelled() {
                break;
            }
            next = self.socket.next().now_or_never();
        }
        Ok(())
    }

    /// Takes a large message's share of the memory that such messages have together, until it is dropped.
    async fn admit(&self, frame: Bytes) -> Result<Bytes, Closing> {
        if frame.len() <= self.app.config.limits.large_message_bytes {
            return Ok(frame);
        }
        let kib = u32::try_from(frame.len() >> 10).unwrap_or(u32::MAX);
        let limit = Duration::from_millis(self.app.config.limits.send_ms);
        match timeout(limit, self.app.large_messages.clone().acquire_many_owned(kib)).await {
            Ok(Ok(permit)) => Ok(Bytes::from_owner(Admitted { frame, _permit: permit })),
            Ok(Err(_)) | Err(_) => {
                Err(Closing::TryLater("too many large messages at once: reconnect in a while".to_owned()))
            }
        }
    }

    /// Writes everything that is queued.
    async fn write(&mut self) -> Result<(), Closing> {
        let limit = Duration::from_millis(self.app.config.limits.send_ms);
        loop {
            let closing = self.outbound.take(&mut self.frames);
            if self.frames.is_empty() {
                return closing.map_or(Ok(()), Err);
            }
            let written = timeout(limit, async {
                for frame in self.frames.drain(..) {
                    self.app.metrics.bytes_out(frame.len());
                    self.socket.feed(Message::Binary(frame)).await?;
                }
                self.socket.flush().await
            });
            match written.await {
                Ok(Ok(())) => self.sent = Instant::now(),
                Ok(Err(_)) => return Err(Closing::Gone),
                Err(_) => return Err(Closing::Resync),
            }
            if self.frames.capacity() > 256 {
                self.frames = VecDeque::new();
            }
            if let Some(closing) = closing {
                return Err(closing);
            }
        }
    }

    fn deadline(&self) -> Instant {
        let limits = &self.app.config.limits;
        let mut next = self.next_ping.min(self.sent + Duration::from_millis(limits.keep_alive_ms));
        if !self.attachments.joined() {
            next = next.min(self.opened + Duration::from_millis(limits.pre_auth_ms));
        }
        if let Some(due) = self.attachments.due() {
            next = next.min(due);
        }
        next
    }

    /// Does what the time asks for: keep-alive, ping, deadlines of tokens and of the first frame.
    async fn timers(&mut self) -> Result<(), Closing> {
        let now = Instant::now();
        let limits = &self.app.config.limits;
        if !self.attachments.joined() && now >= self.opened + Duration::from_millis(limits.pre_auth_ms) {
            self.attachments.unjoined()?;
        }
        self.attachments.expire(now)?;
        if now >= self.sent + Duration::from_millis(limits.keep_alive_ms) {
            if let Some(frame) = self.attachments.keep_alive() {
                self.outbound.push(frame);
            }
            self.sent = now;
        }
        if now >= self.next_ping {
            if self.missed >= 2 {
                return Err(Closing::Timeout("no answer to two pings"));
            }
            self.missed += 1;
            self.control_frames = 0;
            self.next_ping = now + ping_interval(&self.app);
            let limit = Duration::from_millis(limits.send_ms);
            match timeout(limit, self.socket.send(Message::Ping(Bytes::new()))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Closing::Gone),
                Err(_) => return Err(Closing::Resync),
            }
        }
        Ok(())
    }
}

/// A large message with its share of memory.
struct Admitted {
    frame: Bytes,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Admitted {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

/// Jitter keeps the pings of many sockets apart.
fn ping_interval(app: &App) -> Duration {
    let base = app.config.limits.ping_every_ms;
    Duration::from_millis(base + fastrand::u64(0..=base / 2))
}

/// Cuts a reason to what fits in a close frame; a longer one could not be sent at all.
fn clip(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES)]
}

fn fault(error: &Error) -> Closing {
    match error {
        Error::Capacity(error) => Closing::TooBig(format!("{error}: send less at once, or upload over HTTP")),
        Error::Protocol(_) | Error::Utf8(_) => Closing::Malformed("not a WebSocket frame".to_owned()),
        _ => Closing::Gone,
    }
}

/// Encodes the frame that feeds the client's watchdog, for the family and address that it will understand.
pub(crate) fn keep_alive_frame(family: &Family, address: Option<&str>) -> Bytes {
    match family {
        Family::Hocuspocus { pings: true } => frame::encode(address, &Reply::Ping),
        _ => frame::encode(address, &Reply::Awareness(EMPTY_AWARENESS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_to_what_a_close_frame_holds() {
        assert_eq!(clip("too big"), "too big");
        let long = "\u{fc}".repeat(100);
        assert_eq!(clip(&long), "\u{fc}".repeat(61));
    }
}
