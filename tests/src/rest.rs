//! Requests to the HTTP API, and what they carry.

use reqwest::Response;
use serde_json::Value;
use yrs::{Doc, ReadTxn, StateVector, Text, Transact};

use crate::{Server, http};

/// Asks for a path without a token.
///
/// # Panics
/// There is no answer.
pub async fn get(server: &Server, path: &str) -> Response {
    http().get(server.url(path)).send().await.expect("an answer")
}

/// Sends a request; without a token where that is empty.
///
/// # Panics
/// There is no answer.
pub async fn ask(
    server: &Server,
    method: &str,
    path: &str,
    token: &str,
    body: impl Into<reqwest::Body>,
) -> Response {
    let method = method.parse().expect("a method");
    let mut request = http().request(method, server.url(path)).body(body);
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    request.send().await.expect("an answer")
}

/// Returns the stable code of a refusal, which also has words.
///
/// # Panics
/// It is not a refusal.
pub async fn error_code(response: Response) -> String {
    let body: Value = response.json().await.expect("JSON");
    assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    body["error"]["code"].as_str().expect("a code").to_owned()
}

/// Makes an update that writes these words into the root `text`.
pub fn update_of(words: &str) -> Vec<u8> {
    let doc = Doc::new();
    doc.get_or_insert_text("text").insert(&mut doc.transact_mut(), 0, words);
    doc.transact().encode_diff_v1(&StateVector::default())
}
