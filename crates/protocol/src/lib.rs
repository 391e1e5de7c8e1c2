//! Bytes to frames and back in three dialects, and the checker that every byte from outside passes.
//!
//! This crate must never know a socket, a store, a clock, or yrs. It is pure: the same bytes give the same answer.
//!
//! Where to start: [`frame`] for what is on the wire ([`reply`] reads it as a device does), [`known`] for what may reach
//! the document engine. [`update`] is the structure of an update, [`limits`] every number that may be configured.
//!
//! Invariants
//! 1. No input panics, recurses deeper than [`limits::Limits::any_depth`], or makes us allocate by a length it claims.
//! 2. The work is linear in the input (times the logarithm of what is known).
//! 3. What [`known::Known::judge`] calls whole, yrs 0.28.1 applies without panic, hang, crash or pending remainder.
//! 4. What an unmodified Yjs 13 client sends is never refused, save what yrs itself cannot hold: subdocuments, XML
//!    hooks, contents that Yjs 13 no longer writes.
//! 5. What cannot be integrated yet is a gap, not an error, and no byte of it is lost.
pub mod awareness;
pub mod frame;
pub mod known;
pub mod lib0;
pub mod limits;
pub mod names;
pub mod renewal;
pub mod reply;
pub mod state_vector;
pub mod update;
