//! Edits that are too big to send. A message over the limit ends its connection before it is read; the client
//! comes back and, when asked, offers the very same message. So what it was going to offer is remembered by the
//! clocks it showed, and whoever shows them again is not asked.

use syncline_protocol::{frame::Reply, known::Known, state_vector::StateVector};

use crate::{Effect, PeerId, Session};

/// Offers remembered for one document.
const REMEMBERED: usize = 16;
/// Clients in one offer; a larger one is not remembered.
const CLIENTS: usize = 64;

/// What a peer showed to hold beyond the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer(Vec<Ahead>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ahead {
    client: u64,
    ours: u32,
    theirs: u32,
}

/// An offer that came in a message over the limit.
#[derive(Debug)]
pub(crate) struct TooBig {
    offer: Offer,
    /// It was this offer: it came alone, or its connections ended twice.
    certain: bool,
    pub(crate) until_ms: u64,
}

impl Offer {
    fn new(known: &Known, theirs: &StateVector) -> Option<Self> {
        let ahead = theirs.iter().filter_map(|(client, theirs)| {
            let ours = known.clock(client);
            (theirs > ours).then_some(Ahead { client, ours, theirs })
        });
        let mut ahead: Vec<Ahead> = ahead.take(CLIENTS + 1).collect();
        ahead.sort_unstable_by_key(|ahead| ahead.client);
        (1..=CLIENTS).contains(&ahead.len()).then_some(Self(ahead))
    }

    /// Says whether answering would bring all of this again: the peer still holds it, and none of it has come
    /// another way.
    fn comes_again(&self, known: &Known, theirs: &StateVector) -> bool {
        self.0.iter().all(|a| known.clock(a.client) == a.ours && theirs.clock(a.client) >= a.theirs)
    }
}

impl Session {
    /// Learns that a peer's connection ends because of a message over the limit. Says whether that can have been
    /// the SyncStep2 which this document waits for. With other documents on the connection (not `alone`) it may
    /// have been for one of those: then the same offer has to end a second connection before it is held against
    /// anyone.
    pub fn too_big(&mut self, id: PeerId, alone: bool, now_ms: u64) -> bool {
        let Some(offer) = self.peer_mut(id).and_then(|peer| peer.offer.take()) else { return false };
        let before = self.too_big.len();
        self.too_big.retain(|big| big.offer != offer);
        let certain = alone || self.too_big.len() < before;
        if self.too_big.len() >= REMEMBERED {
            self.too_big.remove(0);
        }
        self.too_big.push(TooBig { offer, certain, until_ms: now_ms + self.settings.too_big_ms });
        true
    }

    /// Takes note of what a SyncStep1 offers. A peer that would bring again what is too big is refused.
    pub(crate) fn note_offer(
        &mut self,
        id: PeerId,
        known: &Known,
        theirs: &StateVector,
        now_ms: u64,
        fx: &mut Vec<Effect>,
    ) {
        let again =
            |big: &TooBig| big.certain && big.until_ms > now_ms && big.offer.comes_again(known, theirs);
        let again = self.too_big.iter().any(again);
        let limit = self.settings.limits.update_bytes;
        let Some(peer) = self.peer_mut(id).filter(|peer| peer.refused.is_none()) else { return };
        if !again {
            peer.offer = Offer::new(known, theirs);
            return;
        }
        let limit =
            if limit < 1 << 20 { format!("{} KiB", limit >> 10) } else { format!("{} MiB", limit >> 20) };
        let reason =
            format!("your unsent edits are over the message limit of {limit}: upload them over HTTP");
        let counts = peer.is_hocuspocus();
        self.refuse_peer(id, "too_big", &reason, fx);
        if counts {
            self.send(id, &Reply::Status { saved: false }, fx);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use syncline_protocol::{
        frame::{Dialect, Message, decode_plain, encode},
        names::DocumentName,
        state_vector,
    };

    use super::*;
    use crate::{Access, Join, Settings};

    /// One character by client 7, at this clock.
    fn letter(clock: u8) -> Bytes {
        match clock {
            0 => Bytes::from_static(&[1, 1, 7, 0, 4, 1, 1, b't', 1, b'x', 0]),
            _ => Bytes::from(vec![1, 1, 7, clock, 0x84, 7, clock - 1, 1, b'x', 0]),
        }
    }

    struct Bench(Session);

    impl Bench {
        fn new() -> Self {
            let name = DocumentName::parse("notes").expect("a name");
            let mut session = Session::new(name, 1, Arc::new(Settings::default()), 0);
            let mut fx = Vec::new();
            session.fold_soon();
            session.tick(0, &mut fx);
            Self(session)
        }

        fn join(&mut self, dialect: Dialect) -> PeerId {
            let join = Join {
                dialect,
                address: (dialect == Dialect::Hocuspocus).then(|| "notes".into()),
                access: Access::Write,
                user: None,
                device: None,
                device_name: None,
                device_kind: None,
                wants_status: false,
            };
            self.0.attach(join, 0)
        }

        /// Gives the session a message and returns the frames it causes; the store answers at once.
        fn say(&mut self, id: PeerId, message: &Message<'_>, now_ms: u64) -> Vec<Bytes> {
            let frame = match message {
                Message::SyncStep1(bytes) => encode(None, &Reply::SyncStep1(bytes)),
                Message::SyncStep2(bytes) => encode(None, &Reply::SyncStep2(bytes)),
                Message::Update(bytes) => encode(None, &Reply::Update(bytes)),
                other => panic!("not used here: {other:?}"),
            };
            let message = decode_plain(&frame).expect("a message");
            let mut fx = Vec::new();
            self.0.receive(id, &message, &frame, now_ms, &mut fx);
            let mut frames = Vec::new();
            while !fx.is_empty() {
                for effect in std::mem::take(&mut fx) {
                    match effect {
                        Effect::Load => self.0.loaded(Ok(None), now_ms, &mut fx),
                        Effect::Append(entry) => self.0.durable(entry.sequence, now_ms, &mut fx),
                        Effect::Send { to, frame } if to == id => frames.push(frame),
                        _ => {}
                    }
                }
            }
            frames
        }

        fn sync(&mut self, id: PeerId, clock: u32, now_ms: u64) -> Vec<Bytes> {
            self.say(id, &Message::SyncStep1(&state_vector::encode([(7, clock)])), now_ms)
        }
    }

    fn asks(frames: &[Bytes]) -> bool {
        frames.iter().any(|frame| matches!(decode_plain(frame), Ok(Message::SyncStep1(_))))
    }

    #[test]
    fn a_sync_step_2_over_the_limit_is_not_asked_for_again() {
        let mut bench = Bench::new();
        let first = bench.join(Dialect::Plain);
        assert!(asks(&bench.sync(first, 5, 0)));
        assert!(bench.0.too_big(first, true, 0));
        for clock in [5, 6] {
            let again = bench.join(Dialect::Plain);
            let frames = bench.sync(again, clock, 1);
            assert!(!asks(&frames));
            let words = Reply::Denied(
                "your unsent edits are over the message limit of 32 MiB: upload them over HTTP",
            );
            assert!(frames.contains(&encode(None, &words)));
            assert!(frames.iter().any(|frame| frame.starts_with(&[0, 1])), "its SyncStep1 is answered");
        }
        let counting = bench.join(Dialect::Hocuspocus);
        let frames = bench.sync(counting, 5, 1);
        assert!(frames.contains(&encode(Some("notes"), &Reply::Status { saved: false })));
        assert!(!frames.iter().any(|frame| frame.starts_with(b"\x05notes\0\0")));
    }

    #[test]
    fn devices_without_the_big_edit_are_asked_as_ever() {
        let mut bench = Bench::new();
        let first = bench.join(Dialect::Plain);
        bench.sync(first, 5, 0);
        bench.0.too_big(first, true, 0);
        let other = bench.join(Dialect::Plain);
        assert!(asks(&bench.sync(other, 4, 1)));
    }

    #[test]
    fn what_has_come_another_way_is_asked_for_again() {
        let mut bench = Bench::new();
        let first = bench.join(Dialect::Plain);
        bench.sync(first, 5, 0);
        bench.0.too_big(first, true, 0);
        let other = bench.join(Dialect::Plain);
        bench.sync(other, 1, 1);
        bench.say(other, &Message::SyncStep2(&letter(0)), 1);
        let again = bench.join(Dialect::Plain);
        assert!(asks(&bench.sync(again, 5, 2)));
    }

    #[test]
    fn among_several_documents_an_offer_has_to_end_two_connections() {
        let mut bench = Bench::new();
        for _ in 0..2 {
            let peer = bench.join(Dialect::Plain);
            assert!(asks(&bench.sync(peer, 5, 0)));
            assert!(bench.0.too_big(peer, false, 0));
        }
        let peer = bench.join(Dialect::Plain);
        assert!(!asks(&bench.sync(peer, 5, 0)));
    }

    #[test]
    fn a_message_after_the_sync_step_2_blames_no_sync() {
        let mut bench = Bench::new();
        let first = bench.join(Dialect::Plain);
        bench.sync(first, 1, 0);
        bench.say(first, &Message::SyncStep2(&letter(0)), 0);
        assert!(!bench.0.too_big(first, true, 0));
        bench.say(first, &Message::Update(&letter(1)), 0);
        assert!(!bench.0.too_big(first, true, 0));
    }

    #[test]
    fn what_was_too_big_is_forgotten_after_a_while_and_never_grows() {
        let mut bench = Bench::new();
        for clock in 1..100 {
            let peer = bench.join(Dialect::Plain);
            bench.sync(peer, clock, 0);
            bench.0.too_big(peer, true, 0);
            bench.0.detach(peer, 0, &mut Vec::new());
        }
        assert!(bench.0.too_big.len() <= REMEMBERED);
        let later = Settings::default().too_big_ms;
        let peer = bench.join(Dialect::Plain);
        assert!(asks(&bench.sync(peer, 200, later)));
        bench.0.tick(later, &mut Vec::new());
        assert!(bench.0.too_big.is_empty());
    }
}
