//! The HTTP API under `/v1/users/{user}`: conversations and preferences for everyone who is no CRDT client.
//!
//! Every write becomes an edit of a document like any other: it is judged, answered once it is durable, and reaches the
//! devices over their sockets. Start reading at [`home`]; each other file is one resource. Errors are problem details
//! ([`problem`]), lists are `{"items": [...], "next": cursor|null}` ([`paging`]).

mod at;
pub(crate) mod blobs;
mod conversations;
mod drafts;
mod erasures;
mod events;
mod home;
pub(crate) mod idempotency;
mod kept;
mod merge;
mod messages;
mod paging;
mod parts;
mod preferences;
mod problem;
mod profile;
mod search;
pub(crate) mod transfer;

use std::sync::Arc;

use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use self::{
    home::Home,
    idempotency::once,
    problem::{is_api, no_such_path, too_many, wrong_method},
};
use crate::app::App;

/// What the document says beside its paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Syncline",
        description = "Conversations and preferences over HTTP. Writes answer once they are durable, and reach every \
                       device over its socket. Errors are RFC 9457 problem details.",
        license(name = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "conversations", description = "What the sidebar shows"),
        (name = "messages", description = "Turns, branches, feedback"),
        (name = "preferences", description = "What the user likes, who said so, and how sure that is"),
        (name = "devices", description = "Names of devices, and which are signed out for good"),
        (name = "folders", description = "Folders of conversations"),
        (name = "drafts", description = "What stands in the composers"),
        (name = "blobs", description = "Files that messages refer to: resumable uploads, ranges"),
        (name = "events", description = "What changes, as it happens"),
        (name = "search", description = "Words in titles and turns"),
        (name = "transfer", description = "Import and export"),
        (name = "erasures", description = "Erasing for good, with receipts"),
    )
)]
struct Description;

/// Builds the API's routes with their description.
pub(crate) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(conversations::list, conversations::create))
        .routes(routes!(conversations::get, conversations::change, conversations::delete))
        .routes(routes!(conversations::restore))
        .routes(routes!(conversations::read))
        .routes(routes!(messages::list, messages::append))
        .routes(routes!(messages::get))
        .routes(routes!(messages::alternative))
        .routes(routes!(messages::feedback))
        .routes(routes!(messages::select))
        .routes(routes!(preferences::list, merge::merge))
        .routes(routes!(preferences::set, preferences::clear))
        .routes(routes!(preferences::block))
        .routes(routes!(profile::devices))
        .routes(routes!(profile::name_device))
        .routes(routes!(profile::revoke_device))
        .routes(routes!(profile::restore_device))
        .routes(routes!(profile::folders, profile::create_folder))
        .routes(routes!(profile::change_folder, profile::delete_folder))
        .routes(routes!(drafts::list))
        .routes(routes!(drafts::set, drafts::delete))
        .routes(routes!(drafts::take_over))
        .routes(routes!(blobs::head, blobs::get, blobs::delete))
        .routes(routes!(erasures::message))
        .routes(routes!(erasures::conversation))
        .routes(routes!(erasures::user))
        .routes(routes!(erasures::list))
        .routes(routes!(events::events))
        .routes(routes!(search::search))
        .routes(routes!(transfer::chat))
}

/// Builds the routes through which whole files go: they have a time of their own.
pub(crate) fn transfers() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(transfer::import)).routes(routes!(transfer::export))
}

/// Builds the routes that take uploads. They take as long as bytes keep coming, and no `Idempotency-Key`: a blob's name
/// is its content's.
pub(crate) fn uploads() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(blobs::put, blobs::patch))
}
