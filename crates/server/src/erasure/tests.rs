//! Erasing on a store in memory: what is damaged goes too, what must stay stays, and no fault of others keeps content.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use syncline_document::record::{Checkpoint, Entry, EntryKind, Origin};
use syncline_protocol::names::DocumentName;
use syncline_store::{CommitReport, MemoryStore, Row, Store, Writer, WriterOptions};

use super::*;
use crate::{app::Open, config::Config, document::Document, finder::Finder, registry::Engine};

const ID: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
const OTHER: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c073990";

struct Bench {
    store: Arc<MemoryStore>,
    open: Arc<Open>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new().expect("a store"));
        let options = WriterOptions::default();
        let journal = Writer::start(store.clone(), options, |report: CommitReport<Arc<Document>>| {
            for (document, sequence) in &report.tags {
                document.note_durable(*sequence);
                document.tell_durable();
            }
        });
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config { data: folder.path().join("data"), ..Config::default() };
        let (finder, _asked) = Finder::new(&config.limits);
        let runtime = tokio::runtime::Handle::current();
        let journal = Arc::new(journal.expect("a commit thread"));
        let engine = Engine::new(journal, Arc::default(), &config.limits, runtime, finder);
        let erasures = Erasures::of(&config.data).expect("a secret");
        Self { store, open: Arc::new(Open::new(&config, engine, erasures)), _folder: folder }
    }

    /// Stores a document that says nothing but is there.
    fn stored(&self, document: &str) -> DocumentName {
        let name = DocumentName::parse(document).expect("a name");
        let origin = Origin { user: None, device: None, at_ms: 1 };
        let bytes = Bytes::from_static(&[0, 0]);
        let entry = Entry { document: name.clone(), sequence: 1, kind: EntryKind::Update, origin, bytes };
        self.store.commit(&[entry], &[]).expect("stored");
        name
    }

    /// Stores a document of which a part fails its check.
    fn rotten(&self, document: &str) -> DocumentName {
        let name = self.stored(document);
        let update = Bytes::from(vec![7; 64]);
        let checkpoint = Checkpoint { sequence: 1, state_vector: Bytes::new(), update, pending: Vec::new() };
        self.store.write_checkpoint(&name, &checkpoint).expect("stored");
        let chunk = format!("c{document}");
        self.store.kv().corrupt(|key| key.starts_with(chunk.as_bytes()), |value| value.truncate(20));
        assert!(matches!(self.store.read(&name), Err(StoreError::Damaged(_))));
        name
    }

    fn row(&self, key: &str) {
        let row = Row { key: key.as_bytes().to_vec(), value: Some(Bytes::from_static(b"{}")) };
        self.store.commit(&[], &[row]).expect("stored");
    }

    async fn erase(&self, target: &Target) -> Result<Receipt, ErasureError> {
        self.open.erasures.erase(&self.open, target, By::default()).await
    }
}

fn conversation(id: &str) -> Target {
    Target { user: "ada".to_owned(), conversation: Some(id.to_owned()), message: None }
}

fn user() -> Target {
    Target { user: "ada".to_owned(), conversation: None, message: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_nobody_can_read_are_erased() {
    let bench = Bench::new();
    let names = [ID, OTHER].map(|id| bench.rotten(&format!("ada/c/{id}")));
    bench.rotten("ada/profile");
    bench.erase(&conversation(ID)).await.expect("erased");
    assert!(bench.store.read(&names[0]).expect("reads").is_none());
    let receipt = bench.erase(&user()).await.expect("erased");
    assert!(receipt.done.is_some() && receipt.removed.document_count >= 2, "{receipt:?}");
    assert!(bench.store.documents(None, 10).expect("reads").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_an_erased_user_stay_revoked() {
    let bench = Bench::new();
    bench.stored("ada/notes");
    for key in ["revoked/ada/phone", "last/ada/c/x", "idem/ada/k"] {
        bench.row(key);
    }
    bench.erase(&user()).await.expect("erased");
    let left = bench.store.rows(b"", &[255; 4], 100).expect("reads");
    let left: Vec<_> = left.iter().map(|(key, _)| String::from_utf8_lossy(key)).collect();
    assert!(left.iter().any(|key| key == "revoked/ada/phone"), "{left:?}");
    assert!(!left.iter().any(|key| key.starts_with("last/") || key.starts_with("idem/")), "{left:?}");
}

/// Cannot forget at first.
#[derive(Default)]
struct Stuck(AtomicBool);

impl Forgets for Stuck {
    fn forget(&self, _: &Target) -> Result<(), String> {
        if self.0.load(Ordering::SeqCst) { Ok(()) } else { Err("it is being opened".to_owned()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_forget_holds_the_receipt_up_and_not_the_content() {
    let bench = Bench::new();
    let stuck = Arc::new(Stuck::default());
    bench.open.erasures.follow(stuck.clone());
    for target in [conversation(ID), user()] {
        let name = bench.stored(&format!("ada/c/{}", target.conversation.as_deref().unwrap_or(OTHER)));
        stuck.0.store(false, Ordering::SeqCst);
        assert!(matches!(bench.erase(&target).await, Err(ErasureError::Derived(_))));
        assert!(bench.store.read(&name).expect("reads").is_none());
        stuck.0.store(true, Ordering::SeqCst);
        assert!(bench.erase(&target).await.expect("erased").done.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_while_it_cannot_be_read_whether_a_document_was_erased() {
    let bench = Bench::new();
    let name = bench.stored(&format!("ada/c/{ID}"));
    let row = format!("erased/{name}");
    bench.row(&row);
    let key = format!("r{row}");
    bench.store.kv().corrupt(|at| at == key.as_bytes(), |value| value.truncate(1));
    let looked = bench.open.registry.look(&name, |_| ()).await;
    assert!(matches!(looked, Err(SubmitError::Unavailable(_))), "{looked:?}");
    bench.row(&row);
    let looked = bench.open.registry.look(&name, |_| ()).await;
    assert!(matches!(looked, Err(SubmitError::Erased(_))), "it is looked at again: {looked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_document_that_cannot_be_scrubbed_keeps_no_other_from_it() {
    let bench = Bench::new();
    bench.rotten("ada/a");
    bench.stored("ada/b");
    for name in ["ada/a", "ada/b"] {
        bench.row(&format!("scrub/{name}/{:016x}", 1));
    }
    let outcome = scrub::revived(&bench.open.registry.engine().journal).await;
    assert!(matches!(outcome, Err(ErasureError::Store(_))), "{outcome:?}");
    let left = bench.store.rows(b"scrub/", b"scrub0", 10).expect("reads");
    assert_eq!(left.len(), 1);
    assert!(left[0].0.starts_with(b"scrub/ada/a/"));
}
