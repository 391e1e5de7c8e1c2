//! Cuts a file of many conversations into the JSON text of each, one at a time.
//!
//! Only brackets and strings are followed here; the text of an element is parsed by itself, so that a malformed one
//! costs no other. One that is over the bounds is read past without being kept.

use std::io::{self, BufRead, BufReader, Read};

/// What one element may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Bytes.
    pub(super) bytes: usize,
    /// Values, counted by what stands between them.
    pub(super) values: usize,
}

/// One element.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// Its text.
    Whole(Vec<u8>),
    /// It is over the bounds.
    TooLarge,
    /// The input ended in the middle of it.
    Cut,
}

/// The elements of an array, of `{"conversations": [...]}`, or of values one after the other (JSON lines).
#[derive(Debug)]
pub(super) struct Elements<R> {
    reader: BufReader<R>,
    scan: Scan,
    read_bytes: u64,
}

#[derive(Debug)]
struct Scan {
    room: Room,
    text: Vec<u8>,
    values: usize,
    is_too_large: bool,
    inside: Inside,
    at: At,
}

/// What the elements stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Nothing,
    Array,
    /// The array of an object: what follows it in that object is of no interest.
    Wrapper,
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Between,
    /// In a number, `true`, `false`, `null` or what is none of them.
    Word,
    /// In a string; a depth of 0 is an element that is a string.
    Text {
        depth: u32,
        is_escaped: bool,
    },
    Nested {
        depth: u32,
    },
}

enum Step {
    On,
    /// The element ends with this byte.
    Ends,
    /// The element ended before this byte.
    Ended,
}

impl<R: Read> Elements<R> {
    pub(super) fn new(input: R, room: Room) -> Self {
        let scan = Scan {
            room,
            text: Vec::new(),
            values: 0,
            is_too_large: false,
            inside: Inside::Nothing,
            at: At::Between,
        };
        Self { reader: BufReader::with_capacity(64 << 10, input), scan, read_bytes: 0 }
    }

    /// Returns how many bytes were read.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Reads the next element; none at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Element>> {
        loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                return Ok(self.scan.end());
            }
            let mut used = 0;
            let mut is_whole = false;
            for byte in chunk {
                match self.scan.step(*byte) {
                    Step::On => used += 1,
                    Step::Ends => {
                        used += 1;
                        is_whole = true;
                    }
                    Step::Ended => is_whole = true,
                }
                if is_whole {
                    break;
                }
            }
            self.reader.consume(used);
            self.read_bytes += used as u64;
            if is_whole {
                return Ok(Some(self.scan.take()));
            }
        }
    }
}

impl Scan {
    fn step(&mut self, byte: u8) -> Step {
        match self.at {
            At::Between => return self.begin(byte),
            At::Word => {
                if matches!(byte, b',' | b']' | b'}' | b'[' | b'{' | b'"') || byte.is_ascii_whitespace() {
                    return Step::Ended;
                }
                self.keep(byte);
            }
            At::Text { depth, is_escaped } => {
                self.keep(byte);
                self.at = match byte {
                    b'"' if !is_escaped && depth == 0 => return Step::Ends,
                    b'"' if !is_escaped => At::Nested { depth },
                    _ => At::Text { depth, is_escaped: byte == b'\\' && !is_escaped },
                };
            }
            At::Nested { depth } => return self.nested(byte, depth),
        }
        Step::On
    }

    fn begin(&mut self, byte: u8) -> Step {
        match byte {
            _ if self.inside == Inside::Finished => {}
            // The byte order mark that some tools put in front.
            b',' | b'}' | 0xEF | 0xBB | 0xBF => {}
            _ if byte.is_ascii_whitespace() => {}
            b'[' if self.inside == Inside::Nothing => self.inside = Inside::Array,
            b']' => {
                let is_wrapper = self.inside == Inside::Wrapper;
                self.inside = if is_wrapper { Inside::Finished } else { Inside::Nothing };
            }
            _ => {
                self.at = match byte {
                    b'{' | b'[' => At::Nested { depth: 1 },
                    b'"' => At::Text { depth: 0, is_escaped: false },
                    _ => At::Word,
                };
                self.keep(byte);
            }
        }
        Step::On
    }

    fn nested(&mut self, byte: u8, depth: u32) -> Step {
        if byte == b'[' && depth == 1 && self.inside == Inside::Nothing && self.is_wrapper() {
            self.take();
            self.inside = Inside::Wrapper;
            return Step::On;
        }
        self.keep(byte);
        match byte {
            b'"' => self.at = At::Text { depth, is_escaped: false },
            b',' | b':' => self.values += 1,
            b'{' | b'[' => {
                self.values += 1;
                self.at = At::Nested { depth: depth.saturating_add(1) };
            }
            b'}' | b']' if depth == 1 => return Step::Ends,
            b'}' | b']' => self.at = At::Nested { depth: depth - 1 },
            _ => {}
        }
        Step::On
    }

    /// Says whether what was read is the beginning of an object that holds the conversations.
    fn is_wrapper(&self) -> bool {
        let plain = self.text.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
        plain.eq(br#"{"conversations":"#.iter().copied())
    }

    fn keep(&mut self, byte: u8) {
        if self.text.len() >= self.room.bytes || self.values > self.room.values {
            self.is_too_large = true;
            self.text = Vec::new();
        }
        if !self.is_too_large {
            self.text.push(byte);
        }
    }

    fn take(&mut self) -> Element {
        self.at = At::Between;
        self.values = 0;
        let text = std::mem::take(&mut self.text);
        if std::mem::take(&mut self.is_too_large) { Element::TooLarge } else { Element::Whole(text) }
    }

    /// Returns what the end of the input leaves.
    fn end(&mut self) -> Option<Element> {
        match self.at {
            At::Between => None,
            At::Word => Some(self.take()),
            At::Text { .. } | At::Nested { .. } => {
                self.take();
                Some(Element::Cut)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { bytes: 64, values: 16 };

    fn all(input: &[u8]) -> Vec<String> {
        let mut elements = Elements::new(input, ROOM);
        let mut found = Vec::new();
        while let Some(element) = elements.next().expect("reads") {
            found.push(match element {
                Element::Whole(text) => String::from_utf8(text).expect("text"),
                other => format!("{other:?}"),
            });
        }
        found
    }

    #[test]
    fn arrays_lines_and_wrappers_give_the_same_elements() {
        let (a, b) = (r#"{"a":"]}\"{","b":[1,{}]}"#, r#"{"c":"\\"}"#);
        for input in [
            format!("[{a}, {b}]"),
            format!("{a}\n{b}\n"),
            format!("{a}{b}"),
            format!("[{a}]\n[{b}]"),
            format!("\u{feff}{{ \"conversations\" : [{a},{b}], \"more\": [1] }}"),
        ] {
            assert_eq!(all(input.as_bytes()), [a, b], "{input}");
        }
    }

    #[test]
    fn what_is_no_object_is_an_element_too() {
        assert_eq!(all(br#"[1,"x,]",null,[2]]"#), ["1", "\"x,]\"", "null", "[2]"]);
        assert_eq!(all(b""), [""; 0]);
        assert_eq!(all(b"[{\"a\":1},{\"b\""), ["{\"a\":1}", "Cut"]);
    }

    #[test]
    fn one_that_is_too_large_is_passed_and_never_kept() {
        let long = format!("[\"{}\",{{}},[{}],{{}}]", "x".repeat(70), "0,".repeat(17));
        assert_eq!(all(long.as_bytes()), ["TooLarge", "{}", "TooLarge", "{}"]);
        let endless = b"[[".chain(io::repeat(b'[').take(10_000_000));
        let mut elements = Elements::new(endless, ROOM);
        assert_eq!(elements.next().expect("reads"), Some(Element::Cut));
        assert!(elements.scan.text.capacity() <= 2 * ROOM.bytes);
    }
}
