//! Finds words in the titles and messages of one user: an index in a folder of its own, kept by tantivy.
//!
//! The index is derived data. It may be deleted at any time and is built again from the documents; it answers
//! questions and is never asked for the truth. This is the only crate that names tantivy. It must never know
//! documents, sockets, the store or async runtimes: it takes texts and gives hits. Its calls block on the disk, so
//! an async caller runs [`Index::search`] where blocking is allowed.
//!
//! Start reading at [`Index`], then [`Batch`], the one way into the index, and `query.rs`, the way out. Words are
//! made in `words.rs`, the same way for texts and for queries.
//!
//! Invariants:
//! 1. **A query sees one user's texts.** Every word in the index begins with the name of its user, so another
//!    user's words are other words: a query cannot even ask for them. Scores are computed from the found text alone,
//!    so they do not tell what others wrote, and do not move while others write.
//! 2. A [`Batch`] is in a commit whole or not at all, in the order of [`Index::apply`]. So the sequence that
//!    [`Index::seen`] tells is exact: what was applied before it is in the index, also after a crash.
//! 3. A queue that is full says so, and so does an index that has stopped. Nothing is dropped in silence.
//! 4. After [`Index::purge`] nothing that was removed before is in any file of the folder.
//! 5. A damaged index is set aside, once, and an empty one takes its place: [`Opened::Fresh`] says that everything
//!    has to come again. A panic of the library ends a search or the index, never the process.
//! 6. Everything has a limit ([`Options`], [`limits`]): queue, memory of the writer, length and words of a query,
//!    texts looked at, time.

mod batch;
mod error;
mod find;
mod fold;
mod index;
mod key;
pub mod limits;
mod open;
mod options;
mod purge;
mod query;
mod queue;
mod schema;
mod snippet;
mod tokens;
mod words;
mod worker;

pub use batch::{Batch, Item};
pub use error::SearchError;
pub use find::{Cursor, Filter, Found, Hit, Page};
pub use index::{Index, Lag};
pub use open::Opened;
pub use options::Options;
pub use snippet::Snippet;
