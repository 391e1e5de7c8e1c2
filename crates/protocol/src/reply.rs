//! The other direction of [`frame`](crate::frame): what a device reads from a server in the Hocuspocus dialect, and the
//! one frame that only devices write.
//!
//! A device believes a server as little as a server believes a device: whatever it reads is bounds-checked here, and
//! updates go through [`Known::judge`](crate::known::Known::judge) like any others.

use bytes::Bytes;

use crate::{
    frame::{Address, FrameError, Reply},
    lib0::{Reader, write_str, write_var_uint},
};

/// A frame that a server sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFrame<'a> {
    /// Wants a pong (`0a`): the only frame without an address.
    Ping,
    /// Something about a document.
    Addressed(Address<'a>, Reply<'a>),
    /// The server ends this document on this socket, with a reason: only a new socket brings it back.
    Closed(Address<'a>, &'a str),
}

/// The answer to [`ServerFrame::Ping`].
pub const PONG: &[u8] = &[10];

/// Reads a frame that a server sent in the Hocuspocus dialect.
///
/// # Errors
/// [`FrameError`].
pub fn decode_hocuspocus(frame: &[u8]) -> Result<ServerFrame<'_>, FrameError> {
    match frame {
        [] => return Err(FrameError::Empty),
        [9] => return Ok(ServerFrame::Ping),
        _ => {}
    }
    let mut reader = Reader::new(frame);
    let address = Address::parse(reader.str()?);
    let reply = match reader.var_uint()? {
        0 => match reader.var_uint()? {
            0 => Reply::SyncStep1(reader.buf()?),
            1 => Reply::SyncStep2(reader.buf()?),
            2 => Reply::Update(reader.buf()?),
            other => return Err(FrameError::UnknownSync(other)),
        },
        1 => Reply::Awareness(reader.buf()?),
        2 => match reader.var_uint()? {
            0 => Reply::AskToken,
            1 => Reply::Denied(reader.str()?),
            2 => Reply::Authenticated { read_only: reader.str()? == "readonly" },
            other => return Err(FrameError::UnknownAuth(other)),
        },
        5 => Reply::Json(reader.str()?),
        7 => {
            let reason = reader.str()?;
            return end(&reader).map(|()| ServerFrame::Closed(address, reason));
        }
        8 => Reply::Status { saved: reader.var_uint()? == 1 },
        other => return Err(FrameError::UnknownType(other)),
    };
    end(&reader).map(|()| ServerFrame::Addressed(address, reply))
}

fn end(reader: &Reader<'_>) -> Result<(), FrameError> {
    if reader.is_empty() { Ok(()) } else { Err(FrameError::TrailingBytes) }
}

/// Writes the frame that shows a token for a document. With a version of 4 or later the server sends [`ServerFrame::Ping`].
pub fn encode_auth(address: &str, token: &str, version: &str) -> Bytes {
    let mut out = Vec::with_capacity(address.len() + token.len() + version.len() + 16);
    write_str(&mut out, address);
    write_var_uint(&mut out, 2);
    write_var_uint(&mut out, 0);
    write_str(&mut out, token);
    write_str(&mut out, version);
    Bytes::from(out)
}

/// Writes the frame with which a device leaves a document and keeps the socket.
pub fn encode_detach(address: &str) -> Bytes {
    let mut out = Vec::with_capacity(address.len() + 8);
    write_str(&mut out, address);
    write_var_uint(&mut out, 7);
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{HocuspocusFrame, Message, decode_hocuspocus as decode_client, encode};

    #[test]
    fn a_device_reads_what_a_server_writes() {
        for reply in [
            Reply::SyncStep1(&[0]),
            Reply::SyncStep2(&[0, 0]),
            Reply::Update(&[1, 2, 3]),
            Reply::Awareness(&[0]),
            Reply::AskToken,
            Reply::Denied("no"),
            Reply::Authenticated { read_only: true },
            Reply::Authenticated { read_only: false },
            Reply::Status { saved: true },
            Reply::Status { saved: false },
            Reply::Json("{}"),
        ] {
            let frame = encode(Some("ada/n"), &reply);
            let read = decode_hocuspocus(&frame);
            assert_eq!(read, Ok(ServerFrame::Addressed(Address::parse("ada/n"), reply)));
            for end in 0..frame.len() {
                assert!(decode_hocuspocus(&frame[..end]).is_err(), "{reply:?} cut at {end}");
            }
            assert_eq!(
                decode_hocuspocus(&[&frame[..], &[0]].concat()),
                Err(FrameError::TrailingBytes),
                "{reply:?}"
            );
        }
        assert_eq!(decode_hocuspocus(&encode(Some("d"), &Reply::Ping)), Ok(ServerFrame::Ping));
        assert_eq!(decode_hocuspocus(b"\x01d\x07\x02by"), Ok(ServerFrame::Closed(Address::parse("d"), "by")));
        assert_eq!(decode_hocuspocus(b"\x01d\x66"), Err(FrameError::UnknownType(102)));
    }

    #[test]
    fn a_server_reads_what_a_device_writes() {
        let frame = encode_auth("d", "T", "4.8.0");
        assert_eq!(&frame[..], b"\x01d\x02\x00\x01T\x054.8.0");
        let detached = HocuspocusFrame::Addressed(Address::parse("d"), Message::Detach);
        assert_eq!(decode_client(&encode_detach("d")), Ok(detached));
    }
}
