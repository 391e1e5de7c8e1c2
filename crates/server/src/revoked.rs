//! Devices that their users signed out for good: who may not come in, and whose sockets are to be closed.
//!
//! What counts is the row that is written in the commit of the register (`tables.rs`), so it holds after a restart too, and
//! nobody's profile has to be opened for it. Answers are kept, a bounded number of them.
//!
//! A socket is listed before its device is looked up, and a device that was revoked is looked up anew before its sockets
//! are closed: so none slips through between the two.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use syncline_document::DeviceStanding;
use syncline_store::{Store, StoreError};

use crate::{
    auth::Denied,
    outbound::{Closing, Outbound},
    tables,
};

/// Answers that are kept.
const ANSWERS: usize = 65_536;
/// Devices that open documents are still to forget; those of more are forgotten when the documents are loaded again.
const GONE: usize = 4_096;

/// A device of a user.
type Device = (Arc<str>, Arc<str>);

/// The devices of all users.
#[derive(Debug, Default)]
pub struct Revoked {
    answers: Mutex<Answers>,
    sockets: Mutex<Sockets>,
    /// Those that were signed out a moment ago.
    gone: Mutex<HashSet<Device>>,
}

#[derive(Debug, Default)]
struct Answers {
    known: HashMap<Device, bool>,
    /// Counts the changes: what was read before one is not kept after it.
    changes: u64,
}

#[derive(Debug, Default)]
struct Sockets {
    by_device: HashMap<Device, HashMap<u64, Weak<Outbound>>>,
    next: u64,
}

/// A socket of a device, listed until this is dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    revoked: Arc<Revoked>,
    device: Device,
    number: u64,
}

impl Revoked {
    /// Says whether a device is signed out for good.
    ///
    /// # Errors
    /// As the store fails.
    pub(crate) fn is_revoked(
        &self,
        store: &dyn Store,
        user: &Arc<str>,
        device: &Arc<str>,
    ) -> Result<bool, StoreError> {
        let asked = (user.clone(), device.clone());
        let changes = {
            let answers = self.answers.lock();
            if let Some(answer) = answers.known.get(&asked) {
                return Ok(*answer);
            }
            answers.changes
        };
        let answer = tables::is_revoked(store, user, device)?;
        let mut answers = self.answers.lock();
        if answers.changes == changes {
            if answers.known.len() >= ANSWERS {
                answers.known.clear();
            }
            answers.known.insert(asked, answer);
        }
        Ok(answer)
    }

    /// Forgets what was known of devices: how they stand now is durable.
    pub(crate) fn changed(&self, user: &str, devices: &[DeviceStanding]) {
        let mut answers = self.answers.lock();
        answers.changes += 1;
        for DeviceStanding { device, .. } in devices {
            answers.known.remove(&(user.into(), device.as_str().into()));
        }
    }

    /// Takes the devices that were signed out since it was last asked, with their users.
    pub(crate) fn take_gone(&self) -> HashSet<Device> {
        std::mem::take(&mut *self.gone.lock())
    }

    /// Closes the sockets of those that are signed out.
    pub(crate) fn close(&self, user: &str, devices: &[DeviceStanding]) {
        let mut gone = self.gone.lock();
        for DeviceStanding { device, is_revoked } in devices {
            let device = (user.into(), device.as_str().into());
            if !is_revoked {
                gone.remove(&device);
            } else if gone.len() < GONE {
                gone.insert(device);
            }
        }
        drop(gone);
        for DeviceStanding { device, .. } in devices.iter().filter(|standing| standing.is_revoked) {
            let sockets = self.sockets.lock();
            let listed = sockets.by_device.get(&(user.into(), device.as_str().into()));
            let open: Vec<_> =
                listed.into_iter().flat_map(HashMap::values).filter_map(Weak::upgrade).collect();
            drop(sockets);
            tracing::info!(event = "device_revoked", user, device, sockets = open.len());
            for outbound in open {
                outbound.close(Closing::Forbidden(Denied::Revoked.to_string()));
            }
        }
    }

    /// Lists a socket of a device.
    pub(crate) fn list(
        self: &Arc<Self>,
        user: &Arc<str>,
        device: &Arc<str>,
        outbound: &Arc<Outbound>,
    ) -> Listed {
        let device = (user.clone(), device.clone());
        let mut sockets = self.sockets.lock();
        let number = sockets.next;
        sockets.next += 1;
        sockets.by_device.entry(device.clone()).or_default().insert(number, Arc::downgrade(outbound));
        Listed { revoked: self.clone(), device, number }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut sockets = self.revoked.sockets.lock();
        if let Some(listed) = sockets.by_device.get_mut(&self.device) {
            listed.remove(&self.number);
            if listed.is_empty() {
                sockets.by_device.remove(&self.device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use syncline_store::memory::MemoryStore;

    use super::*;
    use crate::{config::Limits, outbound::Room};

    fn standing(is_revoked: bool) -> [DeviceStanding; 1] {
        [DeviceStanding { device: "phone".to_owned(), is_revoked }]
    }

    #[test]
    fn the_row_counts_and_an_answer_holds_until_it_changes() {
        let store = MemoryStore::new().expect("a store");
        let revoked = Revoked::default();
        let (ada, phone) = (Arc::from("ada"), Arc::from("phone"));
        let asks = || revoked.is_revoked(&store, &ada, &phone).expect("reads");
        assert!(!asks());
        for is_revoked in [true, false] {
            let rows = tables::standing_rows("ada", &standing(is_revoked));
            store.commit(&[], &rows).expect("commits");
            assert_eq!(asks(), !is_revoked, "as it was known");
            revoked.changed("ada", &standing(is_revoked));
            assert_eq!(asks(), is_revoked);
        }
    }

    #[test]
    fn only_sockets_of_the_device_are_closed_and_those_that_left_are_forgotten() {
        let revoked = Arc::new(Revoked::default());
        let room = Arc::new(Room::new(&Limits::default()));
        let sockets: Vec<_> = (0..3).map(|_| Arc::new(Outbound::new(room.clone()))).collect();
        let of =
            |user: &str, device: &str, at: usize| revoked.list(&user.into(), &device.into(), &sockets[at]);
        let listed = [of("ada", "phone", 0), of("ada", "laptop", 1), of("bob", "phone", 2)];
        revoked.close("ada", &standing(false));
        revoked.close("ada", &standing(true));
        let closings: Vec<_> = sockets.iter().map(|socket| socket.take(&mut VecDeque::new())).collect();
        let expected = Closing::Forbidden(Denied::Revoked.to_string());
        assert_eq!(closings, [Some(expected.clone()), None, None]);
        assert_eq!(expected.code().0, 4403);
        assert!(expected.code().1.len() <= 123);
        drop(listed);
        assert!(revoked.sockets.lock().by_device.is_empty());
        assert_eq!(revoked.take_gone(), HashSet::from([("ada".into(), "phone".into())]));
        revoked.close("ada", &standing(true));
        revoked.close("ada", &standing(false));
        assert!(revoked.take_gone().is_empty(), "it was let in again");
    }
}
