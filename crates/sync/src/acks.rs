//! When "saved" is said to one peer: the acks it is owed, in the order in which it earned them.
//!
//! A client counts, it does not match: one ack too many shows "saved" early, one too few never. So there is
//! exactly one entry here per Update and one for the SyncStep2 of each sync that the client started.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use syncline_document::record::Sequence;

use crate::budget::{Budget, Share};

/// What the peer is sent when the ack is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owed {
    /// Hocuspocus: SyncStatus 1.
    Status,
    /// Plain: the peer's own update, as the frame to send back.
    Echo(Bytes),
    /// y-sweet: 102 with this version.
    Version(u64),
    /// Nothing is sent, but what comes later waits for it (y-sweet's updates).
    Silent,
}

impl Owed {
    fn bytes(&self) -> usize {
        match self {
            Self::Echo(frame) => frame.len(),
            Self::Status | Self::Version(_) | Self::Silent => 0,
        }
    }
}

/// A SyncStep1 of the server that the client has still to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// Sent in answer to the client's SyncStep1: its SyncStep2 earns one ack.
    Pair,
    /// As [`Ask::Pair`], but the client has started to sync again since: its SyncStep2 earns none.
    Void,
    /// Sent because of a gap: its SyncStep2 earns none and releases what is parked.
    Gap,
}

/// What a SyncStep2 answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The pair of the client's newest SyncStep1: earns one ack.
    Pair,
    /// Anything else: earns none.
    Other,
}

#[derive(Debug)]
struct Entry {
    /// Due once this is durable; `None` while the update is parked.
    ticket: Option<Sequence>,
    owed: Owed,
}

/// The acks owed to one peer.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    asks: VecDeque<Ask>,
    owed: VecDeque<Entry>,
    /// Bytes of the frames that are owed.
    share: Share,
    /// The ticket of the pair's SyncStep2; nothing is due before it. `None` until that has come.
    floor: Option<Sequence>,
}

impl Acks {
    /// Owes nothing yet; what will be owed is held on this budget.
    pub(crate) fn of(budget: &Arc<Budget>) -> Self {
        Self { share: Share::of(budget), ..Self::default() }
    }

    /// Says whether there is room for a frame of that length.
    pub(crate) fn admits(&self, bytes: usize) -> bool {
        self.share.admits(bytes)
    }

    /// The client started a sync: acks still owed are void (it counts from one again), and the SyncStep1 that
    /// answers it is the pair.
    pub(crate) fn resync(&mut self) {
        self.owed.clear();
        self.share.set(0);
        self.floor = None;
        for ask in &mut self.asks {
            if *ask == Ask::Pair {
                *ask = Ask::Void;
            }
        }
        self.asks.push_back(Ask::Pair);
    }

    /// Takes note of a SyncStep1 sent because of a gap. Says whether to send it: one that is still unanswered
    /// brings the same.
    pub(crate) fn ask_for_gap(&mut self) -> bool {
        let ask = self.asks.is_empty();
        if ask {
            self.asks.push_back(Ask::Gap);
        }
        ask
    }

    /// Says what an arriving SyncStep2 answers.
    pub(crate) fn answered(&mut self) -> Answer {
        match self.asks.pop_front() {
            Some(Ask::Pair) => Answer::Pair,
            Some(Ask::Void | Ask::Gap) | None => Answer::Other,
        }
    }

    /// Owes an ack once `ticket` is durable.
    pub(crate) fn owe(&mut self, ticket: Sequence, owed: Owed) {
        if let (Owed::Version(next), Some(Entry { ticket: last @ Some(_), owed: Owed::Version(version) })) =
            (&owed, self.owed.back_mut())
        {
            // Nothing came between the two: the larger one says it all.
            (*last, *version) = (Some(ticket), *next.max(version));
            return;
        }
        self.share.add(owed.bytes());
        self.owed.push_back(Entry { ticket: Some(ticket), owed });
    }

    /// Owes the ack of the pair's SyncStep2, and lets the others be due from there on.
    pub(crate) fn owe_pair(&mut self, ticket: Sequence, owed: Owed) {
        self.floor = Some(ticket);
        self.owe(ticket, owed);
    }

    /// Owes an ack for a parked update, whose ticket comes with [`Acks::unpark`].
    pub(crate) fn owe_parked(&mut self, owed: Owed) {
        self.share.add(owed.bytes());
        self.owed.push_back(Entry { ticket: None, owed });
    }

    /// Gives the oldest parked update its ticket.
    pub(crate) fn unpark(&mut self, ticket: Sequence) {
        if let Some(entry) = self.owed.iter_mut().find(|entry| entry.ticket.is_none()) {
            entry.ticket = Some(ticket);
        }
    }

    /// Takes the next ack that is due, if one is.
    pub(crate) fn due(&mut self, durable: Sequence) -> Option<Owed> {
        if self.floor? > durable {
            return None;
        }
        let ticket = self.owed.front()?.ticket?;
        if ticket > durable {
            return None;
        }
        let entry = self.owed.pop_front()?;
        self.share.give_back(entry.owed.bytes());
        Some(entry.owed)
    }

    /// Says whether anything is owed.
    pub(crate) fn is_clear(&self) -> bool {
        self.owed.is_empty()
    }

    /// Returns the bytes of the frames that are owed.
    pub(crate) fn bytes(&self) -> usize {
        self.share.bytes()
    }

    /// Counts what is owed.
    pub(crate) fn len(&self) -> usize {
        self.owed.len()
    }

    /// Says whether everything owed so far is durable and the pair's SyncStep2 has come.
    pub(crate) fn settled(&self, durable: Sequence) -> bool {
        self.owed.is_empty() && self.floor.is_some_and(|floor| floor <= durable)
    }

    /// Forgets everything owed: the peer's edits are refused from now on.
    pub(crate) fn void(&mut self) {
        self.owed.clear();
        self.share.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_due_before_the_pairs_sync_step_2_is_durable() {
        let mut acks = Acks::default();
        acks.resync();
        acks.owe(1, Owed::Status);
        assert_eq!(acks.due(9), None, "an update sent before the SyncStep2 waits for it");
        assert_eq!(acks.answered(), Answer::Pair);
        acks.owe_pair(3, Owed::Status);
        assert_eq!(acks.due(2), None);
        assert_eq!(acks.due(3), Some(Owed::Status));
        assert_eq!(acks.due(3), Some(Owed::Status));
        assert_eq!(acks.due(3), None);
    }

    #[test]
    fn a_second_sync_voids_what_the_first_was_owed() {
        let mut acks = Acks::default();
        acks.resync();
        acks.owe(1, Owed::Status);
        acks.resync();
        assert_eq!(acks.answered(), Answer::Other, "the answer to the first pair earns nothing");
        assert_eq!(acks.due(9), None);
        assert_eq!(acks.answered(), Answer::Pair);
        acks.owe_pair(1, Owed::Status);
        assert_eq!(acks.due(1), Some(Owed::Status));
        assert_eq!(acks.due(9), None);
    }

    #[test]
    fn a_parked_update_holds_back_those_after_it() {
        let mut acks = Acks::default();
        acks.resync();
        acks.answered();
        acks.owe_pair(0, Owed::Silent);
        acks.owe_parked(Owed::Version(1));
        acks.owe(2, Owed::Version(2));
        assert_eq!(acks.due(9), Some(Owed::Silent));
        assert_eq!(acks.due(9), None);
        acks.unpark(3);
        assert_eq!(acks.due(2), None);
        assert_eq!(acks.due(3), Some(Owed::Version(1)));
        assert_eq!(acks.due(3), Some(Owed::Version(2)));
    }

    #[test]
    fn one_question_for_a_gap_is_enough() {
        let mut acks = Acks::default();
        assert!(acks.ask_for_gap());
        assert!(!acks.ask_for_gap());
        assert_eq!(acks.answered(), Answer::Other);
        assert!(acks.ask_for_gap());
    }
}
