//! Where the document itself is: on disk, on its way, at rest as stored bytes, or live; and the jobs that take
//! it to the pool and back.

use bytes::Bytes;
use syncline_document::{
    Applied, Broken, Judgement, Replica, fold,
    record::{Checkpoint, Entry, Stored},
    schema::Kind,
};
use syncline_protocol::{
    known::{Checked, Verdict},
    limits::Limits,
    update::Refusal,
};

use crate::{
    live::Live,
    tasks::{Look, Reading, Task},
};

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
    Live(Box<Live>),
    /// On the pool, with the task that took it there.
    Away(Option<Task>),
    /// It could not be loaded: refused, never shown empty.
    Failed { reason: String, at_ms: u64 },
}

/// A piece of work on a document that is too long for the task that reads a socket. It owns the document.
#[derive(Debug)]
pub struct Job {
    pub(crate) live: Option<Box<Live>>,
    pub(crate) work: Work,
    pub(crate) limits: Limits,
    pub(crate) now_ms: u64,
}

#[derive(Debug)]
pub(crate) enum Work {
    Build { kind: Kind, server_client: u64, stored: Box<Stored> },
    Absorb { update: Bytes, cut: bool },
    Holds { update: Bytes },
    Diff { state_vector: Bytes },
    Look(Look),
    Checkpoint { pending: Vec<Entry>, sequence: u64, renews: bool },
}

/// What a [`Job`] came to; give it to [`crate::Session::worked`].
#[derive(Debug)]
pub struct Done {
    /// `None` where yrs failed.
    pub(crate) live: Option<Box<Live>>,
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
    Looked(Reading),
    Folded(Folded),
    Broken(Broken),
}

/// A checkpoint to be written once its sequence is durable.
#[derive(Debug)]
pub(crate) struct Folded {
    pub(crate) checkpoint: Checkpoint,
    /// What the server wrote to renew the document: its newest entry, which the checkpoint holds.
    pub(crate) renewal: Option<Bytes>,
}

/// What was taken of an update: all of it, or its part that needs nothing that is missing.
#[derive(Debug)]
pub(crate) struct Took {
    /// What was applied, as it is to be journalled and relayed.
    pub(crate) applied: Option<(Bytes, Applied)>,
    /// What the judge made of that.
    pub(crate) judgement: Option<Box<Judgement>>,
    /// What waits for missing blocks.
    pub(crate) rest: Option<Bytes>,
}

impl Job {
    /// Does the work. Takes as long as it takes; run it where blocking is allowed, on a thread with a stack of
    /// 16 MiB.
    pub fn run(self) -> Done {
        let (limits, now_ms) = (self.limits, self.now_ms);
        if let Work::Build { kind, server_client, stored } = self.work {
            return match Live::load(&kind, server_client, &stored) {
                Ok(live) => Done { live: Some(Box::new(live)), outcome: Outcome::Built },
                Err(error) => Done { live: None, outcome: Outcome::NotBuilt(error.to_string()) },
            };
        }
        let Some(mut live) = self.live else {
            return Done { live: None, outcome: Outcome::Broken(Broken("no document".to_owned())) };
        };
        let outcome = match self.work {
            Work::Absorb { update, cut } => absorb(&mut live, &update, cut, &limits, now_ms),
            Work::Holds { update } => holds(&mut live.replica, &update, &limits),
            Work::Diff { state_vector } => {
                live.replica.diff(&state_vector).map_or_else(Outcome::Broken, Outcome::Diff)
            }
            Work::Look(look) => Outcome::Looked(Reading((look.0)(Ok(&mut live.replica)))),
            Work::Checkpoint { pending, sequence, renews } => {
                fold_live(&mut live, pending, sequence, renews, now_ms)
            }
            Work::Build { .. } => Outcome::Built,
        };
        let broken = matches!(outcome, Outcome::Broken(_)) || live.replica.is_broken();
        let live = (!broken).then_some(live);
        Done { live, outcome }
    }
}

impl Took {
    /// Nothing was applied; this waits, if anything does.
    pub(crate) fn only(rest: Option<Bytes>) -> Self {
        Self { applied: None, judgement: None, rest }
    }
}

/// Judges what was applied just now.
fn took(live: &mut Live, update: Bytes, applied: Applied, rest: Option<Bytes>, now_ms: u64) -> Outcome {
    let judgement = if applied.novel { live.judge(now_ms) } else { Ok(None) };
    match judgement {
        Ok(judgement) => Outcome::Took(Took { applied: Some((update, applied)), judgement, rest }),
        Err(broken) => Outcome::Broken(broken),
    }
}

/// Applies an update that the checker found whole just now, and judges it.
fn apply(live: &mut Live, checked: &Checked, update: &Bytes, rest: Option<Bytes>, now_ms: u64) -> Outcome {
    // What it repeats told whose its late values are, and is of no use to anybody else.
    let update = checked.news.as_ref().map_or_else(|| update.clone(), |news| Bytes::copy_from_slice(news));
    match live.replica.apply(checked, &update) {
        Ok(applied) => took(live, update, applied, rest, now_ms),
        Err(broken) => Outcome::Broken(broken),
    }
}

/// Applies an update. Where it has gaps: with `cut` its closed part is applied, else nothing is.
pub(crate) fn absorb(live: &mut Live, update: &Bytes, cut: bool, limits: &Limits, now_ms: u64) -> Outcome {
    let gap = match live.replica.judge(update, limits) {
        Err(refusal) => return Outcome::Refused(refusal),
        Ok(Verdict::Whole(checked)) => return apply(live, &checked, update, None, now_ms),
        Ok(Verdict::Gap(_)) if !cut => return Outcome::Took(Took::only(Some(update.clone()))),
        Ok(Verdict::Gap(gap)) => gap,
    };
    let rest = Bytes::from(gap.rest);
    let Some(closed) = gap.closed.map(Bytes::from) else { return Outcome::Took(Took::only(Some(rest))) };
    match live.replica.judge(&closed, limits) {
        Ok(Verdict::Whole(checked)) => apply(live, &checked, &closed, Some(rest), now_ms),
        // The checker's own cut must pass the checker; where it does not, all of it waits.
        Ok(Verdict::Gap(_)) | Err(_) => Outcome::Took(Took::only(Some(update.clone()))),
    }
}

/// What judging a deletion may cost for each deleted clock, by the measure of the checker's work: what was deleted of an
/// accepted message is made again.
const JUDGED_BYTES: u64 = 10_000;

/// As [`absorb`], judging the common update once. `None` where its work is over the bound: nothing was applied.
pub(crate) fn absorb_light(
    live: &mut Live,
    update: &Bytes,
    cut: bool,
    limits: &Limits,
    heavy_work: u64,
    now_ms: u64,
) -> Option<Outcome> {
    match live.replica.judge(update, limits) {
        Err(refusal) => Some(Outcome::Refused(refusal)),
        Ok(Verdict::Gap(_)) => Some(absorb(live, update, cut, limits, now_ms)),
        Ok(Verdict::Whole(checked)) if work(live, &checked) > heavy_work => None,
        Ok(Verdict::Whole(checked)) => Some(apply(live, &checked, update, None, now_ms)),
    }
}

/// Estimates what an update costs to apply and to judge. What it adds is as long as the update itself; what it deletes is
/// not.
fn work(live: &Live, checked: &Checked) -> u64 {
    let judged = if live.is_judged() { JUDGED_BYTES.saturating_mul(checked.deleted_clocks()) } else { 0 };
    checked.work.saturating_add(judged)
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

/// Encodes a checkpoint as of `sequence`, which is not handed out before that is durable. With `renews` the document is
/// renewed before, if that is worth it: what the server writes for it is the next entry, and the checkpoint is as of that.
pub(crate) fn fold_live(
    live: &mut Live,
    pending: Vec<Entry>,
    sequence: u64,
    renews: bool,
    now_ms: u64,
) -> Outcome {
    let renewal = match if renews { live.renew(now_ms) } else { Ok(None) } {
        Ok(renewal) => renewal,
        Err(broken) => return Outcome::Broken(broken),
    };
    let kept = match fold::still_pending(&mut live.replica, pending) {
        Ok(kept) => kept,
        Err(error) => return Outcome::Broken(Broken(error.to_string())),
    };
    let sequence = sequence + u64::from(renewal.is_some());
    match live.replica.encode_state() {
        Ok(update) => {
            let state_vector = live.replica.state_vector();
            let checkpoint = Checkpoint { sequence, state_vector, update, pending: kept };
            Outcome::Folded(Folded { checkpoint, renewal })
        }
        Err(broken) => Outcome::Broken(broken),
    }
}
