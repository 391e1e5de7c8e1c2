//! What people write into documents that have a meaning, straight into Yjs maps after the pages on the model.

use serde_json::{Value, json};
use yrs::{Any, Doc, Map, MapPrelim, TextPrelim, Transact, TransactionMut, WriteTxn};

use crate::{
    model::{Content, Place, places, plain},
    page::{Page, conversation},
    rng::Rng,
};

/// How far a register from the future is ahead: an hour, more than any server lets pass.
const FUTURE_MS: u64 = 60 * 60 * 1000;

/// What somebody did, for the checkers' books.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// A message was written.
    Message {
        id: String,
        content: Content,
        /// Its content stands in shared types.
        is_live: bool,
    },
    /// A register was written.
    Register { root: &'static str, key: String, value: String, is_future: bool },
    /// A preference was set, with its source, or taken back.
    Preference { name: String, source: Option<&'static str> },
    /// A device wrote where the server says what has which place.
    Claim(String),
}

/// What a writer has before it.
pub(crate) struct Scene<'a> {
    pub(crate) page: Page,
    /// The number of the document.
    pub(crate) document: usize,
    pub(crate) now_ms: u64,
    /// Messages that are accepted and durable, for who wants to break something.
    pub(crate) accepted: &'a [String],
}

/// A writer: one open store of one device.
#[derive(Debug)]
pub(crate) struct Author {
    device: usize,
    life: u64,
    /// How far its clock is off: milliseconds.
    skew_ms: i64,
    /// Decides the times in heads, and nothing else.
    clocks: u64,
    hlc: (u64, u16),
    pub(crate) written: u64,
    /// Messages of its own with a request: role, request, text.
    sent: Vec<(&'static str, String, String)>,
    pub(crate) newest: Option<String>,
}

impl Author {
    pub(crate) fn new(device: usize, skew_ms: i64, clocks: u64) -> Self {
        let (sent, newest) = (Vec::new(), None);
        Self { device, life: 0, skew_ms, clocks, hlc: (0, 0), written: 0, sent, newest }
    }

    /// Its store is opened again: another session writes from now on.
    pub(crate) fn reopened(&mut self) {
        self.life += 1;
        self.newest = None;
    }

    fn writer(&self) -> String {
        format!("d{}.s{}", self.device, self.life)
    }

    /// Who writes a preference of a source: an agent what it infers, and what a person set by hand is nobody else's.
    fn prefers(&self, source: &str) -> String {
        match source {
            "explicit" => self.writer(),
            "inferred" => format!("agent:d{}.s{}", self.device, self.life),
            _ => format!("d{}.i{}", self.device, self.life),
        }
    }

    fn hlc(&mut self, now_ms: u64) -> String {
        let ms = now_ms.saturating_add_signed(self.skew_ms);
        self.hlc = if ms > self.hlc.0 { (ms, 0) } else { (self.hlc.0, self.hlc.1.saturating_add(1)) };
        time(self.hlc.0, self.hlc.1)
    }

    /// Writes something that is allowed.
    pub(crate) fn write(&mut self, doc: &Doc, scene: &Scene<'_>, rng: &mut Rng) -> (Vec<u8>, Vec<Deed>) {
        self.written += 1;
        let mut txn = doc.transact_mut();
        let mut deeds = Vec::new();
        let other = conversation(rng.index(3));
        match scene.page {
            Page::Conversation => self.converse(&mut txn, scene, rng, &mut deeds),
            Page::Profile => self.prefer(&mut txn, scene, rng, &mut deeds),
            Page::Index => {
                let (field, value) = match rng.below(4) {
                    0 => ("pinned", Any::Bool(rng.chance(500))),
                    1 => ("deleted", Any::Bool(rng.chance(500))),
                    2 => ("made", Any::from(self.written as u32)),
                    _ => ("title", Any::from(format!("{} {}", self.device, self.written))),
                };
                self.register(
                    &mut txn,
                    "conversations",
                    &format!("{other}|{field}"),
                    value,
                    None,
                    scene,
                    rng,
                    &mut deeds,
                );
            }
            Page::Marks => {
                let value = Any::from(rng.below(40) as u32);
                self.register(
                    &mut txn,
                    "marks",
                    &format!("{other}|read"),
                    value,
                    None,
                    scene,
                    rng,
                    &mut deeds,
                );
            }
            Page::Drafts => {
                let text = format!("draft {} of {}", self.written, self.device);
                let draft =
                    any(&json!({ "text": text, "attachments": [], "req": format!("q{}", self.device) }));
                self.register(&mut txn, "drafts", &other, draft, None, scene, rng, &mut deeds);
            }
            Page::Free => {}
        }
        (txn.encode_update_v1(), deeds)
    }

    fn converse(
        &mut self,
        txn: &mut TransactionMut<'_>,
        scene: &Scene<'_>,
        rng: &mut Rng,
        deeds: &mut Vec<Deed>,
    ) {
        let meta = txn.get_or_insert_map("meta");
        if !meta.contains_key(txn, "v") {
            meta.insert(txn, "v", 1);
            meta.insert(txn, "id", conversation(scene.document));
            meta.insert(txn, "owner", "ada");
            meta.insert(txn, "createdAt", scene.now_ms as u32);
        }
        let places = places(txn);
        let known: Vec<&String> = places.keys().collect();
        let pick = |rng: &mut Rng| (!known.is_empty()).then(|| known[rng.index(known.len())].clone());
        match rng.below(100) {
            0..=11 => {
                let Some(child) = pick(rng) else { return };
                let parent = match places.get(&child) {
                    Some(Place::At(_, Some(parent))) => parent.clone(),
                    _ => "root".to_owned(),
                };
                self.register(txn, "selected", &parent, Any::from(child), None, scene, rng, deeds);
            }
            12..=19 => {
                let Some(message) = pick(rng) else { return };
                let value = any(&json!({ "v": 1, "text": format!("{}", self.written) }));
                self.register(txn, "feedback", &message, value, None, scene, rng, deeds);
            }
            20..=24 => {
                let Some(message) = pick(rng) else { return };
                let value = Any::Bool(rng.chance(500));
                self.register(txn, "hidden", &message, value, None, scene, rng, deeds);
            }
            _ => {
                let tip = places.iter().filter_map(|(id, place)| match place {
                    Place::At(seq, _) => Some((*seq, id.clone())),
                    _ => None,
                });
                let tip = self.newest.clone().or_else(|| tip.max().map(|(_, id)| id));
                let parent = match rng.below(10) {
                    0..=5 => tip,
                    6..=8 => pick(rng),
                    _ => None,
                };
                let alt = match rng.below(10) {
                    0 => pick(rng).map(Value::from),
                    1 => Some(Value::from(true)),
                    _ => None,
                };
                self.say(txn, parent.as_deref(), alt, rng, deeds);
            }
        }
    }

    /// Writes a message, perhaps one that repeats an earlier one: a retry after an answer that was lost.
    pub(crate) fn say(
        &mut self,
        txn: &mut TransactionMut<'_>,
        parent: Option<&str>,
        alt: Option<Value>,
        rng: &mut Rng,
        deeds: &mut Vec<Deed>,
    ) {
        let id = draw_id(rng);
        let retry =
            (rng.chance(150) && !self.sent.is_empty()).then(|| self.sent[rng.index(self.sent.len())].clone());
        let (role, req, text) = match retry {
            Some((role, req, text)) => (role, Some(req), text),
            None => {
                let req = rng.chance(400).then(|| format!("q{}.{}", self.device, self.written));
                (
                    if rng.chance(750) { "user" } else { "assistant" },
                    req,
                    format!("{} says {}", self.device, self.written),
                )
            }
        };
        let mut head =
            json!({ "role": role, "parent": parent, "by": self.writer(), "at": self.wrong_time() });
        if let Some(alt) = alt {
            head["alt"] = alt;
        }
        if let Some(req) = &req {
            head["req"] = req.as_str().into();
            self.sent.push((role, req.clone(), text.clone()));
        }
        let (head, is_live) = (any(&head), rng.chance(120));
        let content =
            Content { role: role.to_owned(), req, head: plain(&head), texts: Some(vec![text.clone()]) };
        put_message(txn, &id, head, &text, is_live);
        self.newest = Some(id.clone());
        deeds.push(Deed::Message { id, content, is_live });
    }

    /// Clocks are wrong by anything: no order may come of them.
    fn wrong_time(&self) -> String {
        let mut clock = Rng::new(self.clocks ^ (self.device as u64) << 32 ^ self.written << 8 ^ self.life);
        time(clock.below(9_999_999_999_999), clock.below(1 << 16) as u16)
    }

    fn prefer(
        &mut self,
        txn: &mut TransactionMut<'_>,
        scene: &Scene<'_>,
        rng: &mut Rng,
        deeds: &mut Vec<Deed>,
    ) {
        let name = ["tone", "language", "units"][rng.index(3)];
        if rng.chance(60) {
            let op = if rng.chance(500) { "clear" } else { "block" };
            let meta = any(&json!({ "source": "explicit", "op": op }));
            self.register(txn, "preferences", name, Any::Null, Some(meta), scene, rng, deeds);
            return deeds.push(Deed::Preference { name: name.to_owned(), source: None });
        }
        let source = ["explicit", "imported", "inferred", "inferred", "default"][rng.index(5)];
        let value = Any::from(format!("{source} {} {}", self.device, self.written));
        let meta = any(&json!({ "source": source }));
        self.register(txn, "preferences", name, value, Some(meta), scene, rng, deeds);
        deeds.push(Deed::Preference { name: name.to_owned(), source: Some(source) });
    }

    #[allow(clippy::too_many_arguments, reason = "one place where all registers are written")]
    fn register(
        &mut self,
        txn: &mut TransactionMut<'_>,
        root: &'static str,
        field: &str,
        value: Any,
        meta: Option<Any>,
        scene: &Scene<'_>,
        rng: &mut Rng,
        deeds: &mut Vec<Deed>,
    ) {
        let is_future = rng.chance(50);
        let hlc = if is_future { time(scene.now_ms + FUTURE_MS, 0) } else { self.hlc(scene.now_ms) };
        let source = meta.as_ref().map_or("explicit".to_owned(), source_of);
        let key = format!("{field}@{}", self.prefers(&source));
        let items: Vec<Any> = [Some(Any::from(hlc)), Some(value), meta].into_iter().flatten().collect();
        let stored = Any::Array(items.into());
        let value = plain(&stored);
        txn.get_or_insert_map(root).insert(txn, key.clone(), stored);
        deeds.push(Deed::Register { root, key, value, is_future });
    }
}

fn source_of(meta: &Any) -> String {
    match meta {
        Any::Map(meta) => meta.get("source").map(plain).unwrap_or_default(),
        _ => String::new(),
    }
}

pub(crate) fn put_message(txn: &mut TransactionMut<'_>, id: &str, head: Any, text: &str, is_live: bool) {
    let messages = txn.get_or_insert_map("messages");
    let container = messages.insert(txn, id.to_owned(), MapPrelim::default());
    container.insert(txn, "head", head);
    if is_live {
        let parts = container.insert(txn, "parts", MapPrelim::default());
        let part = parts.insert(txn, "0", MapPrelim::default());
        part.insert(txn, "head", any(&json!({ "id": "p0", "type": "text" })));
        part.insert(txn, "text", TextPrelim::new(text));
    } else {
        container.insert(txn, "parts", any(&json!([{ "type": "text", "text": text }])));
    }
}

/// Draws a message id: a UUIDv7, whose time means nothing here.
pub(crate) fn draw_id(rng: &mut Rng) -> String {
    let (a, b) = (rng.draw(), rng.draw());
    let (high, low) = ((a >> 32) as u32, a as u16);
    format!("{high:08x}-{low:04x}-7{:03x}-8{:03x}-{:012x}", b & 0xfff, (b >> 12) & 0xfff, b >> 16)
}

/// Writes a hybrid logical time.
pub(crate) fn time(ms: u64, count: u16) -> String {
    format!("{ms:013}-{count:04x}")
}

/// Makes a plain value of JSON.
pub(crate) fn any(value: &Value) -> Any {
    match value {
        Value::Null => Any::Null,
        Value::Bool(value) => Any::Bool(*value),
        Value::String(text) => Any::from(text.as_str()),
        Value::Number(number) => Any::from(number.as_u64().unwrap_or_default() as u32),
        Value::Array(items) => Any::Array(items.iter().map(any).collect()),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.clone(), any(value)));
            Any::Map(std::sync::Arc::new(entries.collect()))
        }
    }
}
