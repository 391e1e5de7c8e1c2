//! A damaged index is set aside; none keeps the server from starting.

use std::{
    fs,
    path::{Path, PathBuf},
};

use syncline_search::{Index, Opened, Options, SearchError};

use crate::kit::Kit;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("v3")).expect("a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| !file.to_string_lossy().ends_with(".lock"));
    files.sort();
    files
}

/// An index with a segment that hides something, so that there is a file of each kind.
fn filled() -> Kit {
    let kit = Kit::new();
    let texts: Vec<(String, String)> = (0..20).map(|n| (n.to_string(), format!("word number{n}"))).collect();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
    kit.put("ada", &texts);
    kit.put("ada", &[("1", "another text")]);
    kit
}

fn rebuilt_after(harm: impl FnOnce(&Path), what: &str) {
    let (kit, opened) = filled().crash_after(harm);
    assert!(matches!(&opened, Opened::Fresh { damage: Some(_) }), "{what}: {opened:?}");
    assert_eq!(kit.ids("ada", "word"), [""; 0], "{what}");
    kit.put("ada", &[("1", "word again")]);
    assert_eq!(kit.ids("ada", "word"), ["1"], "{what}");
    assert!(kit.folder.path().join("damaged").exists(), "{what}");
    let (kit, opened) = kit.crash();
    assert_eq!((opened, kit.ids("ada", "word").len()), (Opened::Existing, 1), "{what}");
}

#[test]
fn every_file_that_is_cut_bent_or_gone_is_noticed() {
    let kit = filled();
    let count = files(kit.folder.path()).len();
    drop(kit);
    assert!(count >= 8, "{count} files");
    for number in 0..count {
        rebuilt_after(
            |folder| {
                let file = &files(folder)[number];
                let bytes = fs::read(file).expect("bytes");
                fs::write(file, &bytes[..bytes.len() / 2]).expect("writes");
            },
            &format!("cut {number}"),
        );
        rebuilt_after(
            |folder| fs::remove_file(&files(folder)[number]).expect("removes"),
            &format!("gone {number}"),
        );
    }
}

#[test]
fn a_flipped_bit_in_any_segment_is_noticed() {
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..8 {
        rebuilt_after(
            |folder| {
                let mut segments = files(folder);
                segments.retain(|file| !file.to_string_lossy().ends_with(".json"));
                let file = &segments[round % segments.len()];
                let mut bytes = fs::read(file).expect("bytes");
                let at = random.usize(..bytes.len());
                bytes[at] ^= 1 << random.u32(..8);
                fs::write(file, &bytes).expect("writes");
            },
            &format!("round {round}"),
        );
    }
}

#[test]
fn garbage_in_the_place_of_the_index_is_set_aside() {
    for garbage in ["", "{}", "not json", "{\"segments\":[]}"] {
        rebuilt_after(|folder| fs::write(folder.join("v2/meta.json"), garbage).expect("writes"), garbage);
    }
}

#[test]
fn a_note_from_the_run_before_has_the_index_rebuilt() {
    rebuilt_after(|folder| fs::write(folder.join("suspect"), "a search panicked").expect("writes"), "note");
}

#[test]
fn a_deleted_folder_is_begun_anew() {
    let (kit, opened) = filled().crash_after(|folder| fs::remove_dir_all(folder).expect("removes"));
    assert_eq!(opened, Opened::Fresh { damage: None });
    assert_eq!(kit.ids("ada", "word"), [""; 0]);
}

#[test]
fn what_other_versions_left_is_removed() {
    let harm = |folder: &Path| {
        fs::create_dir(folder.join("v0")).expect("a folder");
        fs::write(folder.join("v0/segment"), "old words").expect("writes");
        fs::write(folder.join("notes.txt"), "not ours").expect("writes");
    };
    let (kit, opened) = filled().crash_after(harm);
    assert_eq!(opened, Opened::Existing);
    assert!(!kit.folder.path().join("v0").exists());
    assert!(kit.folder.path().join("notes.txt").exists());
}

#[test]
fn a_folder_that_cannot_be_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "here first").expect("writes");
    let opened = Index::open(&file, Options::default()).map(|_| ());
    assert!(matches!(opened, Err(SearchError::Io(_))), "{opened:?}");
}

#[test]
fn an_index_that_cannot_write_stops_and_says_so_and_can_be_opened_again() {
    let kit = filled();
    let live = kit.folder.path().join("v3");
    let moved = kit.folder.path().join("moved");
    fs::rename(&live, &moved).expect("renames");
    kit.apply(
        syncline_search::Batch::new("ada").put(crate::kit::message("c", "9", "unwritten")).seen("c/c", 1),
    );
    assert!(matches!(kit.index.flush(), Err(SearchError::Stopped(_))));
    assert!(kit.index.lag().stopped.is_some());
    let refused = kit.index.apply(syncline_search::Batch::new("ada"));
    assert!(matches!(refused, Err(SearchError::Stopped(_))), "{refused:?}");
    assert_eq!(kit.ids("ada", "number7"), ["7"], "searches go on");
    let (kit, opened) = kit.crash_after(|_| fs::rename(&moved, &live).expect("renames"));
    assert_eq!(opened, Opened::Existing);
    assert_eq!(kit.index.seen("ada", "c/c"), Ok(None));
}
