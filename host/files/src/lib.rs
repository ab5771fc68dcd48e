//! Answers a guest's requests for the host's files: FUSE (fuse(4)) over the virtio-serial port
//! [`vmlab_protocol::FILES_PORT`], from a read-only [`View`] of the host.
//!
//! **What a guest sees.** All of `/`, but: `/dev`, `/proc`, `/run` and `/sys` look empty, because the guest mounts its own
//! there. Secrets of the system are hidden. Of the caller's home only the way to the working directory, that directory, and
//! toolchains are shown; of other homes, nothing. Credentials below a home are hidden even where the home is shown.
//! `rules/lists.rs` has the lists. A share shows what it names; only a share that names a secret, or something in it,
//! shows the secret. Homes and secrets that existed when the view was made are hidden under other names as well (bind mounts,
//! hard links). File systems that are interfaces to the host's kernel are inaccessible wherever they are mounted.
//!
//! **Read-only.** Three layers, of which each is enough: requests that write are refused by their numbers before they are
//! decoded; files are opened for reading only; Landlock confines the thread where the host has it.
//!
//! **Paths.** Each access reaches its file anew from `/` with openat2(2), beneath it and through no symbolic link. The
//! guest's kernel resolves links and asks for what they lead to, so the rules see every path as it is. The caller's user
//! and group are shown as root. Device nodes, FIFOs and sockets are shown with their numbers, and the host never opens
//! them.
//!
//! **Changes on the host** show within a second. A file that another one replaces shows as if it
//! had been rewritten, also to a program that has it open: a program that has it mapped may see pages of both. A file that is
//! replaced by a directory, or the other way round, is stale (`ESTALE`) where it was known.
//!
//! **How a guest must mount it:** `fd=N,rootmode=40755,user_id=0,group_id=0,default_permissions,allow_other`, read-only,
//! `nodev`. `default_permissions` is needed, because the host checks no guest user's rights. In an overlay on top,
//! the host's device nodes open the guest's devices of the same numbers, unless the overlay is `nodev` too.

mod attributes;
mod beneath;
mod caches;
mod confine;
mod guarded;
mod host;
mod inodes;
mod nodes;
mod request;
mod resolve;
mod rules;
mod serve;
mod session;
#[cfg(test)]
mod tests;
mod tree;
mod view;
mod visibility;

pub use beneath::open_beneath;
pub use serve::{ServeError, serve};
pub use view::{Request, View, ViewError};
pub use visibility::{ShareFlag, Visibility};
