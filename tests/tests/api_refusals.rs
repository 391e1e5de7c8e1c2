//! What the HTTP API does not take, and says so as a problem: parts that cannot be shown, paths and methods that are none,
//! cursors of other lists.

use serde_json::{Value, json};
use syncline_tests::{Server, rest::Api, token};

const FIRST: &str = "019a0000-0000-7000-8000-000000000001";

fn ada(server: &Server) -> Api {
    Api::new(server, "ada", &token(server.data(), "ada", &["--device", "phone"]))
}

fn turn(part: &Value) -> Value {
    json!({ "role": "user", "parts": [part] })
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_and_drafts_that_cannot_be_shown_are_refused() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = ada(&server);
    let long = json!({ "id": FIRST, "origin": "x".repeat(4_097) });
    assert_eq!(ada.call("POST", "/conversations", long).await.problem(), (422, "unfit"));
    ada.post("/conversations", json!({ "id": FIRST, "origin": "x".repeat(4_096) })).await;
    let path = format!("/conversations/{FIRST}/messages");
    let one = ada.post(&path, turn(&json!({ "type": "text", "text": "one" }))).await;
    let beside = format!("{path}/{}/alternatives", one["id"].as_str().expect("an id"));
    let image = json!({ "type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA==" });
    for part in [json!({ "text": "x" }), json!({ "type": "text" }), json!({ "erased": true }), image.clone()]
    {
        let refused = ada.call("POST", &path, turn(&part)).await;
        assert_eq!(refused.problem(), (422, "unfit"), "{part}");
        let refused = ada.call("POST", &beside, json!({ "parts": [part] })).await;
        assert_eq!(refused.problem(), (422, "unfit"), "{part}");
    }
    let draft = json!({ "text": "see", "attachments": [image] });
    assert_eq!(ada.call("PUT", &format!("/drafts/{FIRST}"), draft).await.problem(), (422, "unfit"));
    let mut orphan = turn(&json!({ "type": "text", "text": "two" }));
    orphan["parent"] = json!("nobody");
    assert_eq!(ada.call("POST", &path, orphan.clone()).await.problem(), (422, "unknown_parent"));
    orphan["parent"] = one["id"].clone();
    ada.post(&path, orphan).await;
    assert_eq!(ada.get(&path).await["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_none_of_the_api_is_a_problem_too() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = ada(&server);
    for (method, path, problem) in [
        ("GET", "/nothing", (404, "not_found")),
        ("POST", "/nothing", (404, "not_found")),
        ("DELETE", "/conversations", (405, "wrong_method")),
        ("GET", "/conversations?after=x", (400, "bad_request")),
        ("GET", "/erasures?after=x", (400, "bad_request")),
    ] {
        assert_eq!(ada.call(method, path, Value::Null).await.problem(), problem, "{method} {path}");
    }
    let large = json!({ "title": "x".repeat(3 << 20) });
    assert_eq!(ada.call("POST", "/conversations", large.clone()).await.problem(), (413, "too_large"));
    let keyed = [("idempotency-key", "k")];
    let refused = ada.call_with("POST", "/conversations", large, &keyed).await;
    assert_eq!(refused.problem(), (413, "too_large"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opinion_is_taken_back() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = ada(&server);
    ada.post("/conversations", json!({ "id": FIRST })).await;
    let path = format!("/conversations/{FIRST}/messages");
    let one = ada.post(&path, turn(&json!({ "type": "text", "text": "one" }))).await;
    let path = format!("{path}/{}/feedback", one["id"].as_str().expect("an id"));
    assert_eq!(ada.call("PUT", &path, json!({ "v": 1 })).await.ok()["feedback"]["v"], 1);
    assert_eq!(ada.call("PUT", &path, json!({})).await.problem(), (422, "bad_request"));
    assert_eq!(ada.call("PUT", &path, json!({ "v": null })).await.ok()["feedback"], Value::Null);
    let wrong = format!("/conversations/{FIRST}/messages?after=x");
    assert_eq!(ada.call("GET", &wrong, Value::Null).await.problem(), (400, "bad_request"));
}
