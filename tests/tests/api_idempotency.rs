//! Writes over HTTP that are tried again under their key.

use serde_json::{Value, json};
use syncline_store::{
    Row, Store,
    sled_store::{Expect, SledOptions, SledStore},
};
use syncline_tests::{
    Server,
    rest::{Answer, Api},
    token,
};

const CONVERSATION: &str = "019a0000-0000-7000-8000-000000000001";

async fn post(api: &Api, path: &str, body: Value, key: &str) -> Answer {
    api.call_with("POST", path, body, &[("idempotency-key", key)]).await
}

fn said(text: &str) -> Value {
    json!({ "role": "user", "parts": [{ "type": "text", "text": text }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_answers_the_same_even_after_a_kill() {
    let mut server = Server::fresh(&[]).expect("ready");
    let token = token(server.data(), "ada", &[]);
    let api = Api::new(&server, "ada", &token);
    let first = post(&api, "/conversations", json!({ "title": "One" }), "k1").await;
    assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (201, ""));
    server.kill().expect("killed");
    let server = server.restart().expect("ready");
    let api = Api::new(&server, "ada", &token);
    let again = post(&api, "/conversations", json!({ "title": "One" }), "k1").await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (201, "true"));
    assert_eq!((&again.body, again.header("content-type")), (&first.body, "application/json"));
    let other = post(&api, "/conversations", json!({ "title": "One" }), "k2").await;
    assert_ne!(other.body["id"], first.body["id"]);
    assert_eq!(api.get("/conversations").await["items"].as_array().map(Vec::len), Some(2));
}

/// Makes a data folder as it was before the answers were kept: as a server leaves it that dies right after a write.
fn forget_answers(data: &std::path::Path) {
    let store = SledStore::open_folder(data, &SledOptions::default(), Expect::Existing).expect("a store");
    let kept = store.rows(b"idem/", b"idem0", 10).expect("rows");
    let forgotten = kept.into_iter().map(|(key, value)| {
        let (end, content) = value.split_at(13);
        let head = content.split(|byte| *byte == b'\n').next().expect("a head");
        let mut head: Value = serde_json::from_slice(head).expect("JSON");
        assert!(head["answer"].is_object(), "{head}");
        head["answer"] = Value::Null;
        let value = [end, head.to_string().as_bytes(), b"\n"].concat();
        Row { key, value: Some(value.into()) }
    });
    let rows: Vec<Row> = forgotten.collect();
    assert_eq!(rows.len(), 2);
    store.commit(&[], &rows).expect("stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_before_its_answer_is_kept_makes_the_same_thing_once_more() {
    let mut server = Server::fresh(&[]).expect("ready");
    let token = token(server.data(), "ada", &[]);
    let api = Api::new(&server, "ada", &token);
    let first = post(&api, "/conversations", json!({ "title": "One" }), "k1").await.ok();
    let messages = format!("/conversations/{}/messages", first["id"].as_str().expect("an id"));
    let turn = post(&api, &messages, said("hello"), "k2").await.ok();
    server.kill().expect("killed");
    forget_answers(server.data());
    let server = server.restart().expect("ready");
    let api = Api::new(&server, "ada", &token);
    let again = post(&api, "/conversations", json!({ "title": "One" }), "k1").await;
    assert_eq!((again.header("idempotency-replayed"), &again.body["id"]), ("", &first["id"]));
    assert_eq!(api.get("/conversations").await["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(post(&api, &messages, said("hello"), "k2").await.ok(), turn);
    assert_eq!(api.get(&messages).await["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_request_of_one_user() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = Api::new(&server, "ada", &token(server.data(), "ada", &[]));
    let bob = Api::new(&server, "bob", &token(server.data(), "bob", &[]));
    let made = post(&ada, "/conversations", json!({ "title": "One" }), "k").await;
    let reused = post(&ada, "/conversations", json!({ "title": "Two" }), "k").await;
    assert_eq!(reused.problem(), (422, "idempotency_key_reused"));
    let bobs = post(&bob, "/conversations", json!({ "title": "Two" }), "k").await;
    assert_eq!((bobs.status.as_u16(), bobs.header("idempotency-replayed")), (201, ""));
    assert_ne!(bobs.body["id"], made.body["id"]);
    // A key opens nothing.
    let stranger = Api::new(&server, "ada", &token(server.data(), "bob", &[]));
    assert_eq!(post(&stranger, "/conversations", json!({ "title": "One" }), "k").await.problem().0, 403);
    let bad = post(&ada, "/conversations", json!({}), &"k".repeat(256)).await;
    assert_eq!(bad.problem(), (400, "bad_request"));
    // What failed for good fails the same.
    let missing = format!("/conversations/{CONVERSATION}/restore");
    assert_eq!(post(&ada, &missing, Value::Null, "m").await.problem(), (404, "not_found"));
    ada.post("/conversations", json!({ "id": CONVERSATION })).await;
    let again = post(&ada, &missing, Value::Null, "m").await;
    assert_eq!((again.problem(), again.header("idempotency-replayed")), ((404, "not_found"), "true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_is_kept_as_its_place() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = Api::new(&server, "ada", &token(server.data(), "ada", &[]));
    ada.post("/conversations", json!({ "id": CONVERSATION })).await;
    let path = format!("/conversations/{CONVERSATION}/messages");
    let first = post(&ada, &path, said(&"long ".repeat(10_000)), "k").await.ok();
    let again = post(&ada, &path, said(&"long ".repeat(10_000)), "k").await;
    assert_eq!((again.status.as_u16(), &again.body), (201, &Value::Null));
    let place = again.header("location").strip_prefix("/v1/users/ada").expect("a place").to_owned();
    assert_eq!(ada.get(&place).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_at_the_same_time_makes_one_thing() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = Api::new(&server, "ada", &token(server.data(), "ada", &[]));
    let tries: Vec<_> = (0..16)
        .map(|_| {
            let ada = ada.clone();
            tokio::spawn(async move { post(&ada, "/conversations", json!({ "title": "One" }), "k").await })
        })
        .collect();
    for tried in tries {
        let answer = tried.await.expect("answered");
        if answer.status != 201 {
            assert_eq!(answer.problem(), (409, "idempotency_in_progress"));
        }
    }
    assert_eq!(ada.get("/conversations").await["items"].as_array().map(Vec::len), Some(1));
}
