//! What comes from and goes to other chat products, and a user's own archive.
//!
//! Bytes go in and come out through `Read`, `Write` and `Seek` values that the caller passes; what happens to a user's
//! documents is written through a [`Pen`](syncline_document::Pen) that the caller passes. This crate must never know
//! files, sockets, stores, clocks or randomness: the time is an argument, and every id follows from what is imported.
//!
//! Start reading at [`import::read`], which tells a `ChatGPT` export, `OpenAssistant` trees and an archive of ours apart
//! and hands out one [`import::Item`] after the other. [`archive::Writer`] makes an archive, [`archive::restore`] writes
//! what one holds, [`openai::chat_messages`] gives a branch in the form that model APIs take.
//!
//! Invariants:
//! 1. Whatever the bytes are, memory is bounded by [`Bounds`], and nothing panics or loops.
//! 2. What is wrong with one conversation costs that conversation, never the others.
//! 3. Importing is repeatable: the same input makes the same ids, times and values, whenever it is imported.
//! 4. No turn is dropped in silence: what is left out is counted in the [`Report`].

pub mod archive;
mod bounds;
pub mod import;
pub mod openai;
mod report;

pub use bounds::Bounds;
pub use report::{Report, Status, Totals};
