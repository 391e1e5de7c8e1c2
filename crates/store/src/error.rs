//! What can go wrong in a store, and whose fault it is.

/// Says why the store did not do what was asked. Cheap to clone: one failed commit answers many senders.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk has no room. Reads go on.
    #[error(
        "the disk is full ({0}); free some room (the file `reserve` in the data folder may go) and restart"
    )]
    Full(String),
    /// Another process has the data folder open.
    #[error("the data folder is in use by another process ({0}); stop it first")]
    InUse(String),
    /// What is on disk fails a check. Nothing is shown in its place.
    #[error(
        "the store is damaged: {0}; look at it with `syncline verify`, restore a backup if it cannot be mended"
    )]
    Damaged(String),
    /// The data folder was written by a newer version.
    #[error("the data folder has layout {found}, this version knows {known}; use a newer version")]
    TooNew {
        /// The layout on disk.
        found: u64,
        /// The newest layout this version reads.
        known: u64,
    },
    /// The store stopped taking edits after an earlier failure. Reads go on.
    #[error("the store takes no more edits since an earlier failure: {0}; mend its cause and restart")]
    Poisoned(String),
    /// The operating system or the storage engine refused.
    #[error("the store failed: {0}")]
    Io(String),
    /// A caller broke a rule of this crate; nothing was written.
    #[error("a rule of the store was broken, which is a bug: {0}")]
    Bug(String),
    /// Something is larger than the store takes.
    #[error("too large to store: {0}")]
    TooLarge(String),
    /// The operation excludes another that is under way.
    #[error("busy: {0}; try again when it is done")]
    Busy(String),
    /// The file is not an export, or not a whole one.
    #[error("not a usable export: {0}")]
    Export(String),
    /// The writer was shut down.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Builds [`StoreError::Damaged`] from what was looked at and what is wrong with it.
    pub(crate) fn damaged(what: impl std::fmt::Display, wrong: impl std::fmt::Display) -> Self {
        Self::Damaged(format!("{what}: {wrong}"))
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::WriteZero => {
                Self::Full(error.to_string())
            }
            _ => Self::Io(error.to_string()),
        }
    }
}
