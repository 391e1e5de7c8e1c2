//! What an edit comes to that the journal does not take.

use bytes::Bytes;
use syncline_document::record::{EntryKind, Origin};
use syncline_protocol::names::DocumentName;
use syncline_store::{MemoryStore, Writer, WriterOptions};

use super::*;
use crate::{config::Config, finder::Finder, metrics::Metrics, registry::Engine};

fn document() -> Arc<Document> {
    let config = Config::default();
    let store = Arc::new(MemoryStore::new().expect("a store"));
    let journal = Writer::start(store, WriterOptions::default(), |_| {}).expect("a commit thread");
    let (finder, _) = Finder::new(&config.limits);
    let runtime = tokio::runtime::Handle::current();
    let engine =
        Engine::new(Arc::new(journal), Arc::new(Metrics::default()), &config.limits, runtime, finder);
    Document::new(DocumentName::parse("ada/notes").expect("a name"), engine, None)
}

fn entry() -> Entry {
    Entry {
        document: DocumentName::parse("ada/notes").expect("a name"),
        sequence: 1,
        kind: EntryKind::Update,
        origin: Origin { user: None, device: None, at_ms: 0 },
        bytes: Bytes::from_static(&[0, 0]),
    }
}

fn append(document: &Document, key: &[u8]) {
    let me = document.me.upgrade().expect("is there");
    let rows = vec![Row { key: key.to_vec(), value: None }];
    document.append_together(&mut document.inner.lock(), [(entry(), me)], rows);
}

#[tokio::test]
async fn an_edit_that_is_not_queued_ends_the_session_unless_the_journal_is_closed() {
    let document = document();
    append(&document, b"a row");
    assert_eq!(document.inner.lock().epoch, 0, "it is queued");
    append(&document, b"");
    assert_eq!(document.inner.lock().epoch, 1, "devices offer it again");
    document.engine.journal.shutdown().expect("ended");
    append(&document, b"a row");
    assert_eq!(document.inner.lock().epoch, 1, "the server goes down");
}
