//! What the commit thread does beside commits, once everything that was queued is durable.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use syncline_document::record::Stored;
use syncline_protocol::names::DocumentName;

use crate::{
    codec::Prepared,
    engine::panic_text,
    error::StoreError,
    pool::Pool,
    stats::WriterStats,
    store::Store,
    writer::{CheckpointReply, LoadReply, PruneReply},
};

/// One thing to do.
pub(crate) enum Job {
    Load(DocumentName, LoadReply),
    Checkpoint(DocumentName, Prepared, CheckpointReply),
    Side(DocumentName, Bytes),
    Prune(usize, PruneReply),
}

impl Job {
    /// Answers without doing it.
    pub(crate) fn refuse(self, error: &StoreError) {
        match self {
            Self::Load(_, reply) => reply(Err(error.clone())),
            Self::Checkpoint(_, _, reply) => reply(Err(error.clone())),
            Self::Prune(_, reply) => reply(Err(error.clone())),
            Self::Side(..) => {}
        }
    }
}

/// Does jobs in their order, checkpoints together at the end.
pub(crate) fn perform(
    jobs: impl Iterator<Item = Job>,
    store: &Arc<dyn Store>,
    pool: &Pool,
    stats: &WriterStats,
) {
    let mut checkpoints = Vec::new();
    let mut replies = Vec::new();
    for job in jobs {
        match job {
            Job::Load(name, reply) => {
                let store = store.clone();
                pool.run(Box::new(move || reply(read_contained(&*store, &name))));
            }
            Job::Checkpoint(name, prepared, reply) => {
                checkpoints.push((name, prepared));
                replies.push(reply);
            }
            Job::Side(name, side) => {
                if let Err(error) = store.put_side(&name, side) {
                    tracing::warn!(event = "side_record_lost", document = %name, %error);
                }
            }
            Job::Prune(steps, reply) => reply(store.prune(steps)),
        }
    }
    if checkpoints.is_empty() {
        return;
    }
    let results = store.write_checkpoints(&checkpoints);
    let written = results.iter().filter(|result| result.is_ok()).count() as u64;
    stats.checkpoints.fetch_add(written, Relaxed);
    for (reply, result) in replies.into_iter().zip(results) {
        reply(result);
    }
}

fn read_contained(store: &dyn Store, name: &DocumentName) -> Result<Option<Stored>, StoreError> {
    catch_unwind(AssertUnwindSafe(|| store.read(name)))
        .unwrap_or_else(|panic| Err(StoreError::Io(format!("reading panicked: {}", panic_text(&*panic)))))
}
