//! What a crash leaves, and that the rest is told.

use syncline_search::{Batch, Index, Opened, Options, SearchError};

use crate::kit::{Kit, message};

#[test]
fn after_a_crash_seen_tells_what_has_to_come_again() {
    let kit = Kit::with(Options { commit_ms: 3_600_000, ..Options::default() });
    kit.apply(Batch::new("ada").put(message("c", "1", "kept")).seen("c/c", 5));
    kit.index.flush().expect("flushes");
    kit.apply(Batch::new("ada").put(message("c", "2", "lost")).seen("c/c", 9).seen("c/d", 1));
    assert_eq!(kit.index.seen("ada", "c/c"), Ok(Some(5)), "not durable yet");
    let (kit, opened) = kit.crash();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(kit.ids("ada", "kept"), ["1"]);
    assert_eq!(kit.ids("ada", "lost"), [""; 0]);
    assert_eq!(kit.index.seen("ada", "c/c"), Ok(Some(5)));
    assert_eq!(kit.index.seen("ada", "c/d"), Ok(None));
    assert_eq!(kit.index.seen("bob", "c/c"), Ok(None));
}

#[test]
fn seen_follows_what_is_said_last() {
    let kit = Kit::new();
    for sequence in [5, 9, 7] {
        kit.apply(Batch::new("ada").seen("c/c", sequence).seen("c/d", sequence));
    }
    kit.apply(Batch::new("ada").forget("c/d"));
    kit.index.flush().expect("flushes");
    assert_eq!(kit.index.seen("ada", "c/c"), Ok(Some(7)));
    assert_eq!(kit.index.seen("ada", "c/d"), Ok(None));
    kit.apply(Batch::new("ada").remove_user());
    kit.index.flush().expect("flushes");
    assert_eq!(kit.index.seen("ada", "c/c"), Ok(None));
}

#[test]
fn changes_are_committed_without_being_asked_for() {
    let kit = Kit::with(Options { commit_ms: 10, ..Options::default() });
    kit.apply(Batch::new("ada").put(message("c", "1", "soon")).seen("c/c", 1));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while kit.index.seen("ada", "c/c") != Ok(Some(1)) {
        assert!(std::time::Instant::now() < end, "never committed");
        std::thread::yield_now();
    }
    assert_eq!(kit.ids("ada", "soon"), ["1"]);
}

#[test]
fn a_second_index_in_the_same_folder_is_refused_and_harms_nothing() {
    let kit = Kit::new();
    kit.put("ada", &[("1", "kept")]);
    // Not even when it seems to be damaged.
    for note in [None, Some(kit.folder.path().join("suspect"))] {
        if let Some(note) = note {
            std::fs::write(note, "why").expect("writes");
        }
        let second = Index::open(kit.folder.path(), Options::default()).map(|_| ());
        assert_eq!(second, Err(SearchError::InUse));
    }
    kit.put("ada", &[("2", "kept")]);
    assert_eq!(kit.ids("ada", "kept"), ["1", "2"]);
}
