//! Time namespaces, and CLOCK_REALTIME, which has no namespace.

use std::time::Duration;

use nix::sys::sysinfo::sysinfo;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use vmlab_protocol::catalogue::Namespace;

use super::support::decide;
use super::{Finding, Scenario, Trouble, Undo};
use crate::sandbox::{ClockOffset, During, Sandbox};

const SHIFT_SECONDS: i64 = 1_000_000;
const SHIFT: Duration = Duration::from_secs(1_000_000);

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&BOOTTIME, &MONOTONIC, &REALTIME, &UPTIME];

const BOOTTIME: Scenario =
    Scenario::new("time.boottime", "CLOCK_BOOTTIME is shifted in a time namespace with an offset", boottime)
        .shows(&["3c"], "time_namespaces(7)")
        .inside(&[Namespace::Time])
        .with_clock_offsets(&[ClockOffset { clock: "boottime", seconds: SHIFT_SECONDS }])
        .needs(&["CONFIG_TIME_NS"], 5, 6, 0);

fn boottime(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    shifted(sandbox, "CLOCK_BOOTTIME inside", || now(ClockId::CLOCK_BOOTTIME))
}

const MONOTONIC: Scenario =
    Scenario::new("time.monotonic", "CLOCK_MONOTONIC is shifted in a time namespace with an offset", monotonic)
        .shows(&["3c"], "time_namespaces(7)")
        .inside(&[Namespace::Time])
        .with_clock_offsets(&[ClockOffset { clock: "monotonic", seconds: SHIFT_SECONDS }])
        .needs(&["CONFIG_TIME_NS"], 5, 6, 0);

fn monotonic(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    shifted(sandbox, "CLOCK_MONOTONIC inside", || now(ClockId::CLOCK_MONOTONIC))
}

const REALTIME: Scenario =
    Scenario::new("time.realtime", "CLOCK_REALTIME has no namespace: setting it inside sets it outside", realtime)
        .shows(&["3d"], "time_namespaces(7)")
        .inside(&[Namespace::Time])
        .needs(&["CONFIG_TIME_NS"], 5, 6, 0)
        .leaks_by_design();

fn realtime(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // The maximum difference between the durations measured by two clocks.
    const SLACK: Duration = Duration::from_millis(100);
    let before = now(ClockId::CLOCK_REALTIME)?;
    let start = now(ClockId::CLOCK_BOOTTIME)?;
    let passed = || Ok::<_, Trouble>(now(ClockId::CLOCK_BOOTTIME)?.saturating_sub(start));
    let _back = Undo::new("the wall clock", || set_realtime(before.saturating_add(passed()?)));
    let set = before.saturating_add(SHIFT);
    sandbox.run(|| set_realtime(set))?;
    let after = now(ClockId::CLOCK_REALTIME)?;
    let most = passed()?.saturating_add(SLACK);
    let since = |time: Duration| (time..=time.saturating_add(most)).contains(&after);
    decide(
        "CLOCK_REALTIME outside",
        &after,
        (since(before), since(set)),
        format_args!("{before:?} or {set:?}, or at most {most:?} more"),
    )
}

const UPTIME: Scenario = Scenario::new("time.uptime", "sysinfo(2) returns the uptime of the time namespace", uptime)
    .shows(&["3c"], "time_namespaces(7)")
    .inside(&[Namespace::Time])
    .with_clock_offsets(&[ClockOffset { clock: "boottime", seconds: SHIFT_SECONDS }])
    .needs(&["CONFIG_TIME_NS"], 5, 6, 0);

fn uptime(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    shifted(sandbox, "sysinfo(2)'s uptime inside", || Ok(sysinfo().during("sysinfo(2)")?.uptime()))
}

/// Reads a clock outside, inside, and outside again. The reading inside is either shifted by the offset or between the
/// readings outside.
fn shifted(sandbox: &Sandbox, what: &str, read: fn() -> Result<Duration, Trouble>) -> Result<Finding, Trouble> {
    let before = read()?;
    let inside = sandbox.run(read)?;
    let after = read()?;
    let within = |shift| (before.saturating_add(shift)..=after.saturating_add(shift)).contains(&inside);
    let found = (within(SHIFT), within(Duration::ZERO));
    decide(what, &inside, found, format_args!("{before:?} to {after:?}, or {SHIFT:?} more"))
}

fn now(clock: ClockId) -> Result<Duration, Trouble> {
    clock_gettime(clock).map(Duration::from).during("clock_gettime(2)")
}

fn set_realtime(time: Duration) -> Result<(), Trouble> {
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(time)).during("clock_settime(CLOCK_REALTIME)")
}
