//! What every part of the server shares: configuration, keys, counters, and the engine once its store is open.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use syncline_store::{Store, fold::Folding};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::{Auth, Denied, Principal},
    blobs::Blobs,
    config::Config,
    erasure::Erasures,
    gate::Shares,
    http::rates::Counts,
    metrics::Metrics,
    outbound::Room,
    pace::Rate,
    registry::{Census, Engine, Registry},
};

/// The server's shared state.
#[derive(Debug)]
pub struct App {
    /// The configuration.
    pub config: Arc<Config>,
    /// Checks and mints tokens.
    pub auth: Auth,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Cancelled when nothing more is to be accepted or read.
    pub draining: CancellationToken,
    /// Cancelled when sockets are to be closed, once what they are owed is written.
    pub stopping: CancellationToken,
    /// Every connection's task.
    pub tasks: TaskTracker,
    /// The memory that large messages share.
    pub(crate) shares: Arc<Shares>,
    /// What is on its way to connections.
    pub(crate) room: Arc<Room>,
    /// Places for connections.
    pub(crate) connections: Arc<Semaphore>,
    /// How often everybody asked over HTTP.
    pub(crate) counts: Counts,
    /// Keys of API writes that are under way, with their users.
    pub(crate) keyed: Mutex<HashSet<String>>,
    /// Places for imports and exports.
    pub(crate) transfers: Arc<Semaphore>,
    engine: OnceLock<Arc<Open>>,
    opened: watch::Sender<bool>,
    held: Mutex<HashMap<IpAddr, usize>>,
    /// Why the server is not ready although its store is open.
    fault: Mutex<Option<String>>,
}

/// The store and the documents.
pub struct Open {
    /// The open documents.
    pub registry: Registry,
    /// The files that messages refer to.
    pub(crate) blobs: Arc<Blobs>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// What erases for good.
    pub erasures: Erasures,
    /// The thread that folds cold documents, until the server goes down.
    pub folding: Mutex<Option<Folding>>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

impl Open {
    /// Puts together what a server with this configuration works on.
    pub fn new(config: &Config, engine: Arc<Engine>, erasures: Erasures) -> Self {
        let store = engine.journal.store().clone();
        let blobs = Blobs::new(&config.data, engine.clone(), &config.limits);
        Self { registry: Registry::new(engine), blobs, store, erasures, folding: Mutex::default() }
    }

    /// Waits until the journal's queue has room.
    pub async fn room(&self) {
        let (told, tell) = oneshot::channel();
        self.registry.engine().journal.on_room(Box::new(move || {
            // The waiter may have gone with its connection.
            let _ = told.send(());
        }));
        let _ = tell.await;
    }
}

impl App {
    /// Makes the state of a server whose store is not open yet.
    pub fn new(config: Arc<Config>, auth: Auth, metrics: Arc<Metrics>) -> Arc<Self> {
        let limits = &config.limits;
        Arc::new(Self {
            shares: Arc::new(Shares {
                pool: Arc::new(Semaphore::new(limits.large_pool_bytes >> 10)),
                strangers: Arc::new(Semaphore::new(
                    (limits.large_pool_bytes >> 13).max(limits.pre_auth_bytes >> 10),
                )),
                large: limits.large_message_bytes,
                most: limits.message_bytes,
                rate: Rate::of(limits),
            }),
            room: Arc::new(Room::new(limits)),
            connections: Arc::new(Semaphore::new(limits.connections)),
            counts: Counts::new(&config),
            transfers: Arc::new(Semaphore::new(limits.transfers)),
            config,
            auth,
            metrics,
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            keyed: Mutex::default(),
            engine: OnceLock::new(),
            opened: watch::Sender::new(false),
            held: Mutex::default(),
            fault: Mutex::default(),
        })
    }

    /// Gives the opened store to those who wait for it.
    pub fn open(&self, engine: Open) {
        // Called once, by the start-up.
        let _ = self.engine.set(Arc::new(engine));
        self.opened.send_replace(true);
    }

    /// Returns the engine, if the store is open.
    pub fn engine(&self) -> Option<&Arc<Open>> {
        self.engine.get()
    }

    /// Finds out who the bearer of a token is.
    ///
    /// # Errors
    /// [`Denied`] says why the token is not accepted, or that its device was revoked.
    pub fn principal(&self, token: Option<&str>) -> Result<Principal, Denied> {
        let principal = self.auth.principal(token)?;
        self.check_device(principal.user(), principal.device())?;
        Ok(principal)
    }

    /// Refuses a user's device that was revoked.
    ///
    /// # Errors
    /// [`Denied::Revoked`]; [`Denied::Unknown`] where that cannot be read.
    pub(crate) fn check_device(
        &self,
        user: Option<&Arc<str>>,
        device: Option<&Arc<str>>,
    ) -> Result<(), Denied> {
        let (Some(user), Some(device)) = (user, device) else { return Ok(()) };
        let engine = self.engine().ok_or(Denied::Unknown)?;
        match engine.registry.engine().revoked.is_revoked(&*engine.store, user, device) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Denied::Revoked),
            Err(error) => {
                tracing::error!(event = "device_unknown", %error);
                Err(Denied::Unknown)
            }
        }
    }

    /// Waits for the store to be open.
    pub async fn wait_open(&self) -> Option<&Arc<Open>> {
        let mut opened = self.opened.subscribe();
        // The sender lives in this struct.
        let _ = opened.wait_for(|open| *open).await;
        self.engine()
    }

    /// Says whether the server takes edits, or why not.
    ///
    /// # Errors
    /// The reason, for `/readyz`.
    pub fn is_ready(&self) -> Result<(), String> {
        if self.draining.is_cancelled() {
            return Err("the server is going down".to_owned());
        }
        let Some(engine) = self.engine() else { return Err("the store is being opened".to_owned()) };
        if let Some(reason) = engine.store.poisoned() {
            return Err(format!("the store takes nothing more: {reason}"));
        }
        if let Some(reason) = engine.registry.failure() {
            return Err(format!("the store takes nothing more: {reason}"));
        }
        match &*self.fault.lock() {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }

    /// Draws the consequences of a tick: a document that hangs makes the server unready.
    pub(crate) fn watch_over(&self, census: &Census, now_ms: u64) {
        let limit = self.config.limits.busy_ms;
        let hangs = census.busy_since_ms.is_some_and(|since| now_ms >= since + limit);
        *self.fault.lock() = hangs.then(|| format!("a document has been busy for more than {limit} ms"));
    }

    /// Takes a place for a refused socket that is held open; `None` where its address has enough of them.
    pub(crate) fn hold(self: &Arc<Self>, address: IpAddr) -> Option<HeldPlace> {
        let mut held = self.held.lock();
        let count = held.entry(address).or_default();
        if *count >= self.config.limits.held_per_address {
            return None;
        }
        *count += 1;
        Some(HeldPlace { app: self.clone(), address })
    }

    /// Says whether an address may have one more refused socket held open.
    pub(crate) fn may_hold(&self, address: IpAddr) -> bool {
        self.held.lock().get(&address).is_none_or(|count| *count < self.config.limits.held_per_address)
    }
}

/// A place among the held sockets of an address; given back when dropped.
#[derive(Debug)]
pub(crate) struct HeldPlace {
    app: Arc<App>,
    address: IpAddr,
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        let mut held = self.app.held.lock();
        if let Some(count) = held.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.address);
            }
        }
    }
}
