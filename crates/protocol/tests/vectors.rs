//! The golden frames of `tests/vectors/frames.json`, both ways.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use support::{hex, unhex};
use syncline_protocol::{
    frame::{Address, FrameError, HocuspocusFrame, Message, Reply, decode_hocuspocus, decode_plain, encode},
    reply,
};

fn vectors() -> Value {
    let file = std::fs::read_to_string("../../tests/vectors/frames.json").unwrap();
    serde_json::from_str(&file).unwrap()
}

fn cases<'a>(vectors: &'a Value, part: &str) -> &'a Vec<Value> {
    let cases = vectors[part].as_array().unwrap();
    assert!(cases.len() > 20, "{part} is all there");
    cases
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
}

fn decode(dialect: &str, frame: &[u8]) -> Result<Value, FrameError> {
    use serde_json::json;
    let show = |message: Message<'_>| match message {
        Message::SyncStep1(bytes) => json!({"type": "SyncStep1", "payload": hex(bytes)}),
        Message::SyncStep2(bytes) => json!({"type": "SyncStep2", "payload": hex(bytes)}),
        Message::Update(bytes) => json!({"type": "Update", "payload": hex(bytes)}),
        Message::Awareness(bytes) => json!({"type": "Awareness", "payload": hex(bytes)}),
        Message::QueryAwareness => json!({"type": "QueryAwareness"}),
        Message::Auth { token, version } => json!({"type": "Auth", "token": token, "version": version}),
        Message::Stateless(text) => json!({"type": "Stateless", "text": text}),
        Message::Detach => json!({"type": "Detach"}),
        Message::Version(version) => json!({"type": "Version", "version": version}),
    };
    if dialect != "hocuspocus" {
        return decode_plain(frame).map(|message| json!({"message": show(message)}));
    }
    Ok(match decode_hocuspocus(frame)? {
        HocuspocusFrame::Pong => json!({"message": {"type": "Pong"}}),
        HocuspocusFrame::Addressed(address, message) => json!({
            "address": {"raw": address.raw, "document": address.document, "session": address.session},
            "message": show(message),
        }),
    })
}

#[test]
fn what_clients_send_is_understood() {
    let vectors = vectors();
    for case in cases(&vectors, "client") {
        let decoded = decode(text(case, "dialect"), &unhex(text(case, "hex")));
        let decoded = decoded.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(decoded["message"], case["message"], "{case}");
        assert_eq!(decoded["address"], case["address"], "{case}");
    }
}

#[test]
fn what_the_server_sends_is_exact() {
    let vectors = vectors();
    for case in cases(&vectors, "server") {
        let said = &case["reply"];
        let payload = said["payload"].as_str().map(unhex).unwrap_or_default();
        let reply = match text(said, "type") {
            "SyncStep1" => Reply::SyncStep1(&payload),
            "SyncStep2" => Reply::SyncStep2(&payload),
            "Update" => Reply::Update(&payload),
            "Awareness" => Reply::Awareness(&payload),
            "Denied" => Reply::Denied(text(said, "reason")),
            "AskToken" => Reply::AskToken,
            "Authenticated" => Reply::Authenticated { read_only: said["readOnly"].as_bool().unwrap() },
            "Status" => Reply::Status { saved: said["saved"].as_bool().unwrap() },
            "Version" => Reply::Version(said["version"].as_u64().unwrap()),
            "Json" => Reply::Json(text(said, "text")),
            "Ping" => Reply::Ping,
            other => panic!("{other}"),
        };
        assert_eq!(hex(&encode(case["address"].as_str(), &reply)), text(case, "hex"), "{case}");
        if case["address"].is_string() || reply == Reply::Ping {
            let frame = unhex(text(case, "hex"));
            let read = reply::decode_hocuspocus(&frame);
            let expected = match reply {
                Reply::Ping => reply::ServerFrame::Ping,
                reply => reply::ServerFrame::Addressed(Address::parse(text(case, "address")), reply),
            };
            assert_eq!(read, Ok(expected), "{case}");
        }
    }
}

#[test]
fn what_is_wrong_is_refused_for_its_reason() {
    let vectors = vectors();
    for case in cases(&vectors, "refused") {
        let error = decode(text(case, "dialect"), &unhex(text(case, "hex"))).expect_err(&case.to_string());
        assert!(format!("{error:?}").starts_with(text(case, "error")), "{case}: {error:?}");
        assert!(error.to_string().len() <= 123, "a close reason: {error}");
    }
}

#[test]
fn no_prefix_of_a_frame_is_taken_for_the_frame() {
    let vectors = vectors();
    for case in cases(&vectors, "client") {
        let bytes = unhex(text(case, "hex"));
        for end in 0..bytes.len() {
            let decoded = decode(text(case, "dialect"), &bytes[..end]);
            // The version in Auth is optional, and what follows a query is not looked at.
            let kind = text(&case["message"], "type");
            assert!(
                decoded.is_err() || matches!(kind, "Auth" | "QueryAwareness"),
                "{case} cut at {end}: {decoded:?}"
            );
        }
    }
}
