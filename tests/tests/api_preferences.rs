//! Preferences over HTTP: who said what, conditions, merges on what a caller last saw.

use serde_json::{Value, json};
use syncline_tests::{Server, rest::Api, token};

fn by(server: &Server, role: &str) -> Api {
    Api::new(server, "ada", &token(server.data(), "ada", &["--role", role]))
}

async fn put(api: &Api, name: &str, body: Value) -> Value {
    api.call("PUT", &format!("/preferences/{name}"), body).await.ok()
}

/// Returns the value of a preference and where it comes from.
async fn stands(api: &Api, name: &str) -> Option<(Value, Value)> {
    let page = api.get("/preferences").await;
    let found = page["items"].as_array()?.iter().find(|item| item["name"] == name)?.clone();
    Some((found["value"].clone(), found["source"].clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_person_set_beats_what_is_inferred_until_it_is_cleared() {
    let server = Server::fresh(&[]).expect("ready");
    let (ada, agent) = (by(&server, "owner"), by(&server, "agent"));
    let warm = json!({ "value": "warm", "confidence": 0.5, "evidence": ["turn 3"], "ttl": 3600 });
    let inferred = put(&agent, "tone", warm).await;
    assert_eq!((&inferred["source"], &inferred["fresh"]), (&json!("inferred"), &json!(true)));
    assert_eq!((&inferred["confidence"], &inferred["evidence"]), (&json!(0.5), &json!(["turn 3"])));
    let dry = put(&ada, "tone", json!({ "value": "dry" })).await;
    assert_eq!((&dry["source"], &dry["conflicts"][0]["value"]), (&json!("explicit"), &json!("warm")));
    // The same caller infers, too: it does not replace what it set by hand.
    for (api, body) in [
        (&agent, json!({ "value": "hot" })),
        (&ada, json!({ "value": "cold", "source": "inferred" })),
        (&ada, json!({ "value": "old", "source": "imported" })),
    ] {
        assert_eq!(put(api, "tone", body).await["value"], "dry");
    }
    ada.call("DELETE", "/preferences/tone", Value::Null).await.ok();
    assert_eq!(stands(&ada, "tone").await, None);
    put(&ada, "tone", json!({ "value": "cool", "source": "inferred" })).await;
    assert_eq!(stands(&ada, "tone").await, Some((json!("cool"), json!("inferred"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_person_blocks_and_a_block_stops_inference() {
    let server = Server::fresh(&[]).expect("ready");
    let (ada, agent) = (by(&server, "owner"), by(&server, "agent"));
    put(&agent, "tone", json!({ "value": "warm" })).await;
    for (method, path, body) in [
        ("POST", "/preferences/tone/block", Value::Null),
        ("DELETE", "/preferences/tone", Value::Null),
        ("PUT", "/preferences/tone", json!({ "value": "x", "source": "explicit" })),
    ] {
        assert_eq!(agent.call(method, path, body).await.problem(), (403, "forbidden"), "{method}");
    }
    let blocked = ada.post("/preferences/tone/block", Value::Null).await;
    assert_eq!((&blocked["blocked"], &blocked["value"]), (&json!(true), &Value::Null));
    let refused = agent.call("PUT", "/preferences/tone", json!({ "value": "hot" })).await;
    assert_eq!(refused.problem(), (409, "blocked"));
    let reader = by(&server, "reader");
    assert_eq!(reader.get("/preferences").await["items"][0]["blocked"], true);
    let refused = reader.call("PUT", "/preferences/tone", json!({ "value": "hot" })).await;
    assert_eq!(refused.problem(), (403, "forbidden"));
    ada.call("DELETE", "/preferences/tone", Value::Null).await.ok();
    put(&agent, "tone", json!({ "value": "hot" })).await;
    assert_eq!(stands(&ada, "tone").await, Some((json!("hot"), json!("inferred"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_on_something_older_is_told_what_stands_there() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = by(&server, "owner");
    let first = ada.call("PUT", "/preferences/tone", json!({ "value": "dry" })).await;
    let etag = first.header("etag").to_owned();
    assert_eq!(etag.len(), 66, "a quoted sha256: {etag}");
    assert_eq!(ada.call("GET", "/preferences", Value::Null).await.header("etag"), etag);
    let set = async |etag: &str, value: &str| {
        let headers = [("if-match", etag)];
        ada.call_with("PUT", "/preferences/tone", json!({ "value": value }), &headers).await
    };
    let second = set(&etag, "warm").await;
    assert_eq!(second.status, 200);
    assert_ne!(second.header("etag"), etag);
    let stale = set(&etag, "hot").await;
    assert_eq!(stale.problem(), (412, "changed_meanwhile"));
    assert_eq!(stale.body["current"]["value"], "warm");
    assert_eq!(stale.header("etag"), second.header("etag"));
    for (method, path) in [("DELETE", "/preferences/tone"), ("POST", "/preferences/tone/block")] {
        let stale = ada.call_with(method, path, Value::Null, &[("if-match", &etag)]).await;
        assert_eq!(stale.problem(), (412, "changed_meanwhile"), "{method}");
    }
    assert_eq!(stands(&ada, "tone").await.expect("is there").0, "warm");
    // The tag of this one alone holds although another changed.
    put(&ada, "units", json!({ "value": "metric" })).await;
    let own = second.body["etag"].as_str().expect("a tag");
    assert_eq!(set(own, "hot").await.status, 200);
    assert_eq!(set("*", "cool").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_for_what_is_not_set_yet_replaces_nothing() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = by(&server, "owner");
    let set = async |unless: &str, value: &str| {
        let headers = [("if-none-match", unless)];
        ada.call_with("PUT", "/preferences/tone", json!({ "value": value }), &headers).await
    };
    assert_eq!(set("*", "dry").await.status, 200);
    let refused = set("*", "warm").await;
    assert_eq!(refused.problem(), (412, "already_set"));
    assert_eq!(refused.body["current"]["value"], "dry");
    let etag = refused.header("etag").to_owned();
    assert_eq!(set(&etag, "warm").await.problem(), (412, "already_set"));
    assert_eq!(set("\"another\"", "cool").await.status, 200);
    ada.post("/preferences/tone/block", Value::Null).await;
    assert_eq!(set("*", "warm").await.problem(), (412, "already_set"), "a block is something that was said");
    ada.call("DELETE", "/preferences/tone", Value::Null).await.ok();
    assert_eq!(set("*", "warm").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_keeps_what_others_changed_and_tells_of_it() {
    let mut server = Server::fresh(&[]).expect("ready");
    let ada = by(&server, "owner");
    for name in ["a", "b", "c", "d"] {
        put(&ada, name, json!({ "value": 1 })).await;
    }
    let base = ada.call("GET", "/preferences", Value::Null).await.header("etag").to_owned();
    put(&ada, "b", json!({ "value": 2 })).await;
    put(&ada, "c", json!({ "value": 3 })).await;
    let wishes = json!({ "a": 9, "b": 9, "c": 3, "d": null, "e": [5] });
    server.kill().expect("killed");
    let server = server.restart().expect("ready");
    let ada = by(&server, "owner");
    let merged = ada.call_with("PATCH", "/preferences", wishes, &[("if-match", &base)]).await;
    let etag = merged.header("etag").to_owned();
    let merged = merged.ok();
    assert_eq!(merged["applied"], json!(["a", "c", "d", "e"]));
    assert_eq!(merged["conflicts"], json!([{ "name": "b", "base": 1, "theirs": 2, "yours": 9 }]));
    let values: Vec<_> =
        merged["items"].as_array().expect("items").iter().map(|item| &item["value"]).collect();
    assert_eq!(values, [&json!(9), &json!(2), &json!(3), &json!([5])]);
    assert_eq!(ada.call("GET", "/preferences", Value::Null).await.header("etag"), etag);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_needs_a_base_that_is_known_and_writes_all_or_nothing() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = by(&server, "owner");
    put(&ada, "a", json!({ "value": 1 })).await;
    let none = ada.call("PATCH", "/preferences", json!({ "a": 2 })).await;
    assert_eq!(none.problem(), (428, "base_required"));
    let unknown = format!("\"{}\"", "0".repeat(64));
    let unknown = ada.call_with("PATCH", "/preferences", json!({ "a": 2 }), &[("if-match", &unknown)]).await;
    assert_eq!(unknown.problem(), (412, "base_unknown"));
    assert_eq!(unknown.body["current"][0]["value"], 1);
    let base = unknown.header("etag").to_owned();
    let wishes = json!({ "a": 2, "b": "x".repeat(70_000) });
    let unfit = ada.call_with("PATCH", "/preferences", wishes, &[("if-match", &base)]).await;
    assert_eq!(unfit.problem(), (422, "unfit"));
    assert_eq!(stands(&ada, "a").await.expect("is there").0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_builds_on_long_values_and_tells_an_agent_what_did_not_win() {
    let server = Server::fresh(&[]).expect("ready");
    let (ada, agent) = (by(&server, "owner"), by(&server, "agent"));
    for name in ["a", "b"] {
        put(&ada, name, json!({ "value": name.repeat(40_000) })).await;
    }
    for n in 0..80 {
        put(&ada, &format!("n{n:02}"), json!({ "value": "x".repeat(1_000) })).await;
    }
    let base = ada.call("GET", "/preferences", Value::Null).await.header("etag").to_owned();
    put(&ada, "b", json!({ "value": "c".repeat(40_000) })).await;
    let wishes = json!({ "a": 1, "b": 1, "n79": 1 });
    let merged = ada.call_with("PATCH", "/preferences", wishes, &[("if-match", &base)]).await.ok();
    assert_eq!(merged["applied"], json!(["a", "n79"]));
    let conflict = json!([{ "name": "b", "theirs": "c".repeat(40_000), "yours": 1 }]);
    assert_eq!(merged["conflicts"], conflict, "a long base is left out");

    let base = agent.call("GET", "/preferences", Value::Null).await.header("etag").to_owned();
    let wishes = json!({ "a": 2, "z": 2 });
    let merged = agent.call_with("PATCH", "/preferences", wishes, &[("if-match", &base)]).await.ok();
    assert_eq!(merged["applied"], json!(["z"]));
    assert_eq!(merged["conflicts"], json!([{ "name": "a", "base": 1, "theirs": 1, "yours": 2 }]));
}
