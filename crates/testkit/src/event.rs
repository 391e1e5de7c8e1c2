//! What can happen, and in which order what is scheduled does.

use bytes::Bytes;

use crate::driver::Later;

/// An update on its way beside the server. The order of keys in JSON differs from process to process: its bytes stay
/// out of the trace.
pub(crate) struct Copied(pub(crate) Bytes);

impl std::fmt::Debug for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    Edit(usize),
    Connect(usize),
    Up(usize),
    Down(usize),
    /// A device notices that its connection is gone.
    Lost(usize),
    /// The server notices that a connection is gone.
    Dropped(usize),
    Beside {
        to: usize,
        update: Copied,
    },
    Server {
        process: u64,
        later: Later,
    },
    Beat(usize),
    Fault(Kind),
    Restart {
        process: u64,
    },
    Calm,
}

/// What happens again and again until all is calm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Cut,
    Crash,
    Power,
    Full,
    ServerEdit,
    Resync,
    Reload,
    /// A device goes on with an older copy of itself.
    Restore,
    /// Somebody looks at a conversation over HTTP.
    Look,
    Fold,
}

pub(crate) struct Queued {
    pub(crate) at_ms: u64,
    pub(crate) order: u64,
    pub(crate) event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.order).cmp(&(other.at_ms, other.order))
    }
}

/// Says whether an event brings the system further, so that without any it is as quiet as it gets.
pub(crate) fn is_work(event: &Event) -> bool {
    match event {
        Event::Connect(_)
        | Event::Up(_)
        | Event::Down(_)
        | Event::Lost(_)
        | Event::Dropped(_)
        | Event::Beside { .. }
        | Event::Restart { .. }
        | Event::Calm => true,
        Event::Server { later, .. } => !matches!(later, Later::Tick { .. }),
        Event::Edit(_) | Event::Beat(_) | Event::Fault(_) => false,
    }
}
