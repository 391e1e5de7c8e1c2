//! The renewal of read marks in a session: what is written for it is shown and stored once it is durable, and who comes
//! late with marks of the history before is asked whose they are.

#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use support::{Bench, frame};
use syncline_document::{
    Replica, fold,
    hlc::Hlc,
    ids::{ConversationId, Writer},
    record::{Checkpoint, EntryKind, Stored},
    register::Stamp,
    schema::marks,
};
use syncline_protocol::{
    frame::{Dialect, Dialect::Hocuspocus, Reply},
    limits::Limits,
    state_vector,
};
use syncline_sync::{Access, Effect, PeerId, Settings};

/// A device that reads.
struct Reader(Replica, u64);

impl Reader {
    /// Marks a conversation as read; returns the update.
    fn mark(&mut self, n: u64, seq: u64) -> Bytes {
        self.1 += 1;
        let id = ConversationId::parse(&format!("018c1f3e-0000-7000-8000-{n:012}")).expect("an id");
        let stamp = Stamp { writer: Writer::parse("phone.s").expect("a writer"), hlc: Hlc::at(self.1) };
        let edited = self.0.edit(|pen| marks::set(pen, &id, &stamp, seq, None)).expect("written");
        edited.update.expect("an update")
    }
}

fn settings() -> Settings {
    Settings { marks_epoch_bytes: 2_000, fold_updates: 100, ..Settings::default() }
}

fn seqs(replica: &mut Replica) -> BTreeMap<String, u64> {
    marks::read(replica)
        .expect("marks")
        .into_iter()
        .map(|(id, mark)| (id[34..].to_owned(), mark.seq))
        .collect()
}

fn read(checkpoint: &Checkpoint) -> BTreeMap<String, u64> {
    seqs(&mut Replica::load([&checkpoint.update[..]]).expect("loads"))
}

/// A peer sets marks in three conversations, each saved, until the document is to be folded.
fn filled(dialect: Dialect) -> (Bench, PeerId, Reader) {
    let mut bench = Bench::of("ada/marks", settings());
    let peer = bench.synced(dialect);
    let mut reader = Reader(Replica::of_client(11), 1_000);
    for seq in 0..300 {
        let update = reader.mark(seq % 3, seq);
        bench.update(peer, dialect, &update);
        bench.commit();
    }
    bench.sent.clear();
    (bench, peer, reader)
}

fn checkpoint(bench: &mut Bench) -> Option<Checkpoint> {
    let at = bench.asked.iter().position(|effect| matches!(effect, Effect::Checkpoint(_)))?;
    let Effect::Checkpoint(checkpoint) = bench.asked.remove(at) else { return None };
    Some(checkpoint)
}

/// A session that knows no more than what is stored, and a connection of the device.
fn restarted(checkpoint: Checkpoint, dialect: Dialect) -> (Bench, PeerId) {
    let mut bench = Bench::of("ada/marks", settings());
    bench.now_ms = 10_000;
    let sequence = checkpoint.sequence;
    bench.stored = Some(Stored { checkpoint: Some(checkpoint), sequence, ..Stored::default() });
    let peer = bench.join(dialect, Access::Write);
    (bench, peer)
}

/// What is stored, with what was appended since.
fn stored(bench: &Bench) -> BTreeMap<String, u64> {
    let mut stored = bench.stored.clone().unwrap_or_default();
    stored.tail.extend(bench.appended.iter().cloned());
    seqs(&mut Replica::load(fold::parts(&stored)).expect("loads"))
}

/// The update of the reply that asks for everything.
fn asks_for_all(bench: &mut Bench, peer: PeerId, dialect: Dialect) -> bool {
    bench.told(peer).contains(&frame(dialect, &Reply::SyncStep1(&[0])))
}

#[test]
fn what_is_written_for_it_is_shown_and_stored_once_it_is_durable() {
    let (mut bench, peer, mut reader) = filled(Hocuspocus);
    let entries = bench.appended.len();
    let size: usize = bench.appended.iter().map(|entry| entry.bytes.len()).sum();
    bench.tick_at(1);
    assert_eq!(bench.appended.len(), entries + 1, "one entry for it");
    let renewal = bench.appended[entries].clone();
    assert_eq!((renewal.kind, renewal.origin.user.is_none()), (EntryKind::Update, true));
    assert!(checkpoint(&mut bench).is_none() && bench.told(peer).is_empty(), "not before it is durable");
    // A mark that was under way: it stands beside what was collected just now, and it is known whose that was.
    let late = reader.mark(1, 999);
    bench.update(peer, Hocuspocus, &late);
    assert!(!asks_for_all(&mut bench, peer, Hocuspocus));
    bench.commit();
    let checkpoint = checkpoint(&mut bench).expect("a checkpoint");
    assert_eq!(checkpoint.sequence, renewal.sequence);
    assert!(checkpoint.update.len() * 10 < size, "{} of {size} bytes", checkpoint.update.len());
    assert_eq!(
        read(&checkpoint),
        [("00", 297), ("01", 298), ("02", 299)].map(|(id, seq)| (id.into(), seq)).into()
    );
    assert!(bench.told(peer).contains(&frame(Hocuspocus, &Reply::Update(&renewal.bytes))));
    // The device, which has the old history, shows the same, and so does who has all that was journalled.
    for entry in &bench.appended[entries..] {
        reader.0.absorb(&entry.bytes, &Limits::default());
    }
    let expected =
        BTreeMap::from([("00", 297), ("01", 999), ("02", 299)].map(|(id, seq)| (id.to_owned(), seq)));
    assert_eq!((seqs(&mut reader.0), stored(&bench)), (expected.clone(), expected));
    // It is not renewed again: there is nothing to gain.
    bench.session.fold_soon();
    bench.tick_at(100_000);
    assert_eq!(bench.appended.len(), entries + 3, "the mark, and what the judge made of it");
}

#[test]
fn a_device_that_was_away_is_asked_for_its_marks_before_it_is_told_of_the_renewal() {
    let (mut bench, _, mut reader) = filled(Hocuspocus);
    bench.tick_at(1);
    bench.commit();
    let checkpoint = checkpoint(&mut bench).expect("a checkpoint");
    for dialect in [Hocuspocus, Dialect::Plain] {
        let (mut bench, peer) = restarted(checkpoint.clone(), dialect);
        let seq = 5_000 + u64::from(dialect == Dialect::Plain);
        reader.mark(2, seq);
        bench.step1(peer, dialect, &reader.0.state_vector());
        let told = bench.told(peer);
        assert_eq!(told[0], frame(dialect, &Reply::SyncStep1(state_vector::EVERYTHING)));
        assert_eq!(told.len(), 2, "then the answer");
        let all = reader.0.encode_state().unwrap();
        bench.step2(peer, dialect, &all);
        let news = bench.appended[0].clone();
        assert!(news.bytes.len() * 10 < all.len(), "only what is new is journalled: {}", news.bytes.len());
        bench.commit();
        assert_eq!(stored(&bench)["02"], seq);
        assert!(!bench.told(peer).is_empty(), "it is saved");
        // Whose that one was is known from now on: what is set after it needs no question.
        let update = reader.mark(2, seq + 100);
        bench.update(peer, dialect, &update);
        bench.commit();
        assert!(!asks_for_all(&mut bench, peer, dialect));
        assert_eq!(stored(&bench)["02"], seq + 100);
    }
}

#[test]
fn a_mark_that_is_set_before_the_answer_comes_is_carried_over() {
    for dialect in [Hocuspocus, Dialect::Plain] {
        let (mut bench, _, mut reader) = filled(Hocuspocus);
        bench.tick_at(1);
        bench.commit();
        let checkpoint = checkpoint(&mut bench).expect("a checkpoint");
        let (mut bench, peer) = restarted(checkpoint, dialect);
        // It offers nothing: it only lacks the renewal.
        bench.step1(peer, dialect, &reader.0.state_vector());
        reader.mark(2, 5_000);
        assert_eq!(bench.told(peer)[0], frame(dialect, &Reply::SyncStep1(state_vector::EVERYTHING)));
        // It answers before it is told, since it is asked first.
        bench.step2(peer, dialect, &reader.0.encode_state().unwrap());
        bench.commit();
        assert_eq!(stored(&bench)["02"], 5_000);
    }
}

/// It knows all that is here, but goes on beside something that was collected without a successor.
#[test]
fn what_nobody_here_knows_the_key_of_is_kept_and_asked_for() {
    let (mut bench, _, mut reader) = filled(Hocuspocus);
    bench.tick_at(1);
    bench.commit();
    let checkpoint = checkpoint(&mut bench).expect("a checkpoint");
    let (mut bench, peer) = restarted(checkpoint.clone(), Hocuspocus);
    // It shows that it has everything, though it has not.
    bench.step1(peer, Hocuspocus, &checkpoint.state_vector);
    bench.sent.clear();
    reader.mark(2, 5_000);
    bench.step2(peer, Hocuspocus, &reader.0.diff(&checkpoint.state_vector).unwrap());
    assert_eq!(bench.kinds(), [EntryKind::Pending], "it is kept, durably");
    assert!(asks_for_all(&mut bench, peer, Hocuspocus));
    bench.step2(peer, Hocuspocus, &reader.0.encode_state().unwrap());
    bench.commit();
    assert_eq!(stored(&bench)["02"], 5_000);
}

#[test]
fn a_mark_that_comes_live_waits_for_the_answer() {
    let (mut bench, _, mut reader) = filled(Hocuspocus);
    bench.tick_at(1);
    bench.commit();
    let checkpoint = checkpoint(&mut bench).expect("a checkpoint");
    let (mut bench, peer) = restarted(checkpoint, Dialect::Plain);
    bench.step1(peer, Dialect::Plain, &reader.0.state_vector());
    bench.step2(peer, Dialect::Plain, &[0, 0]);
    bench.sent.clear();
    let update = reader.mark(0, 7_000);
    bench.update(peer, Dialect::Plain, &update);
    assert!(bench.appended.is_empty(), "it is parked");
    assert!(asks_for_all(&mut bench, peer, Dialect::Plain));
    bench.step2(peer, Dialect::Plain, &reader.0.encode_state().unwrap());
    bench.commit();
    assert_eq!(stored(&bench)["00"], 7_000);
    assert!(bench.told(peer).contains(&frame(Dialect::Plain, &Reply::Update(&update))), "and it is saved");
}

#[test]
fn it_is_not_renewed_while_something_waits_for_what_never_came() {
    let (mut bench, peer, _) = filled(Hocuspocus);
    // A client whose first clocks are missing.
    bench.step1(peer, Hocuspocus, &[0]);
    bench.step2(peer, Hocuspocus, &support::typed(77, 5, "x"));
    bench.commit();
    let entries = bench.appended.len();
    bench.tick_at(1);
    assert_eq!(bench.appended.len(), entries);
}
