//! The server's engine on a data folder, without sockets: what a command writes goes the way of every edit, through
//! sessions, the judge and the journal, and is told of once it is durable.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::{
    api::Home,
    app::App,
    auth::Auth,
    config::Config,
    metrics::Metrics,
    serve::{self, ServeError},
};

/// An engine that runs in a command.
pub(crate) struct Offline {
    app: Arc<App>,
    reporting: JoinHandle<()>,
    ticking: JoinHandle<()>,
}

impl Offline {
    /// Opens the data folder of a configuration; makes its store where there is none.
    ///
    /// # Errors
    /// As the server's own start.
    pub(crate) async fn open(config: Config) -> Result<Self, ServeError> {
        let config = Arc::new(config);
        let auth = Auth::from_config(&config)?;
        let app = App::new(config, auth, Arc::new(Metrics::default()));
        let reporting = serve::open_store(&app).await?;
        let ticking = tokio::spawn(serve::tick(app.clone()));
        Ok(Self { app, reporting, ticking })
    }

    /// Returns a user's documents.
    pub(crate) fn home(&self, user: &str) -> Option<Home> {
        Home::of_operator(&self.app, user)
    }

    /// Returns what ends long work early.
    pub(crate) fn draining(&self) -> &tokio_util::sync::CancellationToken {
        &self.app.draining
    }

    /// Commits what is queued and closes the store.
    ///
    /// # Errors
    /// [`ServeError::Unsaved`] where something could not be saved.
    pub(crate) async fn close(self) -> Result<(), ServeError> {
        serve::shut_down(&self.app, self.reporting, self.ticking).await
    }
}
