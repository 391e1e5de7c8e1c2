//! lib0's primitives: variable-length integers, buffers, strings. Reading never allocates and never believes a length
//! before it has compared it with the bytes that are there.

/// Largest integer a lib0 peer can mean: JavaScript's `Number.MAX_SAFE_INTEGER`.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Why bytes are not what they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The bytes end before the value does.
    #[error("the message ends too early")]
    Truncated,
    /// An integer in more bytes than it needs: two encodings of one message would slip past comparisons by bytes.
    #[error("an integer is not written in its shortest form")]
    NotMinimal,
    /// An integer above 2^53 - 1, or above what its place allows.
    #[error("an integer is out of range")]
    TooLarge,
    /// A string that is not UTF-8.
    #[error("a text is not valid utf-8")]
    BadText,
}

/// Reads lib0 values off the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Returns how many bytes are left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Returns how many bytes were read.
    #[inline]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Tells whether everything was read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`ReadError::Truncated`].
    #[inline]
    pub fn byte(&mut self) -> Result<u8, ReadError> {
        let byte = *self.bytes.get(self.at).ok_or(ReadError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    /// Takes the next `count` bytes.
    ///
    /// # Errors
    /// [`ReadError::Truncated`].
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        if count > self.remaining() {
            return Err(ReadError::Truncated);
        }
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    /// Reads a `varUint` of at most 2^53 - 1.
    ///
    /// # Errors
    /// Truncated, not minimal, too large.
    #[inline]
    pub fn var_uint(&mut self) -> Result<u64, ReadError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        self.var_uint_tail(u64::from(first & 0x7f))
    }

    fn var_uint_tail(&mut self, mut value: u64) -> Result<u64, ReadError> {
        let mut shift = 7;
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if byte == 0 {
                    Err(ReadError::NotMinimal)
                } else if value > MAX_SAFE_INTEGER {
                    Err(ReadError::TooLarge)
                } else {
                    Ok(value)
                };
            }
            shift += 7;
            if shift > 49 {
                return Err(ReadError::TooLarge);
            }
        }
    }

    /// Reads a `varUint` that fits in 32 bits.
    ///
    /// # Errors
    /// As [`Reader::var_uint`].
    #[inline]
    pub fn var_u32(&mut self) -> Result<u32, ReadError> {
        u32::try_from(self.var_uint()?).map_err(|_| ReadError::TooLarge)
    }

    /// Skips a `varInt` (sign in the second bit) of at most 53 bits.
    ///
    /// # Errors
    /// As [`Reader::var_uint`].
    pub fn skip_var_int(&mut self) -> Result<(), ReadError> {
        let mut byte = self.byte()?;
        let mut bits = 6;
        let mut first = true;
        while byte >= 0x80 {
            byte = self.byte()?;
            bits += 7;
            first = false;
            // 6 + 7 * 7 = 55 bits. yrs shifts by up to 69 and negates: both overflow, and panic, on longer ones.
            if bits > 55 {
                return Err(ReadError::TooLarge);
            }
        }
        if !first && byte == 0 { Err(ReadError::NotMinimal) } else { Ok(()) }
    }

    /// Reads a length and that many bytes.
    ///
    /// # Errors
    /// As [`Reader::var_uint`].
    #[inline]
    pub fn buf(&mut self) -> Result<&'a [u8], ReadError> {
        let length = usize::try_from(self.var_uint()?).map_err(|_| ReadError::TooLarge)?;
        self.take(length)
    }

    /// Reads a length and that many bytes of UTF-8.
    ///
    /// # Errors
    /// As [`Reader::var_uint`], and [`ReadError::BadText`].
    #[inline]
    pub fn str(&mut self) -> Result<&'a str, ReadError> {
        std::str::from_utf8(self.buf()?).map_err(|_| ReadError::BadText)
    }
}

/// Returns how many bytes a `varUint` takes.
pub const fn var_uint_len(value: u64) -> usize {
    if value == 0 { 1 } else { (63 - value.leading_zeros() as usize) / 7 + 1 }
}

/// Appends a `varUint`.
pub fn write_var_uint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length and the bytes.
pub fn write_buf(out: &mut Vec<u8>, bytes: &[u8]) {
    write_var_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a length and the text.
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    write_buf(out, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back_as_written() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), MAX_SAFE_INTEGER] {
            let mut out = Vec::new();
            write_var_uint(&mut out, value);
            assert_eq!(out.len(), var_uint_len(value), "{value}");
            let mut reader = Reader::new(&out);
            assert_eq!(reader.var_uint(), Ok(value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn odd_integers_are_refused() {
        let read = |bytes: &[u8]| Reader::new(bytes).var_uint();
        assert_eq!(read(&[]), Err(ReadError::Truncated));
        assert_eq!(read(&[0x80]), Err(ReadError::Truncated));
        assert_eq!(read(&[0x80, 0]), Err(ReadError::NotMinimal));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f]), Err(ReadError::TooLarge));
        assert_eq!(read(&[0xff; 12]), Err(ReadError::TooLarge));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x7f]).var_u32(), Err(ReadError::TooLarge));
    }

    #[test]
    fn a_signed_integer_keeps_within_its_bits() {
        let skip = |bytes: &[u8]| Reader::new(bytes).skip_var_int();
        assert_eq!(skip(&[0x40]), Ok(()), "minus zero, as JavaScript writes it");
        assert_eq!(skip(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), Ok(()));
        assert_eq!(skip(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Err(ReadError::TooLarge));
        assert_eq!(skip(&[0x80, 0]), Err(ReadError::NotMinimal));
    }

    #[test]
    fn a_length_beyond_the_bytes_is_refused() {
        assert_eq!(Reader::new(&[5, 1, 2]).buf(), Err(ReadError::Truncated));
        assert_eq!(Reader::new(&[1, 0xff]).str(), Err(ReadError::BadText));
        assert_eq!(Reader::new(&[2, b'h', b'i']).str(), Ok("hi"));
    }
}
