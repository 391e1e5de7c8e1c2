//! What the load generator, the bare relay and the micro benches share.
//!
//! Nothing here uses the server's own crates: a generator that shares code with what it measures shares its bugs.
//! `wire` codes just enough of the three dialects, `traffic` makes valid updates beforehand, `chat` documents in the
//! layout of the data model, `histogram` counts latencies, `system` holds the few calls to the kernel that the standard
//! library lacks.
pub mod chat;
pub mod histogram;
pub mod system;
pub mod traffic;
pub mod wire;
