//! Valid updates, made beforehand: what a chat in a document sends.
//!
//! A cycle is one message of 200 bytes (with a place for its answer), then 48 tokens of 4 characters into the answer's
//! text, and in each fourth cycle a preference that is toggled. Each device edits under its own client id and depends
//! on its own edits only, so that no order of delivery between devices makes a gap.

use crate::wire;
use bytes::Bytes;
use yrs::updates::decoder::Decode;
use yrs::{
    Any, Array, ClientID, Doc, Map, ReadTxn, StateVector, Text, TextPrelim, TextRef, Transact, Update,
    WriteTxn,
};

/// Tokens that follow a message.
pub const TOKENS_A_MESSAGE: usize = 48;

/// What a message takes.
pub const MESSAGE_BYTES: usize = 200;

/// What a message takes where 50,500 updates are to make a document of 566 KB, as in earlier measurements.
pub const LONG_MESSAGE_BYTES: usize = 320;

/// The updates of one device, framed, one after the other in one buffer.
pub struct Stream {
    /// The Yjs client id these updates bear.
    pub client: u64,
    frames: Bytes,
    /// Where each frame starts, and the end of the last one.
    starts: Vec<u32>,
    /// The client's next clock after each update.
    clocks: Vec<u32>,
}

impl Stream {
    /// Makes `count` updates of a device with this client id; the same seed makes the same updates.
    pub fn make(client: u64, count: usize, seed: u64, message_bytes: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut author = Author::new(client);
        let mut frames = Vec::with_capacity(count * 34);
        let mut starts = vec![0];
        let mut clocks = Vec::with_capacity(count);
        // Devices are not in step: each begins somewhere in a message.
        let mut tokens_left = 0;
        let mut first_cycle = true;
        for _ in 0..count {
            let update = if tokens_left == 0 {
                tokens_left =
                    if first_cycle { 1 + random.usize(..TOKENS_A_MESSAGE) } else { TOKENS_A_MESSAGE };
                first_cycle = false;
                author.message(&mut random, message_bytes)
            } else {
                tokens_left -= 1;
                if tokens_left == 0 && author.messages.is_multiple_of(4) {
                    author.toggle()
                } else {
                    author.token(&mut random)
                }
            };
            frames.extend_from_slice(&[0, 2]);
            wire::put_buf(&mut frames, &update);
            starts.push(frames.len() as u32);
            clocks.push(author.clock());
        }
        Self { client, frames: frames.into(), starts, clocks }
    }

    /// How many updates there are.
    pub fn len(&self) -> usize {
        self.clocks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.clocks.is_empty()
    }

    /// An update as a sync message, without an address.
    pub fn frame(&self, index: usize) -> Bytes {
        self.frames.slice(self.starts[index] as usize..self.starts[index + 1] as usize)
    }

    /// The bytes of the same message.
    #[inline]
    pub fn frame_bytes(&self, index: usize) -> &[u8] {
        &self.frames[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    /// The bare update.
    #[inline]
    pub fn update(&self, index: usize) -> &[u8] {
        let mut body = &self.frame_bytes(index)[2..];
        wire::take_buf(&mut body).unwrap_or_default()
    }

    /// The client's next clock after the first `count` updates.
    pub fn clock_after(&self, count: usize) -> u32 {
        count.checked_sub(1).map_or(0, |last| self.clocks[last])
    }

    /// How many updates lie wholly below a clock.
    pub fn count_below(&self, clock: u32) -> usize {
        self.clocks.partition_point(|&end| end <= clock)
    }

    /// The mean size of an update in bytes.
    pub fn mean_bytes(&self) -> f64 {
        let total: usize = (0..self.len()).map(|index| self.update(index).len()).sum();
        total as f64 / self.len().max(1) as f64
    }

    /// One update that holds the updates `from..to` of this stream.
    pub fn folded(&self, from: usize, to: usize) -> anyhow::Result<Vec<u8>> {
        let doc = Doc::new();
        // Blocks are joined when a transaction ends: what is encoded inside it is twice as large.
        let mut txn = doc.transact_mut();
        for index in 0..to {
            txn.apply_update(Update::decode_v1(self.update(index))?)?;
        }
        drop(txn);
        let mut known = StateVector::default();
        if from > 0 {
            known.set_max(ClientID::new(self.client), self.clock_after(from));
        }
        let folded = doc.transact().encode_diff_v1(&known);
        Ok(folded)
    }
}

/// The end clock that an update reaches for a client, read with yrs: the slow way, for merged updates.
pub fn reached(update: &[u8], clients: &[u64]) -> anyhow::Result<Vec<(u64, u32)>> {
    let state = Update::decode_v1(update)?.insertions(true);
    Ok(clients
        .iter()
        .filter_map(|&client| {
            let ranges = state.get(&ClientID::new(client))?;
            let end = ranges.iter().map(|(range, ())| range.end).max()?;
            Some((client, end))
        })
        .collect())
}

struct Author {
    doc: Doc,
    client: ClientID,
    answer: Option<TextRef>,
    messages: usize,
    dark: bool,
}

impl Author {
    fn new(client: u64) -> Self {
        let client = ClientID::new(client);
        Self { doc: Doc::with_client_id(client.get()), client, answer: None, messages: 0, dark: false }
    }

    fn clock(&self) -> u32 {
        self.doc.transact().state_vector().get(&self.client)
    }

    fn message(&mut self, random: &mut fastrand::Rng, bytes: usize) -> Vec<u8> {
        self.messages += 1;
        let body: String = (0..bytes / 8).map(|_| word(random, 8)).collect();
        let mut txn = self.doc.transact_mut();
        let messages = txn.get_or_insert_array("messages");
        messages.push_back(&mut txn, Any::from(body));
        self.answer = Some(messages.push_back(&mut txn, TextPrelim::new("")));
        txn.encode_update_v1()
    }

    fn token(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        let token = word(random, 4);
        let mut txn = self.doc.transact_mut();
        if let Some(answer) = &self.answer {
            answer.push(&mut txn, &token);
        }
        txn.encode_update_v1()
    }

    fn toggle(&mut self) -> Vec<u8> {
        self.dark = !self.dark;
        let mut txn = self.doc.transact_mut();
        let preferences = txn.get_or_insert_map("preferences");
        preferences.insert(&mut txn, "dark", self.dark);
        txn.encode_update_v1()
    }
}

fn word(random: &mut fastrand::Rng, length: usize) -> String {
    (1..length).map(|_| random.lowercase()).chain([' ']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_applies_without_gaps_and_its_clocks_tell_how_far() {
        let stream = Stream::make(0x8000_0001, 300, 7, MESSAGE_BYTES);
        let folded = stream.folded(0, 300).unwrap();
        assert_eq!(reached(&folded, &[stream.client]).unwrap(), [(stream.client, stream.clock_after(300))]);
        assert_eq!(stream.count_below(stream.clock_after(300)), 300);
        assert_eq!(stream.count_below(stream.clock_after(40)), 40);
        assert!((20.0..32.0).contains(&stream.mean_bytes()), "{}", stream.mean_bytes());
    }

    #[test]
    fn a_fold_of_the_end_holds_only_the_end() {
        let stream = Stream::make(0x8000_0001, 200, 7, MESSAGE_BYTES);
        let tail = stream.folded(100, 200).unwrap();
        assert_eq!(reached(&tail, &[stream.client]).unwrap()[0].1, stream.clock_after(200));
        assert!(tail.len() < stream.folded(0, 200).unwrap().len());
    }
}
