//! The checkers' books of documents with a meaning: what was written by whom, and what was once durable of it. A message
//! has its place and its content for ever, from the moment that anybody could have seen them.

use std::collections::{BTreeMap, BTreeSet};

use syncline_document::schema::preferences;
use yrs::Doc;

use crate::{
    author::Deed,
    checks::Check,
    model::{Content, FORGED, Model, Place},
    page::Page,
};

/// How far ahead of the server a register may be.
const FUTURE_MS: u64 = 5 * 60 * 1000;

/// A message that somebody wrote.
#[derive(Debug, Default)]
struct Written {
    /// What it says, by each that wrote it: a retry by another way says the same, at another time.
    contents: Vec<Content>,
    /// Devices that have it to offer.
    by: BTreeSet<usize>,
    /// The server itself wrote it, and said so.
    answered: bool,
    is_live: bool,
}

/// The newest value of a register, by its writer.
#[derive(Debug)]
struct Own {
    device: usize,
    value: String,
    is_future: bool,
    /// The writer still has it to offer.
    owed: bool,
    preference: Option<(String, &'static str)>,
}

/// The books of one document.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) page: Page,
    written: BTreeMap<String, Written>,
    /// As they were when they were first durable.
    accepted: BTreeMap<String, (Place, Content)>,
    facts: BTreeMap<(&'static str, String), String>,
    /// Messages whose place a device wrote.
    pub(crate) claimed: BTreeSet<String>,
    erasing: BTreeSet<String>,
    own: BTreeMap<(&'static str, String), Own>,
    /// Preferences that somebody took back.
    taken_back: BTreeSet<String>,
}

pub(crate) type Found = Result<(), (Check, String)>;

pub(crate) fn wrong<T>(check: Check, text: impl Into<String>) -> Result<T, (Check, String)> {
    Err((check, text.into()))
}

impl Books {
    pub(crate) fn new(page: Page) -> Self {
        Self {
            page,
            written: BTreeMap::new(),
            accepted: BTreeMap::new(),
            facts: BTreeMap::new(),
            claimed: BTreeSet::new(),
            erasing: BTreeSet::new(),
            own: BTreeMap::new(),
            taken_back: BTreeSet::new(),
        }
    }

    /// Notes what a device did; `writes` says whether the server takes it.
    pub(crate) fn note(&mut self, device: usize, writes: bool, deeds: &[Deed]) {
        let mut newest = None;
        for deed in deeds {
            match deed {
                Deed::Message { id, content, is_live } => {
                    let written = self.written.entry(id.clone()).or_default();
                    written.contents.push(content.clone());
                    written.is_live |= is_live;
                    if writes {
                        written.by.insert(device);
                    }
                }
                Deed::Register { root, key, value, is_future } => {
                    let (value, is_future) = (value.clone(), *is_future);
                    // What is said of an erased message is not kept.
                    let of_erased = *root == "feedback"
                        && key.split_once('@').is_some_and(|(of, _)| self.erasing.contains(of));
                    let owed = writes && !of_erased;
                    let own = Own { device, value, is_future, owed, preference: None };
                    newest = Some((*root, key.clone()));
                    self.own.insert((*root, key.clone()), own);
                }
                Deed::Preference { name, source: Some(source) } => {
                    if let Some(own) = newest.as_ref().and_then(|key| self.own.get_mut(key)) {
                        own.preference = Some((name.clone(), source));
                    }
                }
                Deed::Preference { name, source: None } => {
                    self.taken_back.insert(name.clone());
                }
                Deed::Claim(id) => {
                    self.claimed.insert(id.clone());
                }
            }
        }
    }

    /// Notes what the server is about to write for itself.
    pub(crate) fn note_own(&mut self, id: &str, content: Content) {
        self.written.entry(id.to_owned()).or_default().contents.push(content);
    }

    /// The server answered that a message of its own is saved.
    pub(crate) fn answered(&mut self, id: &str) {
        if let Some(written) = self.written.get_mut(id) {
            written.answered = true;
        }
    }

    /// The server is about to erase a message, with what was said of it.
    pub(crate) fn erasing(&mut self, id: &str) {
        self.erasing.insert(id.to_owned());
        let of = format!("{id}@");
        for ((root, key), own) in &mut self.own {
            own.owed &= *root != "feedback" || !key.starts_with(&of);
        }
    }

    /// A writer's register is taken away by the server.
    pub(crate) fn removing(&mut self, root: &'static str, key: &str) {
        if let Some(own) = self.own.get_mut(&(root, key.to_owned())) {
            own.owed = false;
        }
    }

    /// A device went on with an older copy of itself: what is not in it is not offered any more.
    pub(crate) fn restored(&mut self, device: usize, doc: &Doc) {
        let model = Model::read(doc, self.page);
        for (id, written) in &mut self.written {
            if !model.messages.contains_key(id) {
                written.by.remove(&device);
            }
        }
        for (key, own) in self.own.iter_mut().filter(|(_, own)| own.device == device) {
            own.owed &= model.registers.get(key).is_some_and(|register| register.value == own.value);
        }
    }

    /// Returns messages that are durable with their place, those whose content is frozen first.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.accepted.keys().cloned().collect()
    }

    pub(crate) fn is_live(&self, id: &str) -> bool {
        self.written.get(id).is_some_and(|written| written.is_live)
    }

    /// Returns a register that a device keeps in this document.
    pub(crate) fn registers(&self) -> Vec<(&'static str, String)> {
        self.own.keys().cloned().collect()
    }

    /// Counts the messages that have a place.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (&String, u64)> {
        self.accepted.iter().filter_map(|(id, (place, _))| match place {
            Place::At(seq, _) => Some((id, *seq)),
            _ => None,
        })
    }

    /// Holds what is durable now to all that was before.
    pub(crate) fn durable(&mut self, model: &Model, now_ms: u64) -> Found {
        if self.page == Page::Conversation {
            self.places(model)?;
            self.contents(model)?;
            self.facts(model)?;
        }
        for ((root, key), register) in &model.registers {
            if self.page.registers().contains(root) && register.ms > now_ms + FUTURE_MS {
                return wrong(
                    Check::Register,
                    format!("{root}/{key} is from the future: {}", register.value),
                );
            }
            if key.ends_with("@server") && register.value.contains(FORGED) {
                return wrong(Check::Register, format!("{root}/{key} is a forgery: {}", register.value));
            }
        }
        Ok(())
    }

    fn places(&mut self, model: &Model) -> Found {
        for (id, (place, _)) in &self.accepted {
            match model.accepted.get(id) {
                Some(now) if now == place => {}
                now => return wrong(Check::Message, format!("{id} had {place:?}, has {now:?}")),
            }
        }
        let last = self.placed().map(|(_, seq)| seq).max().unwrap_or(0);
        let mut by_seq: BTreeMap<u64, &String> = BTreeMap::new();
        let mut requests: BTreeMap<(&str, &str), &String> = BTreeMap::new();
        for (id, place) in &model.accepted {
            let Place::At(seq, after) = place else { continue };
            if let Some(other) = by_seq.insert(*seq, id) {
                return wrong(Check::Message, format!("{id} and {other} have the same place {seq}"));
            }
            if *seq <= last && !self.accepted.contains_key(id) {
                return wrong(Check::Message, format!("{id} came later and is put before, at {seq}"));
            }
            let follows = after.as_ref().map(|after| model.accepted.get(after));
            if !matches!(follows, None | Some(Some(Place::At(_, _)))) {
                return wrong(Check::Message, format!("{id} follows {after:?}, which has no place"));
            }
            if let Some(Some(Place::At(before, _))) = follows
                && before >= seq
            {
                return wrong(Check::Message, format!("{id} at {seq} follows {after:?} at {before}"));
            }
            if let Some(content) = model.messages.get(id)
                && let Some(req) = &content.req
                && let Some(other) = requests.insert((&content.role, req), id)
            {
                return wrong(Check::Message, format!("{id} and {other} answer one request"));
            }
        }
        if by_seq.keys().copied().ne(1..=by_seq.len() as u64) {
            return wrong(Check::Message, format!("places have holes: {by_seq:?}"));
        }
        for (id, place) in &model.accepted {
            let (Place::Same(same), Some(content)) = (place, model.messages.get(id)) else { continue };
            let original = content.req.as_ref().and_then(|req| requests.get(&(&*content.role, &**req)));
            if original.is_none_or(|original| *original != same) {
                return wrong(Check::Message, format!("{id} is called the same as {same}, and is not"));
            }
        }
        Ok(())
    }

    fn contents(&mut self, model: &Model) -> Found {
        for (id, place) in &model.accepted {
            let Some(content) = model.messages.get(id) else {
                return wrong(Check::Message, format!("{id} is accepted and not there"));
            };
            if matches!(place, Place::Odd(_)) {
                return wrong(Check::Message, format!("{id} has the place {place:?}"));
            }
            let Some((_, known)) = self.accepted.get_mut(id) else {
                let written = self.written.get(id);
                if !written.is_some_and(|written| written.contents.contains(content)) {
                    return wrong(
                        Check::Message,
                        format!("{id} is accepted as nobody wrote it: {content:?}"),
                    );
                }
                self.accepted.insert(id.clone(), (place.clone(), content.clone()));
                continue;
            };
            if known == content {
                continue;
            }
            let erased = Content { texts: None, ..known.clone() };
            if erased != *content || !self.erasing.contains(id) {
                return wrong(Check::Message, format!("{id} was {known:?}, is {content:?}"));
            }
            *known = erased;
        }
        match model.messages.keys().find(|id| !model.accepted.contains_key(*id)) {
            Some(id) => wrong(Check::Message, format!("{id} is durable and has no place")),
            None => Ok(()),
        }
    }

    fn facts(&mut self, model: &Model) -> Found {
        for (key, before) in &self.facts {
            let (root, id) = key;
            let now = model.facts.get(key);
            let moves = *root == "state" && !before.contains("done") && now.is_some();
            if now != Some(before) && !moves && !self.erasing.contains(id) {
                return wrong(Check::Message, format!("{root}/{id} was {before}, is {now:?}"));
            }
        }
        if let Some((key, value)) = model.facts.iter().find(|(_, value)| value.contains(FORGED)) {
            return wrong(Check::Message, format!("{key:?} is a forgery: {value}"));
        }
        self.facts = model.facts.clone();
        Ok(())
    }

    /// Once all is quiet: everything that somebody still had to offer is there.
    pub(crate) fn whole(&self, model: &Model) -> Found {
        for (id, written) in &self.written {
            if (written.answered || !written.by.is_empty()) && !model.accepted.contains_key(id) {
                return wrong(Check::Message, format!("{id} is lost: {written:?}"));
            }
        }
        for (key, own) in self.own.iter().filter(|(_, own)| own.owed) {
            let now = model.registers.get(key).map(|register| &register.value);
            let judged = self.page.registers().contains(&key.0);
            if now != Some(&own.value) && !(own.is_future && judged) {
                return wrong(Check::Register, format!("{key:?} was set to {}, is {now:?}", own.value));
            }
        }
        Ok(())
    }

    /// What a person set by hand is what counts.
    pub(crate) fn explicit(&self, preferences: &[preferences::Preference]) -> Found {
        for own in self.own.values().filter(|own| own.owed) {
            let Some((name, "explicit")) = &own.preference else { continue };
            if self.taken_back.contains(name) {
                continue;
            }
            let shown = preferences.iter().find(|preference| preference.name == *name);
            if shown.is_none_or(|shown| shown.source != preferences::Source::Explicit) {
                return wrong(
                    Check::Register,
                    format!("{name} was set by hand to {}, is {shown:?}", own.value),
                );
            }
        }
        Ok(())
    }

    /// Says whether what is seen of a message's place is what is durable, for ever.
    pub(crate) fn seen(&self, id: &str, place: &Place) -> Found {
        match self.accepted.get(id) {
            Some((durable, _)) if durable == place => Ok(()),
            Some((durable, _)) => {
                wrong(Check::Message, format!("{id} is shown at {place:?}, is at {durable:?}"))
            }
            None => wrong(Check::EditEarly, format!("{id} is shown at {place:?}, which is not durable")),
        }
    }
}
