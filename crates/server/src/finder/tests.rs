//! The task on a store in memory: what has to leave the index leaves its files.

use std::{path::Path, time::Duration};

use serde_json::json;
use syncline_document::{
    hlc::Hlc,
    ids::{ConversationId, Writer as Name},
    record::Origin,
    register::Stamp,
    schema::{
        conversation::{self, NewMessage},
        index::{self, Setting},
    },
};
use syncline_search::{Filter, Options, Page};
use syncline_store::{CommitReport, MemoryStore, Writer, WriterOptions};
use syncline_sync::Room;
use tokio_util::sync::CancellationToken;

use super::{
    task::{Feeder, open_index},
    *,
};
use crate::{app::Open, config::Config, document::Document, erasure, registry::Engine};

const LONG: Duration = Duration::from_secs(30);
const ID: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";

struct Bench {
    open: Arc<Open>,
    folder: tempfile::TempDir,
    stop: CancellationToken,
    /// What the task waits for to begin.
    asked: Option<(Place, Erasures)>,
    running: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self::waiting();
        bench.start();
        bench
    }

    /// Has the task begin.
    fn start(&mut self) {
        let (place, asked) = self.asked.take().expect("did not begin");
        self.running = tokio::spawn(run(self.open.clone(), place, asked, self.stop.clone()));
    }

    /// Makes all but the task.
    fn waiting() -> Self {
        let store = Arc::new(MemoryStore::new().expect("a store"));
        let journal = Writer::start(
            store.clone(),
            WriterOptions::default(),
            move |report: CommitReport<Arc<Document>>| {
                for (document, sequence) in &report.tags {
                    document.note_durable(*sequence);
                    document.tell_durable();
                }
            },
        );
        let journal = Arc::new(journal.expect("a commit thread"));
        let (folder, stop) = (tempfile::tempdir().expect("a folder"), CancellationToken::new());
        let config = Config { data: folder.path().join("data"), ..Config::default() };
        let (finder, asked) = Finder::new(&config.limits);
        let runtime = tokio::runtime::Handle::current();
        let engine = Engine::new(journal, Arc::default(), &config.limits, runtime, finder);
        let erasures = erasure::Erasures::of(&config.data).expect("a secret");
        let open = Arc::new(Open::new(&config, engine, erasures));
        let options = Options { commit_ms: 20, ..Options::default() };
        let place = Place { folder: folder.path().join("search"), options, reopen: LONG };
        Self { open, folder, stop, asked: Some((place, asked)), running: tokio::spawn(async {}) }
    }

    fn finder(&self) -> &Arc<Finder> {
        &self.open.registry.engine().finder
    }

    async fn say(&self, id: &str, text: &str) {
        let name = DocumentName::parse(&format!("ada/c/{ID}")).expect("a name");
        let message = NewMessage {
            id: id.to_owned(),
            role: "user".to_owned(),
            parent: None,
            alternative_to: None,
            stamp: Stamp { writer: Name::parse("phone.a").expect("a writer"), hlc: Hlc::at(1_000) },
            req: None,
            model: None,
            parts: vec![json!({ "type": "text", "text": text })],
        };
        let written = self.open.registry.compose(&name, Room::Needed, origin(), move |draft| {
            let edited = draft.replica.edit(|pen| conversation::append(pen, &message))?;
            Ok((edited.value, edited.update))
        });
        assert_eq!(written.await.expect("written"), Ok(true));
    }

    async fn call(&self, title: &str) {
        let name = DocumentName::parse("ada/index/2022-q1").expect("a name");
        let (id, title) = (ConversationId::parse(ID).expect("an id"), title.to_owned());
        let stamp = Stamp { writer: Name::parse("phone.a").expect("a writer"), hlc: Hlc::at(1_000) };
        let written = self.open.registry.compose(&name, Room::Needed, origin(), move |draft| {
            let edited = draft.replica.edit(|pen| index::set(pen, &id, &stamp, &Setting::Title(title)))?;
            Ok((edited.value, edited.update))
        });
        assert_eq!(written.await.expect("written"), Ok(()));
    }

    /// Waits until so many texts with a word are found.
    async fn until(&self, word: &str, count: usize) {
        let counted = tokio::time::timeout(LONG, async {
            loop {
                let hits = self.finder().index().ok().map(|index| {
                    let found = index.search("ada", word, &Page::default(), &Filter::default());
                    found.expect("finds").hits.len()
                });
                if hits == Some(count) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        counted.await.unwrap_or_else(|_| panic!("{word}: not {count}"));
    }
}

fn origin() -> Origin {
    Origin { user: None, device: None, at_ms: 1 }
}

/// Says whether any file of a folder holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).any(|path| {
        if path.is_dir() {
            return holds(&path, bytes);
        }
        std::fs::read(&path).expect("reads").windows(bytes.len()).any(|window| window == bytes)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_erased_leaves_every_file_and_the_rest_stays() {
    let bench = Bench::new();
    bench.call("walrus title").await;
    bench.say("m1", "zebra one").await;
    bench.say("m2", "zebra two").await;
    bench.until("zebra", 2).await;
    bench.until("walrus", 1).await;
    assert!(holds(bench.folder.path(), b"zebra one"));

    let (user, conversation) = ("ada".to_owned(), ID.to_owned());
    let one =
        Erasure::Message { user: user.clone(), conversation: conversation.clone(), message: "m1".to_owned() };
    bench.finder().erase(one).await.expect("erased");
    bench.until("zebra", 1).await;
    assert!(!holds(bench.folder.path(), b"zebra one") && holds(bench.folder.path(), b"zebra two"));

    bench.finder().erase(Erasure::Conversation { user: user.clone(), conversation }).await.expect("erased");
    bench.until("zebra", 0).await;
    bench.until("walrus", 0).await;
    assert!(!holds(bench.folder.path(), b"walrus"));

    bench.say("m3", "zebra three").await;
    // It was forgotten: all that is stored of it is indexed again, as its document was not erased here.
    bench.until("zebra", 3).await;
    bench.finder().erase(Erasure::User { user }).await.expect("erased");
    bench.until("zebra", 0).await;
    assert!(!holds(bench.folder.path(), b"zebra"));
    bench.stop.cancel();
    bench.running.await.expect("ends");
    let late = Erasure::User { user: "ada".to_owned() };
    assert!(bench.open.registry.engine().finder.erase(late).await.is_err(), "nobody does it any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_run_missed_is_found_though_edits_never_cease() {
    let mut bench = Bench::waiting();
    bench.say("m1", "zebra").await;
    let (place, _erasures) = bench.asked.take().expect("did not begin");
    let index = open_index(&bench.open, &place).await.expect("opens");
    bench.finder().opened(index.clone());
    let mut feeder = Feeder::new(&bench.open, index, &bench.stop);
    // As after a restart: nobody has noted the message, and another document changes all the time.
    for sequence in 1..10 {
        bench.finder().waiting.lock().documents.clear();
        bench.finder().note(&name(1), noted(sequence, &[]));
        assert!(feeder.round().await.expect("indexes"));
    }
    bench.until("zebra", 1).await;
    assert!(!bench.finder().waiting.lock().catching_up);
}

fn name(n: usize) -> DocumentName {
    DocumentName::parse(&format!("ada/c/{n}")).expect("a name")
}

fn noted(sequence: Sequence, names: &[&str]) -> Noted {
    Noted { sequence, texts: Texts::Some(names.iter().map(|name| (*name).to_owned()).collect()) }
}

#[test]
fn what_is_noted_is_bounded_and_what_is_let_go_is_remembered() {
    let limits = Limits { search_waiting_documents: 2, ..Limits::default() };
    let (finder, _erasures) = Finder::new(&limits);
    finder.note(&name(1), noted(1, &["a"]));
    finder.note(&name(1), noted(3, &["b"]));
    finder.note(&name(2), noted(1, &["a"]));
    assert!(!finder.waiting.lock().overflowed);
    finder.note(&name(3), noted(1, &["a"]));
    let waiting = finder.waiting.lock();
    assert!(waiting.overflowed && waiting.documents.len() == 2);
    assert_eq!(waiting.documents[&name(1)], noted(3, &["a", "b"]));
}

#[test]
fn too_many_names_are_all_names() {
    let mut all = noted(1, &[]);
    for n in 0..=NAMES as u64 {
        all.merge(noted(n, &[&n.to_string()]));
    }
    assert_eq!(all, Noted { sequence: NAMES as u64, texts: Texts::All });
    all.merge(noted(900, &["x"]));
    assert_eq!(all, Noted { sequence: 900, texts: Texts::All });
}
