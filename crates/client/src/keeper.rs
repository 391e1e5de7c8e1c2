//! The thread that owns everything a device keeps: documents, their logs, the clock, and what is to be sent.
//!
//! Work comes in through one bounded queue and is done in batches: all that waits is done in memory, then the logs that
//! have to are put onto the disk, once each, and only then does anybody hear of it: callers that their edit is kept, the
//! server what it is offered and what is confirmed. So nothing is offered, called kept or confirmed before it is stored.

mod carry;
mod line;
mod open;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use syncline_document::{Pen, hlc::Clock, register::Stamp, schema};
use syncline_protocol::names::DocumentName;
use tokio::sync::mpsc;

pub(crate) use self::line::{Order, Wire};
use crate::{
    ClientError, Config,
    aside::Asides,
    boards::Boards,
    copy::{Line, LocalCopy, Out, Phase},
    folder::Folder,
};

/// Commands that are done before the logs are put onto the disk.
const BATCH: usize = 64;

/// Does something with what the keeper has, and tells whoever asked once it is on the disk, or why it is not.
pub(crate) type Work = Box<dyn FnOnce(&mut Keeper) -> Tell + Send>;
/// Tells whoever asked how it went; what was to be stored was, or was not for this reason.
pub(crate) type Tell = Box<dyn FnOnce(Result<(), ClientError>) + Send>;

/// Something for the keeper to do.
pub(crate) enum Command {
    /// Something that a caller wants.
    Work(Work),
    /// There is a connection; the token that it begins with.
    Up(Wire, String),
    /// The first try to connect is on its way.
    Dialing,
    /// A frame came over the connection of this number.
    Frame(u64, Bytes),
    /// A token came, or why none did.
    Token(u64, Result<String, String>),
    /// The connection of this number is gone.
    Down(u64, Option<Lost>),
    /// Nothing comes after this.
    Stop,
}

/// How a connection ended, where that means something for what is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lost {
    /// A message was over the server's limit.
    TooBig(String),
    /// The server does not want to see this device for now.
    Forbidden(String),
}

/// All that a device keeps.
pub(crate) struct Keeper {
    pub(crate) config: Arc<Config>,
    folder: Folder,
    asides: Asides,
    boards: Arc<Boards>,
    clock: Clock,
    /// What the server's clock is ahead of ours, in milliseconds.
    ahead_ms: i64,
    copies: BTreeMap<DocumentName, LocalCopy>,
    /// Documents that cannot be opened, and why.
    damaged: BTreeMap<DocumentName, String>,
    uses: u64,
    /// The revisions of the copies as they were last shown, and how often they have changed.
    revisions: Vec<u64>,
    revision: u64,
    line: Line,
    wire: Option<Wire>,
    token: String,
    /// Rises with every token that comes.
    token_number: u64,
    /// The application was asked for one.
    asking: bool,
    /// Copies that changed in this batch.
    touched: BTreeSet<DocumentName>,
    /// Copies that what is done right now has written to.
    written: BTreeSet<DocumentName>,
    /// What was asked for in this batch, the copies that it wrote to, and how to tell.
    asked: Vec<(BTreeSet<DocumentName>, Tell)>,
    /// What is to be sent, of which copy.
    frames: Vec<(DocumentName, Bytes)>,
}

impl Keeper {
    /// Opens the store, with what waits to be saved and what every screen needs.
    pub(crate) fn open(config: Arc<Config>, boards: Arc<Boards>) -> Result<Self, ClientError> {
        let folder = Folder::open(&config)?;
        let asides = Asides::open(folder.aside())?;
        let mut keeper = Self {
            folder,
            asides,
            boards,
            clock: Clock::new(),
            ahead_ms: 0,
            copies: BTreeMap::new(),
            damaged: BTreeMap::new(),
            uses: 0,
            revisions: Vec::new(),
            revision: 0,
            line: if config.online { Line::Dialing } else { Line::Down },
            wire: None,
            token: String::new(),
            token_number: 0,
            asking: false,
            touched: BTreeSet::new(),
            written: BTreeSet::new(),
            asked: Vec::new(),
            frames: Vec::new(),
            config,
        };
        keeper.open_standing()?;
        keeper.publish();
        Ok(keeper)
    }

    /// Works until it is told to stop, or nobody is left who could ask.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(first) = commands.blocking_recv() {
            let mut next = Some(first);
            let mut done = 0;
            let mut stops = false;
            while let Some(command) = next {
                stops = matches!(command, Command::Stop);
                self.take(command);
                done += 1;
                next = if done < BATCH && !stops { commands.try_recv().ok() } else { None };
            }
            self.settle();
            if stops {
                break;
            }
        }
        self.boards.close();
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Work(work) => {
                self.written.clear();
                let tell = work(self);
                let written = std::mem::take(&mut self.written);
                self.asked.push((written, tell));
            }
            Command::Up(wire, token) => self.up(wire, token),
            Command::Dialing => {
                self.line = Line::Dialing;
                self.touch_all();
            }
            Command::Frame(wire, frame) => self.frame(wire, &frame),
            Command::Token(wire, token) => self.renew(wire, &token),
            Command::Down(wire, lost) => self.down(wire, lost.as_ref()),
            Command::Stop => {}
        }
    }

    /// Puts onto the disk what was done, and lets everybody hear of it.
    fn settle(&mut self) {
        if self.touched.iter().any(|name| self.copies.get(name).is_some_and(|copy| copy.joint.to_merge() > 0))
        {
            self.publish();
        }
        let mut failed: BTreeMap<DocumentName, ClientError> = BTreeMap::new();
        for name in self.touched.clone() {
            if let Err(error) = self.store(&name) {
                tracing::error!(document = %name, %error, "the store failed: the document is opened anew");
                self.reopen(&name);
                failed.insert(name, error);
            }
        }
        for (_, frame) in std::mem::take(&mut self.frames) {
            self.send(frame);
        }
        self.publish();
        // What was opened anew is put onto the disk, and joined, with the next batch: with the next ping at the latest.
        let copies = &self.copies;
        self.touched.retain(|name| copies.get(name).is_some_and(LocalCopy::is_urgent));
        for (written, tell) in std::mem::take(&mut self.asked) {
            let error = written.iter().find_map(|name| failed.get(name));
            tell(error.map_or(Ok(()), |error| Err(error.clone())));
        }
    }

    /// Puts onto the disk what was done to a document. Then it may be offered and confirmed: it is joined, if it is not.
    fn store(&mut self, name: &DocumentName) -> Result<(), ClientError> {
        let Some(copy) = self.copies.get_mut(name) else { return Ok(()) };
        copy.sync()?;
        // Nobody's edit fails with this: all are on the disk, and who made one would make it twice.
        if let Err(error) = copy.compact() {
            tracing::warn!(document = %name, %error, "a long log stays as it is");
            if matches!(error, ClientError::Damaged(_)) {
                self.reopen(name);
                return Ok(());
            }
        }
        if copy.unsaved() == 0 {
            self.folder.unmark_unsaved(name);
        }
        if let Some(frame) = copy.confirmation() {
            self.frames.push((name.clone(), frame));
        }
        if self.line == Line::Up && copy.joint.phase == Phase::Apart {
            self.join(name);
        }
        Ok(())
    }

    /// Returns unix milliseconds, corrected by the server's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        local_ms().saturating_add_signed(self.ahead_ms)
    }

    /// Returns who writes.
    pub(crate) fn writer(&self) -> &syncline_document::ids::Writer {
        self.folder.writer()
    }

    /// Says whether a writer is this device, now or in an earlier session.
    pub(crate) fn is_own(&self, writer: &str) -> bool {
        let device = syncline_document::ids::Writer::parse(writer);
        device.is_some_and(|writer| writer.device_id() == Some(&self.config.device))
    }

    /// Says whether a writer is an earlier session of this store.
    pub(crate) fn is_gone(&self, writer: &syncline_document::ids::Writer) -> bool {
        self.folder.is_gone(writer)
    }

    /// Writes to a document, with a time later than all that stands there. It is kept once the batch has settled.
    pub(crate) fn edit<R>(
        &mut self,
        name: &DocumentName,
        write: impl FnOnce(&mut Pen<'_, '_>, &Stamp) -> Result<R, schema::Unfit>,
    ) -> Result<R, ClientError> {
        let now_ms = self.now_ms();
        self.opened(name)?;
        let Some(copy) = self.copies.get_mut(name) else { return Err(ClientError::Closed) };
        if !std::mem::replace(&mut copy.wound, true) {
            let latest = schema::latest(&mut copy.replica, &copy.kind, now_ms)?;
            self.clock.observe(latest, now_ms);
        }
        let stamp = Stamp { writer: self.folder.writer().clone(), hlc: self.clock.tick(now_ms) };
        if copy.unsaved() == 0 {
            self.folder.mark_unsaved(name)?;
        }
        let (kind, folds) = (copy.kind.clone(), !std::mem::replace(&mut copy.folded, true));
        let folder = &self.folder;
        let mut out = Vec::new();
        let outcome = copy.edit(
            |pen| {
                if folds {
                    schema::fold_writers(pen, &kind, &stamp.writer, |writer| folder.is_gone(writer));
                }
                write(pen, &stamp)
            },
            &mut out,
        );
        self.touched.insert(name.clone());
        self.written.insert(name.clone());
        self.carry_out(name, out);
        match outcome {
            Ok(value) => Ok(value?),
            Err(error) => {
                self.reopen(name);
                Err(error)
            }
        }
    }

    /// Reads a document.
    pub(crate) fn read<R>(
        &mut self,
        name: &DocumentName,
        read: impl FnOnce(&mut LocalCopy) -> Result<R, syncline_document::Broken>,
    ) -> Result<R, ClientError> {
        self.opened(name)?;
        let Some(copy) = self.copies.get_mut(name) else { return Err(ClientError::Closed) };
        let outcome = read(copy);
        if outcome.is_err() {
            self.reopen(name);
        }
        Ok(outcome?)
    }

    /// Says whether a document is open.
    pub(crate) fn is_open(&self, name: &DocumentName) -> bool {
        self.copies.contains_key(name)
    }

    /// Lists the open documents.
    pub(crate) fn names(&self) -> Vec<DocumentName> {
        self.copies.keys().cloned().collect()
    }

    pub(crate) fn asides(&mut self) -> &mut Asides {
        &mut self.asides
    }

    fn touch_all(&mut self) {
        self.touched.extend(self.copies.keys().cloned());
    }

    /// Does what a copy wants to be done.
    fn carry_out(&mut self, name: &DocumentName, out: Vec<Out>) {
        for out in out {
            match out {
                Out::Frame(frame) => self.frames.push((name.clone(), frame)),
                Out::Token => self.want_token(name),
                Out::SetAside => self.set_aside(name),
                Out::InStep => self.carry_over(name),
                Out::Clocks { server_ms, local_ms } => self.set_clock(server_ms, local_ms),
                Out::Reopen(refusal) => {
                    self.reopen(name);
                    if let Some(copy) = self.copies.get_mut(name) {
                        copy.joint.refusal = Some(refusal);
                    }
                }
                Out::Reconnect => self.order(Order::Hang),
            }
        }
    }

    /// Corrects the clock by the server's, where they differ by more than a message takes.
    fn set_clock(&mut self, server_ms: u64, local_ms: u64) {
        const CLOSE_MS: i64 = 2_000;
        let ahead = i64::try_from(server_ms).unwrap_or(i64::MAX) - i64::try_from(local_ms).unwrap_or(0);
        self.ahead_ms = if ahead.abs() < CLOSE_MS { 0 } else { ahead };
    }

    /// Shows what is true now.
    fn publish(&mut self) {
        let device = &self.config.device;
        for name in &self.touched {
            if let Some(copy) = self.copies.get(name) {
                self.boards.show(copy.view(self.line, device));
            }
        }
        let statuses: Vec<_> = self.copies.values().map(|copy| copy.status(self.line)).collect();
        let revisions: Vec<_> = self.copies.values().map(|copy| copy.revision).collect();
        if revisions != self.revisions {
            self.revisions = revisions;
            self.revision += 1;
        }
        self.boards.show_all(&statuses, &self.damaged, self.line, self.revision, self.asides.list().len());
    }
}

/// Returns unix milliseconds by this device's clock.
pub(crate) fn local_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
