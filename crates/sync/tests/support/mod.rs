//! A session with a pretended store: what it appends is durable when the test says so.

#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::sync::Arc;

use bytes::Bytes;
use syncline_document::record::{Entry, EntryKind, Stored};
use syncline_protocol::{
    frame::{Dialect, HocuspocusFrame, Reply, decode_hocuspocus, decode_plain, encode},
    lib0::{write_buf, write_str, write_var_uint},
    names::DocumentName,
};
use syncline_sync::{Access, Effect, Join, PeerId, Session, Settings, Verdict};

pub const ADDRESS: &str = "doc";
/// The client id under which the server writes.
pub const SERVER: u64 = 1;

pub struct Bench {
    pub session: Session,
    pub now_ms: u64,
    /// Frames sent since they were last looked at.
    pub sent: Vec<(PeerId, Bytes)>,
    pub appended: Vec<Entry>,
    /// What the judge found.
    pub verdicts: Vec<Verdict>,
    /// Everything else that was asked for.
    pub asked: Vec<Effect>,
    /// Loads are answered at once, with this.
    pub stored: Option<Stored>,
    /// The device that those who join name.
    pub device: Option<Arc<str>>,
    /// Loads, and jobs for the pool, are left to the test.
    pub by_hand: bool,
}

impl Bench {
    pub fn new(settings: Settings) -> Self {
        Self::of("ada/doc", settings)
    }

    pub fn of(name: &str, settings: Settings) -> Self {
        let name = DocumentName::parse(name).unwrap();
        Self {
            session: Session::new(name, SERVER, Arc::new(settings), 0),
            now_ms: 0,
            sent: Vec::new(),
            appended: Vec::new(),
            verdicts: Vec::new(),
            asked: Vec::new(),
            stored: None,
            device: None,
            by_hand: false,
        }
    }

    pub fn join(&mut self, dialect: Dialect, access: Access) -> PeerId {
        let address = (dialect == Dialect::Hocuspocus).then(|| Arc::from(ADDRESS));
        let join = Join {
            dialect,
            address,
            access,
            user: Some("ada".into()),
            device: self.device.clone(),
            device_name: None,
            device_kind: None,
            wants_status: dialect == Dialect::Hocuspocus,
        };
        self.session.attach(join, self.now_ms)
    }

    /// Joins and goes through a first sync of an empty device, to its ack.
    pub fn synced(&mut self, dialect: Dialect) -> PeerId {
        let peer = self.join(dialect, Access::Write);
        self.step1(peer, dialect, &[0]);
        self.step2(peer, dialect, &[0, 0]);
        self.commit();
        self.sent.clear();
        peer
    }

    pub fn step1(&mut self, peer: PeerId, dialect: Dialect, state_vector: &[u8]) {
        self.say(peer, dialect, &[0, 0], state_vector);
    }

    pub fn step2(&mut self, peer: PeerId, dialect: Dialect, update: &[u8]) {
        self.say(peer, dialect, &[0, 1], update);
    }

    pub fn update(&mut self, peer: PeerId, dialect: Dialect, update: &[u8]) {
        self.say(peer, dialect, &[0, 2], update);
    }

    pub fn version(&mut self, peer: PeerId, version: u8) {
        self.say(peer, Dialect::Ysweet, &[102], &[version]);
    }

    pub fn awareness(&mut self, peer: PeerId, dialect: Dialect, states: &[(u64, u64, &str)]) {
        self.say(peer, dialect, &[1], &awareness(states));
    }

    pub fn json(&mut self, peer: PeerId, text: &str) {
        self.say(peer, Dialect::Hocuspocus, &[5], text.as_bytes());
    }

    pub fn say(&mut self, peer: PeerId, dialect: Dialect, head: &[u8], payload: &[u8]) {
        let mut frame = Vec::new();
        if dialect == Dialect::Hocuspocus {
            write_str(&mut frame, ADDRESS);
        }
        frame.extend_from_slice(head);
        write_buf(&mut frame, payload);
        let frame = Bytes::from(frame);
        let message = match dialect {
            Dialect::Hocuspocus => match decode_hocuspocus(&frame).unwrap() {
                HocuspocusFrame::Addressed(_, message) => message,
                HocuspocusFrame::Pong => unreachable!("no test sends it"),
            },
            _ => decode_plain(&frame).unwrap(),
        };
        let mut fx = Vec::new();
        self.session.receive(peer, &message, &frame, self.now_ms, &mut fx);
        self.take(fx);
    }

    /// Everything appended so far is on disk.
    pub fn commit(&mut self) {
        let Some(sequence) = self.appended.last().map(|entry| entry.sequence) else { return };
        self.call(|session, now_ms, fx| session.durable(sequence, now_ms, fx));
    }

    pub fn call(&mut self, call: impl FnOnce(&mut Session, u64, &mut Vec<Effect>)) {
        let mut fx = Vec::new();
        call(&mut self.session, self.now_ms, &mut fx);
        self.take(fx);
    }

    pub fn tick_at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.call(Session::tick);
    }

    fn take(&mut self, fx: Vec<Effect>) {
        for effect in fx {
            match effect {
                Effect::Send { to, frame } => self.sent.push((to, frame)),
                Effect::Append(entry) => self.appended.push(entry),
                Effect::AppendJudged { entry, judged, verdict } => {
                    self.appended.push(entry);
                    self.appended.extend(judged);
                    self.verdicts.push(*verdict);
                }
                Effect::Load if !self.by_hand => {
                    let stored = self.stored.clone();
                    self.call(|session, now_ms, fx| session.loaded(Ok(stored), now_ms, fx));
                }
                Effect::Work(job) if !self.by_hand => {
                    let done = job.run();
                    self.call(|session, now_ms, fx| session.worked(done, now_ms, fx));
                }
                other => self.asked.push(other),
            }
        }
    }

    /// Takes the frames sent to a peer since the last look, awareness and status texts left out.
    pub fn told(&mut self, peer: PeerId) -> Vec<Bytes> {
        let skip = |frame: &Bytes| frame.starts_with(b"\x03doc\x05") || frame.starts_with(b"\x03doc\x01");
        let (mine, others): (Vec<_>, Vec<_>) = self.sent.drain(..).partition(|(to, _)| *to == peer);
        self.sent = others;
        mine.into_iter().map(|(_, frame)| frame).filter(|frame| !skip(frame)).collect()
    }

    pub fn kinds(&self) -> Vec<EntryKind> {
        self.appended.iter().map(|entry| entry.kind).collect()
    }
}

/// The frame of a reply, as that dialect has it.
pub fn frame(dialect: Dialect, reply: &Reply<'_>) -> Bytes {
    encode((dialect == Dialect::Hocuspocus).then_some(ADDRESS), reply)
}

pub fn saved() -> Bytes {
    frame(Dialect::Hocuspocus, &Reply::Status { saved: true })
}

pub fn not_saved() -> Bytes {
    frame(Dialect::Hocuspocus, &Reply::Status { saved: false })
}

/// An update that types `text` at the end of what this client typed up to `clock`.
pub fn typed(client: u64, clock: u64, text: &str) -> Vec<u8> {
    let mut update = vec![1, 1];
    write_var_uint(&mut update, client);
    write_var_uint(&mut update, clock);
    if clock == 0 {
        update.extend_from_slice(&[4, 1, 1, b't']);
    } else {
        update.push(0x84);
        write_var_uint(&mut update, client);
        write_var_uint(&mut update, clock - 1);
    }
    write_str(&mut update, text);
    update.push(0);
    update
}

/// An update that deletes.
pub fn deleted(client: u64, clock: u64, length: u64) -> Vec<u8> {
    let mut update = vec![0, 1];
    for number in [client, 1, clock, length] {
        write_var_uint(&mut update, number);
    }
    update
}

/// A state vector of one client.
pub fn holds(client: u64, clock: u64) -> Vec<u8> {
    let mut state_vector = vec![1];
    write_var_uint(&mut state_vector, client);
    write_var_uint(&mut state_vector, clock);
    state_vector
}

/// An awareness payload.
pub fn awareness(states: &[(u64, u64, &str)]) -> Vec<u8> {
    let mut payload = Vec::new();
    write_var_uint(&mut payload, states.len() as u64);
    for (client, clock, json) in states {
        write_var_uint(&mut payload, *client);
        write_var_uint(&mut payload, *clock);
        write_str(&mut payload, json);
    }
    payload
}
