//! The bounded queue of frames to one socket. Whoever holds a document's lock puts frames in without waiting;
//! the socket's task writes them out.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use syncline_sync::Ending;
use tokio::sync::Notify;

use crate::{config::Limits, edits::SubmitError};

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
    /// What was asked for was erased for good.
    Erased(String),
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
            Self::Erased(reason) => (4404, reason),
            Self::Timeout(reason) => (4408, reason),
            Self::TokenExpired => (4501, "the token has expired: reconnect with a new one"),
            Self::Gone => (1000, ""),
        }
    }
}

impl From<SubmitError> for Closing {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Erased(reason) => Self::Erased(reason.to_owned()),
            other => Self::TryLater(other.to_string()),
        }
    }
}

impl From<Ending> for Closing {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Malformed(reason) => Self::Malformed(reason),
            Ending::TryLater(reason) => Self::TryLater(reason),
            Ending::Forbidden(reason) => Self::Forbidden(reason),
            Ending::Resync(_) => Self::Resync,
            Ending::Erased(reason) => Self::Erased(reason),
        }
    }
}

/// The bounds of the queues, and what all of them hold together.
#[derive(Debug)]
pub struct Room {
    /// What one queue holds beside large frames.
    pub connection_bytes: usize,
    /// Frames above this many bytes are large: documents that a client asked for, most of them.
    pub large_frame_bytes: usize,
    /// What one queue holds of large frames beside the first.
    pub large_bytes: usize,
    /// What all queues hold together before they take only a little each.
    pub process_bytes: usize,
    queued: AtomicUsize,
}

impl Room {
    /// Makes room as it is configured.
    pub fn new(limits: &Limits) -> Self {
        Self {
            connection_bytes: limits.outbound_bytes,
            large_frame_bytes: limits.large_message_bytes,
            large_bytes: limits.document_bytes,
            process_bytes: limits.outbound_pool_bytes,
            queued: AtomicUsize::new(0),
        }
    }

    /// Returns the bytes in all queues.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    /// Bytes of the frames that are not large, with those being written,
    small: usize,
    /// and of those that are.
    large: usize,
    /// Of both, what is being written: it takes memory until the next [`Outbound::take`].
    taken: (usize, usize),
    closing: Option<Closing>,
}

/// The frames that wait for one socket.
#[derive(Debug)]
pub struct Outbound {
    queue: Mutex<Queue>,
    wake: Notify,
    room: Arc<Room>,
}

impl Outbound {
    /// Makes an empty queue.
    pub fn new(room: Arc<Room>) -> Self {
        Self { queue: Mutex::default(), wake: Notify::new(), room }
    }

    /// Puts a frame in. A queue that is full closes the socket: nothing is dropped in silence.
    pub fn push(&self, frame: Bytes) {
        let mut queue = self.queue.lock();
        if queue.closing.is_some() {
            return;
        }
        if let Some(closing) = self.full(&queue, frame.len()) {
            let left = queue.taken;
            self.release(queue.small - left.0 + queue.large - left.1);
            (queue.small, queue.large) = left;
            queue.frames = VecDeque::new();
            queue.closing = Some(closing);
        } else {
            self.room.queued.fetch_add(frame.len(), Ordering::Relaxed);
            if frame.len() > self.room.large_frame_bytes {
                queue.large += frame.len();
            } else {
                queue.small += frame.len();
            }
            queue.frames.push_back(frame);
            if queue.frames.len() > 1 {
                // The task was woken for the first one already.
                return;
            }
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Says why a frame of that length finds no room.
    fn full(&self, queue: &Queue, length: usize) -> Option<Closing> {
        let room = &*self.room;
        let full = if length > room.large_frame_bytes {
            queue.large > 0 && queue.large + length > room.large_bytes
        } else {
            queue.small >= room.connection_bytes
        };
        if full {
            return Some(Closing::Resync);
        }
        let more_than_a_little = queue.small + queue.large + length > room.large_frame_bytes;
        (more_than_a_little && room.queued() + length > room.process_bytes).then(|| {
            Closing::TryLater("too much is on its way to slow readers: reconnect in a while".to_owned())
        })
    }

    fn release(&self, bytes: usize) {
        self.room.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Closes the socket once what is queued is written. The first reason counts.
    pub fn close(&self, closing: Closing) {
        self.queue.lock().closing.get_or_insert(closing);
        self.wake.notify_one();
    }

    /// Takes everything that is queued, into `frames`, and says whether the socket is to be closed after it. What
    /// was taken before is written by now.
    pub fn take(&self, frames: &mut VecDeque<Bytes>) -> Option<Closing> {
        let mut queue = self.queue.lock();
        let (small, large) = queue.taken;
        self.release(small + large);
        queue.small -= small;
        queue.large -= large;
        queue.taken = (queue.small, queue.large);
        std::mem::swap(&mut queue.frames, frames);
        queue.closing.clone()
    }

    /// Says whether to write before more is read: the socket is to be closed, or a large frame waits.
    pub fn is_urgent(&self) -> bool {
        let queue = self.queue.lock();
        queue.closing.is_some() || queue.large > 0
    }

    /// Waits until something is put in.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        let queue = self.queue.get_mut();
        let bytes = queue.small + queue.large;
        self.release(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Queues of 4 bytes, large from 3 on, of which 8 fit; 20 in all.
    fn room() -> Arc<Room> {
        Arc::new(Room {
            connection_bytes: 4,
            large_frame_bytes: 2,
            large_bytes: 8,
            process_bytes: 20,
            queued: AtomicUsize::new(0),
        })
    }

    fn push(outbound: &Outbound, frames: &[&'static str]) {
        frames.iter().for_each(|frame| outbound.push(Bytes::from_static(frame.as_bytes())));
    }

    #[test]
    fn a_full_queue_closes_with_resync_and_drops_nothing_in_silence() {
        let room = room();
        let outbound = Outbound::new(room.clone());
        push(&outbound, &["ab", "cd"]);
        assert!(!outbound.is_urgent());
        push(&outbound, &["e"]);
        let mut frames = VecDeque::new();
        assert_eq!(outbound.take(&mut frames), Some(Closing::Resync));
        assert!(frames.is_empty());
        assert_eq!(room.queued(), 0);
    }

    #[test]
    fn what_is_being_written_counts_until_it_is() {
        let room = room();
        let outbound = Outbound::new(room.clone());
        push(&outbound, &["ab", "cd"]);
        let mut frames = VecDeque::new();
        assert_eq!(outbound.take(&mut frames), None);
        assert_eq!(room.queued(), 4);
        frames.clear();
        assert_eq!(outbound.take(&mut frames), None);
        assert_eq!(room.queued(), 0);
        push(&outbound, &["ab", "cd"]);
        outbound.take(&mut frames);
        push(&outbound, &["e"]);
        assert_eq!(outbound.take(&mut VecDeque::new()), Some(Closing::Resync));
        drop(outbound);
        assert_eq!(room.queued(), 0);
    }

    #[test]
    fn several_documents_that_a_client_asked_for_pass_with_what_follows_them() {
        let outbound = Outbound::new(room());
        push(&outbound, &["a document", "ab", "c"]);
        assert_eq!(outbound.take(&mut VecDeque::new()), None);
        let outbound = Outbound::new(room());
        push(&outbound, &["abcd", "efgh", "ab"]);
        let mut frames = VecDeque::new();
        assert_eq!(outbound.take(&mut frames), None);
        assert_eq!(frames.len(), 3);
        push(&outbound, &["ijkl"]);
        assert_eq!(outbound.take(&mut frames), Some(Closing::Resync));
    }

    #[test]
    fn where_all_queues_are_full_each_takes_only_a_little() {
        let room = room();
        let slow: Vec<Outbound> = (0..5).map(|_| Outbound::new(room.clone())).collect();
        slow.iter().for_each(|outbound| push(outbound, &["abcd"]));
        let (asks, types) = (Outbound::new(room.clone()), Outbound::new(room.clone()));
        push(&asks, &["abc"]);
        assert!(matches!(asks.take(&mut VecDeque::new()), Some(Closing::TryLater(_))));
        push(&types, &["ab"]);
        assert_eq!(types.take(&mut VecDeque::new()), None);
    }

    #[test]
    fn the_first_reason_to_close_counts() {
        let outbound = Outbound::new(room());
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
