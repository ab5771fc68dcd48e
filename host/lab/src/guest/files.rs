//! Serves the host's files to a guest.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;

use tracing::{Span, debug, warn};
use vmlab_files::View;

/// Starts a thread that serves a view until QEMU closes the port; returns QEMU's end of it.
pub(super) fn serve(view: &View) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    let (view, span) = (view.clone(), Span::current());
    thread::Builder::new().name("files".to_owned()).spawn(move || {
        span.in_scope(|| match vmlab_files::serve(ours, &view) {
            Ok(()) => debug!("the port for files was closed"),
            // The guest's accesses fail from now on, which the command reports.
            Err(error) => warn!(%error, "the host's files are not served any more"),
        });
    })?;
    Ok(theirs.into())
}
