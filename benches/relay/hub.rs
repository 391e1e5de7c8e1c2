//! Which sockets share a document, and the bounded queue of frames owed to each.

use crate::log::Log;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use syncline_benches::wire::{self, Dialect};

/// Frames owed to one socket before it counts as too slow and is closed.
const QUEUE_FRAMES: usize = 16_384;

pub(crate) struct Hub {
    documents: Mutex<HashMap<String, Arc<Document>>>,
    pub(crate) log: Option<Log>,
}

pub(crate) struct Document {
    peers: Mutex<Vec<Arc<Peer>>>,
}

/// One socket's place in a document.
pub(crate) struct Peer {
    pub(crate) dialect: Dialect,
    pub(crate) address: Bytes,
    queue: Mutex<VecDeque<Bytes>>,
    pub(crate) waker: AtomicWaker,
    overrun: AtomicBool,
}

impl Hub {
    pub(crate) fn new(log: Option<Log>) -> Self {
        Self { documents: Mutex::default(), log }
    }

    pub(crate) fn join(&self, name: &str, dialect: Dialect) -> (Arc<Document>, Arc<Peer>) {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let document = documents
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Document { peers: Mutex::new(Vec::with_capacity(3)) }));
        let peer = Arc::new(Peer {
            dialect,
            address: wire::address(dialect, name),
            queue: Mutex::default(),
            waker: AtomicWaker::new(),
            overrun: AtomicBool::new(false),
        });
        document.peers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&peer));
        (Arc::clone(document), peer)
    }
}

impl Document {
    pub(crate) fn leave(&self, peer: &Arc<Peer>) {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, peer));
    }

    /// Passes an update on to every other socket of the document, each in its own dialect.
    ///
    /// `body` is the message without an address: plain devices share it, and Hocuspocus devices share one copy
    /// behind the address, for all of them name the document alike.
    pub(crate) fn relay(&self, sender: &Arc<Peer>, frame: &Bytes, body: &Bytes) {
        let mut addressed = (sender.dialect == Dialect::Hocuspocus).then(|| frame.clone());
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        for peer in peers.iter().filter(|peer| !Arc::ptr_eq(peer, sender)) {
            if peer.dialect == Dialect::Hocuspocus {
                let frame = addressed.get_or_insert_with(|| {
                    let mut out = Vec::with_capacity(peer.address.len() + body.len());
                    out.extend_from_slice(&peer.address);
                    out.extend_from_slice(body);
                    out.into()
                });
                peer.push(frame.clone());
            } else {
                peer.push(body.clone());
            }
        }
    }
}

impl Peer {
    pub(crate) fn push(&self, frame: Bytes) {
        let waiting = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.len() >= QUEUE_FRAMES {
                self.overrun.store(true, Ordering::Relaxed);
            } else {
                queue.push_back(frame);
            }
            queue.len()
        };
        // Whoever made the queue non-empty has woken the socket; it takes all there is.
        if waiting == 1 || waiting >= QUEUE_FRAMES {
            self.waker.wake();
        }
    }

    /// Swaps what is queued into `out`, which must be empty; false where the socket was too slow.
    pub(crate) fn drain_into(&self, out: &mut VecDeque<Bytes>) -> bool {
        std::mem::swap(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner), out);
        !self.overrun.load(Ordering::Relaxed)
    }
}
