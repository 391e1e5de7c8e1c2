//! One Yjs document in memory, and the plain data that is kept of it.
//!
//! This is the only crate that names `yrs`. yrs is not memory-safe on untrusted bytes, so nothing reaches it
//! here that the checker of `syncline-protocol` has not passed, and every call into it is contained all the
//! same: a panic costs the replica it happened in, never the process.
//!
//! It must never know sockets, files, clocks or randomness.
//!
//! Start reading at [`Replica`]: [`Replica::absorb`] is the way of every update into a document.
//!
//! Invariants:
//! 1. A [`Replica`] holds no gap: what is not integrable is handed back as [`Absorbed::Gap`], never applied.
//! 2. After any failure inside yrs the replica says so and must be dropped; the state is loaded again from
//!    what is durable.
//! 3. A document is never rebuilt from its JSON content; [`content`] is for people to look at.

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
mod replica;
pub mod schema;
mod tree;
mod watch;

pub use judge::{Accepted, Heal, Judgement, Ledger, Malformed, Rule};
pub use pen::Pen;
pub use replica::{Absorbed, Applied, Broken, Edited, LoadError, Replica, is_empty_update, merge};
