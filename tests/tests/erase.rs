//! What is erased is gone: from every answer, from backups made afterwards, from a compacted folder, for devices that
//! come back, and after a kill at any moment.

use std::path::Path;

use reqwest::StatusCode;
use serde_json::{Value, json};
use syncline_protocol::frame::Dialect;
use syncline_store::{MemoryStore, Store, export::import};
use syncline_tests::{
    Client, Event, Server, Witness,
    rest::{Api, ask, get},
    run, token,
    witness::{DIALECTS, open},
};
use yrs::{Any, Map, MapRef, Out, Transact, TransactionMut, WriteTxn};

const FIRST: &str = "019a0000-0000-7000-8000-000000000001";
const SECOND: &str = "019a0000-0000-7000-8000-000000000002";
/// Stands in everything that is to go.
const SECRET: &str = "Zq7-what-nobody-reads-again";

fn api(server: &Server, user: &str, more: &[&str]) -> Api {
    Api::new(server, user, &token(server.data(), user, more))
}

fn said(id: &str, text: &str) -> Value {
    json!({ "id": id, "role": "user", "req": format!("req-{id}"), "parts": [{ "type": "text", "text": text }] })
}

/// What a conversation tells that is to go.
fn secret(id: &str) -> String {
    format!("{SECRET}-{}", &id[35..])
}

/// Two conversations, each of which tells its secret in every place where one can.
async fn told(ada: &Api) {
    for id in [FIRST, SECOND] {
        let secret = secret(id);
        ada.post("/conversations", json!({ "id": id, "title": secret, "tags": ["trip"] })).await;
        let path = format!("/conversations/{id}/messages");
        let key = [("idempotency-key", &*format!("k-{id}"))];
        ada.call_with("POST", &path, said("m1", &secret), &key).await.ok();
        ada.call("PUT", &format!("{path}/m1/feedback"), json!({ "v": 1, "tags": [], "text": secret }))
            .await
            .ok();
        ada.call("PUT", &format!("/drafts/{id}"), json!({ "text": secret, "req": "r" })).await.ok();
        ada.call("PUT", &format!("/conversations/{id}/read"), json!({ "seq": 1, "tip": "m1" })).await.ok();
    }
}

fn in_folder(folder: &Path, secret: &str) -> bool {
    std::fs::read_dir(folder).expect("a folder").flatten().any(|item| {
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            return in_folder(&item.path(), secret);
        }
        let bytes = std::fs::read(item.path()).expect("a file");
        bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
    })
}

/// Takes a backup of a server that runs.
fn back_up(server: &Server, admin: &str, file: &Path) {
    let url = server.url("");
    let made = run(["backup", "--server", &url, "--token", admin, "--to", file.to_str().expect("UTF-8")]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Says whether anything in a backup tells: what is compressed in it is read, not looked over.
fn in_backup(server: &Server, admin: &str, secret: &str) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backup");
    back_up(server, admin, &file);
    let store = MemoryStore::new().expect("a store");
    import(&store, &mut std::fs::File::open(file).expect("a backup")).expect("a whole backup");
    let says = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    let mut telling: Vec<String> = Vec::new();
    for (key, value) in store.rows(b"", &[255; 8], usize::MAX).expect("rows") {
        if says(&key) || says(&value) {
            telling.push(format!("row {}", key.escape_ascii()));
        }
    }
    for document in store.documents(None, usize::MAX).expect("documents") {
        let Some(stored) = store.read(&document.name).expect("reads") else { continue };
        let pending = stored.checkpoint.iter().flat_map(|checkpoint| &checkpoint.pending);
        let entries = stored.tail.iter().chain(&stored.quarantined).chain(pending);
        let told = entries.filter(|entry| says(&entry.bytes)).map(|entry| entry.sequence);
        telling.extend(told.map(|sequence| format!("entry {sequence} of {}", document.name)));
        if stored.checkpoint.is_some_and(|checkpoint| says(&checkpoint.update)) {
            telling.push(format!("checkpoint of {}", document.name));
        }
    }
    eprintln!("{secret} in {telling:?}");
    !telling.is_empty()
}

fn command(name: &str, data: &Path) -> String {
    let output = run([name.as_ref(), "--data".as_ref(), data.as_os_str()]);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Ends the server, and looks at its folder as operators do; compacted, it has nothing of the secret.
fn assert_folder_is_clean(mut server: Server, secret: &str) {
    assert!(server.terminate().expect("ends").success());
    let data = server.data().to_owned();
    command("verify", &data);
    let ledger = command("erasures", &data);
    assert!(ledger.contains("\"sealed\":true") && !ledger.contains("\"sealed\":false"), "{ledger}");
    command("compact", &data);
    command("verify", &data);
    assert!(!in_folder(&data, secret), "the compacted folder tells");
}

/// Asks everything that could tell.
async fn assert_nothing_tells(server: &Server, ada: &Api, paths: &[&str], secret: &str) {
    for path in paths {
        let answer = ada.call("GET", path, Value::Null).await;
        assert!(!answer.body.to_string().contains(secret), "{path}: {}", answer.body);
    }
    let admin = token(server.data(), "root", &["--role", "admin"]);
    let listed = ask(server, "GET", "/v1/admin/documents", &admin, "").await.text().await.expect("a list");
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    for row in listed["documents"].as_array().expect("documents") {
        let path = format!("/v1/admin/documents/{}", row["name"].as_str().expect("a name"));
        let shown = ask(server, "GET", &path, &admin, "").await.text().await.expect("content");
        assert!(!shown.contains(secret), "{path}: {shown}");
    }
    assert!(!in_backup(server, &admin, secret), "the backup tells");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_message_is_nowhere_and_its_place_stays() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = api(&server, "ada", &["--device", "phone"]);
    ada.post("/conversations", json!({ "id": FIRST, "title": "Trip" })).await;
    let path = format!("/conversations/{FIRST}/messages");
    let key = [("idempotency-key", "k1")];
    ada.call_with("POST", &path, said("m1", &format!("{SECRET} one")), &key).await.ok();
    ada.call("PUT", &format!("/drafts/{FIRST}"), json!({ "text": SECRET, "req": "req-m1" })).await.ok();
    let opinion = json!({ "v": 1, "tags": [], "text": SECRET });
    ada.call("PUT", &format!("{path}/m1/feedback"), opinion).await.ok();
    // The same request under another id, and a heal whose audit shows what stood there.
    let mut again = said("other", &format!("{SECRET} again"));
    again["req"] = json!("req-m1");
    ada.post(&path, again).await;
    tamper(&server, json!([])).await;
    assert!(ada.get("/conversations").await.to_string().contains(SECRET), "the preview");

    let receipt = ada.post(&format!("{path}/m1/erase"), Value::Null).await;
    assert_eq!(
        (&receipt["what"], &receipt["user"], &receipt["by"]["device"]),
        (&json!("message"), &json!("ada"), &json!("phone"))
    );
    assert_eq!(receipt["removed"]["messages"], json!(["m1"]));
    assert!(receipt["removed"]["updates"].as_u64() > Some(2), "{receipt}");
    assert!(receipt["removed"]["rows"].as_u64() >= Some(2), "the audit and the kept answer: {receipt}");
    assert_eq!(ada.post(&format!("{path}/m1/erase"), Value::Null).await, receipt, "the same receipt");
    let seen = ada.get(&format!("{path}/m1")).await;
    assert_eq!((&seen["erased"], &seen["parts"], &seen["seq"]), (&json!(true), &json!([]), &json!(1)));
    assert_eq!(ada.get("/erasures").await["items"], json!([receipt]));
    let replayed = ada.call_with("POST", &path, said("m1", &format!("{SECRET} one")), &key).await;
    assert_eq!(
        (replayed.status, &replayed.body),
        (StatusCode::CREATED, &Value::Null),
        "made once, and not told"
    );
    let missing = ada.call("POST", &format!("{path}/nothing/erase"), Value::Null).await;
    assert_eq!(missing.problem(), (404, "not_found"));
    let paths = ["/conversations", "/drafts", &*path, &format!("{path}?branch=all"), "/erasures"];
    assert_nothing_tells(&server, &ada, &paths, SECRET).await;
    // A key that was used is answered from what is kept; the conversation goes on.
    ada.post(&path, said("m2", "hello")).await;
    assert_folder_is_clean(server, SECRET);
}

/// Changes the message `m1` as a device that has it.
fn tampered(
    map: &'static str,
    parts: &Value,
) -> impl FnOnce(&yrs::TextRef, &MapRef, &mut TransactionMut<'_>) {
    let parts = Any::from_json(&parts.to_string()).expect("JSON");
    move |_, _, txn| {
        let messages = txn.get_or_insert_map(map);
        let Some(Out::YMap(container)) = messages.get(txn, "m1") else { panic!("a message") };
        container.insert(txn, "parts", parts);
    }
}

async fn tamper(server: &Server, parts: Value) {
    let token = token(server.data(), "ada", &["--device", "stale"]);
    let name = format!("ada/c/{FIRST}");
    let mut stale = Witness::new(Dialect::Hocuspocus, &name, 77).with_token(&token);
    stale.sync(server.address()).await.expect("synced");
    stale.edit(tampered("messages", &parts)).await.expect("edited");
    stale.until_saved().await.expect("saved");
}

/// A device of each family, synced with a document.
async fn devices(server: &Server, document: &str, token: &str) -> Vec<Witness> {
    let mut devices = Vec::new();
    for (client, dialect) in (1_u64 << 41..).zip(DIALECTS) {
        let mut device = Witness::new(dialect, document, client).with_token(token);
        device.sync(server.address()).await.expect("synced");
        devices.push(device);
    }
    devices
}

/// Waits for something that follows in the background.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + syncline_tests::DEADLINE;
    while !is_so().await {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        // Nothing tells when a background task is done: the server is asked again.
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_offline_gets_erased_back_and_what_it_brought_is_scrubbed() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = api(&server, "ada", &["--device", "phone"]);
    ada.post("/conversations", json!({ "id": FIRST })).await;
    let path = format!("/conversations/{FIRST}/messages");
    ada.post(&path, said("m1", SECRET)).await;
    let (name, owner) = (format!("ada/c/{FIRST}"), token(server.data(), "ada", &["--device", "stale"]));
    let mut stale = devices(&server, &name, &owner).await;
    for device in &mut stale {
        device.disconnect();
        let parts = json!([{ "type": "text", "text": format!("{SECRET}, edited") }]);
        device.edit_offline(tampered("messages", &parts)).expect("edited");
    }
    ada.post(&format!("{path}/m1/erase"), Value::Null).await;
    for device in &mut stale {
        device.sync(server.address()).await.expect("it is taken, and healed");
        device
            .until("erased", |device| {
                let mut txn = device.doc.transact_mut();
                let messages = txn.get_or_insert_map("messages");
                let Some(Out::YMap(container)) = messages.get(&txn, "m1") else { return false };
                container.get(&txn, "parts").is_some_and(|parts| parts.to_string(&txn).contains("erased"))
            })
            .await
            .expect("erased comes back");
    }
    let admin = token(server.data(), "root", &["--role", "admin"]);
    eventually("what came back is scrubbed", async || !in_backup(&server, &admin, SECRET)).await;
    assert_nothing_tells(&server, &ada, &["/conversations", &path], SECRET).await;
    assert_folder_is_clean(server, SECRET);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_conversation_is_gone_and_its_name_is_burned_in_every_dialect() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = api(&server, "ada", &["--device", "phone"]);
    told(&ada).await;
    let (name, owner) = (format!("ada/c/{FIRST}"), token(server.data(), "ada", &["--device", "stale"]));
    let mut live = devices(&server, &name, &owner).await;
    let mut index = Witness::new(Dialect::Hocuspocus, "ada/index/2025-q4", 9).with_token(&owner);
    index.sync(server.address()).await.expect("synced");
    index.disconnect();
    let hlc = format!("{:013}-0000", 1_760_000_000_000_u64);
    let title = json!([hlc, secret(FIRST)]).to_string();
    index
        .edit_offline(|_, _, txn| {
            let conversations = txn.get_or_insert_map("conversations");
            conversations.insert(
                txn,
                format!("{FIRST}|title@stale.s"),
                Any::from_json(&title).expect("JSON"),
            );
        })
        .expect("edited");

    let receipt = ada.post(&format!("/conversations/{FIRST}/erase"), Value::Null).await;
    assert_eq!(
        (&receipt["what"], &receipt["removed"]["documents"]),
        (&json!("conversation"), &json!([name]))
    );
    assert_eq!(ada.post(&format!("/conversations/{FIRST}/erase"), Value::Null).await, receipt);
    // Live sockets.
    for device in &mut live {
        if device.dialect == Dialect::Hocuspocus {
            device
                .until("denied", |device| device.reasons().iter().any(|why| why.starts_with("gone")))
                .await
                .expect("told");
        } else {
            let ended = device.until_ended().await.expect("an end");
            assert!(ended.0 == 4404 && ended.1.starts_with("gone"), "{ended}");
        }
        device.disconnect();
        let edited =
            device.edit_offline(tampered("messages", &json!([{ "type": "text", "text": secret(FIRST) }])));
        edited.expect("edited");
    }
    // Those that come back.
    for device in &mut live {
        if device.dialect == Dialect::Ysweet {
            let path = format!("/d/{name}/ws/{name}?token={owner}");
            let refused = Client::try_connect(server.address(), &path, &[]).await.expect("an answer");
            assert_eq!(refused.err().map(|status| status.as_u16()), Some(410));
            continue;
        }
        device.connect(server.address()).await.expect("let in to be told");
        device
            .until("denied", |device| device.reasons().iter().any(|why| why.starts_with("gone")))
            .await
            .expect("told");
    }
    let mut plain = open(server.address(), Dialect::Plain, &name, &owner).await.expect("a socket");
    plain.send(&syncline_protocol::frame::Reply::SyncStep1(&[0])).await.expect("sent");
    assert!(matches!(plain.next().await.expect("a frame"), Event::Denied(why) if why.starts_with("gone")));
    // What an offline device set on it goes again.
    index.sync(server.address()).await.expect("synced");
    let admin = token(server.data(), "root", &["--role", "admin"]);
    eventually("what came back is scrubbed", async || !in_backup(&server, &admin, &secret(FIRST))).await;
    assert_gone_over_http(&server, &ada, &owner, &name).await;
    let shown = ["/conversations", "/conversations?deleted=true", "/drafts", "/erasures", "/export"];
    assert_nothing_tells(&server, &ada, &shown, &secret(FIRST)).await;
    let left = ada.get("/conversations").await;
    assert_eq!(
        (left["items"].as_array().map(Vec::len), &left["items"][0]["title"]),
        (Some(1), &json!(secret(SECOND)))
    );
    assert_eq!(ada.get("/drafts").await["items"][0]["text"], secret(SECOND));
    let server = server.restart().expect("ready");
    let ada = api(&server, "ada", &[]);
    assert_eq!(
        ada.call("GET", &format!("/conversations/{FIRST}"), Value::Null).await.problem(),
        (410, "gone")
    );
    assert_folder_is_clean(server, &secret(FIRST));
}

async fn assert_gone_over_http(server: &Server, ada: &Api, owner: &str, name: &str) {
    let path = format!("/conversations/{FIRST}");
    let again = json!({ "id": FIRST, "title": secret(FIRST) });
    for (method, path, body) in [
        ("GET", path.clone(), Value::Null),
        ("PATCH", path.clone(), json!({ "title": "x" })),
        ("POST", format!("{path}/messages"), said("m9", "x")),
        ("POST", format!("{path}/messages/m1/erase"), Value::Null),
        ("PUT", format!("/drafts/{FIRST}"), json!({ "text": secret(FIRST) })),
        ("POST", "/conversations".to_owned(), again),
    ] {
        assert_eq!(ada.call(method, &path, body).await.problem(), (410, "gone"), "{method} {path}");
    }
    for (method, path) in [("GET", format!("/d/{name}/as-update")), ("POST", format!("/doc/{name}/auth"))] {
        assert_eq!(ask(server, method, &path, owner, "{}").await.status(), StatusCode::GONE, "{path}");
    }
    let update = syncline_tests::rest::update_of("x");
    let answer = ask(server, "POST", &format!("/d/{name}/update"), owner, update).await;
    assert_eq!(answer.status(), StatusCode::GONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn importing_an_erased_conversation_again_is_refused_and_the_others_come() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = api(&server, "ada", &[]);
    told(&ada).await;
    let owner = token(server.data(), "ada", &[]);
    let archive = ask(&server, "GET", "/v1/users/ada/export", &owner, "").await.bytes().await.expect("a zip");
    ada.post(&format!("/conversations/{FIRST}/erase"), Value::Null).await;
    let told =
        ask(&server, "POST", "/v1/users/ada/import", &owner, archive).await.text().await.expect("lines");
    let refused: Vec<&str> = told.lines().filter(|line| line.contains("gone: ")).collect();
    assert!(refused.len() == 1 && refused[0].contains("\"failed\""), "{told}");
    assert!(!told.contains("\"problem\""), "{told}");
    let admin = token(server.data(), "root", &["--role", "admin"]);
    eventually("what the archive brought of it is scrubbed", async || {
        !in_backup(&server, &admin, &secret(FIRST))
    })
    .await;
    assert_eq!(ada.get("/conversations").await["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_user_is_gone_and_others_are_not() {
    let server = Server::fresh(&[]).expect("ready");
    let (ada, bob) = (api(&server, "ada", &[]), api(&server, "bob", &[]));
    told(&ada).await;
    ada.call("PUT", "/preferences/tone", json!({ "value": SECRET })).await;
    bob.post("/conversations", json!({ "id": FIRST, "title": "Bob's" })).await;
    let owner = token(server.data(), "ada", &["--device", "phone"]);
    let mut notes = Witness::new(Dialect::Plain, "ada/notes", 5).with_token(&owner);
    notes.sync(server.address()).await.expect("synced");
    notes.write(SECRET).await.expect("written");
    notes.until_saved().await.expect("saved");
    let admin = api(&server, "root", &["--role", "admin"]);
    let asked = Api::new(&server, "ada", &token(server.data(), "root", &["--role", "admin"]));
    let receipt = asked.post("/erase", Value::Null).await;
    assert_eq!(
        (&receipt["what"], &receipt["by"]["user"], &receipt["by"]["role"]),
        (&json!("user"), &json!("root"), &json!("admin"))
    );
    assert!(receipt["removed"]["documentCount"].as_u64() >= Some(6), "{receipt}");
    assert_eq!(notes.until_ended().await.expect("an end").0, 4404);
    for path in ["/conversations", "/preferences", "/devices", "/export"] {
        assert_eq!(ada.call("GET", path, Value::Null).await.problem(), (410, "gone"), "{path}");
    }
    assert_eq!(ada.call("POST", "/conversations", json!({})).await.problem(), (410, "gone"));
    assert_eq!(ada.get("/erasures").await["items"], json!([receipt]), "the receipt stays");
    assert_eq!(ada.post("/erase", Value::Null).await, receipt);
    notes.connect(server.address()).await.expect("let in to be told");
    notes.until("denied", |device| !device.reasons().is_empty()).await.expect("told");
    assert_eq!(bob.get("/conversations").await["items"][0]["title"], "Bob's");
    drop(admin);
    assert_nothing_tells(&server, &bob, &["/conversations"], SECRET).await;
    assert_folder_is_clean(server, SECRET);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_person_and_operators_erase() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = api(&server, "ada", &[]);
    told(&ada).await;
    for (user, role) in [("ada", "agent"), ("ada", "reader"), ("bob", "owner")] {
        let other = Api::new(&server, "ada", &token(server.data(), user, &["--role", role]));
        for path in [
            "/erase",
            &format!("/conversations/{FIRST}/erase"),
            &format!("/conversations/{FIRST}/messages/m1/erase"),
        ] {
            let refused = other.call("POST", path, Value::Null).await;
            assert_eq!(refused.problem(), (403, "forbidden"), "{role} of {user}: {path}");
        }
    }
    let nobody = Api::new(&server, "ada", "");
    assert_eq!(nobody.call("POST", "/erase", Value::Null).await.problem().0, 401);
    assert_eq!(ada.call("POST", "/conversations/x/erase", Value::Null).await.problem(), (400, "bad_request"));
    let never = "019a0000-0000-7000-8000-00000000000f";
    let missing = ada.call("POST", &format!("/conversations/{never}/erase"), Value::Null).await;
    assert_eq!(missing.problem(), (404, "not_found"));
    assert_eq!(ada.get("/erasures").await, json!({ "items": [], "next": null }));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_an_erasure_is_finished_at_the_next_start() {
    let mut unfinished = 0;
    for round in 0..10_u64 {
        let mut server = Server::fresh(&[]).expect("ready");
        let ada = api(&server, "ada", &[]);
        told(&ada).await;
        let path = match round % 3 {
            0 => format!("/conversations/{FIRST}/messages/m1/erase"),
            1 => format!("/conversations/{FIRST}/erase"),
            _ => "/erase".to_owned(),
        };
        let asking = {
            let ada = ada.clone();
            tokio::spawn(async move { ada.try_post(&path).await })
        };
        // The moment is what is tried here: from before it begins to after it is done. Each answer to something else lets
        // a little of it happen.
        for _ in 0..round * 4 {
            get(&server, "/healthz").await;
        }
        server.kill().expect("killed");
        unfinished += u64::from(!asking.await.expect("no panic"));
        let server = server.restart().expect("ready");
        let ada = api(&server, "ada", &[]);
        eventually("every erasure that began is done", async || {
            let ledger = ada.get("/erasures").await;
            ledger["items"].as_array().is_some_and(|items| items.iter().all(|item| item["done"].is_u64()))
        })
        .await;
        let begun = !ada.get("/erasures").await["items"].as_array().expect("items").is_empty();
        if begun {
            let admin = token(server.data(), "root", &["--role", "admin"]);
            let gone = if round % 3 == 0 { "m1" } else { "conversation" };
            // The title of the conversation stays where only its message went.
            if gone == "conversation" {
                assert!(!in_backup(&server, &admin, &secret(FIRST)), "round {round}");
                assert_folder_is_clean(server, &secret(FIRST));
            } else {
                let turn = ada.get(&format!("/conversations/{FIRST}/messages/m1")).await;
                assert_eq!(turn["erased"], true, "round {round}");
            }
        }
    }
    eprintln!("{unfinished} of 10 erasures were killed before they were answered");
    assert!(unfinished > 0, "no kill came in between");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_is_restored_without_what_was_erased_since() {
    let mut server = Server::fresh(&[]).expect("ready");
    let ada = api(&server, "ada", &[]);
    told(&ada).await;
    let admin = token(server.data(), "root", &["--role", "admin"]);
    let folder = tempfile::tempdir().expect("a folder");
    let (backup, list, data) =
        (folder.path().join("backup"), folder.path().join("list"), folder.path().join("new"));
    back_up(&server, &admin, &backup);
    let receipt = ada.post(&format!("/conversations/{FIRST}/erase"), Value::Null).await;
    assert!(server.terminate().expect("ends").success());
    std::fs::write(&list, command("erasures", server.data())).expect("written");
    let paths = [&data, &list, &backup].map(|path| path.to_str().expect("UTF-8"));
    let restored = run(["restore", "--data", paths[0], "--erasures", paths[1], paths[2]]);
    let said = String::from_utf8_lossy(&restored.stdout).into_owned();
    assert!(
        restored.status.success() && said.contains("1 erasures"),
        "{said}{}",
        String::from_utf8_lossy(&restored.stderr)
    );
    let server = Server::start(&data, &[], &[]).expect("ready");
    let ada = api(&server, "ada", &[]);
    assert_eq!(
        ada.call("GET", &format!("/conversations/{FIRST}"), Value::Null).await.problem(),
        (410, "gone")
    );
    eventually("it is erased again", async || ada.get("/erasures").await["items"][0]["done"].is_u64()).await;
    assert_eq!(ada.get("/erasures").await["items"][0]["id"], receipt["id"]);
    let admin = token(server.data(), "root", &["--role", "admin"]);
    assert!(!in_backup(&server, &admin, &secret(FIRST)) && in_backup(&server, &admin, &secret(SECOND)));
}
