//! One Yjs document in memory.
pub mod record;
