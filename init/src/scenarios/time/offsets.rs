//! The rules for `/proc/PID/timens_offsets`.

use std::fs;

use nix::errno::Errno;
use nix::sched::unshare;
use nix::sys::wait::waitpid;
use vmlab_protocol::catalogue::Namespace;

use crate::sandbox::{Answer, ClockOffset, During, Sandbox, answer, clone_flag, refused};
use crate::scenarios::support::{field, judge};
use crate::scenarios::{Finding, Scenario, Trouble};
use crate::sys::process::fork_with;

const OFFSETS: &str = "/proc/self/timens_offsets";

fn unshare_time() -> Result<(), Trouble> {
    unshare(clone_flag(Namespace::Time).0).during("unshare(CLONE_NEWTIME)")
}

fn set(line: &str) -> Result<Answer, Trouble> {
    answer("writing timens_offsets", fs::write(OFFSETS, line))
}

pub(super) const FROZEN: Scenario = Scenario::new(
    "time.offsets-frozen",
    "Offsets of a time namespace cannot be changed after its first process exists",
    frozen,
)
.shows(&["3c"], "time_namespaces(7), section /proc/pid/timens_offsets")
.steps(&[
    "A process calls unshare(CLONE_NEWTIME); the subject's process then forks, so that a process is in the namespace.",
    "A write to /proc/self/timens_offsets must fail with EACCES.",
    "In the control nothing has entered the namespace yet, and the write succeeds.",
])
.by_means_of("a process in the time namespace")
.needs(&["CONFIG_TIME_NS"], 5, 6, 0)
.probed_by(probe);

fn frozen(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let written = sandbox.run(|| {
        unshare_time()?;
        if sandbox.applies() {
            let child = fork_with(|| 0).during("fork(2)")?;
            waitpid(child, None).during("waitpid(2)")?;
        }
        set("boottime 1000 0\n")
    })?;
    judge("a write to timens_offsets", &written, &refused(Errno::EACCES), &Ok(()))
}

pub(super) const NANOSECONDS: Scenario =
    Scenario::new("time.offsets-nanoseconds", "An offset of 1000000000 nanoseconds is malformed: EINVAL", nanoseconds)
        .shows(&["3c"], "time_namespaces(7), section /proc/pid/timens_offsets")
        .steps(&[
            "A process calls unshare(CLONE_NEWTIME).",
            "Writing an offset with 1000000000 ns to /proc/self/timens_offsets must fail with EINVAL.",
            "The control writes 999999999 ns, which is accepted.",
        ])
        .by_means_of("an offset of 1000000000 nanoseconds")
        .needs(&["CONFIG_TIME_NS"], 5, 6, 0)
        .probed_by(probe);

fn nanoseconds(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let nanoseconds = if sandbox.applies() { 1_000_000_000 } else { 999_999_999 };
    let written = sandbox.run(|| {
        unshare_time()?;
        set(&format!("boottime 1000 {nanoseconds}\n"))
    })?;
    judge(&format!("an offset of {nanoseconds} ns"), &written, &refused(Errno::EINVAL), &Ok(()))
}

pub(super) const RANGE: Scenario =
    Scenario::new("time.offsets-range", "A clock of a time namespace cannot be negative or overflow: ERANGE", range)
        .shows(&["3c"], "time_namespaces(7), section /proc/pid/timens_offsets")
        .steps(&[
            "A process calls unshare(CLONE_NEWTIME).",
            "Writing an offset that makes CLOCK_BOOTTIME negative must fail with ERANGE.",
            "Writing an offset of more than 146 years must fail with ERANGE.",
            "The control writes offsets of 1000 s, which are accepted.",
        ])
        .by_means_of("offsets out of range")
        .needs(&["CONFIG_TIME_NS"], 5, 6, 0)
        .probed_by(probe);

fn range(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // Seconds. The limit is KTIME_SEC_MAX / 2 (kernel/time/namespace.c): 4611686018 s.
    let (low, high): (i64, i64) = if sandbox.applies() { (-1_000_000, 4_611_686_019) } else { (1000, 1000) };
    let written = sandbox.run(|| {
        unshare_time()?;
        Ok((set(&format!("boottime {low} 0\n"))?, set(&format!("monotonic {high} 0\n"))?))
    })?;
    let denied = refused(Errno::ERANGE);
    judge(&format!("offsets of {low} s and {high} s"), &written, &(denied, denied), &(Ok(()), Ok(())))
}

pub(super) const VIEW: Scenario = Scenario::new(
    "time.offsets-view",
    "/proc/PID/timens_offsets shows from outside the clock offsets of a process",
    view,
)
.shows(&["1c", "3c"], "time_namespaces(7), section /proc/pid/timens_offsets")
.steps(&[
    "Inside: a process waits in a new time namespace whose boottime offset is 1000000 s.",
    "Outside: its /proc/PID/timens_offsets must show this offset. In the control it shows 0.",
])
.inside(&[Namespace::Time])
.with_clock_offsets(&[ClockOffset { clock: "boottime", seconds: 1_000_000 }])
.needs(&["CONFIG_TIME_NS", "CONFIG_PROC_FS"], 5, 6, 0);

fn view(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let offset = field(&format!("/proc/{}/timens_offsets", inside.pid()), "boottime")?;
    let seconds = offset.split_whitespace().next().and_then(|number| number.parse::<i64>().ok());
    judge("the boottime offset in /proc/PID/timens_offsets", &seconds, &Some(1_000_000), &Some(0))
}

/// The scenarios' own sandbox has no time namespace, so that its probe would not ask for one.
pub(super) fn probe() -> Result<crate::scenarios::Probe, Trouble> {
    Sandbox::none().with_namespaces(&[Namespace::Time]).probe()
}
