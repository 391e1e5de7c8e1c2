//! What stands around the session: a disk, a pool and a network that are as simple as can be.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use syncline_document::{
    Replica, fold,
    record::{Checkpoint, Entry, EntryKind, Stored},
};
use syncline_protocol::{
    frame::{Dialect, HocuspocusFrame, decode_hocuspocus, decode_plain},
    names::DocumentName,
};
use syncline_sync::{Access, Effect, Join, PeerId, Session, Settings};

pub(crate) const NAME: &str = "ada/notes";

/// Something to be written, in order.
#[derive(Debug)]
enum Write {
    Entry(Entry),
    Checkpoint(Checkpoint),
    Side(Bytes),
}

/// The owner of one session.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) session: Session,
    pub(crate) stored: Stored,
    pub(crate) now_ms: u64,
    queue: VecDeque<Write>,
    /// What was sent and not looked at yet.
    pub(crate) sent: Vec<(PeerId, Bytes)>,
    pub(crate) ended: Vec<PeerId>,
    /// Entries journalled and not looked at yet.
    pub(crate) journalled: Vec<Entry>,
    /// Since the last [`Host::feed`]: bytes accepted, bytes loaded.
    pub(crate) accepted: usize,
    pub(crate) loaded: usize,
    pub(crate) refusals: Vec<&'static str>,
    pub(crate) malformed: u64,
}

impl Host {
    pub(crate) fn new(settings: Settings) -> Self {
        let name = DocumentName::parse(NAME).expect("a good name");
        let now_ms = 1_000_000;
        Self {
            session: Session::new(name, 1, Arc::new(settings), now_ms),
            stored: Stored::default(),
            now_ms,
            queue: VecDeque::new(),
            sent: Vec::new(),
            ended: Vec::new(),
            journalled: Vec::new(),
            accepted: 0,
            loaded: 0,
            refusals: Vec::new(),
            malformed: 0,
        }
    }

    pub(crate) fn attach(&mut self, dialect: Dialect, device: &str, access: Access) -> PeerId {
        let join = Join {
            dialect,
            address: (dialect == Dialect::Hocuspocus).then(|| NAME.into()),
            access,
            user: Some("ada".into()),
            device: Some(device.into()),
            device_name: None,
            device_kind: None,
            wants_status: device.ends_with('!'),
        };
        self.session.attach(join, self.now_ms)
    }

    pub(crate) fn detach(&mut self, peer: PeerId) {
        let mut fx = Vec::new();
        self.session.detach(peer, self.now_ms, &mut fx);
        self.carry_out(fx);
    }

    /// Takes a frame from a socket, as a connection does.
    pub(crate) fn feed(&mut self, peer: PeerId, dialect: Dialect, frame: &Bytes) {
        (self.accepted, self.loaded) = (0, 0);
        let mut fx = Vec::new();
        let message = match dialect {
            Dialect::Plain | Dialect::Ysweet => decode_plain(frame).map(Some),
            Dialect::Hocuspocus => decode_hocuspocus(frame).map(|frame| match frame {
                HocuspocusFrame::Addressed(address, message) if address.document == NAME => Some(message),
                _ => None,
            }),
        };
        match message {
            Ok(Some(message)) => self.session.receive(peer, &message, frame, self.now_ms, &mut fx),
            Ok(None) => {}
            Err(error) => {
                assert!(error.to_string().len() <= 123, "a close reason is short: {error}");
                self.malformed += 1;
                self.ended.push(peer);
            }
        }
        self.carry_out(fx);
    }

    /// Makes everything queued durable.
    pub(crate) fn commit(&mut self) {
        while !self.queue.is_empty() {
            self.write();
            let mut fx = Vec::new();
            self.session.durable(self.stored.sequence, self.now_ms, &mut fx);
            self.carry_out(fx);
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let mut fx = Vec::new();
        self.session.tick(self.now_ms, &mut fx);
        self.carry_out(fx);
    }

    /// Builds the document from what is on disk.
    pub(crate) fn replay(&self) -> Replica {
        Replica::load(fold::parts(&self.stored)).expect("what is stored makes a document")
    }

    pub(crate) fn stored_bytes(&self) -> usize {
        fold::parts(&self.stored).map(<[u8]>::len).sum()
    }

    fn write(&mut self) {
        for write in std::mem::take(&mut self.queue) {
            match write {
                Write::Entry(entry) => {
                    assert!(entry.sequence > self.stored.sequence, "sequences grow");
                    self.stored.sequence = entry.sequence;
                    self.stored.tail.push(entry);
                }
                Write::Checkpoint(checkpoint) => {
                    assert!(
                        checkpoint.sequence <= self.stored.sequence,
                        "a checkpoint names what is durable"
                    );
                    self.stored.tail.retain(|entry| entry.sequence > checkpoint.sequence);
                    self.stored.checkpoint = Some(checkpoint);
                }
                Write::Side(side) => self.stored.side = side,
            }
        }
    }

    fn carry_out(&mut self, mut fx: Vec<Effect>) {
        while !fx.is_empty() {
            let (mut load, mut jobs) = (false, Vec::new());
            for effect in std::mem::take(&mut fx) {
                match effect {
                    Effect::Send { to, frame } => self.sent.push((to, frame)),
                    Effect::End { peer, .. } => self.ended.push(peer),
                    Effect::Append(entry) => {
                        assert_ne!(entry.kind, EntryKind::Quarantined, "yrs failed past the checker");
                        self.journalled.push(entry.clone());
                        self.queue.push_back(Write::Entry(entry));
                    }
                    Effect::AppendJudged { entry, judged, .. } => {
                        for entry in [Some(entry), judged].into_iter().flatten() {
                            self.journalled.push(entry.clone());
                            self.queue.push_back(Write::Entry(entry));
                        }
                    }
                    Effect::Checkpoint(checkpoint) => self.queue.push_back(Write::Checkpoint(checkpoint)),
                    Effect::SaveSide(side) => self.queue.push_back(Write::Side(side)),
                    Effect::Load => load = true,
                    Effect::Work(job) => jobs.push(job),
                    Effect::Refused(code) => self.refusals.push(code),
                    Effect::Accepted(bytes) => self.accepted += bytes,
                    Effect::EditSaved(_) | Effect::EditRefused(..) | Effect::Renewed => {}
                }
            }
            if load {
                // A read goes through the journal's queue: it sees what was appended before.
                self.write();
                self.loaded += self.stored_bytes();
                self.session.loaded(Ok(Some(self.stored.clone())), self.now_ms, &mut fx);
            }
            for job in jobs {
                let done = job.run();
                self.session.worked(done, self.now_ms, &mut fx);
            }
        }
    }
}
