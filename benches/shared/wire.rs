//! The few frames of the three dialects that a device, or a relay, has to write and to tell apart.

use bytes::{BufMut, Bytes, BytesMut};

/// How a device talks: what stands before a message and how it learns that an edit is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// y-websocket: the document is in the URL; the sender's own update comes back once saved.
    Plain,
    /// y-sweet: plain, and a counter in message 102 that comes back once saved.
    Ysweet,
    /// Hocuspocus: the document stands in each frame; message 8 says saved.
    Hocuspocus,
}

/// One message from a server, as a device sees it.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The server's state vector.
    SyncStep1(&'a [u8]),
    /// What the server had and we lacked.
    SyncStep2(&'a [u8]),
    /// An update of another device, or our own coming back.
    Update(&'a [u8]),
    /// Message 8: true is saved, false is refused.
    Saved(bool),
    /// Message 102 with the largest version that is saved.
    Version(u64),
    /// The token was taken.
    Authenticated,
    /// The token, or the right to edit, was refused.
    Denied(&'a [u8]),
    /// A keep-alive that wants an answer.
    Ping,
    /// Anything a load generator has no use for, such as awareness.
    Other,
}

/// Appends a lib0 variable-length number.
pub fn put_var(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Appends bytes with their length in front.
pub fn put_buf(out: &mut impl BufMut, bytes: &[u8]) {
    put_var(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// Takes a lib0 variable-length number off the front.
#[inline]
pub fn take_var(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Takes bytes with their length in front off the front.
#[inline]
pub fn take_buf<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_var(bytes)?).ok()?;
    let (head, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(head)
}

/// Reads a message without its address; None where it is cut short.
pub fn read_message(mut body: &[u8]) -> Option<Heard<'_>> {
    let kind = take_var(&mut body)?;
    Some(match kind {
        0 => {
            let sub = take_var(&mut body)?;
            let payload = take_buf(&mut body)?;
            match sub {
                0 => Heard::SyncStep1(payload),
                1 => Heard::SyncStep2(payload),
                _ => Heard::Update(payload),
            }
        }
        2 => match take_var(&mut body)? {
            2 => Heard::Authenticated,
            0 if body.is_empty() => Heard::Other,
            _ => Heard::Denied(take_buf(&mut body)?),
        },
        8 => Heard::Saved(take_var(&mut body)? == 1),
        102 => Heard::Version(take_var(&mut take_buf(&mut body)?)?),
        _ => Heard::Other,
    })
}

/// Reads a frame as a device of `dialect` for the document addressed by `address` gets it.
pub fn read_frame<'a>(dialect: Dialect, address: &[u8], frame: &'a [u8]) -> Option<Heard<'a>> {
    if dialect != Dialect::Hocuspocus {
        return read_message(frame);
    }
    match frame.strip_prefix(address) {
        Some(body) => read_message(body),
        None if frame == [9] => Some(Heard::Ping),
        None => Some(Heard::Other),
    }
}

/// The address that stands before each message: empty but for Hocuspocus.
pub fn address(dialect: Dialect, document: &str) -> Bytes {
    let mut out = BytesMut::new();
    if dialect == Dialect::Hocuspocus {
        put_buf(&mut out, document.as_bytes());
    }
    out.freeze()
}

/// A sync message (0 SyncStep1, 1 SyncStep2, 2 Update) behind an address.
pub fn sync_frame(address: &[u8], sub: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(address.len() + payload.len() + 7);
    out.put_slice(address);
    out.put_slice(&[0, sub]);
    put_buf(&mut out, payload);
    out.freeze()
}

/// The first message of a Hocuspocus provider: its token and version.
pub fn auth_frame(address: &[u8], token: &str) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(address);
    out.put_slice(&[2, 0]);
    put_buf(&mut out, token.as_bytes());
    put_buf(&mut out, b"4.8.0");
    out.freeze()
}

/// Message 102 with a version.
pub fn version_frame(version: u64) -> Bytes {
    let mut number = BytesMut::new();
    put_var(&mut number, version);
    let mut out = BytesMut::new();
    out.put_u8(102);
    put_buf(&mut out, &number);
    out.freeze()
}

/// The state vector, and the update, of an empty document.
pub const EMPTY_STATE_VECTOR: &[u8] = &[0];
/// An update that holds nothing.
pub const EMPTY_UPDATE: &[u8] = &[0, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hocuspocus_update_reads_back_behind_its_address() {
        let address = address(Dialect::Hocuspocus, "doc");
        let frame = sync_frame(&address, 2, &[1, 2, 3]);
        assert_eq!(&frame[..], b"\x03doc\x00\x02\x03\x01\x02\x03");
        assert_eq!(read_frame(Dialect::Hocuspocus, &address, &frame), Some(Heard::Update(&[1, 2, 3])));
    }

    #[test]
    fn a_version_beyond_one_byte_reads_back() {
        assert_eq!(read_message(&version_frame(300)), Some(Heard::Version(300)));
    }

    #[test]
    fn a_frame_that_is_cut_short_is_no_message() {
        assert_eq!(read_message(&[0, 2, 5, 1]), None);
    }
}
