//! A device: a yrs document with one text, and a client that keeps it in sync by hand.

use std::net::SocketAddr;

use anyhow::bail;
use bytes::Bytes;
use syncline_protocol::frame::Reply;
use yrs::{
    Doc, GetString, ReadTxn, StateVector, Text, Transact, Update,
    updates::{decoder::Decode, encoder::Encode},
};

use crate::client::{Client, Event};

/// The root that devices write to.
pub const ROOT: &str = "text";

/// A document and, while online, its connection.
#[derive(Debug)]
pub struct Device {
    doc: Doc,
    client: Option<Client>,
    hocuspocus: bool,
    /// Updates sent whose acks have not come, oldest first.
    unsaved: Vec<Bytes>,
    /// The SyncStep2 was sent and its ack has not come.
    syncing: bool,
}

impl Device {
    /// Makes a device that speaks the plain dialect.
    pub fn plain() -> Self {
        Self { doc: Doc::new(), client: None, hocuspocus: false, unsaved: Vec::new(), syncing: false }
    }

    /// Makes a device that speaks the Hocuspocus dialect.
    pub fn hocuspocus() -> Self {
        Self { hocuspocus: true, ..Self::plain() }
    }

    /// Returns what is written.
    pub fn text(&self) -> String {
        let text = self.doc.get_or_insert_text(ROOT);
        text.get_string(&self.doc.transact())
    }

    /// Connects and syncs: offline edits are sent, and what the server has is here when this returns.
    ///
    /// # Errors
    /// The server did not answer as it must.
    pub async fn connect(&mut self, server: SocketAddr, document: &str, token: &str) -> anyhow::Result<()> {
        let query = if token.is_empty() { String::new() } else { format!("?token={token}") };
        let mut client = if self.hocuspocus {
            Client::connect(server, "/sync").await?.addressed(document)
        } else {
            Client::connect(server, &format!("/sync/{document}{query}")).await?
        };
        if self.hocuspocus {
            client.send_auth(token, Some("4.8.0")).await?;
        }
        let own = self.doc.transact().state_vector();
        client.send(&Reply::SyncStep1(&own.encode_v1())).await?;
        let (mut answered, mut asked) = (false, None);
        while !answered || asked.is_none() {
            match client.next().await? {
                Event::Step2(update) => {
                    self.apply(&update)?;
                    answered = true;
                }
                Event::Step1(state_vector) => asked = Some(state_vector),
                Event::Update(update) => self.apply(&update)?,
                Event::Denied(reason) => bail!("denied: {reason}"),
                Event::Closed(code, reason) => bail!("closed with {code} {reason:?}"),
                _ => {}
            }
        }
        let theirs = StateVector::decode_v1(&asked.unwrap_or_default())?;
        // The diff of a yrs document holds its whole delete set: never empty where something was deleted.
        let diff = self.doc.transact().encode_diff_v1(&theirs);
        self.unsaved.clear();
        self.syncing = self.hocuspocus || diff != [0, 0];
        client.send(&Reply::SyncStep2(&diff)).await?;
        if !self.hocuspocus && self.syncing {
            self.unsaved.push(diff.into());
            self.syncing = false;
        }
        self.client = Some(client);
        Ok(())
    }

    /// Goes offline; edits go on.
    pub fn disconnect(&mut self) {
        self.client = None;
    }

    /// Writes at the end, and sends it while online.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn write(&mut self, words: &str) -> anyhow::Result<()> {
        let update = self.change(|text, txn| {
            let end = text.len(txn);
            text.insert(txn, end, words);
        });
        self.offer(update).await
    }

    /// Removes from the beginning, and sends it while online.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn erase(&mut self, characters: u32) -> anyhow::Result<()> {
        let update = self.change(|text, txn| text.remove_range(txn, 0, characters));
        self.offer(update).await
    }

    fn change(&mut self, edit: impl FnOnce(&yrs::TextRef, &mut yrs::TransactionMut<'_>)) -> Bytes {
        let text = self.doc.get_or_insert_text(ROOT);
        let mut txn = self.doc.transact_mut();
        edit(&text, &mut txn);
        txn.encode_update_v1().into()
    }

    async fn offer(&mut self, update: Bytes) -> anyhow::Result<()> {
        if let Some(client) = &mut self.client {
            client.send(&Reply::Update(&update)).await?;
            self.unsaved.push(update);
        }
        Ok(())
    }

    /// Waits until the server said "saved" to everything that was sent on this connection.
    ///
    /// # Errors
    /// It refused something, or did not say so in time.
    pub async fn saved(&mut self) -> anyhow::Result<()> {
        while self.syncing || !self.unsaved.is_empty() {
            self.step().await?;
        }
        Ok(())
    }

    /// Waits until the text is this.
    ///
    /// # Errors
    /// It did not become so in time.
    pub async fn reads(&mut self, expected: &str) -> anyhow::Result<()> {
        while self.text() != expected {
            self.step().await.map_err(|error| error.context(format!("the text is {:?}", self.text())))?;
        }
        Ok(())
    }

    /// Takes in one message.
    async fn step(&mut self) -> anyhow::Result<()> {
        let Some(client) = &mut self.client else { bail!("offline") };
        match client.next().await? {
            Event::Update(update) | Event::Step2(update) => {
                if !self.hocuspocus && self.unsaved.first() == Some(&update) {
                    self.unsaved.remove(0);
                }
                self.apply(&update)?;
            }
            Event::Status(true) if self.syncing => self.syncing = false,
            Event::Status(true) if self.unsaved.is_empty() => bail!("one SyncStatus too many"),
            Event::Status(true) => {
                self.unsaved.remove(0);
            }
            Event::Status(false) => bail!("refused"),
            Event::Denied(reason) => bail!("denied: {reason}"),
            Event::Closed(code, reason) => bail!("closed with {code} {reason:?}"),
            Event::Step1(state_vector) => {
                let theirs = StateVector::decode_v1(&state_vector)?;
                let diff = self.doc.transact().encode_diff_v1(&theirs);
                client.send(&Reply::SyncStep2(&diff)).await?;
            }
            _ => {}
        }
        Ok(())
    }

    fn apply(&mut self, update: &[u8]) -> anyhow::Result<()> {
        Ok(self.doc.transact_mut().apply_update(Update::decode_v1(update)?)?)
    }

    /// Returns the connection, for what a device does not do.
    pub fn client(&mut self) -> Option<&mut Client> {
        self.client.as_mut()
    }
}
