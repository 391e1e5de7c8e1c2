//! State vectors: for each client id the next clock a replica expects from it.

use std::collections::HashMap;

use crate::{
    lib0::{ReadError, Reader, write_var_uint},
    limits::Limits,
};

/// A state vector that has nothing, in a form that no replica has by itself. In a SyncStep1 of the server it comes before
/// the SyncStep2 that it belongs to, and asks for all that the client holds, as it is before it is told anything.
pub const EVERYTHING: &[u8] = &[1, 0, 0];

/// For each client id, how many of its clocks somebody has. An absent client means zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateVector(HashMap<u64, u32>);

/// Why bytes are not a state vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateVectorError {
    /// Not lib0, or a number out of range.
    #[error("malformed state vector: {0}")]
    Malformed(#[from] ReadError),
    /// Bytes after the last entry.
    #[error("malformed state vector: bytes left over")]
    TrailingBytes,
    /// The same client twice.
    #[error("malformed state vector: a client occurs twice")]
    Duplicate,
    /// More entries than allowed, or than there are bytes for.
    #[error("the state vector claims too many clients")]
    TooManyEntries,
}

impl StateVector {
    /// Returns the clock held for a client.
    pub fn clock(&self, client: u64) -> u32 {
        self.0.get(&client).copied().unwrap_or(0)
    }

    /// Tells whether every clock of `other` is held here too.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(client, clock)| self.clock(*client) >= *clock)
    }

    /// Goes through the entries in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.0.iter().map(|(client, clock)| (*client, *clock))
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there is no entry: the replica is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(u64, u32)> for StateVector {
    fn from_iter<I: IntoIterator<Item = (u64, u32)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// Reads a state vector (lib0 v1).
///
/// # Errors
/// [`StateVectorError`]; nothing is allocated before the count was compared with the bytes.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<StateVector, StateVectorError> {
    let mut reader = Reader::new(bytes);
    let count = reader.var_uint()?;
    if count > limits.state_vector_entries as u64 || count > reader.remaining() as u64 / 2 {
        return Err(StateVectorError::TooManyEntries);
    }
    let mut entries = HashMap::with_capacity(count as usize);
    for _ in 0..count {
        let client = reader.var_uint()?;
        let clock = reader.var_u32()?;
        if entries.insert(client, clock).is_some() {
            return Err(StateVectorError::Duplicate);
        }
    }
    if reader.is_empty() { Ok(StateVector(entries)) } else { Err(StateVectorError::TrailingBytes) }
}

/// Writes a state vector (lib0 v1), highest client id first, as Yjs does.
pub fn encode(entries: impl IntoIterator<Item = (u64, u32)>) -> Vec<u8> {
    let mut entries: Vec<(u64, u32)> = entries.into_iter().collect();
    entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.0));
    let mut out = Vec::with_capacity(4 + entries.len() * 8);
    write_var_uint(&mut out, entries.len() as u64);
    for (client, clock) in entries {
        write_var_uint(&mut out, client);
        write_var_uint(&mut out, u64::from(clock));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_vector_comes_back_as_written() {
        let bytes = encode([(1, 5), (900, 3)]);
        assert_eq!(bytes, [2, 0x84, 7, 3, 1, 5]);
        let parsed = parse(&bytes, &Limits::default()).unwrap();
        assert_eq!((parsed.clock(1), parsed.clock(900), parsed.clock(2)), (5, 3, 0));
        assert!(parse(&[0], &Limits::default()).unwrap().is_empty());
    }

    #[test]
    fn covering_compares_every_client() {
        let all: StateVector = [(1, 5), (2, 1)].into_iter().collect();
        let some: StateVector = [(1, 5)].into_iter().collect();
        assert!(all.covers(&some) && !some.covers(&all));
        assert!(some.covers(&[(7, 0)].into_iter().collect()));
    }

    #[test]
    fn claims_beyond_the_bytes_are_refused() {
        let parse = |bytes: &[u8]| parse(bytes, &Limits::default());
        assert_eq!(parse(&[0x80, 0x80, 0x80, 0x80, 1]), Err(StateVectorError::TooManyEntries));
        assert_eq!(parse(&[1, 1, 1, 0]), Err(StateVectorError::TrailingBytes));
        assert_eq!(parse(&[2, 1, 1, 1, 2]), Err(StateVectorError::Duplicate));
        assert_eq!(parse(&[]), Err(StateVectorError::Malformed(ReadError::Truncated)));
    }
}
