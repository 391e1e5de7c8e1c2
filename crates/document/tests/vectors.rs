//! The model as test vectors for other languages: `tests/vectors/model.json`. With `SYNCLINE_WRITE_VECTORS=1` this test
//! writes the file; else it checks that the file still says what this crate does.

mod support;

use serde_json::{Value, json};
use support::{Device, ID, NOW, Server, conversation_id, stamp, writer};
use syncline_document::{
    Replica,
    hlc::Hlc,
    ids::Quarter,
    schema::{
        Kind,
        conversation::{self, Branch},
        drafts, index, marks, preferences, profile,
    },
};
use syncline_protocol::names::DocumentName;
use yrs::{Map as _, MapPrelim, MapRef, TextPrelim, Transact as _};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/model.json");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

/// What a document says to people.
fn view(document: &str, replica: &mut Replica, now_ms: u64) -> Value {
    match Kind::of(&DocumentName::parse(document).expect("a name")) {
        Kind::Profile => json!({
            "preferences": preferences::read(replica, now_ms).expect("reads"),
            "devices": profile::devices(replica).expect("reads"),
            "folders": profile::folders(replica).expect("reads"),
        }),
        Kind::Index(_) => json!({ "conversations": index::read(replica).expect("reads") }),
        Kind::Marks => json!({ "marks": marks::read(replica).expect("reads") }),
        Kind::Drafts => json!({ "drafts": drafts::read(replica).expect("reads") }),
        Kind::Conversation(_) => json!({
            "meta": conversation::meta(replica).expect("reads"),
            "selected": conversation::messages(replica, Branch::Selected).expect("reads"),
            "all": conversation::messages(replica, Branch::All).expect("reads"),
        }),
        Kind::FreeForm => panic!("no schema"),
    }
}

struct Case {
    name: &'static str,
    document: String,
    updates: Vec<Vec<u8>>,
}

fn case(name: &'static str, document: &str, devices: &[&Device]) -> Case {
    let updates = devices.iter().map(|device| device.diff(&[0])).collect();
    Case { name, document: document.to_owned(), updates }
}

fn on_server(name: &'static str, document: &str, server: &mut Server) -> Case {
    let state = server.replica.encode_state().expect("encodes");
    Case { name, document: document.to_owned(), updates: vec![state.to_vec()] }
}

fn two() -> (Device, Device) {
    (Device::new(11, "phone"), Device::new(22, "laptop"))
}

fn profile_cases() -> Vec<Case> {
    let document = "ada/profile";
    let (mut phone, mut laptop) = two();
    laptop.clock_ms = NOW + 1000;
    phone.set_with("preferences", "tone", &json!("dry"), &json!({ "source": "explicit" }));
    laptop.set_with(
        "preferences",
        "tone",
        &json!("warm"),
        &json!({ "source": "inferred", "confidence": 0.75, "evidence": [{ "conversation": ID }] }),
    );
    laptop.set_with("preferences", "units", &json!("metric"), &json!({ "source": "inferred", "ttl": 1 }));
    laptop.set_with("preferences", "theme", &json!("dark"), &json!({ "source": "inferred" }));
    laptop.clock_ms = NOW + 2000;
    phone.clock_ms = NOW + 3000;
    phone.set_with("preferences", "theme", &json!(null), &json!({ "source": "explicit", "op": "block" }));
    phone.set_with("preferences", "lang", &json!(null), &json!({ "source": "explicit", "op": "clear" }));
    laptop.set_with("preferences", "lang", &json!("de"), &json!({ "source": "imported" }));
    let preferences = case("preferences: rank, time, block, clear, ttl", document, &[&phone, &laptop]);
    let (mut phone, mut laptop) = two();
    phone.set("devices", "phone|name", &json!("iPhone"));
    phone.set("devices", "phone|kind", &json!("phone"));
    laptop.set("devices", "phone|revoked", &json!(true));
    phone.set("folders", "work|name", &json!("Work"));
    phone.set("folders", "work|parent", &json!("home"));
    laptop.set("folders", "home|parent", &json!("work"));
    laptop.set("folders", "home|name", &json!("Home"));
    laptop.set("folders", "sub|parent", &json!("home"));
    phone.set("folders", "home|order", &json!("a0"));
    let rest = case("devices, and folders moved into each other", document, &[&phone, &laptop]);
    vec![preferences, rest]
}

fn list_cases() -> Vec<Case> {
    let document = "ada/index/2023-q4";
    let (mut phone, mut laptop) = two();
    let field = |name: &str| format!("{ID}|{name}");
    laptop.clock_ms = NOW + 10;
    phone.set("conversations", &field("title"), &json!("Rome"));
    laptop.set("conversations", &field("title"), &json!("Paris"));
    phone.put("conversations", &format!("{ID}|autotitle@server"), &json!([Hlc::at(NOW + 99), "A trip"]));
    phone.set("conversations", &field("pinned"), &json!(true));
    laptop.set("conversations", &field("tag:a@b"), &json!(true));
    laptop.set_with("conversations", &field("deleted"), &json!(true), &json!({ "seq": 4 }));
    for (key, value) in
        [("no-writer", json!(1)), ("x|title@phone.s", json!(["yesterday", 1])), ("@a.b", json!([]))]
    {
        laptop.put("conversations", key, &value);
    }
    let renamed = case("both rename; tags, deletion; malformed registers", document, &[&phone, &laptop]);
    let (mut phone, mut laptop) = two();
    phone.set_with("marks", &field("read"), &json!(9), &json!("m9"));
    laptop.clock_ms = NOW + 10;
    laptop.set_with("marks", &field("read"), &json!(3), &json!("m3"));
    let marked = case("one marks read, the other unread later", "ada/marks", &[&phone, &laptop]);
    let (mut phone, _) = two();
    phone.set("drafts", ID, &json!({ "text": "hi", "attachments": [], "req": "r1" }));
    let mut server = Server::new(Kind::Drafts);
    phone.sync(&mut server);
    let (taken, _) = server.edit(|pen| {
        drafts::take_over(pen, &conversation_id(), &stamp("laptop.s", NOW + 50), &writer("phone.s"))
    });
    assert_eq!(taken, Ok(()));
    vec![renamed, marked, on_server("a draft is taken over", "ada/drafts", &mut server)]
}

fn conversation_cases() -> Vec<Case> {
    let document = format!("ada/c/{ID}");
    let mut server = Server::conversation();
    let (mut phone, mut laptop) = two();
    for (key, value) in
        [("v", json!(1)), ("id", json!(ID)), ("owner", json!("ada")), ("createdAt", json!(NOW))]
    {
        phone.put("meta", key, &value);
    }
    phone.say("m1", None, "hello", &json!({}));
    phone.sync(&mut server);
    laptop.sync(&mut server);
    phone.sync(&mut server);
    phone.say("m2", Some("m1"), "from the phone", &json!({ "req": "r" }));
    laptop.say("m3", Some("m1"), "from the laptop", &json!({}));
    laptop.say("m4", Some("m1"), "from the phone", &json!({ "req": "r" }));
    let pending = case("not accepted yet: last, by time and id", &document, &[&phone, &laptop]);
    phone.sync(&mut server);
    laptop.sync(&mut server);
    let chained = on_server("accepted: chained, and one request is one message", &document, &mut server);
    laptop.say("m5", Some("m1"), "otherwise", &json!({ "alt": "m2", "role": "assistant", "model": "x" }));
    laptop.set("selected", "m1", &json!("m2"));
    laptop.set("feedback", "m1", &json!({ "v": 1, "tags": ["kind"] }));
    laptop.set("hidden", "m3", &json!(true));
    laptop.sync(&mut server);
    let chosen = on_server("alternatives, choice, feedback, hidden", &document, &mut server);
    let (erased, _) = server.edit(|pen| conversation::erase(pen, "m2"));
    assert_eq!(erased, Ok(()));
    let erased = on_server("an erased message", &document, &mut server);
    vec![pending, chained, chosen, erased, streamed(&document), hostile(&document)]
}

fn streamed(document: &str) -> Case {
    let (mut phone, _) = two();
    phone.say("s", None, "-", &json!({ "role": "assistant" }));
    {
        let messages = phone.root("messages");
        let mut txn = phone.doc.transact_mut();
        let Some(yrs::Out::YMap(container)) = messages.get(&txn, "s") else { panic!("a message") };
        let parts: MapRef = container.insert(&mut txn, "parts", MapPrelim::default());
        for (ordinal, head) in [
            ("10", json!({ "id": "p2", "type": "text" })),
            ("2", json!({ "id": "d", "type": "data-x", "data": { "$json": "[[1]]" } })),
        ] {
            let part: MapRef = parts.insert(&mut txn, ordinal, MapPrelim::default());
            part.insert(&mut txn, "head", support::any(&head));
            if ordinal == "10" {
                part.insert(&mut txn, "text", TextPrelim::new("streamed 😀"));
                part.insert(&mut txn, "state", "done");
            }
        }
    }
    case("streamed parts, and a value kept as text", document, &[&phone])
}

fn hostile(document: &str) -> Case {
    let (mut phone, _) = two();
    phone.say("a", Some("b"), "circle", &json!({}));
    phone.say("b", Some("a"), "circle", &json!({}));
    phone.say("c", None, "pending", &json!({}));
    phone.put("accepted", "a", &json!([1, "b"]));
    phone.put("accepted", "b", &json!([2, "a"]));
    phone.put("accepted", "gone", &json!([3, null]));
    phone.put("accepted", "c", &json!(["what"]));
    phone.put("messages", "d", &json!("no message"));
    phone.raw_message("e", &json!({ "role": 7 }), &json!([]));
    phone.set("selected", "root", &json!("c"));
    case("not healed yet: forged facts and malformed messages end every walk", document, &[&phone])
}

fn write() {
    let cases: Vec<Value> = [profile_cases(), list_cases(), conversation_cases()]
        .into_iter()
        .flatten()
        .map(|case| {
            let now = NOW + 60_000;
            let mut replica = Replica::load(case.updates.iter().map(Vec::as_slice)).expect("loads");
            let view = view(&case.document, &mut replica, now);
            let updates: Vec<String> = case.updates.iter().map(|update| hex(update)).collect();
            json!({ "name": case.name, "document": case.document, "now": now, "updates": updates, "view": view })
        })
        .collect();
    let times = [0_u64, 951_782_399_999, 1_711_929_599_999, 1_711_929_600_000, 1_767_225_600_000];
    let quarters = times.map(|ms| json!({ "ms": ms, "quarter": Quarter::at(ms).to_string() }));
    let file = json!({
        "cases": cases,
        "hlc": {
            "good": ["1700000000000-0000", "1700000000000-00ff"],
            "bad": ["", "1700000000000", "1700000000000-00FF", "170000000000-0000", "1700000000000-00000"],
        },
        "quarters": quarters,
    });
    let text = serde_json::to_string_pretty(&file).expect("JSON");
    std::fs::write(FILE, text + "\n").expect("writes");
}

#[test]
fn the_vectors_hold() {
    if std::env::var_os("SYNCLINE_WRITE_VECTORS").is_some() {
        write();
    }
    let file: Value = serde_json::from_str(&std::fs::read_to_string(FILE).expect("the file")).expect("JSON");
    let cases = file["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 11);
    for case in cases {
        let (name, document) = (&case["name"], case["document"].as_str().expect("a name"));
        let updates = case["updates"].as_array().expect("updates").iter();
        let mut updates: Vec<Vec<u8>> = updates.map(|hex| bytes(hex.as_str().expect("hex"))).collect();
        for _ in 0..2 {
            let mut replica = Replica::load(updates.iter().map(Vec::as_slice)).expect("loads");
            let now = case["now"].as_u64().expect("a time");
            assert_eq!(view(document, &mut replica, now), case["view"], "{name}");
            updates.reverse();
        }
    }
    for text in file["hlc"]["good"].as_array().expect("times") {
        let text = text.as_str().expect("text");
        assert_eq!(text.parse::<Hlc>().map(|hlc| hlc.to_string()).as_deref(), Ok(text));
    }
    for text in file["hlc"]["bad"].as_array().expect("times") {
        assert!(text.as_str().expect("text").parse::<Hlc>().is_err());
    }
    for case in file["quarters"].as_array().expect("quarters") {
        let quarter = Quarter::at(case["ms"].as_u64().expect("a time"));
        assert_eq!(quarter.to_string(), case["quarter"].as_str().expect("text"));
    }
}
