//! Erasing under fire, and what is left of it in the files.

use syncline_document::record::Entry;
use syncline_store::{
    Erase, Prepared, SledStore, Store,
    acceptance::{checkpoint, entry, name, row},
    export::{export, import},
    kv::Kv,
    memory::{Fault, MemoryStore, PowerCut},
    sled_store::Expect,
};

use crate::suite::OPTIONS;

const SECRET: &str = "what nobody is to read again";

fn secret(document: &str, sequence: u64) -> Entry {
    Entry { bytes: SECRET.into(), ..entry(document, sequence) }
}

fn replaced(document: &str, sequence: u64) -> Erase {
    Erase { document: name(document), replacement: Some(Prepared::new(&checkpoint(sequence)).unwrap()) }
}

fn told(store: &impl Store) {
    store.commit(&[secret("a", 1), entry("b", 1), secret("c", 1)], &[]).unwrap();
    store.write_checkpoint(&name("c"), &checkpoint(1)).unwrap();
    store.commit(&[secret("a", 2)], &[row(b"k", "v")]).unwrap();
    store.commit(&[entry("b", 2), secret("a", 3), secret("c", 2)], &[]).unwrap();
    store.mark().unwrap();
}

fn doomed() -> [Erase; 2] {
    [replaced("a", 3), Erase { document: name("c"), replacement: None }]
}

fn tells(kv: &impl Kv) -> bool {
    let mut tells = false;
    kv.scan(&[], &[255], &mut |_, value| {
        tells |= value.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        Ok(true)
    })
    .unwrap();
    tells
}

#[test]
fn whatever_a_power_cut_takes_the_store_is_whole_and_the_same_call_completes_it() {
    let mut interrupted = 0;
    for after in 0..24 {
        for seed in 0..8 {
            let mut random = fastrand::Rng::with_seed(seed);
            let store = MemoryStore::new().unwrap();
            told(&store);
            store.kv().fail(Fault::Sync, after);
            interrupted += u64::from(store.erase(&doomed()).is_err());
            let store = store.power_cut(PowerCut::Drop, &mut |bound| random.u64(0..bound)).unwrap();
            let b = store.read(&name("b")).unwrap().unwrap();
            assert_eq!(b.tail, [entry("b", 1), entry("b", 2)], "after {after}, seed {seed}");
            store.read(&name("a")).unwrap().expect("told or replaced");
            store.read(&name("c")).unwrap();
            store.erase(&doomed()).unwrap();
            assert!(!tells(store.kv()), "after {after}, seed {seed}");
            let store = store.power_cut(PowerCut::Drop, &mut |_| 0).unwrap();
            assert!(!tells(store.kv()), "after {after}, seed {seed}: it was not durable");
            assert_eq!(store.read(&name("c")).unwrap(), None);
            assert_eq!(store.read(&name("a")).unwrap().unwrap().checkpoint, Some(checkpoint(3)));
        }
    }
    assert!(interrupted > 40, "only {interrupted} were interrupted");
}

#[test]
fn a_former_checksum_that_is_lost_is_damage() {
    let store = MemoryStore::new().unwrap();
    told(&store);
    store.erase(&doomed()).unwrap();
    store.kv().lose(|key| key.starts_with(b"f"));
    let error = store.power_cut(PowerCut::Drop, &mut |_| 0).err().expect("refused").to_string();
    assert!(error.contains("does not follow"), "{error}");
}

/// sled keeps old bytes in its file until it reuses their place: reads and exports show nothing of them, and a store
/// that is written anew, as by `syncline compact`, does not have them.
#[test]
fn a_store_on_disk_that_is_written_anew_has_nothing_of_what_was_erased() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open_folder(&folder.path().join("old"), &OPTIONS, Expect::Nothing).unwrap();
    told(&store);
    assert!(tells(store.kv()) && in_files(&folder.path().join("old")));
    store.erase(&doomed()).unwrap();
    assert!(!tells(store.kv()));
    let mut file = Vec::new();
    export(&store, &mut file).unwrap();
    let next = SledStore::open_folder(&folder.path().join("new"), &OPTIONS, Expect::Nothing).unwrap();
    import(&next, &mut &*file).unwrap();
    drop((store, next));
    assert!(!in_files(&folder.path().join("new")));
}

fn in_files(folder: &std::path::Path) -> bool {
    std::fs::read_dir(folder).unwrap().map(Result::unwrap).any(|item| {
        if item.file_type().unwrap().is_dir() {
            return in_files(&item.path());
        }
        let bytes = std::fs::read(item.path()).unwrap();
        bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
    })
}
