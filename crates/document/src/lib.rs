//! One Yjs document in memory, and the plain data that is kept of it.
//!
//! This is the only crate that names `yrs`. yrs is not memory-safe on untrusted bytes, so nothing reaches it
//! here that the checker of `syncline-protocol` has not passed, and every call into it is contained all the
//! same: a panic costs the replica it happened in, never the process.
//!
//! It must never know sockets, files, clocks or randomness.
//!
//! Start reading at [`Replica`]: [`Replica::absorb`] is the way of every update into a document, [`Replica::edit`] that
//! of what the server itself writes. What stands in a document that has a meaning is in [`schema`]: its name says which
//! ([`schema::Kind::of`]), and there is a file of typed reading and writing for each. [`Ledger::judge`] is what the
//! server says to what devices wrote: it accepts messages and heals contradictions.
//!
//! Below these: [`register`] and [`hlc`] decide between concurrent writers, `order` is the tree of accepted messages,
//! `tree` how it is shown, `watch` tells the judge what changed, at the cost of what changed. [`carry`] takes a device's
//! own edits out of a copy that the server refuses.
//!
//! Invariants:
//! 1. A [`Replica`] holds no gap: what is not integrable is handed back as [`Absorbed::Gap`], never applied.
//! 2. After any failure inside yrs the replica says so and must be dropped; the state is loaded again from
//!    what is durable.
//! 3. A document is never rebuilt from its JSON content; [`content`] is for people to look at.
//! 4. What is read may have been written by anyone: it is passed over where it is malformed, and no walk of it loops.
//! 5. A message, once accepted, keeps its place, head and content; only erasing takes the content. The order of messages
//!    never depends on a clock.
//! 6. What is judged and what the judge wrote are committed together: so what is stored is healed, and a [`Ledger`] can
//!    be made from it.

pub mod carry;
pub mod content;
pub mod fold;
pub mod hlc;
pub mod ids;
mod json;
mod judge;
mod order;
mod pen;
pub mod record;
pub mod register;
pub mod renewal;
mod replica;
pub mod schema;
mod tree;
mod watch;
mod winners;

pub use judge::{Accepted, Changed, DeviceStanding, Heal, Judgement, Ledger, Malformed, Rule};
pub use pen::Pen;
pub use replica::{Absorbed, Applied, Broken, Edited, LoadError, Replica, is_empty_update, merge};
