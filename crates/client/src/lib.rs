//! The device side of Syncline in Rust: for mobile cores, tools and tests.
//!
//! A [`Client`] keeps one user's conversations on one device. Everything is read and written in the device's own store,
//! online or not; what is written is sent whenever there is a connection, also after a crash or a restart. [`Client::status`]
//! says what the server has, and says "saved" only where that is true.
//!
//! This crate must never know yrs (`syncline-document` does), nor the server. Its public side is made for bindings to other
//! languages: plain records, enums and texts, calls on an `Arc`, callbacks as traits of the application's, no lifetimes and
//! no generics. It needs no async runtime around it: it has two threads of its own.
//!
//! Start reading at [`Client::open`]. `keeper` is the thread that owns all documents; `copy` is one of them, `copy/joint` what
//! is owed for it on the connection; `log` is its file; `link` keeps the connection. `model` is what applications call.
//!
//! Invariants
//! 1. An edit is on the disk before a call answers, and before the server is offered it. It counts as unsaved, across
//!    restarts too, until the server said that it is on its disk.
//! 2. A Yjs client id is drawn for each document whenever it is loaded: none is used again after a crash, or by a store that
//!    was copied to another device.
//! 3. One SyncStatus is expected for each Update, and one for the SyncStep2 of each sync that this device starts; each says
//!    of which edits it speaks. No Update is sent before that SyncStep2.
//! 4. What is confirmed as received is on this device's disk.
//! 5. What the server sends is bounded and checked like what devices send; nothing of it panics.
//! 6. Every queue, file and wait has a bound; all of them are in [`Limits`].
//! 7. A refused edit is never thrown away: the copy that holds it is set aside, whole.

mod aside;
mod boards;
mod client;
mod config;
mod copy;
mod endpoint;
mod error;
mod folder;
mod keeper;
mod link;
mod log;
mod model;
mod socket;
mod status;

pub use aside::SetAside;
pub use client::{Client, DocumentStream, Observation, StatusObserver, StatusStream};
pub use config::{Config, Limits, TokenError, TokenSource};
pub use error::ClientError;
pub use model::{
    Branch, Conflict, Conversation, Draft, Feedback, Folder, Message, MessageState, NewMessage, Preference,
    PreferenceSource, ReadMark, UserDevice,
};
pub use status::{Delivery, DeviceProgress, DocumentView, Overview, RefusalCode, Status};

/// The quick start for a phone core, whose snippets are compiled as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rust-client.md")]
struct QuickStart;
