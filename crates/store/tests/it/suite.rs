//! The acceptance suite on both stores.

use syncline_store::{
    acceptance::{self, Bench},
    memory::{MemoryStore, PowerCut},
    sled_store::{Expect, SledOptions, SledStore},
};
use tempfile::TempDir;

/// Small enough for a test's disk.
pub(crate) const OPTIONS: SledOptions =
    SledOptions { cache_bytes: 8 << 20, reserve_bytes: 1 << 20, min_free_bytes: 0 };

#[derive(Default)]
struct OnDisk {
    folders: Vec<TempDir>,
}

impl Bench for OnDisk {
    type Store = SledStore;

    fn fresh(&mut self) -> SledStore {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open_folder(folder.path(), &OPTIONS, Expect::Nothing).unwrap();
        self.folders.push(folder);
        store
    }

    fn crash(&mut self, store: SledStore) -> SledStore {
        // The files as they are now: what sled would still write when it is dropped is not among them.
        let of = store.kv().path().to_owned();
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&of, copy.path());
        drop(store);
        let store = SledStore::open_folder(copy.path(), &OPTIONS, Expect::Existing).unwrap();
        self.folders.push(copy);
        store
    }
}

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy_folder(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), target).unwrap();
        }
    }
}

struct InMemory;

impl Bench for InMemory {
    type Store = MemoryStore;

    fn fresh(&mut self) -> MemoryStore {
        MemoryStore::new().unwrap()
    }

    fn crash(&mut self, store: MemoryStore) -> MemoryStore {
        store.power_cut(PowerCut::Drop, &mut |_| 0).unwrap()
    }
}

#[test]
fn the_store_on_disk_passes_the_acceptance_suite() {
    acceptance::all(&mut OnDisk::default());
}

#[test]
fn the_store_in_memory_passes_the_acceptance_suite() {
    acceptance::all(&mut InMemory);
}
