//! What goes over the connection and when, frame by frame, with a disk that can fail.

use std::sync::{Arc, atomic::AtomicUsize};

use bytes::Bytes;
use parking_lot::Mutex;
use syncline_document::{
    Replica,
    schema::preferences::{self, Provenance},
};
use syncline_protocol::{
    frame::{HocuspocusFrame, Message, Reply, decode_hocuspocus, encode},
    limits::Limits as Checker,
    names::DocumentName,
    state_vector,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{Command, Keeper, Lost, Order, Wire};
use crate::{ClientError, Config, Status, boards::Boards, log::Disk};

/// A keeper with a connection whose other end the test holds.
struct Bench {
    keeper: Keeper,
    boards: Arc<Boards>,
    orders: mpsc::Receiver<Order>,
    profile: DocumentName,
    connections: u64,
    told: Arc<Mutex<Vec<Result<(), ClientError>>>>,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::on(tempfile::tempdir().expect("a folder"))
    }

    /// Opens an empty folder, connected to a server that has nothing either; all of it is saved.
    fn synced() -> Self {
        let mut bench = Self::new();
        bench.connect();
        bench.answered(&mut Replica::new());
        bench.hear(&SAVED);
        bench.keeper.settle();
        bench.sent();
        bench
    }

    /// Opens what is in a folder.
    fn on(folder: TempDir) -> Self {
        let path = folder.path().display().to_string();
        let mut config =
            Config::new("http://localhost".to_owned(), "ada".to_owned(), "phone".to_owned(), path);
        config.limits.index_quarters = 0;
        let profile = config.document("profile").expect("a name");
        let boards = Arc::new(Boards::new());
        let keeper = Keeper::open(Arc::new(config), boards.clone()).expect("opens");
        let (_, orders) = mpsc::channel(1);
        let told = Arc::default();
        Self { keeper, boards, orders, profile, connections: 0, told, folder }
    }

    /// Connects: what is said at once is passed over.
    fn connect(&mut self) {
        self.connections += 1;
        let (orders, inbox) = mpsc::channel(64);
        self.orders = inbox;
        let wire = Wire { number: self.connections, orders, queued: Arc::new(AtomicUsize::new(0)) };
        self.keeper.take(Command::Up(wire, "token".to_owned()));
        self.keeper.settle();
        self.sent();
    }

    /// The server says something of the profile.
    fn hear(&mut self, reply: &Reply<'_>) {
        let frame = encode(Some(self.profile.as_str()), reply);
        self.keeper.take(Command::Frame(self.connections, frame));
    }

    /// The server, which has this, answers the SyncStep1 and asks.
    fn answered(&mut self, server: &mut Replica) {
        let (update, state_vector) = (server.encode_state().expect("encodes"), server.state_vector());
        self.hear(&Reply::Authenticated { read_only: false });
        self.hear(&Reply::SyncStep2(&update));
        self.hear(&Reply::SyncStep1(&state_vector));
        self.keeper.settle();
    }

    /// Sets a preference, without putting anything onto the disk yet.
    fn set(&mut self, name: &'static str) {
        let (profile, told) = (self.profile.clone(), self.told.clone());
        self.keeper.take(Command::Work(Box::new(move |keeper| {
            let done = keeper.edit(&profile, |pen, stamp| {
                preferences::set(pen, name, stamp, &true.into(), &Provenance::explicit())
            });
            Box::new(move |stored| told.lock().push(done.and(stored)))
        })));
    }

    /// Returns what was sent of the profile since it was last asked: what it is, and its update.
    fn sent(&mut self) -> Vec<(&'static str, Bytes)> {
        let mut sent = Vec::new();
        while let Ok(order) = self.orders.try_recv() {
            let Order::Frame(frame) = order else { continue };
            let decoded = decode_hocuspocus(&frame).expect("a frame");
            let HocuspocusFrame::Addressed(address, message) = decoded else { continue };
            if address.raw != self.profile.as_str() {
                continue;
            }
            sent.push(match message {
                Message::SyncStep1(bytes) => ("step1", Bytes::copy_from_slice(bytes)),
                Message::SyncStep2(bytes) => ("step2", Bytes::copy_from_slice(bytes)),
                Message::Update(bytes) => ("update", Bytes::copy_from_slice(bytes)),
                Message::Stateless(text) => ("json", Bytes::copy_from_slice(text.as_bytes())),
                Message::Auth { .. } => ("auth", Bytes::new()),
                Message::Detach => ("detach", Bytes::new()),
                _ => ("other", Bytes::new()),
            });
        }
        sent
    }

    fn kinds(&mut self) -> Vec<&'static str> {
        self.sent().into_iter().map(|(kind, _)| kind).collect()
    }

    fn unsaved(&self) -> u64 {
        self.keeper.copies[&self.profile].unsaved()
    }

    fn status(&self) -> Status {
        self.keeper.copies[&self.profile].status(self.keeper.line)
    }

    fn on_disk(&mut self, disk: impl FnMut() -> Result<(), std::io::Error> + Send + 'static) {
        let copy = self.keeper.copies.get_mut(&self.profile).expect("is open");
        copy.log.disk = Some(Disk(Box::new(disk)));
    }
}

const SAVED: Reply<'static> = Reply::Status { saved: true };

#[test]
fn an_edit_is_on_the_disk_before_anybody_hears_of_it() {
    let mut bench = Bench::synced();
    let was_told = Arc::new(Mutex::new(None));
    let (told, seen) = (bench.told.clone(), was_told.clone());
    bench.on_disk(move || {
        *seen.lock() = Some(told.lock().len());
        Ok(())
    });
    bench.set("a");
    assert!(bench.sent().is_empty() && bench.told.lock().is_empty(), "it is in memory only");
    bench.keeper.settle();
    assert_eq!((*was_told.lock(), bench.told.lock().as_slice()), (Some(0), &[Ok(())][..]));
    assert_eq!((bench.kinds(), bench.unsaved()), (vec!["update"], 1));
}

#[test]
fn what_the_disk_does_not_take_is_neither_called_kept_nor_offered() {
    let mut bench = Bench::synced();
    bench.on_disk(|| Err(std::io::Error::other("full")));
    bench.set("a");
    bench.keeper.settle();
    assert_eq!(bench.told.lock().as_slice(), [Err(ClientError::Store("full".to_owned()))]);
    // It is joined anew from what is stored, once that is on the disk, and writes under another client id.
    assert_eq!(bench.kinds(), ["detach"]);
    bench.keeper.settle();
    assert_eq!(bench.kinds(), ["auth", "step1"]);
    bench.answered(&mut Replica::new());
    bench.set("b");
    bench.keeper.settle();
    assert_eq!(bench.told.lock().last(), Some(&Ok(())));
    let sent = bench.sent();
    let mut server = Replica::new();
    for (kind, update) in &sent {
        if matches!(*kind, "step2" | "update") {
            server.absorb(update, &Checker::default());
        }
    }
    let seen = preferences::read(&mut server, 0).expect("reads");
    assert!(seen.iter().any(|preference| preference.name == "b"), "{sent:?}");
}

#[test]
fn an_edit_is_on_the_disk_though_the_copy_was_opened_anew_for_another_one() {
    let mut bench = Bench::synced();
    bench.set("a");
    // As after an edit behind it that the disk did not take.
    let profile = bench.profile.clone();
    bench.keeper.reopen(&profile);
    let put = Arc::new(Mutex::new(Vec::new()));
    let (told, seen) = (bench.told.clone(), put.clone());
    bench.on_disk(move || {
        seen.lock().push(told.lock().len());
        Ok(())
    });
    bench.sent();
    bench.keeper.settle();
    assert_eq!((&put.lock()[..], &bench.told.lock()[..]), (&[0][..], &[Ok(())][..]));
    assert_eq!((bench.kinds(), bench.unsaved()), (vec!["auth", "step1"], 1));
}

#[test]
fn an_edit_that_is_kept_does_not_fail_where_the_log_cannot_be_written_anew() {
    let mut bench = Bench::synced();
    // A folder stands where the new file is to be.
    let stored = bench.keeper.folder.log(&bench.profile);
    let wall = stored.with_extension("new");
    std::fs::create_dir(&wall).expect("a folder");
    let copy = bench.keeper.copies.get_mut(&bench.profile).expect("is open");
    let nothing = crate::log::Record::Remote(&[0, 0]);
    while !copy.log.is_long() {
        copy.log.append(nothing).expect("added");
    }
    bench.set("a");
    bench.keeper.settle();
    assert_eq!(&bench.told.lock()[..], &[Ok(())]);
    assert_eq!(bench.kinds(), ["update"], "it stays joined");
    let long = bench.keeper.copies[&bench.profile].log.bytes();
    // Not with every edit is it tried again, but once the log has grown.
    std::fs::remove_dir(&wall).expect("removed");
    bench.set("b");
    bench.keeper.settle();
    let copy = bench.keeper.copies.get_mut(&bench.profile).expect("is open");
    assert!(copy.log.bytes() > long);
    while !copy.log.is_long() {
        copy.log.append(nothing).expect("added");
    }
    bench.set("c");
    bench.keeper.settle();
    assert!(bench.keeper.copies[&bench.profile].log.bytes() < long);
    assert_eq!((bench.told.lock().len(), bench.unsaved()), (3, 3));
}

#[test]
fn a_client_id_is_not_used_again_after_a_restart() {
    let mut bench = Bench::new();
    for round in 1..=3 {
        bench.set(if round % 2 == 0 { "a" } else { "b" });
        bench.keeper.settle();
        let known = bench.keeper.copies[&bench.profile].replica.state_vector();
        let known = state_vector::parse(&known, &Checker::default()).expect("a state vector");
        assert_eq!(known.len(), round, "one for each time that it was loaded");
        let profile = bench.profile.clone();
        bench.keeper.reopen(&profile);
    }
}

#[test]
fn each_word_saved_speaks_of_the_edits_it_was_earned_by() {
    let mut bench = Bench::new();
    bench.set("before");
    bench.keeper.settle();
    bench.connect();
    bench.set("meanwhile");
    // Of a sync that nobody here knows of.
    bench.hear(&SAVED);
    bench.hear(&SAVED);
    bench.keeper.settle();
    assert_eq!((bench.kinds(), bench.unsaved()), (vec![], 2), "no update ahead of the SyncStep2");
    assert_eq!(bench.status(), Status::Connecting { unsaved: 2 });
    bench.answered(&mut Replica::new());
    assert_eq!(bench.kinds(), ["step2"]);
    bench.set("after");
    bench.set("last");
    bench.keeper.settle();
    assert_eq!((bench.kinds(), bench.unsaved()), (vec!["update", "update"], 4));
    for left in [2, 1, 0, 0] {
        bench.hear(&SAVED);
        bench.keeper.settle();
        assert_eq!(bench.unsaved(), left);
    }
    assert_eq!(bench.status(), Status::Saved);
    // A question because of a gap is answered, and earns nothing.
    bench.set("more");
    bench.hear(&Reply::SyncStep1(&[0]));
    bench.keeper.settle();
    assert_eq!(bench.kinds(), ["update", "step2"]);
    bench.hear(&SAVED);
    bench.set("and more");
    bench.hear(&SAVED);
    assert_eq!(bench.unsaved(), 0);
    bench.hear(&SAVED);
    bench.set("the end");
    assert_eq!(bench.unsaved(), 1, "one word too many says nothing of what comes later");
}

#[test]
fn a_gap_has_the_copy_sync_anew_and_old_words_say_nothing() {
    let mut bench = Bench::new();
    bench.connect();
    let mut server = Replica::of_client(7);
    bench.answered(&mut server);
    bench.hear(&SAVED);
    bench.set("a");
    bench.keeper.settle();
    bench.sent();
    let mut write = |name: &str| {
        let stamp = syncline_document::register::Stamp {
            writer: syncline_document::ids::Writer::parse("laptop.s").expect("a writer"),
            hlc: syncline_document::hlc::Hlc::at(5),
        };
        let edit =
            server.edit(|pen| preferences::set(pen, name, &stamp, &true.into(), &Provenance::explicit()));
        edit.expect("writes").update.expect("an update")
    };
    let (_lost, next) = (write("x"), write("y"));
    bench.hear(&Reply::Update(&next));
    bench.keeper.settle();
    assert_eq!(bench.kinds(), ["step1"]);
    // The word on "a" was on its way: the server gives none after our SyncStep1, so this may not count.
    bench.hear(&SAVED);
    assert_eq!(bench.unsaved(), 1);
    bench.answered(&mut server);
    assert_eq!(bench.kinds(), ["step2"]);
    bench.hear(&SAVED);
    bench.keeper.settle();
    assert_eq!((bench.unsaved(), bench.status()), (0, Status::Saved));
    let copy = bench.keeper.copies.get_mut(&bench.profile).expect("is open");
    assert_eq!(preferences::read(&mut copy.replica, 0).expect("reads").len(), 3);
}

#[test]
fn what_is_confirmed_is_on_the_disk_and_shows_as_merging_until_then() {
    let mut bench = Bench::new();
    bench.connect();
    let mut server = Replica::of_client(7);
    bench.answered(&mut server);
    bench.hear(&SAVED);
    bench.keeper.settle();
    bench.sent();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let (boards, seen, name) = (bench.boards.clone(), shown.clone(), bench.profile.to_string());
    bench.on_disk(move || {
        let view = boards.watch(&name).expect("is shown").borrow().clone();
        seen.lock().push(view.status);
        Ok(())
    });
    let stamp = syncline_document::register::Stamp {
        writer: syncline_document::ids::Writer::parse("laptop.s").expect("a writer"),
        hlc: syncline_document::hlc::Hlc::at(5),
    };
    let edit = server.edit(|pen| preferences::set(pen, "x", &stamp, &true.into(), &Provenance::explicit()));
    let update = edit.expect("writes").update.expect("an update");
    let report = r#"{"type":"status","document":"ada/profile","saved":9,"devices":[]}"#;
    bench.hear(&Reply::Update(&update));
    bench.hear(&Reply::Json(report));
    assert!(bench.sent().is_empty());
    bench.keeper.settle();
    assert_eq!(*shown.lock(), [Status::Merging { changes: 9 }]);
    let sent = bench.sent();
    assert_eq!((sent.len(), sent[0].0), (1, "json"));
    assert!(sent[0].1.ends_with(br#""saved":9}"#), "{sent:?}");
    assert_eq!(bench.status(), Status::Saved);
}

#[test]
fn a_device_that_was_sent_away_comes_back() {
    let mut bench = Bench::new();
    bench.set("a");
    bench.connect();
    let lost = Some(Lost::Forbidden("a loop".to_owned()));
    bench.keeper.take(Command::Down(bench.connections, lost));
    bench.keeper.settle();
    assert!(matches!(bench.status(), Status::Refused { unsaved: 1, .. }), "{:?}", bench.status());
    bench.connect();
    bench.answered(&mut Replica::new());
    bench.hear(&SAVED);
    bench.keeper.settle();
    assert_eq!(bench.status(), Status::Saved);
}

#[test]
fn a_token_is_asked_for_once_whoever_wants_it() {
    let mut bench = Bench::new();
    bench.connect();
    let names: Vec<DocumentName> = bench.keeper.names();
    assert!(names.len() >= 3, "{names:?}");
    for name in &names {
        let frame = encode(Some(name.as_str()), &Reply::Denied("expired"));
        bench.keeper.take(Command::Frame(bench.connections, frame));
        bench.keeper.settle();
    }
    let asked = std::iter::from_fn(|| bench.orders.try_recv().ok());
    assert_eq!(asked.filter(|order| matches!(order, Order::Token)).count(), 1);
    bench.keeper.take(Command::Token(bench.connections, Ok("fresh".to_owned())));
    bench.keeper.settle();
    assert_eq!(bench.kinds(), ["auth"]);
    bench.hear(&Reply::Authenticated { read_only: false });
    bench.keeper.settle();
    assert_eq!(bench.kinds(), ["step1"], "what was sent before went unheard");
    // One that is no good either stands, until there is another connection.
    bench.hear(&Reply::Denied("no"));
    bench.keeper.settle();
    assert!(matches!(bench.status(), Status::Refused { .. }));
    assert_eq!(bench.kinds(), Vec::<&str>::new());
}

#[test]
fn an_earlier_session_is_folded_into_the_one_that_writes() {
    let mut bench = Bench::new();
    bench.set("a");
    bench.set("b");
    bench.keeper.settle();
    let Bench { keeper, folder, .. } = bench;
    let earlier = keeper.writer().clone();
    drop(keeper);
    let mut bench = Bench::on(folder);
    assert_eq!(bench.unsaved(), 2, "what an earlier session made is counted");
    bench.set("b");
    bench.keeper.settle();
    let own = bench.keeper.writer().clone();
    assert_ne!(own, earlier);
    let copy = bench.keeper.copies.get_mut(&bench.profile).expect("is open");
    let seen = preferences::read(&mut copy.replica, 0).expect("reads");
    assert!(seen.len() == 2 && seen.iter().all(|preference| preference.writer == own.as_str()), "{seen:?}");
    assert!(seen.iter().all(|preference| preference.conflicts.is_empty()));
}
