//! Names inside documents: who writes a register, and the UUIDs of conversations with the quarter they were made in.

use std::{fmt, sync::Arc};

use serde::Serialize;

/// The longest writer, in bytes: a device of 64 and a session, or an agent's name.
const WRITER_BYTES: usize = 160;
/// The longest id of a message, a folder or a part.
const ID_BYTES: usize = 64;

/// Who writes registers: `device.session`, `server`, or `agent:NAME`. It never holds an `@`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writer(Arc<str>);

impl Writer {
    /// The server itself.
    pub const SERVER: &str = "server";

    /// Parses a writer; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        };
        let dotted = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./:".contains(&b))
        };
        let fits = match text.split_once(':') {
            Some(("agent", name)) => dotted(name),
            Some(_) => false,
            None => text == Self::SERVER || text.split_once('.').is_some_and(|(a, b)| plain(a) && plain(b)),
        };
        (fits && text.len() <= WRITER_BYTES).then(|| Self(text.into()))
    }

    /// Returns the server as a writer.
    pub fn server() -> Self {
        Self(Self::SERVER.into())
    }

    /// Returns the writer of a device's session; `None` where one of them is no plain name.
    pub fn device(device: &str, session: &str) -> Option<Self> {
        Self::parse(&format!("{device}.{session}")).filter(|writer| !writer.is_server())
    }

    /// Returns the writer of an agent; `None` where its name does not fit.
    pub fn agent(name: &str) -> Option<Self> {
        Self::parse(&format!("agent:{name}"))
    }

    /// Returns the writer as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether it is the server.
    pub fn is_server(&self) -> bool {
        &*self.0 == Self::SERVER
    }

    /// Returns the device of a `device.session`.
    pub fn device_id(&self) -> Option<&str> {
        if self.0.starts_with("agent:") { None } else { self.0.split_once('.').map(|(device, _)| device) }
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Says whether a text may name a message, a folder, a part: 1 to 64 of `A-Z a-z 0-9 _ -`.
pub fn is_id(text: &str) -> bool {
    (1..=ID_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

/// The id of a conversation: a lower-case UUIDv7, whose time says in which index it stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationId(Arc<str>);

impl ConversationId {
    /// Parses an id; `None` where it is no lower-case UUIDv7.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 36
            && text.bytes().enumerate().all(|(at, b)| match at {
                8 | 13 | 18 | 23 => b == b'-',
                14 => b == b'7',
                19 => matches!(b, b'8' | b'9' | b'a' | b'b'),
                _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
            });
        fits.then(|| Self(text.into()))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns when it was made, by its own word: unix milliseconds.
    pub fn ms(&self) -> u64 {
        let digits = self.0.bytes().filter(|b| *b != b'-').take(12);
        digits.fold(0, |ms, b| ms << 4 | u64::from(char::from(b).to_digit(16).unwrap_or(0)))
    }

    /// Returns the quarter it was made in: the index that holds it.
    pub fn quarter(&self) -> Quarter {
        Quarter::at(self.ms())
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A quarter of a year (UTC), as in `index/2026-q4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Quarter {
    /// The year.
    pub year: u16,
    /// 1 to 4.
    pub quarter: u8,
}

impl Quarter {
    /// Returns the quarter of a unix time in milliseconds. A UUIDv7's 48 bits end in the year 10889.
    pub fn at(ms: u64) -> Self {
        // Days to a civil date, counted in years that begin in March: a leap day is then the last of its year.
        let days = ms / 86_400_000 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day_of_year + 2) / 153;
        let (year, month) = (era * 400 + year, month + 3);
        let (year, month) = if month > 12 { (year + 1, month - 12) } else { (year, month) };
        Self { year: year as u16, quarter: (month as u8 - 1) / 3 + 1 }
    }

    /// Parses `2026-q4`.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, quarter) = text.split_once("-q")?;
        let digits = year.len() >= 4 && year.bytes().all(|b| b.is_ascii_digit());
        let quarter = match quarter {
            "1" => 1,
            "2" => 2,
            "3" => 3,
            "4" => 4,
            _ => return None,
        };
        let parsed = Self { year: year.parse().ok()?, quarter };
        // One name for one quarter: no leading zeros beyond four digits.
        (digits && parsed.to_string() == text).then_some(parsed)
    }
}

impl fmt::Display for Quarter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-q{}", self.year, self.quarter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_are_of_three_kinds() {
        for good in ["server", "phone.s1", "agent:coder", "agent:acme/coder-2.1"] {
            assert!(Writer::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "phone",
            "a@b.c",
            ".s",
            "phone.",
            "a.b.c",
            "robot:x",
            "agent:",
            "agent:a@b",
            &"x.y".repeat(99),
        ] {
            assert!(Writer::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(Writer::parse("phone.s1").as_ref().and_then(Writer::device_id), Some("phone"));
        assert_eq!(Writer::parse("agent:a.b").as_ref().and_then(Writer::device_id), None);
    }

    #[test]
    fn a_conversation_stands_in_the_quarter_of_its_id() {
        let id = ConversationId::parse("017f22e2-79b0-7cc3-98c4-dc0c0c07398f").expect("a UUIDv7");
        assert_eq!(id.ms(), 0x017f_22e2_79b0);
        assert_eq!(id.quarter().to_string(), "2022-q1");
        assert!(ConversationId::parse("017f22e2-79b0-4cc3-98c4-dc0c0c07398f").is_none());
        assert!(ConversationId::parse("017F22E2-79b0-7cc3-98c4-dc0c0c07398f").is_none());
    }

    #[test]
    fn quarters_follow_the_calendar() {
        for (ms, text) in [
            (0, "1970-q1"),
            (951_782_399_999, "2000-q1"),
            (951_868_799_999, "2000-q1"),
            (1_711_929_600_000 - 1, "2024-q1"),
            (1_711_929_600_000, "2024-q2"),
            (1_767_225_600_000 - 1, "2025-q4"),
            (1_767_225_600_000, "2026-q1"),
        ] {
            assert_eq!(Quarter::at(ms).to_string(), text);
            assert_eq!(Quarter::parse(text), Some(Quarter::at(ms)));
        }
        for bad in ["2024-q5", "24-q1", "02024-q1", "2024q1", "+024-q1"] {
            assert_eq!(Quarter::parse(bad), None, "{bad}");
        }
    }
}
