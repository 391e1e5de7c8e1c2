//! What waits for the index thread: bounded, and it says so when it is full.

use std::{collections::VecDeque, sync::mpsc::SyncSender, time::Instant};

use parking_lot::{Condvar, Mutex};

use crate::{batch::Batch, error::SearchError, options::Options};

/// Takes the outcome of a job that somebody waits for.
pub(crate) type Reply = SyncSender<Result<(), SearchError>>;

/// What the thread is to do, in order.
pub(crate) enum Job {
    Apply(Batch),
    Flush(Reply),
    Purge(Reply),
}

/// What [`Queue::take`] comes back with.
pub(crate) enum Taken {
    Job(Job),
    /// Nothing came until the given time.
    Due,
    /// The index was dropped.
    Closed,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    options: Options,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    batches: usize,
    bytes: usize,
    closed: bool,
    stopped: Option<SearchError>,
}

impl Queue {
    pub(crate) fn new(options: Options) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), options }
    }

    /// Takes a batch in, unless there is no room. A batch larger than the queue is taken when the queue is empty.
    pub(crate) fn push_batch(&self, batch: Batch) -> Result<(), SearchError> {
        let mut state = self.state.lock();
        if let Some(why) = &state.stopped {
            return Err(why.clone());
        }
        let full = state.batches >= self.options.queue_batches
            || state.bytes + batch.bytes > self.options.queue_bytes;
        if full && state.batches > 0 {
            return Err(SearchError::Full);
        }
        state.batches += 1;
        state.bytes += batch.bytes;
        state.jobs.push_back(Job::Apply(batch));
        self.wake.notify_one();
        Ok(())
    }

    /// Takes a job in that somebody waits for.
    pub(crate) fn push_job(&self, job: Job) -> Result<(), SearchError> {
        let mut state = self.state.lock();
        if let Some(why) = &state.stopped {
            return Err(why.clone());
        }
        state.jobs.push_back(job);
        self.wake.notify_one();
        Ok(())
    }

    /// Waits for the next job, no longer than until `due`.
    pub(crate) fn take(&self, due: Option<Instant>) -> Taken {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return Taken::Closed;
            }
            if due.is_some_and(|due| Instant::now() >= due) {
                return Taken::Due;
            }
            if let Some(job) = state.jobs.pop_front() {
                if let Job::Apply(batch) = &job {
                    state.batches -= 1;
                    state.bytes -= batch.bytes;
                }
                return Taken::Job(job);
            }
            match due {
                Some(due) => {
                    self.wake.wait_until(&mut state, due);
                }
                None => self.wake.wait(&mut state),
            }
        }
    }

    /// Ends the thread. What was not committed is given up; [`crate::Index::seen`] tells what that was.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }

    /// Refuses everything from now on, and drops what waits: who waits for a reply sees its channel end.
    pub(crate) fn stop(&self, why: SearchError) {
        let mut state = self.state.lock();
        state.jobs.clear();
        (state.batches, state.bytes) = (0, 0);
        state.stopped = Some(why);
    }

    /// Batches and bytes that wait, and why nothing more is taken.
    pub(crate) fn depth(&self) -> (usize, usize, Option<SearchError>) {
        let state = self.state.lock();
        (state.batches, state.bytes, state.stopped.clone())
    }
}
