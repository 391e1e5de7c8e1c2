//! The documents of one connection: which dialect it speaks, who it is for each of them, and what waits until
//! that is known.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use syncline_protocol::{
    frame::{Address, Dialect, HocuspocusFrame, Message, Reply, decode_hocuspocus, decode_plain, encode},
    names::DocumentName,
};
use syncline_sync::{Access, Join, PeerId};
use tokio::time::Instant;

use crate::{
    app::{App, HeldPlace, Open},
    auth::{Denied, DocumentAccess, Principal},
    clock::now_ms,
    connection::keep_alive_frame,
    metrics::Speaks,
    outbound::{Closing, Outbound},
    registry::Document,
};

/// A document's name, and the session that a client may add to it.
const ADDRESS_BYTES: usize = 512 + 1 + 128;

/// Who connected, as far as the upgrade request tells.
#[derive(Debug)]
pub(crate) struct Visitor {
    /// The document that the path names.
    pub(crate) document: Option<DocumentName>,
    /// The path is y-sweet's.
    pub(crate) ysweet: bool,
    /// Who the request's token names, or why it names nobody.
    pub(crate) principal: Result<Principal, Denied>,
    /// The device named in the URL.
    pub(crate) device: Option<Arc<str>>,
    pub(crate) device_name: Option<Arc<str>>,
    pub(crate) device_kind: Option<Arc<str>>,
    /// It asked for status messages.
    pub(crate) wants_status: bool,
    pub(crate) address: IpAddr,
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Nothing has come yet.
    Unknown,
    Plain,
    Hocuspocus {
        /// It knows frame 09 (version 4 and later).
        pings: bool,
    },
}

/// A document that the connection is attached to.
#[derive(Debug)]
struct Joined {
    document: Arc<Document>,
    peer: PeerId,
    expires: Option<Instant>,
    /// It was asked for a new token.
    asked: bool,
    /// Its place among the SyncStep1 of the connection, which are answered in order; 0 before its first.
    step1: u64,
}

/// A Hocuspocus address.
#[derive(Debug)]
enum Attachment {
    /// Its token has not come; what came before it waits.
    Waiting {
        frames: Vec<Bytes>,
        since: Instant,
    },
    Joined(Joined),
    Denied,
}

/// The documents of one connection.
pub(crate) struct Attachments {
    app: Arc<App>,
    open: Arc<Open>,
    outbound: Arc<Outbound>,
    visitor: Visitor,
    family: Family,
    plain: Option<Joined>,
    /// A plain socket without access: kept open for a while, so that its client does not come back at once.
    refused: Option<(Instant, Closing, HeldPlace)>,
    addresses: HashMap<Box<str>, Attachment>,
    /// SyncStep1 received.
    steps1: u64,
    /// What waits for tokens, all addresses together.
    waiting_bytes: usize,
    waiting_frames: usize,
}

impl Attachments {
    pub(crate) fn new(app: Arc<App>, open: Arc<Open>, outbound: Arc<Outbound>, visitor: Visitor) -> Self {
        let family = if visitor.ysweet { Family::Plain } else { Family::Unknown };
        app.metrics.connection_opened();
        if visitor.ysweet {
            app.metrics.connection_speaks(Speaks::Unknown, Speaks::Ysweet);
        }
        Self {
            app,
            open,
            outbound,
            visitor,
            family,
            plain: None,
            refused: None,
            addresses: HashMap::new(),
            steps1: 0,
            waiting_bytes: 0,
            waiting_frames: 0,
        }
    }

    /// Takes in a frame.
    pub(crate) fn receive(&mut self, frame: &Bytes) -> Result<(), Closing> {
        if self.family == Family::Unknown {
            self.family = match frame.first() {
                Some(0) => Family::Plain,
                _ => Family::Hocuspocus { pings: false },
            };
            self.app.metrics.connection_speaks(Speaks::Unknown, self.speaks());
        }
        match self.family {
            Family::Plain => self.receive_plain(frame),
            Family::Hocuspocus { .. } | Family::Unknown => self.receive_addressed(frame),
        }
    }

    fn receive_plain(&mut self, frame: &Bytes) -> Result<(), Closing> {
        if self.refused.is_some() {
            return Ok(());
        }
        let message = decode_plain(frame).map_err(|error| Closing::Malformed(error.to_string()))?;
        if self.plain.is_none() {
            let Some(name) = self.visitor.document.clone() else {
                let reason = "this path names no document: connect to /sync/DOCUMENT";
                return Err(Closing::Malformed(reason.to_owned()));
            };
            match self.visitor.rights(&name) {
                Ok((principal, access)) => {
                    let dialect = if self.visitor.ysweet { Dialect::Ysweet } else { Dialect::Plain };
                    self.plain = Some(self.join(&name, dialect, None, access, &principal));
                }
                Err(closing) => return self.hold(closing),
            }
        }
        if let Some(joined) = &self.plain {
            joined.document.receive(joined.peer, &message, frame);
        }
        Ok(())
    }

    /// Keeps a refused plain socket open: closing it would only bring it back.
    fn hold(&mut self, closing: Closing) -> Result<(), Closing> {
        self.app.metrics.refused("access");
        let Some(place) = self.app.hold(self.visitor.address) else { return Err(closing) };
        self.outbound.push(encode(None, &Reply::Denied(closing.code().1)));
        let until = Instant::now() + Duration::from_millis(self.app.config.limits.held_ms);
        self.refused = Some((until, closing, place));
        Ok(())
    }

    fn receive_addressed(&mut self, frame: &Bytes) -> Result<(), Closing> {
        let decoded = decode_hocuspocus(frame).map_err(|error| Closing::Malformed(error.to_string()))?;
        let HocuspocusFrame::Addressed(address, message) = decoded else { return Ok(()) };
        if address.raw.len() > ADDRESS_BYTES {
            return Err(Closing::Malformed("the address is longer than a document's name may be".to_owned()));
        }
        if let Message::Auth { token, version } = message {
            let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
            let pings = major.is_some_and(|major| major >= 4);
            self.family = Family::Hocuspocus { pings };
            return self.authenticate(&address, token);
        }
        if let Message::Detach = message {
            if let Some(Attachment::Joined(joined)) = self.addresses.remove(address.raw) {
                joined.document.detach(joined.peer);
            }
            return Ok(());
        }
        match self.addresses.get_mut(address.raw) {
            Some(Attachment::Joined(joined)) => {
                if let Message::SyncStep1(_) = message {
                    self.steps1 += 1;
                    joined.step1 = self.steps1;
                }
                joined.document.receive(joined.peer, &message, frame);
                Ok(())
            }
            Some(Attachment::Denied) => Ok(()),
            Some(Attachment::Waiting { frames, .. }) => {
                frames.push(frame.clone());
                self.count_waiting(frame.len())
            }
            None if self.visitor.principal.is_ok() => {
                // Version 2 sends no Auth where it has no token.
                let principal = self.visitor.principal.clone();
                if self.admit(&address, &principal, false) { self.receive_addressed(frame) } else { Ok(()) }
            }
            None => {
                let waiting = Attachment::Waiting { frames: vec![frame.clone()], since: Instant::now() };
                self.addresses.insert(address.raw.into(), waiting);
                self.count_waiting(frame.len())
            }
        }
    }

    fn count_waiting(&mut self, bytes: usize) -> Result<(), Closing> {
        let limits = &self.app.config.limits;
        self.waiting_bytes += bytes;
        self.waiting_frames += 1;
        if self.waiting_bytes > limits.pre_auth_bytes
            || self.waiting_frames > limits.pre_auth_messages
            || self.addresses.len() > limits.pre_auth_documents
        {
            return Err(Closing::PreAuth("too much before a token: authenticate first".to_owned()));
        }
        Ok(())
    }

    /// Judges a token sent for an address, the first or a fresh one.
    fn authenticate(&mut self, address: &Address<'_>, token: &str) -> Result<(), Closing> {
        let principal = match token {
            "" => self.visitor.principal.clone(),
            token => self.app.auth.principal(Some(token)),
        };
        let waiting = match self.addresses.get_mut(address.raw) {
            Some(Attachment::Waiting { frames, .. }) => std::mem::take(frames),
            _ => Vec::new(),
        };
        self.waiting_frames = self.waiting_frames.saturating_sub(waiting.len());
        self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.iter().map(Bytes::len).sum());
        if !self.admit(address, &principal, true) {
            return Ok(());
        }
        waiting.iter().try_for_each(|frame| self.receive_addressed(frame))
    }

    /// Lets an address in, or says why not. `answer` says that the client waits for the word.
    fn admit(&mut self, address: &Address<'_>, principal: &Result<Principal, Denied>, answer: bool) -> bool {
        let rights = match DocumentName::parse(address.document) {
            Ok(name) => rights(principal, &name).map(|(principal, access)| (name, principal, access)),
            Err(error) => Err(Closing::Forbidden(error.to_string())),
        };
        let (name, principal, access) = match rights {
            Ok(rights) => rights,
            Err(closing) => {
                self.deny(address.raw, closing.code().1);
                return false;
            }
        };
        let full = self.addresses.len() >= self.app.config.limits.documents_per_connection;
        let joined = match self.addresses.get_mut(address.raw) {
            Some(Attachment::Joined(joined)) => {
                joined.document.enter(|session, _, _| session.set_access(joined.peer, access));
                joined.expires = expiry(&principal);
                joined.asked = false;
                None
            }
            _ if full => {
                self.deny(address.raw, "too many documents on one connection: open another");
                return false;
            }
            _ => Some(()),
        };
        if answer {
            let read_only = access == Access::Read;
            self.outbound.push(encode(Some(address.raw), &Reply::Authenticated { read_only }));
        }
        if joined.is_some() {
            let joined = self.join(&name, Dialect::Hocuspocus, Some(address.raw), access, &principal);
            self.addresses.insert(address.raw.into(), Attachment::Joined(joined));
        }
        true
    }

    fn deny(&mut self, raw: &str, reason: &str) {
        self.app.metrics.refused("access");
        self.outbound.push(encode(Some(raw), &Reply::Denied(reason)));
        if self.addresses.len() < self.app.config.limits.documents_per_connection
            || self.addresses.contains_key(raw)
        {
            match self.addresses.insert(raw.into(), Attachment::Denied) {
                Some(Attachment::Joined(joined)) => joined.document.detach(joined.peer),
                Some(Attachment::Waiting { frames, .. }) => {
                    self.waiting_frames = self.waiting_frames.saturating_sub(frames.len());
                    let bytes: usize = frames.iter().map(Bytes::len).sum();
                    self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
                }
                Some(Attachment::Denied) | None => {}
            }
        }
    }

    fn join(
        &self,
        name: &DocumentName,
        dialect: Dialect,
        address: Option<&str>,
        access: Access,
        principal: &Principal,
    ) -> Joined {
        let visitor = &self.visitor;
        let join = Join {
            dialect,
            address: address.map(Arc::from),
            access,
            user: principal.user().cloned(),
            device: principal.device().or(visitor.device.as_ref()).cloned(),
            device_name: visitor.device_name.clone(),
            device_kind: visitor.device_kind.clone(),
            wants_status: visitor.wants_status,
        };
        let (document, peer) = self.open.registry.attach(name, &join, &self.outbound);
        Joined { document, peer, expires: expiry(principal), asked: false, step1: 0 }
    }

    /// Says whether anything was judged: until then the time before authentication runs.
    pub(crate) fn joined(&self) -> bool {
        self.plain.is_some()
            || self.refused.is_some()
            || self.addresses.values().any(|attachment| !matches!(attachment, Attachment::Waiting { .. }))
    }

    /// Says whether someone was let in to a document.
    pub(crate) fn let_in(&self) -> bool {
        let joined = |attachment: &Attachment| matches!(attachment, Attachment::Joined(_));
        self.plain.is_some() || self.addresses.values().any(joined)
    }

    /// The time before authentication is over.
    pub(crate) fn unjoined(&self) -> Result<(), Closing> {
        Err(Closing::Timeout("no document was opened in time"))
    }

    /// Returns the time at which [`Attachments::expire`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        let auth = Duration::from_millis(self.app.config.limits.pre_auth_ms);
        let plain = self.plain.as_ref().and_then(|joined| joined.expires);
        let refused = self.refused.as_ref().map(|(until, ..)| *until);
        let addresses = self.addresses.values().filter_map(|attachment| match attachment {
            Attachment::Waiting { since, .. } => Some(*since + auth),
            Attachment::Joined(joined) => joined.expires,
            Attachment::Denied => None,
        });
        addresses.chain(plain).chain(refused).min()
    }

    /// Ends what has run out of time: tokens, waits for tokens, held sockets.
    pub(crate) fn expire(&mut self, now: Instant) -> Result<(), Closing> {
        if let Some((_, closing, _)) = self.refused.as_ref().filter(|(until, ..)| *until <= now) {
            return Err(closing.clone());
        }
        if self.plain.as_ref().and_then(|joined| joined.expires).is_some_and(|expires| expires <= now) {
            return Err(Closing::TokenExpired);
        }
        let auth = Duration::from_millis(self.app.config.limits.pre_auth_ms);
        let mut denied: Vec<(Box<str>, &str)> = Vec::new();
        for (raw, attachment) in &mut self.addresses {
            match attachment {
                Attachment::Waiting { since, .. } if *since + auth <= now => {
                    denied.push((raw.clone(), "no token came in time"));
                }
                Attachment::Joined(joined) if joined.expires.is_some_and(|expires| expires <= now) => {
                    if std::mem::replace(&mut joined.asked, true) {
                        denied.push((raw.clone(), "the token has expired"));
                    } else {
                        joined.expires = Some(now + auth);
                        self.outbound.push(encode(Some(raw), &Reply::AskToken));
                    }
                }
                _ => {}
            }
        }
        for (raw, reason) in denied {
            self.deny(&raw, reason);
        }
        Ok(())
    }

    /// Returns the frame that keeps the client's watchdog quiet, if the client could read one.
    pub(crate) fn keep_alive(&self) -> Option<Bytes> {
        match self.family {
            Family::Unknown => None,
            Family::Plain => Some(keep_alive_frame(&self.family, None)),
            Family::Hocuspocus { .. } => {
                self.addresses.keys().next().map(|raw| keep_alive_frame(&self.family, Some(raw)))
            }
        }
    }

    pub(crate) fn speaks(&self) -> Speaks {
        match self.family {
            Family::Unknown => Speaks::Unknown,
            Family::Plain if self.visitor.ysweet => Speaks::Ysweet,
            Family::Plain => Speaks::Plain,
            Family::Hocuspocus { .. } => Speaks::Hocuspocus,
        }
    }

    /// A message over the limit came, nobody knows for which document: most likely the SyncStep2 that is next.
    pub(crate) fn too_big(&self) {
        let addressed = self.addresses.values().filter_map(|attachment| match attachment {
            Attachment::Joined(joined) => Some(joined),
            Attachment::Waiting { .. } | Attachment::Denied => None,
        });
        let mut joined: Vec<&Joined> = addressed.chain(&self.plain).collect();
        joined.sort_unstable_by_key(|joined| joined.step1);
        let alone = joined.len() == 1;
        for Joined { document, peer, .. } in joined {
            if document.enter(|session, now, _| session.too_big(*peer, alone, now)).unwrap_or(false) {
                return;
            }
        }
    }

    /// Detaches from every document.
    pub(crate) fn leave_all(&mut self) {
        let joined = self.addresses.drain().filter_map(|(_, attachment)| match attachment {
            Attachment::Joined(joined) => Some(joined),
            _ => None,
        });
        for joined in joined.chain(self.plain.take()) {
            joined.document.detach(joined.peer);
        }
    }
}

impl Drop for Attachments {
    fn drop(&mut self) {
        self.leave_all();
        self.app.metrics.connection_closed(self.speaks());
    }
}

impl Visitor {
    /// Says what the bearer of the request's token may do with a document, or why nothing.
    pub(crate) fn rights(&self, name: &DocumentName) -> Result<(Principal, Access), Closing> {
        rights(&self.principal, name)
    }
}

fn rights(
    principal: &Result<Principal, Denied>,
    name: &DocumentName,
) -> Result<(Principal, Access), Closing> {
    let principal = principal.clone().map_err(|denied| Closing::Unauthorized(denied.to_string()))?;
    if principal.expires_at_ms().is_some_and(|at| at <= now_ms()) {
        return Err(Closing::Unauthorized(Denied::Expired.to_string()));
    }
    let access = match principal.access(name) {
        DocumentAccess::Write => Access::Write,
        DocumentAccess::Read => Access::Read,
        DocumentAccess::None => {
            return Err(Closing::Forbidden(
                "this token does not open this document: ask for a grant".to_owned(),
            ));
        }
    };
    Ok((principal, access))
}

/// Returns when a token runs out, on the clock of timers.
fn expiry(principal: &Principal) -> Option<Instant> {
    let left_ms = principal.expires_at_ms()?.saturating_sub(now_ms());
    Instant::now().checked_add(Duration::from_millis(left_ms))
}
