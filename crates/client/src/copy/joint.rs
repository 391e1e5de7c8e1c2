//! How one document is joined to the server: what was sent, what is owed for it, what was said.
//!
//! The server gives one SyncStatus for the SyncStep2 that answers the pair of our SyncStep1, and one for each Update, in
//! order. So `owed` holds, for each of them, how many edits are saved once it comes. No Update is sent before that
//! SyncStep2: edits made until then are in it, and the server need not guess which of them it counts.

use std::collections::VecDeque;

use bytes::Bytes;
use syncline_protocol::{
    frame::{Reply, encode},
    limits::Limits as Checker,
    state_vector,
};

use super::{
    LocalCopy, Taken, Trouble,
    report::{Report, Told, received},
};
use crate::status::{DeviceProgress, RefusalCode};

/// Syncs that a copy starts on one connection because something was missing; after them the connection is given up.
const RESYNCS: u32 = 8;
/// Reports that are kept to tell which messages are on all devices.
const MARKS: usize = 64;

/// What a copy wants to be done once its log is on the disk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// A frame is to be sent.
    Frame(Bytes),
    /// The server wants a token: a fresh one.
    Token,
    /// Edits were refused in a way that reconnecting does not mend: the copy is to be set aside.
    SetAside,
    /// All is saved that was offered: the next edit of a copy that was set aside can be carried over.
    InStep,
    /// The server's clock was at `server_ms` when ours was at `local_ms`.
    Clocks { server_ms: u64, local_ms: u64 },
    /// What is in memory is not what is stored: the copy is to be opened anew.
    Reopen(Refusal),
    /// The connection is no good: a new one is needed.
    Reconnect,
}

/// What a copy is to know to take in what the server says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hearing<'a> {
    pub(crate) checker: &'a Checker,
    /// The largest frame that may be sent: bytes.
    pub(crate) frame_bytes: u64,
    /// Unix milliseconds by this device's clock, as it is.
    pub(crate) local_ms: u64,
}

/// How far the sync is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not on this connection.
    Apart,
    /// Token and SyncStep1 are sent. `answered`: the server's SyncStep2 came.
    Syncing { answered: bool },
    /// Our SyncStep2 is sent: edits go out as they are made.
    Live,
    /// The token does not open it.
    Denied,
}

/// How a sync begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joining {
    /// The server has let us in just now: a question that is on its way is of when we were joined before.
    Afresh,
    /// Something was missing: a question that is on its way still waits for its answer.
    Again,
}

/// Why the server does not take what is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: RefusalCode,
    pub(crate) reason: String,
    /// A new connection changes nothing.
    pub(crate) stays: bool,
}

impl Refusal {
    pub(crate) fn new(code: RefusalCode, reason: &str) -> Self {
        let stays = matches!(code, RefusalCode::Damaged | RefusalCode::TooBig);
        Self { code, reason: reason.to_owned(), stays }
    }
}

/// The joint of one document and the connection.
#[derive(Debug)]
pub(crate) struct Joint {
    pub(crate) phase: Phase,
    pub(crate) refusal: Option<Refusal>,
    joining: Joining,
    read_only: bool,
    /// For each SyncStatus to come: the edits that are saved then.
    owed: VecDeque<u64>,
    /// The first SyncStatus of this connection came: the server has what we had.
    acked: bool,
    /// Our clock when the server let us in.
    let_in_ms: Option<u64>,
    /// Why, as the server says it before it refuses.
    told: Option<(String, String)>,
    report: Option<Report>,
    /// So much we have said is in our own store.
    confirmed: u64,
    /// The token was renewed after a denial, once on a connection.
    pub(crate) renewed: bool,
    /// It waits for a token.
    pub(crate) wants_token: bool,
    /// The number of the token that was shown last.
    pub(crate) token: u64,
    resyncs: u32,
    /// Accepted messages up to a number are within a document sequence: (sequence, number).
    marks: VecDeque<(u64, u64)>,
}

impl Default for Joint {
    fn default() -> Self {
        Self {
            phase: Phase::Apart,
            refusal: None,
            joining: Joining::Afresh,
            read_only: false,
            owed: VecDeque::new(),
            acked: false,
            let_in_ms: None,
            told: None,
            report: None,
            confirmed: 0,
            renewed: false,
            wants_token: false,
            token: 0,
            resyncs: 0,
            marks: VecDeque::new(),
        }
    }
}

impl Joint {
    /// The server has all that we had when the sync began, and told us all it had.
    pub(crate) fn is_in_step(&self) -> bool {
        self.phase == Phase::Live && self.acked
    }

    /// Counts the changes that the server has and our store has not.
    pub(crate) fn to_merge(&self) -> u64 {
        self.report.as_ref().map_or(0, |report| report.saved.saturating_sub(self.confirmed))
    }

    pub(super) fn owes_confirmation(&self) -> bool {
        self.phase == Phase::Live && self.to_merge() > 0
    }

    pub(super) fn others(&self, own_device: &str) -> Vec<DeviceProgress> {
        let devices = self.report.iter().flat_map(|report| &report.devices);
        devices.filter(|device| device.id != own_device).cloned().collect()
    }

    /// No fresh token came: the denial stands.
    pub(crate) fn no_token(&mut self, reason: &str) {
        self.wants_token = false;
        if self.phase == Phase::Denied {
            let told = self.told.take().map(|(_, reason)| reason);
            let reason = told.unwrap_or_else(|| reason.to_owned());
            self.refusal = Some(Refusal::new(RefusalCode::Access, &reason));
        }
    }

    /// The connection is gone. What will not be otherwise on the next one stays.
    pub(crate) fn part(&mut self) {
        let refusal = self.refusal.take().filter(|refusal| refusal.stays);
        *self = Self { refusal, ..Self::default() };
    }
}

impl LocalCopy {
    /// Begins to sync on a fresh connection, or anew.
    pub(crate) fn begin(&mut self, joining: Joining, out: &mut Vec<Out>) {
        self.joint.owed.clear();
        self.joint.acked = false;
        self.joint.joining = joining;
        self.joint.phase = Phase::Syncing { answered: false };
        let state_vector = self.replica.state_vector();
        self.send(&Reply::SyncStep1(&state_vector), out);
    }

    fn send(&self, reply: &Reply<'_>, out: &mut Vec<Out>) {
        out.push(Out::Frame(encode(Some(self.name.as_str()), reply)));
    }

    /// Offers an edit that was just made, if the sync is that far; else the SyncStep2 will hold it.
    pub(super) fn offer(&mut self, update: &Bytes, out: &mut Vec<Out>) {
        if self.joint.phase == Phase::Live && self.joint.refusal.is_none() {
            self.joint.owed.push_back(self.counts.made);
            self.send(&Reply::Update(update), out);
        }
    }

    /// Takes in what the server says of this document.
    pub(crate) fn hear(&mut self, reply: &Reply<'_>, hearing: &Hearing<'_>, out: &mut Vec<Out>) {
        match *reply {
            Reply::SyncStep1(theirs) => self.answer(theirs, hearing, out),
            Reply::SyncStep2(update) => {
                self.take_in(update, hearing.checker, out);
                if let Phase::Syncing { answered } = &mut self.joint.phase {
                    *answered = true;
                }
            }
            Reply::Update(update) => self.take_in(update, hearing.checker, out),
            Reply::Status { saved: true } => {
                // Before our SyncStep2 is out it is for a sync that was given up.
                if self.joint.phase == Phase::Live
                    && let Some(made) = self.joint.owed.pop_front()
                {
                    self.saved(made);
                    self.joint.acked = true;
                    let carries = !self.waiting.is_empty() || self.carried.is_some();
                    if carries && self.joint.owed.is_empty() {
                        out.push(Out::InStep);
                    }
                }
            }
            // As above: one that comes earlier is of when it was joined before.
            Reply::Status { saved: false } if self.joint.phase == Phase::Live => self.refused(out),
            Reply::Status { saved: false } => {}
            Reply::Authenticated { read_only } => {
                self.joint.read_only = read_only;
                self.joint.let_in_ms.get_or_insert(hearing.local_ms);
                if self.joint.phase == Phase::Denied {
                    self.joint.refusal = None;
                    self.begin(Joining::Afresh, out);
                }
            }
            Reply::Denied(reason) => self.denied(reason, out),
            Reply::AskToken => {
                self.joint.wants_token = true;
                out.push(Out::Token);
            }
            Reply::Json(text) => match Told::read(text, self.name.as_str()) {
                Some(Told::Report(report)) => self.hear_report(report, out),
                Some(Told::Refused { code, reason }) => self.joint.told = Some((code, reason)),
                None => {}
            },
            Reply::Awareness(_) | Reply::Version(_) | Reply::Ping => {}
        }
    }

    fn take_in(&mut self, update: &[u8], checker: &Checker, out: &mut Vec<Out>) {
        if self.joint.refusal.as_ref().is_some_and(|refusal| refusal.code == RefusalCode::Damaged) {
            return;
        }
        match self.absorb(&Bytes::copy_from_slice(update), checker) {
            Ok(Taken::All) => {}
            // Updates that are on their way already have the same gap: one sync brings all of it.
            Ok(Taken::Gap) if self.joint.phase != Phase::Live => {}
            Ok(Taken::Gap) if self.joint.resyncs >= RESYNCS => out.push(Out::Reconnect),
            Ok(Taken::Gap) => {
                self.joint.resyncs += 1;
                self.begin(Joining::Again, out);
            }
            Err(Trouble::Refused(refusal)) => self.joint.refusal = Some(refusal),
            Err(Trouble::Broken(refusal)) => {
                self.joint.refusal = Some(refusal.clone());
                out.push(Out::Reopen(refusal));
            }
        }
    }

    /// Answers a SyncStep1 of the server.
    fn answer(&mut self, theirs: &[u8], hearing: &Hearing<'_>, out: &mut Vec<Out>) {
        // It asks before it tells: that is the question of the pair.
        let asks_first = theirs == state_vector::EVERYTHING;
        let is_early = self.joint.phase == Phase::Syncing { answered: false };
        let is_old = is_early && !asks_first && self.joint.joining == Joining::Afresh;
        let is_apart = matches!(self.joint.phase, Phase::Apart | Phase::Denied);
        if is_old || is_apart || self.joint.refusal.is_some() {
            return;
        }
        if state_vector::parse(theirs, hearing.checker).is_err() {
            return out.push(Out::Reconnect);
        }
        let diff = match self.replica.diff(theirs) {
            Ok(diff) => diff,
            Err(broken) => {
                let refusal = Refusal::new(RefusalCode::Damaged, &broken.to_string());
                return out.push(Out::Reopen(refusal));
            }
        };
        // Beside the update a frame holds the document's name and a few numbers.
        if diff.len() as u64 + 1024 > hearing.frame_bytes {
            let (bytes, limit) = (diff.len(), hearing.frame_bytes);
            let reason = format!("{bytes} bytes wait to be sent, the server takes {limit} at once");
            self.joint.refusal = Some(Refusal::new(RefusalCode::TooBig, &reason));
            // Edit by edit it is not too large.
            return out.push(Out::SetAside);
        }
        // Only the question that comes with the server's SyncStep2 earns a SyncStatus.
        if self.joint.phase == (Phase::Syncing { answered: true }) || (is_early && asks_first) {
            self.joint.owed.push_back(self.counts.made);
            self.joint.phase = Phase::Live;
        }
        self.send(&Reply::SyncStep2(&diff), out);
    }

    /// The server does not take an edit, nor any that comes after it on this connection.
    fn refused(&mut self, out: &mut Vec<Out>) {
        if self.joint.refusal.is_some() {
            return;
        }
        let (code, reason) = self.joint.told.take().unwrap_or_default();
        let is_told = !reason.is_empty();
        let (kind, reason) = match (self.joint.read_only, is_told) {
            (true, _) => {
                (RefusalCode::ReadOnly, "this device may read this document, not change it".to_owned())
            }
            (false, true) => (RefusalCode::Update, reason),
            (false, false) => (RefusalCode::Update, "the server did not take an edit".to_owned()),
        };
        self.joint.refusal = Some(Refusal::new(kind, &reason));
        // These mend by themselves or not at all; a fresh copy would fare no better.
        let helps = !matches!(&*code, "store" | "unavailable" | "document_full");
        if kind == RefusalCode::Update && helps {
            out.push(Out::SetAside);
        }
    }

    fn denied(&mut self, reason: &str, out: &mut Vec<Out>) {
        self.joint.phase = Phase::Denied;
        self.joint.owed.clear();
        if std::mem::replace(&mut self.joint.renewed, true) {
            self.joint.refusal = Some(Refusal::new(RefusalCode::Access, reason));
        } else {
            self.joint.wants_token = true;
            out.push(Out::Token);
            // Until a fresh token was judged this is what is known.
            self.joint.told = Some((String::new(), reason.to_owned()));
        }
    }

    fn hear_report(&mut self, report: Report, out: &mut Vec<Out>) {
        // The server noted its time when it let us in.
        if self.joint.report.is_none()
            && let Some(local_ms) = self.joint.let_in_ms
            && let Some(server_ms) = report.devices.iter().map(|device| device.last_seen_ms).max()
        {
            out.push(Out::Clocks { server_ms, local_ms });
        }
        // What was accepted here came before this report, and was saved before it was sent.
        let (newest, saved) = (self.newest_seq(), report.saved);
        let marks = &mut self.joint.marks;
        if newest > self.counts.delivered && marks.back().is_none_or(|(_, seq)| *seq < newest) {
            if marks.len() >= MARKS {
                // The later of the two stands for both: told late is better than told early.
                marks.remove(MARKS / 2);
            }
            marks.push_back((saved, newest));
        }
        let received = report.devices.iter().map(|device| saved.saturating_sub(device.behind)).min();
        let mut delivered = 0;
        while let Some((sequence, seq)) = marks.front().copied()
            && received.is_none_or(|received| received >= sequence)
        {
            delivered = seq;
            marks.pop_front();
        }
        self.joint.report = Some(report);
        self.deliver(delivered);
    }

    /// Takes what is to be confirmed, now that it is on the disk.
    pub(crate) fn confirmation(&mut self) -> Option<Bytes> {
        if !self.joint.owes_confirmation() {
            return None;
        }
        self.joint.confirmed = self.joint.report.as_ref()?.saved;
        let text = received(self.name.as_str(), self.joint.confirmed);
        Some(encode(Some(self.name.as_str()), &Reply::Json(&text)))
    }
}
