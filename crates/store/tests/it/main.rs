//! Stores from outside: the acceptance suite on each, what becomes of damaged folders, the commit thread.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod damage;
mod erase;
mod folding;
mod power;
mod rows;
mod suite;
mod writing;
mod writing_rows;
