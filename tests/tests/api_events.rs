//! Events over HTTP: what changed is told once it is durable, and a stream goes on exactly where it was, or says that it
//! cannot.

use reqwest::StatusCode;
use serde_json::{Value, json};
use syncline_protocol::frame::Dialect;
use syncline_tests::{
    DEADLINE, Server, Stream, Witness, limited,
    rest::{Api, get},
    run,
    stream::Told,
    token,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::timeout,
};
use yrs::{Any, Map, MapPrelim, Text, TextPrelim, WriteTxn};

const FIRST: &str = "019a0000-0000-7000-8000-000000000001";

fn said(text: &str) -> Value {
    json!({ "role": "user", "parts": [{ "type": "text", "text": text }] })
}

fn names(told: &[Told]) -> Vec<&str> {
    told.iter().map(|told| told.name.as_str()).collect()
}

/// Opens a stream and waits until it listens; returns the id it begins behind.
async fn listen(server: &Server, token: &str, after: Option<&str>) -> (Stream, Told) {
    let mut stream = Stream::open(server, "ada", token, after).await.expect("a stream");
    let first = stream.told().await;
    (stream, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_changes_is_told_with_its_meaning() {
    let server = Server::fresh(&[]).expect("ready");
    let token = token(server.data(), "ada", &["--device", "phone"]);
    let ada = Api::new(&server, "ada", &token);
    let (mut stream, first) = listen(&server, &token, None).await;
    assert_eq!(first.name, "ready");

    ada.post("/conversations", json!({ "id": FIRST, "title": "One", "tags": ["x", "y"] })).await;
    let told = stream.many(3).await;
    assert_eq!(names(&told), ["conversation.made", "conversation.tagged", "conversation.renamed"]);
    assert!(told.iter().all(|told| told.data["conversation"] == FIRST && told.data["by"] == "phone"));
    assert!(told[0].data["at"].as_u64().is_some_and(|at| at > 1_700_000_000_000));

    let path = format!("/conversations/{FIRST}");
    let turn = ada.post(&format!("{path}/messages"), said("a secret")).await;
    let told = stream.told().await;
    let wanted = json!({ "type": "message.accepted", "conversation": FIRST, "message": turn["id"], "seq": 1,
        "after": null, "role": "user", "at": told.data["at"], "by": "phone" });
    assert_eq!((told.name.as_str(), &told.data), ("message.accepted", &wanted));

    let id = turn["id"].as_str().expect("an id");
    let cases: &[(&str, String, Value, &str)] = &[
        ("PATCH", path.clone(), json!({ "title": "Two" }), "conversation.renamed"),
        ("PATCH", path.clone(), json!({ "pinned": true }), "conversation.pinned"),
        ("PATCH", path.clone(), json!({ "archived": true }), "conversation.archived"),
        ("PATCH", path.clone(), json!({ "folder": "f1" }), "conversation.moved"),
        ("PATCH", path.clone(), json!({ "tags": ["x"] }), "conversation.tagged"),
        ("PUT", format!("{path}/read"), json!({ "seq": 1 }), "conversation.read"),
        ("DELETE", path.clone(), Value::Null, "conversation.deleted"),
        ("POST", format!("{path}/restore"), Value::Null, "conversation.restored"),
        ("PUT", format!("{path}/messages/{id}/feedback"), json!({ "v": 1 }), "message.feedback"),
        ("PUT", "/preferences/theme".to_owned(), json!({ "value": "dark" }), "preference.set"),
        ("POST", "/preferences/theme/block".to_owned(), Value::Null, "preference.blocked"),
        ("DELETE", "/preferences/theme".to_owned(), Value::Null, "preference.cleared"),
    ];
    for (method, path, body, name) in cases {
        ada.call(method, path, body.clone()).await.ok();
        assert_eq!(stream.told().await.name, *name, "{method} {path}");
    }
    // What does not change anything tells nothing: the next event is that of the next change.
    ada.call("PATCH", &path, json!({ "title": "Two" })).await.ok();
    ada.post("/folders", json!({ "name": "Work" })).await;
    let told = stream.told().await;
    assert_eq!(told.name, "folder.changed", "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_devices_write_is_told_and_free_documents_and_streamed_text_are_not() {
    let server = Server::fresh(&[]).expect("ready");
    let token = token(server.data(), "ada", &["--device", "laptop"]);
    let (mut stream, _) = listen(&server, &token, None).await;
    let mut notes = Witness::new(Dialect::Plain, "ada/notes", 5).with_token(&token);
    notes.sync(server.address()).await.expect("synced");
    notes.write("hello").await.expect("sent");
    notes.until_saved().await.expect("saved");

    let document = format!("ada/c/{FIRST}");
    let mut device = Witness::new(Dialect::Hocuspocus, &document, 7).with_token(&token);
    device.sync(server.address()).await.expect("synced");
    let mut live = None;
    let head = r#"{"role":"user","parent":null,"by":"laptop.s","at":"1700000000000-0001"}"#;
    device
        .edit(|_, _, txn| {
            let messages = txn.get_or_insert_map("messages");
            let message = messages.insert(txn, "m1", MapPrelim::default());
            message.insert(txn, "head", Any::from_json(head).expect("JSON"));
            let parts = message.insert(txn, "parts", MapPrelim::default());
            let part = parts.insert(txn, "0", MapPrelim::default());
            part.insert(txn, "head", Any::from_json(r#"{"id":"p","type":"text"}"#).expect("JSON"));
            live = Some(part.insert(txn, "text", TextPrelim::new("")));
        })
        .await
        .expect("sent");
    device.until_saved().await.expect("saved");
    let told = stream.told().await;
    assert_eq!((told.name.as_str(), &told.data["by"]), ("message.accepted", &json!("laptop")));

    // Somebody rewrites it: it is healed, once, whatever was written.
    for word in ["a ", "b ", "c"] {
        device.edit(|_, _, txn| live.as_ref().expect("a text").push(txn, word)).await.expect("sent");
    }
    device.until_saved().await.expect("saved");
    assert_eq!(stream.told().await.name, "message.healed");

    let mut drafts = Witness::new(Dialect::Hocuspocus, "ada/drafts", 8).with_token(&token);
    drafts.sync(server.address()).await.expect("synced");
    let value = r#"["1700000000000-0001",{"text":"hm","attachments":[],"req":"r"}]"#;
    drafts
        .edit(|_, _, txn| {
            let drafts = txn.get_or_insert_map("drafts");
            drafts.insert(txn, format!("{FIRST}@laptop.s"), Any::from_json(value).expect("JSON"));
        })
        .await
        .expect("sent");
    let mut next = stream.told().await;
    while next.name == "message.healed" {
        next = stream.told().await;
    }
    assert_eq!((next.name.as_str(), &next.data["writer"]), ("draft.changed", &json!("laptop.s")));
    assert_eq!(next.data["conversation"], FIRST);
}

/// Reads all that was told behind an id, up to an event of that name.
async fn replay(server: &Server, token: &str, after: &str, last: &str) -> Vec<Told> {
    let (mut stream, first) = listen(server, token, Some(after)).await;
    assert_eq!((first.name.as_str(), first.id.as_str()), ("ready", after));
    let mut all = vec![stream.told().await];
    while all.last().is_some_and(|told| told.name != last) {
        all.push(stream.told().await);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_behind_every_id_after_a_kill_and_after_compact() {
    let mut server = Server::fresh(&[]).expect("ready");
    let data = server.data().to_owned();
    let token = token(&data, "ada", &[]);
    let (mut stream, first) = listen(&server, &token, None).await;
    let ada = Api::new(&server, "ada", &token);
    ada.post("/conversations", json!({ "id": FIRST, "title": "One", "tags": ["x"], "pinned": true })).await;
    ada.post(&format!("/conversations/{FIRST}/messages"), said("one")).await;
    let heard = stream.many(5).await;
    server.kill().expect("killed");
    let mut server = server.restart().expect("ready");
    let ada = Api::new(&server, "ada", &token);
    ada.post(&format!("/conversations/{FIRST}/messages"), said("two")).await;
    ada.call("DELETE", &format!("/conversations/{FIRST}"), Value::Null).await.ok();

    let all = replay(&server, &token, &first.id, "conversation.deleted").await;
    assert_eq!(all.len(), 7, "{:?}", names(&all));
    assert_eq!(all[..5], heard, "the same once more, with the same ids");
    let seqs: Vec<&Value> = all.iter().map(|told| &told.data["seq"]).filter(|seq| !seq.is_null()).collect();
    assert_eq!(seqs, [1, 2]);
    // Ids inside one edit are places to go on from too.
    for at in 0..6 {
        let rest = replay(&server, &token, &all[at].id, "conversation.deleted").await;
        assert_eq!(rest, all[at + 1..], "behind {}", all[at].id);
    }
    server.terminate().expect("ended");
    let compacted = run(["compact".as_ref(), "--data".as_ref(), data.as_os_str()]);
    assert!(compacted.status.success(), "{}", String::from_utf8_lossy(&compacted.stderr));
    let server = server.restart().expect("ready");
    assert_eq!(replay(&server, &token, &heard[4].id, "conversation.deleted").await, all[5..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_a_restored_store_and_ids_that_are_none_are_answered_with_a_reset() {
    let mut server = Server::fresh(&[]).expect("ready");
    let token_of = |server: &Server| token(server.data(), "ada", &[]);
    let key = token_of(&server);
    let (mut stream, _) = listen(&server, &key, None).await;
    Api::new(&server, "ada", &key).post("/conversations", json!({ "id": FIRST })).await;
    let heard = stream.told().await;
    for odd in ["x", "00000000-1", &format!("{}9", heard.id)] {
        let (_, first) = listen(&server, &key, Some(odd)).await;
        assert_eq!(first.name, "reset", "{odd}");
        let reason = first.data["reason"].as_str();
        assert!(matches!(reason, Some("unknown" | "restored")), "{odd}: {reason:?}");
    }
    server.terminate().expect("ended");
    let folder = tempfile::tempdir().expect("a folder");
    let (file, other) = (folder.path().join("backup"), folder.path().join("data"));
    let arguments = [&["backup", "--data"][..], &[server.data().to_str().expect("UTF-8"), "--to"]].concat();
    assert!(run(arguments.iter().copied().chain([file.to_str().expect("UTF-8")])).status.success());
    let text = [other.to_str().expect("UTF-8"), file.to_str().expect("UTF-8")];
    assert!(run(["restore", "--data"].into_iter().chain(text)).status.success());
    let restored = Server::start(&other, &[], &[]).expect("ready");
    let key = token_of(&restored);
    let (mut stream, first) = listen(&restored, &key, Some(&heard.id)).await;
    assert_eq!((first.name.as_str(), &first.data["reason"]), ("reset", &json!("restored")));
    // The id of the reset is one to go on from.
    Api::new(&restored, "ada", &key).call("PUT", "/preferences/a", json!({ "value": 1 })).await.ok();
    let told = stream.told().await;
    assert_eq!(told.name, "preference.set");
    assert_eq!(replay(&restored, &key, &first.id, "preference.set").await, [told]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_any_more_is_a_reset_and_bounds_hold() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = [("event_batches", 3), ("event_streams_per_user", 2), ("event_keep_alive_ms", 20)];
    let server = limited::start(&folder, &[], &limits).expect("ready");
    let key = token(server.data(), "ada", &[]);
    let ada = Api::new(&server, "ada", &key);
    let (mut stream, first) = listen(&server, &key, None).await;
    for n in 0..4 {
        ada.call("PUT", "/preferences/a", json!({ "value": n })).await.ok();
    }
    let heard = stream.many(4).await;
    let (second, reset) = listen(&server, &key, Some(&first.id)).await;
    assert_eq!((reset.name.as_str(), &reset.data["reason"]), ("reset", &json!("expired")));
    assert_eq!(reset.id, heard[3].id);
    let refused = Stream::open(&server, "ada", &key, None).await.expect_err("refused");
    assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
    drop(second);
    // Its place is free once the server has noticed.
    let reopened = timeout(DEADLINE, async {
        loop {
            if let Ok(stream) = Stream::open(&server, "ada", &key, Some(&heard[0].id)).await {
                return stream;
            }
            tokio::task::yield_now().await;
        }
    });
    let mut reopened = reopened.await.expect("a place");
    assert_eq!(reopened.told().await.name, "ready");
    assert_eq!(reopened.many(3).await, heard[1..]);
    ada.call("PUT", "/preferences/a", json!({ "value": "later" })).await.ok();
    stream.told().await;
    let metrics = get(&server, "/metrics").await.text().await.expect("text");
    assert!(metrics.contains("syncline_event_resets_total 1\n"), "{metrics}");
    // A silent stream shows that it lives: comments come before the next event does.
    let waits = async {
        while stream.comments < 3 {
            let _ = timeout(std::time::Duration::from_millis(200), stream.next()).await;
        }
    };
    timeout(DEADLINE, waits).await.expect("comments");
}

/// Reads on until the stream says why it ends.
async fn ends(stream: &mut Stream) -> Value {
    loop {
        let told = stream.told().await;
        if told.name == "end" {
            assert_eq!(stream.next().await.expect("an end"), None);
            return told.data["reason"].clone();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_device_and_with_its_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = limited::start(&folder, &[], &[("event_keep_alive_ms", 50)]).expect("ready");
    let key = token(server.data(), "ada", &["--device", "laptop"]);
    let ada = Api::new(&server, "ada", &key);
    let phone = token(server.data(), "ada", &["--device", "phone"]);
    let (mut of_phone, _) = listen(&server, &phone, None).await;
    let (mut of_laptop, _) = listen(&server, &key, None).await;
    ada.post("/devices/phone/revoke", Value::Null).await;
    assert_eq!(ends(&mut of_phone).await, "device_revoked");
    assert_eq!(of_laptop.told().await.name, "device.revoked", "others hear on");
    ada.post("/erase", Value::Null).await;
    assert_eq!(ends(&mut of_laptop).await, "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_shows_what_its_token_opens_and_ends_with_it() {
    let server = Server::fresh(&[]).expect("ready");
    let key = token(server.data(), "ada", &[]);
    let bob = token(server.data(), "bob", &[]);
    assert_eq!(Stream::open(&server, "ada", &bob, None).await.expect_err("refused"), StatusCode::FORBIDDEN);
    assert_eq!(Stream::open(&server, "ada", "", None).await.expect_err("refused"), StatusCode::UNAUTHORIZED);
    let short = token(server.data(), "ada", &["--role", "reader", "--ttl", "2s"]);
    let (mut stream, _) = listen(&server, &short, None).await;
    Api::new(&server, "ada", &key).call("PUT", "/preferences/a", json!({ "value": 1 })).await.ok();
    assert_eq!(stream.told().await.name, "preference.set");
    let end = stream.told().await;
    assert_eq!((end.name.as_str(), &end.data["reason"]), ("end", &json!("token_expired")));
    assert_eq!(stream.next().await.expect("ends"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_is_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = limited::start(&folder, &[], &[("send_ms", 200)]).expect("ready");
    let key = token(server.data(), "ada", &["--device", "phone"]);
    let (_, first) = listen(&server, &key, None).await;
    let mut profile = Witness::new(Dialect::Plain, "ada/profile", 5).with_token(&key);
    profile.sync(server.address()).await.expect("synced");
    let long = "n".repeat(600);
    for round in 0..250 {
        let value: [Any; 2] = [format!("1700000000000-{round:04x}").into(), round.into()];
        let written = profile.edit(|_, _, txn| {
            let preferences = txn.get_or_insert_map("preferences");
            for n in 0..60 {
                preferences.insert(txn, format!("{n}{long}@phone.s"), Any::Array(value.clone().into()));
            }
        });
        written.await.expect("sent");
    }
    profile.until_saved().await.expect("saved");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut socket = socket.connect(server.address()).await.expect("connected");
    let request = format!(
        "GET /v1/users/ada/events?after={} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {key}\r\n\r\n",
        first.id,
        server.address()
    );
    socket.write_all(request.as_bytes()).await.expect("sent");
    let closed = timeout(DEADLINE, async {
        while !get(&server, "/metrics")
            .await
            .text()
            .await
            .expect("text")
            .contains("event_streams_slow_total 1\n")
        {
            tokio::task::yield_now().await;
        }
    });
    closed.await.expect("closed as too slow");
    // The socket was closed too: what is left of it can be read to an end.
    let mut rest = Vec::new();
    let ended = timeout(DEADLINE, socket.read_to_end(&mut rest)).await.expect("it ends");
    assert!(ended.is_err() || rest.len() < 8 << 20);
}
