//! A server that sends anything: the client neither dies nor believes it.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use syncline_client::Status;
use syncline_protocol::frame::{Reply, encode};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
    },
};

use crate::kit::{config, open, until};

/// Takes a connection, with the subprotocol that was offered.
#[allow(clippy::result_large_err, reason = "the shape that the library wants")]
pub(crate) async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let (stream, _) = listener.accept().await.expect("connected");
    let answer = |_: &Request, mut response: Response| {
        let protocol = "syncline.v1".parse().expect("a value");
        response.headers_mut().insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    accept_hdr_async(stream, answer).await.expect("upgraded")
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

/// Every hostile update, as messages about a document; and frames that are none.
fn frames() -> Vec<Vec<u8>> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/hostile-updates.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(file).expect("reads")).expect("JSON");
    let mut frames = Vec::new();
    let name = Some("ada/profile");
    for case in vectors["updates"].as_array().expect("cases") {
        for hex in case["hex"].as_array().expect("updates") {
            let update = unhex(hex.as_str().expect("hex"));
            frames.push(encode(name, &Reply::SyncStep2(&update)).to_vec());
            frames.push(encode(name, &Reply::Update(&update)).to_vec());
        }
    }
    for case in vectors["stateVectors"].as_array().expect("cases") {
        frames.push(encode(name, &Reply::SyncStep1(&unhex(case["hex"][0].as_str().expect("hex")))).to_vec());
    }
    let deep = "[".repeat(100_000);
    for text in [
        deep.as_str(),
        "{\"type\":\"status\"}",
        "{\"type\":\"status\",\"document\":\"ada/profile\",\"saved\":18446744073709551615,\"devices\":[{\"id\":\"x\",\"behind\":18446744073709551615}]}",
    ] {
        frames.push(encode(name, &Reply::Json(text)).to_vec());
    }
    for _ in 0..5 {
        frames.push(encode(name, &Reply::Status { saved: true }).to_vec());
    }
    for frame in [
        &b""[..],
        b"\x09",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x01d",
        b"\x01\xff\x00",
        b"\x0bada/profile\x00\x05",
    ] {
        frames.push(frame.to_vec());
    }
    frames
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_server_sends_kills_or_fools_a_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let folder = tempfile::tempdir().expect("a folder");
    let client = open(config(&url, folder.path(), "phone")).await;
    client.set_preference("tone".to_owned(), "\"dry\"".to_owned()).await.expect("kept");
    for frame in frames() {
        let mut socket = accept(&listener).await;
        // It may hang up on the first bad frame.
        let _ = socket.send(Message::Binary(frame.into())).await;
        let _ = socket.close(None).await;
        while let Some(Ok(_)) = socket.next().await {}
        let seen = client.preferences().await.expect("it lives");
        assert_eq!(seen.iter().map(|p| p.value_json.as_str()).collect::<Vec<_>>(), ["\"dry\""]);
        assert_eq!(client.status().status.unsaved(), 1, "nothing of this says saved");
    }
    client.go_offline();
    let waits = |status: &Status| {
        matches!(status, Status::Offline { unsaved: 1 } | Status::Refused { unsaved: 1, .. })
    };
    until(&client, "offline", |seen| waits(&seen.status)).await;
    client.close().await;
    // What is stored opens again.
    let mut settings = config(&url, folder.path(), "phone");
    settings.online = false;
    assert_eq!(open(settings).await.status().status, Status::Offline { unsaved: 1 });
}
