//! Import and export over HTTP, on real input: `../shared/data/conversations.json` beside the repository.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};
use syncline_tests::{
    Server, http, limited,
    rest::{Api, ask},
    run,
    story::{real, story},
    token,
};

/// Imports; returns the lines that were told.
async fn import(server: &Server, file: Vec<u8>) -> Vec<Value> {
    let token = token(server.data(), "ada", &[]);
    let request = http().post(server.url("/v1/users/ada/import")).bearer_auth(token).body(file);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_export_is_imported_once_and_goes_on_to_an_empty_server() {
    let Some(path) = real("conversations.json") else { return };
    let file = std::fs::read(path).expect("reads");
    let mut server = Server::fresh(&[]).expect("ready");
    let told = import(&server, file.clone()).await;
    let last = told.last().expect("a last line");
    assert_eq!((&last["totals"]["imported"], &last["totals"]["failed"]), (&json!(70), &json!(0)), "{last}");
    let first = story(&server).await;
    assert_eq!(first.len(), 70);
    let turns: usize = first.iter().map(|told| told["turns"].as_array().map_or(0, Vec::len)).sum();
    assert_eq!(last["totals"]["turns"], turns);

    let again = import(&server, file).await;
    let new = again.iter().filter_map(|line| line["new"].as_u64()).sum::<u64>();
    assert_eq!(new, 0, "importing twice changes nothing");
    assert!(again.iter().all(|line| line["changed"] != true), "nothing at all: {again:?}");
    assert_eq!(again.last().expect("a last line")["unchanged"], 70);
    assert_eq!(story(&server).await, first);

    let api = token(server.data(), "ada", &[]);
    let export =
        http().get(server.url("/v1/users/ada/export")).bearer_auth(&api).send().await.expect("an answer");
    assert_eq!(export.headers()["content-type"], "application/zip");
    let archive = export.bytes().await.expect("bytes").to_vec();
    let other = Server::fresh(&[]).expect("ready");
    let told = import(&other, archive).await;
    assert_eq!(told.last().expect("a last line")["left"], json!([]), "{:?}", told.last());
    assert_eq!(story(&other).await, first, "nothing is lost on the way");
    server.terminate().expect("ended");
    let verified = run(["verify".as_ref(), "--data".as_ref(), server.data().as_os_str()]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_export_is_refused_and_a_bad_conversation_stops_nothing() {
    let server = Server::fresh(&[]).expect("ready");
    let key = token(server.data(), "ada", &[]);
    let empty_zip = [&b"PK\x05\x06"[..], &[0; 18]].concat();
    let half_zip = b"PK\x03\x04 and no more".to_vec();
    for strange in [b"not an export".to_vec(), empty_zip, half_zip] {
        let answer = ask(&server, "POST", "/v1/users/ada/import", &key, strange).await;
        assert_eq!(answer.status(), 422);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!((&problem["code"], &problem["status"]), (&json!("unreadable"), &json!(422)));
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
    let told = import(&server, br#"[{ "mapping": 7 }, 5]"#.to_vec()).await;
    assert_eq!(told.last().expect("a line")["totals"]["failed"], 2, "{told:?}");
    let reader = token(server.data(), "ada", &["--role", "reader"]);
    let refused = http().post(server.url("/v1/users/ada/import")).bearer_auth(reader).body("[]").send().await;
    assert_eq!(refused.expect("an answer").status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_go_at_once_and_one_may_take_longer_than_a_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = [("transfers", 1), ("http_ms", 500), ("linger_ms", 100)];
    let server = limited::start(&folder, &[], &limits).expect("ready");
    let key = token(server.data(), "ada", &[]);
    let ada = Api::new(&server, "ada", &key);
    let mut slow = TcpStream::connect(server.address()).expect("a connection");
    let head = format!(
        "POST /v1/users/ada/import HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\
         connection: close\r\ncontent-length: 2\r\n\r\n["
    );
    slow.write_all(head.as_bytes()).expect("sent");
    while ada.call("GET", "/export", Value::Null).await.status != 503 {}
    let refused = ada.call("POST", "/import", json!([])).await;
    assert_eq!(refused.problem(), (503, "busy"));
    // An ordinary request that began later has used up the time of a request when its refusal comes.
    let mut ordinary = TcpStream::connect(server.address()).expect("a connection");
    ordinary.write_all(head.replace("/v1/users/ada/import", "/d/ada/x/update").as_bytes()).expect("sent");
    let mut answer = String::new();
    ordinary.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    slow.write_all(b"]").expect("sent");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let export = ada.call("GET", "/export", Value::Null).await;
    assert_eq!((export.status.as_u16(), export.header("content-type")), (200, "application/zip"));
    assert_ne!(export.header("content-length"), "");
}
