//! The index thread: it alone writes. Changes go into the library as they come; a commit makes them durable and
//! visible together.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tantivy::{
    IndexReader, IndexWriter,
    indexer::{IndexWriterOptions, LogMergePolicy},
};

use crate::{
    batch::{Batch, Change},
    error::{SearchError, contained},
    open,
    options::Options,
    queue::{Job, Queue, Reply, Taken},
    schema::Schema,
};

pub(crate) struct Worker {
    pub(crate) folder: PathBuf,
    pub(crate) options: Options,
    pub(crate) index: tantivy::Index,
    pub(crate) schema: Schema,
    pub(crate) reader: IndexReader,
    pub(crate) queue: Arc<Queue>,
    /// `None` only while a purge puts another in its place.
    pub(crate) writer: Option<IndexWriter>,
    /// Bytes of the changes since the last commit.
    pub(crate) uncommitted: usize,
    /// When the next commit is due: set by the first change after a commit.
    pub(crate) due: Option<Instant>,
}

/// Starts the library's writer: one thread that builds segments, one that merges them.
pub(crate) fn writer(index: &tantivy::Index, options: &Options) -> Result<IndexWriter, SearchError> {
    // The library's own limits: less is refused, and so is more than an address of four bytes.
    let bytes = options.writer_bytes.clamp(15_000_000, 1 << 31);
    let wanted = IndexWriterOptions::builder()
        .num_worker_threads(1)
        .num_merge_threads(1)
        .memory_budget_per_thread(bytes)
        .build();
    let writer: IndexWriter = index.writer_with_options(wanted)?;
    writer.set_merge_policy(Box::new(merge_policy()));
    Ok(writer)
}

/// Which segments become one while the index works.
pub(crate) fn merge_policy() -> LogMergePolicy {
    let mut policy = LogMergePolicy::default();
    // Commits are small: by the default, segments of up to 10,000 entries would be rewritten with every eighth.
    policy.set_min_layer_size(500);
    policy.set_del_docs_ratio_before_merge(0.3);
    policy
}

impl Worker {
    /// Works until the index is dropped or a failure ends it.
    pub(crate) fn run(mut self) {
        let Err(error) = contained(|| self.work()) else { return };
        tracing::error!(%error, "search index stopped");
        if error.is_damage() {
            open::suspect(&self.folder, &error);
        }
        self.stop(&error);
    }

    fn work(&mut self) -> Result<(), SearchError> {
        loop {
            match self.queue.take(self.due) {
                Taken::Job(Job::Apply(batch)) => self.apply(&batch)?,
                Taken::Job(Job::Flush(reply)) => {
                    let outcome = self.commit();
                    self.answer(&reply, outcome)?;
                }
                Taken::Job(Job::Purge(reply)) => {
                    let outcome = self.purge();
                    self.answer(&reply, outcome)?;
                }
                Taken::Due => self.commit()?,
                Taken::Closed => return Ok(()),
            }
        }
    }

    /// Tells who waits how it went; a failure only once the queue is stopped, so that it is one to them as well.
    fn answer(&self, reply: &Reply, outcome: Result<(), SearchError>) -> Result<(), SearchError> {
        let told = outcome.clone().map_err(|error| self.stop(&error));
        // Who asked may have gone.
        let _ = reply.send(told);
        outcome
    }

    /// Takes no more; returns what callers are told from now on.
    fn stop(&self, error: &SearchError) -> SearchError {
        let stopped = SearchError::Stopped(error.to_string());
        self.queue.stop(stopped.clone());
        stopped
    }

    pub(crate) fn writer(&mut self) -> Result<&mut IndexWriter, SearchError> {
        self.writer.as_mut().ok_or_else(|| SearchError::Io("the last purge did not end".into()))
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), SearchError> {
        let schema = self.schema;
        let user = batch.user.as_str();
        let writer = self.writer()?;
        for change in &batch.changes {
            match change {
                Change::Put(item) => {
                    writer.delete_term(schema.of_message(user, &item.conversation, item.message.as_deref()));
                    writer.add_document(schema.entry(user, item))?;
                }
                Change::RemoveMessage { conversation, message } => {
                    writer.delete_term(schema.of_message(user, conversation, message.as_deref()));
                }
                Change::RemoveConversation(conversation) => {
                    writer.delete_term(schema.of_conversation(user, conversation));
                }
                Change::RemoveUser => {
                    writer.delete_term(schema.of_user(user));
                }
                Change::Seen { document, sequence } => {
                    writer.delete_term(schema.of_seen(user, document));
                    writer.add_document(schema.seen_entry(user, document, *sequence))?;
                }
                Change::Forget(document) => {
                    writer.delete_term(schema.of_seen(user, document));
                }
            }
        }
        self.uncommitted += batch.bytes;
        if self.uncommitted > self.options.commit_bytes {
            return self.commit();
        }
        let pace = Duration::from_millis(self.options.commit_ms);
        self.due.get_or_insert_with(|| Instant::now() + pace);
        Ok(())
    }

    /// Makes durable and visible what was applied.
    pub(crate) fn commit(&mut self) -> Result<(), SearchError> {
        if self.due.take().is_some() || self.uncommitted > 0 {
            self.writer()?.commit()?;
            self.uncommitted = 0;
        }
        Ok(self.reader.reload()?)
    }
}
