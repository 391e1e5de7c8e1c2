//! The commit thread: rows, and entries that belong together.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;
use syncline_document::record::Entry;
use syncline_store::{
    MemoryStore, Row, Store, StoreError, Writer, WriterOptions,
    acceptance::{all_rows, entry, name, row},
    memory::{Fault, PowerCut},
    store::ROW_BYTES,
};

use crate::writing::{AT_ONCE, load, start};

/// Nothing is committed after the first commit until something asks for it.
const SLOW: WriterOptions = WriterOptions { pace_us: 60_000_000, ..AT_ONCE };

type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Returns a reply that sends what it is told, with a number.
fn reply(to: &mpsc::Sender<(u32, Result<(), StoreError>)>, number: u32) -> Reply {
    let to = to.clone();
    Box::new(move |result| to.send((number, result)).unwrap())
}

fn wait<T>(from: &mpsc::Receiver<T>) -> T {
    from.recv_timeout(Duration::from_secs(20)).unwrap()
}

fn sized(sequence: u64, bytes: usize) -> Entry {
    Entry { bytes: vec![1; bytes].into(), ..entry("a", sequence) }
}

/// Returns the sequences that each commit reported.
fn commits(reports: &crate::writing::Reports) -> Vec<Vec<u64>> {
    let reports = reports.lock();
    reports.iter().map(|report| report.tags.iter().map(|(_, sequence)| *sequence).collect()).collect()
}

#[test]
fn what_is_appended_together_is_one_commit_whatever_its_size() {
    let store = Arc::new(MemoryStore::new().unwrap());
    let (writer, reports) = start(&store, WriterOptions { commit_bytes: 100, ..SLOW });
    writer.append(entry("a", 1), 1);
    load(&writer, "a").unwrap();
    writer.append(sized(2, 60), 2);
    writer.append(sized(3, 60), 3);
    writer.append_together((4..=6).map(|n| (sized(n, 60), n)), vec![row(b"turn", "6")]).unwrap();
    writer.append_together([], vec![row(b"alone", "x")]).unwrap();
    writer.append_together([], vec![]).unwrap();
    writer.append(sized(7, 60), 7);
    let stored = load(&writer, "a").unwrap().unwrap();
    assert_eq!((stored.sequence, store.last_commit()), (7, 5));
    assert_eq!(commits(&reports), [vec![1], vec![2], vec![3], vec![4, 5, 6], vec![7]]);
    assert_eq!(store.row(b"turn"), Ok(Some("6".into())));
    assert_eq!(store.row(b"alone"), Ok(Some("x".into())));
    assert_eq!(writer.queued(), Default::default());
}

#[test]
fn rows_are_durable_when_it_is_said_and_share_the_commit_of_what_is_queued() {
    let store = Arc::new(MemoryStore::new().unwrap());
    let (writer, reports) = start(&store, SLOW);
    writer.append(entry("a", 1), 1);
    load(&writer, "a").unwrap();
    let (syncs, (send, replies)) = (store.kv().syncs(), mpsc::channel());
    writer.append(entry("a", 2), 2);
    for number in 0..3 {
        let durable = store.clone();
        let tell = reply(&send, number);
        let rows = vec![row(b"count", &number.to_string()), row(&[number as u8], "x")];
        let check = move |result| {
            let after = durable.power_cut(PowerCut::Drop, &mut |_| 0).unwrap();
            assert_eq!(after.row(&[number as u8]), Ok(Some("x".into())));
            assert!(after.read(&name("a")).unwrap().unwrap().sequence >= 2, "what was queued before");
            tell(result);
        };
        writer.put_rows(rows, Box::new(check));
    }
    writer.append(entry("a", 3), 3);
    assert_eq!((writer.queued().entries, writer.queued().rows), (2, 6));
    load(&writer, "a").unwrap();
    assert_eq!([wait(&replies), wait(&replies), wait(&replies)], [(0, Ok(())), (1, Ok(())), (2, Ok(()))]);
    assert_eq!(store.row(b"count"), Ok(Some("2".into())), "the last one holds");
    assert_eq!((store.kv().syncs() - syncs, commits(&reports)), (1, vec![vec![1], vec![2, 3]]));
}

#[test]
fn rows_alone_are_committed_and_wake_the_thread() {
    let store = Arc::new(MemoryStore::new().unwrap());
    let (writer, _) = start(&store, AT_ONCE);
    let (send, replies) = mpsc::channel();
    for number in 0..20 {
        writer.put_rows(vec![row(b"k", &number.to_string())], reply(&send, number));
        assert_eq!(wait(&replies), (number, Ok(())));
        assert_eq!(store.row(b"k"), Ok(Some(number.to_string().into())));
    }
    writer.put_rows(Vec::new(), reply(&send, 20));
    assert_eq!(wait(&replies), (20, Ok(())), "no rows are soon written");
    assert_eq!((store.last_commit(), writer.oldest_queued_ms()), (0, 0));
}

#[test]
fn a_commit_that_fails_fails_its_rows_and_all_later_ones() {
    for fault in [Fault::Full, Fault::Sync, Fault::Panic] {
        let store = Arc::new(MemoryStore::new().unwrap());
        let (writer, reports) = start(&store, SLOW);
        let (send, replies) = mpsc::channel();
        writer.put_rows(vec![row(b"0", "x")], reply(&send, 0));
        load(&writer, "a").unwrap();
        store.kv().fail(fault, 0);
        writer.append_together([(entry("a", 1), 1)], vec![row(b"1", "x")]).unwrap();
        writer.put_rows(vec![row(b"2", "x")], reply(&send, 2));
        load(&writer, "a").unwrap();
        writer.put_rows(vec![row(b"3", "x")], reply(&send, 3));
        assert!(writer.shutdown().is_err(), "something is not saved");
        assert_eq!(wait(&replies), (0, Ok(())));
        let failed = [wait(&replies), wait(&replies)];
        assert!(matches!(failed, [(2, Err(_)), (3, Err(StoreError::Poisoned(_)))]), "{fault:?}: {failed:?}");
        assert!(reports.lock().iter().skip(1).all(|report| report.result.is_err()));
        assert_eq!(all_rows(&*store), [(b"0".to_vec(), Bytes::from("x"))], "{fault:?}");
    }
}

#[test]
fn a_row_of_a_wrong_size_is_refused_at_once_and_harms_nobody() {
    let store = Arc::new(MemoryStore::new().unwrap());
    let (writer, reports) = start(&store, SLOW);
    let (send, replies) = mpsc::channel();
    let large = || Row { key: b"large".into(), value: Some(vec![0; ROW_BYTES + 1].into()) };
    writer.append(entry("a", 1), 1);
    writer.put_rows(vec![row(b"fine", "x"), large()], reply(&send, 0));
    assert!(matches!(replies.try_recv(), Ok((0, Err(StoreError::TooLarge(_))))));
    let refused = writer.append_together([(entry("a", 2), 2)], vec![row(b"", "x")]);
    assert!(matches!(refused, Err(StoreError::TooLarge(_))));
    writer.append(entry("a", 2), 2);
    assert_eq!(load(&writer, "a").unwrap().unwrap().sequence, 2);
    assert!(reports.lock().iter().all(|report| report.result.is_ok()));
    assert_eq!(all_rows(&*store), []);
}

#[test]
fn rows_count_in_the_bounds_of_the_queue() {
    let store = Arc::new(MemoryStore::new().unwrap());
    let (hold, held) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let writer: Writer<u64> = Writer::start(store, AT_ONCE, move |_| {
        entered.send(()).unwrap();
        held.recv().unwrap();
    })
    .unwrap();
    // Dropped before the writer: a test that fails must not wait for the callback for ever.
    let hold = hold;
    let largest = || Row { key: b"k".into(), value: Some(vec![0; ROW_BYTES].into()) };
    for rows in [vec![largest(); 22], vec![row(b"k", ""); 101]] {
        writer.append(entry("a", writer.store().last_commit() + 1), 0);
        wait(&inside);
        let bytes: usize = rows.iter().map(|row| 1 + row.value.as_ref().unwrap().len()).sum();
        assert!(writer.has_room());
        writer.append_together([], rows).unwrap();
        assert_eq!((writer.queued().bytes, writer.has_room()), (bytes, false));
        let (room, has_room) = mpsc::channel();
        writer.on_room(Box::new(move || room.send(()).unwrap()));
        hold.send(()).unwrap();
        wait(&has_room);
        wait(&inside);
        hold.send(()).unwrap();
    }
    writer.shutdown().unwrap();
}

#[test]
fn rows_queued_before_the_end_are_written_and_later_ones_refused() {
    let store = Arc::new(MemoryStore::new().unwrap());
    let (writer, _) = start(&store, SLOW);
    let (send, replies) = mpsc::channel();
    writer.append(entry("a", 1), 1);
    load(&writer, "a").unwrap();
    writer.put_rows(vec![row(b"k", "x")], reply(&send, 1));
    writer.shutdown().unwrap();
    assert_eq!(replies.try_recv(), Ok((1, Ok(()))));
    writer.put_rows(vec![row(b"k", "y")], reply(&send, 2));
    assert_eq!(replies.try_recv(), Ok((2, Err(StoreError::Closed))));
    let late = writer.append_together([(entry("a", 2), 2)], vec![row(b"k", "y")]);
    assert_eq!((late, store.row(b"k")), (Err(StoreError::Closed), Ok(Some("x".into()))));
}
