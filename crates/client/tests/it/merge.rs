//! Several devices, offline and online, and what the HTTP API wrote.

use serde_json::json;
use syncline_client::{Branch, Client, Delivery, Draft, NewMessage, PreferenceSource, Status};
use syncline_tests::{DEADLINE, Server, rest::Api};
use tokio::time::timeout;

use crate::kit::{all_are, device, messages, over_http, saved, say, texts, until};

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_offline_keep_both_turns_and_show_the_other_name() {
    let server = Server::open().expect("ready");
    let phone = device(&server, "phone", |_| ()).await;
    let laptop = device(&server, "laptop", |_| ()).await;
    let trip = phone.client.new_conversation(Some("A trip".to_owned())).await.expect("made");
    say(&phone.client, &trip, "hello").await;
    messages(&laptop.client, &trip, "there", |seen| texts(seen) == ["hello"]).await;
    saved(&phone.client).await;
    saved(&laptop.client).await;

    for (device, text, title) in [(&phone, "from the phone", "Rome"), (&laptop, "from the laptop", "Paris")] {
        device.client.go_offline();
        until(&device.client, "offline", |seen| seen.status == Status::Offline { unsaved: 0 }).await;
        say(&device.client, &trip, text).await;
        device.client.rename_conversation(trip.clone(), title.to_owned()).await.expect("kept");
        assert_eq!(device.client.status().status, Status::Offline { unsaved: 2 });
        let seen = device.client.messages(trip.clone(), Branch::All).await.expect("reads");
        assert_eq!(seen.last().map(|message| message.delivery), Some(Delivery::Pending), "{text}");
    }
    laptop.client.go_online();
    saved(&laptop.client).await;
    let seen = laptop.client.messages(trip.clone(), Branch::All).await.expect("reads");
    assert_eq!(seen.last().map(|m| m.delivery), Some(Delivery::Accepted), "the phone has not got it");
    phone.client.go_online();

    let all = ["hello", "from the laptop", "from the phone"];
    for device in [&phone, &laptop] {
        let on_all =
            |seen: &[syncline_client::Message]| texts(seen) == all && all_are(seen, Delivery::OnAllDevices);
        messages(&device.client, &trip, "in one order, on all devices", on_all).await;
        saved(&device.client).await;
        let listed = device.client.conversation(trip.clone()).await.expect("reads").expect("is listed");
        assert_eq!(listed.title.as_deref(), Some("Paris"), "it was renamed later");
        assert_eq!(listed.conflicts[0].value_json, "\"Rome\"");
    }
    let api = Api::new(&server, "ada", "");
    assert_eq!(over_http(&api, &trip).await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_http_api_wrote_is_here_and_the_other_way_round() {
    let server = Server::open().expect("ready");
    let api = Api::new(&server, "ada", "");
    let made = api.post("/conversations", json!({ "title": "Recipes" })).await;
    let id = made["id"].as_str().expect("an id").to_owned();
    let turn = json!({ "role": "user", "parts": [{ "type": "text", "text": "over http" }] });
    api.post(&format!("/conversations/{id}/messages"), turn).await;
    api.call("PUT", "/preferences/tone", json!({ "value": "dry" })).await.ok();

    let phone = device(&server, "phone", |_| ()).await;
    messages(&phone.client, &id, "there", |seen| texts(seen) == ["over http"]).await;
    say(&phone.client, &id, "from the phone").await;
    phone.client.pin_conversation(id.clone(), true).await.expect("kept");
    phone.client.set_preference("units".to_owned(), "\"metric\"".to_owned()).await.expect("kept");
    phone.client.name_device("phone".to_owned(), "Ada's".to_owned(), "phone".to_owned()).await.expect("kept");
    let folder = phone.client.new_folder("Food".to_owned(), None).await.expect("kept");
    phone.client.move_conversation(id.clone(), Some(folder.clone())).await.expect("kept");
    saved(&phone.client).await;

    assert_eq!(over_http(&api, &id).await, ["over http", "from the phone"]);
    let seen = api.get(&format!("/conversations/{id}")).await;
    assert_eq!(
        (&seen["title"], &seen["pinned"], &seen["folder"]),
        (&json!("Recipes"), &json!(true), &json!(folder))
    );
    let listed = phone.client.conversations().await.expect("reads");
    assert_eq!(listed.iter().map(|seen| seen.title.as_deref()).collect::<Vec<_>>(), [Some("Recipes")]);
    let preferences = phone.client.preferences().await.expect("reads");
    let shown: Vec<_> = preferences.iter().map(|p| (&*p.name, &*p.value_json, p.source)).collect();
    let explicit = PreferenceSource::Explicit;
    assert_eq!(shown, [("tone", "\"dry\"", explicit), ("units", "\"metric\"", explicit)]);
    assert_eq!(api.get("/preferences").await["items"][1]["value"], "metric");
    assert_eq!(api.get("/devices").await["items"][0]["name"], "Ada's");
    assert_eq!(api.get("/folders").await["items"][0]["name"], "Food");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_taken_over_and_goes_with_its_message_wherever_that_is_sent() {
    let server = Server::open().expect("ready");
    let phone = device(&server, "phone", |_| ()).await;
    let laptop = device(&server, "laptop", |_| ()).await;
    let trip = phone.client.new_conversation(None).await.expect("made");
    let draft = |text: &str| phone.client.set_draft(trip.clone(), text.to_owned(), "[]".to_owned(), None);
    let req = draft("Rom").await.expect("kept");
    assert_eq!(draft("Rome?").await.expect("kept"), req, "it is one draft");
    let drafts =
        until_drafts(&laptop.client, |drafts| drafts.iter().any(|draft| draft.text == "Rome?")).await;
    assert!(drafts.len() == 1 && !drafts[0].own, "{drafts:?}");
    let writer = drafts[0].writer.clone();
    laptop.client.take_over_draft(trip.clone(), writer).await.expect("kept");
    let drafts = until_drafts(&phone.client, |drafts| drafts.len() == 2).await;
    let taken = drafts.iter().find(|draft| draft.own).and_then(|draft| draft.taken_by.clone());
    assert!(taken.is_some_and(|writer| writer.starts_with("laptop.")), "{drafts:?}");

    let message = NewMessage { req: Some(req), ..NewMessage::text("Rome?".to_owned()) };
    messages(&laptop.client, &trip, "open", |_| true).await;
    laptop.client.send(trip.clone(), message).await.expect("kept");
    until_drafts(&laptop.client, <[Draft]>::is_empty).await;
    until_drafts(&phone.client, <[Draft]>::is_empty).await;
}

/// Waits until the drafts are as wanted.
async fn until_drafts(client: &Client, wanted: impl Fn(&[Draft]) -> bool) -> Vec<Draft> {
    let stream = client.watch_status();
    let wait = async {
        loop {
            stream.next().await.expect("the client is open");
            let drafts = client.drafts().await.expect("reads");
            if wanted(&drafts) {
                return drafts;
            }
        }
    };
    timeout(DEADLINE, wait).await.expect("the drafts")
}
