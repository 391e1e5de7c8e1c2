//! Keeps documents on disk: a journal of commits, a checkpoint per document, and the thread that commits.
//!
//! This is the only crate that names sled and bincode. It must never know sockets, sessions or async runtimes,
//! and it never looks into an update: folding is `syncline-document`'s, called from here.
//!
//! Start reading at [`store::Store`], the seam to everything above, then [`writer::Writer`], the way of every
//! edit to the disk. [`engine::Engine`] is the store itself, over any [`kv::Kv`]: [`sled_store::SledStore`] on
//! disk, [`memory::MemoryStore`] for tests and the simulation. Both pass [`acceptance`].
//!
//! Invariants:
//! 1. **What [`store::Store::commit`] returned `Ok` for survives process death and power loss.** The writer says
//!    that an entry is saved only after that.
//! 2. A commit is one journal record, and the rows that came with it are in the same batch. Records are numbered without holes and each repeats the checksum of the one
//!    before; a hole, or a journal that ends before what is known to have been durable, is damage.
//! 3. A checkpoint of sequence S is written only after S is durable, its chunks before its head. A journal record
//!    goes only once every document in it has a durable checkpoint beyond it. What is erased goes out of the
//!    records too: they are written anew, and the chain of checksums still shows a hole (`erase.rs`).
//! 4. Every value has a checksum. A failed check is an error that names it, never a shorter document, never an
//!    empty store: a marker beside the storage engine says how much there was.
//! 5. A write that fails or panics poisons the store: no more writes, reads go on.
//! 6. Bytes from disk are not trusted: nothing is allocated by a length that they only claim.

pub mod acceptance;
pub mod checkpoint;
pub mod codec;
pub mod engine;
mod erase;
pub mod error;
pub mod export;
pub mod fold;
mod folder;
mod index;
mod jobs;
mod keys;
pub mod kv;
pub mod memory;
pub mod open;
mod pace;
mod pool;
mod read;
mod record;
mod rows;
pub mod sled_store;
pub mod stats;
pub mod store;
pub mod verify;
mod work;
pub mod writer;

pub use codec::Prepared;
pub use error::StoreError;
pub use memory::MemoryStore;
pub use sled_store::SledStore;
pub use store::{Erase, Erased, Row, Store};
pub use writer::{CommitReport, Writer, WriterOptions};
