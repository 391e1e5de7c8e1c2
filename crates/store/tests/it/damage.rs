//! Data folders that were damaged, moved or are in use: every outcome is the whole data or an error that says so.

use std::{fs, path::Path};

use syncline_document::record::Stored;
use syncline_store::{
    Store, StoreError,
    acceptance::{checkpoint, entry, name},
    sled_store::{Expect, SledOptions, SledStore},
};
use tempfile::TempDir;

use crate::suite::{OPTIONS, copy_folder};

const DOCUMENTS: [&str; 4] = ["ada/a", "ada/b", "bob/c", "d"];

fn open(path: &Path) -> Result<SledStore, StoreError> {
    SledStore::open_folder(path, &OPTIONS, Expect::Existing)
}

/// A folder with a few documents, closed in order.
fn filled() -> (TempDir, Vec<Stored>) {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open_folder(folder.path(), &OPTIONS, Expect::Any).unwrap();
    for sequence in 1..=60 {
        let batch: Vec<_> = DOCUMENTS.iter().map(|document| entry(document, sequence)).collect();
        store.commit(&batch, &[]).unwrap();
    }
    for document in &DOCUMENTS[..2] {
        store.write_checkpoint(&name(document), &checkpoint(40)).unwrap();
    }
    store.mark().unwrap();
    let whole = DOCUMENTS.map(|document| store.read(&name(document)).unwrap().unwrap());
    drop(store);
    // Opened once more, so that sled has a snapshot beside its log.
    drop(open(folder.path()).unwrap());
    (folder, whole.into())
}

/// Opens and reads everything; says whether it was whole. Panics on data that is there in part.
fn whole_or_error(path: &Path, whole: &[Stored], what: &str) -> bool {
    let store = match open(path) {
        Ok(store) => store,
        Err(StoreError::Damaged(_) | StoreError::Io(_) | StoreError::Full(_)) => return false,
        Err(other) => panic!("{what}: {other}"),
    };
    let mut all = true;
    for (document, whole) in DOCUMENTS.iter().zip(whole) {
        match store.read(&name(document)) {
            Ok(Some(stored)) => assert_eq!(stored, *whole, "{what}: {document} came back changed"),
            Ok(None) => panic!("{what}: {document} is gone without an error"),
            Err(_) => all = false,
        }
    }
    all
}

#[test]
fn a_flipped_bit_anywhere_costs_nothing_or_is_told() {
    let (folder, whole) = filled();
    let mut random = fastrand::Rng::with_seed(7);
    let files = fs::read_dir(folder.path().join("store")).unwrap().map(|file| file.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.is_file()).collect();
    let (mut told, mut harmless) = (0, 0);
    for round in 0..80 {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        let file = &files[random.usize(..files.len())];
        let victim = copy.path().join("store").join(file.file_name().unwrap());
        let mut bytes = fs::read(&victim).unwrap();
        // Where there is something: the log is mostly room for more.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1).min(64 << 10);
        let at = random.usize(..used);
        bytes[at] ^= 1 << random.u8(..8);
        fs::write(&victim, bytes).unwrap();
        let what = format!("round {round}, byte {at} of {}", victim.display());
        if whole_or_error(copy.path(), &whole, &what) { harmless += 1 } else { told += 1 }
    }
    eprintln!("{told} told, {harmless} harmless");
    assert!(told > 0, "no flip was told: the test misses the data");
}

#[test]
fn a_cut_file_costs_nothing_or_is_told() {
    let (folder, whole) = filled();
    let log = folder.path().join("store/db");
    let used = fs::read(&log).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64;
    let mut told = 0;
    for length in (0..20).map(|step| used * step / 20) {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        fs::File::options().write(true).open(copy.path().join("store/db")).unwrap().set_len(length).unwrap();
        told += usize::from(!whole_or_error(copy.path(), &whole, &format!("log cut to {length}")));
    }
    assert!(told >= 19, "only {told} of 20 cuts were told");
}

#[test]
fn a_store_that_is_gone_is_not_made_anew() {
    let (folder, _) = filled();
    let gone = |removed: &str| {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        let path = copy.path().join(removed);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.unwrap();
        SledStore::open_folder(copy.path(), &OPTIONS, Expect::Any).map(|store| store.last_commit())
    };
    assert!(matches!(gone("store"), Err(StoreError::Damaged(_))));
    assert!(matches!(gone("store/db"), Err(StoreError::Damaged(_))));
    assert_eq!(gone("syncline.json"), Ok(60), "the marker is made again from what is there");
    assert_eq!(gone("reserve"), Ok(60));
}

#[test]
fn leftovers_of_a_crash_do_not_keep_it_from_opening() {
    let (folder, whole) = filled();
    fs::write(folder.path().join("store/snap.00000000000000FF.generating"), b"half a snapsh").unwrap();
    assert!(whole_or_error(folder.path(), &whole, "with a snapshot that was not finished"));
    fs::write(folder.path().join("store/snap.7FFFFFFFFFFFFFFF"), b"something else entirely").unwrap();
    assert!(whole_or_error(folder.path(), &whole, "with a snapshot that is damaged"));
    let aside = fs::read_dir(folder.path().join("store")).unwrap();
    let aside =
        aside.filter(|file| file.as_ref().unwrap().file_name().to_str().unwrap().starts_with("aside-"));
    assert!(aside.count() > 0, "it was set aside, not deleted");
}

#[test]
fn a_newer_layout_and_a_foreign_marker_are_refused() {
    let (folder, _) = filled();
    let path = folder.path().join("syncline.json");
    let marker = fs::read_to_string(&path).unwrap();
    fs::write(&path, r#"{"layout":2,"whatever":true}"#).unwrap();
    assert!(matches!(open(folder.path()), Err(StoreError::TooNew { found: 2, known: 1 })));
    fs::write(&path, "{").unwrap();
    assert!(matches!(open(folder.path()), Err(StoreError::Damaged(_))));
    let at = marker.find("identity").unwrap() + 15;
    let mut foreign = marker.clone().into_bytes();
    foreign[at] = if foreign[at] == b'0' { b'1' } else { b'0' };
    fs::write(&path, foreign).unwrap();
    assert!(matches!(open(folder.path()), Err(StoreError::Damaged(_))));
    fs::write(&path, marker).unwrap();
    assert!(open(folder.path()).is_ok());
}

#[test]
fn a_folder_in_use_says_so_and_its_other_files_stay_usable() {
    let (folder, _) = filled();
    let store = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()), Err(StoreError::InUse(_))));
    assert!(fs::read(folder.path().join("syncline.json")).is_ok());
    drop(store);
    assert!(open(folder.path()).is_ok());
}

#[test]
fn what_is_expected_of_a_folder_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nothing/here");
    assert!(open(&missing).is_err() && !missing.exists(), "looking makes nothing");
    let store = SledStore::open_folder(&missing, &OPTIONS, Expect::Nothing).unwrap();
    let identity = store.identity();
    drop(store);
    assert!(matches!(SledStore::open_folder(&missing, &OPTIONS, Expect::Nothing), Err(StoreError::Bug(_))));
    assert_eq!(open(&missing).unwrap().identity(), identity);
    let successor =
        SledStore::open_folder(&folder.path().join("next"), &OPTIONS, Expect::Successor(identity)).unwrap();
    assert_eq!(successor.identity(), identity);
}

#[test]
fn a_disk_with_too_little_room_is_refused_before_sled_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open_folder(folder.path(), &OPTIONS, Expect::Any).unwrap();
    store.commit(&[entry("a", 1)], &[]).unwrap();
    drop(store);
    let greedy = SledOptions { min_free_bytes: u64::MAX / 2, ..OPTIONS };
    let store = SledStore::open_folder(folder.path(), &greedy, Expect::Any).unwrap();
    assert!(matches!(store.commit(&[entry("a", 2)], &[]), Err(StoreError::Full(_))));
    assert!(store.poisoned().is_some());
    assert_eq!(store.read(&name("a")).unwrap().unwrap().tail, [entry("a", 1)]);
}

#[test]
fn on_a_disk_that_fills_up_nothing_acked_is_missing_once_the_reserve_is_deleted() {
    let mount = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=128m", "tmpfs"])
        .arg(mount.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        eprintln!("skipped: a small disk cannot be mounted here");
        return;
    }
    let filled = std::panic::catch_unwind(|| {
        // With the floor the disk never fills up. Without it, sled itself meets the full disk.
        for (folder, min_free_bytes) in [("floor", SledOptions::default().min_free_bytes), ("full", 0)] {
            let folder = mount.path().join(folder);
            fill_up(&folder, &SledOptions { min_free_bytes, ..SledOptions::default() });
            fs::remove_dir_all(folder).unwrap();
        }
    });
    let unmounted = std::process::Command::new("umount").arg("-l").arg(mount.path()).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    filled.unwrap();
}

fn fill_up(path: &Path, options: &SledOptions) {
    let store = SledStore::open_folder(path, options, Expect::Any).unwrap();
    let mut acked = 0;
    let failed = loop {
        let bytes: Vec<u8> = (0..500_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let next = syncline_document::record::Entry { bytes: bytes.into(), ..entry("a", acked + 1) };
        match store.commit(&[next], &[]) {
            Ok(()) => acked += 1,
            Err(error) => break error,
        }
        assert!(acked < 300, "128 MiB take no 150 MB");
    };
    assert!(matches!(failed, StoreError::Full(_)), "{failed}");
    match store.read(&name("a")) {
        Ok(stored) => assert_eq!(stored.unwrap().sequence, acked),
        // sled may need what it could not write, for a page that it moved; never behind the floor.
        Err(error) => assert!(options.min_free_bytes == 0, "{error}"),
    }
    drop(store);
    fs::remove_file(path.join("reserve")).unwrap();
    let store = open(path).unwrap();
    let sequence = store.read(&name("a")).unwrap().unwrap().sequence;
    assert!(sequence >= acked, "{acked} were acked, {sequence} are there");
}
