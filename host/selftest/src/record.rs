//! What a killed vmlab leaves behind: no process, and a record that can be read.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use vmlab_events::clean;

use super::env::EnvError;
use super::expect::{Observed, WITNESS};
use super::injection::POLL_INTERVAL;
use super::launch::Launcher;

/// How long after vmlab's end its QEMUs may still be there.
const QEMU_END_TIMEOUT: Duration = Duration::from_secs(1);
/// How `vmlab report` begins its notice about a run that vmlab did not end.
const CUT_OFF_NOTICE: &str = "the run was cut off: ";

/// Looks for processes that outlive a killed vmlab, and replaces its exit code and output in `observed` by those of
/// `vmlab report` on its record.
pub(crate) async fn observe_after_kill(
    launcher: &Launcher<'_>,
    fault: &str,
    observed: &mut Observed,
) -> Result<(), EnvError> {
    let killed = Instant::now();
    let guests = || launcher.env.processes().iter().filter(|process| process.is_guest()).count();
    while guests() > 0 && killed.elapsed() < QEMU_END_TIMEOUT {
        sleep(POLL_INTERVAL).await;
    }
    let (left, gone) = (guests(), killed.elapsed());
    let mut wrong = std::mem::take(&mut observed.wrong);
    if left > 0 {
        wrong.push(format!("{left} QEMUs were there one second after vmlab was killed"));
    }
    let report = launcher.start(launcher.env.program(), &["report".into(), "latest".into()])?;
    *observed = launcher.observe_end(report, wrong).await;
    let notice = observed.stdout.lines().find(|line| line.contains(CUT_OFF_NOTICE)).map(clean::line);
    if notice.is_none() {
        observed.wrong.push("the record does not say that the run was cut off".to_owned());
    }
    observed.record =
        Some(format!("no QEMU after {} ms; `vmlab report`: {}", gone.as_millis(), notice.unwrap_or_default()));
    for name in [fault, WITNESS] {
        if !observed.stdout.lines().any(|line| line.contains(name) && line.contains("NOT-RUN")) {
            observed.wrong.push(format!("the record does not say that {name} is NOT-RUN"));
        }
    }
    Ok(())
}
