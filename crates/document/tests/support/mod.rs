//! Devices as plain Yjs documents, and a server that is a replica under the judge.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use serde_json::{Value, json};
use syncline_document::{
    Absorbed, Judgement, Ledger, Pen, Replica,
    hlc::{Clock, Hlc},
    ids::{ConversationId, Quarter, Writer},
    register::Stamp,
    schema::{
        Kind,
        conversation::{self, Branch},
        message::Message,
    },
};
use syncline_protocol::limits::Limits;
use yrs::{
    Any, Doc, Map as _, MapPrelim, MapRef, OffsetKind, Options, ReadTxn as _, StateVector, Transact as _,
    Update,
    updates::{decoder::Decode as _, encoder::Encode as _},
};

/// The conversation of these tests.
pub(crate) const ID: &str = "018c1f3e-0000-7000-8000-000000000001";
/// The server's time when they begin.
pub(crate) const NOW: u64 = 1_700_000_000_000;

pub(crate) fn conversation_id() -> ConversationId {
    ConversationId::parse(ID).expect("an id")
}

pub(crate) fn writer(text: &str) -> Writer {
    Writer::parse(text).expect("a writer")
}

pub(crate) fn stamp(text: &str, ms: u64) -> Stamp {
    Stamp { writer: writer(text), hlc: Hlc::at(ms) }
}

/// Turns JSON into a value as a plain client writes it.
pub(crate) fn any(value: &Value) -> Any {
    match value {
        Value::Null => Any::Null,
        Value::Bool(value) => Any::Bool(*value),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Any::from(number.as_f64().unwrap_or(0.0)), |n| Any::from(n as f64))
        }
        Value::String(text) => Any::from(text.as_str()),
        Value::Array(items) => Any::Array(items.iter().map(any).collect()),
        Value::Object(entries) => Any::Map(std::sync::Arc::new(
            entries.iter().map(|(key, value)| (key.clone(), any(value))).collect(),
        )),
    }
}

/// A device: a plain Yjs document, with a clock that may be wrong.
pub(crate) struct Device {
    pub(crate) doc: Doc,
    pub(crate) name: String,
    pub(crate) clock_ms: u64,
}

impl Device {
    pub(crate) fn new(client: u64, name: &str) -> Self {
        let mut options = Options::with_client_id(yrs::ClientID::new(client));
        options.offset_kind = OffsetKind::Utf16;
        Self { doc: Doc::with_options(options), name: name.to_owned(), clock_ms: NOW }
    }

    fn hlc(&mut self) -> String {
        self.clock_ms += 1;
        Hlc::at(self.clock_ms).to_string()
    }

    pub(crate) fn root(&self, name: &'static str) -> MapRef {
        self.doc.get_or_insert_map(name)
    }

    /// Sets any key of any root map, as a hostile client may.
    pub(crate) fn put(&mut self, root: &'static str, key: &str, value: &Value) {
        let map = self.root(root);
        map.insert(&mut self.doc.transact_mut(), key.to_owned(), any(value));
    }

    pub(crate) fn delete(&mut self, root: &'static str, key: &str) {
        let map = self.root(root);
        map.remove(&mut self.doc.transact_mut(), key);
    }

    /// Writes a register.
    pub(crate) fn set(&mut self, root: &'static str, field: &str, value: &Value) {
        let hlc = self.hlc();
        let key = format!("{field}@{}.s", self.name);
        self.put(root, &key, &json!([hlc, value]));
    }

    pub(crate) fn set_with(&mut self, root: &'static str, field: &str, value: &Value, meta: &Value) {
        let hlc = self.hlc();
        let key = format!("{field}@{}.s", self.name);
        self.put(root, &key, &json!([hlc, value, meta]));
    }

    /// Writes a message, with whatever more its head is to hold.
    pub(crate) fn say(&mut self, id: &str, parent: Option<&str>, text: &str, more: &Value) {
        let mut head = json!({
            "role": "user", "parent": parent, "by": format!("{}.s", self.name), "at": self.hlc(),
        });
        if let (Some(head), Some(more)) = (head.as_object_mut(), more.as_object()) {
            head.extend(more.clone());
        }
        let parts = json!([{ "type": "text", "text": text }]);
        self.raw_message(id, &head, &parts);
    }

    pub(crate) fn raw_message(&mut self, id: &str, head: &Value, parts: &Value) {
        let messages = self.root("messages");
        let mut txn = self.doc.transact_mut();
        let container: MapRef = messages.insert(&mut txn, id.to_owned(), MapPrelim::default());
        container.insert(&mut txn, "head", any(head));
        container.insert(&mut txn, "parts", any(parts));
    }

    /// Sets a key inside a message.
    pub(crate) fn tamper(&mut self, id: &str, key: &str, value: &Value) {
        let messages = self.root("messages");
        let mut txn = self.doc.transact_mut();
        if let Some(yrs::Out::YMap(container)) = messages.get(&txn, id) {
            container.insert(&mut txn, key.to_owned(), any(value));
        }
    }

    pub(crate) fn diff(&self, state_vector: &[u8]) -> Vec<u8> {
        let state_vector = StateVector::decode_v1(state_vector).expect("a state vector");
        self.doc.transact().encode_diff_v1(&state_vector)
    }

    pub(crate) fn apply(&self, update: &[u8]) {
        let update = Update::decode_v1(update).expect("an update");
        self.doc.transact_mut().apply_update(update).expect("applies");
    }

    /// Offers all it has and takes all the server has.
    pub(crate) fn sync(&self, server: &mut Server) -> Judgement {
        let judgement = server.receive(&self.diff(&server.replica.state_vector()));
        let state_vector = self.doc.transact().state_vector().encode_v1();
        self.apply(&server.replica.diff(&state_vector).expect("encodes"));
        judgement
    }

    /// Returns its document as a replica, to read.
    pub(crate) fn replica(&self) -> Replica {
        Replica::load([&self.diff(&[0])[..]]).expect("loads")
    }

    pub(crate) fn messages(&self, branch: Branch) -> Vec<Message> {
        conversation::messages(&mut self.replica(), branch).expect("reads")
    }

    /// Returns the texts that it shows, in their order.
    pub(crate) fn texts(&self) -> Vec<String> {
        texts(&self.messages(Branch::Selected))
    }
}

pub(crate) fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.parts[0]["text"].as_str().unwrap_or("-").to_owned()).collect()
}

/// The server.
pub(crate) struct Server {
    pub(crate) replica: Replica,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Clock,
    pub(crate) now_ms: u64,
    /// All that was committed, for a restart.
    pub(crate) journal: Vec<Vec<u8>>,
    kind: Kind,
    client: u64,
}

impl Server {
    pub(crate) fn new(kind: Kind) -> Self {
        Self::with_client(kind, 1 << 40)
    }

    pub(crate) fn with_client(kind: Kind, client: u64) -> Self {
        let mut replica = Replica::of_client(client);
        let ledger = Ledger::of(kind.clone(), &mut replica).expect("a ledger");
        Self { replica, ledger, clock: Clock::new(), now_ms: NOW, journal: Vec::new(), kind, client }
    }

    pub(crate) fn conversation() -> Self {
        Self::new(Kind::Conversation(conversation_id()))
    }

    pub(crate) fn receive(&mut self, update: &[u8]) -> Judgement {
        let absorbed = self.replica.absorb(update, &Limits::default());
        assert!(matches!(absorbed, Absorbed::Applied(_)), "{absorbed:?}");
        self.journal.push(update.to_vec());
        self.judge()
    }

    pub(crate) fn judge(&mut self) -> Judgement {
        self.now_ms += 1;
        let judgement = self.ledger.judge(&mut self.replica, &mut self.clock, self.now_ms).expect("judges");
        self.journal.extend(judgement.update.iter().map(|update| update.to_vec()));
        judgement
    }

    pub(crate) fn edit<R>(&mut self, write: impl FnOnce(&mut Pen<'_, '_>) -> R) -> (R, Judgement) {
        let edited = self.replica.edit(write).expect("writes");
        self.journal.extend(edited.update.iter().map(|update| update.to_vec()));
        (edited.value, self.judge())
    }

    /// Dies and comes back with what was committed.
    pub(crate) fn restart(&mut self) {
        let parts = self.journal.iter().map(Vec::as_slice);
        self.replica = Replica::load_as(self.client, parts).expect("loads");
        self.ledger = Ledger::of(self.kind.clone(), &mut self.replica).expect("a ledger");
    }

    pub(crate) fn messages(&mut self, branch: Branch) -> Vec<Message> {
        conversation::messages(&mut self.replica, branch).expect("reads")
    }

    pub(crate) fn texts(&mut self) -> Vec<String> {
        texts(&self.messages(Branch::Selected))
    }
}

/// Two devices that made these edits offline meet over a server, in both orders; all three must end equal.
pub(crate) fn meet(
    kind: &Kind,
    prepare: impl Fn(&mut Device),
    edit: impl Fn(&mut Device, &mut Device),
    check: impl Fn(&mut Server, &Device),
) {
    // Client ids decide between concurrent writes of one key in Yjs: no outcome may depend on them.
    for (phone_id, laptop_id) in [(11, 22), (22, 11)] {
        for phone_first in [true, false] {
            let mut server = Server::new(kind.clone());
            let (mut phone, mut laptop) = (Device::new(phone_id, "phone"), Device::new(laptop_id, "laptop"));
            prepare(&mut phone);
            phone.sync(&mut server);
            laptop.sync(&mut server);
            phone.sync(&mut server);
            edit(&mut phone, &mut laptop);
            let mut order = [&phone, &laptop];
            if !phone_first {
                order.reverse();
            }
            for _ in 0..2 {
                for device in order {
                    device.sync(&mut server);
                }
            }
            check(&mut server, &phone);
            check(&mut server, &laptop);
            let all = server.messages(Branch::All);
            assert_eq!(phone.messages(Branch::All), all);
            assert_eq!(laptop.messages(Branch::All), all);
        }
    }
}

/// An index.
pub(crate) fn index() -> Kind {
    Kind::Index(Quarter { year: 2023, quarter: 4 })
}

/// The conversation.
pub(crate) fn conversation() -> Kind {
    Kind::Conversation(conversation_id())
}
