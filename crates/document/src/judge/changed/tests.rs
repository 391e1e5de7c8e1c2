//! What is told, and what is not.

use super::{Changed, note::TOLD};
use crate::{
    Ledger, Replica,
    hlc::{Clock, Hlc},
    ids::{ConversationId, Writer},
    register::Stamp,
    schema::{self, Kind, drafts, index, marks, preferences},
};

const ID: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";

fn stamp(writer: &str, ms: u64) -> Stamp {
    Stamp { writer: Writer::parse(writer).expect("a writer"), hlc: Hlc::at(ms) }
}

struct Server(Ledger, Replica, Clock);

impl Server {
    fn new(name: &str) -> Self {
        let name = syncline_protocol::names::DocumentName::parse(name).expect("a name");
        let mut replica = Replica::of_client(1);
        let ledger = Ledger::of(Kind::of(&name), &mut replica).expect("a ledger");
        Self(ledger, replica, Clock::new())
    }

    fn edit(&mut self, write: impl FnOnce(&mut crate::Pen<'_, '_>)) -> (Vec<Changed>, usize) {
        self.1.edit(write).expect("writes");
        let judgement = self.0.judge(&mut self.1, &mut self.2, 1 << 40).expect("judges");
        (judgement.changed, judgement.more_changed)
    }
}

#[test]
fn only_what_holds_is_told() {
    let id = ConversationId::parse(ID).expect("an id");
    let conversation = || ID.to_owned();
    let mut server = Server::new("ada/index/2022-q1");
    let mut set = |writer: &str, ms, setting: index::Setting| {
        server.edit(|pen| index::set(pen, &id, &stamp(writer, ms), &setting).expect("fits")).0
    };
    let title = |text: &str| index::Setting::Title(text.to_owned());
    let renamed = || vec![Changed::ConversationRenamed { conversation: conversation(), auto: false }];
    assert_eq!(set("phone.a", 20, title("Rome")), renamed());
    assert_eq!(set("laptop.a", 10, title("Paris")), [], "it lost");
    assert_eq!(set("laptop.a", 30, title("Rome")), [], "the same once more");
    assert_eq!(set("laptop.a", 40, title("Oslo")), renamed());
    let deleted = index::Setting::Deleted { seen: None };
    assert_eq!(set("phone.a", 50, index::Setting::Restored), []);
    assert_eq!(set("phone.a", 60, deleted), [Changed::ConversationDeleted { conversation: conversation() }]);
    let restored = [Changed::ConversationRestored { conversation: conversation() }];
    assert_eq!(set("phone.a", 70, index::Setting::Restored), restored);
    let (told, _) = server.edit(|pen| {
        for tag in ["a", "b"] {
            let tag = index::Setting::Tag(tag.to_owned(), true);
            index::set(pen, &id, &stamp("phone.a", 80), &tag).expect("fits");
        }
    });
    assert_eq!(told, [Changed::ConversationTagged { conversation: conversation() }]);
}

#[test]
fn an_erased_conversation_is_told_as_that_and_as_nothing_else() {
    let id = ConversationId::parse(ID).expect("an id");
    let writer = Writer::parse("phone.a").expect("a writer");
    let erase = |server: &mut Server, kind: Kind| {
        let told = server.edit(|pen| {
            schema::erase_conversation(pen, &kind, &id, Hlc::at(50));
        });
        told.0
    };
    let mut server = Server::new("ada/index/2022-q1");
    for setting in [index::Setting::Title("Rome".to_owned()), index::Setting::Tag("a".to_owned(), true)] {
        server.edit(|pen| index::set(pen, &id, &stamp("phone.a", 20), &setting).expect("fits"));
    }
    let told = erase(&mut server, Kind::Index(id.quarter()));
    assert_eq!(told, [Changed::ConversationErased { conversation: ID.to_owned() }]);
    assert_eq!(erase(&mut server, Kind::Index(id.quarter())), [], "once");
    let mut server = Server::new("ada/marks");
    server.edit(|pen| marks::set(pen, &id, &stamp("phone.a", 20), 3, None).expect("fits"));
    assert_eq!(erase(&mut server, Kind::Marks), []);
    let mut server = Server::new("ada/drafts");
    let draft = drafts::Composer {
        text: "hello".to_owned(),
        attachments: Vec::new(),
        model: None,
        req: "r".to_owned(),
    };
    server.edit(|pen| drafts::set(pen, &id, &stamp("phone.a", 20), &draft).expect("fits"));
    let removed = Changed::DraftRemoved { conversation: ID.to_owned(), writer: writer.to_string() };
    assert_eq!(erase(&mut server, Kind::Drafts), [removed]);
}

#[test]
fn many_changes_are_counted() {
    let mut server = Server::new("ada/marks");
    let (told, more) = server.edit(|pen| {
        for n in 0..100 {
            let id = ConversationId::parse(&format!("{}{n:03}", &ID[..33])).expect("an id");
            marks::set(pen, &id, &stamp("phone.a", 20), n, None).expect("fits");
        }
    });
    assert_eq!((told.len(), more), (TOLD, 36));
    assert!(matches!(told[7], Changed::ConversationRead { seq: 7, .. }), "{:?}", told[7]);
}

#[test]
fn a_preference_tells_what_holds_of_it() {
    let mut server = Server::new("ada/profile");
    let name = || "theme".to_owned();
    let value = serde_json::json!("dark");
    let explicit = preferences::Provenance::explicit();
    let (told, _) = server.edit(|pen| {
        preferences::set(pen, "theme", &stamp("phone.a", 20), &value, &explicit).expect("fits");
    });
    assert_eq!(told, [Changed::PreferenceSet { name: name() }]);
    let (told, _) = server.edit(|pen| {
        preferences::block(pen, "theme", &stamp("phone.a", 30)).expect("fits");
    });
    assert_eq!(told, [Changed::PreferenceBlocked { name: name() }]);
    let (told, _) = server.edit(|pen| {
        preferences::clear(pen, "theme", &stamp("phone.a", 40)).expect("fits");
    });
    assert_eq!(told, [Changed::PreferenceCleared { name: name() }]);
}
