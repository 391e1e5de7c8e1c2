//! What a connection may send before a token of it opens anything: its memory, and its attempts.

use bytes::Bytes;

use crate::{config::Limits, outbound::Closing};

/// The use that a connection made of its allowance, all addresses together.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    /// Frames that wait for a token; given back when it comes, or they are dropped.
    waiting_frames: usize,
    waiting_bytes: usize,
    /// Tokens that opened nothing. Never given back.
    denied_frames: usize,
    denied_bytes: usize,
}

impl Allowance {
    /// Counts a frame that waits.
    pub(super) fn wait(&mut self, bytes: usize) {
        self.waiting_frames += 1;
        self.waiting_bytes += bytes;
    }

    /// Counts frames that wait no more.
    pub(super) fn give_back(&mut self, frames: &[Bytes]) {
        self.waiting_frames = self.waiting_frames.saturating_sub(frames.len());
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
    }

    /// Counts a token that opened nothing.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.denied_frames += 1;
        self.denied_bytes += bytes;
    }

    /// Says whether the connection is within its allowance. `documents` are those it has not been let into.
    pub(super) fn check(&self, limits: &Limits, documents: usize) -> Result<(), Closing> {
        if self.waiting_bytes + self.denied_bytes > limits.pre_auth_bytes
            || self.waiting_frames + self.denied_frames > limits.pre_auth_messages
            || documents > limits.pre_auth_documents
        {
            return Err(Closing::PreAuth("too much before a token: authenticate first".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_is_given_back_and_what_was_denied_is_not() {
        let limits = Limits { pre_auth_bytes: 100, pre_auth_messages: 3, ..Limits::default() };
        let mut allowance = Allowance::default();
        let frames = vec![Bytes::from(vec![0; 60]); 1];
        for _ in 0..5 {
            allowance.wait(60);
            assert_eq!(allowance.check(&limits, 0), Ok(()));
            allowance.give_back(&frames);
        }
        for _ in 0..3 {
            allowance.spend(20);
            assert_eq!(allowance.check(&limits, 0), Ok(()));
        }
        allowance.spend(20);
        assert!(matches!(allowance.check(&limits, 0), Err(Closing::PreAuth(_))), "four messages");
        let few = Limits { pre_auth_bytes: 79, ..Limits::default() };
        assert!(allowance.check(&few, 0).is_err(), "80 bytes");
        assert!(Allowance::default().check(&Limits::default(), 101).is_err(), "101 documents");
    }
}
