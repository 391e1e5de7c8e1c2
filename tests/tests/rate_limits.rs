//! Rate limits over HTTP: each user has its own quotas of reads and writes, an address one of failures, and whoever
//! waits as long as the headers say is let through.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use syncline_tests::{
    Server, http, limited,
    rest::{Answer, Api, error_code, get},
    token,
};
use tempfile::TempDir;

fn start(arguments: &[&str], limits: &[(&str, u64)]) -> (Server, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = limited::start(&folder, arguments, limits).expect("ready");
    (server, folder)
}

fn api(server: &Server, user: &str) -> Api {
    Api::new(server, user, &token(server.data(), user, &[]))
}

/// Reads a number from `"name";a=1;b=2`.
fn parameter(header: &str, name: &str) -> u64 {
    let value = header.split(';').find_map(|part| part.trim().strip_prefix(&format!("{name}=")));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {header:?}"))
}

async fn write(api: &Api) -> Answer {
    api.call("POST", "/conversations", json!({})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_writes_too_often_is_told_when_to_come_back_and_is_let_through_then() {
    let (server, _folder) = start(&[], &[("rate_writes", 3), ("rate_window_ms", 60_000)]);
    let (ada, eve) = (api(&server, "ada"), api(&server, "eve"));
    for left in [2, 1, 0] {
        let made = write(&ada).await;
        assert_eq!(made.status, StatusCode::CREATED);
        assert_eq!(made.header("ratelimit-policy"), "\"writes\";q=3;w=60");
        assert!(made.header("ratelimit").starts_with(&format!("\"writes\";r={left};t=")), "{made:?}");
    }
    let refused = write(&ada).await;
    assert_eq!(refused.problem(), (429, "too_many_requests"));
    assert_eq!(refused.header("retry-after"), "20");
    assert_eq!(refused.header("ratelimit"), "\"writes\";r=0;t=20");
    assert_eq!(
        ada.get("/conversations").await["items"].as_array().map(Vec::len),
        Some(3),
        "nothing was made"
    );
    assert_eq!(write(&eve).await.status, StatusCode::CREATED, "another user has a quota of her own");

    let metrics = get(&server, "/metrics").await.text().await.expect("text");
    assert!(metrics.contains("syncline_rate_limited_total{policy=\"writes\"} 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_as_long_as_told_is_let_through() {
    let (server, _folder) = start(&[], &[("rate_reads", 2), ("rate_window_ms", 2_000)]);
    let ada = api(&server, "ada");
    let mut refused = None;
    for _ in 0..20 {
        let answer = ada.call("GET", "/devices", Value::Null).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("refused once the quota is spent");
    let wait = parameter(refused.header("ratelimit"), "t");
    assert_eq!(refused.header("retry-after"), wait.to_string());
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(ada.call("GET", "/devices", Value::Null).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_fails_too_often_is_told_so_and_those_with_tokens_beside_it_are_not() {
    let (server, _folder) = start(&[], &[("rate_failures", 2), ("rate_window_ms", 60_000)]);
    let stranger = Api::new(&server, "ada", "no.token.at-all");
    for _ in 0..2 {
        let refused = stranger.call("GET", "/devices", Value::Null).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert_eq!(refused.header("ratelimit-policy"), "\"failures\";q=2;w=60");
    }
    let refused = stranger.call("GET", "/devices", Value::Null).await;
    assert_eq!(refused.problem(), (429, "too_many_requests"));
    assert_eq!(refused.header("retry-after"), "30");
    let elsewhere = get(&server, "/v1/admin/documents").await;
    assert_eq!(elsewhere.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(error_code(elsewhere).await, "too_many_requests");
    assert_eq!(api(&server, "ada").call("GET", "/devices", Value::Null).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_and_open_servers_are_not_limited() {
    let limits = [("rate_reads", 1), ("rate_writes", 1), ("rate_failures", 1)];
    let (server, _folder) = start(&[], &limits);
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        for _ in 0..3 {
            let answer = get(&server, path).await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            assert!(!answer.headers().contains_key("ratelimit"), "{path}");
        }
    }
    let (server, _folder) = start(&["--open"], &limits);
    let anyone = Api::new(&server, "ada", "");
    for _ in 0..3 {
        assert_eq!(write(&anyone).await.status, StatusCode::CREATED);
    }
    let (server, _folder) = start(&["--open", "--open-to-the-world"], &limits);
    let anyone = Api::new(&server, "ada", "");
    assert_eq!(write(&anyone).await.status, StatusCode::CREATED);
    assert_eq!(write(&anyone).await.status, StatusCode::TOO_MANY_REQUESTS, "an address stands for a user");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_of_zero_is_none_and_the_default_is_announced() {
    let (server, _folder) = start(&[], &[("rate_writes", 0)]);
    let ada = api(&server, "ada");
    assert_eq!(write(&ada).await.header("ratelimit"), "");
    let read = ada.call("GET", "/devices", Value::Null).await;
    assert_eq!(read.header("ratelimit-policy"), "\"reads\";q=12000;w=60");
    let page = http()
        .get(server.url("/v1/users/ada/devices"))
        .bearer_auth(token(server.data(), "ada", &[]))
        .header("origin", server.url(""))
        .send()
        .await
        .expect("an answer");
    let exposed = page.headers()["access-control-expose-headers"].to_str().expect("text").to_owned();
    assert!(exposed.contains("ratelimit-policy"), "pages may read it: {exposed}");
}
