//! Who is on the document: honest devices that keep books, and attackers.

use std::collections::VecDeque;

use bytes::Bytes;
use fastrand::Rng;
use syncline_protocol::{
    frame::Dialect,
    lib0::{Reader, write_var_uint},
};
use syncline_sync::{Access, PeerId};
use yrs::{
    ClientID, Doc, GetString, ID, Map, ReadTxn, StateVector, Text, TextRef, Transact, Update, WriteTxn,
    updates::{decoder::Decode, encoder::Encode},
};

use crate::{
    host::Host,
    inputs::{Kind, frame},
    support::new_doc,
};

pub(crate) const DIALECTS: [Dialect; 3] = [Dialect::Plain, Dialect::Ysweet, Dialect::Hocuspocus];

/// Makes an edit where others may have left anything: yrs itself never ends in an array with a wide character in it, so
/// arrays are left alone; and it panics where it is to delete from a text what is not text.
pub(crate) fn write(doc: &Doc, rng: &mut Rng) -> Vec<u8> {
    let mut txn = doc.transact_mut();
    let text = txn.get_or_insert_text("t");
    let len = text.len(&txn);
    match rng.u8(0..5) {
        0 if len > 0 && is_all_text(&text, &txn) => text.remove_range(&mut txn, rng.u32(0..len), 1),
        1 => {
            let map = txn.get_or_insert_map("m");
            map.insert(&mut txn, rng.choice(["a", "b", "c"]).unwrap_or("a"), rng.u32(..));
        }
        _ => {
            let word = rng.choice(["a", "word ", "x\u{1f642}y"]).unwrap_or("a");
            text.insert(&mut txn, rng.u32(0..=len), word);
        }
    }
    txn.encode_update_v1()
}

/// Says whether yrs can delete every part of a text. What others put into it may count in its length (plain values,
/// bytes) and yet be passed over by yrs' `remove_range`, which then panics for want of something to delete.
fn is_all_text(text: &TextRef, txn: &impl ReadTxn) -> bool {
    text.get_string(txn).encode_utf16().count() == text.len(txn) as usize
}

/// A device that does everything right, and is owed everything.
pub(crate) struct Honest {
    pub(crate) id: PeerId,
    pub(crate) dialect: Dialect,
    pub(crate) doc: Doc,
    pub(crate) client: u64,
    /// Plain: its updates that have not come back.
    echoes: VecDeque<Bytes>,
    /// Hocuspocus: updates that were not called saved. y-sweet: versions.
    owed: u64,
    version: u64,
    /// What it wrote last.
    pub(crate) newest: Vec<u8>,
}

impl Honest {
    pub(crate) fn join(host: &mut Host, dialect: Dialect, rng: &mut Rng) -> Self {
        let id = host.attach(dialect, "honest", Access::Write);
        let client = rng.u64(1 << 40..1 << 53);
        let doc = new_doc(client, true);
        let honest = Self {
            id,
            dialect,
            doc,
            client,
            echoes: VecDeque::new(),
            owed: 0,
            version: 0,
            newest: Vec::new(),
        };
        if dialect == Dialect::Ysweet {
            honest.send(host, Kind::Version, &[0]);
        }
        honest.send(host, Kind::Step1, &[0]);
        honest
    }

    fn send(&self, host: &mut Host, kind: Kind, payload: &[u8]) {
        host.feed(self.id, self.dialect, &frame(self.dialect, kind, payload));
    }

    pub(crate) fn write(&mut self, host: &mut Host, rng: &mut Rng) {
        let update = write(&self.doc, rng);
        if update == [0, 0] {
            return;
        }
        self.newest.clone_from(&update);
        self.send(host, Kind::Update, &update);
        match self.dialect {
            Dialect::Plain => self.echoes.push_back(update.into()),
            Dialect::Hocuspocus => self.owed += 1,
            Dialect::Ysweet => {
                self.version += 1;
                let mut version = Vec::new();
                write_var_uint(&mut version, self.version);
                self.send(host, Kind::Version, &version);
            }
        }
    }

    /// Takes a frame as a client does. `false` where the server does not take what it wrote.
    pub(crate) fn hear(&mut self, host: &mut Host, bytes: &Bytes) -> bool {
        let mut reader = Reader::new(bytes);
        if self.dialect == Dialect::Hocuspocus {
            reader.str().expect("an address");
        }
        match reader.var_uint().expect("a type") {
            0 => {
                let kind = reader.var_uint().expect("a sync message");
                let payload = reader.buf().expect("a payload");
                if kind == 0 {
                    let state_vector = StateVector::decode_v1(payload).expect("a state vector");
                    let diff = self.doc.transact().encode_state_as_update_v1(&state_vector);
                    self.send(host, Kind::Step2, &diff);
                    self.owed += u64::from(self.dialect == Dialect::Hocuspocus);
                    return true;
                }
                if self.echoes.front().is_some_and(|echo| echo == payload) {
                    self.echoes.pop_front();
                }
                let update = Update::decode_v1(payload).expect("an update that decodes");
                self.doc.transact_mut().apply_update(update).expect("an update that applies");
            }
            2 => return false,
            8 => {
                self.owed = self.owed.checked_sub(1).expect("an ack that nothing was owed");
                return reader.byte().expect("a status") == 1;
            }
            102 => {
                let mut inner = Reader::new(reader.buf().expect("a version"));
                self.owed = self.version - inner.var_uint().expect("a version");
            }
            _ => {}
        }
        true
    }

    /// The id that it writes next.
    pub(crate) fn next(&self) -> ID {
        let client = ClientID::new(self.client);
        ID::new(client, self.doc.transact().state_vector().get(&client))
    }

    /// Everything of it is saved, and it has what the server has.
    pub(crate) fn is_content(&self, state_vector: &StateVector) -> bool {
        let txn = self.doc.transact();
        self.echoes.is_empty()
            && self.owed == 0
            && txn.state_vector() == *state_vector
            && !txn.has_missing_updates()
    }
}

/// A connection that sends what it likes.
pub(crate) struct Attacker {
    pub(crate) id: PeerId,
    pub(crate) dialect: Dialect,
    device: &'static str,
    access: Access,
}

impl Attacker {
    pub(crate) fn join(host: &mut Host, dialect: Dialect, device: &'static str, access: Access) -> Self {
        let id = host.attach(dialect, device, access);
        Self { id, dialect, device, access }
    }

    /// Comes back after it was thrown out or refused, and syncs.
    pub(crate) fn again(&mut self, host: &mut Host) {
        host.detach(self.id);
        self.id = host.attach(self.dialect, self.device, self.access);
        self.sync(host);
    }

    pub(crate) fn sync(&self, host: &mut Host) {
        host.feed(
            self.id,
            self.dialect,
            &frame(self.dialect, Kind::Step1, &StateVector::default().encode_v1()),
        );
        host.feed(self.id, self.dialect, &frame(self.dialect, Kind::Step2, &[0, 0]));
    }
}
