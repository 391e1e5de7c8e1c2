//! Edits that the server does not take: the copy is set aside, and what is valid goes on.

use serde_json::json;
use syncline_client::{Branch, NewMessage, RefusalCode, Status};
use syncline_document::{
    Replica,
    schema::conversation::{self, Branch as All},
};
use syncline_tests::{limited, rest::Api};

use crate::kit::{config, device, messages, open, over_http, saved, say, texts, until};

fn heavy() -> NewMessage {
    let parts = json!([{ "type": "data-numbers", "data": (0..6000).collect::<Vec<u32>>() }]);
    NewMessage { parts_json: parts.to_string(), ..NewMessage::text(String::new()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_edit_stays_behind_and_the_others_are_saved() {
    let home = tempfile::tempdir().expect("a folder");
    let server = limited::start(&home, &["--open"], &[("values", 3000)]).expect("ready");
    let phone = device(&server, "phone", |_| ()).await;
    let trip = phone.client.new_conversation(Some("A trip".to_owned())).await.expect("made");
    say(&phone.client, &trip, "one").await;
    saved(&phone.client).await;
    phone.client.go_offline();
    until(&phone.client, "offline", |seen| matches!(seen.status, Status::Offline { .. })).await;
    say(&phone.client, &trip, "two").await;
    let bad = phone.client.send(trip.clone(), heavy()).await.expect("kept");
    say(&phone.client, &trip, "three").await;
    phone.client.go_online();
    saved(&phone.client).await;
    let all = ["one", "two", "three"];
    assert_eq!(over_http(&Api::new(&server, "ada", ""), &trip).await, all);
    let seen = phone.client.messages(trip.clone(), Branch::All).await.expect("reads");
    assert_eq!(texts(&seen), all);
    assert!(seen.iter().all(|message| message.seq.is_some()), "{seen:?}");

    // The bad one is in the copies that were set aside.
    let asides = phone.client.set_aside().await.expect("lists");
    assert!(asides.iter().all(|aside| aside.carried_over && !aside.reason.is_empty()), "{asides:?}");
    let copy = phone.client.export_set_aside(asides[0].id.clone()).await.expect("exports");
    let mut replica = Replica::load([&copy[..]]).expect("a copy");
    let kept = conversation::messages(&mut replica, All::All).expect("reads");
    assert!(kept.iter().any(|message| message.id == bad), "nothing is thrown away");
    for aside in asides {
        phone.client.discard_set_aside(aside.id).await.expect("discarded");
    }
    until(&phone.client, "tidy", |seen| seen.set_aside == 0 && seen.status == Status::Saved).await;

    // It works on, also after a restart.
    let folder = phone.folder;
    phone.client.close().await;
    let client = open(config(&server.url(""), folder.path(), "phone")).await;
    say(&client, &trip, "four").await;
    saved(&client).await;
    assert_eq!(
        over_http(&Api::new(&server, "ada", ""), &trip).await.last().map(String::as_str),
        Some("four")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_a_frame_goes_edit_by_edit() {
    let home = tempfile::tempdir().expect("a folder");
    let server = limited::start(&home, &["--open"], &[("message_bytes", 64 << 10)]).expect("ready");
    // One knows how much the server takes at once; the other learns it when the server hangs up (1009).
    for (name, knows) in [("phone", true), ("laptop", false)] {
        let device = device(&server, name, |config| {
            config.online = false;
            if knows {
                config.limits.sent_frame_bytes = 64 << 10;
            }
        })
        .await;
        let trip = device.client.new_conversation(None).await.expect("made");
        let long = ["x", "y", "z"].map(|letter| letter.repeat(30_000));
        for text in &long {
            say(&device.client, &trip, text).await;
        }
        device.client.go_online();
        saved(&device.client).await;
        assert_eq!(over_http(&Api::new(&server, "ada", ""), &trip).await, long, "{name}");
        assert_eq!(device.client.set_aside().await.expect("lists").len(), 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_carried_over_stays_refused_and_kept() {
    let home = tempfile::tempdir().expect("a folder");
    let server = limited::start(&home, &["--open"], &[("values", 3000)]).expect("ready");
    let phone = device(&server, "phone", |config| config.limits.set_aside = 0).await;
    let trip = phone.client.new_conversation(None).await.expect("made");
    saved(&phone.client).await;
    phone.client.send(trip.clone(), heavy()).await.expect("kept");
    say(&phone.client, &trip, "after it").await;
    let refused = |status: &Status| matches!(status, Status::Refused { code: RefusalCode::Update, unsaved: 2, reason } if !reason.is_empty());
    until(&phone.client, "refused", |seen| refused(&seen.status)).await;
    assert_eq!(phone.client.set_aside().await.expect("lists"), []);
    // What others say comes in all the same.
    let turn = json!({ "role": "user", "parts": [{ "type": "text", "text": "over http" }] });
    let api = Api::new(&server, "ada", "");
    api.post(&format!("/conversations/{trip}/messages"), turn).await;
    messages(&phone.client, &trip, "heard", |seen| texts(seen).contains(&"over http")).await;
    assert!(refused(&phone.client.status().status), "{:?}", phone.client.status());
}
