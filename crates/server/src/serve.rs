//! The server's life: listen, open the store, say ready, serve; then drain, commit, ack, close.

use std::{io, sync::Arc, time::Duration};

use syncline_store::{
    CommitReport, Store, StoreError, Writer,
    fold::{FoldOptions, Folder, Folding},
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
    time::interval,
};

use crate::{
    app::{App, Open},
    auth::{Auth, AuthError},
    blobs::collect,
    clock::now_ms,
    config::Config,
    document::Document,
    erasure::{self, Erasures},
    finder::{self, Finder},
    http, listener,
    metrics::Metrics,
    registry::Engine,
    sent, tls,
};

/// Commit reports between the commit thread and the task that tells the documents.
const REPORTS: usize = 64;
/// What sockets have to take their last frames and the close code.
const GOODBYES: Duration = Duration::from_secs(3);
/// How often documents are looked at for what time brings.
const TICK: Duration = Duration::from_millis(100);

/// Why the server does not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which address.
        address: std::net::SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The keys cannot be read.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something was not saved when the server went down.
    #[error("something is unsaved: {0}; the devices that sent it still have it")]
    Unsaved(String),
}

/// Runs the server until SIGTERM or ctrl-c. `ready` is called with the address once it takes connections and its
/// store is open.
///
/// # Errors
/// [`ServeError`]; the exit code follows from it.
pub async fn serve(config: Config, ready: impl FnOnce(&str)) -> Result<(), ServeError> {
    let config = Arc::new(config);
    let auth = Auth::from_config(&config)?;
    let tls = tls::acceptor(&config)?;
    let metrics = Arc::new(Metrics::default());
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| ServeError::Listen { address: config.listen, error })?;
    let local =
        listener.local_addr().map_err(|error| ServeError::Listen { address: config.listen, error })?;
    let app = App::new(config.clone(), auth, metrics.clone());
    let router = http::router(app.clone());
    let accepting = tokio::spawn(listener::accept(app.clone(), listener, tls, router));

    let opened = open_store(&app).await;
    let reporting = match opened {
        Ok(reporting) => reporting,
        Err(error) => {
            app.draining.cancel();
            accepting.abort();
            return Err(error.into());
        }
    };
    // Whoever reads that the server is ready may end it at once.
    let mut stop = StopSignal::new().map_err(|error| ServeError::Listen { address: config.listen, error })?;
    let scheme = if config.is_tls() { "https" } else { "http" };
    ready(&format!("{scheme}://{local}"));
    tracing::info!(%local, data = %config.data.display(), open = config.open, "ready");
    let ticking = tokio::spawn(tick(app.clone()));
    stop.come().await;
    let outcome = shut_down(&app, reporting, ticking).await;
    accepting.abort();
    outcome
}

/// Opens the store off the runtime's threads and starts the engine. Returns the task that tells documents what
/// became durable.
pub(crate) async fn open_store(app: &Arc<App>) -> Result<JoinHandle<()>, StoreError> {
    let config = app.config.clone();
    let store = tokio::task::spawn_blocking(move || config.open_store())
        .await
        .map_err(|error| StoreError::Bug(format!("the store could not be opened: {error}")))??;
    let store: Arc<dyn Store> = Arc::new(store);
    let (send, receive) = mpsc::channel(REPORTS);
    let journal = Arc::new(Writer::start(store.clone(), app.config.writer_options(), move |report| {
        // The receiver ends after the writer.
        let _ = send.blocking_send(report);
    })?);
    let nudged = Arc::downgrade(app);
    let options = FoldOptions { bounds: app.config.limits.fold_bounds(), ..FoldOptions::default() };
    let folder = Folder::new(journal.clone(), options, move |name| {
        nudged
            .upgrade()
            .is_some_and(|app| app.engine().is_some_and(|engine| engine.registry.fold_if_open(name)))
    });
    let runtime = tokio::runtime::Handle::current();
    let (finder, searching) = Finder::new(&app.config.limits);
    let engine = Engine::new(journal, app.metrics.clone(), &app.config.limits, runtime, finder.clone());
    let erasures = Erasures::of(&app.config.data)
        .map_err(|error| StoreError::Io(format!("receipts of erasures cannot be sealed: {error}")))?;
    let open = Open::new(&app.config, engine, erasures);
    open.erasures.follow(finder);
    open.erasures.follow(open.blobs.clone());
    *open.folding.lock() = Some(Folding::start(folder)?);
    app.open(open);
    if let Some(open) = app.engine() {
        app.tasks.spawn(collect::run(open.clone(), app.draining.clone()));
        let place = app.config.search_place();
        app.tasks.spawn(finder::run(open.clone(), place, searching, app.stopping.clone()));
    }
    app.tasks.spawn(sent::clear_up(app.clone()));
    app.tasks.spawn(erasure::run(app.clone()));
    Ok(tokio::spawn(report(app.clone(), receive)))
}

/// Tells documents what became durable, in the order of the commits.
async fn report(app: Arc<App>, mut reports: mpsc::Receiver<CommitReport<Arc<Document>>>) {
    while let Some(report) = reports.recv().await {
        match report.result {
            Ok(()) => {
                for (document, sequence) in &report.tags {
                    document.note_durable(*sequence);
                }
                for (document, _) in &report.tags {
                    document.tell_durable();
                }
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::error!(
                    reason,
                    entries = report.tags.len(),
                    "commit failed: edits are refused from now on"
                );
                app.metrics.commit_failed();
                let Some(engine) = app.engine() else { continue };
                engine.registry.fail(&reason);
            }
        }
    }
    // Who was told later than the others is told before sockets are closed.
    if let Some(engine) = app.engine() {
        let tells = &engine.registry.engine().tells;
        tells.close();
        tells.wait().await;
    }
}

/// Looks after documents and journal while the server runs.
pub(crate) async fn tick(app: Arc<App>) {
    let mut ticks = interval(TICK);
    loop {
        ticks.tick().await;
        let Some(engine) = app.engine() else { continue };
        let now = now_ms();
        let census = engine.registry.tick(now);
        app.watch_over(&census, now);
        app.metrics.census(&census);
    }
}

/// SIGTERM and ctrl-c.
pub(crate) struct StopSignal {
    interrupted: Signal,
    terminated: Signal,
}

impl StopSignal {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupted: signal(SignalKind::interrupt())?,
            terminated: signal(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn come(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }
}

/// Stops accepting and reading, commits the queue, sends the acks that are owed, closes with 1012.
pub(crate) async fn shut_down(
    app: &Arc<App>,
    reporting: JoinHandle<()>,
    ticking: JoinHandle<()>,
) -> Result<(), ServeError> {
    let limit = Duration::from_millis(app.config.limits.shutdown_ms);
    tracing::info!("going down");
    app.draining.cancel();
    app.tasks.close();
    let ended = tokio::time::timeout(limit, async {
        let Some(engine) = app.engine() else { return Ok(()) };
        // Nobody gives documents anything from here on, time neither.
        engine.registry.givers.close();
        let _ = tokio::time::timeout(GOODBYES, engine.registry.givers.wait()).await;
        ticking.abort();
        let _ = ticking.await;
        // Documents that are being loaded or on the pool finish first: what was received is applied.
        let mut polls = interval(Duration::from_millis(5));
        while engine.registry.all().iter().any(|document| {
            document.enter(|session, _, _| session.busy_since_ms().is_some()).unwrap_or(false)
        }) {
            polls.tick().await;
        }
        for document in engine.registry.all() {
            document.enter(|session, now, fx| session.close(now, fx));
        }
        let (journal, folding) = (engine.registry.engine().journal.clone(), engine.folding.lock().take());
        let saved = tokio::task::spawn_blocking(move || {
            drop(folding);
            journal.shutdown()
        });
        let saved = saved.await;
        // The journal's end ends the reports: after that every ack that is due is in its socket's queue.
        let told = reporting.await;
        app.stopping.cancel();
        // A reader that does not read is not waited for: what it was owed is saved all the same.
        let _ = tokio::time::timeout(GOODBYES, app.tasks.wait()).await;
        let unsaved = engine.registry.all().iter().any(|document| {
            let sequences = document.enter(|session, _, _| session.sequences());
            sequences.is_some_and(|(applied, durable)| applied > durable)
        });
        match (saved, told) {
            (Ok(Ok(())), Ok(())) if unsaved => {
                Err(ServeError::Unsaved("the last edits came too late".to_owned()))
            }
            (Ok(Ok(())), Ok(())) => Ok(()),
            (Ok(Err(error)), _) => Err(ServeError::Unsaved(error.to_string())),
            (Err(error), _) | (_, Err(error)) => Err(ServeError::Unsaved(error.to_string())),
        }
    });
    ended.await.unwrap_or_else(|_| {
        Err(ServeError::Unsaved(format!("shutting down took more than {} ms", limit.as_millis())))
    })
}
