//! Awareness messages: who is here and what they show of themselves. Checked before they are relayed, because clients
//! throw on JSON that does not parse.

use smallvec::SmallVec;

use crate::{
    lib0::{ReadError, Reader, write_str, write_var_uint},
    limits::Limits,
};

/// One client's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<'a> {
    /// The client id it speaks of (not necessarily the sender's).
    pub client: u64,
    /// Grows with every change; fits in 32 bits.
    pub clock: u64,
    /// The state; `null` means that the client is gone.
    pub json: &'a str,
}

impl State<'_> {
    /// Tells whether the entry says that its client is gone.
    pub fn is_gone(&self) -> bool {
        self.json == "null"
    }
}

/// Why bytes are not an awareness message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AwarenessError {
    /// Not lib0, or a number out of range.
    #[error("malformed awareness: {0}")]
    Malformed(#[from] ReadError),
    /// Bytes after the last state.
    #[error("malformed awareness: bytes left over")]
    TrailingBytes,
    /// More states than allowed, or than there are bytes for.
    #[error("the awareness message claims too many states")]
    TooManyStates,
    /// A state over the limit.
    #[error("an awareness state is too large; show less")]
    StateTooLarge,
    /// A state that is not JSON.
    #[error("an awareness state is not valid json")]
    BadJson,
}

/// Reads an awareness message.
///
/// # Errors
/// [`AwarenessError`]; nothing is allocated before the count was compared with the bytes.
pub fn parse<'a>(bytes: &'a [u8], limits: &Limits) -> Result<SmallVec<[State<'a>; 1]>, AwarenessError> {
    let mut reader = Reader::new(bytes);
    let count = reader.var_uint()?;
    // An entry takes four bytes at least: id, clock, length and one character.
    if count > limits.awareness_states as u64 || count > reader.remaining() as u64 / 4 {
        return Err(AwarenessError::TooManyStates);
    }
    let mut states = SmallVec::with_capacity(count as usize);
    for _ in 0..count {
        let client = reader.var_uint()?;
        let clock = u64::from(reader.var_u32()?);
        let json = reader.str()?;
        if json.len() > limits.awareness_state_bytes {
            return Err(AwarenessError::StateTooLarge);
        }
        // `IgnoredAny` is walked without recursion: depth is bounded by the state's length.
        serde_json::from_str::<serde::de::IgnoredAny>(json).map_err(|_| AwarenessError::BadJson)?;
        states.push(State { client, clock, json });
    }
    if reader.is_empty() { Ok(states) } else { Err(AwarenessError::TrailingBytes) }
}

/// Writes an awareness message.
pub fn encode(states: &[State<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + states.iter().map(|state| state.json.len() + 16).sum::<usize>());
    write_var_uint(&mut out, states.len() as u64);
    for state in states {
        write_var_uint(&mut out, state.client);
        write_var_uint(&mut out, state.clock);
        write_str(&mut out, state.json);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_back_as_written() {
        let states = [
            State { client: 5, clock: 1, json: r#"{"name":"Ada"}"# },
            State { client: (1 << 53) - 1, clock: 9, json: "null" },
        ];
        let bytes = encode(&states);
        assert_eq!(parse(&bytes, &Limits::default()).unwrap().as_slice(), states);
        assert!(states[1].is_gone() && !states[0].is_gone());
        assert_eq!(parse(&[0], &Limits::default()).unwrap().len(), 0);
    }

    #[test]
    fn what_would_break_a_client_is_refused() {
        let parse = |bytes: &[u8]| parse(bytes, &Limits::default()).map(|states| states.len());
        assert_eq!(parse(&[0x80, 0x80, 0x80, 0x80, 1]), Err(AwarenessError::TooManyStates));
        assert_eq!(parse(&encode(&[State { client: 1, clock: 1, json: "{" }])), Err(AwarenessError::BadJson));
        assert_eq!(
            parse(&encode(&[State { client: 1, clock: 1, json: "" }])),
            Err(AwarenessError::TooManyStates)
        );
        let long = format!("\"{}\"", "x".repeat(4095));
        assert_eq!(
            parse(&encode(&[State { client: 1, clock: 1, json: &long }])),
            Err(AwarenessError::StateTooLarge)
        );
        let deep = format!("{}{}", "[".repeat(2048), "]".repeat(2048));
        assert_eq!(parse(&encode(&[State { client: 1, clock: 1, json: &deep }])), Ok(1));
        let mut trailing = encode(&[State { client: 1, clock: 1, json: "null" }]);
        trailing.push(0);
        assert_eq!(parse(&trailing), Err(AwarenessError::TrailingBytes));
        assert_eq!(
            parse(&encode(&[State { client: 1, clock: 1 << 32, json: "null" }])),
            Err(AwarenessError::Malformed(ReadError::TooLarge))
        );
    }
}
