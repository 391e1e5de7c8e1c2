//! The model's test vectors (`tests/vectors/model.json`), read through the client: a server that only sends what a vector
//! holds, and the records that the client makes of it.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use syncline_client::{
    Branch, Client, Conflict, Conversation, Draft, Folder, Message, MessageState, Preference,
    PreferenceSource, UserDevice,
};
use syncline_protocol::frame::{HocuspocusFrame, Message as Said, Reply, decode_hocuspocus, encode};
use syncline_tests::DEADLINE;
use tokio::{net::TcpListener, time::timeout};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::{
    hostile::{accept, unhex},
    kit::{config, open},
};

/// Answers every SyncStep1 about one document with these updates, for as long as the client is connected.
async fn serve(listener: TcpListener, document: String, updates: Vec<Vec<u8>>) {
    loop {
        let mut socket = accept(&listener).await;
        while let Some(Ok(frame)) = socket.next().await {
            let Frame::Binary(frame) = frame else { continue };
            let decoded = decode_hocuspocus(&frame).expect("the client sends frames");
            let HocuspocusFrame::Addressed(address, Said::SyncStep1(_)) = decoded else { continue };
            let name = Some(address.raw);
            let mut replies = vec![encode(name, &Reply::Authenticated { read_only: false })];
            if address.raw == document {
                replies.extend(updates.iter().map(|update| encode(name, &Reply::SyncStep2(update))));
            } else {
                replies.push(encode(name, &Reply::SyncStep2(&[0, 0])));
            }
            for reply in replies {
                socket.send(Frame::Binary(reply)).await.expect("sent");
            }
        }
    }
}

/// Brings what a vector expects into the shape of the records: times in milliseconds, no clock of the reader's.
fn expected(value: &Value) -> Value {
    let ms = |time: &Value| time.as_str().and_then(|time| time.get(..13)?.parse::<u64>().ok());
    match value {
        Value::Array(items) => items.iter().map(expected).collect(),
        Value::Object(entries) => {
            let mut out = Map::new();
            for (key, value) in entries {
                match key.as_str() {
                    "hlc" | "at" => drop(out.insert("at".to_owned(), json!(ms(value)))),
                    // What holds still depends on when it is read.
                    "fresh" => {}
                    // A record has these as JSON in a text: taken as they are.
                    "parts" | "value" | "evidence" | "feedback" | "facts" | "details" | "attachments" => {
                        drop(out.insert(key.clone(), value.clone()));
                    }
                    _ => drop(out.insert(key.clone(), expected(value))),
                }
            }
            Value::Object(out)
        }
        other => other.clone(),
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON in a text")
}

/// Adds what is there, as the vectors leave out what is not.
fn with(mut value: Value, more: &[(&str, Option<Value>)]) -> Value {
    for (key, more) in more {
        if let Some(more) = more {
            value[*key] = more.clone();
        }
    }
    value
}

fn hint(conflict: &Conflict) -> Value {
    json!({ "value": parsed(&conflict.value_json), "writer": conflict.writer, "at": conflict.at_ms })
}

fn by_field(conflicts: &[Conflict]) -> Option<Value> {
    let mut fields: Map<String, Value> = Map::new();
    for conflict in conflicts {
        let list = fields.entry(conflict.field.clone()).or_insert_with(|| json!([]));
        list.as_array_mut().expect("a list").push(hint(conflict));
    }
    (!fields.is_empty()).then_some(Value::Object(fields))
}

fn preference(seen: &Preference) -> Value {
    let source = match seen.source {
        PreferenceSource::Default => "default",
        PreferenceSource::Inferred => "inferred",
        PreferenceSource::Imported => "imported",
        PreferenceSource::Explicit => "explicit",
    };
    let conflicts: Vec<Value> = seen.conflicts.iter().map(hint).collect();
    with(
        json!({
            "name": seen.name, "value": parsed(&seen.value_json), "source": source, "blocked": seen.blocked,
            "writer": seen.writer, "at": seen.at_ms,
        }),
        &[
            ("confidence", seen.confidence.map(|value| json!(value))),
            ("evidence", seen.evidence_json.as_deref().map(parsed)),
            ("ttl", seen.ttl_seconds.map(|value| json!(value))),
            ("conflicts", (!conflicts.is_empty()).then_some(json!(conflicts))),
        ],
    )
}

fn user_device(seen: &UserDevice) -> Value {
    let device = json!({ "id": seen.id, "name": seen.name, "kind": seen.kind, "revoked": seen.revoked });
    with(device, &[("conflicts", by_field(&seen.conflicts))])
}

fn folder(seen: &Folder) -> Value {
    let folder = json!({
        "id": seen.id, "name": seen.name, "parent": seen.parent, "order": seen.order, "deleted": seen.deleted,
    });
    with(folder, &[("conflicts", by_field(&seen.conflicts))])
}

fn conversation(seen: &Conversation) -> Value {
    with(
        json!({
            "id": seen.id, "title": seen.title, "autoTitle": seen.auto_title, "pinned": seen.pinned,
            "archived": seen.archived, "folder": seen.folder, "tags": seen.tags,
            "createdAt": seen.created_at_ms, "deleted": seen.deleted,
        }),
        &[
            ("deletedAt", seen.deleted_at_ms.map(|value| json!(value))),
            ("deletedSeq", seen.deleted_seq.map(|value| json!(value))),
            ("conflicts", by_field(&seen.conflicts)),
        ],
    )
}

fn draft(seen: &Draft) -> Value {
    with(
        json!({
            "conversation": seen.conversation, "writer": seen.writer, "at": seen.at_ms, "text": seen.text,
            "attachments": parsed(&seen.attachments_json), "req": seen.req,
        }),
        &[
            ("model", seen.model.as_ref().map(|value| json!(value))),
            ("takenBy", seen.taken_by.as_ref().map(|value| json!(value))),
        ],
    )
}

fn message(seen: &Message) -> Value {
    let state = match seen.state {
        MessageState::Pending => "pending",
        MessageState::Submitted => "submitted",
        MessageState::Streaming => "streaming",
        MessageState::RequiresAction => "requires-action",
        MessageState::Done => "done",
        MessageState::Stopped => "stopped",
        MessageState::Interrupted => "interrupted",
        MessageState::Failed => "error",
    };
    with(
        json!({
            "id": seen.id, "parent": seen.parent, "role": seen.role, "seq": seen.seq, "state": state,
            "alternatives":
                { "index": seen.alternative, "count": seen.alternatives, "ids": seen.alternative_ids },
            "parts": parsed(&seen.parts_json), "by": seen.by, "at": seen.at_ms,
        }),
        &[
            ("req", seen.req.as_ref().map(|value| json!(value))),
            ("model", seen.model.as_ref().map(|value| json!(value))),
            ("details", seen.details_json.as_deref().map(parsed)),
            ("facts", seen.facts_json.as_deref().map(parsed)),
            ("feedback", seen.feedback_json.as_deref().map(parsed)),
            ("hidden", seen.hidden.then_some(json!(true))),
            ("erased", seen.erased.then_some(json!(true))),
        ],
    )
}

/// What the client makes of a document.
async fn shown(client: &Arc<Client>, document: &str) -> Value {
    let list = |values: Vec<Value>| Value::Array(values);
    if let Some(id) = document.strip_prefix("ada/c/") {
        let selected = client.messages(id.to_owned(), Branch::Selected).await.expect("reads");
        let all = client.messages(id.to_owned(), Branch::All).await.expect("reads");
        let [selected, all] = [selected, all].map(|seen| list(seen.iter().map(message).collect()));
        return json!({ "selected": selected, "all": all });
    }
    match document {
        "ada/profile" => json!({
            "preferences": list(client.preferences().await.expect("reads").iter().map(preference).collect()),
            "devices": list(client.devices().await.expect("reads").iter().map(user_device).collect()),
            "folders": list(client.folders().await.expect("reads").iter().map(folder).collect()),
        }),
        "ada/marks" => {
            let marks = client.read_marks().await.expect("reads").into_iter();
            let marks = marks.map(|mark| {
                (mark.conversation, json!({ "seq": mark.seq, "tip": mark.tip, "at": mark.at_ms }))
            });
            json!({ "marks": Value::Object(marks.collect()) })
        }
        "ada/drafts" => {
            json!({ "drafts": list(client.drafts().await.expect("reads").iter().map(draft).collect()) })
        }
        _ => json!({
            "conversations": list(client.conversations().await.expect("reads").iter().map(conversation).collect()),
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vectors_hold() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/model.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(file).expect("reads")).expect("JSON");
    for case in vectors["cases"].as_array().expect("cases") {
        let document = case["document"].as_str().expect("a name").to_owned();
        let updates = case["updates"].as_array().expect("updates").iter();
        let updates: Vec<Vec<u8>> = updates.map(|hex| unhex(hex.as_str().expect("hex"))).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(serve(listener, document.clone(), updates));
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = config(&url, folder.path(), "phone");
        // The vectors are of 2023.
        settings.limits.index_quarters = 40;
        settings.limits.open_documents = 64;
        let client = open(settings).await;
        let mut wanted = expected(&case["view"]);
        // What a conversation is made of is not given out by itself.
        wanted.as_object_mut().expect("an object").remove("meta");
        let stream = client.watch_status();
        let mut seen = shown(&client, &document).await;
        let wait = async {
            while seen != wanted {
                stream.next().await.expect("the client is open");
                seen = shown(&client, &document).await;
            }
        };
        let name = &case["name"];
        if timeout(DEADLINE, wait).await.is_err() {
            panic!("{name}\n{seen}\n{wanted}");
        }
        client.close().await;
        server.abort();
    }
}
