//! What the simulated server writes and reads by itself, as the HTTP API does: through the session, into documents with
//! a meaning.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::json;
use syncline_document::{
    Pen, Replica,
    hlc::Hlc,
    ids::{ConversationId, Writer},
    record::Origin,
    register::Stamp,
    schema::{
        Unfit,
        conversation::{self, Branch, NewMessage},
        drafts, index, marks,
        message::State,
        preferences::{self, Provenance, Source},
    },
};
use syncline_sync::{Draft, Edit, Looking, Room};

use crate::{
    author::{any, draw_id},
    checks::Checks,
    driver::Server,
    model::{Content, Place, plain},
    page::{self, Page},
    rng::Rng,
    world::World,
};

/// What a server edit came to, once it was made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome(Arc<Mutex<Option<Bytes>>>);

impl Outcome {
    pub(crate) fn of(update: Bytes) -> Self {
        Self(Arc::new(Mutex::new(Some(update))))
    }

    fn set(&self, update: Option<Bytes>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = update;
    }

    pub(crate) fn update(&self) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A server edit under way.
pub(crate) struct Ours {
    pub(crate) document: usize,
    pub(crate) outcome: Outcome,
    /// The message that it writes.
    pub(crate) message: Option<String>,
}

/// Conversations as somebody saw them: the document, and the place of each message.
pub(crate) type Sights = Arc<Mutex<Vec<(usize, Vec<(String, Place)>)>>>;

/// Something that is written with a pen.
type Stroke = Box<dyn FnOnce(&mut Pen<'_, '_>, Stamp) -> Result<(), Unfit> + Send>;

impl World {
    /// The server writes something into a document with a meaning.
    pub(crate) fn compose(&mut self, document: usize) {
        let page = self.pages[document];
        let (message, stroke): (Option<String>, Stroke) = match page {
            Page::Conversation => match self.converse(document) {
                Some(made) => made,
                None => return,
            },
            _ => match self.note_down(document, page) {
                Some(stroke) => (None, stroke),
                None => return,
            },
        };
        let Some(server) = &mut self.server else { return };
        server.compose(document, message, stroke, self.now_ms, &mut self.checks);
        self.act();
    }

    fn converse(&mut self, document: usize) -> Option<(Option<String>, Stroke)> {
        let rng = &mut self.rng;
        let targets = self.checks.books[document].targets();
        let target = (!targets.is_empty()).then(|| targets[rng.index(targets.len())].clone());
        if rng.chance(500) || target.is_none() {
            let text = format!("the server says {}", self.order);
            let role = if rng.chance(500) { "assistant" } else { "user" };
            let req = rng.chance(300).then(|| format!("q{}", rng.below(4)));
            let parent = target.filter(|_| rng.chance(700));
            let id = draw_id(rng);
            return Some(self.append(document, id, role, parent, req, &text));
        }
        let target = target?;
        let is_live = self.checks.books[document].is_live(&target);
        let stroke: Stroke = match rng.below(10) {
            0..=2 if !is_live => Box::new(move |pen, _| {
                conversation::set_state(pen, &target, State::Streaming, None).map(drop)
            }),
            3..=5 if !is_live => Box::new(move |pen, _| {
                conversation::set_state(pen, &target, State::Done, Some(&json!({ "finish": "stop" })))?;
                conversation::set_facts(pen, &target, &json!({ "tokens": 7 })).map(drop)
            }),
            6 => {
                self.checks.books[document].erasing(&target);
                Box::new(move |pen, _| conversation::erase(pen, &target))
            }
            _ => Box::new(move |pen, stamp| conversation::set_hidden(pen, &target, &stamp, true)),
        };
        Some((None, stroke))
    }

    /// Has the server append a message; `id` may be one that a device writes too, whose answer was lost.
    fn append(
        &mut self,
        document: usize,
        id: String,
        role: &str,
        parent: Option<String>,
        req: Option<String>,
        text: &str,
    ) -> (Option<String>, Stroke) {
        let at = Hlc::at(self.rng.below(9_999_999_999_999));
        let mut head = json!({ "role": role, "parent": parent, "by": "agent:api", "at": at.to_string() });
        if let Some(req) = &req {
            head["req"] = req.as_str().into();
        }
        let content = Content {
            role: role.to_owned(),
            req: req.clone(),
            head: plain(&any(&head)),
            texts: Some(vec![text.to_owned()]),
        };
        self.checks.books[document].note_own(&id, content);
        let (role, parts) = (role.to_owned(), vec![json!({ "type": "text", "text": text })]);
        let name = id.clone();
        let stroke: Stroke = Box::new(move |pen, stamp| {
            if let Some(id) = ConversationId::parse(&page::conversation(document)) {
                conversation::create(pen, &id, "ada", 1, None);
            }
            let stamp = Stamp { hlc: at, ..stamp };
            let (alternative_to, model) = (None, None);
            let message = NewMessage { id, role, parent, alternative_to, stamp, req, model, parts };
            conversation::append(pen, &message).map(drop)
        });
        (Some(name), stroke)
    }

    /// A device's message is sent over HTTP too: the device did not hear the answer.
    pub(crate) fn retry_by_http(&mut self, document: usize, id: &str, content: &Content) {
        let text = content.texts.iter().flatten().next().cloned().unwrap_or_default();
        let (role, req) = (content.role.clone(), content.req.clone());
        let (message, stroke) = self.append(document, id.to_owned(), &role, None, req, &text);
        let Some(server) = &mut self.server else { return };
        server.compose(document, message, stroke, self.now_ms, &mut self.checks);
        self.act();
    }

    fn note_down(&mut self, document: usize, page: Page) -> Option<Stroke> {
        let rng = &mut self.rng;
        let of = ConversationId::parse(&page::conversation(rng.index(3)))?;
        let number = self.order;
        Some(match page {
            Page::Profile => {
                let name = ["tone", "language", "units"][rng.index(3)];
                let inferred = Provenance { source: Source::Inferred, ..Provenance::explicit() };
                Box::new(move |pen, stamp| {
                    let value = json!(format!("inferred by the server {number}"));
                    preferences::set(pen, name, &stamp, &value, &inferred)
                })
            }
            Page::Index => Box::new(move |pen, stamp| {
                index::set_autotitle(pen, &of, stamp.hlc, &format!("automatic {number}"))
            }),
            Page::Marks => Box::new(move |pen, stamp| marks::set(pen, &of, &stamp, number % 40, None)),
            Page::Drafts => {
                let keys = self.checks.books[document].registers();
                if keys.is_empty() {
                    return None;
                }
                let (root, key) = keys[rng.index(keys.len())].clone();
                self.checks.books[document].removing(root, &key);
                let (of, writer) = key.split_once('@')?;
                let (of, writer) = (ConversationId::parse(of)?, Writer::parse(writer)?);
                Box::new(move |pen, _| {
                    drafts::remove(pen, &of, &writer);
                    Ok(())
                })
            }
            Page::Free | Page::Conversation => return None,
        })
    }

    /// Somebody looks at a conversation.
    pub(crate) fn look(&mut self) {
        let document = self.rng.index(self.pages.len());
        let Some(server) = self.server.as_mut().filter(|_| self.pages[document] == Page::Conversation) else {
            return;
        };
        server.look(document, self.now_ms, &mut self.checks);
        self.act();
    }
}

impl Server {
    fn compose(
        &mut self,
        document: usize,
        message: Option<String>,
        stroke: Stroke,
        now_ms: u64,
        checks: &mut Checks,
    ) {
        if self.failed || self.doomed {
            return;
        }
        let outcome = Outcome::default();
        let made = outcome.clone();
        let edit = self.edit_under_way(Ours { document, outcome, message });
        let writing = Box::new(move |draft: Draft<'_>| {
            let hlc = draft.clock.tick(draft.now_ms);
            let writer = Writer::agent("api").unwrap_or_else(Writer::server);
            // What is not fit leaves the document as it was.
            let edited = draft.replica.edit(|pen| stroke(pen, Stamp { writer, hlc }))?;
            made.set(edited.update.clone());
            Ok(edited.update)
        });
        let origin = Origin { user: Some("ada".into()), device: None, at_ms: now_ms };
        self.call(document, now_ms, checks, |session, now_ms, fx| {
            session.compose(edit, origin, writing, Room::Needed, now_ms, fx);
        });
    }

    fn look(&mut self, document: usize, now_ms: u64, checks: &mut Checks) {
        let sights = self.sights.clone();
        let looking: Looking = Box::new(move |outcome: Result<&mut Replica, &str>| {
            let listed = outcome.ok().map(|replica| conversation::messages(replica, Branch::All));
            Box::new(move || {
                let Some(Ok(messages)) = listed else { return };
                let placed = messages
                    .into_iter()
                    .filter_map(|message| Some((message.id, Place::At(message.seq?, message.parent))));
                let mut sights = sights.lock().unwrap_or_else(PoisonError::into_inner);
                sights.push((document, placed.collect()));
            })
        });
        self.call(document, now_ms, checks, |session, now_ms, fx| session.look(looking, now_ms, fx));
    }

    /// Names a server edit until it is saved.
    pub(crate) fn edit_under_way(&mut self, ours: Ours) -> Edit {
        self.next_edit += 1;
        self.edits.insert(self.next_edit, ours);
        Edit(self.next_edit)
    }

    /// A server edit is durable: who asked for it is answered.
    pub(crate) fn edit_saved(&mut self, edit: Edit, checks: &mut Checks) {
        let Some(Ours { document, outcome, message }) = self.edits.remove(&edit.0) else { return };
        if let Some(update) = outcome.update() {
            checks.edit_saved(&self.store, document, &update);
        }
        if let Some(message) = message {
            checks.books[document].answered(&message);
        }
    }

    /// Hands what was seen to the checkers.
    pub(crate) fn tell_sights(&mut self, checks: &mut Checks) {
        let sights = std::mem::take(&mut *self.sights.lock().unwrap_or_else(PoisonError::into_inner));
        for (document, seen) in sights {
            checks.looked(&self.store, document, &seen);
        }
    }
}

/// Draws by how much a device's clock is off.
pub(crate) fn skew(rng: &mut Rng) -> i64 {
    let far = 4 * 60 * 1000;
    match rng.below(4) {
        0 => 0,
        1 => rng.below(400) as i64 - 200,
        2 => -(rng.below(far) as i64),
        _ => rng.below(far) as i64,
    }
}
