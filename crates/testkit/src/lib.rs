//! A seeded, single-threaded simulation of devices, network, crashes and power cuts around the real session
//! (`syncline-sync`) and the real store logic (`syncline-store`: codec, journal, checkpoints, pruning, over a
//! map in memory that keeps a live and a durable image).
//!
//! What is simulated: sockets, time, the writer's thread, the pool, and the people. What is real: everything
//! that decides whether an edit is saved. The checkers ([`checks`]) keep their own books, in terms of yrs ids,
//! and read the durable image by their own replay; they never ask the code under test what it believes.
//!
//! A run is decided by its seed alone: the same seed gives the same trace, to the last frame.
//!
//! Documents are free-form, or conversations, profiles, indexes, marks and drafts ([`Page`]): `author.rs` is what devices
//! write into them, `offences.rs` how they break their rules, `desk.rs` what the server writes and reads by itself, as the
//! HTTP API does; `books.rs` is what the checkers hold against all of them.
//!
//! Start reading at [`World::run`], then `driver.rs` (the server around the sessions) and `checks.rs`.
//!
//! Checked all the time:
//! 1. What a device was shown as saved is in the durable image at that moment and after every crash.
//! 2. At the moment an indicator says saved, every edit that it speaks for is durable.
//! 3. When all is quiet, replicas and store are equal and every writer's indicator says saved.
//! 4. Queues keep within their limits.
//! 5. What the server writes reaches nobody before it is durable.
//! 6. A checkpoint holds nothing that is not durable, and writing it loses nothing.
//! 7. A failed commit acknowledges nothing and harms nothing that is stored.
//! 8. Every durable message has its place and its content, for ever: what any device broke is set again in the commit
//!    that took it in. Places are unique and without holes, come in the order of arrival, and follow from no clock.
//! 9. What a device or a look shows of a message's place is durable.
//! 10. Registers from the future and under the server's name never last; what a person set by hand is never beaten by
//!     what was inferred.
//! 11. The server's own table says what the documents say; the journal says which device wrote what.
//!
//! `tests/planted.rs` shows that each of these bites: [`Bug`] names the mutations.

mod author;
mod books;
pub mod checks;
mod desk;
mod device;
mod driver;
mod event;
mod faults;
mod ids;
mod indicator;
mod judged;
mod meaning;
mod model;
mod network;
mod offences;
mod page;
mod people;
mod plan;
mod rng;
mod verdict;
mod wire;
mod world;
mod writer;

pub use checks::{Check, Violation};
pub use ids::Ids;
pub use indicator::Family;
pub use page::Page;
pub use plan::{Bug, DevicePlan, Plan, Rates};
pub use rng::Rng;
pub use world::{Outcome, World};
