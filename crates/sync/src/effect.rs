//! What a session asks its owner to do, in order.

use bytes::Bytes;
use syncline_document::{
    Judgement,
    record::{Checkpoint, Entry, Origin},
};

use crate::Job;

/// One connection's attachment to one document, named by the session. The generation keeps a place that was
/// given to a later peer apart from its earlier holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId {
    /// Its place in the session's table: small and dense, so the owner can keep a table beside it.
    pub index: u32,
    /// Which holder of that place.
    pub generation: u32,
}

/// Something to be done by the session's owner.
#[derive(Debug)]
pub enum Effect {
    /// Puts a frame into the peer's bounded outbound queue.
    Send {
        /// Who gets it.
        to: PeerId,
        /// The whole frame, shared by all who get the same.
        frame: Bytes,
    },
    /// Ends the peer's connection.
    End {
        /// Whose.
        peer: PeerId,
        /// Why.
        ending: Ending,
    },
    /// Puts an entry into the journal's queue. [`crate::Session::durable`] is called once it is on disk.
    Append(Entry),
    /// As [`Effect::Append`], with what the judge wrote after it: **both are committed together or not at all**.
    AppendJudged {
        /// What was judged.
        entry: Entry,
        /// What the server wrote, if anything.
        judged: Option<Entry>,
        /// What the judge found; its owner's tables follow in the same commit.
        verdict: Box<Verdict>,
    },
    /// The history of the document was renewed, for the metrics: what was written for that is the [`Effect::Append`] before.
    Renewed,
    /// Writes a checkpoint, through the journal's queue.
    Checkpoint(Checkpoint),
    /// Writes the side record, through the journal's queue; nothing waits for it.
    SaveSide(Bytes),
    /// Reads the document, through the journal's queue, then calls [`crate::Session::loaded`].
    Load,
    /// Runs a job on the pool, then calls [`crate::Session::worked`].
    Work(Box<Job>),
    /// An edit was refused, for the metrics: the stable code of the reason.
    Refused(&'static str),
    /// An edit was accepted: its bytes, for the metrics.
    Accepted(usize),
    /// A server edit became durable and was broadcast: who asked for it may be answered.
    EditSaved(Edit),
    /// A server edit was refused: the stable code of the reason, and its words.
    EditRefused(Edit, &'static str, String),
}

/// What the judge found, for the server's own tables, the audit and the change feed.
#[derive(Debug)]
pub struct Verdict {
    /// Who wrote what was judged.
    pub origin: Origin,
    /// The judge's word.
    pub judgement: Judgement,
}

/// Names one server edit until it is durable; chosen by the caller of [`crate::Session::edit`] and
/// [`crate::Session::compose`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Edit(pub u64);

/// Why a connection has to end. Only the server knows the close codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The peer sent bytes that are not the protocol.
    Malformed(String),
    /// A bound was met that time mends.
    TryLater(String),
    /// The peer does what it may not do.
    Forbidden(String),
    /// The peer must sync again from the start.
    Resync(&'static str),
    /// The document was erased: it does not come back.
    Erased(String),
}
