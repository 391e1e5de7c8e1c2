//! Awareness: who is here, right now. Never stored.
//!
//! An id belongs to the newest connection that claimed it; entries of other ids are ignored, because clients
//! send on what they hear. A state is removed with its clock kept, so that its owner can come back.

use std::{collections::HashMap, sync::Arc};

use syncline_protocol::awareness::{State, encode};

use crate::PeerId;

/// Clocks from here on are not taken: the owner could never renew past them.
const CLOCK_END: u64 = 1 << 31;

#[derive(Debug)]
struct Present {
    owner: PeerId,
    clock: u64,
    json: Arc<str>,
    renewed_ms: u64,
}

/// The awareness states of one document: at most one for each peer.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    states: HashMap<u64, Present>,
}

/// What an awareness message came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Send this awareness payload to all other peers.
    pub(crate) relay: Option<Vec<u8>>,
    /// The sender holds this id from now on.
    pub(crate) claimed: Option<u64>,
    /// This peer held it before.
    pub(crate) lost: Option<PeerId>,
}

impl Presence {
    /// Takes in what `from` said. `holds` is the id it holds, `echo` says that it was sent the others' states,
    /// so that a state it never claimed may be theirs.
    pub(crate) fn hear(
        &mut self,
        from: PeerId,
        holds: Option<u64>,
        echo: bool,
        states: &[State<'_>],
        now_ms: u64,
    ) -> Heard {
        let mut heard = Heard::default();
        let id = match holds {
            Some(id) => id,
            None => match states {
                [only] if only.json != "null" && !(echo && self.states.contains_key(&only.client)) => {
                    only.client
                }
                _ => return heard,
            },
        };
        let Some(state) = states.iter().find(|state| state.client == id) else { return heard };
        if holds.is_none() {
            heard.claimed = Some(id);
            heard.lost = self.states.get(&id).map(|held| held.owner).filter(|owner| *owner != from);
        }
        let newer = self.states.get(&id).is_none_or(|held| {
            state.clock > held.clock
                || (state.clock == held.clock && (holds.is_none() || state.json == "null"))
        });
        if !newer || state.clock >= CLOCK_END {
            if let Some(held) = self.states.get_mut(&id).filter(|_| heard.claimed.is_some()) {
                held.owner = from;
            }
            return heard;
        }
        if state.json == "null" {
            self.states.remove(&id);
        } else {
            let present =
                Present { owner: from, clock: state.clock, json: state.json.into(), renewed_ms: now_ms };
            self.states.insert(id, present);
        }
        heard.relay = Some(encode(std::slice::from_ref(state)));
        heard
    }

    /// Forgets the state of a peer that left. Returns the awareness payload that tells the others.
    pub(crate) fn leave(&mut self, peer: PeerId, id: u64) -> Option<Vec<u8>> {
        self.states.get(&id).filter(|held| held.owner == peer)?;
        self.remove(&[id])
    }

    /// Forgets the states that were not renewed. Returns the awareness payload that tells everyone.
    pub(crate) fn expire(&mut self, before_ms: u64) -> Option<Vec<u8>> {
        let gone: Vec<u64> =
            self.states.iter().filter(|(_, held)| held.renewed_ms < before_ms).map(|(id, _)| *id).collect();
        self.remove(&gone)
    }

    /// Encodes everyone who is here; `None` if nobody is.
    pub(crate) fn everyone(&self) -> Option<Vec<u8>> {
        if self.states.is_empty() {
            return None;
        }
        let states: Vec<State<'_>> = self
            .states
            .iter()
            .map(|(client, held)| State { client: *client, clock: held.clock, json: &held.json })
            .collect();
        Some(encode(&states))
    }

    /// The time at which the oldest state was renewed.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        self.states.values().map(|held| held.renewed_ms).min()
    }

    fn remove(&mut self, ids: &[u64]) -> Option<Vec<u8>> {
        let gone: Vec<State<'_>> = ids
            .iter()
            .filter_map(|id| {
                self.states.remove(id).map(|held| State { client: *id, clock: held.clock, json: "null" })
            })
            .collect();
        if gone.is_empty() { None } else { Some(encode(&gone)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId { index: 0, generation: 0 };
    const B: PeerId = PeerId { index: 1, generation: 0 };

    fn state(client: u64, clock: u64, json: &str) -> State<'_> {
        State { client, clock, json }
    }

    #[test]
    fn the_first_message_claims_its_id_and_others_are_ignored() {
        let mut presence = Presence::default();
        let heard = presence.hear(A, None, false, &[state(7, 1, "{}")], 0);
        assert_eq!((heard.claimed, heard.lost), (Some(7), None));
        assert!(heard.relay.is_some());
        let echo = presence.hear(A, Some(7), true, &[state(8, 5, "{}")], 0);
        assert_eq!(echo, Heard::default());
    }

    #[test]
    fn a_newer_connection_takes_its_id_over() {
        let mut presence = Presence::default();
        presence.hear(A, None, false, &[state(7, 1, "{}")], 0);
        let heard = presence.hear(B, None, false, &[state(7, 1, "{}")], 0);
        assert_eq!((heard.claimed, heard.lost), (Some(7), Some(A)));
        assert_eq!(presence.leave(A, 7), None, "the old connection's end does not remove it");
        assert_eq!(presence.leave(B, 7), Some(encode(&[state(7, 1, "null")])), "the clock is kept");
    }

    #[test]
    fn what_was_heard_is_not_claimed_by_who_sends_it_on() {
        let mut presence = Presence::default();
        presence.hear(A, None, false, &[state(7, 1, "{}")], 0);
        assert_eq!(presence.hear(B, None, true, &[state(7, 1, "{}")], 0), Heard::default());
    }

    #[test]
    fn states_that_are_not_renewed_expire() {
        let mut presence = Presence::default();
        presence.hear(A, None, false, &[state(7, 1, "{}")], 100);
        assert_eq!(presence.expire(100), None);
        assert_eq!(presence.expire(101), Some(encode(&[state(7, 1, "null")])));
        assert_eq!(presence.everyone(), None);
    }

    #[test]
    fn a_clock_that_could_never_be_renewed_is_not_taken() {
        let mut presence = Presence::default();
        assert_eq!(presence.hear(A, None, false, &[state(7, CLOCK_END, "{}")], 0).relay, None);
    }
}
