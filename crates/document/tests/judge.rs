//! What an unmodified Yjs client can break, and that it is healed: every device equals the accepted state again.

mod support;

use serde_json::{Value, json};
use support::{Device, ID, NOW, Server, stamp, texts};
use syncline_document::{
    Changed, Judgement, Rule,
    hlc::FUTURE_MS,
    ids::Quarter,
    schema::{
        Kind,
        conversation::{self, Branch, NewMessage},
        index,
        message::Message,
        preferences,
    },
};
use yrs::{Map as _, MapPrelim, MapRef, TextPrelim, Transact as _, types::ToJson as _};

struct Scene {
    server: Server,
    good: Device,
    bad: Device,
}

/// A server and two devices that hold two accepted messages.
fn scene() -> Scene {
    let (mut server, mut good, bad) =
        (Server::conversation(), Device::new(11, "good"), Device::new(1 << 50, "bad"));
    good.put("meta", "owner", &json!("ada"));
    good.say("m1", None, "hello", &json!({}));
    good.say("m2", Some("m1"), "there", &json!({ "role": "assistant" }));
    good.sync(&mut server);
    let _ = server.edit(|pen| conversation::set_facts(pen, "m2", &json!({ "tokens": 5 })));
    bad.sync(&mut server);
    Scene { server, good, bad }
}

/// Lets the bad device break something, and expects the rule to be applied and all to stand as before.
fn healed(rule: Rule, offend: impl Fn(&mut Device)) -> Judgement {
    let Scene { mut server, good, mut bad } = scene();
    let before = server.messages(Branch::All);
    offend(&mut bad);
    let judgement = bad.sync(&mut server);
    assert!(!judgement.heals.is_empty(), "{rule:?} goes unnoticed");
    assert!(judgement.heals.iter().all(|heal| heal.rule == rule), "{:?}", judgement.heals);
    good.sync(&mut server);
    for messages in [server.messages(Branch::All), good.messages(Branch::All), bad.messages(Branch::All)] {
        assert_eq!(messages, before);
    }
    server.restart();
    let again = server.judge();
    assert!(again.update.is_none() && again.heals.is_empty() && again.accepted.is_empty());
    assert_eq!(server.messages(Branch::All), before);
    judgement
}

#[test]
fn a_deleted_or_replaced_message_is_put_back() {
    healed(Rule::MessageDeleted, |bad| bad.delete("messages", "m1"));
    healed(Rule::MessageDeleted, |bad| bad.put("messages", "m1", &json!("gone")));
    healed(Rule::MessageDeleted, |bad| bad.say("m2", None, "mine", &json!({})));
}

#[test]
fn a_changed_message_is_put_right_and_its_old_content_is_kept() {
    let judgement = healed(Rule::MessageChanged, |bad| bad.tamper("m1", "parts", &json!([])));
    assert_eq!(judgement.heals[0].before, Some(json!([{ "type": "text", "text": "hello" }])));
    healed(Rule::MessageChanged, |bad| bad.tamper("m1", "head", &json!({ "role": "system" })));
    healed(Rule::MessageChanged, |bad| bad.tamper("m1", "parts", &json!({ "erased": true })));
    healed(Rule::MessageChanged, |bad| {
        let messages = bad.root("messages");
        let mut txn = bad.doc.transact_mut();
        let Some(yrs::Out::YMap(container)) = messages.get(&txn, "m1") else { panic!("a message") };
        container.remove(&mut txn, "parts");
    });
}

#[test]
fn forged_changed_and_deleted_server_facts_are_put_right() {
    healed(Rule::ServerFact, |bad| bad.put("accepted", "m1", &json!([7, null])));
    healed(Rule::ServerFact, |bad| bad.delete("accepted", "m2"));
    healed(Rule::ServerFact, |bad| bad.put("accepted", "nothing", &json!([3, "m2"])));
    healed(Rule::ServerFact, |bad| bad.put("state", "m2", &json!(["error"])));
    healed(Rule::ServerFact, |bad| bad.put("facts", "m2", &json!({ "tokens": 0 })));
    healed(Rule::ServerFact, |bad| bad.delete("facts", "m2"));
    healed(Rule::ServerFact, |bad| bad.put("runs", "r", &json!({})));
    healed(Rule::Meta, |bad| bad.put("meta", "owner", &json!("eve")));
    healed(Rule::ServerRegister, |bad| {
        bad.put("selected", "m1@server", &json!(["1700000000000-0000", "m9"]));
    });
}

#[test]
fn what_agrees_with_the_committed_state_is_no_offence() {
    let Scene { mut server, mut bad, .. } = scene();
    bad.put("accepted", "m1", &json!([1, null]));
    bad.put("facts", "m2", &json!({ "tokens": 5 }));
    let judgement = bad.sync(&mut server);
    assert!(judgement.heals.is_empty() && judgement.update.is_none());
}

#[test]
fn a_device_brings_back_what_a_restored_server_lost() {
    let Scene { mut server, good, mut bad } = scene();
    bad.say("m3", Some("m2"), "later", &json!({}));
    bad.sync(&mut server);
    good.sync(&mut server);
    let before = server.messages(Branch::All);
    // The backup is from before all of it, and writes under another client id.
    let mut restored = Server::with_client(Kind::Conversation(support::conversation_id()), (1 << 40) + 1);
    let judgement = good.sync(&mut restored);
    assert_eq!((judgement.accepted.len(), judgement.heals.len()), (3, 0));
    assert_eq!(restored.messages(Branch::All), before);
}

#[test]
fn malformed_messages_are_kept_but_have_no_place() {
    let Scene { mut server, mut bad, .. } = scene();
    bad.raw_message("x1", &json!({ "role": 5 }), &json!([]));
    bad.raw_message(
        "x2",
        &json!({ "role": "user", "by": "bad.s", "at": "1700000000000-0000" }),
        &json!("text"),
    );
    bad.put("messages", "x3", &json!(1));
    bad.say("not an id", None, "?", &json!({}));
    let judgement = bad.sync(&mut server);
    assert_eq!(judgement.malformed.len(), 4);
    assert!(judgement.accepted.is_empty() && judgement.update.is_none() && judgement.heals.is_empty());
    // What becomes whole later is accepted then.
    bad.tamper("x2", "parts", &json!([{ "type": "text", "text": "whole" }]));
    let judgement = bad.sync(&mut server);
    assert_eq!(judgement.accepted[0].preview, "whole");
}

#[test]
fn hostile_heads_get_a_place_and_never_loop() {
    let Scene { mut server, mut bad, .. } = scene();
    bad.say("c1", Some("c2"), "circle", &json!({}));
    bad.say("c2", Some("c1"), "circle", &json!({ "alt": "c1" }));
    bad.say("self", Some("self"), "self", &json!({ "alt": "self" }));
    bad.say("lost", Some("never-seen"), "lost", &json!({}));
    let judgement = bad.sync(&mut server);
    assert_eq!(judgement.accepted.len(), 4);
    let all = server.messages(Branch::All);
    assert_eq!(all.len(), 6);
    for message in &all {
        let parent = message.parent.as_ref().map(|parent| all.iter().find(|other| other.id == *parent));
        assert!(parent.is_none_or(|parent| parent.is_some_and(|parent| parent.seq < message.seq)));
    }
}

#[test]
fn an_erased_message_stays_erased() {
    let Scene { mut server, good, mut bad } = scene();
    bad.set("feedback", "m1", &json!({ "v": -1, "text": "secret" }));
    bad.sync(&mut server);
    let (done, _) = server.edit(|pen| conversation::erase(pen, "m1"));
    assert_eq!(done, Ok(()));
    // A stale device, offline meanwhile.
    bad.tamper("m1", "parts", &json!([{ "type": "text", "text": "secret" }]));
    bad.tamper("m1", "more", &json!("secret"));
    bad.sync(&mut server);
    bad.say("m1", None, "secret", &json!({}));
    bad.sync(&mut server);
    server.restart();
    bad.delete("messages", "m1");
    bad.sync(&mut server);
    good.sync(&mut server);
    let bytes = server.replica.encode_state().expect("encodes");
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
    for device in [&good, &bad] {
        let seen = device.messages(Branch::All).remove(0);
        assert!(seen.erased && seen.parts.is_empty() && seen.feedback.is_none() && seen.id == "m1");
    }
}

#[test]
fn a_register_from_the_future_is_overruled_and_a_later_one_wins() {
    let mut server = Server::new(Kind::Index(Quarter { year: 2023, quarter: 4 }));
    let (mut good, mut bad) = (Device::new(11, "good"), Device::new(22, "bad"));
    bad.clock_ms = NOW + FUTURE_MS + 60_000;
    let field = format!("{ID}|title");
    bad.set("conversations", &field, &json!("tomorrow"));
    let judgement = bad.sync(&mut server);
    assert_eq!(judgement.heals[0].rule, Rule::Future);
    let renamed = || [Changed::ConversationRenamed { conversation: ID.to_owned(), auto: false }];
    assert_eq!(judgement.changed, renamed());
    let title = |server: &mut Server| index::read(&mut server.replica).expect("reads").remove(0).title;
    assert_eq!(title(&mut server).as_deref(), Some("tomorrow"));
    good.clock_ms = NOW + 10_000;
    good.set("conversations", &field, &json!("today"));
    assert_eq!(good.sync(&mut server).changed, renamed());
    assert_eq!(title(&mut server).as_deref(), Some("today"));
    // Once more, where the server's own stands already; then with what holds anyway.
    bad.clock_ms += 1000;
    for told in [&renamed()[..], &[]] {
        server.now_ms += 20_000;
        bad.set("conversations", &field, &json!("the day after"));
        let judgement = bad.sync(&mut server);
        assert_eq!((judgement.heals.len(), &judgement.changed[..]), (1, told));
    }
    // What is set by hand is not lost to a guess from the future.
    let mut server = Server::new(Kind::Profile);
    bad.set_with("preferences", "tone", &json!("dry"), &json!({ "source": "explicit" }));
    bad.sync(&mut server);
    bad.clock_ms += 1000;
    bad.set_with("preferences", "tone", &json!("warm"), &json!({ "source": "inferred" }));
    bad.sync(&mut server);
    assert_eq!(preferences::read(&mut server.replica, NOW).expect("reads")[0].value, json!("dry"));
}

#[test]
fn streamed_content_is_frozen_where_no_run_writes_it() {
    let Scene { mut server, mut bad, .. } = scene();
    bad.say("s", Some("m2"), "-", &json!({}));
    let text = {
        let messages = bad.root("messages");
        let mut txn = bad.doc.transact_mut();
        let Some(yrs::Out::YMap(container)) = messages.get(&txn, "s") else { panic!("a message") };
        let parts: MapRef = container.insert(&mut txn, "parts", MapPrelim::default());
        let part: MapRef = parts.insert(&mut txn, "0", MapPrelim::default());
        part.insert(&mut txn, "head", support::any(&json!({ "id": "p", "type": "text" })));
        part.insert(&mut txn, "text", TextPrelim::new("as it was"))
    };
    bad.sync(&mut server);
    assert_eq!(server.texts(), ["hello", "there", "as it was"]);
    yrs::Text::push(&text, &mut bad.doc.transact_mut(), ", changed");
    let judgement = bad.sync(&mut server);
    assert_eq!(judgement.heals[0].rule, Rule::MessageChanged);
    assert_eq!(bad.texts(), ["hello", "there", "as it was"]);
}

#[test]
fn what_the_server_appends_is_placed_and_survives_a_restart() {
    let Scene { mut server, good, .. } = scene();
    let deep = (0..40).fold(json!("ground"), |value, _| json!([value]));
    let parts: Vec<Value> =
        vec![json!({ "type": "text", "text": "hi" }), json!({ "type": "data-x", "id": "d", "data": deep })];
    let message = NewMessage {
        id: "m3".to_owned(),
        role: "user".to_owned(),
        parent: Some("m1".to_owned()),
        alternative_to: Some("m2".to_owned()),
        stamp: stamp("agent:coder", NOW),
        req: Some("r".to_owned()),
        model: None,
        parts: parts.clone(),
    };
    let (done, judgement) = server.edit(|pen| conversation::append(pen, &message));
    assert_eq!((done, judgement.accepted[0].seq, judgement.heals.len()), (Ok(true), 3, 0));
    let (done, judgement) = server.edit(|pen| conversation::append(pen, &message));
    assert_eq!((done, judgement.update), (Ok(false), None));
    server.restart();
    good.sync(&mut server);
    let seen = good.messages(Branch::Selected).remove(1);
    assert_eq!((&seen.parts, seen.alternatives.index), (&parts, 2));
    assert_eq!(texts(&server.messages(Branch::Selected)), ["hello", "hi"]);
    let text = serde_json::to_string(&seen).expect("JSON");
    assert_eq!(serde_json::from_str::<Message>(&text).expect("parses"), seen);
}

#[test]
fn a_revocation_is_told_with_what_stands_then() {
    let mut server = Server::new(Kind::Profile);
    let (mut phone, mut laptop) = (Device::new(11, "phone"), Device::new(12, "laptop"));
    let told = |judgement: &Judgement| -> Vec<(String, bool)> {
        judgement.devices.iter().map(|told| (told.device.clone(), told.is_revoked)).collect()
    };
    phone.set("devices", "phone|name", &json!("iPhone"));
    phone.set("devices", "tv|revoked", &json!(true));
    assert_eq!(told(&phone.sync(&mut server)), [("tv".to_owned(), true)]);
    laptop.clock_ms += 10;
    laptop.set("devices", "phone|revoked", &json!(true));
    assert_eq!(told(&laptop.sync(&mut server)), [("phone".to_owned(), true)]);
    // An earlier word of another writer changes nothing; a later one does.
    phone.set("devices", "phone|revoked", &json!(false));
    assert_eq!(told(&phone.sync(&mut server)), [("phone".to_owned(), true)]);
    server.restart();
    phone.clock_ms += 100;
    phone.set("devices", "phone|revoked", &json!(false));
    assert_eq!(told(&phone.sync(&mut server)), [("phone".to_owned(), false)]);
    phone.set("devices", "phone|name", &json!("Old"));
    phone.set("devices", "a b|revoked", &json!(true));
    assert!(told(&phone.sync(&mut server)).is_empty());
    // From the future: it counts from its arrival on.
    phone.clock_ms += 10 * FUTURE_MS;
    phone.set("devices", "tv|revoked", &json!(false));
    let judgement = phone.sync(&mut server);
    assert_eq!(judgement.heals.len(), 1);
    assert_eq!(told(&judgement), [("tv".to_owned(), false)]);
    assert_eq!(judgement.changed, [Changed::DeviceRevoked { device: "tv".to_owned(), revoked: false }]);
}

#[test]
fn what_writers_left_that_are_gone_for_ninety_days_folds_into_the_servers_with_its_time() {
    const DAY: u64 = 24 * 60 * 60 * 1_000;
    let kind = Kind::Index(Quarter { year: 2023, quarter: 4 });
    let (mut server, mut old, mut new) = (Server::new(kind), Device::new(11, "old"), Device::new(12, "new"));
    let title = |device: &Device| device.root("conversations").to_json(&device.doc.transact());
    let field = format!("{ID}|title");
    old.set("conversations", &field, &json!("Rome"));
    old.sync(&mut server);
    let written = title(&old);
    server.now_ms += 91 * DAY;
    new.clock_ms = server.now_ms;
    new.set("conversations", &format!("{ID}|pinned"), &json!(true));
    let judgement = new.sync(&mut server);
    assert!(judgement.heals.is_empty() && judgement.update.is_some());
    old.sync(&mut server);
    for device in [&old, &new] {
        let (yrs::Any::Map(now), yrs::Any::Map(then)) = (title(device), &written) else { panic!("maps") };
        assert_eq!(now.get(&format!("{field}@server")), then.get(&format!("{field}@old.s")));
        assert_eq!(now.len(), 2, "{now:?}");
    }
    // Who comes back writes on under the old name, and is not folded again at once.
    old.clock_ms = server.now_ms;
    old.set("conversations", &field, &json!("Paris"));
    assert!(old.sync(&mut server).update.is_none());
    server.restart();
    old.set("conversations", &field, &json!("Oslo"));
    assert!(old.sync(&mut server).update.is_none());
}
