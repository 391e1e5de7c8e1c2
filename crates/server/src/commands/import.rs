//! `syncline import`: files into a user's documents, of a data folder or of a running server.

use std::{fs::File, path::PathBuf};

use syncline_protocol::names::check_user;
use tokio::sync::mpsc;

use crate::{
    api::transfer::{AHEAD, Told, take_in},
    cli::{Failure, Import},
    commands::{
        open_offline,
        progress::Progress,
        remote::{Remote, encode},
        runtime,
    },
    offline::Offline,
    serve::StopSignal,
};

pub(crate) fn run(arguments: &Import) -> Result<(), Failure> {
    let home = &arguments.home;
    check_user(&home.user).map_err(|error| Failure::Usage(format!("--user {:?}: {error}", home.user)))?;
    let files = arguments.files.iter().map(opened).collect::<Result<Vec<_>, _>>()?;
    let mut progress = Progress::new(arguments.json);
    let imported = match (&home.data, &home.server) {
        (Some(data), _) => {
            let runtime = runtime()?;
            let outcome = runtime.block_on(offline(data, &home.user, files, &mut progress));
            // Nothing on it has anything to save any more.
            runtime.shutdown_background();
            outcome
        }
        (None, Some(server)) => {
            let remote = Remote::patient(server, home.token.as_deref())?;
            online(&remote, &home.user, files, &mut progress)
        }
        (None, None) => Err(Failure::Usage("give --data or --server".to_owned())),
    };
    progress.finish(imported)
}

/// Opens a file before anything is imported: a mistyped name imports nothing.
fn opened(path: &PathBuf) -> Result<(String, File), Failure> {
    let unreadable =
        |error: &dyn std::fmt::Display| Failure::Usage(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    if !file.metadata().map_err(|error| unreadable(&error))?.is_file() {
        return Err(unreadable(&"it is no file"));
    }
    Ok((path.display().to_string(), file))
}

/// Imports with an engine of our own: the very code that serves `/v1/users/{user}/import`.
async fn offline(
    data: &std::path::Path,
    user: &str,
    files: Vec<(String, File)>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut stop = StopSignal::new().map_err(|error| Failure::Check(error.to_string()))?;
    let offline = open_offline(data).await?;
    let draining = offline.draining().clone();
    let stopping = tokio::spawn(async move {
        stop.come().await;
        draining.cancel();
    });
    let imported = take_all(&offline, user, files, progress).await;
    stopping.abort();
    // However it went: what was taken in is committed.
    let closed = offline.close().await;
    imported.and(closed.map_err(Failure::from))
}

async fn take_all(
    offline: &Offline,
    user: &str,
    files: Vec<(String, File)>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    for (name, file) in files {
        let Some(home) = offline.home(user) else { break };
        progress.begin(&name, file.metadata().map_or(0, |metadata| metadata.len()));
        let (lines, mut told) = mpsc::channel(AHEAD);
        let taking = tokio::spawn(take_in(home, file, lines));
        let mut shown = Ok(());
        while shown.is_ok()
            && let Some(line) = told.recv().await
        {
            shown = progress.tell(&line);
        }
        if shown.is_err() {
            // Nobody sees any more how far it is: it ends between two conversations.
            offline.draining().cancel();
        }
        drop(told);
        taking
            .await
            .map_err(|error| Failure::Check(format!("the import failed, which is a bug: {error}")))?;
        shown?;
        if progress.end()? {
            break;
        }
    }
    Ok(())
}

/// Has a running server import.
fn online(
    remote: &Remote,
    user: &str,
    files: Vec<(String, File)>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let path = format!("/v1/users/{}/import", encode(user));
    remote.offer(&path)?;
    for (name, file) in files {
        progress.begin(&name, file.metadata().map_or(0, |metadata| metadata.len()));
        let upload = progress.upload();
        remote.send(&path, file, upload, &mut |line| {
            let told: Told = serde_json::from_slice(line)
                .map_err(|error| Failure::Check(format!("the server answers in another way: {error}")))?;
            progress.tell(&told)
        })?;
        if progress.end()? {
            break;
        }
    }
    Ok(())
}
