//! Conversations and messages over HTTP: lists, writes, who may, and that devices see what is written here and the
//! other way round.

use reqwest::StatusCode;
use serde_json::{Value, json};
use syncline_protocol::frame::Dialect;
use syncline_tests::{Server, Witness, limited, rest::Api, token};
use yrs::{Any, Map, ReadTxn, Transact, WriteTxn};

const FIRST: &str = "019a0000-0000-7000-8000-000000000001";
const SECOND: &str = "019a0000-0000-7000-8000-000000000002";
const THIRD: &str = "019a0000-0000-7000-8000-000000000003";

fn ada(server: &Server) -> Api {
    Api::new(server, "ada", &token(server.data(), "ada", &["--device", "phone"]))
}

fn said(text: &str) -> Value {
    json!({ "role": "user", "parts": [{ "type": "text", "text": text }] })
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("items").iter().filter_map(|item| item["id"].as_str()).collect()
}

fn texts(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().expect("items").iter();
    items.filter_map(|item| item["parts"][0]["text"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_made_once_and_listed_in_pages() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = ada(&server);
    for (id, title) in [(FIRST, "Trip to Rome"), (SECOND, "Recipes"), (THIRD, "Rome, again")] {
        let made = ada.call("POST", "/conversations", json!({ "id": id, "title": title })).await;
        assert_eq!((made.status, &made.body["title"]), (StatusCode::CREATED, &json!(title)));
        assert_eq!((&made.body["deleted"], &made.body["last"]), (&json!(false), &Value::Null));
        assert!(made.body["createdAt"].as_u64().is_some_and(|at| at > 1_700_000_000_000));
    }
    let again = ada.call("POST", "/conversations", json!({ "id": FIRST, "title": "Other" })).await;
    assert_eq!((again.status, &again.body["title"]), (StatusCode::CREATED, &json!("Trip to Rome")));

    // The one with the newest turn first.
    ada.post(&format!("/conversations/{FIRST}/messages"), said("hello")).await;
    let first = ada.get("/conversations?limit=2").await;
    assert_eq!(ids(&first), [FIRST, THIRD]);
    assert_eq!(first["items"][0]["last"]["preview"], "hello");
    let next = first["next"].as_str().expect("a cursor");
    let rest = ada.get(&format!("/conversations?limit=2&after={next}")).await;
    assert_eq!((ids(&rest), &rest["next"]), (vec![SECOND], &Value::Null));
    assert_eq!(ids(&ada.get("/conversations?q=rome").await), [FIRST, THIRD]);
    assert_eq!(ids(&ada.get("/conversations?q=again%20ROME").await), [THIRD]);

    let drawn = ada.post("/conversations", json!({})).await;
    assert!(drawn["id"].as_str().is_some_and(|id| id.len() == 36), "{drawn}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_on_a_conversation_shows_and_what_is_not_named_stays() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = ada(&server);
    let path = format!("/conversations/{FIRST}");
    ada.post("/conversations", json!({ "id": FIRST, "title": "One", "tags": ["a", "b"] })).await;
    ada.post("/conversations", json!({ "id": SECOND })).await;
    let change =
        json!({ "title": "Two", "pinned": true, "archived": true, "folder": "trips", "tags": ["b", "c"] });
    let changed = ada.call("PATCH", &path, change.clone()).await.ok();
    for key in ["title", "pinned", "archived", "folder", "tags"] {
        assert_eq!(changed[key], change[key], "{key}");
    }
    assert_eq!(ids(&ada.get("/conversations").await), [SECOND]);
    assert_eq!(ids(&ada.get("/conversations?archived=true&folder=trips").await), [FIRST]);
    let changed = ada.call("PATCH", &path, json!({ "folder": null, "archived": false })).await.ok();
    assert_eq!((&changed["folder"], &changed["title"]), (&Value::Null, &json!("Two")));
    // Pinned ones are on top.
    assert_eq!(ids(&ada.get("/conversations").await), [FIRST, SECOND]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_conversation_is_kept_tells_of_news_and_can_be_restored() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = ada(&server);
    let path = format!("/conversations/{FIRST}");
    ada.post("/conversations", json!({ "id": FIRST })).await;
    ada.post(&format!("{path}/messages"), said("one")).await;
    let gone = ada.call("DELETE", &path, Value::Null).await.ok();
    assert_eq!((&gone["deleted"], &gone["news"]), (&json!(true), &json!(false)));
    assert_eq!(ids(&ada.get("/conversations").await), [""; 0]);
    assert_eq!(ids(&ada.get("/conversations?deleted=true").await), [FIRST]);
    ada.post(&format!("{path}/messages"), said("two")).await;
    assert_eq!(ada.get(&path).await["news"], true);
    let back = ada.post(&format!("{path}/restore"), Value::Null).await;
    assert_eq!((&back["deleted"], &back["news"]), (&json!(false), &json!(false)));
    assert_eq!(ids(&ada.get("/conversations").await), [FIRST]);
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_follow_each_other_and_stand_beside_each_other() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = ada(&server);
    ada.post("/conversations", json!({ "id": FIRST })).await;
    let path = format!("/conversations/{FIRST}/messages");
    let one = ada.post(&path, said("one")).await;
    assert_eq!((&one["seq"], &one["parent"], &one["state"]), (&json!(1), &Value::Null, &json!("done")));
    let mut two = json!({ "id": "two", "req": "r2", "role": "assistant" });
    two["parts"] = json!([{ "type": "text", "text": "two" }]);
    let answer = ada.post(&path, two.clone()).await;
    assert_eq!((&answer["seq"], &answer["parent"]), (&json!(2), &one["id"]));
    // A retry of the same turn, and one of the same request under another id.
    assert_eq!(ada.post(&path, two.clone()).await, answer);
    two["id"] = json!("other");
    assert_eq!(ada.post(&path, two).await, answer);

    let words = |text| json!({ "parts": [{ "type": "text", "text": text }] });
    ada.post(&format!("{path}/two/alternatives"), words("two b")).await;
    let third = ada.post(&format!("{path}/two/alternatives"), words("two c")).await;
    assert_eq!((&third["role"], &third["parent"]), (&json!("assistant"), &one["id"]));
    let places = &third["alternatives"];
    assert_eq!((&places["index"], &places["count"]), (&json!(3), &json!(3)));
    ada.post(&format!("{path}/two/select"), Value::Null).await;
    assert_eq!(texts(&ada.get(&path).await), ["one", "two"]);
    let beside = places["ids"][1].as_str().expect("an id");
    let shown = ada.post(&format!("{path}/{beside}/select"), Value::Null).await;
    assert_eq!(shown["alternatives"]["index"], 2);
    ada.post(&path, said("three")).await;
    assert_eq!(texts(&ada.get(&path).await), ["one", "two b", "three"]);
    let all = ada.get(&format!("{path}?branch=all&limit=4")).await;
    assert_eq!(texts(&all), ["one", "two", "two b", "two c"]);
    let next = all["next"].as_str().expect("a cursor");
    assert_eq!(texts(&ada.get(&format!("{path}?branch=all&after={next}")).await), ["three"]);

    let opinion = json!({ "v": -1, "tags": ["long"], "text": "too long" });
    let judged = ada.call("PUT", &format!("{path}/two/feedback"), opinion.clone()).await.ok();
    assert_eq!(judged["feedback"], opinion);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_turns_is_bounded_in_bytes_and_one_large_turn_comes_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = limited::start(&folder, &[], &[("http_page_bytes", 4_000)]).expect("ready");
    let ada = Api::new(&server, "ada", &token(server.data(), "ada", &[]));
    let id = "019a0000-0000-7000-8000-000000000001";
    ada.post("/conversations", json!({ "id": id })).await;
    let path = format!("/conversations/{id}/messages");
    for (turn, length) in [("a", 1_000), ("b", 1_000), ("c", 9_000), ("d", 10), ("e", 3_000), ("f", 1_000)] {
        let parts = json!([{ "type": "text", "text": "x".repeat(length) }]);
        ada.post(&path, json!({ "id": turn, "role": "user", "parts": parts })).await;
    }
    let (mut pages, mut after) = (Vec::new(), String::new());
    loop {
        let page = ada.get(&format!("{path}?limit=200{after}")).await;
        let items = page["items"].as_array().expect("items");
        assert!(page.to_string().len() < 4_100 || items.len() == 1, "{} bytes", page.to_string().len());
        let ids: String = items.iter().filter_map(|item| item["id"].as_str()).collect();
        pages.push(ids);
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(pages, ["ab", "c", "de", "f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_turns_are_counted_and_own_ones_are_read() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = ada(&server);
    ada.post("/conversations", json!({ "id": FIRST })).await;
    let path = format!("/conversations/{FIRST}");
    ada.post(&format!("{path}/messages"), said("one")).await;
    for text in ["two", "three"] {
        let mut turn = said(text);
        turn["role"] = json!("assistant");
        ada.post(&format!("{path}/messages"), turn).await;
    }
    assert_eq!(ada.get(&path).await["unread"], 2);
    let read = async |seq: u64| ada.call("PUT", &format!("{path}/read"), json!({ "seq": seq })).await.ok();
    assert_eq!(read(3).await["unread"], 0);
    assert_eq!(read(2).await["unread"], 1);
    assert_eq!(ada.get("/conversations").await["items"][0]["unread"], 1);
    // What has not come yet cannot have been read.
    assert_eq!(read(99_999).await["unread"], 0);
    let turn = json!({ "role": "assistant", "parts": [{ "type": "text", "text": "one more" }] });
    ada.post(&format!("{path}/messages"), turn).await;
    assert_eq!(ada.get(&path).await["unread"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_a_problem_with_a_stable_code() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = ada(&server);
    ada.post("/conversations", json!({ "id": FIRST })).await;
    let path = format!("/conversations/{FIRST}");
    let nothing = Value::Null;
    for (method, path, body, problem) in [
        ("GET", format!("/conversations/{SECOND}"), nothing.clone(), (404, "not_found")),
        ("GET", format!("/conversations/{SECOND}/messages"), nothing.clone(), (404, "not_found")),
        ("PATCH", format!("/conversations/{SECOND}"), json!({ "pinned": true }), (404, "not_found")),
        ("DELETE", format!("/conversations/{SECOND}"), nothing.clone(), (404, "not_found")),
        ("POST", format!("/conversations/{SECOND}/messages"), said("x"), (404, "not_found")),
        ("GET", format!("{path}/messages/none"), nothing.clone(), (404, "not_found")),
        ("POST", format!("{path}/messages/none/select"), nothing.clone(), (404, "not_found")),
        ("PUT", format!("{path}/messages/none/feedback"), json!({ "v": 1 }), (404, "not_found")),
        ("GET", "/conversations/chat-1".to_owned(), nothing.clone(), (400, "bad_request")),
        ("GET", "/conversations?limit=many".to_owned(), nothing.clone(), (400, "bad_request")),
        ("GET", format!("{path}/messages?branch=some"), nothing.clone(), (400, "bad_request")),
        ("POST", "/conversations".to_owned(), json!({ "id": "chat-1" }), (400, "bad_request")),
        ("POST", "/conversations".to_owned(), json!({ "colour": "red" }), (422, "bad_request")),
        ("PATCH", path.clone(), json!({ "title": "x", "folder": "a b" }), (422, "unfit")),
        ("POST", "/conversations".to_owned(), json!({ "title": "x", "tags": [""] }), (422, "unfit")),
    ] {
        let answer = ada.call(method, &path, body).await;
        assert_eq!(answer.problem(), problem, "{method} {path}");
    }
    // What fails leaves nothing behind.
    assert_eq!(ids(&ada.get("/conversations").await), [FIRST]);
    assert_eq!(ada.get(&path).await["title"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_writes_a_reader_reads_a_stranger_does_neither() {
    let server = Server::fresh(&[]).expect("ready");
    let owner = ada(&server);
    owner.post("/conversations", json!({ "id": FIRST })).await;
    let path = format!("/conversations/{FIRST}/messages");
    let with =
        |user: &str, role: &str| Api::new(&server, "ada", &token(server.data(), user, &["--role", role]));
    let answer = with("ada", "agent").call("POST", &path, said("from an agent")).await;
    assert_eq!((answer.status, &answer.body["by"]), (StatusCode::CREATED, &json!("agent:ada")));
    let reader = with("ada", "reader");
    assert_eq!(texts(&reader.get(&path).await), ["from an agent"]);
    assert_eq!(reader.call("POST", &path, said("x")).await.problem(), (403, "forbidden"));
    for stranger in [with("bob", "owner"), with("bob", "agent")] {
        assert_eq!(stranger.call("GET", &path, Value::Null).await.problem(), (403, "forbidden"));
        assert_eq!(stranger.call("POST", &path, said("x")).await.problem(), (403, "forbidden"));
    }
    let admin = with("root", "admin");
    assert_eq!(texts(&admin.get(&path).await), ["from an agent"]);
    assert_eq!(admin.call("POST", &path, said("x")).await.problem(), (403, "forbidden"));
    let nobody = Api::new(&server, "ada", "").call("GET", "/conversations", Value::Null).await;
    assert_eq!(nobody.problem().0, 401);
    assert_eq!(nobody.header("www-authenticate"), "Bearer");
    assert_eq!(texts(&owner.get(&path).await), ["from an agent"]);
}

/// Returns a text of an entry of a root map, as a plain client reads it.
fn entry(device: &Witness, root: &str, key: &str) -> Option<String> {
    let txn = device.doc.transact();
    txn.get_map(root)?.get(&txn, key).map(|value| value.to_string(&txn))
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_see_what_is_written_over_http_and_the_other_way_round() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = ada(&server);
    ada.post("/conversations", json!({ "id": FIRST, "title": "One" })).await;
    let laptop = token(server.data(), "ada", &["--device", "laptop"]);
    let mut index = Witness::new(Dialect::Hocuspocus, "ada/index/2025-q4", 7).with_token(&laptop);
    index.sync(server.address()).await.expect("synced");
    let mut open = Witness::new(Dialect::Hocuspocus, &format!("ada/c/{FIRST}"), 8).with_token(&laptop);
    open.sync(server.address()).await.expect("synced");

    let path = format!("/conversations/{FIRST}");
    ada.call("PATCH", &path, json!({ "title": "Two" })).await.ok();
    let title = format!("{FIRST}|title@phone.api");
    let renamed =
        |device: &Witness| entry(device, "conversations", &title).is_some_and(|seen| seen.contains("Two"));
    index.until("the new title", renamed).await.expect("renamed");
    let turn = ada.post(&format!("{path}/messages"), said("hello")).await;
    let id = turn["id"].as_str().expect("an id").to_owned();
    open.until("the turn", |device| entry(device, "accepted", &id).is_some()).await.expect("appended");

    index
        .edit(|_, _, txn| {
            let value: [Any; 2] = ["9000000000000-0000".into(), "Three".into()];
            let map = txn.get_or_insert_map("conversations");
            map.insert(txn, format!("{FIRST}|title@laptop.s"), Any::Array(value.into()));
        })
        .await
        .expect("sent");
    index.until_saved().await.expect("saved");
    assert_eq!(ada.get(&path).await["title"], "Three");
    // What is set here comes after what a device set, whatever its clock said.
    ada.call("PATCH", &path, json!({ "title": "Four" })).await.ok();
    let seen = ada.get(&path).await;
    assert_eq!((&seen["title"], &seen["conflicts"]["title"][0]["value"]), (&json!("Four"), &json!("Three")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_after_a_kill() {
    let mut server = Server::fresh(&[]).expect("ready");
    let token = token(server.data(), "ada", &[]);
    let api = Api::new(&server, "ada", &token);
    let path = format!("/conversations/{FIRST}");
    api.post("/conversations", json!({ "id": FIRST, "title": "One" })).await;
    api.post(&format!("{path}/messages"), said("one")).await;
    api.post(&format!("{path}/messages"), said("two")).await;
    let deleted = api.call("DELETE", &path, Value::Null).await.ok();
    server.kill().expect("killed");
    let server = server.restart().expect("ready");
    let api = Api::new(&server, "ada", &token);
    assert_eq!(api.get(&path).await, deleted);
    assert_eq!(texts(&api.get(&format!("{path}/messages")).await), ["one", "two"]);
    let three = api.post(&format!("{path}/messages"), said("three")).await;
    assert_eq!(three["seq"], 3);
}
