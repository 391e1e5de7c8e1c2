//! The task that keeps a connection: it connects, connects again with growing and jittered pauses, carries frames between
//! the socket and the keeper, and asks the application for tokens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::{
    Config,
    config::TokenSource,
    keeper::{Command, Lost, Order, Wire},
    socket::{Dialer, Socket},
};

/// Frames that may wait to be written; their bytes are bounded as well.
const ORDERS: usize = 8192;

/// What the application wants of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    /// There is to be one.
    pub(crate) online: bool,
    /// Rises when the network has changed: the pause before the next try is over.
    pub(crate) hurries: u64,
    /// Nothing comes after this.
    pub(crate) closed: bool,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// The application wants none any more.
    Unwanted,
    /// The token has expired, or is not taken.
    Token,
    /// As the server says, for a while or for good.
    Lost(Lost),
    /// Anything else: the network, a restart, a server that is busy.
    Gone,
}

/// What the task works with.
pub(crate) struct Link {
    pub(crate) config: Arc<Config>,
    pub(crate) dialer: Dialer,
    pub(crate) tokens: Arc<dyn TokenSource>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) wish: watch::Receiver<Wish>,
    /// Tries to connect since something was heard.
    pub(crate) tries: u32,
}

impl Link {
    /// Works until the client is closed.
    pub(crate) async fn run(mut self) {
        let (mut number, mut refused, mut is_fresh) = (0_u64, false, true);
        loop {
            if self.wish.wait_for(|wish| wish.online || wish.closed).await.is_err()
                || self.wish.borrow().closed
            {
                return;
            }
            if is_fresh && self.commands.send(Command::Dialing).await.is_err() {
                return;
            }
            number += 1;
            let hurries = self.wish.borrow_and_update().hurries;
            let end = match self.connect(refused).await {
                Ok((socket, token)) => self.hold(socket, token, number).await,
                Err(reason) => {
                    tracing::debug!(reason, "no connection");
                    End::Gone
                }
            };
            let lost = if let End::Lost(lost) = &end { Some(lost.clone()) } else { None };
            if self.commands.send(Command::Down(number, lost)).await.is_err() {
                return;
            }
            is_fresh = end == End::Unwanted;
            // A token that has just expired is no reason to wait, but one that is refused again is.
            let at_once = end == End::Token && (!refused || self.tries == 0);
            refused = end == End::Token;
            if end == End::Unwanted {
                self.tries = 0;
            } else {
                let hurried = !at_once && self.pause(hurries, matches!(end, End::Lost(_))).await;
                is_fresh = hurried || self.tries == 0;
                self.tries = self.tries.saturating_add(1);
            }
        }
    }

    /// Waits before the next try: a random part of a time that doubles. Says whether the application cut it short.
    async fn pause(&mut self, hurries: u64, longest: bool) -> bool {
        let limits = &self.config.limits;
        let most_ms = limits.retry_min_ms.saturating_mul(1 << self.tries.min(16)).min(limits.retry_max_ms);
        let most_ms = if longest { limits.retry_max_ms } else { most_ms }.max(1);
        // At least half of it: devices that lost a server together come back one by one, and none at once.
        let pause = Duration::from_millis(most_ms / 2 + fastrand::u64(0..=most_ms / 2));
        let changed = self.wish.wait_for(|wish| wish.closed || !wish.online || wish.hurries != hurries);
        timeout(pause, changed).await.is_ok()
    }

    async fn connect(&mut self, refused: bool) -> Result<(Socket, String), String> {
        let mut wish = self.wish.clone();
        let unwanted = wish.wait_for(|wish| wish.closed || !wish.online);
        let connected = async {
            let token = ask(&*self.tokens, &self.config, refused).await?;
            Ok((self.dialer.dial().await?, token))
        };
        tokio::select! {
            biased;
            _ = unwanted => Err("it is not wanted any more".to_owned()),
            connected = connected => connected,
        }
    }

    /// Carries frames for as long as the connection holds.
    async fn hold(&mut self, mut socket: Socket, token: String, number: u64) -> End {
        let (orders, mut inbox) = mpsc::channel(ORDERS);
        let queued = Arc::new(AtomicUsize::new(0));
        let wire = Wire { number, orders, queued: queued.clone() };
        if self.commands.send(Command::Up(wire, token)).await.is_err() {
            return End::Unwanted;
        }
        let silence = Duration::from_millis(self.config.limits.silence_ms);
        let mut silent_at = Instant::now() + silence;
        let mut asking: Option<tokio::task::JoinHandle<Result<String, String>>> = None;
        let end = loop {
            let wish = &mut self.wish;
            tokio::select! {
                biased;
                _ = wish.wait_for(|wish| wish.closed || !wish.online) => break End::Unwanted,
                order = inbox.recv() => match order {
                    Some(Order::Frame(frame)) => {
                        let bytes = frame.len();
                        if !write(&mut socket, frame, silence).await {
                            break End::Gone;
                        }
                        queued.fetch_sub(bytes, Ordering::Relaxed);
                    }
                    Some(Order::Token) if asking.is_none() => {
                        let (tokens, config) = (self.tokens.clone(), self.config.clone());
                        asking = Some(tokio::spawn(async move { ask(&*tokens, &config, true).await }));
                    }
                    Some(Order::Token) => {}
                    Some(Order::Hang) | None => break End::Gone,
                },
                given = async { match &mut asking { Some(task) => task.await, None => std::future::pending().await } } => {
                    asking = None;
                    let given = given.unwrap_or_else(|error| Err(error.to_string()));
                    if self.commands.send(Command::Token(number, given)).await.is_err() {
                        break End::Unwanted;
                    }
                }
                message = socket.next() => {
                    silent_at = Instant::now() + silence;
                    match message {
                        Some(Ok(Message::Binary(frame))) => {
                            // Who was let in far enough to hear something begins anew with short pauses.
                            self.tries = 0;
                            if self.commands.send(Command::Frame(number, frame)).await.is_err() {
                                break End::Unwanted;
                            }
                        }
                        Some(Ok(Message::Close(close))) => {
                            break close.map_or(End::Gone, |close| ending(close.code.into(), &close.reason));
                        }
                        Some(Ok(_)) => {}
                        Some(Err(error)) => {
                            tracing::debug!(%error, "the connection is gone");
                            break End::Gone;
                        }
                        None => break End::Gone,
                    }
                }
                () = sleep_until(silent_at) => break End::Gone,
            }
        };
        if let Some(task) = asking {
            task.abort();
        }
        // So that the server does not wait for us; it does not matter if it does.
        let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
        end
    }
}

async fn write(socket: &mut Socket, frame: Bytes, most: Duration) -> bool {
    let sent: Result<Result<(), tungstenite::Error>, _> =
        timeout(most, socket.send(Message::Binary(frame))).await;
    matches!(sent, Ok(Ok(())))
}

async fn ask(tokens: &dyn TokenSource, config: &Config, refused: bool) -> Result<String, String> {
    let most = Duration::from_millis(config.limits.token_timeout_ms);
    match timeout(most, tokens.token(refused)).await {
        Ok(Ok(token)) => Ok(token),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the application gave no token within {most:?}")),
    }
}

/// Reads a close code as the contract has them.
fn ending(code: u16, reason: &str) -> End {
    match code {
        4501 | 4401 => End::Token,
        1009 => End::Lost(Lost::TooBig(reason.to_owned())),
        4400 | 4403 | 4404 => End::Lost(Lost::Forbidden(reason.to_owned())),
        _ => End::Gone,
    }
}
