//! What one document's devices have sent, got and been told is saved, as the generator sees it.
//!
//! Updates are told apart by client id and place in the sender's stream, so that no update carries a timestamp and a
//! server is free to merge frames: a frame that is byte for byte the next update of its sender counts at once, any other
//! is read with yrs and counts as all updates below the clock it reaches.

use crate::stats::Stats;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;
use syncline_benches::traffic::{self, Stream};
use syncline_benches::wire::{self, Dialect, Heard};

/// Send times kept a device; with more than this unanswered the run counts as overloaded.
const TIMES: usize = 4096;

pub(crate) struct Document {
    pub(crate) devices: Vec<Device>,
    pub(crate) streams: Vec<Arc<Stream>>,
    stats: Rc<RefCell<Stats>>,
    /// `[sender * devices + receiver]`: how many updates of the sender the receiver has.
    progress: Vec<u32>,
    /// Updates on their way to some device.
    in_flight: u32,
    /// Closed loop: how many may be.
    window: u32,
    /// Closed loop: updates that may still be scheduled.
    left: u32,
    next_sender: usize,
}

pub(crate) struct Device {
    pub(crate) dialect: Dialect,
    pub(crate) scheduled: u32,
    pub(crate) sent: u32,
    pub(crate) acked: u32,
    /// SyncStatus messages still owed to the SyncStep2, not to an update.
    sync_acks: u32,
    /// When each update was due, in a ring.
    times: Vec<Instant>,
    pub(crate) waker: Option<Waker>,
}

impl Device {
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn time(&self, index: u32) -> Instant {
        self.times[index as usize % TIMES]
    }
}

impl Document {
    pub(crate) fn new(dialects: &[Dialect], streams: Vec<Arc<Stream>>, stats: Rc<RefCell<Stats>>) -> Self {
        let devices: Vec<Device> = dialects
            .iter()
            .map(|&dialect| Device {
                dialect,
                scheduled: 0,
                sent: 0,
                acked: 0,
                sync_acks: u32::from(dialect == Dialect::Hocuspocus),
                times: Vec::new(),
                waker: None,
            })
            .collect();
        let progress = vec![0; devices.len() * devices.len()];
        Self { devices, streams, stats, progress, in_flight: 0, window: 0, left: 0, next_sender: 0 }
    }

    fn senders(&self) -> usize {
        self.streams.len().min(self.devices.len())
    }

    /// Makes the device's next update due at `due`; false where it has none left or is too far behind.
    pub(crate) fn schedule(&mut self, sender: usize, due: Instant) -> bool {
        let Some(stream) = self.streams.get(sender) else { return false };
        let oldest = self.everywhere(sender);
        let device = &mut self.devices[sender];
        if device.scheduled as usize >= stream.len() || (device.scheduled - oldest) as usize >= TIMES {
            return false;
        }
        if device.times.is_empty() {
            device.times = vec![due; TIMES];
        }
        device.times[device.scheduled as usize % TIMES] = due;
        device.scheduled += 1;
        self.in_flight += 1;
        self.devices[sender].wake();
        true
    }

    /// Starts a closed loop of `window` updates in flight, `limit` in all; a window of 0 stops it.
    pub(crate) fn close_loop(&mut self, window: u32, limit: u32) {
        self.window = window;
        self.left = limit;
        self.refill();
    }

    fn refill(&mut self) {
        let senders = self.senders();
        let mut idle = 0;
        while self.in_flight < self.window && self.left > 0 && idle < senders {
            let sender = self.next_sender;
            self.next_sender = (sender + 1) % senders;
            if self.schedule(sender, Instant::now()) {
                self.left -= 1;
                idle = 0;
            } else {
                idle += 1;
            }
        }
        if idle == senders && senders > 0 {
            self.stats.borrow_mut().exhausted = true;
            self.left = 0;
        }
    }

    /// Notes that the device's next update is being written, and how late that is.
    pub(crate) fn note_sent(&mut self, sender: usize) {
        let device = &mut self.devices[sender];
        let due = device.time(device.sent);
        device.sent += 1;
        self.stats.borrow_mut().note_sent(due);
    }

    /// Takes in what a server told a device.
    pub(crate) fn hear(&mut self, receiver: usize, heard: &Heard<'_>) {
        match heard {
            Heard::Update(update) => self.hear_update(receiver, update),
            Heard::SyncStep2(update) if *update != wire::EMPTY_UPDATE => self.hear_update(receiver, update),
            Heard::Version(version) => {
                let count = (*version).min(u64::from(self.devices[receiver].sent));
                self.acknowledge(receiver, count as u32);
            }
            Heard::Saved(true) => {
                let device = &mut self.devices[receiver];
                if device.sync_acks > 0 {
                    device.sync_acks -= 1;
                } else {
                    let count = device.acked + 1;
                    self.acknowledge(receiver, count);
                }
            }
            Heard::Saved(false) | Heard::Denied(_) => self.stats.borrow_mut().refused += 1,
            _ => {}
        }
    }

    fn hear_update(&mut self, receiver: usize, update: &[u8]) {
        let sender = self.sender_of(update);
        self.stats.borrow_mut().frames += u64::from(sender != Some(receiver));
        if let Some(sender) = sender {
            let next = self.progress[sender * self.devices.len() + receiver];
            let stream = &self.streams[sender];
            if (next as usize) < stream.len() && stream.update(next as usize) == update {
                self.advance(sender, receiver, next + 1);
                return;
            }
        }
        let clients: Vec<u64> = self.streams.iter().map(|stream| stream.client).collect();
        let Ok(reached) = traffic::reached(update, &clients) else {
            self.stats.borrow_mut().garbled += 1;
            return;
        };
        for (client, clock) in reached {
            if let Some(sender) = self.streams.iter().position(|stream| stream.client == client) {
                let count = self.streams[sender].count_below(clock) as u32;
                self.advance(sender, receiver, count);
            }
        }
    }

    /// The device whose client id the first section of an update bears.
    #[inline]
    fn sender_of(&self, mut update: &[u8]) -> Option<usize> {
        if wire::take_var(&mut update)? != 1 {
            return None;
        }
        let _blocks = wire::take_var(&mut update)?;
        let client = wire::take_var(&mut update)?;
        self.streams.iter().position(|stream| stream.client == client)
    }

    fn advance(&mut self, sender: usize, receiver: usize, count: u32) {
        let count = count.min(self.devices[sender].sent);
        if sender == receiver {
            if self.devices[sender].dialect == Dialect::Plain {
                self.acknowledge(sender, count);
            }
            return;
        }
        let before = self.everywhere(sender);
        let place = sender * self.devices.len() + receiver;
        let had = self.progress[place];
        if count <= had {
            return;
        }
        self.progress[place] = count;
        let device = &self.devices[sender];
        self.stats.borrow_mut().note_deliveries((had..count).map(|index| device.time(index)));
        self.in_flight -= self.everywhere(sender) - before;
        if self.window > 0 {
            self.refill();
        }
    }

    fn acknowledge(&mut self, sender: usize, count: u32) {
        let device = &mut self.devices[sender];
        let count = count.min(device.sent);
        if count > device.acked {
            let device = &self.devices[sender];
            self.stats.borrow_mut().note_acks((device.acked..count).map(|index| device.time(index)));
            self.devices[sender].acked = count;
        }
    }

    /// How many of a device's updates every other device has.
    pub(crate) fn everywhere(&self, sender: usize) -> u32 {
        self.others(sender).min().unwrap_or(self.devices[sender].sent)
    }

    /// How many of a device's updates at least one other device has.
    pub(crate) fn elsewhere(&self, sender: usize) -> u32 {
        self.others(sender).max().unwrap_or(0)
    }

    fn others(&self, sender: usize) -> impl Iterator<Item = u32> {
        let row = &self.progress[sender * self.devices.len()..][..self.devices.len()];
        row.iter().enumerate().filter(move |&(receiver, _)| receiver != sender).map(|(_, &count)| count)
    }

    /// Whether nothing is left to schedule or under way, acks included where the server gives any.
    pub(crate) fn is_quiet(&self, acks: bool) -> bool {
        let acked = !acks || self.devices.iter().all(|device| device.acked == device.scheduled);
        self.in_flight == 0 && acked && (self.window == 0 || self.left == 0)
    }
}
