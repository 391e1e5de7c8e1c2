//! The index as callers see it.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use tantivy::{DocSet, IndexReader, TERMINATED, schema::IndexRecordOption};

use crate::{
    batch::Batch,
    error::{SearchError, contained},
    find::{self, Filter, Found, Page},
    open::{self, Opened},
    options::Options,
    queue::{Job, Queue, Reply},
    schema::{SEQUENCE, Schema},
    worker::Worker,
};

/// How far the index is behind, and whether it will catch up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lag {
    /// Batches that wait.
    pub batches: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Why no more are taken, if that is so.
    pub stopped: Option<SearchError>,
}

/// An index over the titles and messages of many users, in a folder of its own.
///
/// Dropping it gives up what is not yet committed, as a crash would; [`Index::flush`] comes first in an orderly end.
///
/// ```
/// use syncline_search::{Batch, Filter, Index, Item, Options, Page};
/// # fn main() -> Result<(), syncline_search::SearchError> {
/// # let folder = tempfile::tempdir()?;
/// let (index, _opened) = Index::open(folder.path(), Options::default())?;
/// let title = Item {
///     conversation: "c1".into(),
///     message: None,
///     role: String::new(),
///     at_ms: 0,
///     alternative: false,
///     text: "Crème brûlée for six".into(),
/// };
/// index.apply(Batch::new("ada").put(title).seen("index/2026-q4", 17))?;
/// index.flush()?;
/// let found = index.search("ada", "creme bru", &Page::default(), &Filter::default())?;
/// assert_eq!(found.hits[0].conversation, "c1");
/// assert_eq!(index.seen("ada", "index/2026-q4")?, Some(17));
/// # Ok(())
/// # }
/// ```
pub struct Index {
    options: Options,
    schema: Schema,
    reader: IndexReader,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Index {
    /// Opens the index in a folder that belongs to it alone, or begins one, and starts its thread, named `search`.
    ///
    /// Reads all files once to check them. A damaged index is moved aside to `damaged`, in place of an earlier one
    /// there, and an empty one begun.
    ///
    /// # Errors
    /// [`SearchError::InUse`] while another has it open; [`SearchError::Io`] where the folder cannot be used. Both
    /// are reasons to go on without search, none to go down.
    pub fn open(folder: &Path, options: Options) -> Result<(Self, Opened), SearchError> {
        let (files, opened) = open::open(folder, &options)?;
        let queue = Arc::new(Queue::new(options));
        let worker = Worker {
            folder: folder.to_owned(),
            options,
            index: files.index,
            schema: files.schema,
            reader: files.reader.clone(),
            queue: queue.clone(),
            writer: Some(files.writer),
            uncommitted: 0,
            due: None,
        };
        let thread = std::thread::Builder::new().name("search".into()).spawn(move || worker.run())?;
        let index = Self { options, schema: files.schema, reader: files.reader, queue, thread: Some(thread) };
        Ok((index, opened))
    }

    /// Queues changes; never waits. They are durable and visible after [`Options::commit_ms`], if the thread keeps
    /// up, and after a [`Index::flush`] in any case.
    ///
    /// # Errors
    /// [`SearchError::Full`]: the batch was not taken, and later ones must not be applied as if it had been: the
    /// user has to be indexed again. [`SearchError::Stopped`]: so have all. [`SearchError::Name`]: a bug above.
    pub fn apply(&self, batch: Batch) -> Result<(), SearchError> {
        batch.check()?;
        self.queue.push_batch(batch)
    }

    /// Waits until everything that was applied before is durable and visible.
    ///
    /// # Errors
    /// [`SearchError::Stopped`] where it never will be.
    pub fn flush(&self) -> Result<(), SearchError> {
        self.wait(Job::Flush)
    }

    /// Waits until nothing that was removed or replaced before is left in any file of the folder, a damaged index
    /// that was set aside included. Rewrites the segments that held such texts: seconds for a large index.
    ///
    /// An erasure is done when this returns, not when [`Batch::remove_user`] is applied: who must erase repeats
    /// both after a crash.
    ///
    /// # Errors
    /// [`SearchError::Stopped`] where it was not done.
    pub fn purge(&self) -> Result<(), SearchError> {
        self.wait(Job::Purge)
    }

    fn wait(&self, job: impl FnOnce(Reply) -> Job) -> Result<(), SearchError> {
        let (reply, outcome) = mpsc::sync_channel(1);
        self.queue.push_job(job(reply))?;
        outcome.recv().unwrap_or_else(|_gone| {
            Err(self.lag().stopped.unwrap_or_else(|| SearchError::Stopped("its thread has ended".into())))
        })
    }

    /// How much waits. The server's metrics show it.
    #[must_use]
    pub fn lag(&self) -> Lag {
        let (batches, bytes, stopped) = self.queue.depth();
        Lag { batches, bytes, stopped }
    }

    /// Tells up to which sequence a document is durably in the index. A document that holds more, or is not known
    /// here, has to be indexed again: after a crash, after [`SearchError::Full`], in a fresh index.
    ///
    /// # Errors
    /// [`SearchError::Damaged`] where the index cannot be read; what is wrong with a file is found when it is
    /// opened next.
    pub fn seen(&self, user: &str, document: &str) -> Result<Option<u64>, SearchError> {
        let term = self.schema.of_seen(user, document);
        contained(|| {
            let mut newest = None;
            for segment in self.reader.searcher().segment_readers() {
                let entries = segment.inverted_index(term.field())?;
                let Some(mut found) = entries.read_postings(&term, IndexRecordOption::Basic)? else {
                    continue;
                };
                let sequences = segment.fast_fields().u64(SEQUENCE)?;
                while found.doc() != TERMINATED {
                    if !segment.is_deleted(found.doc()) {
                        newest = newest.max(sequences.first(found.doc()));
                    }
                    found.advance();
                }
            }
            Ok(newest)
        })
    }

    /// Finds texts of one user, the best and then the newest first.
    ///
    /// All words have to be there; `"words in quotes"` beside each other; `-word` and `-"words"` must not be. The
    /// last word may be unfinished unless a space follows it. Case and accents do not matter. A query with nothing
    /// to look for finds nothing. Blocks, for [`Options::search_ms`] or a little more.
    ///
    /// # Errors
    /// [`SearchError::Query`], [`SearchError::Cursor`], [`SearchError::Name`]: what was asked cannot be answered.
    /// [`SearchError::Damaged`]: the index cannot be read; what is wrong with a file is found when it is
    /// opened next.
    pub fn search(
        &self,
        user: &str,
        query: &str,
        page: &Page,
        filter: &Filter,
    ) -> Result<Found, SearchError> {
        let search = find::Search::new(user, query, page, filter)?;
        contained(|| search.run(&self.reader.searcher(), &self.schema, &self.options))
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // It contains its panics: there is nothing to learn from its end.
            let _ = thread.join();
        }
    }
}
