//! What a run is held to: each indicator when it changes, and everything once all is quiet.

use syncline_store::memory::PowerCut;

use crate::{
    checks::Check,
    device::Link,
    ids::{Ids, same},
    world::World,
};

impl World {
    /// Holds an indicator to what it says.
    pub(crate) fn check(&mut self, device: usize) {
        let it = &mut self.devices[device];
        if !it.indicator.is_saved() || it.misled {
            it.unchecked = true;
        } else if std::mem::replace(&mut it.unchecked, false) {
            self.saved += 1;
            let who = format!("device {device} ({:?})", it.family);
            let store = self.server.as_ref().map_or(self.disk.as_ref(), |server| Some(&server.store));
            if let Some(store) = store {
                self.checks.shown_saved(store, it.document, &it.covered, &who);
            }
        }
    }

    /// Says whether everything is delivered, saved and equal.
    pub(crate) fn quiet(&mut self) -> Result<(), String> {
        let Some(server) = &self.server else { return Err("the server is down".to_owned()) };
        if server.failed || !server.is_idle() {
            return Err("the writer is not done".to_owned());
        }
        self.checks.promises(&server.store);
        self.checks.whole(&server.store);
        let mut resync = None;
        for (name, device) in self.devices.iter().enumerate() {
            let Link::Open(conn) = device.link else { return Err(format!("device {name} is offline")) };
            let Some(facts) = self.checks.durable(&server.store, device.document) else { continue };
            if !device.writes && device.edited {
                if let Some(lacks) = facts.ids.missing_from(&Ids::of_doc(&device.doc)) {
                    return Err(format!("reader {name} ({:?}) lacks {lacks}", device.family));
                }
                continue;
            }
            same(&facts.doc, &device.doc)
                .map_err(|e| format!("store and device {name} ({:?}): {e}", device.family))?;
            if device.writes && !device.indicator.is_saved() {
                if !device.ambiguous {
                    return Err(format!("device {name} never shows saved: {:?}", device.indicator));
                }
                resync = Some((name, conn));
            }
        }
        if let Some((name, conn)) = resync {
            for frame in self.devices[name].sync() {
                self.push_up(conn, frame);
            }
            return Err(format!("device {name} syncs again"));
        }
        Ok(())
    }

    pub(crate) fn not_quiet(&mut self, reason: &str) {
        let quiet = self.quiet().err().unwrap_or_default();
        self.checks.fail(Check::NotQuiet, format!("{reason}: {quiet}"));
    }

    /// Once all is quiet the power fails for good: everything is there.
    pub(crate) fn afterwards(&mut self) {
        let Some(server) = &self.server else { return };
        let mut rng = self.rng.fork();
        match server.store.power_cut(PowerCut::Tear, &mut |bound| rng.below(bound)) {
            Ok(image) => self.checks.reopened(&image, Some(PowerCut::Tear)),
            Err(error) => self.checks.fail(Check::Store, format!("the store does not open: {error}")),
        }
    }
}
