//! What operators ask of a running server. Role admin; everyone on an open server.

use std::{io, path::PathBuf, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use syncline_protocol::names::DocumentName;
use syncline_store::{
    Store, StoreError,
    export::{Exported, Files, export_with},
};
use tokio::sync::mpsc;

use super::{Refusal, blocking, principal, reading, store};
use crate::{
    api::transfer::With,
    app::App,
    blobs::backup::Carried,
    inspection::{self, Content, Listing, PAGE},
};

/// Pieces of a backup on their way to the socket, and their size.
const PIECES: usize = 8;
const PIECE_BYTES: usize = 256 << 10;

#[derive(Debug, Deserialize)]
pub(super) struct Page {
    after: Option<String>,
    limit: Option<usize>,
}

fn operator(app: &App, headers: &HeaderMap) -> Result<(), Refusal> {
    match principal(app, headers)?.may_operate() {
        true => Ok(()),
        false => Err(Refusal::forbidden("this needs a token of role admin: `syncline token --role admin`")),
    }
}

/// Lists every document: sequence, updates, bytes, what is pending or set aside.
#[utoipa::path(get, path = "/v1/admin/documents", tag = "operation",
    params(("after" = Option<String>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, body = Object)))]
pub(super) async fn documents(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Listing>, Refusal> {
    operator(&app, &headers)?;
    let Query(page) = page?;
    let store = store(&app)?;
    let limit = page.limit.unwrap_or(PAGE);
    let mut listing = blocking(move || inspection::page(&*store, page.after.as_deref(), limit)).await??;
    for row in &mut listing.documents {
        row.refused = app.metrics.refusals_in(&row.name);
    }
    Ok(Json(listing))
}

/// Shows one document, as far as it is on disk. Slashes in its name may stand as they are.
#[utoipa::path(get, path = "/v1/admin/documents/{name}", tag = "operation", params(("name" = String, Path)),
    responses((status = 200, body = Object), (status = 404, description = "there is no such document")))]
pub(super) async fn document(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Content>, Refusal> {
    operator(&app, &headers)?;
    let Path(name) = name?;
    let store = store(&app)?;
    let name = DocumentName::parse(&name)?;
    let place = reading(&app, &name)?;
    let content = blocking(move || (inspection::content(&*store, &name), place)).await?.0?;
    content.map(Json).ok_or_else(|| Refusal::not_found("there is no such document"))
}

/// Streams a backup, with the blobs of users unless `blobs` is false. What fails before the first piece is a refusal; later
/// the answer breaks off, and the file has no end, which a restore notices.
#[utoipa::path(get, path = "/v1/admin/backup", tag = "operation",
    params(("blobs" = Option<bool>, Query, description = "false leaves the blobs out")),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>)))]
pub(super) async fn backup(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    with: Result<Query<With>, QueryRejection>,
) -> Result<Response, Refusal> {
    operator(&app, &headers)?;
    let Query(with) = with?;
    let store = store(&app)?;
    let data = app.config.data.clone();
    let (send, mut pieces) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        write_backup(&*store, with.blobs.unwrap_or(true).then_some(&data), send);
    });
    let first = match pieces.recv().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(error.into()),
        None => return Err(StoreError::Bug("the backup ended before it began".to_owned()).into()),
    };
    let rest = stream::unfold((Some(first), pieces), |(first, mut pieces)| async {
        let next = match first {
            Some(first) => Ok(first),
            None => pieces.recv().await?,
        };
        Some((next, (None, pieces)))
    });
    let kind = HeaderValue::from_static("application/octet-stream");
    let name = HeaderValue::from_static("attachment; filename=\"syncline.backup\"");
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(rest)).into_response())
}

fn write_backup(
    store: &dyn Store,
    with_blobs_of: Option<&PathBuf>,
    pieces: mpsc::Sender<Result<Bytes, StoreError>>,
) {
    let mut blobs = with_blobs_of.map(|data| Carried::new(store, data));
    let files = blobs.as_mut().map(|blobs| blobs as Files<'_>);
    let mut out = Pieces { buffer: Vec::with_capacity(PIECE_BYTES), pieces };
    let outcome = export_with(store, files, &mut out)
        .and_then(|exported| Ok(io::Write::flush(&mut out).map(|()| exported)?));
    match outcome {
        Ok(exported) => {
            let Exported { documents, commit, left, .. } = exported;
            tracing::info!(event = "backup", documents, commit, blobs = exported.files, left);
        }
        Err(error) => {
            tracing::warn!(event = "backup_failed", %error);
            // Nobody is there any more where the reader was what failed.
            let _ = out.pieces.blocking_send(Err(error));
        }
    }
}

/// Gathers what is written into pieces; waits for the reader, and fails when it is gone.
struct Pieces {
    buffer: Vec<u8>,
    pieces: mpsc::Sender<Result<Bytes, StoreError>>,
}

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES));
        let sent = self.pieces.blocking_send(Ok(Bytes::from(piece)));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the reader went away"))
    }
}
