//! What is asked of a server in states that a running binary is in for moments only.

use axum::body::Body;
use http::Request;
use syncline_document::record::{Entry, EntryKind, Origin};
use syncline_protocol::names::DocumentName;
use syncline_store::{CommitReport, Writer, WriterOptions, memory::Fault, memory::MemoryStore};
use tokio::sync::Notify;
use tower::ServiceExt;

use super::*;
use crate::{app::Open, auth::Auth, config::Config, document::Document, erasure::Erasures, registry::Engine};

/// An update that writes one letter into a text, by a client of this number.
fn letter(client: u8) -> Vec<u8> {
    vec![1, 1, client, 0, 4, 1, 1, b't', 1, b'a', 0]
}

/// A server without auth whose store is not open. The folder must outlive it.
fn closed(http_ms: u64) -> (Arc<App>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config { open: true, data: folder.path().to_owned(), ..Config::default() };
    config.limits.http_ms = http_ms;
    let auth = Auth::from_config(&config).expect("a secret");
    (App::new(Arc::new(config), auth, Arc::default()), folder)
}

/// Opens a store in memory; `told` is called on the commit thread before the documents hear of a commit.
fn open(app: &App, options: WriterOptions, told: impl Fn() + Send + 'static) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new().expect("a store"));
    let journal = Writer::start(store.clone(), options, move |report: CommitReport<Arc<Document>>| {
        told();
        for (document, sequence) in &report.tags {
            document.note_durable(*sequence);
            document.tell_durable();
        }
    });
    let journal = Arc::new(journal.expect("a commit thread"));
    let runtime = tokio::runtime::Handle::current();
    let (finder, _erasures) = crate::finder::Finder::new(&app.config.limits);
    let engine = Engine::new(journal, app.metrics.clone(), &app.config.limits, runtime, finder);
    let erasures = Erasures::of(&app.config.data).expect("a secret");
    app.open(Open::new(&app.config, engine, erasures));
    store
}

async fn send(app: &Arc<App>, request: http::request::Builder, body: Vec<u8>) -> (StatusCode, Response) {
    let request = request.header(header::HOST, "localhost").body(Body::from(body)).expect("a request");
    let response = router(app.clone()).oneshot(request).await.expect("an answer");
    (response.status(), response)
}

async fn status(app: &Arc<App>, path: &str) -> StatusCode {
    send(app, Request::get(path), Vec::new()).await.0
}

async fn post(app: &Arc<App>, update: Vec<u8>) -> (StatusCode, Response) {
    send(app, Request::post("/d/doc/update"), update).await
}

#[tokio::test]
async fn a_server_is_alive_before_its_store_is_open_and_ready_after() {
    let (app, _folder) = closed(30_000);
    assert_eq!(status(&app, "/healthz").await, StatusCode::OK);
    assert_eq!(status(&app, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(&app, "/metrics").await, StatusCode::OK);
    let (refused, response) = post(&app, letter(1)).await;
    assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    open(&app, WriterOptions::default(), || {});
    assert_eq!(status(&app, "/readyz").await, StatusCode::OK);
    assert_eq!(post(&app, letter(1)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_server_that_goes_down_is_not_ready() {
    let (app, _folder) = closed(30_000);
    open(&app, WriterOptions::default(), || {});
    app.draining.cancel();
    assert_eq!(status(&app, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(&app, "/healthz").await, StatusCode::OK);
    assert_eq!(post(&app, letter(1)).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_server_whose_store_is_poisoned_is_not_ready() {
    let (app, _folder) = closed(30_000);
    let store = open(&app, WriterOptions::default(), || {});
    store.kv().fail(Fault::Full, 0);
    let entry = Entry {
        document: DocumentName::parse("doc").expect("a name"),
        sequence: 1,
        kind: EntryKind::Update,
        origin: Origin { user: None, device: None, at_ms: 0 },
        bytes: letter(1).into(),
    };
    store.commit(&[entry], &[]).expect_err("the disk is full");
    assert_eq!(status(&app, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(&app, "/healthz").await, StatusCode::OK);
    assert_eq!(post(&app, letter(1)).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_wait_for_room_in_the_journal_and_then_are_asked_to_come_back() {
    let (app, _folder) = closed(1_000);
    let begun = Arc::new(Notify::new());
    let (open_gate, gate) = std::sync::mpsc::channel::<()>();
    let told = begun.clone();
    let options = WriterOptions { queue_entries: 1, ..WriterOptions::default() };
    // The commit thread stops behind its first commit: what comes then fills the queue.
    open(&app, options, move || {
        told.notify_one();
        // Open for good once the other end is dropped.
        let _ = gate.recv();
    });
    let journal = &app.engine().expect("open").registry.engine().journal;
    let mut early = tokio::task::JoinSet::new();
    for client in 1..=3 {
        let app = app.clone();
        early.spawn(async move { post(&app, letter(client)).await.0 });
        if client == 1 {
            begun.notified().await;
        }
    }
    while journal.has_room() {
        tokio::task::yield_now().await;
    }
    let full = journal.queued().entries;
    let (refused, response) = post(&app, letter(20)).await;
    assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(journal.queued().entries, full, "nothing was put into a full queue");
    drop(open_gate);
    assert_eq!(post(&app, letter(20)).await.0, StatusCode::OK);
    early.join_all().await;
}

#[tokio::test]
async fn reads_that_wait_for_one_document_are_bounded() {
    let (app, _folder) = closed(30_000);
    open(&app, WriterOptions::default(), || {});
    assert_eq!(post(&app, letter(1)).await.0, StatusCode::OK);
    let registry = &app.engine().expect("open").registry;
    let name = DocumentName::parse("doc").expect("a name");
    let most = app.config.limits.http_reads_per_document;
    let places: Vec<_> = (0..most).map(|_| registry.reading(&name).expect("a place")).collect();
    let (refused, response) = send(&app, Request::get("/d/doc/as-update"), Vec::new()).await;
    assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    let looked = registry.look(&name, |_| ()).await;
    assert_eq!(looked, Err(crate::edits::SubmitError::Crowded));
    assert_eq!(status(&app, "/d/other/as-update").await, StatusCode::OK, "of others there are places");
    drop(places);
    assert_eq!(status(&app, "/d/doc/as-update").await, StatusCode::OK);
    for _ in 0..=most {
        registry.look(&name, |_| ()).await.expect("each gives its place back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_at_work_holds_up_nobody_elses_acks() {
    let (app, _folder) = closed(30_000);
    open(&app, WriterOptions::default(), || {});
    let engine = app.engine().expect("open").clone();
    for name in ["busy", "idle"] {
        drop(engine.registry.reading(&DocumentName::parse(name).expect("a name")).expect("a place"));
    }
    let find = |name: &str| {
        let all = engine.registry.all();
        all.into_iter().find(|document| document.name().as_str() == name).expect("a handle")
    };
    let (busy, idle) = (find("busy"), find("idle"));
    let durable = |document: &Document| document.enter(|session, _, _| session.sequences().1);
    let (began, begun) = std::sync::mpsc::channel();
    let (leave, stay) = std::sync::mpsc::channel::<()>();
    let inside = busy.clone();
    let at_work = std::thread::spawn(move || {
        inside.enter(|_, _, _| {
            began.send(()).expect("the test listens");
            stay.recv().expect("the test says when");
        });
    });
    begun.recv().expect("it is inside");
    // What the task that reports commits does; twice, as commits go on.
    let reports = engine.clone();
    let told = tokio::task::spawn_blocking(move || {
        for sequence in [7, 8] {
            for document in [&busy, &idle] {
                document.note_durable(sequence);
                document.tell_durable();
            }
        }
        assert_eq!(durable(&idle), Some(8));
        // Nor does the tick wait.
        reports.registry.tick(0);
        busy
    });
    let busy =
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("nobody waits").expect("told");
    leave.send(()).expect("it waits");
    at_work.join().expect("no panic");
    let tells = &engine.registry.engine().tells;
    tells.close();
    tells.wait().await;
    assert_eq!(durable(&busy), Some(8), "told once it was left");
}
