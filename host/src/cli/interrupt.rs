//! The signals by which a user, a terminal or a supervisor ends a command.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use crate::exit;

/// Runs work until it is done or SIGINT, SIGTERM or SIGHUP comes; then the work is dropped, which ends what it started.
///
/// # Errors
/// [`exit::INTERRUPTED`] by a signal, [`exit::LAB`] where signals cannot be listened for.
pub async fn or_interrupt<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let listen =
        |kind: SignalKind| signal(kind).map_err(|error| Failure::lab(format!("cannot listen for signals: {error}")));
    let (mut int, mut term, mut hup) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    let any = async |signals: [&mut Signal; 3]| {
        let [a, b, c] = signals;
        tokio::select! { _ = a.recv() => {}, _ = b.recv() => {}, _ = c.recv() => {} }
    };
    tokio::select! {
        result = work => result,
        () = any([&mut int, &mut term, &mut hup]) => {
            Err(Failure::with_code(exit::INTERRUPTED, "interrupted; nothing half-done was left behind"))
        }
    }
}
