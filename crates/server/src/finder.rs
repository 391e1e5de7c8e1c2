//! Finding words: keeps the search index (`syncline-search`, in DATA/search) up with what is durable.
//!
//! The index is derived: it may be missing, behind or broken without any edit being slower or any other answer worse.
//! One task feeds it. It is told which documents changed once that is durable ([`Finder::note`], a short lock), looks at
//! every stored document when it starts ([`task`]), and begins again whenever it had to let something go.

mod read;
mod task;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use syncline_document::{Changed, Judgement, record::Sequence, schema::Kind};
use syncline_protocol::names::DocumentName;
use syncline_search::Index;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

pub use self::task::{Place, run};
use crate::{
    config::Limits,
    erasure::{Forgets, Target},
};

/// Names of texts that are noted of one document; where more changed, all of it is read.
const NAMES: usize = 256;
/// Erasures that wait.
const ERASURES: usize = 64;

/// Keeps the index, and what it is to be told.
pub struct Finder {
    waiting: Mutex<Waiting>,
    /// Wakes the task.
    wake: Notify,
    index: Mutex<Phase>,
    erasures: mpsc::Sender<(Erasure, Erased)>,
    /// Places for searches.
    pub(crate) places: Semaphore,
    most: usize,
}

/// Takes the outcome of an erasure.
type Erased = oneshot::Sender<Result<(), String>>;

impl std::fmt::Debug for Finder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finder").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Waiting {
    documents: HashMap<DocumentName, Noted>,
    /// Some could not be noted: all have to be looked at.
    overflowed: bool,
    /// All stored documents are being looked at.
    catching_up: bool,
}

enum Phase {
    /// It is not open, and why.
    Down(String),
    Open(Arc<Index>),
}

/// What changed in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Up to here.
    pub(crate) sequence: Sequence,
    pub(crate) texts: Texts,
}

/// Which texts of a document changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Texts {
    /// It is not known which.
    All,
    /// Messages of a conversation, or conversations of an index.
    Some(BTreeSet<String>),
}

/// What has to leave the index for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erasure {
    /// One message.
    Message {
        /// Whose.
        user: String,
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
    },
    /// A conversation with its title.
    Conversation {
        /// Whose.
        user: String,
        /// Its id.
        conversation: String,
    },
    /// Everything of a user.
    User {
        /// Who.
        user: String,
    },
}

/// How the index stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// It is open.
    pub open: bool,
    /// Stored documents are being looked at, or changed ones wait: something may not be found yet.
    pub indexing: bool,
    /// Changed documents that wait.
    pub documents: usize,
    /// Batches that wait for the index's thread.
    pub batches: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Noted {
    /// Reads what a judged edit means for the index; `None` where that is nothing.
    pub(crate) fn of(name: &DocumentName, sequence: Sequence, judgement: &Judgement) -> Option<Self> {
        let is_index = match Kind::of(name) {
            Kind::Conversation(_) => false,
            Kind::Index(_) => true,
            _ => return None,
        };
        let mut names = BTreeSet::new();
        if !is_index {
            // Those that repeat another have no place.
            let placed = judgement.accepted.iter().filter(|message| message.seq > 0);
            names.extend(placed.map(|message| message.id.clone()));
        }
        for changed in &judgement.changed {
            match changed {
                Changed::ConversationRenamed { conversation, .. }
                | Changed::ConversationErased { conversation }
                    if is_index =>
                {
                    names.insert(conversation.clone());
                }
                Changed::MessageErased { message, .. } | Changed::MessageState { message, .. } => {
                    names.insert(message.clone());
                }
                _ => {}
            }
        }
        let whole = names.len() <= NAMES && judgement.more_changed == 0;
        Some(Self { sequence, texts: if whole { Texts::Some(names) } else { Texts::All } })
    }

    fn merge(&mut self, later: Self) {
        self.sequence = self.sequence.max(later.sequence);
        match (&mut self.texts, later.texts) {
            (Texts::Some(names), Texts::Some(more)) => {
                names.extend(more);
                if names.len() > NAMES {
                    self.texts = Texts::All;
                }
            }
            (texts, _) => *texts = Texts::All,
        }
    }
}

impl Finder {
    /// Makes a finder without an index, and what its task listens to.
    pub fn new(limits: &Limits) -> (Arc<Self>, Erasures) {
        let (erasures, asked) = mpsc::channel(ERASURES);
        let finder = Self {
            waiting: Mutex::new(Waiting { catching_up: true, ..Waiting::default() }),
            wake: Notify::new(),
            index: Mutex::new(Phase::Down("the search index is being opened".to_owned())),
            erasures,
            places: Semaphore::new(limits.searches),
            most: limits.search_waiting_documents,
        };
        (Arc::new(finder), Erasures(asked))
    }

    /// Notes what is durable by now and has to be indexed.
    pub(crate) fn note(&self, name: &DocumentName, noted: Noted) {
        let mut waiting = self.waiting.lock();
        if let Some(before) = waiting.documents.get_mut(name) {
            before.merge(noted);
        } else if waiting.documents.len() < self.most {
            waiting.documents.insert(name.clone(), noted);
        } else {
            waiting.overflowed = true;
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Returns the index.
    ///
    /// # Errors
    /// Why there is none for now.
    pub fn index(&self) -> Result<Arc<Index>, String> {
        match &*self.index.lock() {
            Phase::Open(index) => Ok(index.clone()),
            Phase::Down(reason) => Err(reason.clone()),
        }
    }

    /// Has texts leave the index and every file of it; returns once that is done. Call it once what was erased is gone
    /// from the documents, and again after a restart where it was not done: then nothing brings the texts back.
    ///
    /// # Errors
    /// Why it was not done: the texts may still be in the folder.
    pub async fn erase(&self, erasure: Erasure) -> Result<(), String> {
        let (told, tell) = oneshot::channel();
        let gone = || "the server is going down".to_owned();
        self.erasures.send((erasure, told)).await.map_err(|_| gone())?;
        tell.await.map_err(|_| gone())?
    }

    /// Says how the index stands.
    pub fn standing(&self) -> Standing {
        let lag = self.index().map(|index| index.lag());
        let waiting = self.waiting.lock();
        let lag_of = lag.clone().unwrap_or_default();
        Standing {
            open: lag.is_ok_and(|lag| lag.stopped.is_none()),
            indexing: waiting.catching_up
                || waiting.overflowed
                || !waiting.documents.is_empty()
                || lag_of.batches > 0,
            documents: waiting.documents.len(),
            batches: lag_of.batches,
            bytes: lag_of.bytes,
        }
    }

    fn down(&self, reason: String) {
        *self.index.lock() = Phase::Down(reason);
    }

    fn opened(&self, index: Arc<Index>) {
        *self.index.lock() = Phase::Open(index);
    }
}

/// What has to be erased, for the task.
#[derive(Debug)]
pub struct Erasures(mpsc::Receiver<(Erasure, Erased)>);

impl Forgets for Finder {
    fn forget(&self, target: &Target) -> Result<(), String> {
        let user = target.user.clone();
        let erasure = match (target.conversation.clone(), target.message.clone()) {
            (Some(conversation), Some(message)) => Erasure::Message { user, conversation, message },
            (Some(conversation), None) => Erasure::Conversation { user, conversation },
            (None, _) => Erasure::User { user },
        };
        tokio::runtime::Handle::current().block_on(self.erase(erasure))
    }
}

#[cfg(test)]
mod tests;
