//! The client against the real server (`cargo build -p syncline-server` first).
//!
//! - `merge`: several devices, offline and online, and what the HTTP API wrote
//! - `restart`: processes that are killed: the device's (the example program), the server's
//! - `access`: tokens that expire or are no good, TLS
//! - `refused`: edits that the server does not take
//! - `hostile`: a server that sends anything
//! - `vectors`: the model's test vectors, read through the client
//!
//! Nothing sleeps: what is waited for is a change of status or content, with a deadline that only a failure reaches.

mod access;
mod hostile;
mod kit;
mod merge;
mod refused;
mod restart;
mod vectors;
