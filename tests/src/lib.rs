//! The harness of the end to end tests: the real binary in a process of its own, and small clients.
//!
//! - [`server`] starts, kills and restarts the binary, and runs its other commands.
//! - [`client`] is a WebSocket that speaks the plain or the Hocuspocus dialect, frame by frame.
//! - [`device`] is a document with a client: it edits, syncs and knows what is saved.
//! - [`witness`] is a device of any of the three families that keeps books of every ack.
//! - [`rest`] asks the HTTP API; [`story`] reads all that a user has there; [`stream`] listens to events.
//! - [`files`] makes files for blobs, and finds them on the disk.
//! - [`limited`] starts servers with limits of a test's own; [`zips`] makes zips that no tool would.
//!
//! `tests/` has one file per behaviour. Nothing here sleeps: whatever is waited for has a deadline that only a
//! failure reaches. The binary is `SYNCLINE_BIN`, or the one built beside these tests
//! (`cargo build -p syncline-server`).

pub mod client;
pub mod device;
pub mod files;
pub mod limited;
pub mod rest;
pub mod server;
pub mod story;
pub mod stream;
pub mod witness;
pub mod zips;

use std::time::Duration;

pub use client::{Client, Event};
pub use device::Device;
pub use server::{Server, binary, command, http, run, token};
pub use stream::Stream;
pub use witness::Witness;

/// What is waited for takes milliseconds; a machine under load may take longer, a failure takes this long.
pub const DEADLINE: Duration = Duration::from_secs(20);
