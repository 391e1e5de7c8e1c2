//! Where the document itself is: on disk, on its way, at rest as stored bytes, or live; and the jobs that take
//! it to the pool and back.

use bytes::Bytes;
use syncline_document::{
    Absorbed, Applied, Broken, LoadError, Replica, fold,
    record::{Checkpoint, Entry, Stored},
};
use syncline_protocol::{known::Verdict, limits::Limits, update::Refusal};

use crate::tasks::Task;

/// Where the document is.
#[derive(Debug)]
pub(crate) enum Body {
    /// On disk only.
    Cold,
    /// A read is under way.
    Loading,
    /// Read, but not built: enough to answer a device that has nothing.
    Resting(Box<Stored>),
    /// In memory.
    Live(Box<Replica>),
    /// On the pool, with the task that took it there.
    Away(Option<Task>),
    /// It could not be loaded: refused, never shown empty.
    Failed { reason: String, at_ms: u64 },
}

/// A piece of work on a document that is too long for the task that reads a socket. It owns the document.
#[derive(Debug)]
pub struct Job {
    pub(crate) replica: Option<Box<Replica>>,
    pub(crate) work: Work,
    pub(crate) limits: Limits,
}

#[derive(Debug)]
pub(crate) enum Work {
    Build(Box<Stored>),
    Absorb { update: Bytes, cut: bool },
    Holds { update: Bytes },
    Diff { state_vector: Bytes },
    Checkpoint { pending: Vec<Entry>, sequence: u64 },
}

/// What a [`Job`] came to; give it to [`crate::Session::worked`].
#[derive(Debug)]
pub struct Done {
    /// `None` where yrs failed.
    pub(crate) replica: Option<Box<Replica>>,
    pub(crate) outcome: Outcome,
}

/// What became of one piece of work.
#[derive(Debug)]
pub(crate) enum Outcome {
    Built,
    NotBuilt(String),
    Took(Took),
    Held(bool),
    Refused(Refusal),
    Diff(Bytes),
    Checkpoint(Checkpoint),
    Broken(Broken),
}

/// What was taken of an update: all of it, or its part that needs nothing that is missing.
#[derive(Debug)]
pub(crate) struct Took {
    /// What was applied, as it is to be journalled and relayed.
    pub(crate) applied: Option<(Bytes, Applied)>,
    /// What waits for missing blocks.
    pub(crate) rest: Option<Bytes>,
}

impl Job {
    /// Does the work. Takes as long as it takes; run it where blocking is allowed, on a thread with a stack of
    /// 16 MiB.
    pub fn run(self) -> Done {
        let limits = self.limits;
        if let Work::Build(stored) = self.work {
            return match build(&stored) {
                Ok(replica) => Done { replica: Some(Box::new(replica)), outcome: Outcome::Built },
                Err(error) => Done { replica: None, outcome: Outcome::NotBuilt(error.to_string()) },
            };
        }
        let Some(mut replica) = self.replica else {
            return Done { replica: None, outcome: Outcome::Broken(Broken("no document".to_owned())) };
        };
        let outcome = match self.work {
            Work::Absorb { update, cut } => absorb(&mut replica, &update, cut, &limits),
            Work::Holds { update } => holds(&mut replica, &update, &limits),
            Work::Diff { state_vector } => {
                replica.diff(&state_vector).map_or_else(Outcome::Broken, Outcome::Diff)
            }
            Work::Checkpoint { pending, sequence } => checkpoint(&mut replica, pending, sequence),
            Work::Build(_) => Outcome::Built,
        };
        let replica = if matches!(outcome, Outcome::Broken(_)) { None } else { Some(replica) };
        Done { replica, outcome }
    }
}

/// Builds a document from what is stored.
pub(crate) fn build(stored: &Stored) -> Result<Replica, LoadError> {
    Replica::load(fold::parts(stored))
}

/// Applies an update. Where it has gaps: with `cut` its closed part is applied, else nothing is.
pub(crate) fn absorb(replica: &mut Replica, update: &Bytes, cut: bool, limits: &Limits) -> Outcome {
    match replica.absorb(update, limits) {
        Absorbed::Applied(applied) => {
            Outcome::Took(Took { applied: Some((update.clone(), applied)), rest: None })
        }
        Absorbed::Refused(refusal) => Outcome::Refused(refusal),
        Absorbed::Broken(broken) => Outcome::Broken(broken),
        Absorbed::Gap { .. } if !cut => Outcome::Took(Took { applied: None, rest: Some(update.clone()) }),
        Absorbed::Gap { closed: None, rest } => Outcome::Took(Took { applied: None, rest: Some(rest) }),
        Absorbed::Gap { closed: Some(closed), rest } => match replica.absorb(&closed, limits) {
            Absorbed::Applied(applied) => {
                Outcome::Took(Took { applied: Some((closed, applied)), rest: Some(rest) })
            }
            // The checker's own cut must pass the checker; where it does not, all of it waits.
            Absorbed::Gap { .. } | Absorbed::Refused(_) => {
                Outcome::Took(Took { applied: None, rest: Some(update.clone()) })
            }
            Absorbed::Broken(broken) => Outcome::Broken(broken),
        },
    }
}

/// As [`absorb`], judging the common update once. `None` where its work is over the bound: nothing was applied.
pub(crate) fn absorb_light(
    replica: &mut Replica,
    update: &Bytes,
    cut: bool,
    limits: &Limits,
    heavy_work: u64,
) -> Option<Outcome> {
    match replica.judge(update, limits) {
        Err(refusal) => Some(Outcome::Refused(refusal)),
        Ok(Verdict::Gap(_)) => Some(absorb(replica, update, cut, limits)),
        Ok(Verdict::Whole(checked)) if checked.work > heavy_work => None,
        Ok(Verdict::Whole(checked)) => Some(match replica.apply(&checked, update) {
            Ok(applied) => Outcome::Took(Took { applied: Some((update.clone(), applied)), rest: None }),
            Err(broken) => Outcome::Broken(broken),
        }),
    }
}

/// Says whether the document already holds an update.
pub(crate) fn holds(replica: &mut Replica, update: &[u8], limits: &Limits) -> Outcome {
    match replica.judge(update, limits) {
        Err(refusal) => Outcome::Refused(refusal),
        Ok(Verdict::Gap(_)) => Outcome::Held(false),
        Ok(Verdict::Whole(checked)) => {
            replica.holds(&checked, update).map_or_else(Outcome::Broken, Outcome::Held)
        }
    }
}

/// Encodes a checkpoint as of `sequence`, which the caller knows to be durable.
pub(crate) fn checkpoint(replica: &mut Replica, pending: Vec<Entry>, sequence: u64) -> Outcome {
    let kept = match fold::still_pending(replica, pending) {
        Ok(kept) => kept,
        Err(error) => return Outcome::Broken(Broken(error.to_string())),
    };
    match replica.encode_state() {
        Ok(update) => Outcome::Checkpoint(Checkpoint {
            sequence,
            state_vector: replica.state_vector(),
            update,
            pending: kept,
        }),
        Err(broken) => Outcome::Broken(broken),
    }
}
