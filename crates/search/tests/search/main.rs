//! What the index promises, through its public face: one file per promise.
//!
//! `kit.rs` has what they share. What concerns one part alone is tested beside it.

mod damage;
mod durable;
mod erase;
mod hostile;
mod isolation;
mod kit;
mod language;
mod pages;
mod real;
mod room;
