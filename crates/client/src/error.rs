//! Why a call of the client did not do what it was asked.

use syncline_document::{Broken, LoadError, schema::Unfit};

/// Why a call failed. The text says what to do; bindings show the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The configuration cannot be used.
    #[error("the configuration cannot be used: {0}")]
    Configuration(String),
    /// Another process, or another client of this one, has the store open.
    #[error("the store is in use: one client at a time may have it open")]
    StoreInUse,
    /// The store belongs to another user or device.
    #[error("the store belongs to {0}: give each user and device a folder of its own")]
    StoreOfAnother(String),
    /// The disk did not take or give something.
    #[error("the store cannot be used: {0}")]
    Store(String),
    /// What is stored of a document cannot be read.
    #[error("this copy is damaged: {0}")]
    Damaged(String),
    /// A name, id or value that cannot be one.
    #[error("not valid: {0}")]
    Invalid(String),
    /// There is nothing of that id on this device.
    #[error("there is nothing of that id on this device: {0}")]
    NotFound(String),
    /// The person has blocked inference of this preference.
    #[error("the user has blocked inference of this preference")]
    Blocked,
    /// Too many documents with unsaved edits are open.
    #[error("too many documents wait to be saved: connect first")]
    TooManyOpen,
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl From<Unfit> for ClientError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Missing => Self::NotFound(unfit.to_string()),
            Unfit::Blocked => Self::Blocked,
            Unfit::Name | Unfit::TooLong | Unfit::Form => Self::Invalid(unfit.to_string()),
        }
    }
}

impl From<Broken> for ClientError {
    fn from(broken: Broken) -> Self {
        Self::Damaged(broken.to_string())
    }
}

impl From<LoadError> for ClientError {
    fn from(error: LoadError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<std::io::Error> for ClientError {
    fn from(error: std::io::Error) -> Self {
        Self::Store(error.to_string())
    }
}
