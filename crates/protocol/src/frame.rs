//! Frames: one WebSocket message each, in three dialects (plain, y-sweet = plain + 102, Hocuspocus), byte by byte.
//! Golden vectors: `tests/vectors/frames.json`.

use bytes::Bytes;

use crate::lib0::{ReadError, Reader, var_uint_len, write_buf, write_str, write_var_uint};

/// The awareness message without states: with [`encode`] it is the keep-alive `01 01 00`.
pub const EMPTY_AWARENESS: &[u8] = &[0];

const SYNC: u64 = 0;
const AWARENESS: u64 = 1;
const AUTH: u64 = 2;
const QUERY_AWARENESS: u64 = 3;
const SYNC_REPLY: u64 = 4;
const STATELESS: u64 = 5;
const BROADCAST_STATELESS: u64 = 6;
const CLOSE: u64 = 7;
const SYNC_STATUS: u64 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const VERSION: u64 = 102;
const PLAIN_JSON: u64 = 110;

/// Which of the three a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// y-websocket: the URL names the document.
    Plain,
    /// Plain with type 102.
    Ysweet,
    /// Every frame starts with an address.
    Hocuspocus,
}

/// What a client says. Payloads are the bytes inside the length prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Its state vector; it wants what it lacks.
    SyncStep1(&'a [u8]),
    /// The update that answers a SyncStep1 of ours.
    SyncStep2(&'a [u8]),
    /// An edit.
    Update(&'a [u8]),
    /// Awareness states.
    Awareness(&'a [u8]),
    /// Wants everyone's awareness.
    QueryAwareness,
    /// Hocuspocus: a token, perhaps empty, and from v4 on the provider's version.
    Auth {
        /// The token.
        token: &'a str,
        /// The provider's version: who sends it understands ping.
        version: Option<&'a str>,
    },
    /// A text for the application: type 5 in Hocuspocus, 110 in the plain dialect.
    Stateless(&'a str),
    /// Hocuspocus: leaves this document, keeps the socket.
    Detach,
    /// y-sweet: how many edits the client has made.
    Version(u64),
}

/// The document a Hocuspocus frame is about, as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// All of it: replies bear the same.
    pub raw: &'a str,
    /// The document's name.
    pub document: &'a str,
    /// What follows the first NUL: tells two providers of one document on one socket apart.
    pub session: Option<&'a str>,
}

impl<'a> Address<'a> {
    /// Takes an address apart.
    pub fn parse(raw: &'a str) -> Self {
        match raw.split_once('\0') {
            Some((document, session)) => Self { raw, document, session: Some(session) },
            None => Self { raw, document: raw, session: None },
        }
    }
}

/// A frame of the Hocuspocus dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HocuspocusFrame<'a> {
    /// The answer to a ping: the only frame without an address.
    Pong,
    /// Everything else.
    Addressed(Address<'a>, Message<'a>),
}

/// Why a frame is refused. The text is the close reason: 123 bytes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No bytes at all.
    #[error("malformed frame: empty")]
    Empty,
    /// The bytes end early.
    #[error("malformed frame: ends too early")]
    Truncated,
    /// More than one message, or rubbish after it.
    #[error("malformed frame: bytes after the message; send one message a frame")]
    TrailingBytes,
    /// An integer in more bytes than it needs.
    #[error("malformed frame: an integer is not in its shortest form")]
    NotMinimal,
    /// An integer over 2^53 - 1.
    #[error("malformed frame: an integer is too large")]
    TooLarge,
    /// A text that is not UTF-8.
    #[error("malformed frame: a text is not valid utf-8")]
    BadText,
    /// A message type nobody has defined.
    #[error("unknown message type {0}")]
    UnknownType(u64),
    /// A sync message that is none of 0, 1, 2.
    #[error("unknown sync message {0}")]
    UnknownSync(u64),
    /// An auth message that no client sends.
    #[error("unknown auth message {0}")]
    UnknownAuth(u64),
    /// A message type that only servers send.
    #[error("message type {0} comes from servers only")]
    ServerOnly(u64),
}

impl From<ReadError> for FrameError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Truncated => Self::Truncated,
            ReadError::NotMinimal => Self::NotMinimal,
            ReadError::TooLarge => Self::TooLarge,
            ReadError::BadText => Self::BadText,
        }
    }
}

/// Reads a frame of the plain dialect, y-sweet's 102 included.
///
/// # Errors
/// [`FrameError`].
pub fn decode_plain(frame: &[u8]) -> Result<Message<'_>, FrameError> {
    if frame.is_empty() {
        return Err(FrameError::Empty);
    }
    let mut reader = Reader::new(frame);
    let message = match reader.var_uint()? {
        SYNC => sync(&mut reader)?,
        AWARENESS => Message::Awareness(reader.buf()?),
        AUTH => return Err(FrameError::ServerOnly(AUTH)),
        // y-sweet sends its awareness along: what follows is not looked at.
        QUERY_AWARENESS => return Ok(Message::QueryAwareness),
        VERSION => {
            let mut inner = Reader::new(reader.buf()?);
            let version = inner.var_uint()?;
            end(&inner)?;
            Message::Version(version)
        }
        PLAIN_JSON => Message::Stateless(reader.str()?),
        other => return Err(FrameError::UnknownType(other)),
    };
    end(&reader)?;
    Ok(message)
}

/// Reads a frame of the Hocuspocus dialect.
///
/// # Errors
/// [`FrameError`].
pub fn decode_hocuspocus(frame: &[u8]) -> Result<HocuspocusFrame<'_>, FrameError> {
    match frame {
        [] => return Err(FrameError::Empty),
        [PONG] => return Ok(HocuspocusFrame::Pong),
        [PING] => return Err(FrameError::ServerOnly(u64::from(PING))),
        _ => {}
    }
    let mut reader = Reader::new(frame);
    let address = Address::parse(reader.str()?);
    let message = match reader.var_uint()? {
        SYNC => sync(&mut reader)?,
        AWARENESS => Message::Awareness(reader.buf()?),
        AUTH => match reader.var_uint()? {
            0 => {
                let token = reader.str()?;
                let version = if reader.is_empty() { None } else { Some(reader.str()?) };
                Message::Auth { token, version }
            }
            other => return Err(FrameError::UnknownAuth(other)),
        },
        QUERY_AWARENESS => return Ok(HocuspocusFrame::Addressed(address, Message::QueryAwareness)),
        STATELESS => Message::Stateless(reader.str()?),
        CLOSE => Message::Detach,
        server @ (SYNC_REPLY | BROADCAST_STATELESS | SYNC_STATUS) => {
            return Err(FrameError::ServerOnly(server));
        }
        ping if ping == u64::from(PING) => return Err(FrameError::ServerOnly(ping)),
        other => return Err(FrameError::UnknownType(other)),
    };
    end(&reader)?;
    Ok(HocuspocusFrame::Addressed(address, message))
}

fn sync<'a>(reader: &mut Reader<'a>) -> Result<Message<'a>, FrameError> {
    match reader.var_uint()? {
        0 => Ok(Message::SyncStep1(reader.buf()?)),
        1 => Ok(Message::SyncStep2(reader.buf()?)),
        2 => Ok(Message::Update(reader.buf()?)),
        other => Err(FrameError::UnknownSync(other)),
    }
}

fn end(reader: &Reader<'_>) -> Result<(), FrameError> {
    if reader.is_empty() { Ok(()) } else { Err(FrameError::TrailingBytes) }
}

/// What the server says. Payloads are the bytes inside the length prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Our state vector.
    SyncStep1(&'a [u8]),
    /// What the client lacks.
    SyncStep2(&'a [u8]),
    /// An edit of someone, or in the plain dialect the sender's own once it is saved.
    Update(&'a [u8]),
    /// Awareness states; [`EMPTY_AWARENESS`] keeps a client's watchdog quiet.
    Awareness(&'a [u8]),
    /// Access refused, or an update was: the reason is shown to developers.
    Denied(&'a str),
    /// Hocuspocus: send your token (again).
    AskToken,
    /// Hocuspocus: the token is good.
    Authenticated {
        /// It allows reading only.
        read_only: bool,
    },
    /// Hocuspocus: one Update, or the SyncStep2 of a sync the client started, is saved or refused.
    Status {
        /// It is on disk.
        saved: bool,
    },
    /// y-sweet: the last version of this connection that is saved.
    Version(u64),
    /// A text for the application: type 5 in Hocuspocus, 110 in the plain dialect.
    Json(&'a str),
    /// Hocuspocus v4: bears no address.
    Ping,
}

/// Writes a frame in one allocation of its exact size. With an address it is a Hocuspocus frame, without one a plain
/// one; `AskToken`, `Authenticated`, `Status` and `Ping` mean something to Hocuspocus clients only.
pub fn encode(address: Option<&str>, reply: &Reply<'_>) -> Bytes {
    if matches!(reply, Reply::Ping) {
        return Bytes::from_static(&[PING]);
    }
    let (head, body) = parts(address.is_some(), reply);
    let mut size = head.len();
    size += address.map_or(0, |address| var_uint_len(address.len() as u64) + address.len());
    size += match body {
        Body::None => 0,
        Body::Buf(bytes) => var_uint_len(bytes.len() as u64) + bytes.len(),
        Body::Version(version) => 1 + var_uint_len(version),
    };
    let mut out = Vec::with_capacity(size);
    if let Some(address) = address {
        write_str(&mut out, address);
    }
    out.extend_from_slice(head);
    match body {
        Body::None => {}
        Body::Buf(bytes) => write_buf(&mut out, bytes),
        Body::Version(version) => {
            out.push(var_uint_len(version) as u8);
            write_var_uint(&mut out, version);
        }
    }
    debug_assert_eq!(out.len(), size);
    Bytes::from(out)
}

enum Body<'a> {
    None,
    Buf(&'a [u8]),
    Version(u64),
}

fn parts<'a>(hocuspocus: bool, reply: &Reply<'a>) -> (&'static [u8], Body<'a>) {
    match *reply {
        Reply::SyncStep1(bytes) => (&[0, 0], Body::Buf(bytes)),
        Reply::SyncStep2(bytes) => (&[0, 1], Body::Buf(bytes)),
        Reply::Update(bytes) => (&[0, 2], Body::Buf(bytes)),
        Reply::Awareness(bytes) => (&[1], Body::Buf(bytes)),
        Reply::Denied(reason) if hocuspocus => (&[2, 1], Body::Buf(reason.as_bytes())),
        Reply::Denied(reason) => (&[2, 0], Body::Buf(reason.as_bytes())),
        Reply::AskToken => (&[2, 0], Body::None),
        Reply::Authenticated { read_only: true } => (&[2, 2], Body::Buf(b"readonly")),
        Reply::Authenticated { read_only: false } => (&[2, 2], Body::Buf(b"read-write")),
        Reply::Status { saved } => (if saved { &[8, 1] } else { &[8, 0] }, Body::None),
        Reply::Version(version) => (&[102], Body::Version(version)),
        Reply::Json(text) if hocuspocus => (&[5], Body::Buf(text.as_bytes())),
        Reply::Json(text) => (&[110], Body::Buf(text.as_bytes())),
        Reply::Ping => (&[PING], Body::None),
    }
}
