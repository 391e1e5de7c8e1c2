//! What changed in a user's documents, kept for everyone who is no CRDT client: a log per user, written in the commits
//! of the edits that it tells of.
//!
//! | row | value (JSON) |
//! |---|---|
//! | `event/{user}/{16 hex digits}` | [`Batch`]: what one edit changed. The digits are 2^64 - 1 - its number: the newest comes first |
//!
//! Numbers rise by one, in the order of the commits: a number is given and its commit queued under the user's own lock.
//! So whoever was told of one has heard of all before it. The oldest rows go with the commits that bring new ones.
//!
//! Nothing that a person wrote stands here (`document/judge/changed.rs`): to erase something, nothing needs to be looked
//! for in these rows.

mod position;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syncline_protocol::names::DocumentName;
use syncline_store::{Row, Store, StoreError, store::ROW_BYTES};
use syncline_sync::Verdict;
use tokio::sync::watch;

pub use self::position::Position;

/// Shards of the table of logs.
const SHARDS: usize = 32;
/// Logs in one shard above which those that nobody uses are forgotten: they are read again when they are needed.
const SHARD_LOGS: usize = 256;
/// Rows beyond those that are kept which one commit takes away: there are some after the limit was lowered.
const SWEPT: usize = 8;

/// What one edit changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The number of the batch before it. Those between were of the same draft, which this one replaces.
    pub since: u64,
    /// When it was written: unix milliseconds.
    pub at: u64,
    /// The document, its owner left out.
    #[serde(rename = "in")]
    pub document: String,
    /// The device that wrote, if it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The changes, each with its `type`.
    pub events: Vec<Value>,
}

impl Batch {
    /// Makes what is told of a judged edit; `None` where nothing is, or nobody owns the document.
    pub fn of(name: &DocumentName, verdict: &Verdict) -> Option<(Arc<str>, Self)> {
        let judgement = &verdict.judgement;
        if judgement.changed.is_empty() {
            return None;
        }
        let (user, document) = name.as_str().split_once('/')?;
        let mut events = Vec::with_capacity(judgement.changed.len());
        let mut more = judgement.more_changed;
        // Names may be long: what does not fit into a row is counted with the rest.
        let mut room = ROW_BYTES - 2_048;
        for changed in &judgement.changed {
            let event = json!(changed);
            let bytes = event.to_string().len();
            if more > judgement.more_changed || bytes + 1 > room {
                more += 1;
            } else {
                room -= bytes + 1;
                events.push(event);
            }
        }
        if more > 0 {
            events.push(json!({ "type": "many", "document": document, "more": more }));
        }
        let (at, device) = (verdict.origin.at_ms, verdict.origin.device.as_deref().map(str::to_owned));
        Some((user.into(), Self { since: 0, at, document: document.to_owned(), device, events }))
    }

    /// Returns the draft that this is all about.
    fn draft(&self) -> Option<(String, String)> {
        let [event] = self.events.as_slice() else { return None };
        let is_draft = event["type"] == "draft.changed";
        let text = |key: &str| event[key].as_str().map(str::to_owned);
        Some((text("conversation")?, text("writer")?)).filter(|_| is_draft)
    }
}

/// The logs of all users.
#[derive(Debug)]
pub struct Feeds {
    shards: Vec<Mutex<HashMap<Arc<str>, Arc<Feed>>>>,
    hasher: RandomState,
    /// Batches that are kept of each user.
    kept: u64,
    /// Tells the ids of this store's life from those of another: a restored server has lost what it had told.
    epoch: u32,
}

/// One user's log.
#[derive(Debug)]
pub struct Feed {
    user: Arc<str>,
    kept: u64,
    state: Mutex<Option<State>>,
    /// The newest durable number.
    durable: watch::Sender<u64>,
    streams: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// The newest number given out.
    last: u64,
    /// The number before that, or before the first of a row of batches of one draft.
    before: u64,
    /// The draft that the newest batch is all about.
    draft: Option<(String, String)>,
    /// Keys of rows that are beyond those that are kept.
    stale: Vec<Vec<u8>>,
}

/// Why a stream cannot go on where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// What comes next is not kept any more.
    Expired,
    /// The id is of another life of the store.
    OtherEpoch,
    /// The id is none of ours.
    Unknown,
}

impl Gap {
    /// Returns its stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::OtherEpoch => "restored",
            Self::Unknown => "unknown",
        }
    }
}

impl Feeds {
    /// Makes the table of logs. None is read before it is needed.
    pub fn new(store: &dyn Store, kept: usize) -> Self {
        let identity = store.identity().0;
        let epoch = identity.chunks(4).fold(0, |epoch: u32, part| {
            part.iter().fold(epoch.rotate_left(7), |epoch, byte| epoch.wrapping_mul(31) ^ u32::from(*byte))
        });
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new(), kept: kept as u64, epoch }
    }

    /// Returns what tells the ids of this store's life.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Returns a user's log.
    pub fn of(&self, user: &str) -> Arc<Feed> {
        let mut shard = self.shards[(self.hasher.hash_one(user) % SHARDS as u64) as usize].lock();
        if let Some(feed) = shard.get(user) {
            return feed.clone();
        }
        if shard.len() >= SHARD_LOGS {
            shard.retain(|_, feed| Arc::strong_count(feed) > 1 || !feed.is_settled());
        }
        let feed = Arc::new(Feed {
            user: user.into(),
            kept: self.kept,
            state: Mutex::default(),
            durable: watch::Sender::new(0),
            streams: AtomicUsize::new(0),
        });
        shard.insert(feed.user.clone(), feed.clone());
        feed
    }
}

impl Feed {
    /// Gives a batch its number, and hands its rows to `commit`, which queues them for the commit of the edit. Returns
    /// the number; [`Feed::tell`] has to be called once that is durable.
    ///
    /// # Errors
    /// As `commit` fails: nothing was queued, no number is used up.
    pub fn append<E>(
        &self,
        store: &dyn Store,
        mut batch: Batch,
        commit: impl FnOnce(Vec<Row>) -> Result<(), E>,
    ) -> Result<Option<u64>, E> {
        let mut state = self.state.lock();
        let state = match self.loaded(&mut state, store) {
            Ok(state) => state,
            Err(error) => {
                // A stream that goes on from here must not take what follows for all: it meets a damaged row.
                tracing::error!(user = &*self.user, %error, "what changed cannot be told: the log cannot be read");
                return commit(Vec::new()).map(|()| None);
            }
        };
        let number = state.last + 1;
        let draft = batch.draft();
        // Keystrokes must not push out all else: of a draft that is written on only the newest batch stays.
        let replaces = draft.is_some() && draft == state.draft;
        batch.since = if replaces { state.before } else { state.last };
        let mut rows = vec![Row { key: self.key(number), value: Some(json!(batch).to_string().into()) }];
        if replaces {
            rows.push(Row { key: self.key(state.last), value: None });
        }
        if let Some(old) = number.checked_sub(self.kept).filter(|old| *old > 0) {
            rows.push(Row { key: self.key(old), value: None });
        }
        let stale = state.stale.len().saturating_sub(SWEPT);
        rows.extend(state.stale[stale..].iter().map(|key| Row { key: key.clone(), value: None }));
        commit(rows)?;
        state.stale.truncate(stale);
        (state.before, state.last, state.draft) = (batch.since, number, draft);
        Ok(Some(number))
    }

    /// Tells those who listen that all up to a number is durable.
    pub fn tell(&self, number: u64) {
        self.durable.send_if_modified(|durable| {
            let newer = number > *durable;
            *durable = number.max(*durable);
            newer
        });
    }

    /// Returns the newest durable number, and what tells when there is a newer one. Reads the disk the first time.
    ///
    /// # Errors
    /// As the store fails.
    pub fn listen(&self, store: &dyn Store) -> Result<(u64, watch::Receiver<u64>), StoreError> {
        self.loaded(&mut self.state.lock(), store)?;
        let mut heard = self.durable.subscribe();
        let durable = *heard.borrow_and_update();
        Ok((durable, heard))
    }

    /// Reads the durable batches behind a position, at most `most`, with their numbers; none where there are no more.
    ///
    /// # Errors
    /// [`Gap`] inside, where some of them are not kept any more; as the store fails.
    pub fn read(
        &self,
        store: &dyn Store,
        after: Position,
        most: u64,
    ) -> Result<Result<Vec<(u64, Batch)>, Gap>, StoreError> {
        let mut found = Vec::new();
        let Some(newest) = store.rows(&self.key(u64::MAX), &self.key(0), 1)?.pop() else {
            return Ok(if after.number == 0 { Ok(found) } else { Err(Gap::Unknown) });
        };
        let (newest, _) = self.parse(&newest)?;
        if after.number > newest {
            return Ok(Err(Gap::Unknown));
        }
        // Older rows are gone, or about to go. Some numbers between have no row: theirs was replaced.
        let mut from = after.first().max(newest.saturating_sub(self.kept) + 1);
        while found.is_empty() && from <= newest {
            let to = from.saturating_add(most - 1).min(newest);
            for row in store.rows(&self.key(to), &self.key(from - 1), usize::MAX)?.iter().rev() {
                found.push(self.parse(row)?);
            }
            from = to + 1;
        }
        let inside = after.within.is_some();
        if inside && found.first().is_none_or(|(number, _)| *number != after.number) {
            return Ok(Err(Gap::Expired));
        }
        let mut reached = if inside { after.number - 1 } else { after.number };
        for (number, batch) in &found {
            if batch.since > reached {
                return Ok(Err(Gap::Expired));
            }
            reached = *number;
        }
        Ok(Ok(found))
    }

    /// Takes a place for a stream; `None` where the user has enough of them.
    pub fn enter(self: &Arc<Self>, most: usize) -> Option<Seat> {
        let taken = self.streams.fetch_add(1, Ordering::Relaxed);
        let seat = Seat(self.clone());
        (taken < most).then_some(seat)
    }

    fn is_settled(&self) -> bool {
        self.state.lock().as_ref().is_none_or(|state| state.last <= *self.durable.borrow())
    }

    /// Reads where the log ends, unless that is known. Nothing of it is on its way to the disk then.
    fn loaded<'a>(
        &self,
        state: &'a mut Option<State>,
        store: &dyn Store,
    ) -> Result<&'a mut State, StoreError> {
        if state.is_none() {
            let newest = store.rows(&self.key(u64::MAX), &self.key(0), 1)?.pop();
            let mut read = State::default();
            if let Some(newest) = newest {
                let (number, batch) = self.parse(&newest)?;
                read = State { last: number, before: batch.since, draft: batch.draft(), stale: Vec::new() };
                if let Some(oldest) = number.checked_sub(self.kept) {
                    let beyond = store.rows(&self.key(oldest), &self.key(0), 1_000)?;
                    read.stale = beyond.into_iter().map(|(key, _)| key).collect();
                }
            }
            self.tell(read.last);
            *state = Some(read);
        }
        Ok(state.get_or_insert_default())
    }

    fn key(&self, number: u64) -> Vec<u8> {
        format!("event/{}/{:016x}", self.user, u64::MAX - number).into_bytes()
    }

    fn parse(&self, (key, value): &(Vec<u8>, bytes::Bytes)) -> Result<(u64, Batch), StoreError> {
        let damaged = || StoreError::Damaged(format!("row {}: not what changed", key.escape_ascii()));
        let digits = key.len().checked_sub(16).and_then(|at| std::str::from_utf8(&key[at..]).ok());
        let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or_else(damaged)?;
        let batch = serde_json::from_slice(value).map_err(|_| damaged())?;
        Ok((u64::MAX - number, batch))
    }
}

/// A place for a stream, until it is dropped.
#[derive(Debug)]
pub struct Seat(Arc<Feed>);

impl Seat {
    /// Returns the log.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
