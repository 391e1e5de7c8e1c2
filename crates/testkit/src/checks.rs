//! The checkers. They keep their own books of what was edited and what was shown as saved, and read the durable
//! image by a replay of their own: nothing here asks a session what it believes.

use std::collections::BTreeMap;

use syncline_document::record::{Checkpoint, Entry, EntryKind, Sequence, Stored};
use syncline_protocol::names::DocumentName;
use syncline_store::{MemoryStore, Store, memory::PowerCut};
use yrs::{Doc, Transact, Update, updates::decoder::Decode};

use crate::{books::Books, device::open, ids::Ids, page::Page};

/// Which promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Something that was durable, or was shown as saved, is gone.
    Lost,
    /// An indicator says saved while an edit that it speaks for is not durable.
    SavedEarly,
    /// All is delivered, and still an ack is missing or replicas differ.
    NotQuiet,
    /// A queue is over its limit.
    Limit,
    /// What the server wrote reached a device before it was durable.
    EditEarly,
    /// A checkpoint holds, or names, what is not durable.
    Checkpoint,
    /// The store refused or lost something that it had to take.
    Store,
    /// A device was sent what makes a real client throw.
    Client,
    /// A message lost its place, its content or what the server said of it, or never got a place.
    Message,
    /// A register is gone, comes from the future, or was forged; or what was set by hand does not count.
    Register,
    /// The journal does not say which device wrote something.
    Author,
    /// The server's own table says something else than the document.
    Row,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub check: Check,
    /// When, in simulated time.
    pub at_ms: u64,
    /// What was seen.
    pub text: String,
}

/// What is durable of one document, by the checkers' own replay.
pub(crate) struct Facts {
    pub(crate) base: Option<Sequence>,
    pub(crate) upto: Sequence,
    /// The document.
    pub(crate) doc: Doc,
    /// What it has integrated.
    pub(crate) ids: Ids,
    /// That, and what is kept until its dependencies come.
    pub(crate) kept: Ids,
}

impl Facts {
    fn nothing() -> Self {
        Self { base: None, upto: 0, doc: open(1).0, ids: Ids::default(), kept: Ids::default() }
    }

    /// Replays a stored document, going on from `self` where that is its beginning.
    fn replay(self, stored: &Stored) -> Result<Self, String> {
        let base = stored.checkpoint.as_ref().map(|checkpoint| checkpoint.sequence);
        let mut facts =
            if base == self.base && self.upto <= stored.sequence { self } else { Self::nothing() };
        if facts.base == base && facts.upto == stored.sequence {
            return Ok(facts);
        }
        if facts.base != base {
            if let Some(checkpoint) = &stored.checkpoint {
                apply(&facts.doc, &checkpoint.update)?;
            }
            facts.base = base;
        }
        for entry in stored.tail.iter().filter(|entry| entry.sequence > facts.upto) {
            if entry.kind == EntryKind::Update {
                apply(&facts.doc, &entry.bytes)?;
            }
        }
        facts.upto = stored.sequence;
        facts.ids = Ids::of_doc(&facts.doc);
        facts.kept = facts.ids.clone();
        let pending = stored.checkpoint.iter().flat_map(|checkpoint| &checkpoint.pending);
        let tail = stored.tail.iter().filter(|entry| entry.kind == EntryKind::Pending);
        for entry in pending.chain(tail) {
            facts.kept.add(&Ids::of_update(&entry.bytes)?);
        }
        Ok(facts)
    }
}

fn apply(doc: &Doc, update: &[u8]) -> Result<(), String> {
    let update = Update::decode_v1(update).map_err(|error| error.to_string())?;
    doc.transact_mut().apply_update(update).map_err(|error| error.to_string())
}

/// The books of one run.
pub struct Checks {
    pub(crate) names: Vec<DocumentName>,
    pub(crate) books: Vec<Books>,
    server_clients: Vec<u64>,
    pub(crate) facts: BTreeMap<usize, Facts>,
    /// Per document: what the server wrote and is not durable yet, by sequence,
    own: Vec<Vec<(Sequence, Ids)>>,
    /// and what devices delete.
    deleted: Vec<Ids>,
    /// Which image `facts` was read from.
    seen: Option<(u64, u64)>,
    generation: u64,
    /// Per document: all that any device was shown as saved.
    promised: Vec<Ids>,
    pub(crate) now_ms: u64,
    /// A torn store is being read for the first time,
    pub(crate) torn: bool,
    /// and documents whose row is behind since then, up to which turn: the next one brings it up to date.
    pub(crate) behind: BTreeMap<usize, Option<String>>,
    /// The first broken promise.
    pub violation: Option<Violation>,
}

impl Checks {
    /// Opens the books.
    pub fn new(names: Vec<DocumentName>, pages: &[Page], store: &MemoryStore) -> Self {
        let server_clients = names.iter().map(|name| store.identity().server_client(name)).collect();
        Self {
            promised: vec![Ids::default(); names.len()],
            own: vec![Vec::new(); names.len()],
            deleted: vec![Ids::default(); names.len()],
            books: pages.iter().map(|page| Books::new(*page)).collect(),
            names,
            server_clients,
            facts: BTreeMap::new(),
            seen: None,
            generation: 0,
            now_ms: 0,
            torn: false,
            behind: BTreeMap::new(),
            violation: None,
        }
    }

    /// Notes the time.
    pub(crate) fn at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Notes a broken promise; the first one counts.
    pub(crate) fn fail(&mut self, check: Check, text: impl Into<String>) {
        let at_ms = self.now_ms;
        self.violation.get_or_insert_with(|| Violation { check, at_ms, text: text.into() });
    }

    /// Returns what is durable of a document. Whatever was durable before must still be.
    pub(crate) fn durable(&mut self, store: &MemoryStore, document: usize) -> Option<&Facts> {
        self.refresh(store);
        self.facts.get(&document)
    }

    pub(crate) fn refresh(&mut self, store: &MemoryStore) {
        let seen = Some((self.generation, store.kv().syncs()));
        if self.seen == seen {
            return;
        }
        self.seen = seen;
        let image = match store.power_cut(PowerCut::Drop, &mut |_| 0) {
            Ok(image) => image,
            Err(error) => {
                return self.fail(Check::Store, format!("the durable image does not open: {error}"));
            }
        };
        for document in 0..self.names.len() {
            let before = self.facts.remove(&document).unwrap_or_else(Facts::nothing);
            let kept = before.kept.clone();
            let stored = match image.read(&self.names[document]) {
                Ok(stored) => stored.unwrap_or_default(),
                Err(error) => {
                    return self.fail(Check::Store, format!("a durable document is unreadable: {error}"));
                }
            };
            let read = (before.base, before.upto);
            match before.replay(&stored) {
                Ok(facts) => {
                    if read != (facts.base, facts.upto) {
                        self.meant(&image, document, &facts.doc);
                    }
                    if let Some(lost) = kept.missing_from(&facts.kept) {
                        self.fail(Check::Lost, format!("document {document}: no longer durable: {lost}"));
                    }
                    self.facts.insert(document, facts);
                }
                Err(error) => self.fail(Check::Store, format!("a durable document does not replay: {error}")),
            }
        }
    }

    /// A store was opened after a crash: what was durable, and what was shown as saved, is in it.
    ///
    /// A cut that tears a batch is worse than sled, which writes one whole or not at all: there the record may have
    /// survived without its rows.
    pub(crate) fn reopened(&mut self, store: &MemoryStore, cut: Option<PowerCut>) {
        self.generation += 1;
        self.torn = cut == Some(PowerCut::Tear);
        // Read again from the start, not from where the replay of the old store stood.
        for facts in self.facts.values_mut() {
            facts.base = Some(Sequence::MAX);
        }
        self.refresh(store);
        self.torn = false;
        self.promises(store);
    }

    /// Everything shown as saved is durable.
    pub(crate) fn promises(&mut self, store: &MemoryStore) {
        self.refresh(store);
        for document in 0..self.names.len() {
            let Some(facts) = self.facts.get(&document) else { continue };
            if let Some(lost) = self.promised[document].missing_from(&facts.kept) {
                self.fail(Check::Lost, format!("document {document}: was shown as saved: {lost}"));
            }
        }
    }

    /// A device shows "saved": all that its indicator speaks for must be durable now, and for ever.
    pub(crate) fn shown_saved(&mut self, store: &MemoryStore, document: usize, covered: &Ids, who: &str) {
        self.refresh(store);
        let Some(facts) = self.facts.get(&document) else { return };
        if let Some(early) = covered.missing_from(&facts.kept) {
            self.fail(Check::SavedEarly, format!("{who} shows saved, not durable: {early}"));
        }
        self.promised[document].add(covered);
    }

    /// An update goes out to a device: nothing of the server's own in it may be ahead of the disk.
    pub(crate) fn sent(&mut self, store: &MemoryStore, document: usize, update: &[u8]) {
        let server = self.server_clients[document];
        let Ok(ids) = Ids::of_update(update) else {
            return self.fail(Check::Client, "a device is sent bytes that are no update");
        };
        self.refresh(store);
        self.sent_deletes(document, &ids);
        let Some(end) = ids.inserts_of(server) else { return };
        let durable = self.facts.get(&document).and_then(|facts| facts.ids.inserts_of(server)).unwrap_or(0);
        if end > durable {
            self.fail(
                Check::EditEarly,
                format!("server edit sent up to clock {end}, durable up to {durable}"),
            );
        }
    }

    /// An edit goes to the journal, which says whose it is.
    pub(crate) fn taken(&mut self, document: usize, entry: &Entry) {
        let Ok(ids) = Ids::of_update(&entry.bytes) else { return };
        if entry.origin.device.is_some() {
            return self.deleted[document].add(&ids);
        }
        let server = yrs::ClientID::new(self.server_clients[document]);
        if let Some((other, _)) = ids.inserts.iter().find(|(client, _)| **client != server) {
            self.fail(Check::Author, format!("an edit of client {other} goes to the journal as nobody's"));
        }
    }

    /// What the server itself wrote goes to the journal.
    pub(crate) fn wrote(&mut self, document: usize, sequence: Sequence, update: &[u8]) {
        if let Ok(ids) = Ids::of_update(update) {
            self.own[document].push((sequence, ids));
        }
    }

    /// A process died: what it had not saved is nobody's any more.
    pub(crate) fn died(&mut self) {
        self.own.iter_mut().for_each(Vec::clear);
    }

    /// What only the server deleted bears no clock of its own: it is known by what it deletes.
    fn sent_deletes(&mut self, document: usize, ids: &Ids) {
        let Some(facts) = self.facts.get(&document) else { return };
        let upto = facts.upto;
        self.own[document].retain(|(sequence, _)| *sequence > upto);
        for (_, own) in &self.own[document] {
            let mut early = own.deletes.clone();
            early.diff_with(&self.deleted[document].deletes);
            early.diff_with(&facts.kept.deletes);
            let mut rest = early.clone();
            rest.diff_with(&ids.deletes);
            early.diff_with(&rest);
            if early.iter().any(|(_, ranges)| !ranges.is_empty()) {
                let text = format!("what the server deletes is sent, not durable: {early}; sent {ids}");
                return self.fail(Check::EditEarly, text);
            }
        }
    }

    /// A server edit is reported as saved.
    pub(crate) fn edit_saved(&mut self, store: &MemoryStore, document: usize, update: &[u8]) {
        self.refresh(store);
        let (Ok(ids), Some(facts)) = (Ids::of_update(update), self.facts.get(&document)) else { return };
        if let Some(early) = ids.missing_from(&facts.kept) {
            self.fail(Check::EditEarly, format!("a server edit is reported as saved, not durable: {early}"));
        }
        self.promised[document].add(&ids);
    }

    /// A checkpoint is handed to the store: it names a durable sequence and holds nothing that is not durable.
    pub(crate) fn checkpoint(&mut self, store: &MemoryStore, document: usize, checkpoint: &Checkpoint) {
        self.refresh(store);
        let Some(facts) = self.facts.get(&document) else { return };
        if checkpoint.sequence > facts.upto {
            let text = format!("names sequence {}, durable is {}", checkpoint.sequence, facts.upto);
            return self.fail(Check::Checkpoint, text);
        }
        let mut held = Ids::default();
        let updates =
            std::iter::once(&checkpoint.update).chain(checkpoint.pending.iter().map(|entry| &entry.bytes));
        for update in updates {
            match Ids::of_update(update) {
                Ok(ids) => held.add(&ids),
                Err(error) => return self.fail(Check::Checkpoint, error),
            }
        }
        if let Some(early) = held.missing_from(&facts.kept) {
            self.fail(Check::Checkpoint, format!("holds what is not durable: {early}"));
        }
    }

    /// After a failed write: what is stored can still be read, all of it.
    pub(crate) fn still_whole(&mut self, store: &MemoryStore) {
        self.refresh(store);
        for document in 0..self.names.len() {
            let live = match store.read(&self.names[document]) {
                Ok(stored) => Facts::nothing().replay(&stored.unwrap_or_default()),
                Err(error) => Err(error.to_string()),
            };
            match (live, self.facts.get(&document)) {
                (Ok(live), Some(facts)) => {
                    if let Some(lost) = facts.kept.missing_from(&live.kept) {
                        self.fail(Check::Lost, format!("a failed write hides what is stored: {lost}"));
                    }
                }
                (Err(error), _) => {
                    self.fail(Check::Store, format!("unreadable after a failed write: {error}"));
                }
                (Ok(_), None) => {}
            }
        }
    }
}

/// Bytes that are kept for missing edits, of all documents.
pub(crate) fn pending_bytes(stored: &Stored) -> usize {
    let pending = stored.checkpoint.iter().flat_map(|checkpoint| &checkpoint.pending);
    let tail = stored.tail.iter().filter(|entry| entry.kind == EntryKind::Pending);
    pending.chain(tail).map(|entry| entry.bytes.len()).sum()
}
