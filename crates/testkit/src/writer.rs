//! The writer's place in the simulated server: takes the whole queue as one commit, then what was queued beside
//! entries, then calls back, in the order of `syncline_store::writer`.

use std::collections::{BTreeMap, VecDeque};

use syncline_document::record::{Entry, Sequence};
use syncline_protocol::frame::{Reply, encode};
use syncline_store::{Row, Store};

use crate::{
    checks::{Check, Checks, pending_bytes},
    driver::{Act, Command, Later, Server},
    plan::Bug,
};

impl Server {
    pub(crate) fn commit(&mut self, now_ms: u64, checks: &mut Checks) {
        let ahead = self.bug == Some(Bug::CheckpointAhead)
            && matches!(self.queue.front(), Some(Command::Checkpoint(..)));
        let mut later = VecDeque::new();
        let mut durable: BTreeMap<usize, Sequence> = BTreeMap::new();
        if ahead && let Some(first) = self.queue.pop_front() {
            self.beside(first, now_ms, checks);
        }
        let (batch, rows) = self.gather(&mut durable, &mut later);
        if !(batch.is_empty() && rows.is_empty())
            && let Err(error) = self.store.commit(&batch, &rows)
        {
            let ours = matches!(error, syncline_store::StoreError::Bug(_));
            if ours {
                checks.fail(Check::Store, format!("a commit is refused: {error}"));
            }
            if self.bug != Some(Bug::FailedCommitAcked) {
                durable.clear();
                self.fail(&error.to_string(), now_ms, checks);
            }
        }
        if self.bug == Some(Bug::EvictionWithAckOwed) {
            let documents: Vec<usize> = durable.keys().copied().collect();
            for document in documents {
                if self.rng.chance(150) {
                    self.forget(document, now_ms);
                }
            }
        }
        for command in later {
            if !self.dead {
                self.beside(command, now_ms, checks);
            }
        }
        let delay = self.rng.between(0, 4);
        self.acts.push(Act::Later(delay, Later::Notify(durable.into_iter().collect())));
    }

    /// Takes from the queue what makes the next commit; what is to come after it goes into `later`.
    fn gather(
        &mut self,
        durable: &mut BTreeMap<usize, Sequence>,
        later: &mut VecDeque<Command>,
    ) -> (Vec<Entry>, Vec<Row>) {
        let (mut batch, mut rows) = (Vec::new(), Vec::new());
        let mut queue = std::mem::take(&mut self.queue);
        while let Some(command) = queue.pop_front() {
            match command {
                Command::Judged(document, entry, judged, row) => {
                    durable.insert(document, entry.sequence);
                    batch.push(entry);
                    rows.extend(row);
                    let Some(judged) = judged else { continue };
                    if self.bug == Some(Bug::JudgedLater) && self.rng.chance(300) {
                        queue.push_front(Command::Append(document, judged));
                        self.queue = std::mem::take(&mut queue);
                        break;
                    }
                    durable.insert(document, judged.sequence);
                    batch.push(judged);
                }
                Command::Row(row) => {
                    if batch.is_empty() {
                        rows.push(row);
                        continue;
                    }
                    queue.push_front(Command::Row(row));
                    self.queue = std::mem::take(&mut queue);
                    break;
                }
                Command::Append(document, entry) => {
                    durable.insert(document, entry.sequence);
                    batch.push(entry);
                }
                Command::Forget(document, sequence) => {
                    durable.insert(document, sequence);
                }
                other => later.push_back(other),
            }
        }
        (batch, rows)
    }

    /// What was queued beside entries, which are durable by now.
    fn beside(&mut self, command: Command, now_ms: u64, checks: &mut Checks) {
        match command {
            Command::Load(document, epoch) => {
                let delay = self.rng.between(0, self.load_ms);
                self.acts.push(Act::Later(delay, Later::Read { document, epoch }));
            }
            Command::Checkpoint(document, mut checkpoint) if !self.failed => {
                if self.bug == Some(Bug::CheckpointRelabelled)
                    && let Ok(Some(stored)) = self.store.read(&self.names[document])
                {
                    checkpoint.sequence = stored.sequence;
                }
                checks.checkpoint(&self.store, document, &checkpoint);
                match self.store.write_checkpoint(&self.names[document], &checkpoint) {
                    Ok(()) => {}
                    Err(syncline_store::StoreError::Bug(error)) => {
                        checks.fail(Check::Checkpoint, format!("the store refuses it: {error}"));
                    }
                    Err(error) => self.fail(&error.to_string(), now_ms, checks),
                }
            }
            Command::Side(document, side) if !self.failed => {
                if let Err(error) = self.store.put_side(&self.names[document], side) {
                    self.fail(&error.to_string(), now_ms, checks);
                }
            }
            _ => {}
        }
    }

    /// A write failed: every session is told, and nothing is acknowledged any more.
    pub(crate) fn fail(&mut self, reason: &str, now_ms: u64, checks: &mut Checks) {
        self.failed = true;
        if self.doomed {
            self.dead = true;
            return;
        }
        checks.still_whole(&self.store);
        let documents: Vec<(usize, u64)> =
            self.slots.iter().map(|(document, slot)| (*document, slot.epoch)).collect();
        for (document, epoch) in documents {
            self.with(document, epoch, now_ms, checks, |session, now_ms, fx| {
                session.store_failed(reason, now_ms, fx);
            });
        }
    }

    pub(crate) fn notify(&mut self, durable: Vec<(usize, Sequence)>, now_ms: u64, checks: &mut Checks) {
        self.writing = false;
        for (document, sequence) in durable {
            let Some(epoch) = self.slots.get(&document).map(|slot| slot.epoch) else { continue };
            self.with(document, epoch, now_ms, checks, |session, now_ms, fx| {
                session.durable(sequence, now_ms, fx);
            });
        }
        if self.bug == Some(Bug::ResyncKeepsAcks) {
            for (conn, guest) in self.guests.iter_mut().filter(|(_, guest)| guest.family.is_addressed()) {
                for _ in 0..std::mem::take(&mut guest.surplus) {
                    let frame = encode(guest.join.address.as_deref(), &Reply::Status { saved: true });
                    self.acts.push(Act::Send(*conn, frame));
                }
            }
        }
        self.hurry();
    }

    pub(crate) fn read(&mut self, document: usize, epoch: u64, now_ms: u64, checks: &mut Checks) {
        let mut outcome = self.store.read(&self.names[document]).map_err(|error| error.to_string());
        if let Err(error) = &outcome {
            checks.fail(Check::Store, format!("a document is unreadable: {error}"));
        }
        if let Ok(Some(stored)) = &outcome {
            let kept = pending_bytes(stored);
            if kept > self.settings.pending_bytes {
                checks.fail(Check::Limit, format!("{kept} bytes are pending"));
            }
        }
        if self.bug == Some(Bug::ClocksReused)
            && let Ok(Some(stored)) = &mut outcome
            && let Some(newest) = stored.tail.iter().rposition(|entry| entry.origin.device.is_none())
        {
            stored.tail.remove(newest);
        }
        if self.rng.chance(self.load_fails_permille) {
            let empty = self.bug == Some(Bug::FailedLoadIsEmpty);
            outcome = if empty { Ok(None) } else { Err("as the plan asked for".to_owned()) };
        }
        self.with(document, epoch, now_ms, checks, |session, now_ms, fx| session.loaded(outcome, now_ms, fx));
    }

    /// A planted bug: drops a session that owes, and goes on with a new one.
    fn forget(&mut self, document: usize, now_ms: u64) {
        if self.slots.get(&document).is_none_or(|slot| slot.session.is_settled()) {
            return;
        }
        self.slots.remove(&document);
        let conns: Vec<usize> = self
            .guests
            .iter()
            .filter(|(_, guest)| guest.document == document)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in conns {
            if let Some(guest) = self.guests.remove(&conn) {
                self.attach(conn, document, guest.family, guest.join, now_ms);
            }
        }
    }
}
