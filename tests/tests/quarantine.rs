//! An update that was set aside is shown to the operator, and the document goes on without it.

use bytes::Bytes;
use serde_json::Value;
use syncline_document::record::{Entry, EntryKind, Origin};
use syncline_protocol::names::DocumentName;
use syncline_store::{
    Store,
    sled_store::{Expect, SledOptions, SledStore},
};
use syncline_tests::{Device, Server, rest::update_of, run};

#[tokio::test(flavor = "multi_thread")]
async fn inspect_counts_what_was_set_aside_and_the_document_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let path = data.to_str().expect("UTF-8");
    // No update is known that passes the checker and fails in the document engine: the record is written here.
    let entry = |sequence, kind, words: &str| Entry {
        document: DocumentName::parse("doc").expect("a name"),
        sequence,
        kind,
        origin: Origin { user: None, device: None, at_ms: 0 },
        bytes: Bytes::from(update_of(words)),
    };
    let store = SledStore::open_folder(&data, &SledOptions::default(), Expect::Any).expect("a store");
    let entries = [entry(1, EntryKind::Update, "good"), entry(2, EntryKind::Quarantined, "bad")];
    store.commit(&entries, &[]).expect("stored");
    drop(store);

    let inspect = |place: [&str; 2]| -> Value {
        let output = run(["inspect", place[0], place[1], "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    assert_eq!(inspect(["--data", path])["documents"][0]["quarantined"], 1);
    let server = Server::start(&data, &["--open"], &[]).expect("ready");
    let mut device = Device::hocuspocus();
    device.connect(server.address(), "doc", "").await.expect("synced");
    assert_eq!(device.text(), "good");
    device.write(" and more").await.expect("sent");
    device.saved().await.expect("saved");
    assert_eq!(inspect(["--server", &server.url("")])["documents"][0]["quarantined"], 1);
}
