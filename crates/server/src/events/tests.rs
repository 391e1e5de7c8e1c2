use syncline_document::{Changed, Judgement, record::Origin};
use syncline_store::MemoryStore;

use super::*;

const KEPT: usize = 4;

fn batch(events: Vec<Value>) -> Batch {
    Batch { since: 0, at: 1, document: "marks".to_owned(), device: None, events }
}

fn draft(writer: &str) -> Batch {
    batch(vec![json!({ "type": "draft.changed", "conversation": "c", "writer": writer })])
}

fn other(n: u64) -> Batch {
    batch(vec![json!({ "type": "conversation.read", "conversation": "c", "seq": n })])
}

struct Bench {
    store: MemoryStore,
    feed: Arc<Feed>,
}

impl Bench {
    fn new() -> Self {
        let store = MemoryStore::new().expect("a store");
        let feed = Feeds::new(&store, KEPT).of("ada");
        Self { store, feed }
    }

    /// As after a restart.
    fn reopened(self) -> Self {
        let feed = Feeds::new(&self.store, KEPT).of("ada");
        Self { feed, ..self }
    }

    fn append(&self, batch: Batch) -> u64 {
        let appended = self.feed.append(&self.store, batch, |rows| self.store.commit(&[], &rows));
        appended.expect("written").expect("a number")
    }

    fn read(&self, after: Position) -> Result<Vec<u64>, Gap> {
        let mut after = after;
        let mut numbers = Vec::new();
        loop {
            let found = self.feed.read(&self.store, after, 2).expect("reads")?;
            let Some((last, _)) = found.last() else { return Ok(numbers) };
            after = Position::behind(*last);
            numbers.extend(found.iter().map(|(number, _)| *number));
        }
    }
}

#[test]
fn whoever_goes_on_hears_everything_once_or_that_it_is_gone() {
    let bench = Bench::new();
    assert_eq!(bench.read(Position::behind(0)), Ok(vec![]));
    assert_eq!(bench.read(Position::behind(1)), Err(Gap::Unknown));
    for n in 1..=KEPT as u64 {
        assert_eq!(bench.append(other(n)), n);
    }
    assert_eq!(bench.read(Position::behind(0)), Ok(vec![1, 2, 3, 4]));
    let bench = bench.reopened();
    assert_eq!(bench.append(other(5)), 5);
    assert_eq!(bench.read(Position::behind(0)), Err(Gap::Expired));
    assert_eq!(bench.read(Position::behind(1)), Ok(vec![2, 3, 4, 5]));
    assert_eq!(bench.read(Position::behind(5)), Ok(vec![]));
    assert_eq!(bench.read(Position::behind(6)), Err(Gap::Unknown));
    let rows = bench.store.rows(b"event/ada/", b"event/ada0", 100).expect("reads");
    assert_eq!(rows.len(), KEPT, "the oldest went");
}

#[test]
fn a_place_inside_a_batch_needs_that_batch() {
    let bench = Bench::new();
    for n in 1..=3 {
        bench.append(other(n));
    }
    let inside = |number| Position { number, within: Some(1) };
    assert_eq!(bench.read(inside(2)), Ok(vec![2, 3]));
    assert_eq!((inside(2).told_of(2), inside(2).told_of(3)), (1, 0));
    for n in 4..=7 {
        bench.append(other(n));
    }
    assert_eq!(bench.read(inside(3)), Err(Gap::Expired));
    assert_eq!(bench.read(inside(4)), Ok(vec![4, 5, 6, 7]));
}

#[test]
fn of_a_draft_that_is_written_on_the_newest_batch_stays() {
    let bench = Bench::new();
    bench.append(other(1));
    bench.append(draft("phone.a"));
    assert_eq!(bench.append(draft("phone.a")), 3);
    assert_eq!(bench.read(Position::behind(1)), Ok(vec![3]));
    assert_eq!(bench.read(Position::behind(2)), Ok(vec![3]), "it changed since");
    let bench = bench.reopened();
    for number in 4..=40 {
        assert_eq!(bench.append(draft("phone.a")), number);
    }
    assert_eq!(bench.read(Position::behind(1)), Ok(vec![40]), "keystrokes push nothing out");
    assert_eq!(bench.append(draft("laptop.a")), 41);
    assert_eq!(bench.append(draft("phone.a")), 42);
    assert_eq!(bench.read(Position::behind(40)), Ok(vec![41, 42]));
}

#[test]
fn a_batch_whose_commit_failed_uses_up_no_number() {
    let bench = Bench::new();
    let failed = bench.feed.append(&bench.store, other(1), |_| Err("closed"));
    assert_eq!(failed, Err("closed"));
    assert_eq!(bench.append(other(1)), 1);
}

#[test]
fn listeners_hear_of_what_is_durable_only() {
    let bench = Bench::new();
    let (durable, heard) = bench.feed.listen(&bench.store).expect("listens");
    let number = bench.append(other(1));
    assert!(durable == 0 && !heard.has_changed().expect("is there"));
    bench.feed.tell(number);
    assert!(heard.has_changed().expect("is there"));
    assert_eq!(bench.reopened().feed.listen(&MemoryStore::new().expect("a store")).expect("listens").0, 0);
}

#[test]
fn what_does_not_fit_into_a_row_is_counted() {
    let name = DocumentName::parse("ada/profile").expect("a name");
    let long = |n: usize| Changed::PreferenceSet { name: format!("{n}{}", "\u{1}".repeat(900)) };
    let judgement =
        Judgement { changed: (0..64).map(long).collect(), more_changed: 3, ..Judgement::default() };
    let verdict = Verdict { origin: Origin { user: None, device: None, at_ms: 5 }, judgement };
    let (user, batch) = Batch::of(&name, &verdict).expect("a batch");
    assert_eq!((&*user, &*batch.document), ("ada", "profile"));
    assert!(json!(batch).to_string().len() <= ROW_BYTES);
    let told = batch.events.len() - 1;
    let many = batch.events.last().expect("the count");
    assert_eq!(many, &json!({ "type": "many", "document": "profile", "more": 64 - told + 3 }));
    assert!(Batch::of(&name, &Verdict { judgement: Judgement::default(), ..verdict }).is_none());
}

#[test]
fn an_event_that_fills_the_row_to_the_last_byte_is_counted_with_the_rest() {
    let name = DocumentName::parse("ada/profile").expect("a name");
    let room = ROW_BYTES - 2_048;
    let head = json!(Changed::PreferenceSet { name: String::new() }).to_string().len();
    for (bytes, told) in [(room - 1, "preference.set"), (room, "many"), (room + 1, "many")] {
        let changed = vec![Changed::PreferenceSet { name: "x".repeat(bytes - head) }];
        let judgement = Judgement { changed, ..Judgement::default() };
        let verdict = Verdict { origin: Origin { user: None, device: None, at_ms: 5 }, judgement };
        let (_, batch) = Batch::of(&name, &verdict).expect("a batch");
        assert_eq!((batch.events.len(), &batch.events[0]["type"]), (1, &json!(told)), "{bytes}");
    }
}

#[test]
fn a_user_has_so_many_streams() {
    let feed = Bench::new().feed;
    let first = feed.enter(2).expect("a place");
    let second = feed.enter(2);
    assert!(second.is_some() && feed.enter(2).is_none());
    drop(first);
    assert!(feed.enter(2).is_some());
}
