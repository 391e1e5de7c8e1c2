//! Where a reader of a log is, as the ids of events say it: `{epoch}-{number}`, or `{epoch}-{number}.{event}` inside a
//! batch, hex digits and a decimal number.

use super::Gap;

/// A place in a user's log: all before it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The batch.
    pub number: u64,
    /// How many of its events; all of them if none is given.
    pub within: Option<usize>,
}

impl Position {
    /// Returns the place behind a batch.
    pub fn behind(number: u64) -> Self {
        Self { number, within: None }
    }

    /// Returns the first batch that has something behind it.
    pub(super) fn first(self) -> u64 {
        if self.within.is_some() { self.number.max(1) } else { self.number + 1 }
    }

    /// Returns how many events of a batch were told before it.
    pub fn told_of(self, number: u64) -> usize {
        self.within.filter(|_| self.number == number).unwrap_or_default()
    }

    /// Writes it as the id of an event.
    pub fn id(self, epoch: u32) -> String {
        match self.within {
            None => format!("{epoch:08x}-{:x}", self.number),
            Some(within) => format!("{epoch:08x}-{:x}.{within}", self.number),
        }
    }

    /// Reads an id.
    ///
    /// # Errors
    /// [`Gap`] where nothing can go on from there.
    pub fn parse(id: &str, epoch: u32) -> Result<Self, Gap> {
        let (of, place) = id.split_once('-').ok_or(Gap::Unknown)?;
        let of = u32::from_str_radix(of, 16).map_err(|_| Gap::Unknown)?;
        let (number, within) = match place.split_once('.') {
            None => (place, None),
            Some((number, within)) => (number, Some(within.parse().map_err(|_| Gap::Unknown)?)),
        };
        let number = u64::from_str_radix(number, 16).map_err(|_| Gap::Unknown)?;
        let position = Self { number, within };
        // Other ways to write the same are none of ours.
        if position.id(of) != id || number == u64::MAX {
            return Err(Gap::Unknown);
        }
        if of == epoch { Ok(position) } else { Err(Gap::OtherEpoch) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_position_and_back() {
        for position in [Position::behind(0), Position::behind(300), Position { number: 7, within: Some(3) }]
        {
            assert_eq!(Position::parse(&position.id(9), 9), Ok(position));
            assert_eq!(Position::parse(&position.id(9), 8), Err(Gap::OtherEpoch));
        }
        for odd in [
            "",
            "1",
            "-",
            "00000009-",
            "00000009-+1",
            "9-1",
            "00000009-1.x",
            "00000009-ffffffffffffffff",
            "é-1",
        ] {
            assert_eq!(Position::parse(odd, 9), Err(Gap::Unknown), "{odd}");
        }
    }
}
