//! A WebSocket client, frame by frame: it does what a test says and nothing of its own.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use syncline_protocol::{
    frame::{Reply, encode},
    lib0::{Reader, write_str, write_var_uint},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        handshake::client::Request,
        http::{HeaderName, HeaderValue, StatusCode},
    },
};

use crate::DEADLINE;

/// Something the server did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It sent a SyncStep1 with this state vector.
    Step1(Bytes),
    /// It sent a SyncStep2 with this update.
    Step2(Bytes),
    /// It sent an Update.
    Update(Bytes),
    /// It sent awareness.
    Awareness(Bytes),
    /// It denied something, with this reason.
    Denied(String),
    /// It asked for a token.
    AskToken,
    /// It accepted a token, for this scope.
    Authenticated(String),
    /// It said saved (true) or refused.
    Status(bool),
    /// It confirmed a y-sweet version.
    Version(u64),
    /// It sent JSON.
    Json(String),
    /// It sent the frame 09.
    Ping,
    /// It closed with this code and reason.
    Closed(u16, String),
}

/// A connection. With an address frames are Hocuspocus', without plain.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    address: Option<String>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to a path.
    ///
    /// # Errors
    /// The server refused the upgrade: see [`Client::try_connect`] for its status.
    pub async fn connect(server: SocketAddr, path: &str) -> anyhow::Result<Self> {
        Self::try_connect(server, path, &[]).await?.map_err(|status| anyhow::anyhow!("refused: {status}"))
    }

    /// Connects to a path with headers; the inner error is the status of a refusal.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn try_connect(
        server: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Result<Self, StatusCode>> {
        Self::over(TcpStream::connect(server).await?, server, path, headers).await
    }

    /// As [`Client::try_connect`], over a connection of the caller's.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn over(
        stream: TcpStream,
        server: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Result<Self, StatusCode>> {
        stream.set_nodelay(true)?;
        let mut request: Request = format!("ws://{server}{path}").into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(HeaderName::try_from(*name)?, HeaderValue::from_str(value)?);
        }
        match timeout(DEADLINE, client_async(request, stream)).await.context("no answer to the upgrade")? {
            Ok((socket, _)) => Ok(Ok(Self { socket, address: None })),
            Err(Error::Http(response)) => Ok(Err(response.status())),
            Err(error) => Err(error.into()),
        }
    }

    /// Speaks the Hocuspocus dialect from now on, under this address.
    #[must_use]
    pub fn addressed(mut self, address: &str) -> Self {
        self.address = Some(address.to_owned());
        self
    }

    /// Sends a message that both sides may send.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, message: &Reply<'_>) -> anyhow::Result<()> {
        let frame = encode(self.address.as_deref(), message);
        self.send_frame(frame).await
    }

    /// Sends Hocuspocus' Auth.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_auth(&mut self, token: &str, version: Option<&str>) -> anyhow::Result<()> {
        let mut frame = Vec::new();
        write_str(&mut frame, self.address.as_deref().context("Auth is Hocuspocus'")?);
        write_var_uint(&mut frame, 2);
        write_var_uint(&mut frame, 0);
        write_str(&mut frame, token);
        if let Some(version) = version {
            write_str(&mut frame, version);
        }
        self.send_frame(frame.into()).await
    }

    /// Sends a binary message as it is.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_frame(&mut self, frame: Bytes) -> anyhow::Result<()> {
        self.send_message(Message::Binary(frame)).await
    }

    /// Sends a WebSocket message as it is.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_message(&mut self, message: Message) -> anyhow::Result<()> {
        Ok(timeout(DEADLINE, self.socket.send(message)).await.context("the server does not read")??)
    }

    /// Waits for what the server does next.
    ///
    /// # Errors
    /// Nothing came in time, or what came is not the protocol.
    pub async fn next(&mut self) -> anyhow::Result<Event> {
        timeout(DEADLINE, self.read()).await.context("nothing came")?
    }

    async fn read(&mut self) -> anyhow::Result<Event> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(frame))) => return parse(&frame, self.address.as_deref()),
                Some(Ok(Message::Close(Some(close)))) => {
                    return Ok(Event::Closed(close.code.into(), close.reason.to_string()));
                }
                Some(Ok(Message::Close(None))) | None => return Ok(Event::Closed(1006, String::new())),
                Some(Ok(Message::Text(text))) => bail!("a text frame: {text}"),
                Some(Ok(_)) => {}
                Some(Err(_)) => return Ok(Event::Closed(1006, String::new())),
            }
        }
    }

    /// Waits until `wanted` picks something; what comes before is let go, a close is an error.
    ///
    /// # Errors
    /// It did not come.
    pub async fn until<R>(&mut self, mut wanted: impl FnMut(&Event) -> Option<R>) -> anyhow::Result<R> {
        loop {
            let event = self.next().await?;
            if let Some(found) = wanted(&event) {
                return Ok(found);
            }
            if let Event::Closed(code, reason) = event {
                bail!("closed with {code} {reason:?}");
            }
        }
    }

    /// Waits until the server closes; returns code and reason.
    ///
    /// # Errors
    /// It did not close in time.
    pub async fn closed(&mut self) -> anyhow::Result<(u16, String)> {
        self.until(|event| match event {
            Event::Closed(code, reason) => Some((*code, reason.clone())),
            _ => None,
        })
        .await
    }
}

fn parse(frame: &[u8], address: Option<&str>) -> anyhow::Result<Event> {
    let mut reader = Reader::new(frame);
    if address.is_some() {
        if frame == [9] {
            return Ok(Event::Ping);
        }
        let named = reader.str()?;
        anyhow::ensure!(Some(named) == address, "a frame for {named:?}");
    }
    let copy = Bytes::copy_from_slice;
    let event = match (reader.var_uint()?, address.is_some()) {
        (0, _) => match reader.var_uint()? {
            0 => Event::Step1(copy(reader.buf()?)),
            1 => Event::Step2(copy(reader.buf()?)),
            2 => Event::Update(copy(reader.buf()?)),
            kind => bail!("sync message {kind}"),
        },
        (1, _) => Event::Awareness(copy(reader.buf()?)),
        (2, false) => {
            anyhow::ensure!(reader.var_uint()? == 0, "plain auth is a denial");
            Event::Denied(reader.str()?.to_owned())
        }
        (2, true) => match reader.var_uint()? {
            0 => Event::AskToken,
            1 => Event::Denied(reader.str()?.to_owned()),
            2 => Event::Authenticated(reader.str()?.to_owned()),
            kind => bail!("auth message {kind}"),
        },
        (8, true) => Event::Status(reader.var_uint()? == 1),
        (102, false) => Event::Version(Reader::new(reader.buf()?).var_uint()?),
        (5, true) | (110, false) => Event::Json(reader.str()?.to_owned()),
        (kind, _) => bail!("message type {kind}"),
    };
    anyhow::ensure!(reader.is_empty(), "bytes after a {event:?}");
    Ok(event)
}
