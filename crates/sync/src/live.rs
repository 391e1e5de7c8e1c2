//! A document in memory: its replica and, where its kind has rules, the judge's ledger.
//!
//! Whatever is applied is judged before anything else happens to the document, and what the judge writes is journalled
//! in the same commit: so a crash never separates an edit from what the server made of it.

use bytes::Bytes;
use syncline_document::{
    Broken, Judgement, Ledger, LoadError, Replica, fold,
    hlc::Clock,
    record::Stored,
    schema::{self, Kind},
};

/// A live document.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) replica: Replica,
    /// `None` for free-form documents: nothing is judged there.
    ledger: Option<Ledger>,
    kind: Kind,
    clock: Clock,
    /// The clock has seen what was stored: it has to before the server writes.
    wound: bool,
}

/// What a [`Writing`] works on.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The document.
    pub replica: &'a mut Replica,
    /// The clock of the server's registers.
    pub clock: &'a mut Clock,
    /// Unix milliseconds.
    pub now_ms: u64,
}

/// Writes to a document under the server's client id, for [`crate::Session::compose`]; returns the update that came of
/// it, if any. Whatever else it finds out it keeps for who made it.
pub type Writing = Box<dyn FnOnce(Draft<'_>) -> Result<Option<Bytes>, Broken> + Send>;

/// Reads a document, for [`crate::Session::look`], or learns why it cannot be opened. What it returns hands the outcome
/// over, once all that was read is durable.
pub type Looking = Box<dyn FnOnce(Result<&mut Replica, &str>) -> Deliver + Send>;

/// Hands the outcome of a read over.
pub type Deliver = Box<dyn FnOnce() + Send>;

impl Live {
    /// Builds a document from what is stored. `server_client` is the client id under which the server writes.
    pub(crate) fn load(kind: &Kind, server_client: u64, stored: &Stored) -> Result<Self, LoadError> {
        let mut replica = Replica::load_as(server_client, fold::parts(stored))?;
        let ledger = match kind {
            Kind::FreeForm => None,
            kind => Some(Ledger::of(kind.clone(), &mut replica)?),
        };
        Ok(Self { replica, ledger, kind: kind.clone(), clock: Clock::new(), wound: false })
    }

    /// Judges what was just applied. `None` where nothing follows from it.
    pub(crate) fn judge(&mut self, now_ms: u64) -> Result<Option<Box<Judgement>>, Broken> {
        let Some(ledger) = &mut self.ledger else { return Ok(None) };
        let judgement = ledger.judge(&mut self.replica, &mut self.clock, now_ms)?;
        // A message that came back with its place is accepted and leaves nothing to write.
        let says = judgement.update.is_some()
            || !judgement.accepted.is_empty()
            || !judgement.malformed.is_empty()
            || !judgement.changed.is_empty();
        Ok(says.then(|| Box::new(judgement)))
    }

    /// Has something written, and judges that too.
    pub(crate) fn compose(&mut self, writing: Writing, now_ms: u64) -> Result<Composed, Broken> {
        if !std::mem::replace(&mut self.wound, true) {
            let latest = schema::latest(&mut self.replica, &self.kind, now_ms)?;
            self.clock.observe(latest, now_ms);
        }
        let draft = Draft { replica: &mut self.replica, clock: &mut self.clock, now_ms };
        let Some(update) = writing(draft)? else { return Ok(None) };
        Ok(Some((update, self.judge(now_ms)?)))
    }
}

/// What was written, and what the judge made of it.
pub(crate) type Composed = Option<(Bytes, Option<Box<Judgement>>)>;
