//! How each family of clients decides that its edits are saved, as its source does it: what people see, and so
//! what the server must make true.

use crate::{ids::Ids, wire::Said};

/// A family of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// y-websocket 3.1.0-rc.5, which confirms by content ids.
    Plain,
    /// `@y-sweet/client`, which counts versions.
    Ysweet,
    /// `@hocuspocus/provider` 3 and 4: the counter stops at zero.
    Hocuspocus,
    /// `@hocuspocus/provider` 2: the counter goes below zero.
    Hocuspocus2,
}

impl Family {
    /// Says whether frames bear an address.
    pub fn is_addressed(self) -> bool {
        matches!(self, Self::Hocuspocus | Self::Hocuspocus2)
    }
}

/// The indicator of one device.
#[derive(Debug, Clone)]
pub(crate) enum Indicator {
    /// Ids of edits that no frame has brought back yet.
    Echo {
        /// They.
        unconfirmed: Ids,
    },
    /// y-sweet's two versions.
    Version {
        /// Edits made.
        local: u64,
        /// The largest 102 received.
        acked: Option<u64>,
    },
    /// Hocuspocus' `unsyncedChanges`.
    Count {
        /// The counter.
        unsynced: i64,
        /// It stops at zero.
        clamps: bool,
        /// A sync was started since the page was loaded: before that nothing is claimed.
        started: bool,
    },
}

impl Indicator {
    /// The indicator of a freshly loaded page.
    pub(crate) fn new(family: Family) -> Self {
        match family {
            Family::Plain => Self::Echo { unconfirmed: Ids::default() },
            Family::Ysweet => Self::Version { local: 0, acked: None },
            Family::Hocuspocus | Family::Hocuspocus2 => {
                Self::Count { unsynced: 0, clamps: family == Family::Hocuspocus, started: false }
            }
        }
    }

    /// Says what the user reads: saved or not.
    pub(crate) fn is_saved(&self) -> bool {
        match self {
            Self::Echo { unconfirmed } => unconfirmed.is_empty(),
            Self::Version { local, acked } => acked.is_some_and(|acked| acked >= *local),
            Self::Count { unsynced, started, .. } => *started && *unsynced <= 0,
        }
    }

    /// An edit was made on this device, or came to it beside the server.
    pub(crate) fn edited(&mut self, ids: &Ids) {
        match self {
            Self::Echo { unconfirmed } => unconfirmed.add(ids),
            Self::Version { local, .. } => *local += 1,
            Self::Count { unsynced, .. } => *unsynced += 1,
        }
    }

    /// The device starts a sync.
    pub(crate) fn sync_started(&mut self) {
        if let Self::Count { unsynced, started, .. } = self {
            *unsynced = 1;
            *started = true;
        }
    }

    /// A frame of the server came in.
    pub(crate) fn heard(&mut self, said: &Said) {
        match (self, said) {
            (Self::Echo { unconfirmed }, Said::Step2(update) | Said::Update(update)) => {
                if let Ok(ids) = Ids::of_update(update) {
                    unconfirmed.remove(&ids);
                }
            }
            (Self::Version { acked, .. }, Said::Version(version)) => *acked = (*acked).max(Some(*version)),
            (Self::Count { unsynced, clamps, .. }, Said::Status(true)) if (*unsynced > 0 || !*clamps) => {
                *unsynced -= 1;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_does_not_clamp_hides_later_edits() {
        for (family, hidden) in [(Family::Hocuspocus2, true), (Family::Hocuspocus, false)] {
            let mut indicator = Indicator::new(family);
            assert!(!indicator.is_saved());
            indicator.sync_started();
            indicator.heard(&Said::Status(true));
            indicator.heard(&Said::Status(true));
            assert!(indicator.is_saved());
            indicator.edited(&Ids::default());
            assert_eq!(indicator.is_saved(), hidden);
        }
    }

    #[test]
    fn a_version_counts_only_at_its_newest() {
        let mut indicator = Indicator::new(Family::Ysweet);
        indicator.edited(&Ids::default());
        indicator.heard(&Said::Version(0));
        assert!(!indicator.is_saved());
        indicator.heard(&Said::Version(1));
        assert!(indicator.is_saved());
    }
}
