//! What goes over the connection: frames in and out, tokens, and what its end means.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use syncline_document::schema::Kind;
use syncline_protocol::{
    names::DocumentName,
    reply::{self, PONG, ServerFrame},
};
use tokio::sync::mpsc;

use super::{Command, Keeper, Lost, local_ms};
use crate::copy::{Hearing, Line, Refusal};
use crate::status::RefusalCode;

/// The version of the protocol that we speak: servers ping who names 4 or later.
const VERSION: &str = "4.8.0";

/// Something for the connection's task to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Sends a frame.
    Frame(Bytes),
    /// Asks the application for a fresh token.
    Token,
    /// Hangs up, and connects anew.
    Hang,
}

/// The keeper's end of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Which connection: what a former one still brings is not heard.
    pub(crate) number: u64,
    pub(crate) orders: mpsc::Sender<Order>,
    /// Bytes that wait to be written.
    pub(crate) queued: Arc<AtomicUsize>,
}

impl Keeper {
    /// There is a connection: every open document is joined.
    pub(super) fn up(&mut self, wire: Wire, token: String) {
        self.wire = Some(wire);
        self.token = token;
        self.token_number += 1;
        self.asking = false;
        self.line = Line::Up;
        for name in self.names() {
            if let Some(copy) = self.copies.get_mut(&name) {
                // What was refused on the connection before may not be on this one.
                copy.joint.part();
            }
            self.join(&name);
        }
    }

    /// The connection is gone.
    pub(super) fn down(&mut self, number: u64, lost: Option<&Lost>) {
        if self.wire.as_ref().is_some_and(|wire| wire.number != number) {
            return;
        }
        self.wire = None;
        self.line = Line::Down;
        if let Some(Lost::TooBig(reason)) = lost {
            self.refuse_largest(reason);
        }
        self.frames.clear();
        for copy in self.copies.values_mut() {
            copy.joint.part();
            if let Some(Lost::Forbidden(reason)) = lost {
                copy.joint.refusal = Some(Refusal::new(RefusalCode::Access, reason));
            }
        }
        self.touch_all();
    }

    /// A message was over the server's limit. The document with most to say is not offered as it is again, or it would bring
    /// the same message back for ever: its edits go one by one, or not at all.
    fn refuse_largest(&mut self, reason: &str) {
        let waiting =
            self.copies.values_mut().filter(|copy| copy.unsaved() > 0 && copy.joint.refusal.is_none());
        let Some(copy) = waiting.max_by_key(|copy| copy.unsent_bytes()) else { return };
        copy.joint.refusal = Some(Refusal::new(RefusalCode::TooBig, reason));
        let name = copy.name.clone();
        self.set_aside(&name);
    }

    /// Takes in a frame.
    pub(super) fn frame(&mut self, number: u64, frame: &Bytes) {
        if self.wire.as_ref().is_none_or(|wire| wire.number != number) {
            return;
        }
        match reply::decode_hocuspocus(frame) {
            Ok(ServerFrame::Ping) => self.send(Bytes::from_static(PONG)),
            Ok(ServerFrame::Closed(..)) => self.order(Order::Hang),
            Ok(ServerFrame::Addressed(address, reply)) => {
                let Ok(name) = DocumentName::parse(address.raw) else { return };
                // One that was closed meanwhile.
                let Some(copy) = self.copies.get_mut(&name) else { return };
                let checker = self.config.limits.checker();
                let hearing = Hearing {
                    checker: &checker,
                    frame_bytes: self.config.limits.sent_frame_bytes,
                    local_ms: local_ms(),
                };
                let mut out = Vec::new();
                let before = copy.newest_seq();
                copy.hear(&reply, &hearing, &mut out);
                let is_accepted = copy.newest_seq() > before;
                let sent = match &copy.kind {
                    Kind::Conversation(id) if is_accepted => Some(id.clone()),
                    _ => None,
                };
                self.carry_out(&name, out);
                self.touched.insert(name);
                if let Some(Err(error)) = sent.map(|id| self.drop_sent_drafts(&id)) {
                    tracing::warn!(%error, "a draft whose message was sent stays");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the server sent what is no frame");
                self.order(Order::Hang);
            }
        }
    }

    /// A fresh token came for the documents that wait for one.
    pub(super) fn renew(&mut self, number: u64, token: &Result<String, String>) {
        if self.wire.as_ref().is_none_or(|wire| wire.number != number) {
            return;
        }
        self.asking = false;
        let waiting: Vec<DocumentName> = self
            .copies
            .values()
            .filter(|copy| copy.joint.wants_token)
            .map(|copy| copy.name.clone())
            .collect();
        if let Ok(token) = token {
            self.token.clone_from(token);
            self.token_number += 1;
        }
        for name in waiting {
            match (token, self.copies.get_mut(&name)) {
                (Ok(_), _) => self.show_token(&name),
                (Err(reason), Some(copy)) => copy.joint.no_token(reason),
                (Err(_), None) => {}
            }
            self.touched.insert(name);
        }
    }

    /// Shows the server the newest token for a document.
    pub(super) fn show_token(&mut self, name: &DocumentName) {
        let Some(copy) = self.copies.get_mut(name) else { return };
        copy.joint.wants_token = false;
        copy.joint.token = self.token_number;
        self.frames.push((name.clone(), reply::encode_auth(name.as_str(), &self.token, VERSION)));
    }

    /// The server wants a token for a document: one that came meanwhile, or else a fresh one.
    pub(super) fn want_token(&mut self, name: &DocumentName) {
        let Some(copy) = self.copies.get(name) else { return };
        if copy.joint.token < self.token_number {
            self.show_token(name);
        } else if !std::mem::replace(&mut self.asking, true) {
            // Once for all documents: who wants one meanwhile gets the same.
            self.order(Order::Token);
        }
    }

    /// Leaves a document on the server, which keeps the connection.
    pub(super) fn leave(&mut self, name: &DocumentName) {
        self.send(reply::encode_detach(name.as_str()));
    }

    /// Sends a frame. Where too much waits already the connection is given up: the next one begins with what is missing,
    /// which is less than all that waits.
    pub(super) fn send(&mut self, frame: Bytes) {
        let Some(wire) = &self.wire else { return };
        let bytes = frame.len();
        let before = wire.queued.fetch_add(bytes, Ordering::Relaxed);
        let limit = usize::try_from(self.config.limits.outbound_bytes).unwrap_or(usize::MAX);
        if before + bytes > limit || wire.orders.try_send(Order::Frame(frame)).is_err() {
            tracing::info!("too much waits to be sent: connecting anew");
            self.hang();
        }
    }

    pub(super) fn order(&mut self, order: Order) {
        if let Some(wire) = &self.wire
            && wire.orders.try_send(order).is_err()
        {
            self.hang();
        }
    }

    /// Gives the connection up: its task ends when it finds nobody to take orders from.
    fn hang(&mut self) {
        if let Some(wire) = self.wire.take() {
            self.take(Command::Down(wire.number, None));
        }
    }
}
