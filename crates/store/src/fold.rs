//! Folds tails into checkpoints in the background, so that documents load fast and the journal stays short.
//!
//! An open document's session makes its own checkpoints: it is nudged. A cold one is read, replayed and
//! checkpointed here. Should one be opened meanwhile nothing is lost: a checkpoint says only what is durable.

use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::{Condvar, Mutex};
use syncline_document::record::{Checkpoint, Stored};
use syncline_protocol::names::DocumentName;

use crate::{error::StoreError, store::FoldBounds, writer::Writer};

/// How much is folded and deleted, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldOptions {
    /// When a tail is due.
    pub bounds: FoldBounds,
    /// Pause between two rounds.
    pub round_ms: u64,
    /// Documents folded or nudged in a round.
    pub documents_a_round: usize,
    /// Keys deleted between two commits.
    pub prune_steps: usize,
    /// Times that many, in a round.
    pub prunes_a_round: usize,
    /// Rounds until the marker is written again.
    pub rounds_a_mark: u64,
}

impl Default for FoldOptions {
    fn default() -> Self {
        Self {
            bounds: FoldBounds::default(),
            round_ms: 1_000,
            documents_a_round: 64,
            prune_steps: 64,
            prunes_a_round: 64,
            rounds_a_mark: 30,
        }
    }
}

/// Rounds that a document is left alone after folding it failed.
const ROUNDS_AFTER_FAILURE: u64 = 600;

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Cold documents that were checkpointed.
    pub folded: usize,
    /// Open documents whose sessions were nudged.
    pub nudged: usize,
    /// Documents that could not be read or replayed: `verify` says why.
    pub failed: usize,
    /// Keys deleted.
    pub pruned: usize,
}

/// Replays a stored document into a checkpoint as of its newest sequence.
///
/// # Errors
/// The text says which stored update does not fit.
pub fn replay(stored: &Stored) -> Result<Checkpoint, String> {
    syncline_document::fold::fold(stored).map_err(|error| error.to_string())
}

/// Folds in rounds: by itself in a [`Folding`] thread, by hand in tests.
pub struct Folder<T> {
    writer: Arc<Writer<T>>,
    options: FoldOptions,
    is_open: Box<dyn Fn(&DocumentName) -> bool + Send>,
    rounds: u64,
    /// The round in which a document that failed is tried again.
    failed: HashMap<DocumentName, u64>,
}

impl<T: Send + 'static> Folder<T> {
    /// Makes a folder. `is_open` says whether a session holds the document; if so, that session is to make a
    /// checkpoint, so the call is also the nudge. It must not block.
    pub fn new(
        writer: Arc<Writer<T>>,
        options: FoldOptions,
        is_open: impl Fn(&DocumentName) -> bool + Send + 'static,
    ) -> Self {
        Self { writer, options, is_open: Box::new(is_open), rounds: 0, failed: HashMap::new() }
    }

    /// Folds what is due at `now_ms` (Unix time), waits for the checkpoints, deletes what became superfluous.
    pub fn round(&mut self, now_ms: u64) -> Round {
        self.rounds += 1;
        let rounds = self.rounds;
        self.failed.retain(|_, again| *again > rounds);
        let mut round = Round::default();
        if self.writer.store().poisoned().is_some() {
            return round;
        }
        // More than a round's share: those that failed lately are still in the list.
        let limit = self.options.documents_a_round + self.failed.len();
        let due = self.writer.store().due(&self.options.bounds, now_ms, limit);
        let (reply, replies) = mpsc::channel();
        for name in due {
            if self.failed.contains_key(&name) {
                continue;
            }
            if (self.is_open)(&name) {
                round.nudged += 1;
                continue;
            }
            match self.fold(&name) {
                Ok(checkpoint) => {
                    let (reply, of) = (reply.clone(), name.clone());
                    let answer = move |result| drop(reply.send((of, result)));
                    self.writer.checkpoint(name, checkpoint, Box::new(answer));
                }
                Err(error) => self.give_up(name, &error, &mut round),
            }
        }
        drop(reply);
        for (name, result) in replies {
            match result {
                Ok(()) => round.folded += 1,
                Err(error) => self.give_up(name, &error.to_string(), &mut round),
            }
        }
        round.pruned = self.prune();
        if rounds.is_multiple_of(self.options.rounds_a_mark)
            && let Err(error) = self.writer.store().mark()
        {
            tracing::warn!(event = "mark_failed", %error);
        }
        round
    }

    fn fold(&self, name: &DocumentName) -> Result<Checkpoint, String> {
        let stored = self.writer.store().read(name).map_err(|error| error.to_string())?;
        replay(&stored.ok_or("it is gone")?)
    }

    fn give_up(&mut self, name: DocumentName, error: &str, round: &mut Round) {
        tracing::error!(event = "fold_failed", document = %name, error);
        round.failed += 1;
        self.failed.insert(name, self.rounds + ROUNDS_AFTER_FAILURE);
    }

    fn prune(&self) -> usize {
        let mut pruned = 0;
        for _ in 0..self.options.prunes_a_round {
            let (reply, replies) = mpsc::channel::<Result<usize, StoreError>>();
            self.writer.prune(self.options.prune_steps, Box::new(move |result| drop(reply.send(result))));
            match replies.recv() {
                Ok(Ok(steps)) if steps > 0 => pruned += steps,
                _ => break,
            }
        }
        pruned
    }
}

/// The thread that folds.
pub struct Folding {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Folding {
    /// Starts it, named `fold`.
    ///
    /// # Errors
    /// [`StoreError::Io`] where a thread cannot be started.
    pub fn start<T: Send + 'static>(mut folder: Folder<T>) -> Result<Self, StoreError> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let shared = stop.clone();
        let pause = Duration::from_millis(folder.options.round_ms);
        let run = move || {
            let mut stopped = shared.0.lock();
            while !*stopped {
                parking_lot::MutexGuard::unlocked(&mut stopped, || {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    folder.round(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
                });
                if !*stopped {
                    shared.1.wait_for(&mut stopped, pause);
                }
            }
        };
        // Replaying nests as deep as documents do.
        let thread = std::thread::Builder::new().name("fold".into()).stack_size(16 << 20).spawn(run);
        let thread = thread.map_err(|error| StoreError::Io(format!("no folding thread: {error}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it after the document at hand. Before the writer is shut down.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(event = "fold_thread_panicked");
        }
    }
}

impl Drop for Folding {
    fn drop(&mut self) {
        self.end();
    }
}
