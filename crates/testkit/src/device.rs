//! A simulated device: a real yrs document, and the behaviour of one of the client families, written from the
//! protocol pages. It makes edits, keeps them while it is offline and believes its indicator.

use bytes::Bytes;
use yrs::{
    Doc, Map, MapRef, OffsetKind, Options, ReadTxn, StateVector, Text, TextRef, Transact, Update,
    updates::{decoder::Decode, encoder::Encode},
};

use crate::{
    author::{Author, Deed, Scene},
    ids::Ids,
    indicator::{Family, Indicator},
    rng::Rng,
    wire::{self, Frame, Said},
};

/// Where a device's connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// It has none, and a try may be under way.
    Offline,
    /// It has an open one.
    Open(usize),
}

/// What a local edit came to.
pub(crate) struct Made {
    /// Frames for the server, if there is a connection.
    pub(crate) frames: Vec<Bytes>,
    /// The update, for the other tab.
    pub(crate) update: Bytes,
}

/// One device.
pub(crate) struct Device {
    pub(crate) document: usize,
    pub(crate) family: Family,
    pub(crate) writes: bool,
    pub(crate) doc: Doc,
    text: TextRef,
    map: MapRef,
    pub(crate) link: Link,
    pub(crate) indicator: Indicator,
    /// The edits that the indicator speaks for.
    pub(crate) covered: Ids,
    /// It has edits of its own, from whatever life of its page.
    pub(crate) edited: bool,
    /// What the indicator says was not checked since it last said "not saved" or an edit was made.
    pub(crate) unchecked: bool,
    /// A deletion was made while its SyncStep1 was unanswered: the server cannot tell whether it was counted.
    pub(crate) ambiguous: bool,
    /// SyncStep2 of the server that are to come, and whether one answers a sync that was not the connection's
    /// first: an ack that arrives before it belongs to the sync before, and the client counts it all the same.
    syncs: u32,
    resynced: bool,
    /// That has happened on this connection: the indicator is ahead, and no server can help it.
    pub(crate) misled: bool,
    /// The server's first frame on this connection has come.
    heard: bool,
    /// Its first SyncStep2 on this connection was sent.
    answered: bool,
    /// Updates that need clocks which are not here. Yjs 13 keeps them aside; yrs would integrate them above a hole.
    waiting: Vec<Vec<u8>>,
    /// Hocuspocus: Updates made without a connection, sent when the first frame comes.
    queue: Vec<Bytes>,
    address: Option<String>,
    edits: u64,
    name: usize,
    /// What it writes into documents with a meaning.
    author: Author,
    /// A copy of its store, to go on with later.
    copy: Option<Vec<u8>>,
}

impl Device {
    pub(crate) fn new(
        name: usize,
        document: usize,
        family: Family,
        writes: bool,
        client: u64,
        author: Author,
    ) -> Self {
        let (doc, text, map) = open(client);
        let address = family.is_addressed().then(|| {
            if name.is_multiple_of(3) {
                format!("doc{document}\0tab{name}")
            } else {
                format!("doc{document}")
            }
        });
        Self {
            document,
            family,
            writes,
            doc,
            text,
            map,
            link: Link::Offline,
            indicator: Indicator::new(family),
            covered: Ids::default(),
            edited: false,
            unchecked: true,
            ambiguous: false,
            syncs: 0,
            resynced: false,
            misled: false,
            heard: false,
            answered: false,
            waiting: Vec::new(),
            queue: Vec::new(),
            address,
            edits: 0,
            name,
            author,
            copy: None,
        }
    }

    /// The page is loaded again: a new Yjs client id, the content from the device's own store.
    pub(crate) fn reload(&mut self, client: u64) {
        let state = self.doc.transact().encode_state_as_update_v1(&StateVector::default());
        self.open(&state, client);
    }

    /// Says whether there is an older copy of its store.
    pub(crate) fn has_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// Its store is replaced by the older copy.
    pub(crate) fn restore(&mut self, client: u64) {
        let Some(state) = self.copy.take() else { return };
        self.waiting.clear();
        self.open(&state, client);
        if let Some(gone) = self.covered.missing_from(&Ids::of_doc(&self.doc)) {
            self.covered.remove(&gone);
        }
    }

    fn open(&mut self, state: &[u8], client: u64) {
        (self.doc, self.text, self.map) = open(client);
        if let Ok(update) = Update::decode_v1(state) {
            let _ = self.doc.transact_mut().apply_update(update);
        }
        self.link = Link::Offline;
        self.indicator = Indicator::new(self.family);
        self.queue.clear();
        self.author.reopened();
        if self.family == Family::Plain {
            // It confirms what was edited in this life only.
            self.covered = Ids::default();
        }
    }

    /// A person does something. `None` where there was nothing to delete.
    pub(crate) fn edit(&mut self, rng: &mut Rng) -> Option<Made> {
        self.edits += 1;
        let update = {
            let mut txn = self.doc.transact_mut();
            let length = self.text.len(&txn);
            match rng.below(10) {
                0..=4 => {
                    let word = format!("{}.{} ", self.name, self.edits);
                    self.text.insert(&mut txn, rng.below(u64::from(length) + 1) as u32, &word);
                }
                5..=7 if length > 0 => {
                    let at = rng.below(u64::from(length)) as u32;
                    let count = (rng.between(1, 6) as u32).min(length - at);
                    self.text.remove_range(&mut txn, at, count);
                }
                8 => {
                    let key = format!("k{}", rng.below(3));
                    self.map.remove(&mut txn, &key)?;
                }
                _ => {
                    let long = "x".repeat(if rng.chance(60) { 400 } else { 1 });
                    let value = format!("{}.{}{long}", self.name, self.edits);
                    self.map.insert(&mut txn, format!("k{}", rng.below(3)), value);
                }
            }
            txn.encode_update_v1()
        };
        self.noticed(update)
    }

    /// A person does something in a document with a meaning, or a broken device does.
    pub(crate) fn act(
        &mut self,
        scene: &Scene<'_>,
        offends: bool,
        rng: &mut Rng,
    ) -> (Option<Made>, Vec<Deed>) {
        self.edits += 1;
        if rng.chance(60) {
            self.copy = Some(self.doc.transact().encode_state_as_update_v1(&StateVector::default()));
        }
        let (update, deeds) = if offends {
            self.author.offend(&self.doc, scene, rng)
        } else {
            self.author.write(&self.doc, scene, rng)
        };
        (self.noticed(update), deeds)
    }

    /// An update arrives beside the server, from another tab or by another provider of the same document: to this
    /// one it is a local edit.
    pub(crate) fn beside(&mut self, update: &[u8]) -> Option<Made> {
        let mut made: Option<Made> = None;
        for integrated in self.integrate(update).ok()? {
            let Some(next) = self.noticed(integrated) else { continue };
            match &mut made {
                None => made = Some(next),
                Some(made) => made.frames.extend(next.frames),
            }
        }
        made
    }

    /// Applies an update and what waited for it. Returns what each changed, as an update.
    fn integrate(&mut self, update: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        self.waiting.push(update.to_vec());
        let mut changes = Vec::new();
        let mut at = 0;
        while at < self.waiting.len() {
            let update = Update::decode_v1(&self.waiting[at]).map_err(|error| error.to_string())?;
            let held = self.doc.transact().state_vector();
            if update.state_vector_lower().iter().any(|(client, clock)| *clock > held.get(client)) {
                at += 1;
                continue;
            }
            self.waiting.remove(at);
            let mut txn = self.doc.transact_mut();
            txn.apply_update(update).map_err(|error| error.to_string())?;
            changes.push(txn.encode_update_v1());
            at = 0;
        }
        Ok(changes)
    }

    /// What every provider does with an update that it did not bring itself.
    fn noticed(&mut self, update: Vec<u8>) -> Option<Made> {
        let ids = Ids::of_update(&update).ok().filter(|ids| !ids.is_empty())?;
        self.covered.add(&ids);
        self.unchecked = true;
        self.edited = true;
        self.indicator.edited(&ids);
        let open = matches!(self.link, Link::Open(_));
        let frame = self.frame().number(0).number(2).bytes(&update).end();
        let mut frames = Vec::new();
        if open {
            self.ambiguous |= !self.answered && ids.inserts.iter().next().is_none();
            frames.push(frame);
            frames.extend(self.version());
        } else if self.family.is_addressed() {
            self.queue.push(frame);
        }
        Some(Made { frames, update: update.into() })
    }

    /// The connection is open: what each family sends first.
    pub(crate) fn opened(&mut self, connection: usize) -> Vec<Bytes> {
        self.link = Link::Open(connection);
        self.heard = false;
        self.answered = false;
        self.syncs = 0;
        self.misled = false;
        let mut frames = Vec::new();
        if self.family.is_addressed() {
            frames.push(self.frame().number(2).number(0).bytes(b"").end());
        }
        frames.extend(self.sync());
        frames.extend(self.version());
        let state =
            Frame::default().number(1).number(self.client()).number(self.edits + 1).bytes(b"{}").end();
        frames.push(self.frame().number(1).bytes(&state).end());
        frames
    }

    /// Starts a sync, as at every connection and now and then between.
    pub(crate) fn sync(&mut self) -> Vec<Bytes> {
        self.indicator.sync_started();
        self.resynced = self.syncs > 0 || self.heard;
        self.syncs += 1;
        self.ambiguous = false;
        let state_vector = self.doc.transact().state_vector().encode_v1();
        vec![self.frame().number(0).number(0).bytes(&state_vector).end()]
    }

    /// y-sweet's 102, which asks how far its edits are saved.
    pub(crate) fn version(&self) -> Option<Bytes> {
        let Indicator::Version { local, .. } = self.indicator else { return None };
        Some(self.frame().number(102).bytes(&Frame::default().number(local).end()).end())
    }

    /// A frame of the server came in. Returns what the client sends because of it, and what it understood.
    ///
    /// # Errors
    /// What a real client would throw on.
    pub(crate) fn hear(&mut self, frame: &[u8]) -> Result<(Vec<Bytes>, Said), String> {
        let said = wire::read(frame, self.address.as_deref())?;
        let mut frames = Vec::new();
        if !std::mem::replace(&mut self.heard, true) {
            frames.append(&mut self.queue);
        }
        match &said {
            Said::Step1(state_vector) => {
                let state_vector = StateVector::decode_v1(state_vector).map_err(|error| error.to_string())?;
                let mut update = self.doc.transact().encode_state_as_update_v1(&state_vector);
                if !self.waiting.is_empty() {
                    let parts = std::iter::once(&update).chain(&self.waiting);
                    update = yrs::merge_updates_v1(parts).map_err(|error| error.to_string())?;
                }
                self.answered = true;
                frames.push(self.frame().number(0).number(1).bytes(&update).end());
            }
            Said::Step2(update) | Said::Update(update) => {
                self.integrate(update)?;
            }
            _ => {}
        }
        match &said {
            Said::Step2(_) => self.syncs = self.syncs.saturating_sub(1),
            Said::Status(true) => self.misled |= self.resynced && self.syncs > 0,
            _ => {}
        }
        self.indicator.heard(&said);
        Ok((frames, said))
    }

    /// The connection is gone.
    pub(crate) fn closed(&mut self) {
        self.link = Link::Offline;
    }

    /// Says whether it is connected.
    pub(crate) fn is_open(&self) -> bool {
        self.link != Link::Offline
    }

    /// The address of its frames.
    pub(crate) fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Its Yjs client id.
    fn client(&self) -> u64 {
        self.doc.client_id().get()
    }

    fn frame(&self) -> Frame {
        Frame::to(self.address.as_deref())
    }
}

/// Makes a document as Yjs clients count in it: in UTF-16.
pub(crate) fn open(client: u64) -> (Doc, TextRef, MapRef) {
    let mut options = Options::with_client_id(yrs::ClientID::new(client));
    options.offset_kind = OffsetKind::Utf16;
    let doc = Doc::with_options(options);
    let (text, map) = (doc.get_or_insert_text("t"), doc.get_or_insert_map("m"));
    (doc, text, map)
}
