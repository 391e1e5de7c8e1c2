//! The scheduler: simulated time, everything that happens in it, and the verdict at the end.

use std::{cmp::Reverse, collections::BinaryHeap};

use bytes::Bytes;
use syncline_protocol::names::DocumentName;
use syncline_store::{MemoryStore, memory::Fault};

use crate::{
    author::Author,
    checks::{Check, Checks, Violation},
    device::{Device, Link},
    driver::{Act, Later, Server, join},
    event::{Event, Kind, Queued, is_work},
    ids::Ids,
    indicator::Family,
    network::{Connection, Parcel},
    page::Page,
    plan::Plan,
    rng::Rng,
    wire::Said,
};

/// How long everything has to become quiet once nothing breaks any more.
const QUIET_MS: u64 = 60_000;
/// More events than any run needs: a run that gets here goes round in circles.
const EVENTS: u64 = 400_000;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// A hash over everything that happened: equal for equal seeds.
    pub trace: u64,
    /// Events that happened.
    pub events: u64,
    /// Edits that people made.
    pub edits: u64,
    /// Times that an indicator turned to saved, each checked against the disk.
    pub saved: u64,
    /// Crashes and power cuts.
    pub crashes: u64,
    /// Contradictions that the server healed.
    pub heals: u64,
    /// The messages that have a place, by document, with their numbers.
    pub order: Vec<(usize, String, u64)>,
}

/// One run.
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) names: Vec<DocumentName>,
    pub(crate) pages: Vec<Page>,
    pub(crate) now_ms: u64,
    pub(crate) events: BinaryHeap<Reverse<Queued>>,
    pub(crate) order: u64,
    /// Events ahead that bring the system further: with none left it is as quiet as it gets.
    pub(crate) work: usize,
    pub(crate) devices: Vec<Device>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) server: Option<Server>,
    /// The store while no process runs on it.
    pub(crate) disk: Option<MemoryStore>,
    pub(crate) process: u64,
    pub(crate) doom: Option<Kind>,
    pub(crate) calm: bool,
    pub(crate) checks: Checks,
    pub(crate) next_client: u64,
    pub(crate) edits: u64,
    pub(crate) saved: u64,
    pub(crate) crashes: u64,
    pub(crate) heals: u64,
    pub(crate) trace: u64,
    pub(crate) log: bool,
}

impl World {
    /// Sets up a run.
    ///
    /// # Errors
    /// Where the store or a name is refused, before anything happened.
    pub fn new(plan: Plan) -> anyhow::Result<Self> {
        let mut rng = Rng::new(plan.seed ^ 0x5151);
        let store = MemoryStore::new()?;
        let pages = plan.documents.clone();
        let names = pages.iter().enumerate().map(|(number, page)| DocumentName::parse(&page.name(number)));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let checks = Checks::new(names.clone(), &pages, &store);
        let server = Server::start(store, names.clone(), &plan, rng.fork());
        let mut world = Self {
            rng,
            names,
            pages,
            now_ms: 0,
            events: BinaryHeap::new(),
            order: 0,
            work: 0,
            devices: Vec::new(),
            connections: Vec::new(),
            server: Some(server),
            disk: None,
            process: 0,
            doom: None,
            calm: false,
            checks,
            next_client: 1_000,
            edits: 0,
            saved: 0,
            crashes: 0,
            heals: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            log: std::env::var_os("SYNCLINE_LOG").is_some(),
            plan,
        };
        world.populate();
        Ok(world)
    }

    fn populate(&mut self) {
        for (name, device) in self.plan.devices.clone().into_iter().enumerate() {
            let client = self.client();
            let author = Author::new(name, device.skew_ms, self.plan.clocks);
            let (document, family) = (device.document, device.family);
            self.devices.push(Device::new(name, document, family, device.writes, client, author));
            self.after(device.joins_ms, Event::Connect(name));
            let first = device.joins_ms / 2 + self.rng.below(self.plan.edit_every_ms);
            self.after(first, Event::Edit(name));
            if device.family == Family::Ysweet {
                self.after(200, Event::Beat(name));
            }
        }
        for kind in [
            Kind::Cut,
            Kind::Crash,
            Kind::Power,
            Kind::Full,
            Kind::ServerEdit,
            Kind::Resync,
            Kind::Reload,
            Kind::Restore,
            Kind::Look,
            Kind::Fold,
        ] {
            self.again(kind);
        }
        self.after(self.plan.chaos_ms, Event::Calm);
    }

    /// Runs to the end: all quiet, or a broken promise.
    pub fn run(mut self) -> Outcome {
        let mut events = 0;
        while self.checks.violation.is_none() {
            let Some(Reverse(next)) = self.events.pop() else {
                self.not_quiet("nothing is ahead");
                break;
            };
            events += 1;
            self.now_ms = next.at_ms;
            self.checks.at(self.now_ms);
            self.work -= usize::from(is_work(&next.event));
            self.note(&format!("{} {:?}", self.now_ms, &next.event));
            self.happen(next.event);
            if self.calm && self.work == 0 && self.checks.violation.is_none() {
                match self.quiet() {
                    Ok(()) => break,
                    Err(reason) if self.now_ms > self.plan.chaos_ms + QUIET_MS || events > EVENTS => {
                        self.not_quiet(&reason);
                    }
                    Err(_) => {}
                }
            }
            if events > 2 * EVENTS {
                self.not_quiet("it goes round in circles");
            }
        }
        if self.checks.violation.is_none() {
            self.afterwards();
        }
        Outcome {
            violation: self.checks.violation.take(),
            trace: self.trace,
            events,
            edits: self.edits,
            saved: self.saved,
            crashes: self.crashes,
            heals: self.heals + self.server.as_ref().map_or(0, |server| server.heals),
            order: self.checks.order(),
        }
    }

    fn note(&mut self, what: &str) {
        if self.log {
            eprintln!("{what}");
        }
        // Hash keys differ from process to process inside the checker and in the presence table: awareness, and
        // how debug text shows a document, stay out of the trace.
        let plain = !what.contains("Pool") && !what.contains("awareness");
        for byte in what.bytes().filter(|_| plain) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Edit(device) => self.person_edits(device),
            Event::Connect(device) => self.connect(device),
            Event::Up(conn) => self.up(conn),
            Event::Down(conn) => self.down(conn),
            Event::Lost(conn) => self.lost(conn),
            Event::Dropped(conn) => self.dropped(conn),
            Event::Beside { to, update } => {
                if let Some(made) = self.devices[to].beside(&update.0) {
                    self.made(to, made);
                }
            }
            Event::Server { process, later } => self.serve(process, later),
            Event::Beat(device) => {
                if let (Link::Open(conn), Some(frame)) =
                    (self.devices[device].link, self.devices[device].version())
                {
                    self.push_up(conn, frame);
                }
                self.after(200, Event::Beat(device));
            }
            Event::Fault(kind) if !self.calm => {
                self.fault(kind);
                self.again(kind);
            }
            Event::Fault(_) => {}
            Event::Restart { process } => {
                if self.process == process {
                    self.restart();
                }
            }
            Event::Calm => self.become_calm(),
        }
    }

    fn connect(&mut self, device: usize) {
        if self.devices[device].is_open() {
            return;
        }
        let Some(server) = &mut self.server else {
            return self.retry(device);
        };
        let it = &mut self.devices[device];
        let conn = self.connections.len();
        let slow = !self.calm && self.rng.chance(self.plan.rates.slow_permille);
        self.connections.push(Connection::new(device, slow));
        let join = join(device, it.family, it.writes, it.address());
        server.attach(conn, it.document, it.family, join, self.now_ms);
        for frame in it.opened(conn) {
            self.push_up(conn, frame);
        }
        self.act();
        self.check(device);
    }

    pub(crate) fn retry(&mut self, device: usize) {
        let delay = self.rng.between(20, 200);
        self.after(delay, Event::Connect(device));
    }

    pub(crate) fn push_up(&mut self, conn: usize, frame: Bytes) {
        self.connections[conn].up.push(Parcel::Frame(frame));
        self.move_up(conn);
    }

    pub(crate) fn move_up(&mut self, conn: usize) {
        if !self.connections[conn].up.moving && self.connections[conn].up.len() > 0 {
            self.connections[conn].up.moving = true;
            let delay = self.delay(false);
            self.after(delay, Event::Up(conn));
        }
    }

    fn move_down(&mut self, conn: usize) {
        if !self.connections[conn].down.moving && self.connections[conn].down.len() > 0 {
            self.connections[conn].down.moving = true;
            let delay = self.delay(self.connections[conn].slow && !self.calm);
            self.after(delay, Event::Down(conn));
        }
    }

    /// Most frames follow close on each other, some take long.
    fn delay(&mut self, slow: bool) -> u64 {
        let longest = if slow { self.plan.latency_ms * 4 } else { self.plan.latency_ms };
        if slow || self.rng.chance(400) { self.rng.between(0, longest) } else { 0 }
    }

    fn up(&mut self, conn: usize) {
        let connection = &mut self.connections[conn];
        connection.up.moving = false;
        let parcel = connection.up.pop();
        self.move_up(conn);
        if let (Some(server), Some(parcel)) = (&mut self.server, parcel) {
            match parcel {
                Parcel::Frame(frame) => server.receive(conn, &frame, self.now_ms, &mut self.checks),
                Parcel::Close => server.detach(conn, self.now_ms, &mut self.checks),
            }
        }
        self.act();
    }

    fn down(&mut self, conn: usize) {
        let connection = &mut self.connections[conn];
        connection.down.moving = false;
        let device = connection.device;
        let parcel = connection.down.pop();
        self.move_down(conn);
        if self.devices[device].link != Link::Open(conn) {
            return;
        }
        match parcel {
            Some(Parcel::Frame(frame)) => {
                let (frames, said) = match self.devices[device].hear(&frame) {
                    Ok(heard) => heard,
                    Err(error) => {
                        return self.checks.fail(Check::Client, format!("device {device} throws: {error}"));
                    }
                };
                let what = match &said {
                    Said::Awareness => "awareness".to_owned(),
                    // The order of keys in JSON differs from process to process.
                    Said::Update(update) | Said::Step2(update) => {
                        let ids = Ids::of_update(update).map(|ids| ids.to_string()).unwrap_or_default();
                        format!("{device} is sent {} bytes: {ids}", update.len())
                    }
                    said => format!("{device} {said:?}"),
                };
                self.note(&what);
                if matches!(said, Said::Update(_) | Said::Step2(_)) {
                    self.saw(device);
                }
                for frame in frames {
                    self.push_up(conn, frame);
                }
                match said {
                    // A person looks into it, in the end by loading the page again.
                    Said::Denied(reason) if reason != "read-only" => self.hang_up(conn),
                    _ => self.check(device),
                }
            }
            Some(Parcel::Close) => self.lost(conn),
            None => {}
        }
    }

    /// Holds what a device shows to what is durable.
    fn saw(&mut self, device: usize) {
        let it = &self.devices[device];
        let store = self.server.as_ref().map_or(self.disk.as_ref(), |server| Some(&server.store));
        if let Some(store) = store {
            self.checks.saw(store, it.document, &it.doc, &format!("device {device}"));
        }
    }

    /// A device closes its connection.
    fn hang_up(&mut self, conn: usize) {
        self.connections[conn].up.close();
        self.move_up(conn);
        self.lost(conn);
    }

    /// A device sees that its connection is gone.
    fn lost(&mut self, conn: usize) {
        let device = self.connections[conn].device;
        if self.devices[device].link == Link::Open(conn) {
            self.devices[device].closed();
            self.retry(device);
        }
    }

    fn dropped(&mut self, conn: usize) {
        if std::mem::replace(&mut self.connections[conn].served, false)
            && let Some(server) = &mut self.server
        {
            server.detach(conn, self.now_ms, &mut self.checks);
        }
        self.act();
    }

    fn serve(&mut self, process: u64, later: Later) {
        if process != self.process {
            return;
        }
        let Some(server) = &mut self.server else { return };
        if matches!(later, Later::Commit) && self.doom.is_some() && !server.doomed {
            server.doomed = true;
            server.store.kv().fail(Fault::Sync, self.rng.below(3));
        }
        server.later(later, self.now_ms, &mut self.checks);
        self.act();
    }

    /// Does what the server asked for, and what its state asks for.
    pub(crate) fn act(&mut self) {
        loop {
            let Some(server) = &mut self.server else { return };
            if server.dead {
                let kind = self.doom.take().unwrap_or(Kind::Crash);
                return self.die(kind);
            }
            let acts = std::mem::take(&mut server.acts);
            if acts.is_empty() {
                break;
            }
            for act in acts {
                match act {
                    Act::Send(conn, frame) => self.send_down(conn, frame),
                    Act::Close(conn) => self.close_down(conn),
                    Act::Later(delay, later) => {
                        let process = self.process;
                        self.after(delay, Event::Server { process, later });
                    }
                }
            }
        }
        if self.server.as_ref().is_some_and(|server| server.failed) && self.doom.is_none() {
            // The operator makes room and starts the server again.
            self.doom = Some(Kind::Full);
            let process = self.process;
            let delay = self.rng.between(50, 300);
            self.after(delay, Event::Restart { process });
        }
    }

    fn send_down(&mut self, conn: usize, frame: Bytes) {
        let connection = &mut self.connections[conn];
        if !connection.served {
            return;
        }
        if connection.down.bytes + frame.len() > self.plan.outbound_bytes && connection.down.len() > 0 {
            if self.plan.bug == Some(crate::Bug::DroppedFrame) {
                return;
            }
            // What waits is given up, the connection is closed with "resync".
            connection.down.cut(1);
            return self.close_cut(conn);
        }
        connection.down.push(Parcel::Frame(frame));
        let bytes = connection.down.bytes;
        if bytes > self.plan.outbound_bytes && connection.down.len() > 1 {
            self.checks.fail(Check::Limit, format!("{bytes} bytes wait for a slow reader"));
        }
        self.move_down(conn);
    }

    /// Closes after everything that was sent.
    fn close_down(&mut self, conn: usize) {
        if self.connections[conn].served {
            self.connections[conn].down.close();
            self.move_down(conn);
            self.dropped(conn);
        }
    }

    /// Closes a pipe that was cut: the device learns of it after a while.
    fn close_cut(&mut self, conn: usize) {
        let delay = self.rng.between(0, 60);
        self.after(delay, Event::Lost(conn));
        self.dropped(conn);
    }

    pub(crate) fn client(&mut self) -> u64 {
        self.next_client += 1 + self.rng.below(1_000_000);
        self.next_client
    }

    /// Schedules the next of a kind of fault.
    fn again(&mut self, kind: Kind) {
        let rates = &self.plan.rates;
        let mean = match kind {
            Kind::Cut => rates.cut_ms,
            Kind::Crash => rates.crash_ms,
            Kind::Power => rates.power_ms,
            Kind::Full => rates.full_ms,
            Kind::ServerEdit => rates.edit_ms,
            Kind::Resync => rates.resync_ms,
            Kind::Reload => rates.reload_ms,
            Kind::Restore => rates.restore_ms,
            Kind::Look => rates.look_ms,
            Kind::Fold => rates.fold_ms,
        };
        if mean > 0 {
            let delay = self.rng.between(mean / 2, mean + mean / 2);
            self.after(delay, Event::Fault(kind));
        }
    }

    pub(crate) fn after(&mut self, delay_ms: u64, event: Event) {
        self.order += 1;
        self.work += usize::from(is_work(&event));
        let queued = Queued { at_ms: self.now_ms + delay_ms, order: self.order, event };
        self.events.push(Reverse(queued));
    }
}
