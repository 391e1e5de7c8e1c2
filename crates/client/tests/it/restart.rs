//! Processes that are killed: the device's, which is the example program, and the server's.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use syncline_client::{Branch, ClientError, Delivery, Status};
use syncline_tests::{Server, limited, rest::Api};

use crate::kit::{all_are, config, device, messages, open, over_http, saved, say, texts, until};

/// Starts the example program on a folder, offline.
fn chat(url: &str, folder: &Path) -> Child {
    let test = std::env::current_exe().expect("this test has a path");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let path = profile.join("examples").join("chat");
    assert!(path.exists(), "{} is not there: cargo build -p syncline-client --example chat", path.display());
    let folder = folder.display().to_string();
    let arguments = ["--offline", "--device", "phone", "--url", url, "--folder", &folder];
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().expect("it starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_killed_with_edits_unsent_sends_them_when_it_is_back() {
    let server = Server::open().expect("ready");
    let folder = tempfile::tempdir().expect("a folder");
    let mut conversation = String::new();
    for round in 0..3 {
        let mut child = chat(&server.url(""), folder.path());
        let mut typed = child.stdin.take().expect("stdin");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        writeln!(typed, "one of {round}\ntwo of {round}").expect("typed");
        for wanted in ["conversation ", "kept ", "kept "] {
            let line = lines.by_ref().map(|line| line.expect("a line")).find(|line| line.starts_with(wanted));
            let line = line.expect("it says so");
            if round == 0 && wanted == "conversation " {
                conversation = line["conversation ".len()..].to_owned();
            }
        }
        // SIGKILL: nothing of it has a chance to tidy up.
        child.kill().expect("killed");
        child.wait().expect("ended");
    }
    let mut settings = config(&server.url(""), folder.path(), "phone");
    settings.online = false;
    let client = open(settings).await;
    // Each made a conversation (which is two edits) and said two things.
    assert_eq!(client.status().status, Status::Offline { unsaved: 12 }, "it is known after a crash");
    let seen = client.messages(conversation.clone(), Branch::All).await.expect("reads");
    assert!(texts(&seen) == ["one of 0", "two of 0"] && all_are(&seen, Delivery::Pending), "{seen:?}");
    client.go_online();
    saved(&client).await;
    let api = Api::new(&server, "ada", "");
    let listed = client.conversations().await.expect("reads");
    assert_eq!(listed.len(), 3);
    for (round, listed) in listed.iter().rev().enumerate() {
        assert_eq!(over_http(&api, &listed.id).await, [format!("one of {round}"), format!("two of {round}")]);
    }
    client.close().await;
    assert_eq!(client.drafts().await.err(), Some(ClientError::Closed));
    let mut settings = config(&server.url(""), folder.path(), "phone");
    settings.online = false;
    assert_eq!(open(settings).await.status().status, Status::Offline { unsaved: 0 }, "and that it is saved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_gets_what_it_lacks_when_it_is_back() {
    let mut server = Server::open().expect("ready");
    let phone = device(&server, "phone", |_| ()).await;
    let laptop = device(&server, "laptop", |_| ()).await;
    let trip = phone.client.new_conversation(None).await.expect("made");
    messages(&laptop.client, &trip, "open", |_| true).await;
    saved(&phone.client).await;
    server.kill().expect("killed");
    for device in [&phone, &laptop] {
        until(&device.client, "offline", |seen| matches!(seen.status, Status::Offline { .. })).await;
    }
    say(&phone.client, &trip, "while it was away").await;
    let _server = server.restart().expect("ready");
    for device in [&phone, &laptop] {
        messages(&device.client, &trip, "on all devices", |seen| {
            texts(seen) == ["while it was away"] && all_are(seen, Delivery::OnAllDevices)
        })
        .await;
        saved(&device.client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn saved_is_never_said_early() {
    // Commits take their time, so that an ack that did not wait for one is found out.
    let home = tempfile::tempdir().expect("a folder");
    let mut server = limited::start(&home, &["--open"], &[("commit_pace_us", 20_000)]).expect("ready");
    let phone = device(&server, "phone", |_| ()).await;
    let trip = phone.client.new_conversation(None).await.expect("made");
    let mut said = Vec::new();
    for round in 0..8 {
        // Some offline first, so that they go in a sync; some while connected.
        if round % 2 == 1 {
            phone.client.go_offline();
            until(&phone.client, "offline", |seen| matches!(seen.status, Status::Offline { .. })).await;
        }
        for turn in 0..3 {
            said.push(format!("{round}.{turn}"));
            say(&phone.client, &trip, &said[said.len() - 1]).await;
            phone.client.go_online();
        }
        saved(&phone.client).await;
        server.kill().expect("killed");
        until(&phone.client, "offline", |seen| matches!(seen.status, Status::Offline { .. })).await;
        assert_eq!(phone.client.status().status.unsaved(), 0, "what is saved stays saved");
        phone.client.go_offline();
        server = server.restart().expect("ready");
        assert_eq!(over_http(&Api::new(&server, "ada", ""), &trip).await, said, "round {round}");
        phone.client.go_online();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsaved_edits_are_counted_until_the_server_has_said_so() {
    let home = tempfile::tempdir().expect("a folder");
    // A commit that never comes while the test looks.
    let server = limited::start(&home, &["--open"], &[("commit_pace_us", 2_000_000)]).expect("ready");
    let phone = device(&server, "phone", |_| ()).await;
    let trip = phone.client.new_conversation(None).await.expect("made");
    saved(&phone.client).await;
    say(&phone.client, &trip, "a").await;
    until(&phone.client, "saving", |seen| seen.status == Status::Saving { unsaved: 1 }).await;
    saved(&phone.client).await;
    let folder = phone.folder;
    phone.client.close().await;
    let mut settings = config(&server.url(""), folder.path(), "phone");
    settings.online = false;
    let client = open(settings.clone()).await;
    assert_eq!(Client::open(settings, None).await.err(), Some(ClientError::StoreInUse));
    assert_eq!(client.status().status, Status::Offline { unsaved: 0 });
}

use syncline_client::Client;
