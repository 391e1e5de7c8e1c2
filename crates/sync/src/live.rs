//! A document in memory: its replica and, where its kind has rules, the judge's ledger.
//!
//! Whatever is applied is judged before anything else happens to the document, and what the judge writes is journalled
//! in the same commit: so a crash never separates an edit from what the server made of it.

use bytes::Bytes;
use syncline_document::{
    Broken, Judgement, Ledger, LoadError, Replica, fold,
    hlc::Clock,
    record::Stored,
    renewal::{self, Renewed},
    schema::{self, Kind},
};

/// A document is renewed where at most one of that many parts of it is left then: so it is not renewed again before it has
/// doubled.
const RENEWAL_PARTS: usize = 2;

/// A live document.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) replica: Replica,
    /// `None` for free-form documents: nothing is judged there.
    ledger: Option<Ledger>,
    kind: Kind,
    /// The client id under which the server writes.
    server_client: u64,
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

/// Whether a document has to have room for what the server itself writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It grows by it: in a full document it is refused.
    Needed,
    /// A few bytes about what is there: a document that has just become full takes it.
    Little,
    /// It removes something: that is taken however full the document is.
    Made,
}

impl Room {
    /// Says whether a document of that size takes it. A full one keeps a 64th beside for little things.
    pub(crate) fn admits(self, size: usize, document_bytes: usize) -> bool {
        match self {
            Self::Needed => size < document_bytes,
            Self::Little => size < document_bytes.saturating_add(document_bytes / 64),
            Self::Made => true,
        }
    }
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
        Ok(Self { replica, ledger, kind: kind.clone(), server_client, clock: Clock::new(), wound: false })
    }

    /// Says whether its kind has rules.
    pub(crate) fn is_judged(&self) -> bool {
        self.ledger.is_some()
    }

    /// Judges what was just applied. `None` where nothing follows from it.
    pub(crate) fn judge(&mut self, now_ms: u64) -> Result<Option<Box<Judgement>>, Broken> {
        let Some(ledger) = &mut self.ledger else { return Ok(None) };
        let judgement = ledger.judge(&mut self.replica, &mut self.clock, now_ms)?;
        Ok((!judgement.is_empty()).then(|| Box::new(judgement)))
    }

    /// Puts a renewed document in the place of this one, where that makes it much smaller. Returns what the server wrote
    /// for that, to be committed before anything of the document is shown or stored.
    pub(crate) fn renew(&mut self, now_ms: u64) -> Result<Option<Bytes>, Broken> {
        let renewed =
            renewal::renew(&mut self.replica, &self.kind, self.server_client, RENEWAL_PARTS, now_ms)?;
        let Some(Renewed { update, mut replica }) = renewed else { return Ok(None) };
        self.ledger = Some(Ledger::of(self.kind.clone(), &mut replica)?);
        self.replica = replica;
        Ok(Some(update))
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
