//! One user's documents, as the API reads and writes them on behalf of whoever calls.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use bytes::Bytes;
use http::StatusCode;
use syncline_document::{
    Broken, Pen, Replica,
    hlc::Hlc,
    ids::{ConversationId, Quarter, Writer},
    merge,
    record::Origin,
    register::{Source, Stamp},
    schema::{Kind, Unfit},
};
use syncline_protocol::names::{DocumentName, check_user};
use syncline_store::StoreError;
use syncline_sync::{Draft, Room};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{at, problem::Problem};
use crate::{
    app::{App, Open},
    auth::{Denied, DocumentAccess, Principal, Role},
    clock::now_ms,
    erasure::{By, ledger},
};

/// The writer of whoever calls without a device.
const NOBODYS_DEVICE: &str = "http";
/// The session part of writers of this API: their keys are written under the server's client id, one after the other.
const SESSION: &str = "api";

/// The id that a call with a key gives to what it makes.
#[derive(Clone)]
pub(super) struct Drawn(pub(super) String);

/// The user in the path, and who calls.
#[derive(Clone)]
pub(crate) struct Home {
    pub(super) open: Arc<Open>,
    pub(super) user: Arc<str>,
    /// Owns what a call leaves running.
    pub(super) tasks: TaskTracker,
    /// Cancelled when the server goes down: what takes long ends early.
    pub(super) draining: CancellationToken,
    caller: Principal,
    may_write: bool,
    /// The id that this call's key stands for.
    drawn: Option<String>,
}

impl FromRequestParts<Arc<App>> for Home {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let home = Self::of(parts, app).await?;
        home.stands()?;
        Ok(home)
    }
}

impl Home {
    /// Finds out who calls for whom, whether or not that user was erased.
    pub(super) async fn of(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let names = at::names(parts, app).await?;
        let user = names.get("user").map(String::as_str).unwrap_or_default();
        let caller = match parts.extensions.get::<Principal>() {
            Some(judged) => judged.clone(),
            None => crate::http::bearer(app, &parts.headers).map_err(unknown)?,
        };
        check_user(user).map_err(|error| Problem::bad(error.to_string()))?;
        let may_write = may_write(&caller, user)?;
        let Some(open) = app.engine() else {
            return Err(Problem::unavailable("not_ready", "the store is being opened"));
        };
        let drawn = parts.extensions.get::<Drawn>().map(|drawn| drawn.0.clone());
        let (tasks, draining) = (app.tasks.clone(), app.draining.clone());
        Ok(Self { open: open.clone(), user: user.into(), tasks, draining, caller, may_write, drawn })
    }
}

impl Home {
    /// A user's documents in the hands of whoever has the data folder; `None` where its store is not open.
    pub(crate) fn of_operator(app: &App, user: &str) -> Option<Self> {
        let (open, caller) = (app.engine()?.clone(), Principal::anyone());
        let (tasks, draining) = (app.tasks.clone(), app.draining.clone());
        Some(Self { open, user: user.into(), tasks, draining, caller, may_write: true, drawn: None })
    }
}

fn unknown(denied: Denied) -> Problem {
    match denied {
        Denied::Unknown => Problem::unavailable("not_ready", denied.to_string()),
        denied => Problem::new(StatusCode::UNAUTHORIZED, denied.code(), denied.to_string()),
    }
}

/// Says whether the caller may write for a user, or refuses one who may not even read.
fn may_write(caller: &Principal, user: &str) -> Result<bool, Problem> {
    let stranger = || Problem::forbidden("this token is not for this user");
    let profile = document(user, "profile")?;
    let Some(claims) = caller.claims() else { return Ok(true) };
    if claims.only.is_some() || caller.access(&profile) == DocumentAccess::None {
        return Err(stranger());
    }
    Ok(writes(caller, &profile))
}

/// Says whether the caller may write a document here.
fn writes(caller: &Principal, name: &DocumentName) -> bool {
    match caller.access(name) {
        DocumentAccess::None => false,
        DocumentAccess::Write => true,
        // An agent reads over sockets and writes here.
        DocumentAccess::Read => caller
            .claims()
            .is_some_and(|claims| claims.role == Role::Agent && name.owner() == Some(claims.sub.as_str())),
    }
}

fn document(user: &str, rest: &str) -> Result<DocumentName, Problem> {
    DocumentName::parse(&format!("{user}/{rest}")).map_err(|error| Problem::bad(error.to_string()))
}

/// What stops a write.
pub(super) enum Stop {
    /// The caller is told.
    Problem(Problem),
    /// yrs failed.
    Broken(Broken),
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Unfit> for Stop {
    fn from(unfit: Unfit) -> Self {
        Self::Problem(unfit.into())
    }
}

/// A document on which a call works.
pub(super) struct Desk<'a> {
    draft: Draft<'a>,
    writer: Writer,
    updates: Vec<Bytes>,
}

impl Desk<'_> {
    /// Returns the document, to read.
    pub(super) fn replica(&mut self) -> &mut Replica {
        self.draft.replica
    }

    /// Says whether anything was written so far: what stands there already is not written again.
    pub(super) fn has_written(&self) -> bool {
        !self.updates.is_empty()
    }

    /// Writes to the document, stamped as later than all that stands there.
    pub(super) fn edit<T>(
        &mut self,
        write: impl FnOnce(&mut Pen<'_, '_>, &Stamp) -> Result<T, Unfit>,
    ) -> Result<T, Stop> {
        let hlc = self.draft.clock.tick(self.draft.now_ms);
        let stamp = Stamp { writer: self.writer.clone(), hlc };
        let edited = self.draft.replica.edit(|pen| write(pen, &stamp))?;
        self.updates.extend(edited.update);
        Ok(edited.value?)
    }
}

impl Home {
    /// Returns the name of one of the user's documents.
    pub(super) fn name(&self, kind: &Kind) -> Result<DocumentName, Problem> {
        match kind {
            Kind::Profile => document(&self.user, "profile"),
            Kind::Marks => document(&self.user, "marks"),
            Kind::Drafts => document(&self.user, "drafts"),
            Kind::Index(quarter) => document(&self.user, &format!("index/{quarter}")),
            Kind::Conversation(id) => document(&self.user, &format!("c/{id}")),
            Kind::FreeForm => Err(Problem::missing("document")),
        }
    }

    /// Returns the index that a conversation stands in.
    pub(super) fn index_of(&self, id: &ConversationId) -> Kind {
        Kind::Index(id.quarter())
    }

    /// Says who writes: the token's device, an agent by its user's name, or this API.
    pub(super) fn writer(&self) -> Writer {
        self.writer_with("")
    }

    /// Says who writes values of a source. A writer has one value of a field, so each source has a writer of its own:
    /// what is inferred would else replace what the same device had set by hand.
    pub(super) fn writer_of(&self, source: Source) -> Writer {
        match source {
            Source::Explicit => self.writer(),
            other => self.writer_with(&format!("-{}", other.as_str())),
        }
    }

    fn writer_with(&self, suffix: &str) -> Writer {
        let device = self.caller.device().map(|device| &**device);
        let named = if self.is_agent() && device.is_none() {
            // A writer's name has no `@`, as many users' names have.
            Writer::agent(&format!("{}{suffix}", self.user.replace('@', "/")))
        } else {
            Writer::device(device.unwrap_or(NOBODYS_DEVICE), &format!("{SESSION}{suffix}"))
        };
        named.unwrap_or_else(Writer::server)
    }

    /// Says whether an agent calls: it does not speak for the person.
    pub(super) fn is_agent(&self) -> bool {
        self.caller.claims().is_some_and(|claims| claims.role == Role::Agent)
    }

    /// Says whether the caller may read a document.
    pub(super) fn may_read(&self, name: &DocumentName) -> bool {
        self.caller.access(name) != DocumentAccess::None
    }

    /// Returns when the caller's token expires: unix milliseconds.
    pub(super) fn expires_at_ms(&self) -> Option<u64> {
        self.caller.expires_at_ms()
    }

    /// Refuses a caller whose device was revoked, or whose user was erased, since the call began: for what takes long.
    pub(super) fn still_welcome(&self, app: &App) -> Result<(), Problem> {
        app.check_device(self.caller.user(), self.caller.device()).map_err(unknown)?;
        self.stands()
    }

    /// Refuses a user who was erased since the call began.
    pub(super) fn stands(&self) -> Result<(), Problem> {
        match ledger::user_burned(&*self.open.store, &self.user)? {
            Some(reason) => Err(Problem::gone(reason)),
            None => Ok(()),
        }
    }

    /// Returns an id for what is made without one: the same one where the same call is tried again.
    pub(super) fn fresh_id(&self) -> String {
        self.drawn.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string())
    }

    fn origin(&self) -> Origin {
        Origin { user: self.caller.user().cloned(), device: self.caller.device().cloned(), at_ms: now_ms() }
    }

    /// Returns a stamp to be replaced by that of the edit.
    pub(super) fn blank_stamp(&self) -> Stamp {
        Stamp { writer: self.writer(), hlc: Hlc::default() }
    }

    /// Refuses callers who may not erase: the person, or who operates the server, may; an agent, a reader and whoever was
    /// let in by a grant may not.
    pub(super) fn may_erase(&self) -> Result<(), Problem> {
        let own = |sub: &str| sub == &*self.user;
        match self.caller.claims() {
            None => Ok(()),
            Some(claims) if claims.only.is_some() => {
                Err(Problem::forbidden("this token is for one document"))
            }
            Some(claims)
                if claims.role == Role::Admin || (claims.role == Role::Owner && own(&claims.sub)) =>
            {
                Ok(())
            }
            Some(_) => Err(Problem::forbidden(
                "only the user's own token of role owner, or one of role admin, erases for good",
            )),
        }
    }

    /// Says who calls, for a receipt.
    pub(super) fn by(&self) -> By {
        By {
            user: self.caller.user().map(|user| user.to_string()),
            device: self.caller.device().map(|device| device.to_string()),
            role: self.caller.claims().map(|claims| claims.role.to_string()),
        }
    }

    /// Refuses a conversation that was erased.
    pub(super) fn alive(&self, id: &ConversationId) -> Result<(), Problem> {
        match ledger::conversation_burned(&*self.open.store, &self.user, id)? {
            Some(reason) => Err(Problem::gone(reason)),
            None => Ok(()),
        }
    }

    /// Refuses callers who may only read.
    pub(super) fn writable(&self) -> Result<(), Problem> {
        if self.may_write {
            return Ok(());
        }
        Err(Problem::forbidden("this token only reads for this user: use one of role owner or agent"))
    }

    /// Reads one of the user's documents.
    pub(super) async fn look<R: Send + 'static>(
        &self,
        kind: &Kind,
        read: impl FnOnce(&mut Replica) -> Result<R, Broken> + Send + 'static,
    ) -> Result<R, Problem> {
        let name = self.name(kind)?;
        if self.caller.access(&name) == DocumentAccess::None {
            return Err(Problem::forbidden("this token does not open this part of the user's state"));
        }
        let outcome = self.open.registry.look(&name, read).await?;
        outcome.map_err(|broken| Problem::unavailable("unavailable", broken.to_string()))
    }

    /// Writes to one of the user's documents; returns once all of it is durable.
    pub(super) async fn write<R: Send + 'static>(
        &self,
        kind: &Kind,
        write: impl FnOnce(&mut Desk<'_>) -> Result<R, Stop> + Send + 'static,
    ) -> Result<R, Problem> {
        self.write_with(Room::Needed, kind, write).await
    }

    /// As [`Home::write`], where what is written may be a little thing, or make room.
    pub(super) async fn write_with<R: Send + 'static>(
        &self,
        room: Room,
        kind: &Kind,
        write: impl FnOnce(&mut Desk<'_>) -> Result<R, Stop> + Send + 'static,
    ) -> Result<R, Problem> {
        self.writable()?;
        let writer = self.writer();
        let name = self.name(kind)?;
        if !writes(&self.caller, &name) {
            return Err(Problem::forbidden("this token does not write this part of the user's state"));
        }
        self.open.room().await;
        let composed = self.open.registry.compose(&name, room, self.origin(), move |draft| {
            let mut desk = Desk { draft, writer, updates: Vec::new() };
            let outcome = match write(&mut desk) {
                Ok(value) => Ok(value),
                Err(Stop::Problem(problem)) => Err(problem),
                Err(Stop::Broken(broken)) => return Err(broken),
            };
            let update = match desk.updates.as_slice() {
                [] => None,
                [one] => Some(one.clone()),
                many => Some(merge(many)?),
            };
            Ok((outcome, update))
        });
        composed.await?
    }

    /// Lists the quarters that the user has an index of, the newest first.
    pub(super) async fn quarters(&self) -> Result<Vec<Quarter>, Problem> {
        let names = self.names_in("index").await?;
        let mut quarters: Vec<Quarter> = names.iter().filter_map(|name| Quarter::parse(name)).collect();
        quarters.sort_unstable();
        quarters.reverse();
        Ok(quarters)
    }

    /// Lists the conversations that have a document.
    pub(super) async fn conversations(&self) -> Result<Vec<ConversationId>, Problem> {
        let names = self.names_in("c").await?;
        Ok(names.iter().filter_map(|name| ConversationId::parse(name)).collect())
    }

    /// Lists the names of the stored documents in one of the user's folders, the folder left out.
    async fn names_in(&self, folder: &str) -> Result<Vec<String>, Problem> {
        let (open, folder) = (self.open.clone(), format!("{}/{folder}", self.user));
        let names = tokio::task::spawn_blocking(move || {
            let start = format!("{folder}/");
            let mut names = Vec::new();
            let mut after = DocumentName::parse(&folder).ok();
            loop {
                let page = open.store.documents(after.as_ref(), 256)?;
                let Some(last) = page.last().map(|summary| summary.name.clone()) else { return Ok(names) };
                let mine = page.iter().filter_map(|summary| summary.name.as_str().strip_prefix(&start));
                names.extend(mine.map(str::to_owned));
                if last.as_str() > start.as_str() && !last.as_str().starts_with(&start) {
                    return Ok::<_, StoreError>(names);
                }
                after = Some(last);
            }
        });
        Ok(names.await.map_err(|_| Problem::unavailable("restarting", "the server is going down"))??)
    }
}
