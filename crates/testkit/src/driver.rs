//! The server around the sessions, without sockets and threads: it opens and forgets sessions, carries out
//! their effects in order, and stands in for the writer's thread. Everything queued becomes one commit; what was
//! queued beside it (loads, checkpoints, side records) comes after, as in `syncline_store::writer`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use syncline_document::{
    fold,
    record::{Checkpoint, Entry, EntryKind, Origin, Sequence},
};
use syncline_protocol::{
    frame::{Dialect, HocuspocusFrame, Message, Reply, decode_hocuspocus, decode_plain, encode},
    names::DocumentName,
};
use syncline_store::Row;
use syncline_store::{MemoryStore, Store};
use syncline_sync::{Access, Effect, Ending, Job, Join, PeerId, Session, Settings};

use crate::{
    checks::{Check, Checks},
    desk::{Ours, Outcome, Sights},
    indicator::Family,
    plan::{Bug, Plan},
    rng::Rng,
    wire::{self, Said},
};

/// Something the world has to do for the server.
#[derive(Debug)]
pub(crate) enum Act {
    /// Puts a frame into a connection's outbound queue.
    Send(usize, Bytes),
    /// Closes a connection after what was sent.
    Close(usize),
    /// Calls [`Server::later`] after so many milliseconds.
    Later(u64, Later),
}

/// What the server does later.
#[derive(Debug)]
pub(crate) enum Later {
    /// The writer takes its queue.
    Commit,
    /// The writer's callback: documents and their newest durable sequences.
    Notify(Vec<(usize, Sequence)>),
    /// A document is read.
    Read { document: usize, epoch: u64 },
    /// A job on the pool is done.
    Pool { document: usize, epoch: u64, job: Box<Job> },
    /// A session's clock.
    Tick { document: usize, epoch: u64 },
}

/// One open session and who is attached to it.
pub(crate) struct Slot {
    pub(crate) session: Session,
    pub(crate) epoch: u64,
    pub(crate) conns: BTreeMap<PeerId, usize>,
    pub(crate) tick_ms: Option<u64>,
    /// The number of the conversation's last turn, once it was looked up.
    pub(crate) last: Option<u64>,
}

/// What waits for the writer.
pub(crate) enum Command {
    Append(usize, Entry),
    /// An entry, what the judge wrote about it, and the row that follows: one commit.
    Judged(usize, Entry, Option<Entry>, Option<Row>),
    /// A planted bug: a row by itself.
    Row(Row),
    /// A planted bug: an entry that is reported and never written.
    Forget(usize, Sequence),
    Load(usize, u64),
    Checkpoint(usize, Checkpoint),
    Side(usize, Bytes),
}

/// How one connection was let in.
pub(crate) struct Guest {
    pub(crate) document: usize,
    pub(crate) peer: PeerId,
    pub(crate) join: Join,
    pub(crate) family: Family,
    /// SyncStatus that the planted bug still means to send, and a count of what it believes to owe.
    pub(crate) surplus: usize,
    pub(crate) counted: usize,
    pub(crate) synced: bool,
}

/// The server process.
pub(crate) struct Server {
    pub(crate) store: MemoryStore,
    pub(crate) names: Vec<DocumentName>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) slots: BTreeMap<usize, Slot>,
    pub(crate) guests: BTreeMap<usize, Guest>,
    pub(crate) queue: VecDeque<Command>,
    pub(crate) writing: bool,
    pub(crate) epoch: u64,
    pub(crate) rng: Rng,
    pub(crate) bug: Option<Bug>,
    pub(crate) commit_ms: u64,
    pub(crate) load_ms: u64,
    pub(crate) pool_ms: u64,
    pub(crate) load_fails_permille: u64,
    /// Server edits under way: the next one of a free-form document waits for its predecessor.
    pub(crate) edits: BTreeMap<u64, Ours>,
    /// What was seen of conversations, and not checked yet.
    pub(crate) sights: Sights,
    /// Contradictions that were healed.
    pub(crate) heals: u64,
    pub(crate) next_edit: u64,
    /// A write failed: the store takes nothing more until the process is started again.
    pub(crate) failed: bool,
    /// The process is to die in the middle of its next write,
    pub(crate) doomed: bool,
    /// and it has.
    pub(crate) dead: bool,
    pub(crate) acts: Vec<Act>,
}

impl Server {
    /// Starts the process on a store.
    pub(crate) fn start(store: MemoryStore, names: Vec<DocumentName>, plan: &Plan, rng: Rng) -> Self {
        Self {
            store,
            names,
            settings: Arc::new(plan.settings.clone()),
            slots: BTreeMap::new(),
            guests: BTreeMap::new(),
            queue: VecDeque::new(),
            writing: false,
            epoch: 0,
            rng,
            bug: plan.bug,
            commit_ms: plan.commit_ms,
            load_ms: plan.load_ms,
            pool_ms: plan.pool_ms,
            load_fails_permille: plan.rates.load_permille,
            edits: BTreeMap::new(),
            sights: Sights::default(),
            heals: 0,
            next_edit: 0,
            failed: false,
            doomed: false,
            dead: false,
            acts: Vec::new(),
        }
    }

    /// Nothing fails from now on.
    pub(crate) fn calm(&mut self) {
        self.load_fails_permille = 0;
    }

    /// Says whether nothing is queued or under way at the writer.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.writing
    }

    /// Attaches a connection to its document.
    pub(crate) fn attach(&mut self, conn: usize, document: usize, family: Family, join: Join, now_ms: u64) {
        let slot = self.slot(document, now_ms);
        let peer = slot.session.attach(join.clone(), now_ms);
        slot.conns.insert(peer, conn);
        let guest = Guest { document, peer, join, family, surplus: 0, counted: 0, synced: false };
        self.guests.insert(conn, guest);
    }

    /// A frame of a connection arrives.
    pub(crate) fn receive(&mut self, conn: usize, frame: &Bytes, now_ms: u64, checks: &mut Checks) {
        let Some(guest) = self.guests.get_mut(&conn) else { return };
        let decoded = match guest.join.address {
            None => decode_plain(frame).map(Some),
            Some(_) => decode_hocuspocus(frame).map(|frame| match frame {
                HocuspocusFrame::Pong => None,
                HocuspocusFrame::Addressed(_, message) => Some(message),
            }),
        };
        let message = match decoded {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => return checks.fail(Check::Client, format!("an honest frame is refused: {error}")),
        };
        if let Message::Auth { .. } = message {
            let address = guest.join.address.clone();
            let read_only = guest.join.access == Access::Read;
            let frame = encode(address.as_deref(), &Reply::Authenticated { read_only });
            self.acts.push(Act::Send(conn, frame));
            return;
        }
        self.mutate_receipt(conn, &message, frame);
        let Some(guest) = self.guests.get(&conn) else { return };
        let (document, peer) = (guest.document, guest.peer);
        let mut fx = Vec::new();
        if let Some(slot) = self.slots.get_mut(&document) {
            slot.session.receive(peer, &message, frame, now_ms, &mut fx);
            if slot.session.waiting_bytes() > self.settings.waiting_bytes + (64 << 10) {
                checks.fail(Check::Limit, format!("{} bytes wait", slot.session.waiting_bytes()));
            }
        }
        self.perform(document, fx, now_ms, checks);
    }

    /// A connection is gone.
    pub(crate) fn detach(&mut self, conn: usize, now_ms: u64, checks: &mut Checks) {
        let Some(guest) = self.guests.remove(&conn) else { return };
        let mut fx = Vec::new();
        if let Some(slot) = self.slots.get_mut(&guest.document) {
            slot.conns.remove(&guest.peer);
            slot.session.detach(guest.peer, now_ms, &mut fx);
        }
        self.perform(guest.document, fx, now_ms, checks);
    }

    /// Lets the server edit a document, one edit at a time.
    pub(crate) fn edit(&mut self, document: usize, update: Bytes, now_ms: u64, checks: &mut Checks) {
        let outcome = Outcome::of(update.clone());
        let edit = self.edit_under_way(Ours { document, outcome, message: None });
        if self.bug == Some(Bug::EditSentBeforeCommit) {
            self.leak(document, &update, checks);
        }
        let origin = Origin { user: None, device: None, at_ms: now_ms };
        self.call(document, now_ms, checks, |session, now_ms, fx| {
            session.edit(edit, update, origin, now_ms, fx);
        });
    }

    /// Calls a document's session, which is opened for it if need be.
    pub(crate) fn call(
        &mut self,
        document: usize,
        now_ms: u64,
        checks: &mut Checks,
        call: impl FnOnce(&mut Session, u64, &mut Vec<Effect>),
    ) {
        let mut fx = Vec::new();
        call(&mut self.slot(document, now_ms).session, now_ms, &mut fx);
        self.perform(document, fx, now_ms, checks);
    }

    /// Says whether a server edit of this document is under way.
    pub(crate) fn is_editing(&self, document: usize) -> bool {
        self.edits.values().any(|ours| ours.document == document)
    }

    /// Does something that was to be done later.
    pub(crate) fn later(&mut self, later: Later, now_ms: u64, checks: &mut Checks) {
        match later {
            Later::Commit => self.commit(now_ms, checks),
            Later::Notify(durable) => self.notify(durable, now_ms, checks),
            Later::Read { document, epoch } => self.read(document, epoch, now_ms, checks),
            Later::Pool { document, epoch, job } => {
                let done = job.run();
                self.with(document, epoch, now_ms, checks, |session, now_ms, fx| {
                    session.worked(done, now_ms, fx);
                });
            }
            Later::Tick { document, epoch } => {
                if let Some(slot) = self.slots.get_mut(&document).filter(|slot| slot.epoch == epoch) {
                    slot.tick_ms = None;
                }
                self.with(document, epoch, now_ms, checks, Session::tick);
            }
        }
    }

    /// Folds cold documents as the background does, and prunes.
    pub(crate) fn fold_cold(&mut self, now_ms: u64, checks: &mut Checks) {
        if self.failed {
            return;
        }
        for document in 0..self.names.len() {
            if self.slots.contains_key(&document) {
                continue;
            }
            let Ok(Some(stored)) = self.store.read(&self.names[document]) else { continue };
            match fold::fold(&stored) {
                Ok(checkpoint) => self.queue.push_back(Command::Checkpoint(document, checkpoint)),
                Err(error) => checks.fail(Check::Store, format!("a cold document does not fold: {error}")),
            }
        }
        self.hurry();
        if let Err(error) = self.store.prune(self.rng.between(1, 8) as usize) {
            self.fail(&error.to_string(), now_ms, checks);
        }
    }

    fn slot(&mut self, document: usize, now_ms: u64) -> &mut Slot {
        let mut name = self.names[document].clone();
        let server_client = self.store.identity().server_client(&name);
        let settings = self.settings.clone();
        if self.bug == Some(Bug::NothingJudged)
            && self.rng.chance(300)
            && let Ok(free) = DocumentName::parse("ada/free")
        {
            name = free;
        }
        let epoch = &mut self.epoch;
        self.slots.entry(document).or_insert_with(|| {
            *epoch += 1;
            let session = Session::new(name, server_client, settings, now_ms);
            Slot { session, epoch: *epoch, conns: BTreeMap::new(), tick_ms: None, last: None }
        })
    }

    pub(crate) fn with(
        &mut self,
        document: usize,
        epoch: u64,
        now_ms: u64,
        checks: &mut Checks,
        call: impl FnOnce(&mut Session, u64, &mut Vec<Effect>),
    ) {
        let Some(slot) = self.slots.get_mut(&document).filter(|slot| slot.epoch == epoch) else { return };
        let mut fx = Vec::new();
        call(&mut slot.session, now_ms, &mut fx);
        self.perform(document, fx, now_ms, checks);
    }

    pub(crate) fn hurry(&mut self) {
        if !self.writing && !self.queue.is_empty() {
            self.writing = true;
            let delay = self.rng.between(0, self.commit_ms);
            self.acts.push(Act::Later(delay, Later::Commit));
        }
    }

    /// Carries out what a session asked for, in order.
    fn perform(&mut self, document: usize, fx: Vec<Effect>, now_ms: u64, checks: &mut Checks) {
        let mut ack_now = None;
        for effect in fx {
            let Some(slot) = self.slots.get(&document) else { return };
            match effect {
                Effect::Send { to, frame } => {
                    if let Some(conn) = slot.conns.get(&to).copied() {
                        self.send(conn, document, frame, checks);
                    }
                }
                Effect::End { peer, ending } => {
                    if let Ending::Malformed(reason) = &ending {
                        checks.fail(Check::Client, format!("an honest peer is called malformed: {reason}"));
                    }
                    if let Some(conn) = slot.conns.get(&peer).copied() {
                        self.acts.push(Act::Close(conn));
                    }
                }
                Effect::Append(entry) => {
                    if self.bug == Some(Bug::AckBeforeCommit) {
                        ack_now = Some(entry.sequence);
                    }
                    checks.taken(document, &entry);
                    self.append(document, entry);
                }
                Effect::AppendJudged { entry, judged, verdict } => {
                    self.append_judged(document, entry, judged, &verdict, checks);
                }
                Effect::Checkpoint(checkpoint) => {
                    self.queue.push_back(Command::Checkpoint(document, checkpoint));
                }
                Effect::SaveSide(side) => self.queue.push_back(Command::Side(document, side)),
                Effect::Load => {
                    let epoch = slot.epoch;
                    self.queue.push_back(Command::Load(document, epoch));
                }
                Effect::Work(job) => {
                    let epoch = slot.epoch;
                    let delay = self.rng.between(0, self.pool_ms);
                    self.acts.push(Act::Later(delay, Later::Pool { document, epoch, job }));
                }
                Effect::EditSaved(edit) => self.edit_saved(edit, checks),
                Effect::EditRefused(edit, ..) => {
                    self.edits.remove(&edit.0);
                }
                Effect::Refused(code) => {
                    if !matches!(code, "unavailable" | "store" | "gap") {
                        checks.fail(Check::Client, format!("an honest edit is refused: {code}"));
                    }
                }
                Effect::Accepted(_) | Effect::Renewed => {}
            }
        }
        if let Some(sequence) = ack_now {
            let epoch = self.slots.get(&document).map_or(0, |slot| slot.epoch);
            self.with(document, epoch, now_ms, checks, |session, now_ms, fx| {
                session.durable(sequence, now_ms, fx);
            });
        }
        self.tell_sights(checks);
        self.hurry();
        self.settle(document, now_ms);
    }

    /// After every call: forgets the session if it is idle, or sets its clock.
    fn settle(&mut self, document: usize, now_ms: u64) {
        let Some(slot) = self.slots.get_mut(&document) else { return };
        if slot.session.is_idle() {
            self.slots.remove(&document);
            return;
        }
        let Some(next) = slot.session.next_tick_ms() else { return };
        // What is overdue and stays so is looked at again, but not in a busy loop.
        let next = if next <= now_ms { now_ms + 5 } else { next };
        if slot.tick_ms.is_none_or(|at| next < at) {
            slot.tick_ms = Some(next);
            let epoch = slot.epoch;
            self.acts.push(Act::Later(next - now_ms, Later::Tick { document, epoch }));
        }
    }

    fn append(&mut self, document: usize, mut entry: Entry) {
        // What is not judged has another name for its session.
        entry.document = self.names[document].clone();
        let ahead = self.bug == Some(Bug::CheckpointAhead) && self.rng.chance(200);
        if self.bug == Some(Bug::EntryLost) && entry.kind == EntryKind::Update && self.rng.chance(100) {
            return self.queue.push_back(Command::Forget(document, entry.sequence));
        }
        let name = &self.names[document];
        if ahead && let Ok(Some(mut stored)) = self.store.read(name) {
            let durable = stored.sequence;
            stored.tail.push(entry.clone());
            if let Ok(mut checkpoint) = fold::fold(&stored) {
                checkpoint.sequence = durable;
                self.queue.push_front(Command::Checkpoint(document, checkpoint));
                let entry = Command::Append(document, entry);
                // The checkpoint goes out with an empty batch; its entry follows in the next one.
                self.queue.push_back(entry);
                return;
            }
        }
        self.queue.push_back(Command::Append(document, entry));
    }

    fn send(&mut self, conn: usize, document: usize, frame: Bytes, checks: &mut Checks) {
        let Some(guest) = self.guests.get_mut(&conn) else { return };
        match wire::read(&frame, guest.join.address.as_deref()) {
            Ok(Said::Update(update) | Said::Step2(update)) => checks.sent(&self.store, document, &update),
            Ok(Said::Status(true)) => {
                guest.counted = guest.counted.saturating_sub(1);
                if self.bug == Some(Bug::OneStatusTooMany) && self.rng.chance(200) {
                    self.acts.push(Act::Send(conn, frame.clone()));
                }
            }
            Ok(_) => {}
            Err(error) => checks.fail(Check::Client, format!("a client throws: {error}")),
        }
        self.acts.push(Act::Send(conn, frame));
    }

    fn mutate_receipt(&mut self, conn: usize, message: &Message<'_>, frame: &Bytes) {
        let Some(guest) = self.guests.get_mut(&conn) else { return };
        match (self.bug, message) {
            (Some(Bug::EchoBeforeDurable), Message::Update(_)) if guest.family == Family::Plain => {
                self.acts.push(Act::Send(conn, frame.clone()));
            }
            (Some(Bug::ResyncKeepsAcks), Message::Update(_)) => guest.counted += 1,
            (Some(Bug::ResyncKeepsAcks), Message::SyncStep1(_))
                if std::mem::replace(&mut guest.synced, true) =>
            {
                guest.surplus += std::mem::take(&mut guest.counted);
            }
            _ => {}
        }
    }
}

/// How a device of a family joins.
pub(crate) fn join(device: usize, family: Family, writes: bool, address: Option<&str>) -> Join {
    Join {
        dialect: match family {
            Family::Plain => Dialect::Plain,
            // Half of them are known by their path, the others by their first 102.
            Family::Ysweet if device.is_multiple_of(2) => Dialect::Ysweet,
            Family::Ysweet => Dialect::Plain,
            Family::Hocuspocus | Family::Hocuspocus2 => Dialect::Hocuspocus,
        },
        address: address.map(Arc::from),
        access: if writes { Access::Write } else { Access::Read },
        user: Some("ada".into()),
        device: Some(format!("d{device}").into()),
        device_name: None,
        device_kind: None,
        wants_status: device.is_multiple_of(2),
    }
}
