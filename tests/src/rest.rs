//! Requests to the HTTP API, and what they carry.

use reqwest::{Response, StatusCode, header::HeaderMap};
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

/// What the API under `/v1/users/{user}` answered.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; null where that is no JSON.
    pub body: Value,
}

impl Answer {
    /// Returns a header's value; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the body of what went through.
    ///
    /// # Panics
    /// It did not.
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.body);
        self.body
    }

    /// Returns the status and the stable code of a problem.
    ///
    /// # Panics
    /// It is no problem as RFC 9457 has them.
    pub fn problem(&self) -> (u16, &str) {
        let body = &self.body;
        assert_eq!(self.header("content-type"), "application/problem+json", "{} {body}", self.status);
        assert_eq!(body["status"], self.status.as_u16(), "{body}");
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
        let code = body["code"].as_str().expect("a code");
        assert_eq!(body["type"], format!("urn:syncline:problem:{code}"), "{body}");
        (self.status.as_u16(), code)
    }
}

/// One user's part of the API, asked with one token.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    /// Makes a caller of a user's part of the API; without a token where that is empty.
    pub fn new(server: &Server, user: &str, token: &str) -> Self {
        let base = server.url(&format!("/v1/users/{user}"));
        Self { client: http(), base, token: token.to_owned() }
    }

    /// Asks; the body is left out where it is null.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        self.call_with(method, path, body, &[]).await
    }

    /// Asks with headers.
    ///
    /// # Panics
    /// As [`Api::call`].
    pub async fn call_with(&self, method: &str, path: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if !body.is_null() {
            request = request.json(&body);
        }
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.json().await.unwrap_or_default();
        Answer { status, headers, body }
    }

    /// Posts without a body to a server that may be killed meanwhile; says whether it went through.
    pub async fn try_post(&self, path: &str) -> bool {
        let request = self.client.post(format!("{}{path}", self.base)).bearer_auth(&self.token);
        request.send().await.is_ok_and(|response| response.status().is_success())
    }

    /// Reads something that is there.
    ///
    /// # Panics
    /// It is not.
    pub async fn get(&self, path: &str) -> Value {
        self.call("GET", path, Value::Null).await.ok()
    }

    /// Posts what is taken.
    ///
    /// # Panics
    /// It is not.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.call("POST", path, body).await.ok()
    }
}
