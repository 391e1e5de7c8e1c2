//! What can go wrong in a search index, and whose fault it is. None of it may stop the server: an index can be
//! built again.

/// Says why the index did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The queue is full; the batch was not taken. Its user has to be indexed again later.
    #[error("the search index is behind: its queue is full")]
    Full,
    /// The index takes no more changes since an earlier failure. Searches go on; opening it again may help.
    #[error("the search index has stopped: {0}")]
    Stopped(String),
    /// Another process, or another [`crate::Index`], has the folder open.
    #[error("the search index is in use by another process")]
    InUse,
    /// A name in a batch or a query is too long to have ever been accepted: the caller's fault.
    #[error("a name has at most {} bytes", crate::limits::NAME_BYTES)]
    Name,
    /// The query is longer than a person would write: the fault of who asked.
    #[error(
        "a query has at most {} bytes and {} words",
        crate::limits::QUERY_BYTES,
        crate::limits::QUERY_WORDS
    )]
    Query,
    /// The cursor is none that this index gave: the fault of who asked.
    #[error("not a cursor of this search")]
    Cursor,
    /// What is on disk fails a check. The next [`crate::Index::open`] sets it aside.
    #[error("the search index is damaged: {0}")]
    Damaged(String),
    /// The library panicked. The index may well be whole: it is checked when it is opened next.
    #[error("the search index failed, which is a bug: {0}")]
    Bug(String),
    /// The operating system refused: no room, no rights, no thread.
    #[error("the search index failed: {0}")]
    Io(String),
}

impl SearchError {
    /// Whether building the index anew would help its thread, which would else meet the same again.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Bug(_))
    }
}

impl From<std::io::Error> for SearchError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<tantivy::TantivyError> for SearchError {
    fn from(error: tantivy::TantivyError) -> Self {
        use tantivy::{
            TantivyError as T,
            directory::error::{LockError, OpenReadError},
        };
        match &error {
            T::LockFailure(LockError::LockBusy, _) => Self::InUse,
            // A worker's error arrives without its cause; like the others here it says nothing about the files.
            T::LockFailure(..)
            | T::OpenDirectoryError(_)
            | T::OpenWriteError(_)
            | T::OpenReadError(OpenReadError::IoError { .. })
            | T::IoError(_)
            | T::SystemError(_)
            | T::ErrorInThread(_) => Self::Io(error.to_string()),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// Runs what may panic on bytes that passed their checksums and are wrong nevertheless.
pub(crate) fn contained<T>(work: impl FnOnce() -> Result<T, SearchError>) -> Result<T, SearchError> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(SearchError::Bug(text.unwrap_or_else(|| "a panic without a text".to_owned())))
    })
}
