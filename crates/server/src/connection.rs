//! One WebSocket: a task that reads frames, gives them to their documents, and writes what is queued for it.

use std::{collections::VecDeque, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use syncline_protocol::frame::{self, EMPTY_AWARENESS, Reply};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::OwnedSemaphorePermit,
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
    egress,
    gate::{Gate, Shut},
    outbound::{Closing, Outbound},
    pace::Rate,
};

/// Frames handled before what they caused is written.
const FRAMES_AT_ONCE: usize = 64;
/// Pings and pongs in one ping interval before the peer is closed.
const CONTROL_FRAMES: u32 = 200;

/// Bytes in a ping interval that count as a sign of life.
const PROGRESS: u64 = 16 << 10;
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
        .read_buffer_size(1 << 10)
        // Only control frames are written through it.
        .write_buffer_size(0)
        .max_write_buffer_size(4 << 10)
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
    socket: WebSocketStream<Gate<S>>,
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
    /// Someone was let in: frames may be as long as messages.
    let_in: bool,
    /// Writing broke off inside a frame.
    torn: bool,
    /// Bytes that had passed at the last ping.
    passed: u64,
    opened: Instant,
}

impl<S: Wire> Connection<S> {
    pub(crate) fn new(
        app: Arc<App>,
        open: Arc<Open>,
        socket: WebSocketStream<Gate<S>>,
        visitor: Visitor,
    ) -> Self {
        let outbound = Arc::new(Outbound::new(app.room.clone()));
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
            let_in: false,
            torn: false,
            passed: 0,
            opened: now,
        }
    }

    /// Runs until the connection ends; then its peers are detached and it is closed with one code. Its place
    /// among the server's connections is given back at the end.
    pub(crate) async fn run(mut self: Box<Self>, place: Arc<OwnedSemaphorePermit>) {
        let closing = self.serve().await;
        if let Closing::TooBig(_) = closing {
            self.attachments.too_big();
        }
        self.attachments.leave_all();
        let (code, reason) = closing.code();
        tracing::debug!(code, reason, speaks = ?self.attachments.speaks(), "connection ended");
        if closing != Closing::Gone && !self.torn {
            self.app.metrics.closed(code);
            let close = CloseFrame { code: code.into(), reason: clip(reason).into() };
            // The peer may be gone or not read: it has this long to take the code.
            let _ = Box::pin(timeout(LINGER, self.say_goodbye(close))).await;
        }
        drop(place);
    }

    /// Sends the close frame, and lets the peer see it: a socket that is closed over unread bytes is reset, and the
    /// reset overtakes the code on its way to a peer that is still sending.
    async fn say_goodbye(&mut self, close: CloseFrame) {
        if self.socket.close(Some(close)).await.is_err() {
            // After some faults the WebSocket writes nothing more; the rest holds all the same.
            tracing::trace!("no close frame was sent");
        }
        let wire = self.socket.get_mut().inner_mut();
        let mut dropped = vec![0; 4 << 10];
        if wire.shutdown().await.is_ok() {
            while matches!(wire.read(&mut dropped).await, Ok(1..)) {}
        }
    }

    async fn serve(&mut self) -> Closing {
        let (draining, stopping) = (self.app.draining.clone(), self.app.stopping.clone());
        // The server's end waits for it: what is read is given to documents before these are closed.
        let mut turn = Some(self.open.registry.givers.token());
        // Re-armed only when it fires or something is due earlier: most wake-ups leave it alone.
        let mut timer = pin!(sleep_until(self.deadline()));
        loop {
            let reading = !draining.is_cancelled();
            if !reading {
                drop(turn.take());
            }
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
            // A socket that is never silent must not keep the time from passing.
            let timed = if Instant::now() >= self.deadline() { self.timers().await } else { Ok(()) };
            let outcome = outcome.and(timed);
            if matches!(outcome, Err(Closing::Gone)) {
                // The library answers a close frame; a data frame behind that is against the protocol.
                let _ = self.flush().await;
                return Closing::Gone;
            }
            // What was owed before a fault is still written.
            let written = {
                let mut writing = pin!(self.write());
                tokio::select! {
                    biased;
                    written = writing.as_mut() => written,
                    () = draining.cancelled() => {
                        // A reader that does not read holds up nobody's end: nothing more is read here.
                        drop(turn.take());
                        writing.await
                    }
                }
            };
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
        // Kept until the next message is asked for: else the reader would take its memory back for good.
        let mut spent = Bytes::new();
        while let Some(message) = next {
            let message = message.ok_or(Closing::Gone)?.map_err(|error| fault(&error))?;
            self.heard = Instant::now();
            self.missed = 0;
            match message {
                Message::Binary(frame) => {
                    self.app.metrics.bytes_in(frame.len());
                    let frame = match self.socket.get_mut().take_share() {
                        Some(share) => Bytes::from_owner(Shared { frame, _share: share }),
                        None => frame,
                    };
                    self.attachments.receive(&frame)?;
                    if !self.let_in && self.attachments.let_in() {
                        self.let_in = true;
                        self.socket.get_mut().lift();
                    }
                    spent = frame;
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
            if handled == FRAMES_AT_ONCE || self.outbound.is_urgent() || self.app.draining.is_cancelled() {
                break;
            }
            next = self.socket.next().now_or_never();
        }
        drop(spent);
        Ok(())
    }

    /// Writes everything that is queued.
    async fn write(&mut self) -> Result<(), Closing> {
        let rate = Rate::of(&self.app.config.limits);
        loop {
            let closing = self.outbound.take(&mut self.frames);
            if self.frames.is_empty() {
                return closing.map_or(Ok(()), Err);
            }
            let bytes = self.frames.iter().map(Bytes::len).sum();
            self.app.metrics.bytes_out(self.frames.len(), bytes);
            // A pong may be on its way.
            self.flush().await?;
            let wire = self.socket.get_mut().inner_mut();
            match egress::write_all(wire, &mut self.frames, rate).await {
                Ok(()) => self.sent = Instant::now(),
                Err(error) => {
                    // Half a frame may be out: a close frame would be read as its other half.
                    self.torn = true;
                    let slow = error.kind() == io::ErrorKind::TimedOut;
                    return Err(if slow { Closing::Resync } else { Closing::Gone });
                }
            }
            if self.frames.capacity() > 64 {
                self.frames = VecDeque::new();
            }
            if let Some(closing) = closing {
                return Err(closing);
            }
        }
    }

    /// Writes the control frames that the library holds.
    async fn flush(&mut self) -> Result<(), Closing> {
        let limit = Duration::from_millis(self.app.config.limits.send_ms);
        match timeout(limit, self.socket.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Closing::Gone),
            Err(_) => Err(Closing::Resync),
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
            let passed = self.socket.get_ref().passed();
            if passed - self.passed >= PROGRESS {
                // It has no turn for a pong before its long message is through.
                self.missed = 0;
            }
            self.passed = passed;
            if self.missed >= 2 {
                return Err(Closing::Timeout("no answer to two pings"));
            }
            self.missed += 1;
            self.control_frames = 0;
            self.next_ping = now + ping_interval(&self.app);
            self.socket.feed(Message::Ping(Bytes::new())).await.map_err(|error| fault(&error))?;
            self.flush().await?;
        }
        Ok(())
    }
}

/// A large message with its share of memory.
struct Shared {
    frame: Bytes,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Shared {
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
        Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(shut @ Shut::PreAuth) => Closing::PreAuth(shut.to_string()),
            Some(shut @ Shut::Starved) => Closing::TryLater(shut.to_string()),
            Some(Shut::Slow) => Closing::Timeout("a large message came too slowly"),
            None => Closing::Gone,
        },
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
