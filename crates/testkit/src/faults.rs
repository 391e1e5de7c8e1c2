//! What goes wrong, and the server's own edits: cuts, crashes, power cuts, failed writes, reloaded pages.

use bytes::Bytes;
use syncline_store::{
    Store,
    memory::{Fault, PowerCut},
};
use yrs::{Text, Transact, Update, updates::decoder::Decode};

use crate::{
    checks::Check,
    device::{Link, open},
    driver::Server,
    event::{Event, Kind},
    indicator::Family,
    page::Page,
    world::World,
};

impl World {
    pub(crate) fn fault(&mut self, kind: Kind) {
        match kind {
            Kind::Cut => self.cut(),
            Kind::Crash | Kind::Power if self.doom.is_none() && self.server.is_some() => {
                if self.rng.chance(500) { self.doom = Some(kind) } else { self.die(kind) }
            }
            Kind::Full => {
                if let Some(server) = self.server.as_ref().filter(|server| !server.failed && !server.doomed) {
                    let fault = if self.rng.chance(500) { Fault::Full } else { Fault::Sync };
                    server.store.kv().fail(fault, self.rng.below(2));
                }
            }
            Kind::ServerEdit => {
                let document = self.rng.index(self.names.len());
                match self.pages[document] {
                    Page::Free => self.server_edit(document),
                    _ => self.compose(document),
                }
            }
            Kind::Look => self.look(),
            Kind::Resync => {
                let device = self.rng.index(self.devices.len());
                // y-sweet has no such option.
                if let Link::Open(conn) = self.devices[device].link
                    && self.devices[device].family != Family::Ysweet
                {
                    for frame in self.devices[device].sync() {
                        self.push_up(conn, frame);
                    }
                    self.check(device);
                }
            }
            Kind::Reload | Kind::Restore => {
                let device = self.rng.index(self.devices.len());
                if kind == Kind::Restore && !self.devices[device].has_copy() {
                    return;
                }
                if let Link::Open(conn) = self.devices[device].link {
                    self.connections[conn].up.close();
                    self.move_up(conn);
                }
                if self.devices[device].is_open() {
                    self.retry(device);
                }
                let client = self.client();
                let it = &mut self.devices[device];
                if kind == Kind::Restore {
                    it.restore(client);
                    self.checks.books[it.document].restored(device, &it.doc);
                } else {
                    it.reload(client);
                }
                self.check(device);
            }
            Kind::Fold => {
                if let Some(server) = &mut self.server {
                    server.fold_cold(self.now_ms, &mut self.checks);
                }
                self.act();
            }
            Kind::Crash | Kind::Power => {}
        }
    }

    /// A connection breaks: each side keeps what had arrived, and learns of it in its own time.
    fn cut(&mut self) {
        let open = self.devices.iter().filter_map(|device| match device.link {
            Link::Open(conn) => Some(conn),
            Link::Offline => None,
        });
        let open: Vec<usize> = open.collect();
        if open.is_empty() {
            return;
        }
        let conn = open[self.rng.index(open.len())];
        let connection = &mut self.connections[conn];
        connection.up.cut(self.rng.below(connection.up.len() as u64 + 1) as usize);
        connection.down.cut(self.rng.below(connection.down.len() as u64 + 1) as usize);
        let (device_ms, server_ms) = (self.rng.between(0, 250), self.rng.between(0, 400));
        self.after(device_ms, Event::Lost(conn));
        self.after(server_ms, Event::Dropped(conn));
    }

    /// The process dies, or the power fails.
    pub(crate) fn die(&mut self, kind: Kind) {
        let Some(server) = self.server.take() else { return };
        self.crashes += 1;
        self.process += 1;
        self.doom = None;
        self.heals += server.heals;
        self.checks.died();
        let mut rng = self.rng.fork();
        let cut =
            (kind == Kind::Power).then(|| if rng.chance(500) { PowerCut::Tear } else { PowerCut::Drop });
        let left = match cut {
            Some(cut) => server.store.power_cut(cut, &mut |bound| rng.below(bound)),
            None => server.store.process_death(),
        };
        for conn in 0..self.connections.len() {
            let connection = &mut self.connections[conn];
            if !std::mem::replace(&mut connection.served, false) {
                continue;
            }
            let kept = if kind == Kind::Power {
                0
            } else {
                self.rng.below(connection.down.len() as u64 + 1) as usize
            };
            connection.down.cut(kept);
            connection.up.cut(0);
            let delay = self.rng.between(0, 200);
            self.after(delay, Event::Lost(conn));
        }
        match left {
            Ok(left) => {
                self.checks.reopened(&left, cut);
                self.disk = Some(left);
            }
            Err(error) => self.checks.fail(Check::Store, format!("the store does not open again: {error}")),
        }
        let process = self.process;
        let delay = self.rng.between(10, 200);
        self.after(delay, Event::Restart { process });
    }

    pub(crate) fn restart(&mut self) {
        if self.server.is_some() {
            self.die(Kind::Crash);
            return;
        }
        let Some(store) = self.disk.take() else { return };
        let rng = self.rng.fork();
        let mut server = Server::start(store, self.names.clone(), &self.plan, rng);
        if self.calm {
            server.calm();
        }
        self.server = Some(server);
    }

    /// The server edits, under its stored client id and from the durable state on.
    fn server_edit(&mut self, document: usize) {
        let Some(server) = self.server.as_mut().filter(|server| !server.failed && !server.doomed) else {
            return;
        };
        if server.is_editing(document) {
            return;
        }
        let name = &self.names[document];
        let client = server.store.identity().server_client(name);
        let Ok(stored) = server.store.read(name) else { return };
        let (doc, text, _) = open(client);
        let stored = stored.unwrap_or_default();
        for part in syncline_document::fold::parts(&stored) {
            if let Ok(update) = Update::decode_v1(part) {
                let _ = doc.transact_mut().apply_update(update);
            }
        }
        let mut txn = doc.transact_mut();
        let length = text.len(&txn);
        self.order += 1;
        let word = format!("s.{} ", self.order);
        text.insert(&mut txn, self.rng.below(u64::from(length) + 1) as u32, &word);
        let update = Bytes::from(txn.encode_update_v1());
        drop(txn);
        server.edit(document, update, self.now_ms, &mut self.checks);
        self.act();
    }

    /// Nothing breaks any more and nobody edits: everybody comes back.
    pub(crate) fn become_calm(&mut self) {
        self.calm = true;
        match &mut self.server {
            Some(server) => {
                server.calm();
                let sick = server.failed || server.doomed || self.doom.is_some();
                if sick {
                    self.die(Kind::Crash);
                } else {
                    // A fault that waits for a write would strike long after.
                    server.store.kv().fail(Fault::Sync, u64::MAX);
                }
            }
            None => {
                let process = self.process;
                self.after(1, Event::Restart { process });
            }
        }
        for device in 0..self.devices.len() {
            self.retry(device);
        }
    }
}
