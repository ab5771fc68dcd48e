//! Time namespaces, and CLOCK_REALTIME, which has no namespace.

mod enter;
mod offsets;

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::sysinfo::sysinfo;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use vmlab_protocol::catalogue::Namespace;

use super::support::{decide, field, judge, read as read_file};
use super::{Finding, Scenario, Trouble, Undo};
use crate::sandbox::{Answer, ClockOffset, Code, During, Sandbox, refused};
use crate::sys::privilege::adjust_nothing;

const SHIFT_SECONDS: i64 = 1_000_000;
const SHIFT: Duration = Duration::from_secs(1_000_000);

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[
    &BOOTTIME,
    &BTIME,
    &enter::EXEC,
    &MONOTONIC,
    &offsets::FROZEN,
    &offsets::NANOSECONDS,
    &offsets::RANGE,
    &offsets::VIEW,
    &PROC_UPTIME,
    &REALTIME,
    &SET_CLOCK,
    &UPTIME,
    &enter::VFORK,
];

const BOOTTIME: Scenario =
    Scenario::new("time.boottime", "CLOCK_BOOTTIME is shifted in a time namespace with an offset", boottime)
        .shows(&["3c", "biederman-4"], "time_namespaces(7)")
        .steps(&[
            "The boottime offset of the new time namespace is 1000000 s.",
            "clock_gettime(CLOCK_BOOTTIME) inside must lie between two readings outside, plus the offset.",
        ])
        .inside(&[Namespace::Time])
        .with_clock_offsets(&[ClockOffset { clock: "boottime", seconds: SHIFT_SECONDS }])
        .needs(&["CONFIG_TIME_NS"], 5, 6, 0);

fn boottime(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    shifted(sandbox, "CLOCK_BOOTTIME inside", || now(ClockId::CLOCK_BOOTTIME))
}

const BTIME: Scenario = Scenario::new(
    "time.btime",
    "The time of the boot in /proc/stat is that of the reader's time namespace",
    btime,
)
.shows(&["3c", "version-5"], "time_namespaces(7); fs/proc/stat.c, show_stat")
.steps(&[
    "The boottime offset of the new time namespace is 1000000 s.",
    "Inside: the line btime of /proc/stat must be 1000000 s earlier than outside, so that btime plus uptime is now.",
    "Before Linux 5.11 the line is the same inside and outside.",
])
.inside(&[Namespace::Time])
.with_clock_offsets(&[ClockOffset { clock: "boottime", seconds: SHIFT_SECONDS }])
.needs(&["CONFIG_TIME_NS", "CONFIG_PROC_FS"], 5, 6, 0)
.isolates_since((5, 11, 0), &[]);

fn btime(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = boot_second()?;
    let shift = outside - sandbox.run(boot_second)?;
    // The kernel computes the second from two clocks, so it may be off by one.
    let near = |value: i64| (value - 1..=value + 1).contains(&shift);
    let found = (near(SHIFT_SECONDS), near(0));
    decide("seconds between btime inside and outside", &shift, found, format_args!("{SHIFT_SECONDS} or 0"))
}

fn boot_second() -> Result<i64, Trouble> {
    field("/proc/stat", "btime")?.parse().during("reading btime")
}

const MONOTONIC: Scenario =
    Scenario::new("time.monotonic", "CLOCK_MONOTONIC is shifted in a time namespace with an offset", monotonic)
        .shows(&["3c"], "time_namespaces(7)")
        .steps(&[
            "The monotonic offset of the new time namespace is 1000000 s.",
            "clock_gettime(CLOCK_MONOTONIC) inside must lie between two readings outside, plus the offset.",
        ])
        .inside(&[Namespace::Time])
        .with_clock_offsets(&[ClockOffset { clock: "monotonic", seconds: SHIFT_SECONDS }])
        .needs(&["CONFIG_TIME_NS"], 5, 6, 0);

fn monotonic(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    shifted(sandbox, "CLOCK_MONOTONIC inside", || now(ClockId::CLOCK_MONOTONIC))
}

const PROC_UPTIME: Scenario =
    Scenario::new("time.proc-uptime", "/proc/uptime shows the uptime of the reader's time namespace", proc_uptime)
        .shows(&["3c"], "time_namespaces(7)")
        .steps(&[
            "The boottime offset of the new time namespace is 1000000 s.",
            "The first number of /proc/uptime inside must lie between two readings outside, plus the offset.",
        ])
        .inside(&[Namespace::Time])
        .with_clock_offsets(&[ClockOffset { clock: "boottime", seconds: SHIFT_SECONDS }])
        .needs(&["CONFIG_TIME_NS", "CONFIG_PROC_FS"], 5, 6, 0);

fn proc_uptime(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    shifted(sandbox, "/proc/uptime inside", || {
        let text = read_file("/proc/uptime")?;
        let (seconds, rest) = text.split_once('.').unwrap_or_default();
        let (hundredths, _idle) = rest.split_once(' ').unwrap_or_default();
        let number = |digits: &str| digits.parse::<u64>().during(format_args!("reading /proc/uptime, which is {text}"));
        Ok(Duration::from_secs(number(seconds)?) + Duration::from_millis(10 * number(hundredths)?))
    })
}

const REALTIME: Scenario =
    Scenario::new("time.realtime", "CLOCK_REALTIME has no namespace: setting it inside sets it outside", realtime)
        .shows(&["3d"], "time_namespaces(7)")
        .steps(&[
            "Inside a time namespace: root sets CLOCK_REALTIME 1000000 s ahead.",
            "Outside: CLOCK_REALTIME is ahead as well. The clock is set back afterwards.",
        ])
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

const SET_CLOCK: Scenario =
    Scenario::new("time.set-clock", "Root of a user namespace may not set or adjust CLOCK_REALTIME", set_clock)
        .shows(&["3d", "capabilities"], "clock_settime(2), adjtimex(2)")
        .steps(&[
            "Inside: root of a user namespace sets CLOCK_REALTIME to the time that it shows: EPERM.",
            "Inside: adjtimex(2) with ADJ_TICK and the present tick must fail with EPERM too.",
        ])
        .inside(&[Namespace::User])
        .needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn set_clock(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let answers = sandbox.run(|| {
        let now = clock_gettime(ClockId::CLOCK_REALTIME).during("clock_gettime(2)")?;
        let set: Answer = clock_settime(ClockId::CLOCK_REALTIME, now).map_err(Code::from);
        Ok((set, adjust_nothing().map_err(Code::from)))
    })?;
    let denied = refused(Errno::EPERM);
    judge("clock_settime(2) and adjtimex(2) inside", &answers, &(denied, denied), &(Ok(()), Ok(())))
}

const UPTIME: Scenario = Scenario::new("time.uptime", "sysinfo(2) returns the uptime of the time namespace", uptime)
    .shows(&["3c"], "time_namespaces(7)")
    .steps(&[
        "The boottime offset of the new time namespace is 1000000 s.",
        "The uptime of sysinfo(2) inside must lie between two readings outside, plus the offset.",
    ])
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
