//! The documents of one connection: which dialect it speaks, who it is for each of them, and what waits until
//! that is known.

mod preauth;
mod visitor;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use syncline_protocol::{
    frame::{Address, Dialect, HocuspocusFrame, Message, Reply, decode_hocuspocus, decode_plain, encode},
    names::DocumentName,
};
use syncline_sync::{Access, Join, PeerId, Step1s};
use tokio::time::Instant;

use crate::{
    app::{App, HeldPlace, Open},
    auth::{Denied, Principal},
    clock::now_ms,
    connection::keep_alive_frame,
    document::Document,
    metrics::Speaks,
    outbound::{Closing, Outbound},
    revoked::Listed,
};

use preauth::Allowance;
pub(crate) use visitor::Visitor;
use visitor::{Identity, closing, expiry};

/// A document's name, and the session that a client may add to it.
const ADDRESS_BYTES: usize = 512 + 1 + 128;

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
    identity: Identity,
    expires: Option<Instant>,
    /// It was asked for a new token.
    asked: bool,
    /// Lists the socket as one of its device's.
    _listed: Option<Listed>,
    /// Another user or device took the address over: until then the client has to sync anew.
    sync_by: Option<Instant>,
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
    /// What is left of them for each document, whatever its addresses and however often they are given up; none while it
    /// is whole.
    step1s: HashMap<Box<str>, Step1s>,
    /// What came without a token that opens anything, all addresses together.
    allowance: Allowance,
    /// A Hocuspocus socket that has nothing but denials takes the place of a refused one.
    place: Option<HeldPlace>,
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
            step1s: HashMap::new(),
            allowance: Allowance::default(),
            place: None,
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
            match self.visitor.rights(&self.app, &name) {
                Ok((principal, access)) => {
                    let dialect = if self.visitor.ysweet { Dialect::Ysweet } else { Dialect::Plain };
                    match self.join(&name, dialect, None, access, &principal) {
                        Ok(joined) => self.plain = Some(joined),
                        Err(closing) => return self.hold(closing),
                    }
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
            return self.authenticate(&address, token, frame.len());
        }
        if let Message::Detach = message {
            if let Some(attachment) = self.addresses.remove(address.raw) {
                self.leave(attachment);
            }
            return Ok(());
        }
        if let Message::SyncStep1(_) = message
            && let Some(Attachment::Joined(_)) = self.addresses.get(address.raw)
        {
            self.spend_step1(address.document)?;
        }
        match self.addresses.get_mut(address.raw) {
            Some(Attachment::Joined(joined)) => {
                if let Message::SyncStep1(_) = message {
                    self.steps1 += 1;
                    joined.step1 = self.steps1;
                    joined.sync_by = None;
                }
                joined.document.receive(joined.peer, &message, frame);
                Ok(())
            }
            Some(Attachment::Denied) => Ok(()),
            Some(Attachment::Waiting { frames, .. }) => {
                frames.push(frame.clone());
                self.allowance.wait(frame.len());
                self.check_allowance()
            }
            None if self.visitor.principal.is_ok() => {
                // Version 2 sends no Auth where it has no token.
                let principal = self.visitor.principal.clone();
                if self.admit(&address, &principal, false)? { self.receive_addressed(frame) } else { Ok(()) }
            }
            None => {
                let waiting = Attachment::Waiting { frames: vec![frame.clone()], since: Instant::now() };
                self.addresses.insert(address.raw.into(), waiting);
                self.allowance.wait(frame.len());
                self.check_allowance()
            }
        }
    }

    fn check_allowance(&self) -> Result<(), Closing> {
        let strangers = self.addresses.values().filter(|known| !matches!(known, Attachment::Joined(_)));
        self.allowance.check(&self.app.config.limits, strangers.count())
    }

    /// Judges a token sent for an address, the first or a fresh one. `bytes` is the size of its frame.
    fn authenticate(&mut self, address: &Address<'_>, token: &str, bytes: usize) -> Result<(), Closing> {
        let principal = match token {
            "" => self.visitor.principal.clone(),
            token => self.app.principal(Some(token)),
        };
        let waiting = match self.addresses.get_mut(address.raw) {
            Some(Attachment::Waiting { frames, .. }) => std::mem::take(frames),
            _ => Vec::new(),
        };
        self.allowance.give_back(&waiting);
        if !self.admit(address, &principal, true)? {
            // Whoever tries tokens one after the other uses the allowance up. A client of many documents whose
            // token is no good is kept as one of a single document is: nothing waits for it.
            self.allowance.spend(bytes);
            return self.allowance.check(&self.app.config.limits, 0);
        }
        waiting.iter().try_for_each(|frame| self.receive_addressed(frame))
    }

    /// Lets an address in, or says why not. `answer` says that the client waits for the word.
    fn admit(
        &mut self,
        address: &Address<'_>,
        principal: &Result<Principal, Denied>,
        answer: bool,
    ) -> Result<bool, Closing> {
        let rights = match DocumentName::parse(address.document) {
            Ok(name) => {
                self.visitor.rights_of(&self.app, principal, &name).and_then(|(principal, access)| {
                    self.open.registry.alive(&name)?;
                    Ok((name, principal, access))
                })
            }
            Err(error) => Err(Closing::Forbidden(error.to_string())),
        };
        let (name, principal, access) = match rights {
            Ok(rights) => rights,
            Err(closing) => return self.deny(address.raw, closing).map(|()| false),
        };
        let known = self.addresses.get(address.raw);
        let joined = matches!(known, Some(Attachment::Joined(_)));
        if !joined && self.addresses.len() >= self.app.config.limits.documents_per_connection {
            let full = "too many documents on one connection: open another";
            return self.deny(address.raw, Closing::TryLater(full.to_owned())).map(|()| false);
        }
        if answer {
            let read_only = access == Access::Read;
            self.outbound.push(encode(Some(address.raw), &Reply::Authenticated { read_only }));
        }
        if !self.renew(address.raw, access, &principal) {
            let next = self.join(&name, Dialect::Hocuspocus, Some(address.raw), access, &principal);
            let mut next = match next {
                Ok(next) => next,
                Err(closing) => return self.deny(address.raw, closing).map(|()| false),
            };
            let allowed = Duration::from_millis(self.app.config.limits.pre_auth_ms);
            next.sync_by = joined.then(|| Instant::now() + allowed);
            if let Some(before) = self.addresses.insert(address.raw.into(), Attachment::Joined(next)) {
                self.leave(before);
            }
            self.place = None;
        }
        Ok(true)
    }

    /// Takes a fresh token of who has the address already. Another user or device joins anew, so that the journal
    /// names the right one: then this is `false`.
    fn renew(&mut self, raw: &str, access: Access, principal: &Principal) -> bool {
        let identity = self.visitor.identity(principal);
        let Some(Attachment::Joined(joined)) = self.addresses.get_mut(raw) else { return false };
        if joined.identity != identity {
            return false;
        }
        joined.document.enter(|session, _, _| session.set_access(joined.peer, access));
        joined.expires = expiry(principal);
        joined.asked = false;
        true
    }

    /// Denies an address. The socket is kept, but of those that have nothing else only so many for one address.
    fn deny(&mut self, raw: &str, closing: Closing) -> Result<(), Closing> {
        self.app.metrics.refused("access");
        self.outbound.push(encode(Some(raw), &Reply::Denied(closing.code().1)));
        let full = self.addresses.len() >= self.app.config.limits.documents_per_connection;
        if (!full || self.addresses.contains_key(raw))
            && let Some(before) = self.addresses.insert(raw.into(), Attachment::Denied)
        {
            self.leave(before);
        }
        let useless = self.addresses.values().all(|known| matches!(known, Attachment::Denied));
        if useless && self.place.is_none() {
            let place = self.app.hold(self.visitor.address).ok_or(closing)?;
            self.place = Some(place);
        }
        Ok(())
    }

    /// Gives back what an address had.
    fn leave(&mut self, attachment: Attachment) {
        match attachment {
            Attachment::Joined(joined) => joined.document.detach(joined.peer),
            Attachment::Waiting { frames, .. } => self.allowance.give_back(&frames),
            Attachment::Denied => {}
        }
    }

    /// Takes one SyncStep1 from what is left of them for a document. The session counts for each attachment; a client
    /// that gives one up and makes another goes on with what was left here.
    fn spend_step1(&mut self, document: &str) -> Result<(), Closing> {
        let (settings, now) = (&self.open.registry.engine().settings, now_ms());
        if let Some(step1s) = self.step1s.get_mut(document) {
            if step1s.take(settings, now) {
                return Ok(());
            }
            return Err(Closing::TryLater("too many SyncStep1: sync once per connection".to_owned()));
        }
        let limit = self.app.config.limits.documents_per_connection;
        if self.step1s.len() >= limit {
            self.step1s.retain(|_, step1s| !step1s.is_full(settings, now));
        }
        if self.step1s.len() >= limit {
            let reason = "too many documents opened and closed at once: keep them open";
            return Err(Closing::TryLater(reason.to_owned()));
        }
        let mut step1s = Step1s::full(settings, now);
        step1s.take(settings, now);
        self.step1s.insert(document.into(), step1s);
        Ok(())
    }

    fn join(
        &self,
        name: &DocumentName,
        dialect: Dialect,
        address: Option<&str>,
        access: Access,
        principal: &Principal,
    ) -> Result<Joined, Closing> {
        let visitor = &self.visitor;
        let identity = visitor.identity(principal);
        let join = Join {
            dialect,
            address: address.map(Arc::from),
            access,
            user: identity.user.clone(),
            device: identity.device.clone(),
            device_name: visitor.device_name.clone(),
            device_kind: visitor.device_kind.clone(),
            wants_status: visitor.wants_status,
        };
        let (user, device) = (identity.user.as_ref(), identity.device.as_ref());
        let revoked = &self.open.registry.engine().revoked;
        let listed = user.zip(device).map(|(user, device)| revoked.list(user, device, &self.outbound));
        // Once more, now that it is listed: it may have been revoked in between.
        if let Err(denied) = self.app.check_device(user, device) {
            self.outbound.close(closing(denied));
        }
        let attached = self.open.registry.attach(name, &join, &self.outbound);
        let (document, peer) = attached?;
        Ok(Joined {
            document,
            peer,
            identity,
            expires: expiry(principal),
            asked: false,
            _listed: listed,
            sync_by: None,
            step1: 0,
        })
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
            Attachment::Joined(joined) => joined.expires.into_iter().chain(joined.sync_by).min(),
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
                // It would hear of nobody's edits, and nothing it sends would be called saved.
                Attachment::Joined(joined) if joined.sync_by.is_some_and(|by| by <= now) => {
                    let reason = "another user or device took a document over: reconnect";
                    return Err(Closing::TryLater(reason.to_owned()));
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
            self.deny(&raw, Closing::Unauthorized(reason.to_owned()))?;
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
