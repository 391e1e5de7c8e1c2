//! The client's half of the wire, written from the protocol pages and not from the crate `protocol`: what a
//! simulated device sends and understands.

/// What a server said, as far as clients act on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Its state vector: the client answers with a SyncStep2.
    Step1(Vec<u8>),
    /// What the client lacks.
    Step2(Vec<u8>),
    /// An edit.
    Update(Vec<u8>),
    /// Awareness states.
    Awareness,
    /// Access or an update was refused.
    Denied(String),
    /// Hocuspocus: the token is good.
    Authenticated,
    /// Hocuspocus: SyncStatus.
    Status(bool),
    /// y-sweet: 102.
    Version(u64),
    /// Anything else that clients know and ignore.
    Other,
}

/// Reads a frame of the server; `address` is that of a Hocuspocus client.
///
/// # Errors
/// What a client would throw on.
pub(crate) fn read(frame: &[u8], address: Option<&str>) -> Result<Said, String> {
    let mut at = Cursor(frame);
    if let Some(address) = address {
        let named = at.bytes()?;
        if named != address.as_bytes() {
            return Err("a frame for another address".to_owned());
        }
    }
    let said = match at.number()? {
        0 => match at.number()? {
            0 => Said::Step1(at.bytes()?.to_vec()),
            1 => Said::Step2(at.bytes()?.to_vec()),
            2 => Said::Update(at.bytes()?.to_vec()),
            other => return Err(format!("unknown sync message {other}")),
        },
        1 => {
            at.bytes()?;
            Said::Awareness
        }
        2 if address.is_none() => match at.number()? {
            0 => Said::Denied(at.text()?),
            other => return Err(format!("unknown auth message {other}")),
        },
        2 => match at.number()? {
            0 => Said::Other,
            1 => Said::Denied(at.text()?),
            2 => {
                at.text()?;
                Said::Authenticated
            }
            other => return Err(format!("unknown auth message {other}")),
        },
        5 if address.is_some() => {
            at.text()?;
            Said::Other
        }
        8 if address.is_some() => Said::Status(at.number()? == 1),
        102 if address.is_none() => {
            let inner = at.bytes()?;
            Said::Version(Cursor(inner).number()?)
        }
        110 if address.is_none() => {
            at.text()?;
            Said::Other
        }
        other => return Err(format!("unknown message type {other}")),
    };
    if at.0.is_empty() {
        Ok(said)
    } else {
        Err("a second message in the frame is lost on clients".to_owned())
    }
}

/// A frame of a client under construction.
#[derive(Debug, Default)]
pub(crate) struct Frame(Vec<u8>);

impl Frame {
    /// Starts a frame: the address, then nothing.
    pub(crate) fn to(address: Option<&str>) -> Self {
        let frame = Self::default();
        match address {
            Some(address) => frame.bytes(address.as_bytes()),
            None => frame,
        }
    }

    /// Adds a number.
    pub(crate) fn number(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    /// Adds bytes with their length.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let mut frame = self.number(bytes.len() as u64);
        frame.0.extend_from_slice(bytes);
        frame
    }

    /// Ends the frame.
    pub(crate) fn end(self) -> bytes::Bytes {
        self.0.into()
    }
}

/// Reads lib0.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn number(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let (first, rest) = self.0.split_first().ok_or("a frame ends early")?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is too long".to_owned())
    }

    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = usize::try_from(self.number()?).map_err(|error| error.to_string())?;
        if length > self.0.len() {
            return Err("a frame ends early".to_owned());
        }
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<String, String> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_the_protocol_pages_are_understood() {
        assert_eq!(read(b"\x03doc\x08\x01", Some("doc")), Ok(Said::Status(true)));
        assert_eq!(read(b"\x03doc\x02\x02\x0aread-write", Some("doc")), Ok(Said::Authenticated));
        assert_eq!(read(b"\x03doc\x00\x01\x02\x00\x00", Some("doc")), Ok(Said::Step2(vec![0, 0])));
        assert_eq!(read(b"\x00\x02\x02\x00\x00", None), Ok(Said::Update(vec![0, 0])));
        assert_eq!(read(b"\x66\x01\x05", None), Ok(Said::Version(5)));
        assert!(read(b"\x01\x01\x00\x00", None).is_err());
        let step1 = Frame::to(Some("doc")).number(0).number(0).bytes(&[0]).end();
        assert_eq!(&step1[..], b"\x03doc\x00\x00\x01\x00");
    }
}
