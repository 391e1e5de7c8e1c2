//! `/openapi.json` says what the server does: every `GET` it tells of answers, with what it announces.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde_json::{Value, json};
use syncline_tests::{
    Server,
    rest::{Api, ask, get},
    token,
};

const CONVERSATION: &str = "019a0000-0000-7000-8000-000000000001";

/// Fills the places of a path with what is there.
fn filled(path: &str, places: &BTreeMap<&str, String>) -> String {
    let mut path = path.to_owned();
    for (name, value) in places {
        path = path.replace(&format!("{{{name}}}"), value);
    }
    assert!(!path.contains('{'), "the test knows nothing for {path}");
    path
}

/// Gives a call the query that it cannot do without.
fn query(call: &Value) -> String {
    let parameters = call["parameters"].as_array().into_iter().flatten();
    let needed = parameters.filter(|parameter| parameter["in"] == "query" && parameter["required"] == true);
    let needed: Vec<String> =
        needed.filter_map(|parameter| Some(format!("{}=hello", parameter["name"].as_str()?))).collect();
    if needed.is_empty() { String::new() } else { format!("?{}", needed.join("&")) }
}

/// Follows a reference inside the document.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).expect("leads somewhere"),
        None => value,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_get_that_is_described_answers_as_described() {
    let server = Server::fresh(&[]).expect("ready");
    let (owner, admin) =
        (token(server.data(), "ada", &[]), token(server.data(), "root", &["--role", "admin"]));
    let ada = Api::new(&server, "ada", &owner);
    ada.post("/conversations", json!({ "id": CONVERSATION })).await;
    let turn = json!({ "role": "user", "parts": [{ "type": "text", "text": "hello" }] });
    let said = ada.post(&format!("/conversations/{CONVERSATION}/messages"), turn).await;
    let message = said["id"].as_str().expect("an id").to_owned();
    // The hash of nothing.
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let put = ask(&server, "PUT", &format!("/v1/users/ada/blobs/{nothing}"), &owner, "").await;
    assert_eq!(put.status(), StatusCode::CREATED);
    let name = format!("ada/c/{CONVERSATION}");
    let places = BTreeMap::from([
        ("user", "ada".to_owned()),
        ("conversation", CONVERSATION.to_owned()),
        ("message", message),
        ("sha256", nothing.to_owned()),
        ("name", name.clone()),
        ("id", name),
    ]);

    let document: Value = get(&server, "/openapi.json").await.json().await.expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let mut walked = 0;
    for (path, methods) in paths {
        let Some(call) = methods.get("get") else { continue };
        let public = call["security"] == json!([]);
        let bearer = match () {
            () if public => "",
            () if path.starts_with("/v1/admin") => &admin,
            () => &owner,
        };
        let path = filled(path, &places) + &query(call);
        let answer = ask(&server, "GET", &path, bearer, "").await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let kind = answer.headers()["content-type"].to_str().expect("text").to_owned();
        let kind = kind.split(';').next().unwrap_or_default();
        let described = resolved(&document, &call["responses"]["200"]);
        assert!(described["content"][kind].is_object(), "{path} answers {kind}: {described}");
        let headers = described["headers"].as_object().into_iter().flatten();
        for (header, _) in headers.filter(|(header, _)| *header != "Idempotency-Replayed") {
            assert!(answer.headers().contains_key(header.as_str()), "{path} has no {header}");
        }
        if !public {
            let refused = ask(&server, "GET", &path, "", "").await;
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}");
            let kind = refused.headers()["content-type"].to_str().expect("text").to_owned();
            let described = resolved(&document, &call["responses"]["401"]);
            assert!(described["content"][&kind].is_object(), "{path} refuses with {kind}: {described}");
        }
        walked += 1;
    }
    assert!(walked >= 19, "only {walked} calls are described");
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_described_where_they_are_honoured() {
    let server = Server::fresh(&[]).expect("ready");
    let document: Value = get(&server, "/openapi.json").await.json().await.expect("JSON");
    let of = |path: &str, method: &str| {
        let parameters = &document["paths"][path][method]["parameters"];
        let named = parameters.as_array().expect("parameters").iter();
        let named = named.filter(|parameter| parameter["in"] == "header").filter_map(|p| p["name"].as_str());
        named.filter(|name| name.starts_with("If-")).map(str::to_owned).collect::<Vec<_>>()
    };
    let one = "/v1/users/{user}/preferences/{name}";
    for (path, method) in [(one, "put"), (one, "delete"), (&*format!("{one}/block"), "post")] {
        assert_eq!(of(path, method), ["If-Match", "If-None-Match"], "{method} {path}");
    }
    assert_eq!(of("/v1/users/{user}/preferences", "patch"), ["If-Match"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_that_is_described_is_there_and_asks_for_a_token() {
    let server = Server::fresh(&[]).expect("ready");
    let document: Value = get(&server, "/openapi.json").await.json().await.expect("JSON");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{conversation}", CONVERSATION).replace("{sha256}", &"0".repeat(64));
        let path = path.replace(['{', '}'], "");
        for method in ["post", "put", "patch", "delete"] {
            if methods.get(method).is_some() {
                let refused = ask(&server, &method.to_uppercase(), &path, "", "{}").await;
                assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
            }
        }
    }
}
