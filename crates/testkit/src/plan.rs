//! What a run is like: everything a seed decides before the first event.

use syncline_sync::Settings;

use crate::{desk::skew, indicator::Family, page::Page, rng::Rng};

/// A mutation of the simulated server around the sessions. Each must be caught by a checker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The session is told that an entry is durable as soon as it is queued.
    AckBeforeCommit,
    /// A server edit is sent to every device before it is committed.
    EditSentBeforeCommit,
    /// A session is dropped while it owes an ack, and its connections go on with a new one.
    EvictionWithAckOwed,
    /// Some SyncStatus is sent twice.
    OneStatusTooMany,
    /// A full outbound queue drops the frame and keeps the connection.
    DroppedFrame,
    /// A checkpoint holds an entry that is still in the queue.
    CheckpointAhead,
    /// A checkpoint is stored under the newest durable sequence although it is older.
    CheckpointRelabelled,
    /// The acks that were owed before a repeated SyncStep1 are sent all the same.
    ResyncKeepsAcks,
    /// A sender's Update comes back to it at once.
    EchoBeforeDurable,
    /// A failed commit is taken for a durable one.
    FailedCommitAcked,
    /// A load that fails is taken for an empty document.
    FailedLoadIsEmpty,
    /// A journal entry is lost on its way to the writer, and acknowledged.
    EntryLost,
    /// What the judge wrote is committed after what it judged, not with it.
    JudgedLater,
    /// What the judge wrote is sent to every device before it is committed.
    JudgedSentBeforeCommit,
    /// What heals is lost on its way to the writer, and acknowledged.
    HealLost,
    /// Some sessions judge nothing.
    NothingJudged,
    /// A load leaves out what the server wrote last, so that it uses those clocks again.
    ClocksReused,
    /// The judge's rows are left out of the commit.
    RowsLeftOut,
    /// The judge's rows are committed after what they follow from.
    RowsLater,
}

/// One device of a run.
#[derive(Debug, Clone)]
pub struct DevicePlan {
    /// How it speaks.
    pub family: Family,
    /// Which document it has open.
    pub document: usize,
    /// It may write.
    pub writes: bool,
    /// Another tab that gets its edits beside the server.
    pub tab: Option<usize>,
    /// Some of what goes to the other tab is lost.
    pub lossy_tab: bool,
    /// When it connects first.
    pub joins_ms: u64,
    /// How far its clock is off, in milliseconds.
    pub skew_ms: i64,
}

/// All of a run that is decided beforehand.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The planted bug, if any.
    pub bug: Option<Bug>,
    /// The documents.
    pub documents: Vec<Page>,
    /// Decides what devices write into the heads of messages as their time, and nothing else: nothing may follow from
    /// it.
    pub clocks: u64,
    /// The devices.
    pub devices: Vec<DevicePlan>,
    /// Until when people edit and things break.
    pub chaos_ms: u64,
    /// The mean time between two edits of one device.
    pub edit_every_ms: u64,
    /// The longest delay of a frame.
    pub latency_ms: u64,
    /// The longest time from a queued entry to its commit.
    pub commit_ms: u64,
    /// The longest time of a load.
    pub load_ms: u64,
    /// The longest time of a job on the pool.
    pub pool_ms: u64,
    /// The bound of a connection's outbound queue.
    pub outbound_bytes: usize,
    /// How often, in thousandths of events of their kind, things go wrong.
    pub rates: Rates,
    /// The session's bounds: tiny, so that each is met.
    pub settings: Settings,
}

/// How often things go wrong: the mean time between two, 0 for never.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    /// A connection is cut.
    pub cut_ms: u64,
    /// The process dies.
    pub crash_ms: u64,
    /// The power fails.
    pub power_ms: u64,
    /// A commit fails.
    pub full_ms: u64,
    /// A load fails.
    pub load_permille: u64,
    /// The server edits.
    pub edit_ms: u64,
    /// A device syncs again on its connection.
    pub resync_ms: u64,
    /// A page is reloaded.
    pub reload_ms: u64,
    /// A device goes on with an older copy of itself.
    pub restore_ms: u64,
    /// Somebody looks at a conversation over HTTP.
    pub look_ms: u64,
    /// What a device does breaks a rule of the model.
    pub offend_permille: u64,
    /// Cold documents are folded and the journal is pruned.
    pub fold_ms: u64,
    /// A connection's reader is slow.
    pub slow_permille: u64,
}

impl Plan {
    /// Decides a run.
    pub fn new(seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let count = 1 + usize::from(rng.chance(400));
        let documents: Vec<Page> = (0..count).map(|_| Page::draw(rng)).collect();
        let mut devices: Vec<DevicePlan> = Vec::new();
        for _ in 0..rng.between(2, 5) {
            let family = draw_family(rng);
            devices.push(DevicePlan {
                family,
                document: rng.index(count),
                writes: !rng.chance(100),
                tab: None,
                lossy_tab: rng.chance(300),
                joins_ms: if rng.chance(200) { rng.below(1_500) } else { rng.below(30) },
                skew_ms: skew(rng),
            });
        }
        if rng.chance(350) {
            let of = rng.index(devices.len());
            let family = draw_family(rng);
            let twin = DevicePlan { family, tab: Some(of), writes: true, ..devices[of].clone() };
            devices[of].tab = Some(devices.len());
            devices[of].writes = true;
            devices.push(twin);
        }
        let often = |rng: &mut Rng, low: u64, high: u64, permille: u64| {
            if rng.chance(permille) { rng.between(low, high) } else { 0 }
        };
        let rates = Rates {
            cut_ms: often(rng, 60, 600, 800),
            crash_ms: often(rng, 300, 1_500, 500),
            power_ms: often(rng, 300, 1_500, 500),
            full_ms: often(rng, 500, 2_000, 250),
            load_permille: if rng.chance(300) { 150 } else { 0 },
            edit_ms: often(rng, 40, 300, 500),
            resync_ms: often(rng, 50, 400, 600),
            reload_ms: often(rng, 300, 1_500, 350),
            restore_ms: often(rng, 300, 1_500, 250),
            look_ms: often(rng, 60, 300, 500),
            offend_permille: if rng.chance(600) { rng.between(30, 250) } else { 0 },
            fold_ms: often(rng, 50, 400, 700),
            slow_permille: if rng.chance(400) { 400 } else { 0 },
        };
        Self {
            seed,
            bug: None,
            clocks: seed,
            documents,
            devices,
            chaos_ms: rng.between(600, 2_200),
            edit_every_ms: rng.between(40, 160),
            latency_ms: rng.between(2, 60),
            commit_ms: rng.between(1, 60),
            load_ms: rng.between(1, 80),
            pool_ms: rng.between(1, 60),
            outbound_bytes: if rng.chance(300) { 1_200 } else { 64 << 10 },
            rates,
            settings: settings(rng),
        }
    }

    /// The same run with a planted bug, and with what the bug needs to show made frequent.
    pub fn with(mut self, bug: Bug) -> Self {
        self.bug = Some(bug);
        match bug {
            Bug::EditSentBeforeCommit => self.rates.edit_ms = 60,
            Bug::DroppedFrame => {
                self.outbound_bytes = 300;
                self.rates.slow_permille = 500;
            }
            Bug::CheckpointAhead | Bug::CheckpointRelabelled => self.settings.fold_updates = 3,
            Bug::ResyncKeepsAcks => self.rates.resync_ms = 60,
            Bug::FailedCommitAcked => self.rates.full_ms = 300,
            Bug::FailedLoadIsEmpty => self.rates.load_permille = 500,
            Bug::JudgedLater
            | Bug::JudgedSentBeforeCommit
            | Bug::NothingJudged
            | Bug::RowsLeftOut
            | Bug::RowsLater => {
                self.documents[0] = Page::Conversation;
            }
            Bug::HealLost => {
                self.documents[0] = Page::Conversation;
                self.rates.offend_permille = 300;
            }
            Bug::ClocksReused => {
                self.documents[0] = Page::Conversation;
                self.rates.crash_ms = 300;
            }
            _ => {}
        }
        self
    }
}

fn draw_family(rng: &mut Rng) -> Family {
    [Family::Plain, Family::Ysweet, Family::Hocuspocus, Family::Hocuspocus2][rng.index(4)]
}

fn settings(rng: &mut Rng) -> Settings {
    Settings {
        waiting_bytes: if rng.chance(200) { 4_000 } else { 1 << 20 },
        heavy_bytes: if rng.chance(500) { rng.between(60, 400) as usize } else { 64 << 10 },
        heavy_document_bytes: if rng.chance(400) { rng.between(200, 1_500) as usize } else { 2 << 20 },
        evict_after_ms: rng.between(20, 400),
        fold_updates: if rng.chance(600) { rng.between(3, 30) } else { 2_000 },
        fold_bytes: 1 << 20,
        awareness_timeout_ms: 700,
        status_every_ms: 50,
        side_every_ms: 100,
        reload_after_ms: 60,
        step1_every_ms: 5,
        // Who breaks rules here does so for as long as it likes; that it is closed is tested elsewhere.
        heals: u32::MAX,
        busy_ms: if rng.chance(300) { rng.between(40, 120) } else { 10_000 },
        ..Settings::default()
    }
}
