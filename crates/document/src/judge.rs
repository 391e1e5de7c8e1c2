//! The server's judgement of what devices wrote: messages get their place, contradictions are healed.
//!
//! Judged is the content, not its carrier: what agrees with the committed state, or adds to it, is taken whoever brings
//! it. What contradicts it is set again by the server, causally later, so that every device converges. Nothing is ever
//! refused here.
//!
//! The session calls [`Ledger::judge`] after every update it applied and every edit of its own, and commits what comes
//! out together with that: so what is stored is always healed, and a ledger can be made from it.

mod changed;
mod conversation;
mod devices;
mod erased;
mod fields;
mod late;
mod messages;
mod registers;
mod tips;

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use yrs::{Any, Transact as _};

pub use self::changed::Changed;
use self::{fields::Fields, messages::Messages};
use crate::{
    Broken, Pen, Replica,
    hlc::Clock,
    ids::ConversationId,
    json,
    order::SELECTED,
    register,
    schema::{Kind, drafts},
    watch::{Author, Changes},
    winners::Winners,
};

/// What the server remembers of an open document to judge what devices do to it.
#[derive(Debug)]
pub struct Ledger {
    kind: Kind,
    messages: Messages,
    /// The registers that say which devices are signed out.
    revoked: Winners,
    /// The registers that stand here.
    fields: Fields,
    /// When to look for writers that are gone: with the first edit after a load, then once a day.
    sweep_at_ms: u64,
}

/// How often an open document is looked through for writers that are gone: milliseconds.
const SWEEP_EVERY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What came of a judgement.
#[derive(Debug, Default)]
pub struct Judgement {
    /// What the server writes (lib0 v1): to be committed together with what was judged, and shown only then.
    pub update: Option<Bytes>,
    /// Messages that got their place, by seq.
    pub accepted: Vec<Accepted>,
    /// Contradictions that were healed, for the audit. A client that causes them in a loop is to be closed.
    pub heals: Vec<Heal>,
    /// Messages that were kept but cannot be accepted as they are.
    pub malformed: Vec<Malformed>,
    /// Drafts that were written: for which conversation, and the request that their message will carry. Where that is
    /// saved already, they are done.
    pub drafts: Vec<(ConversationId, String)>,
    /// Devices that were signed out for good or let in again, as they stand now.
    pub devices: Vec<DeviceStanding>,
    /// Messages that the server just erased: nothing derived from them may be kept either.
    pub erased: Vec<String>,
    /// Somebody brought back something of what was erased. It was healed, and what was judged is not to be kept.
    pub revived: bool,
    /// What changed, by its meaning: the first of it.
    pub changed: Vec<Changed>,
    /// How much more changed: whoever listens has to read all of it again.
    pub more_changed: usize,
}

/// How a device stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceStanding {
    /// Its id.
    pub device: String,
    /// It is signed out for good.
    pub is_revoked: bool,
}

/// A message that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// Its id.
    pub id: String,
    /// Its number; 0 for one that repeats another.
    pub seq: u64,
    /// The message it follows.
    pub after: Option<String>,
    /// The message it repeats (the same request): it has no place of its own and is not shown.
    pub same: Option<String>,
    /// Who speaks.
    pub role: String,
    /// Who wrote it, by its own word.
    pub by: String,
    /// The request it came of: drafts with it are done.
    pub req: Option<String>,
    /// The beginning of its text.
    pub preview: String,
}

/// A contradiction that was healed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Heal {
    /// What was broken.
    pub rule: Rule,
    /// Where: `root/key`.
    pub key: String,
    /// What was committed and stands there again; none where nothing does.
    pub before: Option<Value>,
}

/// The rules that are healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The container of an accepted message was deleted or replaced.
    MessageDeleted,
    /// The head or the content of an accepted message was changed.
    MessageChanged,
    /// Somebody else wrote what only the server writes.
    ServerFact,
    /// What a conversation is was changed.
    Meta,
    /// A register was written under the server's name.
    ServerRegister,
    /// A register came from the future.
    Future,
    /// Something was written of what was erased.
    Erased,
}

/// A message that cannot be accepted as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Malformed {
    /// Its key.
    pub id: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Judgement {
    /// Says whether nothing follows from what was judged. A message that came back with its place is accepted and leaves
    /// nothing to write; nor does what lost against an erasure.
    pub fn is_empty(&self) -> bool {
        self.update.is_none()
            && self.accepted.is_empty()
            && self.malformed.is_empty()
            && self.devices.is_empty()
            && self.drafts.is_empty()
            && self.erased.is_empty()
            && !self.revived
            && self.changed.is_empty()
    }
}

impl Ledger {
    /// Makes the ledger of a document, from its committed state, and starts to watch it. Messages that are not accepted
    /// yet wait for the first [`Ledger::judge`].
    ///
    /// # Errors
    /// [`Broken`] where yrs fails; the replica must then be dropped.
    pub fn of(kind: Kind, replica: &mut Replica) -> Result<Self, Broken> {
        let messages = match kind {
            Kind::Conversation(_) => Messages::of(replica)?,
            _ => Messages::default(),
        };
        let revoked = match kind {
            Kind::Profile => replica
                .read(|doc| Winners::read(&doc.transact(), devices::DEVICES, devices::is_revocation))?,
            _ => Winners::default(),
        };
        let fields = replica.read(|doc| Fields::of(&doc.transact(), &kind))?;
        if let Some((root, _)) = kind.renewed() {
            replica.mind_renewal(root, []);
        }
        if !kind.watched().is_empty() {
            replica.watch(kind.watched())?;
        }
        Ok(Self { kind, messages, revoked, fields, sweep_at_ms: 0 })
    }

    /// Judges what was applied to the document since the last call, and writes what follows from it. Call it after
    /// every update applied and every edit: two of them judged together may be taken for one another's.
    ///
    /// # Errors
    /// [`Broken`] where yrs fails; the replica and this ledger must then be dropped.
    pub fn judge(
        &mut self,
        replica: &mut Replica,
        clock: &mut Clock,
        now_ms: u64,
    ) -> Result<Judgement, Broken> {
        let changes = replica.changes();
        let late = replica.late();
        if changes.is_empty() && late.is_empty() && !self.messages.is_waiting() {
            return Ok(Judgement::default());
        }
        let is_renewed = replica.known().is_renewed();
        let edited = replica.edit(|pen| {
            let mut bench =
                Bench { pen, changes: &changes, moved: HashMap::new(), judgement: Judgement::default() };
            // First: what is removed needs no other judgement.
            if let Some(root) = self.kind.conversations() {
                erased::judge(&mut bench, root);
            }
            registers::judge(&mut bench, self.kind.registers(), clock, now_ms);
            match self.kind {
                Kind::Conversation(_) => conversation::judge(&mut bench, &mut self.messages),
                Kind::Profile => devices::judge(&mut bench, &mut self.revoked),
                _ => {}
            }
            for (root, key) in bench.changes.keys.keys().chain(bench.moved.keys()) {
                self.fields.refresh(bench.pen.txn(), root, key);
            }
            if is_renewed && let Some(map) = self.kind.renewed() {
                late::judge(&mut bench, &mut self.fields, map, late, clock, now_ms);
            }
            changed::note(&mut bench, &self.kind, &self.messages, &self.fields);
            bench.list_drafts();
            // Last: it moves values to other keys, and changes nothing that holds. What was removed above is not folded
            // into what stays.
            if now_ms >= self.sweep_at_ms {
                self.sweep_at_ms = now_ms + SWEEP_EVERY_MS;
                registers::sweep(&mut bench, self.kind.registers(), now_ms);
            }
            bench.judgement
        })?;
        // What was just written needs no judgement.
        let written = replica.changes();
        self.note(replica, &written)?;
        Ok(Judgement { update: edited.update, ..edited.value })
    }
}

impl Ledger {
    /// Takes in the registers that the judge wrote itself.
    fn note(&mut self, replica: &mut Replica, written: &Changes) -> Result<(), Broken> {
        if written.keys.is_empty() {
            return Ok(());
        }
        let choices = written.keys.keys().filter(|(root, _)| *root == SELECTED);
        let devices = written.keys.keys().filter(|(root, _)| *root == devices::DEVICES);
        replica.read(|doc| {
            let txn = doc.transact();
            for (root, key) in written.keys.keys() {
                self.fields.refresh(&txn, root, key);
            }
            for (_, key) in choices {
                self.messages.tips.chosen(&txn, &self.messages.order, key);
            }
            for (root, key) in devices {
                if register::split(key).is_some_and(|(field, _)| devices::is_revocation(field)) {
                    self.revoked.refresh(&txn, root, key);
                }
            }
        })
    }
}

/// What lies before the judge.
struct Bench<'a, 'pen, 'doc> {
    pen: &'a mut Pen<'pen, 'doc>,
    changes: &'a Changes,
    /// Registers under the server's name that the judge moved a value to, with what stood there before.
    moved: HashMap<(&'static str, Arc<str>), Option<Any>>,
    judgement: Judgement,
}

impl Bench<'_, '_, '_> {
    /// Lists what clients changed in a root map, with what was committed there, by key.
    fn offences(&self, root: &'static str) -> Vec<(Arc<str>, Option<Any>)> {
        let changed = self
            .changes
            .keys
            .iter()
            .filter(|((at, _), change)| *at == root && change.author == Author::Client);
        let mut offences: Vec<_> =
            changed.map(|((_, key), change)| (key.clone(), change.committed.clone())).collect();
        offences.sort_by(|a, b| a.0.cmp(&b.0));
        offences
    }

    /// Lists the drafts that were written.
    fn list_drafts(&mut self) {
        let keys = self.changes.keys.keys().filter(|(root, _)| *root == drafts::ROOT);
        let written = keys.filter_map(|(_, key)| drafts::request_of(key, &self.pen.get(drafts::ROOT, key)?));
        self.judgement.drafts = written.collect();
        self.judgement.drafts.sort_unstable();
        self.judgement.drafts.dedup();
    }

    /// Sets a key again to what was committed, unless that is what stands there.
    fn restore(&mut self, rule: Rule, root: &'static str, key: &str, committed: Option<Any>) {
        if self.pen.get(root, key) == committed && self.pen.has(root, key) == committed.is_some() {
            return;
        }
        self.heal(rule, format!("{root}/{key}"), committed.as_ref().map(json::read));
        match committed {
            Some(value) => self.pen.set(root, key, value),
            None => self.pen.remove(root, key),
        }
    }

    /// As [`Bench::heal`], of something that was erased.
    fn heal_erased(&mut self, rule: Rule, key: String, before: Option<Value>) {
        self.judgement.revived = true;
        self.heal(rule, key, before);
    }

    fn heal(&mut self, rule: Rule, key: String, before: Option<Value>) {
        self.judgement.heals.push(Heal { rule, key, before });
    }
}
