//! A store in memory, for tests and the simulation: what is applied is visible, what is synced survives
//! [`MemoryStore::power_cut`], and it fails on demand.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    engine::Engine,
    error::StoreError,
    kv::{Change, Kv, Mark, Visit},
    store::Identity,
};

/// A store in memory.
pub type MemoryStore = Engine<MemoryKv>;

/// How a write fails on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full: nothing is written.
    Full,
    /// The write is visible, syncing it fails: it may or may not survive.
    Sync,
    /// The storage engine panics before it writes.
    Panic,
}

/// How a power cut treats what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCut {
    /// A prefix of the batches survives, each whole: what a log with checksums guarantees.
    Drop,
    /// As [`PowerCut::Drop`], and of the next batch some changes survive too, its last journal value cut short:
    /// worse than sled, so that our own checks have to see it.
    Tear,
}

type Image = BTreeMap<Vec<u8>, Bytes>;

#[derive(Debug, Default)]
struct Disk {
    live: Image,
    durable: Image,
    unsynced: Vec<Vec<Change>>,
    mark: Mark,
    faults: Faults,
    syncs: u64,
    applied_bytes: u64,
}

#[derive(Debug, Default)]
struct Faults {
    /// Writes that pass before `fault` strikes.
    after: u64,
    fault: Option<Fault>,
    sync_fails: bool,
}

/// The map below a [`MemoryStore`].
#[derive(Debug, Default)]
pub struct MemoryKv(Mutex<Disk>);

impl MemoryKv {
    /// Lets the `after + 1`th batch from now fail. A commit applies one batch, or a few the first time.
    pub fn fail(&self, fault: Fault, after: u64) {
        let mut disk = self.0.lock();
        disk.faults = Faults { after, fault: Some(fault), sync_fails: false };
    }

    /// Returns how often [`Kv::sync`] was done.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Returns the bytes of all keys and values ever put.
    pub fn applied_bytes(&self) -> u64 {
        self.0.lock().applied_bytes
    }

    /// Changes the stored bytes of every key that `wanted` picks, live and durable, as a failing disk would.
    pub fn corrupt(&self, wanted: impl Fn(&[u8]) -> bool, mut change: impl FnMut(&mut Vec<u8>)) {
        let mut disk = self.0.lock();
        let picked: Vec<_> = disk.live.keys().filter(|key| wanted(key)).cloned().collect();
        for key in picked {
            let mut value = disk.live.get(&key).map(|value| value.to_vec()).unwrap_or_default();
            change(&mut value);
            let value = Bytes::from(value);
            disk.live.insert(key.clone(), value.clone());
            disk.durable.insert(key, value);
        }
    }

    /// Removes every key that `wanted` picks, live and durable.
    pub fn lose(&self, wanted: impl Fn(&[u8]) -> bool) {
        let mut disk = self.0.lock();
        disk.live.retain(|key, _| !wanted(key));
        disk.durable.retain(|key, _| !wanted(key));
    }

    /// Returns a map that holds what a power cut now would leave. `draw(n)` picks a number below `n`.
    pub fn power_cut(&self, cut: PowerCut, draw: &mut dyn FnMut(u64) -> u64) -> Self {
        let disk = self.0.lock();
        let mut image = disk.durable.clone();
        let whole = draw(disk.unsynced.len() as u64 + 1) as usize;
        for batch in disk.unsynced.iter().take(whole) {
            apply(&mut image, batch);
        }
        if let (PowerCut::Tear, Some(torn)) = (cut, disk.unsynced.get(whole)) {
            let kept = draw(torn.len() as u64 + 1) as usize;
            apply(&mut image, &torn[..kept]);
            if let Some(Change::Put(key, value)) = torn.get(kept)
                && key.starts_with(b"j")
                && !value.is_empty()
            {
                let length = draw(value.len() as u64) as usize;
                image.insert(key.clone(), Bytes::copy_from_slice(&value[..length]));
            }
        }
        Self(Mutex::new(Disk { live: image.clone(), durable: image, mark: disk.mark, ..Disk::default() }))
    }
}

impl MemoryKv {
    /// Returns a map that holds what a killed process leaves: all is visible, as the page cache outlives it, and
    /// what was not synced is still lost if the power fails.
    pub fn process_death(&self) -> Self {
        let disk = self.0.lock();
        Self(Mutex::new(Disk {
            live: disk.live.clone(),
            durable: disk.durable.clone(),
            unsynced: disk.unsynced.clone(),
            mark: disk.mark,
            ..Disk::default()
        }))
    }
}

fn apply(image: &mut Image, batch: &[Change]) {
    for change in batch {
        match change {
            Change::Put(key, value) => image.insert(key.clone(), Bytes::copy_from_slice(value)),
            Change::Delete(key) => image.remove(key),
        };
    }
}

impl Kv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.lock().live.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], each: Visit<'_>) -> Result<(), StoreError> {
        // A step at a time, as a scan of sled sees what is written meanwhile.
        let mut next = Bound::Included(from.to_vec());
        loop {
            let found = {
                let disk = self.0.lock();
                let mut range =
                    disk.live.range::<[u8], _>((next.as_ref().map(Vec::as_slice), Bound::Excluded(to)));
                range.next().map(|(key, value)| (key.clone(), value.clone()))
            };
            let Some((key, value)) = found else { return Ok(()) };
            if !each(&key, &value)? {
                return Ok(());
            }
            next = Bound::Excluded(key);
        }
    }

    fn apply(&self, batch: Vec<Change>) -> Result<(), StoreError> {
        let mut disk = self.0.lock();
        if let Some(fault) = disk.faults.fault {
            if disk.faults.after > 0 {
                disk.faults.after -= 1;
            } else {
                disk.faults.fault = None;
                match fault {
                    Fault::Full => return Err(StoreError::Full("as a test asked for".into())),
                    Fault::Sync => disk.faults.sync_fails = true,
                    Fault::Panic => {
                        drop(disk);
                        panic!("as a test asked for");
                    }
                }
            }
        }
        disk.applied_bytes += batch.iter().map(|change| change.size() as u64).sum::<u64>();
        apply(&mut disk.live, &batch);
        disk.unsynced.push(batch);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut disk = self.0.lock();
        if disk.faults.sync_fails {
            return Err(StoreError::Io("syncing failed, as a test asked for".into()));
        }
        disk.syncs += 1;
        let batches = std::mem::take(&mut disk.unsynced);
        for batch in &batches {
            apply(&mut disk.durable, batch);
        }
        Ok(())
    }

    fn marked(&self) -> Result<Mark, StoreError> {
        Ok(self.0.lock().mark)
    }

    fn mark(&self, mark: Mark) -> Result<(), StoreError> {
        self.0.lock().mark = mark;
        Ok(())
    }

    fn size_on_disk(&self) -> u64 {
        self.0.lock().durable.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }

    fn room_for(&self, _bytes: usize) -> Result<(), StoreError> {
        Ok(())
    }
}

impl MemoryStore {
    /// Makes an empty store with an identity that tests may rely on.
    ///
    /// # Errors
    /// None are known.
    pub fn new() -> Result<Self, StoreError> {
        Self::create(MemoryKv::default(), Identity(*b"memory-identity!"))
    }

    /// Returns the store that a start after a power cut finds. `draw(n)` picks a number below `n`, so that a seed
    /// decides what is lost. This store is not changed.
    ///
    /// # Errors
    /// As [`Engine::open`]: with [`PowerCut::Drop`] never, unless a store was damaged before.
    pub fn power_cut(&self, cut: PowerCut, draw: &mut dyn FnMut(u64) -> u64) -> Result<Self, StoreError> {
        Self::open(self.kv.power_cut(cut, draw))
    }

    /// Returns the store that a start after a killed process finds: everything that was written, synced or not.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn process_death(&self) -> Result<Self, StoreError> {
        Self::open(self.kv.process_death())
    }
}
