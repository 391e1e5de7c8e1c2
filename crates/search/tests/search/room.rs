//! Bounds: the queue, and what an index has open.

use syncline_search::{Batch, Options, SearchError};

use crate::kit::{Kit, message};

/// Keeps the thread at its commits while the queue fills.
fn fill(kit: &Kit, batch: impl Fn(usize) -> Batch) -> usize {
    (0..1_000_000).take_while(|number| kit.index.apply(batch(*number)) != Err(SearchError::Full)).count()
}

#[test]
fn a_full_queue_is_told_and_what_was_taken_is_kept() {
    // Every batch is a commit of its own: the queue fills faster than the disk takes it.
    let options = Options { queue_batches: 4, commit_bytes: 0, ..Options::default() };
    let kit = Kit::with(options);
    let batch = |number: usize| {
        Batch::new("ada").put(message("c", &number.to_string(), "word")).seen("c/c", number as u64)
    };
    let taken = fill(&kit, batch);
    assert!(taken < 1_000_000, "never full");
    assert!(kit.index.lag().batches <= 4);
    kit.index.flush().expect("flushes");
    assert_eq!(kit.index.seen("ada", "c/c"), Ok(Some(taken as u64 - 1)));
    assert_eq!(kit.index.lag(), Default::default());
}

#[test]
fn a_queue_is_full_by_its_bytes_but_takes_one_batch_of_any_size() {
    let options = Options { queue_bytes: 10_000, commit_bytes: 0, ..Options::default() };
    let kit = Kit::with(options);
    let long = "word ".repeat(10_000);
    kit.apply(Batch::new("ada").put(message("c", "0", &long)));
    let taken = fill(&kit, |number| Batch::new("ada").put(message("c", &format!("n{number}"), &long)));
    assert!(taken < 1_000_000, "never full");
    kit.index.flush().expect("flushes");
    assert_eq!(kit.ids("ada", "word").len(), 20.min(taken + 1));
}

#[cfg(target_os = "linux")]
#[test]
fn many_small_commits_leave_few_files_and_fewer_open() {
    let kit = Kit::new();
    for number in 0..60 {
        kit.put("ada", &[(&number.to_string(), "word")]);
    }
    kit.index.flush().expect("flushes");
    let files = std::fs::read_dir(kit.folder.path().join("v3")).expect("a folder").count();
    assert!(files < 150, "{files} files");
    let open = std::fs::read_dir("/proc/self/fd").expect("descriptors").filter(|entry| {
        let target = entry.as_ref().ok().and_then(|entry| std::fs::read_link(entry.path()).ok());
        target.is_some_and(|target| target.starts_with(kit.folder.path()))
    });
    let open = open.count();
    assert!(open < 20, "{open} open");
    assert_eq!(kit.find("ada", "word").hits.len(), 20);
}
