//! Erasing for good: a message, a conversation, a user.
//!
//! The order is what makes it hold: 1. a row says that it was asked for, durable before anything else; from then on a
//! name is burned. 2. The work, each step of which may be done twice. 3. The receipt. Whatever a crash leaves between 1
//! and 3 is done at the next start ([`run`]).
//!
//! Start reading at [`Erasures::erase`]. [`ledger`] has the rows, [`work`] the steps, [`sweep`] what becomes of other
//! tables, [`scrub`] what rewrites journal and checkpoints.

pub(crate) mod ledger;
pub(crate) mod receipt;
mod run;
mod scrub;
mod sweep;
mod work;

use std::{path::Path, sync::Arc};

use parking_lot::RwLock;
use syncline_document::schema::Unfit;
use syncline_store::StoreError;
use tokio::sync::Mutex;

use crate::{
    auth::{Secret, SecretError},
    edits::SubmitError,
};
pub(crate) use receipt::{By, Receipt, Seal};
pub(crate) use run::run;

/// What is erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whose it is.
    pub user: String,
    /// A conversation, or what of it; none for the user as a whole.
    pub conversation: Option<String>,
    /// A message of it; none for the conversation as a whole.
    pub message: Option<String>,
}

/// Something that is derived from documents and has to forget what is erased: an index, a feed.
pub trait Forgets: Send + Sync {
    /// Forgets all of it, durably, once the store holds nothing of it any more. It may be called again for the same: at
    /// the next start, where the server died before the erasure was done. Runs where blocking is allowed.
    ///
    /// # Errors
    /// Why it could not: the erasure stays undone and is tried again.
    fn forget(&self, target: &Target) -> Result<(), String>;
}

/// Why an erasure is not done, or not done yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ErasureError {
    #[error("there is nothing of that id")]
    Missing,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error("{0}")]
    Engine(String),
    #[error("{0}")]
    Derived(String),
    #[error("the server is going down")]
    Restarting,
}

impl From<Unfit> for ErasureError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Missing => Self::Missing,
            other => Self::Engine(other.to_string()),
        }
    }
}

/// What erasures share.
pub struct Erasures {
    /// One at a time: each rewrites the journal.
    turn: Mutex<()>,
    seal: Seal,
    forgets: RwLock<Vec<Arc<dyn Forgets>>>,
}

impl std::fmt::Debug for Erasures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Erasures").finish_non_exhaustive()
    }
}

impl Erasures {
    /// Makes them for a data folder, whose secret seals receipts.
    ///
    /// # Errors
    /// [`SecretError`] where that cannot be read.
    pub(crate) fn of(data: &Path) -> Result<Self, SecretError> {
        let seal = Seal::new(&Secret::read_or_create(data)?);
        Ok(Self { turn: Mutex::new(()), seal, forgets: RwLock::default() })
    }

    /// Has something be told of every erasure before its receipt is given. Before the server is ready, so that what a
    /// crash left undone is told too.
    pub fn follow(&self, forgets: Arc<dyn Forgets>) {
        self.forgets.write().push(forgets);
    }
}

impl Target {
    /// Names it in rows: `{user}[/c/{conversation}[/{message}]]`.
    pub(crate) fn path(&self) -> String {
        let mut path = self.user.clone();
        if let Some(conversation) = &self.conversation {
            path = format!("{path}/c/{conversation}");
        }
        if let Some(message) = &self.message {
            path = format!("{path}/{message}");
        }
        path
    }
}

#[cfg(test)]
mod tests;
