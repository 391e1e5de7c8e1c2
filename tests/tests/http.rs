//! HTTP beside the sockets: health, metrics, the page, y-sweet's REST, the operators' endpoints.

use reqwest::StatusCode;
use serde_json::{Value, json};
use syncline_protocol::frame::Reply;
use syncline_tests::{
    Client as Socket, Device, Event, Server, http,
    rest::{ask, error_code, get, update_of},
    token,
};
use yrs::{Doc, GetString, Transact, Update, updates::decoder::Decode};

fn words_of(update: &[u8]) -> String {
    let doc = Doc::new();
    let text = doc.get_or_insert_text("text");
    doc.transact_mut().apply_update(Update::decode_v1(update).expect("an update")).expect("applied");
    text.get_string(&doc.transact())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_are_told() {
    let server = Server::open().expect("ready");
    let health = get(&server, "/healthz").await;
    assert_eq!(health.status(), StatusCode::OK);
    let ready = get(&server, "/readyz").await;
    assert_eq!(ready.status(), StatusCode::OK);
    assert_eq!(ready.json::<Value>().await.expect("JSON"), json!({ "ready": true }));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened() {
    let server = Server::open().expect("ready");
    let mut device = Device::hocuspocus();
    device.connect(server.address(), "doc", "").await.expect("synced");
    device.write("words").await.expect("sent");
    device.saved().await.expect("saved");
    let response = get(&server, "/metrics").await;
    assert!(response.headers()["content-type"].to_str().is_ok_and(|kind| kind.starts_with("text/plain")));
    let text = response.text().await.expect("text");
    let value = |series: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("no {series} in\n{text}"))
    };
    assert_eq!(value("syncline_connections{dialect=\"hocuspocus\"}"), 1.0);
    assert!(value("syncline_updates_total") >= 1.0);
    assert!(value("syncline_commits_total") >= 1.0);
    assert!(value("syncline_received_bytes_total") > 0.0 && value("syncline_sent_bytes_total") > 0.0);
    assert!(value("syncline_store_bytes") > 0.0);
    assert_eq!(value("syncline_ready"), 1.0);
    assert_eq!(value("syncline_commit_failed"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_served_or_says_how_to_build_it() {
    let server = Server::open().expect("ready");
    let page = get(&server, "/").await;
    if page.status() == StatusCode::NOT_FOUND {
        assert!(page.text().await.expect("text").contains("make web"));
        return;
    }
    let headers = page.headers().clone();
    assert!(headers["content-type"].to_str().is_ok_and(|kind| kind.starts_with("text/html")));
    assert!(headers.contains_key("content-security-policy"));
    assert_eq!(headers["cache-control"], "no-cache");
    let html = page.text().await.expect("text");
    let script = html.split('"').find(|word| word.starts_with("/assets/") && word.ends_with(".js"));
    let asset = get(&server, script.expect("a script")).await;
    assert_eq!(asset.status(), StatusCode::OK);
    assert!(asset.headers()["content-type"].to_str().is_ok_and(|kind| kind.contains("javascript")));
    assert!(asset.headers()["cache-control"].to_str().is_ok_and(|caching| caching.contains("immutable")));
    // A worker that a cache held back would hold the page back.
    let worker = get(&server, "/sw.js").await;
    assert_eq!(worker.headers()["cache-control"], "no-cache");
    assert!(worker.headers()["content-type"].to_str().is_ok_and(|kind| kind.starts_with("text/javascript")));
    let manifest = get(&server, "/manifest.webmanifest").await;
    assert_eq!(manifest.headers()["content-type"], "application/manifest+json");
    let again = http().get(server.url("/")).header("if-none-match", &headers["etag"]).send().await;
    assert_eq!(again.expect("an answer").status(), StatusCode::NOT_MODIFIED);
    assert_eq!(get(&server, "/../Cargo.toml").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_a_code_and_words() {
    let server = Server::fresh(&[]).expect("ready");
    let missing = get(&server, "/nothing").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(error_code(missing).await, "not_found");
    let method = ask(&server, "DELETE", "/healthz", "", "").await;
    assert_eq!(method.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(error_code(method).await, "wrong_method");
    let nobody = ask(&server, "POST", "/doc/new", "", "{}").await;
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(error_code(nobody).await, "token_missing");
    let rubbish = ask(&server, "POST", "/doc/new", "rubbish", "{}").await;
    assert_eq!(error_code(rubbish).await, "token_malformed");
    let ada = token(server.data(), "ada", &[]);
    let body = ask(&server, "POST", "/doc/new", &ada, "[").await;
    assert_eq!(body.status(), StatusCode::BAD_REQUEST);
    assert_eq!(error_code(body).await, "bad_body");
    let name = ask(&server, "POST", "/doc/new", &ada, r#"{"docId":"ada/../bob"}"#).await;
    assert_eq!(error_code(name).await, "bad_name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let limit = [("SYNCLINE_LIMITS__MESSAGE_BYTES", "1000")];
    let server = Server::start(&folder.path().join("data"), &["--open"], &limit).expect("ready");
    let large = ask(&server, "POST", "/d/doc/update", "", vec![0; 1_001]).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(error_code(large).await, "too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_over_http_is_durable_and_reaches_sockets() {
    let server = Server::open().expect("ready");
    let mut device = Device::plain();
    device.connect(server.address(), "a/b%20c", "").await.expect("synced");
    let posted = ask(&server, "POST", "/d/a/b%20c/update?z=1", "", update_of("over HTTP")).await;
    assert_eq!(posted.status(), StatusCode::OK, "{:?}", posted.text().await);
    device.reads("over HTTP").await.expect("broadcast");

    let mut server = server;
    server.kill().expect("killed");
    let server = server.restart().expect("ready");
    let state = get(&server, "/d/a%2Fb%20c/as-update?z=1").await;
    assert_eq!(state.headers()["content-type"], "application/octet-stream");
    assert_eq!(words_of(&state.bytes().await.expect("bytes")), "over HTTP");
    let nothing = get(&server, "/d/never/written/as-update").await;
    assert_eq!(nothing.bytes().await.expect("bytes")[..], [0, 0]);
    let rubbish = ask(&server, "POST", "/d/doc/update", "", vec![1, 2, 3]).await;
    assert_eq!(rubbish.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(error_code(rubbish).await, "update_refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_token_opens_one_document_and_no_more() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = token(server.data(), "ada", &[]);
    let response = ask(&server, "POST", "/doc/ada/c/1/auth", &ada, "{}").await;
    assert_eq!(response.status(), StatusCode::OK);
    let client: Value = response.json().await.expect("JSON");
    let text = |key: &str| client[key].as_str().expect("text").to_owned();
    assert_eq!(text("url"), format!("ws://{}/d/ada/c/1/ws", server.address()));
    assert_eq!(text("baseUrl"), server.url("/d/ada/c/1"));
    assert_eq!((text("docId"), text("authorization")), ("ada/c/1".into(), "full".into()));
    let minted = text("token");

    // The socket, as y-sweet's client makes its URL.
    let path = format!("/d/ada/c/1/ws/ada/c/1?token={minted}");
    let mut socket = Socket::connect(server.address(), &path).await.expect("upgraded");
    socket.send(&Reply::SyncStep1(&[0])).await.expect("sent");
    socket.until(|event| matches!(event, Event::Step2(_)).then_some(())).await.expect("synced");

    let posted = ask(&server, "POST", "/d/ada/c/1/update", &minted, update_of("words")).await;
    assert_eq!(posted.status(), StatusCode::OK);
    let other = ask(&server, "GET", "/d/ada/c/2/as-update", &minted, "").await;
    assert_eq!(other.status(), StatusCode::FORBIDDEN);
    assert_eq!(error_code(other).await, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hands_on_more_than_they_have() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = token(server.data(), "ada", &[]);
    let reader = token(server.data(), "ada", &["--role", "reader"]);
    let admin = token(server.data(), "root", &["--role", "admin"]);
    let mint = async |path: &str, token: &str, body: &str| {
        let response = ask(&server, "POST", path, token, body.to_owned()).await;
        let status = response.status();
        (status, response.json::<Value>().await.expect("JSON"))
    };
    let forbidden = StatusCode::FORBIDDEN;
    assert_eq!(mint("/doc/bob/x/auth", &ada, "{}").await.0, forbidden);
    assert_eq!(mint("/doc/ada/x/auth", &ada, r#"{"userId":"bob"}"#).await.0, forbidden);
    assert_eq!(mint("/doc/ada/x/auth", &reader, "{}").await.0, forbidden);
    let (status, read_only) = mint("/doc/ada/x/auth", &ada, r#"{"authorization":"read-only"}"#).await;
    assert_eq!((status, &read_only["authorization"]), (StatusCode::OK, &json!("read-only")));
    let weak = read_only["token"].as_str().expect("a token");
    let posted = ask(&server, "POST", "/d/ada/x/update", weak, update_of("words")).await;
    assert_eq!(posted.status(), forbidden);
    assert_eq!(ask(&server, "GET", "/d/ada/x/as-update", weak, "").await.status(), StatusCode::OK);
    // An application's server holds an admin token and mints for its users.
    let (status, full) = mint("/doc/shared/auth", &admin, r#"{"userId":"bob","validForSeconds":60}"#).await;
    assert_eq!(status, StatusCode::OK);
    let strong = full["token"].as_str().expect("a token");
    let posted = ask(&server, "POST", "/d/shared/update", strong, update_of("words")).await;
    assert_eq!(posted.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_token_stays_with_the_device_it_was_made_for() {
    use base64::Engine;
    let server = Server::fresh(&[]).expect("ready");
    let phone = token(server.data(), "ada", &["--device", "phone"]);
    let admin = token(server.data(), "root", &["--role", "admin", "--device", "console"]);
    for (token, body, device) in
        [(&phone, "{}", json!("phone")), (&admin, r#"{"userId":"ada"}"#, Value::Null)]
    {
        let response = ask(&server, "POST", "/doc/ada/x/auth", token, body).await;
        let minted: Value = response.json().await.expect("JSON");
        let payload = minted["token"].as_str().and_then(|token| token.split('.').nth(1)).expect("a token");
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64");
        let claims: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!((&claims["sub"], &claims["device"]), (&json!("ada"), &device));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_documents_have_names_their_makers_may_write() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = token(server.data(), "ada", &[]);
    let made: Value = ask(&server, "POST", "/doc/new", &ada, "{}").await.json().await.expect("JSON");
    assert!(made["docId"].as_str().is_some_and(|name| name.starts_with("ada/")), "{made}");
    let named = ask(&server, "POST", "/doc/new", &ada, r#"{"docId":"ada/mine"}"#).await;
    assert_eq!(named.json::<Value>().await.expect("JSON"), json!({ "docId": "ada/mine" }));
    let foreign = ask(&server, "POST", "/doc/new", &ada, r#"{"docId":"bob/his"}"#).await;
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    let check: Value = ask(&server, "POST", "/check_store", &ada, "{}").await.json().await.expect("JSON");
    assert_eq!(check, json!({ "ok": true }));
    assert_eq!(get(&server, "/ready").await.json::<Value>().await.expect("JSON"), json!({ "ok": true }));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_operate() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = token(server.data(), "ada", &[]);
    let admin = token(server.data(), "root", &["--role", "admin"]);
    for path in ["/v1/admin/documents", "/v1/admin/documents/ada/x", "/v1/admin/backup"] {
        assert_eq!(get(&server, path).await.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(ask(&server, "GET", path, &ada, "").await.status(), StatusCode::FORBIDDEN, "{path}");
    }
    ask(&server, "POST", "/d/ada/x/update", &ada, update_of("words")).await;
    let listing = ask(&server, "GET", "/v1/admin/documents?limit=1", &admin, "").await;
    assert_eq!(listing.json::<Value>().await.expect("JSON")["documents"][0]["name"], "ada/x");
    let query = ask(&server, "GET", "/v1/admin/documents?limit=many", &admin, "").await;
    assert_eq!(error_code(query).await, "bad_query");
    let after = ask(&server, "GET", "/v1/admin/documents?after=ada%2Fx", &admin, "").await;
    assert_eq!(after.json::<Value>().await.expect("JSON"), json!({ "documents": [] }));
    ask(&server, "POST", "/d/ada/x/update", &ada, vec![1, 2, 3]).await;
    let listing = ask(&server, "GET", "/v1/admin/documents", &admin, "").await;
    assert_eq!(listing.json::<Value>().await.expect("JSON")["documents"][0]["refused"], 1);
    let content = ask(&server, "GET", "/v1/admin/documents/ada/x", &admin, "").await;
    assert_eq!(content.json::<Value>().await.expect("JSON")["content"], json!({ "text": "words" }));
    let backup = ask(&server, "GET", "/v1/admin/backup", &admin, "").await;
    assert_eq!(backup.status(), StatusCode::OK);
    assert!(!backup.bytes().await.expect("the whole of it").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_not_logged() {
    let mut server = Server::fresh(&["--log", "trace"]).expect("ready");
    let ada = token(server.data(), "ada", &[]);
    let mut device = Device::plain();
    device.connect(server.address(), "ada/x", &ada).await.expect("synced");
    get(&server, &format!("/nothing?token={ada}")).await;
    ask(&server, "POST", "/doc/new", &ada, "{}").await;
    server.terminate().expect("ended");
    let log = server.log();
    assert!(log.contains("/nothing"), "requests are logged:\n{log}");
    let signature = ada.rsplit('.').next().expect("three parts");
    assert!(!log.contains(signature), "a token is in the log");
}
