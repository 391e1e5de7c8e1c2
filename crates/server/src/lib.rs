//! The server: sockets, HTTP, access, the registry of open documents, and the `syncline` binary.
//!
//! It is the only crate that knows sockets, and the only one that maps what went wrong to close codes
//! ([`outbound::Closing`]), HTTP statuses and exit codes. It must never decide what an update means, when an ack
//! is due, or what is on disk: that is `syncline-sync`'s and `syncline-store`'s.
//!
//! The way of one edit: [`listener`] accepts and upgrades, [`connection`] reads a frame, [`attachments`] finds
//! whose it is, [`registry`] enters the document's session under its lock and carries out the effects: frames
//! into [`outbound`] queues at once, the update into the journal's queue. When the commit is on disk,
//! [`serve`] tells the session, and the acks it gives out go the same way.
//!
//! Invariants:
//! 1. Effects of a session are carried out in order, under the document's lock; nothing there waits.
//! 2. Every queue, message, document, rate and time has its bound in [`config::Limits`].
//! 3. A bad frame costs its own connection, with one close code; a bad document its own session.

mod api;
pub mod app;
mod attachments;
pub mod auth;
mod blobs;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
mod connection;
pub mod document;
pub mod edits;
mod egress;
pub mod erasure;
pub mod events;
pub mod finder;
mod gate;
mod handshake;
pub mod http;
pub mod inspection;
mod listener;
pub mod logging;
pub mod metrics;
mod offline;
pub mod outbound;
mod pace;
pub mod pool;
mod rates;
pub mod registry;
mod resident;
pub mod revoked;
mod sent;
pub mod serve;
pub mod tables;
mod tls;
