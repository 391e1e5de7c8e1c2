//! What is erased leaves the encoded state, whatever form it had, and does not come back with any device.

mod support;

use serde_json::json;
use support::{Device, ID, NOW, Server, conversation_id, stamp};
use syncline_document::{
    Rule,
    hlc::Hlc,
    ids::Quarter,
    record::{Entry, EntryKind, Origin, Stored},
    schema::{
        self, Kind,
        conversation::{self, Branch},
        drafts::{self, Composer},
        index, marks,
    },
};
use yrs::{Map as _, MapPrelim, MapRef, TextPrelim, Transact as _};

const QUARTER: Kind = Kind::Index(Quarter { year: 2023, quarter: 4 });

fn tells(server: &mut Server) -> bool {
    let bytes = server.replica.encode_state().expect("encodes");
    let state = bytes.windows(6).any(|window| window == b"secret");
    // What a later start makes of the journal by replay.
    server.restart();
    let bytes = server.replica.encode_state().expect("encodes");
    state || bytes.windows(6).any(|window| window == b"secret")
}

#[test]
fn streamed_text_heads_states_and_repetitions_go_too() {
    let (mut server, mut device) = (Server::conversation(), Device::new(11, "phone"));
    device.say("m1", None, "secret", &json!({ "req": "r1", "note": "secret" }));
    device.say("other", None, "secret", &json!({ "req": "r1" }));
    device.say("live", Some("m1"), "-", &json!({ "role": "assistant" }));
    {
        let messages = device.root("messages");
        let mut txn = device.doc.transact_mut();
        let Some(yrs::Out::YMap(container)) = messages.get(&txn, "live") else { panic!("a message") };
        let parts: MapRef = container.insert(&mut txn, "parts", MapPrelim::default());
        let part: MapRef = parts.insert(&mut txn, "0", MapPrelim::default());
        part.insert(&mut txn, "head", support::any(&json!({ "id": "p", "type": "text" })));
        let text = part.insert(&mut txn, "text", TextPrelim::new("sec"));
        yrs::Text::push(&text, &mut txn, "ret");
    }
    device.sync(&mut server);
    let (done, _) = server.edit(|pen| {
        let error = json!({ "error": "secret" });
        conversation::set_state(pen, "live", conversation_state(), Some(&error))
    });
    assert_eq!(done, Ok(true));
    assert!(tells(&mut server));
    for (asked, went, requests) in [("other", vec!["other", "m1"], 2), ("live", vec!["live"], 0)] {
        let (erased, judgement) = server.edit(|pen| conversation::erase_repeats(pen, asked));
        let erased = erased.expect("is there");
        assert_eq!(
            (&erased.messages, erased.requests.len()),
            (&went.iter().map(|id| (*id).to_owned()).collect(), requests)
        );
        let mut told = judgement.erased;
        told.sort_by(|a, b| b.cmp(a));
        assert_eq!(told, went);
    }
    let (again, judgement) = server.edit(|pen| conversation::erase_repeats(pen, "m1"));
    assert_eq!(again.expect("is there").messages, ["other", "m1"], "the same answer");
    assert!(judgement.erased.is_empty() && judgement.update.is_none());
    assert!(!tells(&mut server));
    assert!(server.messages(Branch::All).iter().all(|message| message.erased));
}

fn conversation_state() -> syncline_document::schema::message::State {
    syncline_document::schema::message::State::Error
}

#[test]
fn what_a_device_brings_back_is_healed_and_told() {
    let (mut server, mut stale) = (Server::conversation(), Device::new(11, "phone"));
    stale.say("m1", None, "secret", &json!({}));
    stale.sync(&mut server);
    let (done, _) = server.edit(|pen| conversation::erase(pen, "m1"));
    assert_eq!(done, Ok(()));
    stale.tamper("m1", "parts", &json!([{ "type": "text", "text": "secret, edited" }]));
    stale.set("feedback", "m1", &json!({ "v": 1, "text": "a good secret" }));
    let judgement = stale.sync(&mut server);
    let rules: Vec<Rule> = judgement.heals.iter().map(|heal| heal.rule).collect();
    assert_eq!(
        (rules, judgement.revived),
        (vec![Rule::Erased], true),
        "its wording lost, and is told all the same"
    );
    assert!(!tells(&mut server) && stale.messages(Branch::All)[0].erased);
    stale.tamper("m1", "parts", &json!([{ "type": "text", "text": "secret, once more" }]));
    let judgement = stale.sync(&mut server);
    assert_eq!((judgement.heals[0].rule, judgement.revived), (Rule::MessageChanged, true));
    stale.put("facts", "m1", &json!({ "quote": "secret" }));
    assert!(stale.sync(&mut server).revived && !tells(&mut server));
    // Other messages are no such matter.
    stale.say("m2", None, "hello", &json!({}));
    assert!(!stale.sync(&mut server).revived);
    stale.tamper("m2", "parts", &json!([]));
    assert!(!stale.sync(&mut server).revived);
}

#[test]
fn nothing_is_kept_of_an_erased_conversation_in_what_it_shares_with_others() {
    let id = conversation_id();
    let other = ID.replace("00000001", "00000002");
    let fields =
        [(QUARTER, "conversations", "|title"), (Kind::Marks, "marks", "|read"), (Kind::Drafts, "drafts", "")];
    for (kind, root, field) in fields {
        let (mut server, mut stale) = (Server::new(kind.clone()), Device::new(11, "phone"));
        stale.set(root, &format!("{ID}{field}"), &json!({ "text": "secret", "req": "r" }));
        stale.set(root, &format!("{other}{field}"), &json!("kept"));
        stale.sync(&mut server);
        let (went, _) = server.edit(|pen| schema::erase_conversation(pen, &kind, &id, Hlc::at(NOW)));
        assert!(went == 1 && !tells(&mut server), "{root}");
        let (again, judgement) =
            server.edit(|pen| schema::erase_conversation(pen, &kind, &id, Hlc::at(NOW + 9)));
        assert!(again == 0 && judgement.update.is_none(), "{root}");
        stale.set(root, &format!("{ID}{field}"), &json!("secret again"));
        stale.put(root, &format!("{ID}|more@x.y"), &json!("secret, and no register"));
        let judgement = stale.sync(&mut server);
        assert!(judgement.revived && judgement.heals.iter().all(|heal| heal.rule == Rule::Erased), "{root}");
        assert_eq!(judgement.heals.len(), 2, "{root}");
        assert!(!tells(&mut server), "{root}");
        stale.delete(root, &format!("{ID}|erased@server"));
        let judgement = stale.sync(&mut server);
        assert_eq!(judgement.heals[0].rule, Rule::ServerRegister, "{root}: the mark stays");
        assert_eq!(stale.root(root).len(&stale.doc.transact()), 2, "{root}: the mark and the other one");
    }
}

#[test]
fn what_the_server_is_asked_to_write_of_an_erased_conversation_goes_too() {
    let id = conversation_id();
    let mut server = Server::new(QUARTER);
    server.edit(|pen| schema::erase_conversation(pen, &QUARTER, &id, Hlc::at(NOW)));
    let (_, judgement) = server.edit(|pen| {
        index::enter(pen, &id, &stamp("phone.a", NOW + 1), NOW);
        index::set(pen, &id, &stamp("phone.a", NOW + 1), &index::Setting::Title("secret".to_owned()))
    });
    assert!(judgement.revived && !tells(&mut server));
    assert_eq!(index::read(&mut server.replica), Ok(vec![]));
    let mut server = Server::new(Kind::Drafts);
    server.edit(|pen| schema::erase_conversation(pen, &Kind::Drafts, &id, Hlc::at(NOW)));
    let composer =
        Composer { text: "secret".to_owned(), attachments: vec![], model: None, req: "r".to_owned() };
    server.edit(|pen| drafts::set(pen, &id, &stamp("phone.a", NOW + 1), &composer)).0.expect("fits");
    assert_eq!((drafts::read(&mut server.replica), tells(&mut server)), (Ok(vec![]), false));
    let mut server = Server::new(Kind::Marks);
    server.edit(|pen| schema::erase_conversation(pen, &Kind::Marks, &id, Hlc::at(NOW)));
    server.edit(|pen| marks::set(pen, &id, &stamp("phone.a", NOW + 1), 7, None)).0.expect("fits");
    assert!(marks::read(&mut server.replica).expect("reads").is_empty());
}

#[test]
fn a_document_is_folded_without_what_waits_in_it() {
    let mut device = Device::new(11, "phone");
    device.say("m1", None, "hello", &json!({}));
    let entry = |sequence, kind, bytes: Vec<u8>| Entry {
        document: syncline_protocol::names::DocumentName::parse("ada/notes").expect("a name"),
        sequence,
        kind,
        origin: Origin { user: None, device: None, at_ms: 0 },
        bytes: bytes.into(),
    };
    // It goes on behind a block that is not here.
    let pending = vec![1, 1, 2, 5, 0x84, 2, 4, 1, b'x', 0];
    let tail = vec![entry(1, EntryKind::Update, device.diff(&[0])), entry(2, EntryKind::Pending, pending)];
    let stored = Stored { tail, sequence: 2, ..Stored::default() };
    assert_eq!(syncline_document::fold::fold(&stored).expect("folds").pending.len(), 1);
    let folded = syncline_document::fold::fold_erased(&stored).expect("folds");
    assert_eq!((folded.sequence, folded.pending.len()), (2, 0));
}
