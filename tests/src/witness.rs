//! A device of any family that keeps its own books: which of its edits the server called saved. It believes only
//! what a client of its family would believe, and complains about an ack that nothing was owed.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use syncline_protocol::{
    frame::{Dialect, Reply},
    lib0::{write_str, write_var_uint},
};
use tokio::time::{Instant, timeout_at};
use yrs::{
    ClientID, Doc, GetString, Map, MapRef, OffsetKind, Options, ReadTxn, StateVector, Text, TextRef,
    Transact, TransactionMut, Update,
    updates::{decoder::Decode, encoder::Encode},
};

use crate::{Client, DEADLINE, Event};

/// The three families.
pub const DIALECTS: [Dialect; 3] = [Dialect::Plain, Dialect::Ysweet, Dialect::Hocuspocus];

/// The update of an empty document.
const NOTHING: &[u8] = &[0, 0];

/// The connection has ended, with this code and reason; 1006 where it just broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended(pub u16, pub String);

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the connection ended with {} {:?}", self.0, self.1)
    }
}

impl std::error::Error for Ended {}

/// An ack that is to come: every edit up to `upto` is saved then.
#[derive(Debug)]
struct Owed {
    upto: u64,
    /// Plain: the update that comes back.
    echo: Bytes,
}

/// A device. Its edits are numbered from 1; [`Witness::saved`] of them were called saved.
#[derive(Debug)]
pub struct Witness {
    /// What it speaks.
    pub dialect: Dialect,
    /// Its replica.
    pub doc: Doc,
    text: TextRef,
    map: MapRef,
    document: String,
    token: String,
    client: Option<Client>,
    made: u64,
    saved: u64,
    owed: VecDeque<Owed>,
    answered: bool,
    synced: bool,
    reasons: Vec<String>,
    not_saved: usize,
    asked: usize,
}

impl Witness {
    /// Makes a device that is not connected; `client_id` is that of its Yjs document.
    pub fn new(dialect: Dialect, document: &str, client_id: u64) -> Self {
        let mut options = Options::with_client_id(ClientID::new(client_id));
        options.offset_kind = OffsetKind::Utf16;
        let doc = Doc::with_options(options);
        let (text, map) = (doc.get_or_insert_text("t"), doc.get_or_insert_map("m"));
        Self {
            dialect,
            doc,
            text,
            map,
            document: document.to_owned(),
            token: String::new(),
            client: None,
            made: 0,
            saved: 0,
            owed: VecDeque::new(),
            answered: false,
            synced: false,
            reasons: Vec::new(),
            not_saved: 0,
            asked: 0,
        }
    }

    /// Gives it a token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    /// Makes a device and syncs it.
    ///
    /// # Errors
    /// The server does not answer as clients expect.
    pub async fn fresh(server: SocketAddr, dialect: Dialect, document: &str, client_id: u64) -> Result<Self> {
        let mut device = Self::new(dialect, document, client_id);
        device.sync(server).await?;
        Ok(device)
    }

    /// Connects and says what its family says first; does not wait for answers.
    ///
    /// # Errors
    /// No connection.
    pub async fn connect(&mut self, server: SocketAddr) -> Result<()> {
        self.disconnect();
        let mut client = open(server, self.dialect, &self.document, &self.token).await?;
        if self.dialect == Dialect::Hocuspocus {
            client.send_auth(&self.token, Some("4.8.0")).await?;
        }
        let state_vector = self.doc.transact().state_vector().encode_v1();
        client.send(&Reply::SyncStep1(&state_vector)).await?;
        if self.dialect == Dialect::Ysweet {
            client.send(&Reply::Version(self.made)).await?;
        }
        client.send(&Reply::Awareness(&awareness(self.doc.client_id().get(), 1, "{}"))).await?;
        self.client = Some(client);
        Ok(())
    }

    /// Connects and waits until both sides have exchanged what they had.
    ///
    /// # Errors
    /// As [`Witness::connect`], or the sync does not end.
    pub async fn sync(&mut self, server: SocketAddr) -> Result<()> {
        self.connect(server).await?;
        self.until("both sides synced", |device| device.synced && device.answered).await
    }

    /// Drops the connection.
    pub fn disconnect(&mut self) {
        self.client = None;
        self.owed.clear();
        (self.answered, self.synced) = (false, false);
        (self.not_saved, self.asked) = (0, 0);
        self.reasons.clear();
    }

    /// Makes an edit without sending it. Returns its update.
    ///
    /// # Errors
    /// It changes nothing.
    pub fn edit_offline(
        &mut self,
        change: impl FnOnce(&TextRef, &MapRef, &mut TransactionMut<'_>),
    ) -> Result<Bytes> {
        let update = {
            let mut txn = self.doc.transact_mut();
            change(&self.text, &self.map, &mut txn);
            Bytes::from(txn.encode_update_v1())
        };
        ensure!(update != NOTHING, "the edit changes nothing");
        self.made += 1;
        Ok(update)
    }

    /// Makes an edit and sends it, if there is a connection. Returns its number.
    ///
    /// # Errors
    /// The connection is gone; the edit was made all the same.
    pub async fn edit(
        &mut self,
        change: impl FnOnce(&TextRef, &MapRef, &mut TransactionMut<'_>),
    ) -> Result<u64> {
        let update = self.edit_offline(change)?;
        let number = self.made;
        if let Some(client) = &mut self.client {
            self.owed.push_back(Owed { upto: number, echo: update.clone() });
            client.send(&Reply::Update(&update)).await?;
            if self.dialect == Dialect::Ysweet {
                client.send(&Reply::Version(number)).await?;
            }
        }
        Ok(number)
    }

    /// Types a word at the end of the text.
    ///
    /// # Errors
    /// As [`Witness::edit`].
    pub async fn write(&mut self, word: &str) -> Result<u64> {
        self.edit(|text, _, txn| text.push(txn, word)).await
    }

    /// Returns its connection, for frames of a test's own.
    ///
    /// # Errors
    /// It is offline.
    pub fn client(&mut self) -> Result<&mut Client> {
        self.client.as_mut().context("the device is offline")
    }

    fn settled(&mut self) {
        if let Some(owed) = self.owed.pop_front() {
            self.saved = self.saved.max(owed.upto);
        }
    }

    /// Waits for the next frame and does what a client does with it.
    ///
    /// # Errors
    /// What a client would throw on; an ack that nothing was owed; the connection's end.
    pub async fn hear(&mut self) -> Result<Event> {
        let event = self.client()?.next().await?;
        match &event {
            Event::Step1(theirs) => {
                let theirs = StateVector::decode_v1(theirs)?;
                let update = Bytes::from(self.doc.transact().encode_state_as_update_v1(&theirs));
                self.asked += 1;
                let pair = !std::mem::replace(&mut self.answered, true);
                let counts = self.dialect == Dialect::Hocuspocus
                    || (self.dialect == Dialect::Plain && update != NOTHING);
                if pair && counts {
                    self.owed.push_back(Owed { upto: self.made, echo: update.clone() });
                }
                self.client()?.send(&Reply::SyncStep2(&update)).await?;
            }
            Event::Step2(update) => {
                self.synced = true;
                self.apply(update)?;
            }
            Event::Update(update) => {
                if self.dialect == Dialect::Plain
                    && self.owed.front().is_some_and(|owed| owed.echo == *update)
                {
                    self.settled();
                }
                self.apply(update)?;
            }
            Event::Status(true) => {
                ensure!(!self.owed.is_empty(), "a SyncStatus too many");
                self.settled();
            }
            Event::Status(false) => {
                self.not_saved += 1;
                self.owed.pop_front();
            }
            Event::Version(version) => {
                ensure!(*version <= self.made, "a version that was never sent");
                self.saved = self.saved.max(*version);
            }
            Event::Denied(reason) => self.reasons.push(reason.clone()),
            Event::Closed(code, reason) => return Err(Ended(*code, reason.clone()).into()),
            Event::Awareness(_)
            | Event::AskToken
            | Event::Authenticated(_)
            | Event::Json(_)
            | Event::Ping => {}
        }
        Ok(event)
    }

    /// Takes an update into its replica.
    ///
    /// # Errors
    /// yrs refuses it.
    pub fn apply(&mut self, update: &[u8]) -> Result<()> {
        let update = Update::decode_v1(update)?;
        Ok(self.doc.transact_mut().apply_update(update)?)
    }

    /// Hears frames until something is so.
    ///
    /// # Errors
    /// It is not in time, or as [`Witness::hear`].
    pub async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !is_so(self) {
            let heard = timeout_at(deadline, self.hear()).await;
            let heard = heard.map_err(anyhow::Error::from).and_then(|heard| heard);
            heard.with_context(|| format!("{:?} on {} waits for: {what}", self.dialect, self.document))?;
        }
        Ok(())
    }

    /// Waits until every edit was called saved.
    ///
    /// # Errors
    /// As [`Witness::until`].
    pub async fn until_saved(&mut self) -> Result<()> {
        self.until("all saved", |device| device.saved == device.made).await
    }

    /// Waits until an edit was refused in the way of its family; y-sweet and plain clients are told in words.
    ///
    /// # Errors
    /// As [`Witness::until`].
    pub async fn until_refused(&mut self) -> Result<()> {
        self.until("a refusal", |device| match device.dialect {
            Dialect::Hocuspocus => device.not_saved > 0,
            Dialect::Plain | Dialect::Ysweet => !device.reasons.is_empty(),
        })
        .await
    }

    /// Hears everything that still comes, until the connection ends.
    ///
    /// # Errors
    /// It does not end, or as [`Witness::hear`].
    pub async fn until_ended(&mut self) -> Result<Ended> {
        loop {
            if let Err(error) = self.hear().await {
                return error.downcast::<Ended>();
            }
        }
    }

    /// Waits until it shows what another device shows.
    ///
    /// # Errors
    /// As [`Witness::until`].
    pub async fn until_same(&mut self, other: &Self) -> Result<()> {
        let wanted = other.content();
        self.until("the same content", |device| device.content() == wanted).await
    }

    /// Counts its edits.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Counts its edits that were called saved.
    pub fn saved(&self) -> u64 {
        self.saved
    }

    /// Returns the words in which it was refused something on this connection.
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// Counts SyncStatus 0 on this connection.
    pub fn not_saved(&self) -> usize {
        self.not_saved
    }

    /// Counts the server's SyncStep1 on this connection.
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// Returns the text.
    pub fn text(&self) -> String {
        self.text.get_string(&self.doc.transact())
    }

    /// Returns an entry of the map.
    pub fn entry(&self, key: &str) -> Option<String> {
        let txn = self.doc.transact();
        self.map.get(&txn, key).map(|value| value.to_string(&txn))
    }

    /// Returns all that it shows, and its state vector.
    pub fn content(&self) -> Content {
        let txn = self.doc.transact();
        let map = self.map.iter(&txn).map(|(key, value)| (key.to_owned(), value.to_string(&txn))).collect();
        let clocks = txn.state_vector().iter().map(|(client, clock)| (client.get(), *clock)).collect();
        Content { text: self.text.get_string(&txn), map, clocks }
    }
}

/// What a replica shows; equal for equal replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    text: String,
    map: BTreeMap<String, String>,
    clocks: BTreeMap<u64, u32>,
}

impl Content {
    /// Returns the next clock of each client.
    pub fn clocks(&self) -> &BTreeMap<u64, u32> {
        &self.clocks
    }
}

/// Opens the socket that a family uses for a document; says nothing on it.
///
/// # Errors
/// The server refuses it.
pub async fn open(server: SocketAddr, dialect: Dialect, document: &str, token: &str) -> Result<Client> {
    let document = document.replace(' ', "%20");
    let query = if token.is_empty() { String::new() } else { format!("?token={token}") };
    match dialect {
        Dialect::Plain => Client::connect(server, &format!("/sync/{document}{query}")).await,
        Dialect::Ysweet => Client::connect(server, &format!("/d/{document}/ws/{document}{query}")).await,
        Dialect::Hocuspocus => {
            Ok(Client::connect(server, "/sync").await?.addressed(&document.replace("%20", " ")))
        }
    }
}

/// Makes the payload of an awareness message with one state.
pub fn awareness(client_id: u64, clock: u64, json: &str) -> Vec<u8> {
    let mut payload = Vec::new();
    for number in [1, client_id, clock] {
        write_var_uint(&mut payload, number);
    }
    write_str(&mut payload, json);
    payload
}
