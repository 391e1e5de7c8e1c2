//! The commit thread: everything that is queued becomes one journal record and one sync, then one callback says
//! what is durable. Appending never waits.
//!
//! A commit costs the same for one entry as for hundreds, so commits are paced: none begins within
//! [`WriterOptions::pace_us`] of the one before, under load within [`WriterOptions::busy_pace_us`]. After a pause
//! an entry is committed at once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use syncline_document::record::{Checkpoint, Entry, Sequence, Stored};
use syncline_protocol::names::DocumentName;

use crate::{
    codec::Prepared,
    engine::panic_text,
    error::StoreError,
    jobs::{Job, perform},
    pace::Pace,
    pool::Pool,
    rows::check_row,
    stats::WriterStats,
    store::{Row, Store},
    work::Work,
};

/// How the commit thread works. The default suits a server on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterOptions {
    /// Entries and rows in the queue above which [`Writer::has_room`] is false.
    pub queue_entries: usize,
    /// Bytes in the queue above which [`Writer::has_room`] is false.
    pub queue_bytes: usize,
    /// Bytes above which what is queued is split into several commits; what came together is not.
    pub commit_bytes: usize,
    /// Shortest time from the beginning of one commit to that of the next.
    pub pace_us: u64,
    /// The same while more than `busy_entries_per_s` arrive: fewer bytes written and less work for each entry, at
    /// the price of a later ack.
    pub busy_pace_us: u64,
    /// Where busy begins.
    pub busy_entries_per_s: u64,
    /// Threads that read documents and compress checkpoints, so that commits need not wait for it.
    pub helpers: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            queue_entries: 65_536,
            queue_bytes: 64 << 20,
            commit_bytes: 16 << 20,
            pace_us: 1_000,
            busy_pace_us: 8_000,
            busy_entries_per_s: 3_000,
            helpers: 2,
        }
    }
}

/// What a commit came to: called once per commit, on the commit thread, in order.
#[derive(Debug)]
pub struct CommitReport<T> {
    /// `Ok`: every entry of this report survives power loss. `Err`: none may be acked, nor any later one.
    pub result: Result<(), StoreError>,
    /// The tags of the entries, in the order of their appends, with their sequences. None where the commit was of
    /// rows alone.
    pub tags: Vec<(T, Sequence)>,
}

/// What waits to be committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Entries.
    pub entries: usize,
    /// Rows.
    pub rows: usize,
    /// The bytes of both.
    pub bytes: usize,
}

/// Takes the outcome of a [`Writer::load`].
pub type LoadReply = Box<dyn FnOnce(Result<Option<Stored>, StoreError>) + Send>;
/// Takes the outcome of a [`Writer::checkpoint`].
pub type CheckpointReply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Takes the outcome of a [`Writer::prune`]: the steps that were taken.
pub type PruneReply = Box<dyn FnOnce(Result<usize, StoreError>) + Send>;
/// Takes the outcome of a [`Writer::put_rows`].
pub type RowsReply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The one way into a store while the server runs: its own thread commits in groups.
pub struct Writer<T> {
    shared: Arc<Shared<T>>,
    thread: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
    pool: Arc<Pool>,
}

struct Shared<T> {
    store: Arc<dyn Store>,
    options: WriterOptions,
    queue: Mutex<Queue<T>>,
    wake: Condvar,
    stats: Arc<WriterStats>,
}

struct Queue<T> {
    work: Work<T>,
    on_room: Vec<Box<dyn FnOnce() + Send>>,
    rest: Rest,
    closed: bool,
}

/// What the thread does while it is not working: an appender wakes it only where it has to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Working,
    Idle,
    Pacing,
}

impl<T: Send + 'static> Writer<T> {
    /// Starts the commit thread, named `commit`, and its helpers. `on_commit` must not block.
    ///
    /// # Errors
    /// [`StoreError::Io`] where threads cannot be started.
    pub fn start(
        store: Arc<dyn Store>,
        options: WriterOptions,
        on_commit: impl FnMut(CommitReport<T>) + Send + 'static,
    ) -> Result<Self, StoreError> {
        let pool = Arc::new(Pool::start(options.helpers)?);
        let shared = Arc::new(Shared {
            store,
            options,
            queue: Mutex::new(Queue {
                work: Work::default(),
                on_room: Vec::new(),
                rest: Rest::Working,
                closed: false,
            }),
            wake: Condvar::new(),
            stats: Arc::default(),
        });
        let run = { (shared.clone(), pool.clone()) };
        let thread = std::thread::Builder::new()
            .name("commit".into())
            .spawn(move || run.0.run(&run.1, on_commit))
            .map_err(|error| StoreError::Io(format!("no commit thread: {error}")))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)), pool })
    }

    /// Queues an entry; never waits and never drops it. Whoever appends looks at [`Writer::has_room`] first and
    /// stops reading from its peers where there is none.
    pub fn append(&self, entry: Entry, tag: T) {
        let mut queue = self.shared.queue.lock();
        queue.work.push(entry, tag);
        let urgent = !self.shared.fits(&queue.work);
        self.shared.wake(&mut queue, urgent);
    }

    /// Queues entries and rows for one commit, whatever its size: after a crash all of them are there or none.
    /// The entries are reported as those of [`Writer::append`] are; room is to be looked for first as there.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] where a row is not of the size that is taken, [`StoreError::Closed`] after
    /// [`Writer::shutdown`]: nothing was queued.
    pub fn append_together(
        &self,
        entries: impl IntoIterator<Item = (Entry, T)>,
        rows: Vec<Row>,
    ) -> Result<(), StoreError> {
        let entries: Vec<_> = entries.into_iter().collect();
        if entries.is_empty() && rows.is_empty() {
            return Ok(());
        }
        self.shared.push_bundle(entries, rows, None).map_err(|(error, _)| error)
    }

    /// Writes rows, durable once the reply says `Ok`: in one commit, not before what was queued before them and
    /// not after what is queued later. The reply runs on the commit thread; where a row is not of the size that is
    /// taken, here and at once.
    pub fn put_rows(&self, rows: Vec<Row>, reply: RowsReply) {
        if let Err((error, Some(reply))) = self.shared.push_bundle(Vec::new(), rows, Some(reply)) {
            reply(Err(error));
        }
    }

    /// Reads a document once all entries appended before are durable. The reply runs on a helper thread; commits
    /// go on meanwhile. On a poisoned store it shows what was durable.
    pub fn load(&self, name: DocumentName, reply: LoadReply) {
        self.shared.push(Job::Load(name, reply), true);
    }

    /// Writes a checkpoint once all entries appended before are durable; one beyond them is answered with
    /// [`StoreError::Bug`]. Compresses on a helper thread; the reply runs on the commit thread.
    pub fn checkpoint(&self, name: DocumentName, checkpoint: Checkpoint, reply: CheckpointReply) {
        let shared = self.shared.clone();
        self.pool.run(Box::new(move || match Prepared::new(&checkpoint) {
            Ok(prepared) => shared.push(Job::Checkpoint(name, prepared, reply), false),
            Err(error) => reply(Err(error)),
        }));
    }

    /// Replaces a document's side record; the next commit makes it durable. A failure is logged.
    pub fn side(&self, name: DocumentName, side: Bytes) {
        self.shared.push(Job::Side(name, side), false);
    }

    /// Deletes superfluous records, at most so many steps, between two commits. The reply runs on the commit
    /// thread.
    pub fn prune(&self, max_steps: usize, reply: PruneReply) {
        self.shared.push(Job::Prune(max_steps, reply), false);
    }

    /// Returns what waits to be committed.
    pub fn queued(&self) -> QueueDepth {
        let queue = self.shared.queue.lock();
        QueueDepth { entries: queue.work.entries.len(), rows: queue.work.rows, bytes: queue.work.bytes }
    }

    /// Returns how long the oldest queued entry or row has been waiting, in milliseconds; 0 if none is.
    pub fn oldest_queued_ms(&self) -> u64 {
        let oldest = self.shared.queue.lock().work.oldest;
        oldest.map_or(0, |oldest| micros(oldest.elapsed()) / 1_000)
    }

    /// Says whether the queue is within its bounds.
    pub fn has_room(&self) -> bool {
        self.shared.fits(&self.shared.queue.lock().work)
    }

    /// Calls back once, when the queue is within its bounds: at once where it is, else on the commit thread.
    pub fn on_room(&self, call: Box<dyn FnOnce() + Send>) {
        let mut queue = self.shared.queue.lock();
        if self.shared.fits(&queue.work) {
            drop(queue);
            call();
        } else {
            queue.on_room.push(call);
        }
    }

    /// Returns the counters, which live as long as whoever holds them.
    pub fn stats(&self) -> &Arc<WriterStats> {
        &self.shared.stats
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// Commits everything that is queued, answers every load and checkpoint, and ends the threads. Later calls
    /// return the same; what is appended later is reported as [`StoreError::Closed`] to nobody.
    ///
    /// # Errors
    /// The error of the last commits: what was queued is not durable.
    pub fn shutdown(&self) -> Result<(), StoreError> {
        // Checkpoints that are still being compressed have to reach the queue first.
        self.pool.drain();
        {
            let mut queue = self.shared.queue.lock();
            queue.closed = true;
            self.shared.wake.notify_one();
        }
        let mut thread = self.thread.lock();
        let result = match thread.take() {
            Some(handle) => handle.join().unwrap_or_else(|panic| {
                Err(StoreError::Bug(format!("the commit thread panicked: {}", panic_text(&*panic))))
            }),
            None => match self.shared.store.poisoned() {
                Some(reason) => Err(StoreError::Poisoned(reason)),
                None => Ok(()),
            },
        };
        self.pool.shutdown();
        if let Err(error) = self.shared.store.mark() {
            tracing::warn!(event = "mark_failed", %error);
        }
        result
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // Its outcome was of interest to whoever calls `shutdown`.
            let _ = thread.join();
        }
        self.pool.shutdown();
    }
}

impl<T> Shared<T> {
    fn fits(&self, work: &Work<T>) -> bool {
        work.items() <= self.options.queue_entries && work.bytes <= self.options.queue_bytes
    }

    /// Checks before it queues: one row that the store refuses would fail the commit of all that is queued.
    fn push_bundle(
        &self,
        entries: Vec<(Entry, T)>,
        rows: Vec<Row>,
        reply: Option<RowsReply>,
    ) -> Result<(), (StoreError, Option<RowsReply>)> {
        if let Err(error) = rows.iter().try_for_each(check_row) {
            return Err((error, reply));
        }
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err((StoreError::Closed, reply));
        }
        queue.work.push_bundle(entries, rows, reply);
        let urgent = !self.fits(&queue.work);
        self.wake(&mut queue, urgent);
        Ok(())
    }

    fn push(&self, job: Job, urgent: bool) {
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue);
            job.refuse(&StoreError::Closed);
            return;
        }
        queue.work.jobs.push(job);
        self.wake(&mut queue, urgent);
    }

    fn wake(&self, queue: &mut Queue<T>, urgent: bool) {
        let asleep = queue.rest == Rest::Idle || (urgent && queue.rest == Rest::Pacing);
        if asleep {
            queue.rest = Rest::Working;
            self.wake.notify_one();
        }
    }

    /// Waits for work; `None` once closed and empty.
    fn next(&self, pace: &mut Pace, recycled: Work<T>) -> Option<Work<T>> {
        let mut queue = self.queue.lock();
        loop {
            let urgent = queue.closed
                || !self.fits(&queue.work)
                || queue.work.jobs.iter().any(|job| matches!(job, Job::Load(..)));
            if queue.work.is_empty() {
                if queue.closed {
                    return None;
                }
                queue.rest = Rest::Idle;
                self.wake.wait(&mut queue);
            } else if let Some(left) = pace.left(Instant::now()).filter(|_| !urgent) {
                queue.rest = Rest::Pacing;
                self.wake.wait_for(&mut queue, left);
            } else {
                break;
            }
            queue.rest = Rest::Working;
        }
        let work = std::mem::replace(&mut queue.work, recycled);
        self.stats.taken(work.entries.len(), work.bytes, work.oldest);
        let waiting = std::mem::take(&mut queue.on_room);
        drop(queue);
        for call in waiting {
            call();
        }
        pace.begin(Instant::now(), work.items());
        Some(work)
    }

    fn run(&self, pool: &Pool, mut on_commit: impl FnMut(CommitReport<T>)) -> Result<(), StoreError> {
        let mut pace = Pace::new(&self.options);
        let mut recycled = Work::default();
        let mut outcome = Ok(());
        while let Some(mut work) = self.next(&mut pace, recycled) {
            if let Err(error) = self.commit(&mut work, &mut on_commit) {
                outcome = Err(error);
            }
            perform(work.jobs.drain(..), &self.store, pool, &self.stats);
            work.clear();
            recycled = work;
        }
        outcome
    }

    /// Commits entries and rows, in pieces of bounded size, each reported as soon as it is durable.
    fn commit(
        &self,
        work: &mut Work<T>,
        on_commit: &mut impl FnMut(CommitReport<T>),
    ) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        let (mut entry, mut bundle) = (0, 0);
        let mut room_for_tags = std::mem::take(&mut work.tags);
        let mut tags = room_for_tags.drain(..);
        while (entry, bundle) != (work.entries.len(), work.bundles.len()) {
            let (entries_end, bundles_end) = work.piece_end(entry, bundle, self.options.commit_bytes);
            let (mut rows, mut replies) = (Vec::new(), Vec::new());
            for bundle in &mut work.bundles[bundle..bundles_end] {
                rows.append(&mut bundle.rows);
                replies.extend(bundle.reply.take());
            }
            let piece = &work.entries[entry..entries_end];
            let result = self.commit_piece(piece, &rows);
            if let Err(error) = &result {
                outcome = Err(error.clone());
            }
            let tags = tags.by_ref().take(piece.len()).zip(piece);
            let tags = tags.map(|(tag, entry)| (tag, entry.sequence)).collect();
            let report = CommitReport { result: result.clone(), tags };
            contain("commit_callback_panicked", || on_commit(report));
            for reply in replies {
                contain("rows_reply_panicked", || reply(result.clone()));
            }
            (entry, bundle) = (entries_end, bundles_end);
        }
        drop(tags);
        work.tags = room_for_tags;
        outcome
    }

    fn commit_piece(&self, piece: &[Entry], rows: &[Row]) -> Result<(), StoreError> {
        if self.stats.failed.load(Relaxed) {
            // What comes after something that was lost must not become durable: it may build on it.
            let reason = self.store.poisoned().unwrap_or_else(|| "an earlier commit failed".into());
            return Err(StoreError::Poisoned(reason));
        }
        let began = Instant::now();
        let result =
            catch_unwind(AssertUnwindSafe(|| self.store.commit(piece, rows))).unwrap_or_else(|panic| {
                Err(StoreError::Io(format!("the store panicked: {}", panic_text(&*panic))))
            });
        match &result {
            Ok(()) => {
                let bytes = piece.iter().map(|entry| entry.bytes.len()).sum();
                self.stats.committed(piece.len(), bytes, began.elapsed());
            }
            Err(error) => {
                self.stats.failed.store(true, Relaxed);
                tracing::error!(event = "commit_failed", %error);
            }
        }
        result
    }
}

/// Runs what others want to have called; a panic in it is theirs.
fn contain(event: &'static str, call: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
        let text = panic_text(&*panic);
        tracing::error!(event, text);
    }
}

/// Returns a duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
