//! The files that messages refer to: how an archive carries them, and which its content names.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
};

use memchr::memmem;
use serde::{Deserialize, Serialize};

/// How the `url` of a file part refers to a blob of its user; 64 hexadecimal digits in lower case follow.
pub const BLOB_URL: &str = "blob:sha256:";
/// Digits of a name.
const DIGITS: usize = 64;
/// Names that are remembered of what an archive holds.
const NAMES: usize = 20_000;

/// `blobs.json`: which files are in the archive, and which are not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blobs {
    /// Those that are in it, each as `blobs/{sha256}`.
    #[serde(default)]
    pub blobs: Vec<Blob>,
    /// Those that the server had and that are not in it.
    #[serde(default)]
    pub left: Vec<LeftBlob>,
    /// Names in what the archive holds under which the server had nothing: not uploaded yet, or collected.
    #[serde(default)]
    pub absent: Vec<String>,
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob {
    /// The SHA-256 of its content, in 64 hexadecimal digits: its name.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Its media type, as its uploader named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

/// A file that is not in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBlob {
    /// Its name.
    pub sha256: String,
    /// Why it is not.
    pub why: String,
}

/// The names of blobs in what was written.
#[derive(Debug, Default)]
pub(super) struct Names {
    found: BTreeSet<String>,
    /// The end of what was seen: a name may begin in it.
    end: Vec<u8>,
}

impl Names {
    /// Returns them.
    pub(super) fn found(&self) -> &BTreeSet<String> {
        &self.found
    }

    fn see(&mut self, bytes: &[u8]) {
        const WHOLE: usize = BLOB_URL.len() + DIGITS;
        // A name that is cut by the end of the piece before is whole with the beginning of this one.
        self.end.extend(&bytes[..bytes.len().min(WHOLE)]);
        gather(&self.end, &mut self.found);
        gather(bytes, &mut self.found);
        if bytes.len() > WHOLE {
            self.end.clear();
            self.end.extend(&bytes[bytes.len() - WHOLE..]);
        } else {
            let surplus = self.end.len().saturating_sub(WHOLE);
            self.end.drain(..surplus);
        }
    }
}

fn gather(bytes: &[u8], found: &mut BTreeSet<String>) {
    for name in names_in(bytes) {
        if found.len() < NAMES {
            found.insert(name.to_owned());
        }
    }
}

/// Goes through the names of blobs that stand in some bytes.
pub fn names_in(bytes: &[u8]) -> impl Iterator<Item = &str> {
    memmem::find_iter(bytes, BLOB_URL).filter_map(|at| {
        let digits = bytes.get(at + BLOB_URL.len()..at + BLOB_URL.len() + DIGITS)?;
        std::str::from_utf8(digits).ok().filter(|name| is_name(name))
    })
}

/// Says whether a text may be the name of a blob.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Passes on what is written, and notes the names in it.
pub(super) struct Noting<'a, W> {
    pub(super) to: W,
    pub(super) names: &'a mut Names,
}

impl<W: Write> Write for Noting<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.names.see(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Fills a buffer as far as there is anything to read.
pub(crate) fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_noted_wherever_what_is_written_is_cut() {
        let (a, b) = ("a".repeat(64), "b0".repeat(32));
        let text = format!("{BLOB_URL}{a} and {BLOB_URL}{b}, not {BLOB_URL}{}", "A".repeat(64));
        for piece in [1, 2, 7, 76, 77, 1_000] {
            let (mut names, mut out) = (Names::default(), Vec::new());
            let mut noting = Noting { to: &mut out, names: &mut names };
            text.as_bytes().chunks(piece).for_each(|piece| noting.write_all(piece).expect("writes"));
            assert_eq!(names.found().iter().collect::<Vec<_>>(), [&a, &b], "in pieces of {piece}");
            assert_eq!(out, text.as_bytes());
        }
    }
}
