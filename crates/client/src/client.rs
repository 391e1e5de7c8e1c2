//! The handle that an application holds: it opens the store, starts the two threads, and asks the keeper.

use std::{sync::Arc, thread::JoinHandle};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};

use crate::{
    ClientError, Config, DocumentView, Overview, SetAside, TokenSource,
    boards::Boards,
    config,
    keeper::{Command, Keeper, Tell},
    link::{Link, Wish},
    socket::Dialer,
};

/// Commands that may wait for the keeper; beyond that callers and the connection wait.
const COMMANDS: usize = 256;

/// One user's conversations on one device: everything is read and written in the device's own store, online or not.
///
/// Calls may come from any thread and any async runtime. A call that writes returns once the edit is on this device's disk:
/// it is then sent whenever there is a connection, also after a restart. [`Client::status`] says what the server has.
pub struct Client {
    pub(crate) config: Arc<Config>,
    commands: mpsc::Sender<Command>,
    boards: Arc<Boards>,
    wish: watch::Sender<Wish>,
    /// Where observers are called: the connection's thread.
    tasks: tokio::runtime::Handle,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Client {
    /// Opens the store and, if it is configured so, connects. Edits of earlier runs that are not saved are offered again.
    ///
    /// # Errors
    /// [`ClientError::Configuration`], [`ClientError::StoreInUse`], [`ClientError::StoreOfAnother`],
    /// [`ClientError::Store`].
    pub async fn open(
        config: Config,
        tokens: Option<Arc<dyn TokenSource>>,
    ) -> Result<Arc<Self>, ClientError> {
        config.check()?;
        let tokens = config::tokens(&config, tokens);
        let dialer = Dialer::new(&config)?;
        let config = Arc::new(config);
        let boards = Arc::new(Boards::new());
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (opened, is_open) = oneshot::channel();
        let (given, shown) = (config.clone(), boards.clone());
        let keeper = thread("syncline-keeper", move || match Keeper::open(given, shown) {
            Ok(keeper) => {
                // Nobody waits any more: the commands are closed, and it ends at once.
                let _ = opened.send(Ok(()));
                keeper.run(inbox);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        })?;
        is_open.await.unwrap_or(Err(ClientError::Closed))?;
        let (wish, wishes) = watch::channel(Wish { online: config.online, hurries: 0, closed: false });
        let link = Link {
            config: config.clone(),
            dialer,
            tokens,
            commands: commands.clone(),
            wish: wishes,
            tries: 0,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tasks = runtime.handle().clone();
        let link = thread("syncline-link", move || runtime.block_on(link.run()))?;
        Ok(Arc::new(Self { config, commands, boards, wish, tasks, threads: Mutex::new(vec![keeper, link]) }))
    }

    /// Connects, and stays connected whenever it can.
    pub fn go_online(&self) {
        self.wish.send_modify(|wish| {
            wish.online = true;
            wish.hurries += 1;
        });
    }

    /// Hangs up and stays offline; reading and writing go on.
    pub fn go_offline(&self) {
        self.wish.send_modify(|wish| wish.online = false);
    }

    /// Tries to connect right now instead of waiting: call it when the platform says that the network is back, or the
    /// application comes to the foreground.
    pub fn hurry(&self) {
        self.wish.send_modify(|wish| wish.hurries += 1);
    }

    /// Hangs up and closes the store. Edits that are not saved stay in it. Calls after this answer
    /// [`ClientError::Closed`].
    pub async fn close(&self) {
        self.wish.send_modify(|wish| wish.closed = true);
        // Closed already, if nobody takes it.
        let _ = self.commands.send(Command::Stop).await;
        self.commands.closed().await;
        let threads = std::mem::take(&mut *self.threads.lock());
        let (done, is_done) = oneshot::channel();
        std::thread::spawn(move || {
            for thread in threads {
                // It has panicked: there is nothing left to close.
                let _ = thread.join();
            }
            let _ = done.send(());
        });
        let _ = is_done.await;
    }

    /// Says what is true of all documents together.
    pub fn status(&self) -> Overview {
        self.boards.overview()
    }

    /// Watches all documents together.
    pub fn watch_status(&self) -> Arc<StatusStream> {
        Arc::new(StatusStream { receiver: AsyncMutex::new(self.boards.watch_all().map(begun)) })
    }

    /// Calls an observer with what is true of all documents together, now and whenever it changes, until the observation
    /// is stopped or dropped. The observer is called on the connection's thread: it has to return soon, for instance after it
    /// has posted to the platform's main thread.
    pub fn observe(&self, observer: Arc<dyn StatusObserver>) -> Arc<Observation> {
        let stream = self.watch_status();
        let task = self.tasks.spawn(async move {
            while let Some(overview) = stream.next().await {
                observer.changed(overview);
            }
        });
        Arc::new(Observation { task: task.abort_handle() })
    }

    /// Waits until everything is saved, or answers false once the client is closed. It does not give up while offline.
    pub async fn until_saved(&self) -> bool {
        let Some(mut receiver) = self.boards.watch_all() else { return false };
        receiver.wait_for(|overview| overview.status == crate::Status::Saved).await.is_ok()
    }

    /// Lists the copies that were set aside, oldest first.
    ///
    /// # Errors
    /// [`ClientError::Closed`].
    pub async fn set_aside(&self) -> Result<Vec<SetAside>, ClientError> {
        self.run(|keeper| Ok(keeper.asides().list().to_vec())).await
    }

    /// Returns a copy that was set aside, as a Yjs update: any Yjs application reads it. (One that was damaged on disk is
    /// returned as the file was.)
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Store`].
    pub async fn export_set_aside(&self, id: String) -> Result<Vec<u8>, ClientError> {
        self.run(move |keeper| keeper.asides().read(&id)).await
    }

    /// Removes a copy that was set aside, for good.
    ///
    /// # Errors
    /// [`ClientError::NotFound`]; [`ClientError::Invalid`] while it waits to be carried over.
    pub async fn discard_set_aside(&self, id: String) -> Result<(), ClientError> {
        self.run(move |keeper| keeper.asides().discard(&id)).await
    }

    pub(crate) fn watch_document(&self, document: &str) -> Option<Arc<DocumentStream>> {
        let receiver = self.boards.watch(document)?;
        Some(Arc::new(DocumentStream { receiver: AsyncMutex::new(begun(receiver)) }))
    }

    /// Has the keeper do something; the answer comes once what it wrote is on the disk.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Keeper) -> Result<R, ClientError> + Send + 'static,
    ) -> Result<R, ClientError> {
        let (told, answer) = oneshot::channel();
        let work = move |keeper: &mut Keeper| -> Tell {
            let outcome = work(keeper);
            // Who asked may be gone; what is kept is kept all the same.
            Box::new(move |stored| {
                let _ = told.send(outcome.and_then(|value| stored.map(|()| value)));
            })
        };
        self.commands.send(Command::Work(Box::new(work))).await.map_err(|_| ClientError::Closed)?;
        answer.await.unwrap_or(Err(ClientError::Closed))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.wish.send_modify(|wish| wish.closed = true);
        // A full queue ends as well: nobody is left to ask.
        let _ = self.commands.try_send(Command::Stop);
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, ClientError> {
    Ok(std::thread::Builder::new().name(name.to_owned()).spawn(work)?)
}

/// Is told what is true of all documents together. The application implements it.
pub trait StatusObserver: Send + Sync {
    /// Something has changed.
    fn changed(&self, overview: Overview);
}

/// An observer that is being called.
#[derive(Debug)]
pub struct Observation {
    task: tokio::task::AbortHandle,
}

impl Observation {
    /// Stops the calls.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Shows what is true of all documents together, whenever it changes.
#[derive(Debug)]
pub struct StatusStream {
    receiver: AsyncMutex<Option<watch::Receiver<Overview>>>,
}

impl StatusStream {
    /// Waits for a change, and returns the newest state; nothing once the client is closed. The first call answers at once.
    pub async fn next(&self) -> Option<Overview> {
        let mut receiver = self.receiver.lock().await;
        next(receiver.as_mut()?).await
    }
}

/// Shows what is true of one document, whenever it changes.
#[derive(Debug)]
pub struct DocumentStream {
    receiver: AsyncMutex<watch::Receiver<DocumentView>>,
}

impl DocumentStream {
    /// Waits for a change, and returns the newest state; nothing once the document or the client is closed. The first call
    /// answers at once.
    pub async fn next(&self) -> Option<DocumentView> {
        next(&mut *self.receiver.lock().await).await
    }
}

/// A stream begins with what is there.
fn begun<T>(mut receiver: watch::Receiver<T>) -> watch::Receiver<T> {
    receiver.mark_changed();
    receiver
}

async fn next<T: Clone>(receiver: &mut watch::Receiver<T>) -> Option<T> {
    receiver.changed().await.ok()?;
    Some(receiver.borrow_and_update().clone())
}
