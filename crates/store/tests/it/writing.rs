//! The commit thread.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use parking_lot::Mutex;
use syncline_store::{
    CommitReport, MemoryStore, Store, StoreError, Writer, WriterOptions,
    acceptance::{checkpoint, entry, name},
    memory::Fault,
};

pub(crate) type Reports = Arc<Mutex<Vec<CommitReport<u64>>>>;

/// No pauses: tests do not wait.
pub(crate) const AT_ONCE: WriterOptions = WriterOptions {
    queue_entries: 100,
    queue_bytes: 1 << 20,
    commit_bytes: 16 << 20,
    pace_us: 0,
    busy_pace_us: 0,
    busy_entries_per_s: u64::MAX,
    helpers: 2,
};

pub(crate) fn start(store: &Arc<MemoryStore>, options: WriterOptions) -> (Writer<u64>, Reports) {
    let reports = Reports::default();
    let (seen, durable) = (reports.clone(), store.clone());
    let writer = Writer::start(store.clone(), options, move |report: CommitReport<u64>| {
        if report.result.is_ok() {
            // What is reported is in the image that survives a power cut.
            let after = durable.power_cut(syncline_store::memory::PowerCut::Drop, &mut |_| 0).unwrap();
            let sequence = after.read(&name("a")).unwrap().map_or(0, |stored| stored.sequence);
            assert!(report.tags.iter().all(|(_, tag)| *tag <= sequence));
        }
        seen.lock().push(report);
    });
    (writer.unwrap(), reports)
}

pub(crate) fn load(
    writer: &Writer<u64>,
    document: &str,
) -> Result<Option<syncline_document::record::Stored>, StoreError> {
    let (send, receive) = mpsc::channel();
    writer.load(name(document), Box::new(move |read| send.send(read).unwrap()));
    receive.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn every_entry_is_reported_once_in_order_and_only_when_durable() {
    let store = Arc::new(MemoryStore::new().unwrap());
    let (writer, reports) = start(&store, AT_ONCE);
    for sequence in 1..=500 {
        writer.append(entry("a", sequence), 1000 + sequence);
    }
    writer.shutdown().unwrap();
    let tags: Vec<_> = reports.lock().iter().flat_map(|report| report.tags.clone()).collect();
    assert_eq!(tags, (1..=500).map(|sequence| (1000 + sequence, sequence)).collect::<Vec<_>>());
    assert!(reports.lock().iter().all(|report| report.result.is_ok()));
    assert_eq!(store.last_commit(), reports.lock().len() as u64, "one record per commit");
    let stats = writer.stats();
    assert_eq!(stats.entries.load(std::sync::atomic::Ordering::Relaxed), 500);
}

#[test]
fn a_load_shows_everything_that_was_appended_before_it() {
    let store = Arc::new(MemoryStore::new().unwrap());
    let paced = WriterOptions { pace_us: 60_000_000, ..AT_ONCE };
    let (writer, _) = start(&store, paced);
    for sequence in 1..=50 {
        writer.append(entry("a", sequence), 0);
        if sequence % 10 == 0 {
            // Loads do not wait for the pace of commits.
            assert_eq!(load(&writer, "a").unwrap().unwrap().sequence, sequence);
        }
    }
    assert_eq!(load(&writer, "b"), Ok(None));
}

#[test]
fn a_failure_is_reported_for_all_that_follows_and_nothing_after_it_is_written() {
    for fault in [Fault::Full, Fault::Sync, Fault::Panic] {
        let store = Arc::new(MemoryStore::new().unwrap());
        let (writer, reports) = start(&store, AT_ONCE);
        writer.append(entry("a", 1), 1);
        load(&writer, "a").unwrap();
        store.kv().fail(fault, 0);
        writer.append(entry("a", 2), 2);
        load(&writer, "a").unwrap();
        writer.append(entry("a", 3), 3);
        assert_eq!(load(&writer, "a").unwrap().unwrap().tail, [entry("a", 1)], "reads go on");
        assert!(writer.shutdown().is_err(), "something is not saved");
        let acked: Vec<_> = reports
            .lock()
            .iter()
            .filter(|report| report.result.is_ok())
            .flat_map(|r| r.tags.clone())
            .collect();
        let failed: Vec<_> = reports
            .lock()
            .iter()
            .filter(|report| report.result.is_err())
            .flat_map(|r| r.tags.clone())
            .collect();
        assert_eq!((acked, failed), (vec![(1, 1)], vec![(2, 2), (3, 3)]), "{fault:?}");
    }
}

#[test]
fn a_checkpoint_is_written_after_what_was_appended_before_it() {
    let store = Arc::new(MemoryStore::new().unwrap());
    let (writer, _) = start(&store, AT_ONCE);
    let (send, receive) = mpsc::channel();
    let write = |sequence| {
        let send = send.clone();
        writer.checkpoint(
            name("a"),
            checkpoint(sequence),
            Box::new(move |result| send.send(result).unwrap()),
        );
        receive.recv_timeout(Duration::from_secs(20)).unwrap()
    };
    for sequence in 1..=20 {
        writer.append(entry("a", sequence), 0);
    }
    assert_eq!(write(20), Ok(()));
    assert!(matches!(write(21), Err(StoreError::Bug(_))), "ahead of the journal");
    writer.side(name("a"), "side".into());
    let stored = load(&writer, "a").unwrap().unwrap();
    assert_eq!((stored.checkpoint, stored.tail), (Some(checkpoint(20)), vec![]));
}

#[test]
fn shutdown_finishes_what_was_handed_in_and_later_calls_are_refused() {
    let store = Arc::new(MemoryStore::new().unwrap());
    let (writer, reports) = start(&store, WriterOptions { pace_us: 60_000_000, ..AT_ONCE });
    for sequence in 1..=5 {
        writer.append(entry("a", sequence), sequence);
    }
    let (send, receive) = mpsc::channel();
    writer.checkpoint(name("a"), checkpoint(5), Box::new(move |result| send.send(result).unwrap()));
    assert_eq!(writer.shutdown(), Ok(()));
    assert_eq!(receive.try_recv(), Ok(Ok(())));
    assert_eq!(reports.lock().iter().map(|report| report.tags.len()).sum::<usize>(), 5);
    assert_eq!(load(&writer, "a"), Err(StoreError::Closed));
    assert_eq!(writer.shutdown(), Ok(()));
}

#[test]
fn a_full_queue_says_so_and_calls_back_when_there_is_room() {
    let store = Arc::new(MemoryStore::new().unwrap());
    let (hold, held) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let writer: Writer<u64> = Writer::start(store, AT_ONCE, move |_| {
        entered.send(()).unwrap();
        held.recv().unwrap();
    })
    .unwrap();
    writer.append(entry("a", 1), 0);
    inside.recv_timeout(Duration::from_secs(20)).unwrap();
    let (room, has_room) = mpsc::channel();
    let ask = |room: &mpsc::Sender<()>| {
        let room = room.clone();
        writer.on_room(Box::new(move || room.send(()).unwrap()));
    };
    ask(&room);
    assert_eq!(has_room.try_recv(), Ok(()), "there is room now");
    for sequence in 2..=102 {
        writer.append(entry("a", sequence), 0);
    }
    assert_eq!((writer.queued().entries, writer.has_room()), (101, false));
    ask(&room);
    assert!(has_room.try_recv().is_err());
    hold.send(()).unwrap();
    has_room.recv_timeout(Duration::from_secs(20)).unwrap();
    hold.send(()).unwrap();
    writer.shutdown().unwrap();
}
