//! Hybrid logical clocks: when a register was written, comparable across devices whose clocks disagree.
//!
//! A value is `"{13-digit unix ms}-{4 hex}"`, so that text and meaning sort alike. This crate has no clock: `now` is
//! passed in.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// How far ahead of the server a device's clock may be before its registers are overruled: milliseconds.
pub const FUTURE_MS: u64 = 5 * 60 * 1000;
/// The last millisecond that 13 digits can say.
const LAST_MS: u64 = 9_999_999_999_999;

/// A point in hybrid logical time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hlc {
    ms: u64,
    count: u16,
}

/// A text is not a hybrid logical time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time is 13 digits of unix milliseconds, '-' and 4 lower-case hex digits")]
pub struct HlcError;

impl Hlc {
    /// Makes the first time of a millisecond.
    pub fn at(ms: u64) -> Self {
        Self { ms: ms.min(LAST_MS), count: 0 }
    }

    /// Returns its unix milliseconds.
    pub fn ms(self) -> u64 {
        self.ms
    }

    /// Says whether it lies so far ahead of `now_ms` that it is overruled.
    pub fn is_future(self, now_ms: u64) -> bool {
        self.ms > now_ms.saturating_add(FUTURE_MS)
    }

    /// Returns the next time after it.
    fn next(self) -> Self {
        match self.count.checked_add(1) {
            Some(count) => Self { ms: self.ms, count },
            None => Self::at(self.ms + 1),
        }
    }
}

impl FromStr for Hlc {
    type Err = HlcError;

    fn from_str(text: &str) -> Result<Self, HlcError> {
        let (ms, count) = text.split_once('-').ok_or(HlcError)?;
        let digits = ms.len() == 13 && ms.bytes().all(|b| b.is_ascii_digit());
        let hex = count.len() == 4 && count.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !digits || !hex {
            return Err(HlcError);
        }
        let ms = ms.parse().map_err(|_| HlcError)?;
        let count = u16::from_str_radix(count, 16).map_err(|_| HlcError)?;
        Ok(Self { ms, count })
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:013}-{:04x}", self.ms, self.count)
    }
}

impl Serialize for Hlc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hlc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The state of one writer's hybrid logical clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    last: Hlc,
}

impl Clock {
    /// Starts a clock that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a time later than all that it gave or observed, and never before `now_ms`.
    pub fn tick(&mut self, now_ms: u64) -> Hlc {
        self.last = self.last.next().max(Hlc::at(now_ms));
        self.last
    }

    /// Takes note of a time seen elsewhere, so that what is written next is later. One from the future is not let
    /// in: it would drag this clock along.
    pub fn observe(&mut self, seen: Hlc, now_ms: u64) {
        if !seen.is_future(now_ms) {
            self.last = self.last.max(seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_meaning_sort_alike() {
        let times = ["0000000000001-0000", "0000000000001-00ff", "0000000000001-0100", "1700000000000-0000"];
        let parsed: Vec<Hlc> = times.iter().map(|text| text.parse().expect("a time")).collect();
        assert!(parsed.is_sorted());
        assert_eq!(parsed.iter().map(Hlc::to_string).collect::<Vec<_>>(), times);
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in [
            "",
            "1700000000000",
            "1700000000000-",
            "1700000000000-00FF",
            "170000000000-0000",
            "+700000000000-0000",
            "1700000000000-00000",
        ] {
            assert_eq!(text.parse::<Hlc>(), Err(HlcError), "{text}");
        }
    }

    #[test]
    fn a_clock_never_goes_back_and_is_not_dragged_into_the_future() {
        let mut clock = Clock::new();
        let first = clock.tick(1_000);
        let second = clock.tick(900);
        assert!(second > first && second.ms() == 1_000);
        clock.observe(Hlc::at(5_000), 1_000);
        assert!(clock.tick(1_000) > Hlc::at(5_000));
        clock.observe(Hlc::at(1_000 + FUTURE_MS + 1), 1_000);
        assert_eq!(clock.tick(1_000).ms(), 5_000);
        for _ in 0..=u32::from(u16::MAX) {
            clock.tick(0);
        }
        assert_eq!(clock.tick(0).ms(), 5_001);
    }
}
