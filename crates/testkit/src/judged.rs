//! What comes of a judgement: its entry, committed with what was judged, and the row that follows in the simulated
//! server's own table, the last turn of each conversation.

use bytes::Bytes;
use syncline_document::{Accepted, record::Entry, schema::Kind};
use syncline_protocol::{
    frame::{Reply, encode},
    names::DocumentName,
};
use syncline_store::{MemoryStore, Row, Store};
use syncline_sync::Verdict;

use crate::{
    checks::Checks,
    driver::{Act, Command, Server},
    plan::Bug,
};

/// Returns the key of a conversation's row.
pub(crate) fn key(name: &DocumentName) -> Vec<u8> {
    format!("last/{name}").into_bytes()
}

/// Returns the row that follows from messages that were accepted. `last` is the number of the last turn so far, if it
/// was read, and is brought up to date.
fn row_of(
    store: &MemoryStore,
    name: &DocumentName,
    last: &mut Option<u64>,
    accepted: &[Accepted],
) -> Option<Row> {
    if !matches!(Kind::of(name), Kind::Conversation(_)) {
        return None;
    }
    let last = last.get_or_insert_with(|| {
        let row = store.row(&key(name)).ok().flatten();
        let seq = row.and_then(|row| std::str::from_utf8(&row).ok()?.split(' ').next()?.parse().ok());
        seq.unwrap_or(0)
    });
    let newest = accepted.iter().rfind(|message| message.seq > 0).filter(|message| message.seq > *last)?;
    *last = newest.seq;
    let value = Bytes::from(format!("{} {}", newest.seq, newest.id));
    Some(Row { key: key(name), value: Some(value) })
}

impl Server {
    /// A planted bug: sends what the server wrote to everybody at once.
    pub(crate) fn leak(&mut self, document: usize, update: &Bytes, checks: &mut Checks) {
        checks.sent(&self.store, document, update);
        for (conn, guest) in self.guests.iter().filter(|(_, guest)| guest.document == document) {
            let frame = encode(guest.join.address.as_deref(), &Reply::Update(update));
            self.acts.push(Act::Send(*conn, frame));
        }
    }

    /// Queues what was judged with what the judge wrote about it.
    pub(crate) fn append_judged(
        &mut self,
        document: usize,
        entry: Entry,
        judged: Option<Entry>,
        verdict: &Verdict,
        checks: &mut Checks,
    ) {
        checks.taken(document, &entry);
        if let Some(judged) = &judged {
            checks.wrote(document, judged.sequence, &judged.bytes);
            if self.bug == Some(Bug::JudgedSentBeforeCommit) {
                self.leak(document, &judged.bytes, checks);
            }
        }
        let judgement = &verdict.judgement;
        self.heals += judgement.heals.len() as u64;
        let Some(slot) = self.slots.get_mut(&document) else { return };
        let row = row_of(&self.store, &self.names[document], &mut slot.last, &judgement.accepted);
        match (self.bug, judged) {
            (Some(Bug::HealLost), Some(judged)) if !judgement.heals.is_empty() => {
                let sequence = judged.sequence;
                self.queue.push_back(Command::Judged(document, entry, None, row));
                self.queue.push_back(Command::Forget(document, sequence));
            }
            (Some(Bug::RowsLeftOut), judged) if self.rng.chance(300) => {
                self.queue.push_back(Command::Judged(document, entry, judged, None));
            }
            (Some(Bug::RowsLater), judged) => {
                self.queue.push_back(Command::Judged(document, entry, judged, None));
                self.queue.extend(row.map(Command::Row));
            }
            (_, judged) => self.queue.push_back(Command::Judged(document, entry, judged, row)),
        }
    }
}
