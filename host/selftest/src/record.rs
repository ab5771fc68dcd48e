//! What stays of a run whose vmlab was killed: nothing but a record that can be read.

use std::ffi::OsString;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::bench::{Bench, BenchError};
use super::expect::{Came, WITNESS};
use super::processes;
use super::sabotage::LOOK_AGAIN;
use vmlab_events::clean;

/// How long after vmlab's end a QEMU of its may still be there.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// Adds to what came of a run that was killed: what is wrong with what it has left, and what its record says.
///
/// # Errors
/// [`BenchError`]
pub async fn after_kill(bench: &Bench, fault: &str, came: &mut Came) -> Result<(), BenchError> {
    let killed = Instant::now();
    let guests = || processes::with_mark(bench.mark()).iter().filter(|process| process.is_guest).count();
    while guests() > 0 && killed.elapsed() < GONE_WITHIN {
        sleep(LOOK_AGAIN).await;
    }
    let (left, gone) = (guests(), killed.elapsed());
    if left > 0 {
        came.wrong.push(format!("{left} QEMUs were there one second after vmlab was killed"));
    }
    let report: Vec<OsString> = ["report", "latest"].map(OsString::from).to_vec();
    let ended = match bench.start(bench.program(), &report)?.wait().await {
        Ok(ended) => ended,
        Err(error) => {
            came.wrong.push(format!("cannot read what vmlab report wrote: {error}"));
            return Ok(());
        }
    };
    came.exit = ended.status.and_then(|status| status.code());
    came.stdout = ended.stdout;
    came.stderr = ended.stderr;
    let said = came.stdout.lines().find(|line| line.contains("interrupted")).map(clean::line);
    if said.is_none() {
        came.wrong.push("the record does not say that the run was interrupted".to_owned());
    }
    came.record = Some(format!("no QEMU after {} ms; `vmlab report`: {}", gone.as_millis(), said.unwrap_or_default()));
    for name in [fault, WITNESS] {
        if !came.stdout.lines().any(|line| line.contains(name) && line.contains("NOT-RUN")) {
            came.wrong.push(format!("the record does not tell that {name} is NOT-RUN"));
        }
    }
    Ok(())
}
