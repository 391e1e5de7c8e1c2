//! What a grant opens of another user's part of the HTTP API: all of it where the grant covers all of the user's
//! documents, and nothing otherwise.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use syncline_tests::{Server, rest::Api, token};

const FIRST: &str = "019a0000-0000-7000-8000-000000000001";

/// Eve's token with a grant, as a backend of one's own signs it.
fn granted(server: &Server, prefix: &str, access: &str) -> String {
    let secret = std::fs::read(server.data().join("secret")).expect("a secret");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let grants = json!([{ "prefix": prefix, "access": access }]);
    let claims = json!({ "sub": "eve", "role": "owner", "exp": now + 600, "iat": now, "grants": grants });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(&secret)).expect("signed")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_of_all_documents_opens_the_api_and_a_narrower_one_does_not() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = Api::new(&server, "ada", &token(server.data(), "ada", &[]));
    ada.post("/conversations", json!({ "id": FIRST, "title": "Rome" })).await;
    let eve = |prefix: &str, access: &str| Api::new(&server, "ada", &granted(&server, prefix, access));
    let path = format!("/conversations/{FIRST}/messages");
    let turn = json!({ "role": "user", "parts": [{ "type": "text", "text": "hello" }] });

    let reads = eve("ada/", "read");
    assert_eq!(reads.get("/conversations").await["items"][0]["title"], "Rome");
    assert_eq!(reads.call("POST", &path, turn.clone()).await.problem(), (403, "forbidden"));
    let writes = eve("ada/", "write");
    writes.post(&path, turn.clone()).await;
    assert_eq!(ada.get(&path).await["items"].as_array().map(Vec::len), Some(1));
    let refused = writes.call("POST", &format!("/conversations/{FIRST}/erase"), Value::Null).await;
    assert_eq!(refused.problem(), (403, "forbidden"), "erasing is never granted");

    let (one, near) = (format!("ada/c/{FIRST}"), "ad".to_owned());
    for (prefix, status) in [("ada/c/", 403), (&*one, 403), ("adam/", 403), ("eve/", 403), (&*near, 200)] {
        let answer = eve(prefix, "read").call("GET", &path, Value::Null).await;
        assert_eq!(answer.status, status, "a grant of {prefix}: {}", answer.body);
    }
}
