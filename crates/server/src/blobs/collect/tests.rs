//! The moments of a collection that a running server is in for milliseconds only.

use std::{collections::BTreeSet, convert::Infallible};

use bytes::Bytes;
use futures_util::stream;
use sha2::{Digest, Sha256};
use syncline_document::record::Origin;
use syncline_store::{CommitReport, Writer, WriterOptions, memory::MemoryStore};

use super::*;
use crate::{
    blobs::{Found, erased::Doomed, upload::Received},
    config::Config,
    document::Document,
    erasure::Erasures,
    finder::Finder,
    metrics::Metrics,
    registry::Engine,
};

/// A server's engine on a store in memory. The folder must outlive it.
fn open() -> (Arc<Open>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config { data: folder.path().to_owned(), ..Config::default() };
    let store = Arc::new(MemoryStore::new().expect("a store"));
    let told = |report: CommitReport<Arc<Document>>| {
        for (document, sequence) in &report.tags {
            document.note_durable(*sequence);
            document.tell_durable();
        }
    };
    let journal = Arc::new(Writer::start(store, WriterOptions::default(), told).expect("a commit thread"));
    let runtime = tokio::runtime::Handle::current();
    let (finder, _erasures) = Finder::new(&config.limits);
    let engine = Engine::new(journal, Arc::new(Metrics::default()), &config.limits, runtime, finder);
    let erasures = Erasures::of(&config.data).expect("a secret");
    (Arc::new(Open::new(&config, engine, erasures)), folder)
}

async fn upload(open: &Open, content: &'static [u8]) -> (Key, Blob) {
    let key: Key = ("ada".into(), Name::of(Sha256::new_with_prefix(content)));
    let place = open.blobs.enter(&key).await.expect("nobody else is there");
    let begun = open.blobs.begin(&place, content.len() as u64, "text/plain".to_owned()).await;
    let begun = begun.expect("a store").expect("there is room");
    let body = stream::iter([Ok::<_, Infallible>(Bytes::from_static(content))]);
    let received = open.blobs.receive(&place, begun, body, &CancellationToken::new(), || true).await;
    match received.expect("received") {
        Received::Whole(blob) => (key, blob),
        other => panic!("{other:?}"),
    }
}

/// Writes the name of a blob into a text of a free-form document.
async fn mention(open: &Open, document: &str, key: &Key) {
    let text = format!("{}{}", mentions::FORM, key.1);
    let length = u8::try_from(text.len()).expect("short");
    let mut update = vec![1, 1, 5, 0, 4, 1, 1, b't', length];
    update.extend(text.as_bytes());
    update.push(0);
    let name = DocumentName::parse(document).expect("a name");
    let origin = Origin { user: None, device: None, at_ms: 0 };
    open.registry.submit(&name, update.into(), origin).await.expect("saved");
}

fn is_there(open: &Open, key: &Key) -> bool {
    let found = open.blobs.find(key).expect("a store");
    assert_eq!(matches!(found, Some(Found::Whole(_))), open.blobs.path(key).exists());
    found.is_some()
}

async fn collect(open: &Arc<Open>, key: &Key, blob: Blob) -> bool {
    look(open, key, blob).await.expect("looked")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_nothing_refers_to_goes_and_one_in_use_stays() {
    let (open, _folder) = open();
    let (key, blob) = upload(&open, b"content").await;
    mention(&open, "eve/notes", &key).await;
    let place = open.blobs.enter(&key).await.expect("nobody else is there");
    assert!(!collect(&open, &key, blob.clone()).await, "somebody works on it");
    drop(place);
    assert!(collect(&open, &key, blob).await, "what others say does not count");
    assert!(!is_there(&open, &key));
    let (key, blob) = upload(&open, b"content").await;
    mention(&open, "ada/notes", &key).await;
    assert!(!collect(&open, &key, blob).await);
    assert!(is_there(&open, &key));
    let look = open.blobs.look_at(&key).await;
    assert_eq!(referrers(&open, &key, &look, TOLD).await.expect("listed").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_comes_while_the_collector_looks_keeps_the_blob() {
    let (open, _folder) = open();
    let (key, blob) = upload(&open, b"content").await;
    let place = open.blobs.enter(&key).await.expect("nobody else is there");
    let looking = open.blobs.look_at(&key).await;
    mention(&open, "ada/notes", &key).await;
    // As if the edit had come just after the rows were read.
    let row = format!("mention/ada/{}/notes", key.1).into_bytes();
    assert!(open.store.row(&row).expect("a store").is_some(), "written with the edit");
    open.blobs.write(vec![Row { key: row, value: None }]).await.expect("written");
    let removal = remove_unreferred(&open, &place, &looking, &blob, 1).await.expect("looked");
    assert!(matches!(removal, Removal::Mentioned), "{removal:?}");
    assert!(is_there(&open, &key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_document_that_does_not_refer_any_more_is_taken_away() {
    let (open, _folder) = open();
    let (key, blob) = upload(&open, b"content").await;
    let stale = format!("mention/ada/{}/never/written", key.1).into_bytes();
    let row = Row { key: stale.clone(), value: Some(Bytes::from_static(b"{}")) };
    open.blobs.write(vec![row]).await.expect("written");
    assert!(collect(&open, &key, blob).await);
    assert_eq!(open.store.row(&stale).expect("a store"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_was_sent_again_since_it_was_seen_stays() {
    let (open, _folder) = open();
    let (key, blob) = upload(&open, b"content").await;
    let seen = Blob { seen: blob.seen - 1, ..blob };
    assert!(!collect(&open, &key, seen).await);
    assert!(is_there(&open, &key));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_became_a_blob_is_not_dropped() {
    let (open, _folder) = open();
    let (key, _) = upload(&open, b"content").await;
    let old = Upload { bytes: 7, kind: "text/plain".to_owned(), offset: 0, at: 1 };
    assert!(!open.blobs.drop_upload(&key, &old).await.expect("a store"), "it is none any more");
    assert!(is_there(&open, &key));
    open.blobs.write(vec![row(UPLOAD, &key, &old)]).await.expect("written");
    assert!(
        !open.blobs.drop_upload(&key, &Upload { at: 0, ..old.clone() }).await.expect("a store"),
        "it went on"
    );
    assert!(open.blobs.drop_upload(&key, &old).await.expect("a store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_erased_document_mentioned_is_remembered_until_its_blob_is_gone() {
    let (open, _folder) = open();
    let (key, _) = upload(&open, b"content").await;
    let erased = [DocumentName::parse("ada/c/1").expect("a name")];
    let row = mentions::row_of(&key, &erased[0]).expect("its own");
    let mentioned = || Row { key: row.clone(), value: Some(b"{}".as_slice().into()) };
    let is_known = || open.store.row(&row).expect("a store").is_some();
    for (spared, known) in [(&erased[..], true), (&[], false)] {
        open.blobs.write(vec![mentioned()]).await.expect("written");
        let look = open.blobs.look_at(&key).await.sparing(spared);
        assert!(referrers(&open, &key, &look, 1).await.expect("looked").is_empty());
        assert_eq!(is_known(), known, "an erasure that dies here has to find it again");
    }
    open.blobs.write(vec![mentioned()]).await.expect("written");
    let remove = || {
        let drafts = DocumentName::parse("ada/drafts").expect("a name");
        let doomed = Doomed { document: erased[0].clone(), drafts, drafted: BTreeSet::new() };
        crate::blobs::erased::remove(&open, "ada", doomed)
    };
    assert_eq!(remove().await.expect("removed"), 1);
    assert!(!is_there(&open, &key) && !is_known());
    assert_eq!(remove().await.expect("nothing to do"), 0);
}
