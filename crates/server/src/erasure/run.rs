//! The task that finishes what a crash left undone, and scrubs what came back.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use crate::app::App;

/// How long it waits after a fault, and for what nobody told it of.
const PAUSE: Duration = Duration::from_secs(30);
/// Scrubbing rewrites a document: what comes back within this time is scrubbed together.
const TOGETHER: Duration = Duration::from_millis(250);
/// From one scrubbing to the next: a device that brings things back in a loop does not have a document rewritten all
/// the time.
const REST: Duration = Duration::from_secs(5);

/// Runs until the server goes down.
pub(crate) async fn run(app: Arc<App>) {
    let Some(open) = app.wait_open().await.cloned() else { return };
    let mut rested = Instant::now();
    loop {
        let draining = app.draining.clone();
        let outcome = tokio::select! {
            biased;
            () = draining.cancelled() => return,
            outcome = open.erasures.resume(&open) => outcome,
        };
        if let Err(error) = outcome {
            tracing::error!(event = "erasure_undone", %error, "it is tried again in a while");
        }
        tokio::select! {
            biased;
            () = draining.cancelled() => return,
            () = async {
                open.registry.engine().revived.notified().await;
                sleep_until(rested.max(Instant::now() + TOGETHER)).await;
            } => rested = Instant::now() + REST,
            () = sleep(PAUSE) => {}
        }
    }
}
