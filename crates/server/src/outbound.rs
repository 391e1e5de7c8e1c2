//! The bounded queue of frames to one socket. Whoever holds a document's lock puts frames in without waiting;
//! the socket's task writes them out.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use syncline_sync::Ending;
use tokio::sync::Notify;

/// Why a socket is to be closed. [`Closing::code`] is the one place that knows the codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// A message over the limit.
    TooBig(String),
    /// The server is going down.
    Restarting,
    /// A bound was met that time mends.
    TryLater(String),
    /// The reader is too slow: it has to sync again.
    Resync,
    /// Too much before authentication.
    PreAuth(String),
    /// Bytes that are not the protocol.
    Malformed(String),
    /// No valid token.
    Unauthorized(String),
    /// A valid token that does not open this.
    Forbidden(String),
    /// Nothing came in time.
    Timeout(&'static str),
    /// The token ran out: reconnect with a new one.
    TokenExpired,
    /// The peer went away.
    Gone,
}

impl Closing {
    /// Returns the close code and the reason that is sent with it.
    pub fn code(&self) -> (u16, &str) {
        match self {
            Self::TooBig(reason) => (1009, reason),
            Self::Restarting => (1012, "the server is restarting: reconnect"),
            Self::TryLater(reason) => (1013, reason),
            Self::Resync => (1013, "resync: this connection reads too slowly"),
            Self::PreAuth(reason) => (4205, reason),
            Self::Malformed(reason) => (4400, reason),
            Self::Unauthorized(reason) => (4401, reason),
            Self::Forbidden(reason) => (4403, reason),
            Self::Timeout(reason) => (4408, reason),
            Self::TokenExpired => (4501, "the token has expired: reconnect with a new one"),
            Self::Gone => (1000, ""),
        }
    }
}

impl From<Ending> for Closing {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Malformed(reason) => Self::Malformed(reason),
            Ending::TryLater(reason) => Self::TryLater(reason),
            Ending::Resync(_) => Self::Resync,
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// The largest frame in it.
    largest: usize,
    closing: Option<Closing>,
}

/// The frames that wait for one socket.
#[derive(Debug)]
pub struct Outbound {
    queue: Mutex<Queue>,
    wake: Notify,
    limit: usize,
}

impl Outbound {
    /// Makes an empty queue. At `limit` bytes beside its largest frame the next frame closes the socket: the
    /// document that a client asked for may be larger than what a slow reader is allowed.
    pub fn new(limit: usize) -> Self {
        Self { queue: Mutex::default(), wake: Notify::new(), limit }
    }

    /// Puts a frame in. A queue that is full closes the socket with "resync": nothing is dropped in silence.
    pub fn push(&self, frame: Bytes) {
        let mut queue = self.queue.lock();
        if queue.closing.is_some() {
            return;
        }
        if queue.bytes - queue.largest >= self.limit {
            queue.closing = Some(Closing::Resync);
            queue.frames.clear();
            (queue.bytes, queue.largest) = (0, 0);
        } else {
            queue.bytes += frame.len();
            queue.largest = queue.largest.max(frame.len());
            queue.frames.push_back(frame);
            if queue.frames.len() > 1 {
                // The task was woken for the first one already.
                return;
            }
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Closes the socket once what is queued is written. The first reason counts.
    pub fn close(&self, closing: Closing) {
        self.queue.lock().closing.get_or_insert(closing);
        self.wake.notify_one();
    }

    /// Takes everything that is queued, into `frames`, and says whether the socket is to be closed after it.
    pub fn take(&self, frames: &mut VecDeque<Bytes>) -> Option<Closing> {
        let mut queue = self.queue.lock();
        std::mem::swap(&mut queue.frames, frames);
        (queue.bytes, queue.largest) = (0, 0);
        queue.closing.clone()
    }

    /// Says whether nothing is queued and nothing closes.
    pub fn is_empty(&self) -> bool {
        let queue = self.queue.lock();
        queue.frames.is_empty() && queue.closing.is_none()
    }

    /// Says whether the socket is to be closed.
    pub fn is_closing(&self) -> bool {
        self.queue.lock().closing.is_some()
    }

    /// Waits until something is put in.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_closes_with_resync_and_drops_nothing_in_silence() {
        let outbound = Outbound::new(4);
        for frame in [&b"abc"[..], b"def", b"g"] {
            outbound.push(Bytes::from_static(frame));
            assert!(!outbound.is_closing(), "the largest frame does not count");
        }
        outbound.push(Bytes::from_static(b"g"));
        let mut frames = VecDeque::new();
        assert_eq!(outbound.take(&mut frames), Some(Closing::Resync));
        assert!(frames.is_empty());
    }

    #[test]
    fn a_document_over_the_limit_passes_with_what_follows_it() {
        let outbound = Outbound::new(4);
        for frame in [&b"a whole document"[..], b"ab", b"c"] {
            outbound.push(Bytes::from_static(frame));
        }
        let mut frames = VecDeque::new();
        assert_eq!(outbound.take(&mut frames), None);
        assert_eq!(frames.len(), 3);
    }

    #[test]
    fn the_first_reason_to_close_counts() {
        let outbound = Outbound::new(4);
        outbound.close(Closing::Restarting);
        outbound.close(Closing::Resync);
        assert_eq!(outbound.take(&mut VecDeque::new()), Some(Closing::Restarting));
    }

    #[test]
    fn every_reason_fits_a_close_frame() {
        let all = [
            Closing::Restarting,
            Closing::Resync,
            Closing::TokenExpired,
            Closing::Timeout("t"),
            Closing::Gone,
        ];
        assert!(all.iter().all(|closing| closing.code().1.len() <= 123));
    }
}
