//! One open document and its connections: frames in, effects out.
//!
//! A [`Session`] owns a document while it is open. It decides what every message means, who may do what, when
//! an edit is acknowledged and what every device is told. It does no IO and takes `now` as an input, so that
//! the simulation runs the same code as the server. It must never know sockets, threads, files or the store:
//! it hands out [`Effect`]s and is told when a sequence is durable.
//!
//! Start reading at [`Session::receive`], then `tasks.rs` (what one message does) and `acks.rs` (when "saved"
//! is said).
//!
//! Invariants:
//! 1. Nothing is acknowledged before [`Session::durable`] was told of its sequence, nor before the SyncStep2 of
//!    the pair on that connection and all its earlier updates are durable.
//! 2. A device's edit is broadcast at once; what the server itself writes only when it is durable.
//! 3. A document leaves memory only when its last applied sequence is durable and no ack is owed.
//! 4. A checkpoint names a durable sequence.
//! 5. Effects are in order: the caller carries them out in that order, before the next call.
//! 6. What waits, what is parked and what is pending is bounded by [`Settings`], and in all documents together by a [`Budget`]; who
//!    meets a bound is told.

mod acks;
mod answer;
mod body;
mod budget;
mod compose;
mod devices;
mod effect;
mod fanout;
mod fold;
mod live;
mod peer;
mod presence;
mod release;
mod session;
mod settings;
mod settle;
mod step1s;
mod tasks;
mod tick;
mod too_big;
mod trouble;

pub use body::{Done, Job};
pub use budget::Budget;
pub use devices::Device;
pub use effect::{Edit, Effect, Ending, PeerId, Verdict};
pub use live::{Deliver, Draft, Looking, Room, Writing};
pub use peer::{Access, Join};
pub use session::Session;
pub use settings::Settings;
pub use step1s::Step1s;
