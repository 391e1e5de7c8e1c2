//! An archive holds all that there is of a user: restored into nothing, it is the same again.

mod support;

use serde_json::{Value, json};
use support::{NOW, User};
use syncline_document::{
    hlc::Hlc,
    ids::{ConversationId, Writer},
    register::Stamp,
    schema::{
        Unfit,
        conversation::{self, Branch, Feedback, NewMessage},
        drafts::{self, Composer},
        index::{self, Setting},
        marks,
        message::State,
        preferences::{self, Provenance, Source},
        profile::{self, DeviceField, FolderField},
    },
};

const ID: &str = "018c1f3e-0000-7000-8000-000000000001";
const OLD: &str = "018c1f3e-0000-7000-8000-000000000002";

fn id(text: &str) -> ConversationId {
    ConversationId::parse(text).expect("an id")
}

fn stamp(writer: &str, ms: u64) -> Stamp {
    Stamp { writer: Writer::parse(writer).expect("a writer"), hlc: Hlc::at(NOW - 1_000_000 + ms) }
}

fn turn(id: &str, role: &str, parent: Option<&str>, beside: Option<&str>, parts: &Value) -> NewMessage {
    NewMessage {
        id: id.to_owned(),
        role: role.to_owned(),
        parent: parent.map(str::to_owned),
        alternative_to: beside.map(str::to_owned),
        stamp: stamp("phone.a", id.len() as u64),
        req: (role == "user").then(|| format!("r-{id}")),
        model: (role == "assistant").then(|| "gpt-5".to_owned()),
        parts: parts.as_array().expect("parts").clone(),
    }
}

fn text(text: &str) -> Value {
    json!([{ "type": "text", "text": text }])
}

fn converse(user: &mut User) {
    let deep = (0..30).fold(json!("ground"), |below, _| json!([below]));
    let parts = json!([{ "type": "data-x", "data": { "deep": deep, "n": [0.1, 0.30000000000000004, 1e300, u64::MAX] } }]);
    let turns = [
        turn("q", "user", None, None, &text("Hi")),
        turn("a1", "assistant", Some("q"), None, &text("Hello")),
        turn("a2", "assistant", Some("q"), Some("a1"), &parts),
        turn("q2", "user", Some("a1"), None, &text("More")),
        turn("e2", "user", Some("a1"), Some("q2"), &text("Else")),
        turn("lost", "assistant", Some("q2"), None, &text("secret")),
        turn("live", "assistant", Some("e2"), None, &text("so f")),
        turn("top", "user", None, Some("q"), &text("Another start")),
    ];
    for turn in turns {
        let (done, _) = user.conversation(&id(ID)).write(|pen| conversation::append(pen, &turn));
        assert_eq!(done, Ok(true));
    }
    let (done, _) = user.conversation(&id(ID)).write(|pen| {
        conversation::create(pen, &id(ID), "ada", 5, Some("phone"));
        conversation::select(pen, None, &stamp("phone.a", 5), "q")?;
        conversation::select(pen, Some("a1"), &stamp("phone.a", 6), "q2")?;
        let feedback = Feedback { v: -1, tags: vec!["wrong".to_owned()], text: Some("no".to_owned()) };
        conversation::set_feedback(pen, "a1", &stamp("phone.a", 7), Some(&feedback))?;
        conversation::set_hidden(pen, "e2", &stamp("phone.a", 8), true)?;
        conversation::set_state(pen, "a1", State::Stopped, Some(&json!({ "by": "phone" })))?;
        conversation::set_state(pen, "live", State::Interrupted, None)?;
        conversation::set_facts(pen, "a2", &json!({ "usage": { "in": 3 } }))?;
        conversation::erase(pen, "lost")
    });
    assert_eq!(done, Ok(()));
}

fn arrange(user: &mut User) {
    let (done, _) = user.index(&id(ID)).write(|pen| {
        index::enter(pen, &id(ID), &stamp("phone.a", 1), 5);
        for setting in [
            Setting::Title("Rome".to_owned()),
            Setting::Pinned(true),
            Setting::Folder(Some("f1".to_owned())),
            Setting::Tag("trip|x@y".to_owned(), true),
        ] {
            index::set(pen, &id(ID), &stamp("phone.a", 2), &setting)?;
        }
        index::set(pen, &id(ID), &stamp("laptop.a", 1), &Setting::Title("Paris".to_owned()))?;
        index::enter(pen, &id(OLD), &stamp("phone.a", 1), 7);
        index::set_autotitle(pen, &id(OLD), Hlc::at(9), "Automatic")?;
        index::set(pen, &id(OLD), &stamp("phone.a", 3), &Setting::Archived(true))?;
        index::set(pen, &id(OLD), &stamp("phone.a", 4), &Setting::Deleted { seen: Some(2) })
    });
    assert_eq!(done, Ok(()));
    let old = turn("m", "user", None, None, &text("Old"));
    let (done, _) = user.conversation(&id(OLD)).write(|pen| {
        conversation::create(pen, &id(OLD), "ada", 7, None);
        conversation::append(pen, &old)
    });
    assert_eq!(done, Ok(true));
    let (done, _) = user.marks.write(|pen| marks::set(pen, &id(ID), &stamp("phone.a", 9), 3, Some("a2")));
    assert_eq!(done, Ok(()));
    let (done, _) = user.drafts.write(|pen| {
        let composer = |text: &str, req: &str| Composer {
            text: text.to_owned(),
            attachments: vec![json!({ "type": "file", "url": "x" })],
            model: Some("m".to_owned()),
            req: req.to_owned(),
        };
        drafts::set(pen, &id(ID), &stamp("phone.a", 1), &composer("on the phone", "r1"))?;
        drafts::set(pen, &id(ID), &stamp("laptop.a", 2), &composer("on the laptop", "r2"))?;
        drafts::take_over(pen, &id(ID), &stamp("tablet.a", 3), &stamp("phone.a", 0).writer)
    });
    assert_eq!(done, Ok(()));
}

fn prefer(user: &mut User) {
    let inferred = |source| Provenance {
        source,
        confidence: Some(0.1 + 0.2),
        evidence: Some(json!([{ "c": ID }])),
        ttl: Some(60),
    };
    let (done, _) = user.profile.write(|pen| {
        let at = |writer: &str, ms| stamp(writer, ms);
        preferences::set(pen, "tone", &at("phone.a", 1), &json!("dry"), &Provenance::explicit())?;
        preferences::set(pen, "tone", &at("agent:x", 9), &json!("warm"), &inferred(Source::Inferred))?;
        preferences::set(
            pen,
            "city",
            &at("agent:x", 2),
            &json!({ "name": "Rome" }),
            &inferred(Source::Inferred),
        )?;
        preferences::block(pen, "diet", &at("phone.a", 3))?;
        preferences::block(pen, "pace", &at("phone.a", 3))?;
        preferences::set(pen, "pace", &at("server", 8), &json!("slow"), &inferred(Source::Imported))?;
        preferences::set(pen, "gone", &at("phone.a", 1), &json!(1), &Provenance::explicit())?;
        preferences::clear(pen, "gone", &at("phone.a", 2))?;
        profile::set_device(pen, "d1", &at("phone.a", 1), &DeviceField::Name("iPhone".to_owned()))?;
        profile::set_device(pen, "d1", &at("phone.a", 1), &DeviceField::Kind("phone".to_owned()))?;
        profile::set_device(pen, "d2", &at("phone.a", 1), &DeviceField::Revoked(true))?;
        profile::set_folder(pen, "f1", &at("phone.a", 1), &FolderField::Name("Trips".to_owned()))?;
        profile::set_folder(pen, "f2", &at("phone.a", 1), &FolderField::Parent(Some("f1".to_owned())))?;
        profile::set_folder(pen, "f2", &at("phone.a", 1), &FolderField::Order("a0".to_owned()))?;
        profile::set_folder(pen, "f2", &at("phone.a", 1), &FolderField::Deleted(true))
    });
    assert_eq!(done, Ok(()));
}

fn ada() -> User {
    let mut user = User::new();
    converse(&mut user);
    arrange(&mut user);
    prefer(&mut user);
    user
}

#[test]
fn nothing_is_lost_but_the_values_that_lost() {
    let mut user = ada();
    let archive = user.export();
    let mut other = User::new();
    assert_eq!(other.restore(&archive), (vec![], true));
    for branch in [Branch::All, Branch::Selected] {
        assert_eq!(user.read(&id(ID), branch), other.read(&id(ID), branch));
    }
    assert_eq!(user.read(&id(OLD), Branch::All), other.read(&id(OLD), Branch::All));
    assert_eq!((user.marks(), user.drafts()), (other.marks(), other.drafts()));
    let (mut profile, mut entries) = (user.profile(), user.entries());
    assert!(profile.preferences.iter().any(|preference| preference.conflicts.len() == 1));
    assert!(entries.entries.iter().any(|entry| entry.conflicts.len() == 1));
    // What was blocked beside a value that came later stays blocked, with the same value.
    assert!(
        profile.preferences.iter().any(|pace| pace.name == "pace" && pace.blocked && pace.value == "slow")
    );
    profile.preferences.iter_mut().for_each(|preference| preference.conflicts.clear());
    entries.entries.iter_mut().for_each(|entry| entry.conflicts.clear());
    assert_eq!((profile, entries), (other.profile(), other.entries()));
    assert!(other.export() == archive, "an archive of what was restored is the same archive");
}

#[test]
fn restoring_again_changes_nothing_and_keeps_what_came_later() {
    let mut user = ada();
    let archive = user.export();
    let mut other = User::new();
    other.restore(&archive);
    let (left, is_changed) = other.restore(&archive);
    assert_eq!((left, is_changed), (vec![], false));
    let later = Stamp { writer: stamp("phone.a", 0).writer, hlc: Hlc::at(NOW + 1) };
    other
        .index(&id(ID))
        .write(|pen| index::set(pen, &id(ID), &later, &Setting::Title("Later".to_owned())))
        .0
        .expect("sets");
    other.restore(&archive);
    let title = |user: &mut User| user.entries().entries[0].title.clone();
    assert_eq!(title(&mut other).as_deref(), Some("Later"));
}

#[test]
fn a_message_that_was_being_written_is_interrupted_where_it_is_restored() {
    let mut user = User::new();
    let live = turn("live", "assistant", None, None, &text("so f"));
    let (done, _) = user.conversation(&id(ID)).write(|pen| {
        conversation::create(pen, &id(ID), "ada", 5, None);
        conversation::append(pen, &live)?;
        conversation::set_state(pen, "live", State::Streaming, None)
    });
    assert_eq!(done, Ok(true));
    let mut other = User::new();
    other.restore(&user.export());
    assert_eq!(other.read(&id(ID), Branch::All).messages[0].state, State::Interrupted);
}

#[test]
fn what_does_not_fit_is_named_and_stops_nothing() {
    let mut user = ada();
    let mut profile = user.profile();
    profile.devices[0].id = "no id".to_owned();
    let manifest =
        serde_json::from_value(json!({ "format": "x", "version": 1, "user": "ada", "exportedAt": 1 }));
    let mut restore = syncline_exchange::archive::restore(&manifest.expect("a manifest"), NOW);
    let mut other = User::new();
    other.profile.write(|pen| restore.profile(pen, &profile));
    assert!(restore.left().iter().all(|left| left.what == "device no id" && left.why == Unfit::Name));
    assert_eq!((restore.left().len(), other.profile().folders.len()), (2, 2));
}
