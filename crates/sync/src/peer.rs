//! One connection's attachment to one document.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use syncline_document::record::{Origin, Sequence};
use syncline_protocol::{
    frame::{Dialect, Reply, encode},
    state_vector::StateVector,
};

use crate::{Settings, acks::Acks, budget::Share, step1s::Step1s, too_big::Offer};

/// What a peer may do with the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Gets what others write.
    Read,
    /// Writes too.
    Write,
}

/// Who joins a document, and how they speak.
#[derive(Debug, Clone)]
pub struct Join {
    /// The dialect of its connection.
    pub dialect: Dialect,
    /// The Hocuspocus address, which every frame to this peer bears; `None` in the other dialects.
    pub address: Option<Arc<str>>,
    /// What it may do.
    pub access: Access,
    /// The user of its token.
    pub user: Option<Arc<str>>,
    /// Its device, where one is named.
    pub device: Option<Arc<str>>,
    /// The device's name for people.
    pub device_name: Option<Arc<str>>,
    /// The device's kind ("phone", "laptop", "tab").
    pub device_kind: Option<Arc<str>>,
    /// It asked for status messages.
    pub wants_status: bool,
}

impl Join {
    /// Stamps what this peer sends.
    pub(crate) fn origin(&self, now_ms: u64) -> Origin {
        Origin { user: self.user.clone(), device: self.device.clone(), at_ms: now_ms }
    }
}

/// Updates held for a peer that nobody looks at.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) updates: Vec<Bytes>,
    pub(crate) bytes: usize,
    pub(crate) since_ms: u64,
}

/// Something that a peer gets later.
#[derive(Debug)]
pub(crate) enum Later {
    /// An update of others, and its frame.
    Update { update: Bytes, frame: Bytes },
    /// The frames that answer its SyncStep1, in the order in which they are sent.
    Pair { step2: Bytes, step1: Bytes, asks_first: bool },
}

/// What keeping an update costs: many small ones take more than their bytes.
pub(crate) fn charge(update: &Bytes) -> usize {
    const ENTRY: usize = 256;
    update.len() + ENTRY
}

/// What the session keeps of a peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) generation: u32,
    pub(crate) join: Join,
    pub(crate) acks: Acks,
    /// It has sent a SyncStep1: from there on it gets every update.
    pub(crate) synced: bool,
    /// Its edits to this document stay refused, for this reason.
    pub(crate) refused: Option<String>,
    /// It was told that it is read-only.
    pub(crate) told_read_only: bool,
    /// Updates with a gap, oldest first; each has an entry without a ticket in `acks`.
    pub(crate) parked: VecDeque<Bytes>,
    /// What that takes.
    pub(crate) parked_share: Share,
    /// y-sweet: the largest durable version of this connection.
    pub(crate) version: Option<u64>,
    /// The awareness id that it holds.
    pub(crate) awareness: Option<u64>,
    /// It was sent the others' awareness: what it sends from now on may be an echo of that.
    pub(crate) introduced: bool,
    /// `Some` while its page is hidden.
    pub(crate) hidden: Option<Held>,
    /// Its sync status has changed since it was last told.
    pub(crate) status_due: bool,
    /// Plain: what confirms the edits that its SyncStep1 showed it to hold, once its SyncStep2 is saved.
    pub(crate) confirmation: Option<Bytes>,
    /// What it gets once a sequence is durable, in this order: answers that show what is not durable yet, what comes
    /// after them, and for plain clients the updates of others. A plain client that confirms its
    /// edits takes any frame that names their ids for a confirmation, and others may bring the same ids: the same
    /// deletion, or its own edit by way of another tab or of its connection before.
    pub(crate) later: VecDeque<(Sequence, Later)>,
    /// It waits for a document that could not be opened: at this time it is told to come back.
    pub(crate) leave_at_ms: Option<u64>,
    /// It was told to go: it is not heard any more.
    pub(crate) ended: bool,
    /// Hocuspocus: what its first SyncStep1 showed it to hold, until its first SyncStep2 comes. Edits made while
    /// it had no connection arrive in between and once more in the SyncStep2; only that one is counted there.
    pub(crate) shown: Option<StateVector>,
    /// What its newest SyncStep1 showed it to hold beyond the document, until its SyncStep2 comes.
    pub(crate) offer: Option<Offer>,
    /// Updates of it that had to be healed.
    pub(crate) healed: u32,
    /// Its newest SyncStep1 showed that it may not know yet that the document was renewed.
    pub(crate) may_be_late: bool,
    /// It was asked for all it has since its newest SyncStep1.
    pub(crate) asked_for_all: bool,
    /// SyncStep1 that it may still send.
    pub(crate) step1s: Step1s,
}

impl Peer {
    pub(crate) fn new(generation: u32, join: Join, settings: &Settings, now_ms: u64) -> Self {
        Self {
            generation,
            status_due: join.wants_status,
            join,
            acks: Acks::of(&settings.waiting_pool),
            synced: false,
            refused: None,
            told_read_only: false,
            parked: VecDeque::new(),
            parked_share: Share::of(&settings.waiting_pool),
            version: None,
            awareness: None,
            introduced: false,
            hidden: None,
            confirmation: None,
            later: VecDeque::new(),
            leave_at_ms: None,
            ended: false,
            shown: None,
            offer: None,
            healed: 0,
            may_be_late: false,
            asked_for_all: false,
            step1s: Step1s::full(settings, now_ms),
        }
    }

    /// Encodes a reply for this peer.
    pub(crate) fn frame(&self, reply: &Reply<'_>) -> Bytes {
        encode(self.join.address.as_deref(), reply)
    }

    pub(crate) fn is_hocuspocus(&self) -> bool {
        self.join.dialect == Dialect::Hocuspocus
    }

    /// Says whether it is to be told its sync status now. It confirms what the status counts, so it must have
    /// been sent all of that: a hidden peer is told after what is held for it.
    pub(crate) fn may_have_status(&self) -> bool {
        self.synced && self.status_due && self.hidden.as_ref().is_none_or(|held| held.updates.is_empty())
    }

    /// The time at which it is to be sent away.
    pub(crate) fn leaves_at_ms(&self) -> Option<u64> {
        self.leave_at_ms.filter(|_| !self.ended)
    }

    /// Parks an update that has a gap.
    pub(crate) fn park(&mut self, update: &Bytes) {
        self.parked_share.add(charge(update));
        // A copy: the frame it came in may hold a share of the memory for large messages.
        self.parked.push_back(Bytes::copy_from_slice(update));
    }

    /// Takes everything that is parked.
    pub(crate) fn unpark_all(&mut self) -> VecDeque<Bytes> {
        self.parked_share.set(0);
        std::mem::take(&mut self.parked)
    }
}
