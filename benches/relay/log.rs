//! The log of `--wal`: one thread writes whatever is queued, syncs once, then acks it all.

use crate::hub::Peer;
use bytes::Bytes;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use syncline_benches::wire;

/// Updates that may wait for the disk before a socket has to.
const QUEUE_UPDATES: usize = 65_536;

pub(crate) struct Log(SyncSender<Append>);

pub(crate) struct Append {
    pub(crate) update: Bytes,
    pub(crate) peer: Arc<Peer>,
    pub(crate) ack: Bytes,
}

impl Append {
    fn answer(self) {
        if !self.ack.is_empty() {
            self.peer.push(self.ack);
        }
    }
}

impl Log {
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::create(path)?;
        let (sender, receiver) = sync_channel(QUEUE_UPDATES);
        std::thread::spawn(move || write_groups(file, &receiver));
        Ok(Self(sender))
    }

    /// Queues an update; waits where the disk is that far behind.
    pub(crate) fn append(&self, append: Append) {
        // The writer ends only with the process.
        let _ended = self.0.send(append);
    }
}

fn write_groups(mut file: File, queue: &Receiver<Append>) {
    let mut record = Vec::new();
    let mut group = Vec::new();
    while let Ok(first) = queue.recv() {
        group.push(first);
        group.extend(queue.try_iter().take(QUEUE_UPDATES));
        for append in &group {
            if !append.update.is_empty() {
                wire::put_buf(&mut record, &append.peer.address);
                wire::put_buf(&mut record, &append.update);
            }
        }
        // A group of versions only has its updates on disk already: an earlier group held them.
        if record.is_empty() {
            group.drain(..).for_each(Append::answer);
            continue;
        }
        if let Err(error) = file.write_all(&record).and_then(|()| file.sync_data()) {
            eprintln!("log failed, nothing more is acked: {error}");
            return;
        }
        record.clear();
        group.drain(..).for_each(Append::answer);
    }
}
