//! Attributes of a process that can be read or set only to save and restore it.

use std::fs::{self, File};
use std::os::fd::{AsRawFd as _, IntoRawFd as _};

use nix::errno::Errno;
use nix::unistd::{Pid, getpid};
use vmlab_protocol::catalogue::Namespace;

use super::support::{Scratch, decide, judge, known, read, write};
use super::{Finding, Probe, Scenario, Trouble, fork_as, probe_set_tid};
use crate::sandbox::{Code, During, Sandbox, refused};
use crate::sys::checkpoint::{
    choose_timer_ids, compare_files, keep_capabilities, mm_map_size, set_command_line, timer_id,
};

/// `CAP_CHECKPOINT_RESTORE` of <linux/capability.h>.
const CHECKPOINT_RESTORE: u32 = 40;

pub(super) const CAPABILITY: Scenario = Scenario::new(
    "checkpoint.capability",
    "CAP_CHECKPOINT_RESTORE is enough to choose the PID of a new process",
    capability,
)
.shows(&["7a", "3i"], "capabilities(7)")
.steps(&[
    "Inside: the first process keeps CAP_CHECKPOINT_RESTORE and drops all other capabilities; in the control, all.",
    "It calls clone3(2) with set_tid = [4321]. The child's PID must be 4321. In the control the call fails with EPERM.",
])
.inside(&[Namespace::Pid])
.control_inside(&[Namespace::Pid])
.by_means_of("CAP_CHECKPOINT_RESTORE")
.needs(&["CONFIG_PID_NS"], 5, 9, 0)
.probed_by(probe_capability);

fn capability(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let kept = if sandbox.applies() { 1 << CHECKPOINT_RESTORE } else { 0 };
    let pid = sandbox.run(|| {
        keep_capabilities(kept).during("capset(2)")?;
        fork_as(&[4321])
    })?;
    judge("the child's PID inside", &pid, &Ok(4321), &refused(Errno::EPERM))
}

fn probe_capability() -> Result<Probe, Trouble> {
    let last = read("/proc/sys/kernel/cap_last_cap")?.parse::<u32>().during("reading cap_last_cap")?;
    if last < CHECKPOINT_RESTORE {
        return Ok(Probe::Missing(format!("/proc/sys/kernel/cap_last_cap is {last}")));
    }
    probe_set_tid()
}

/// With the NUL that ends it.
const RESTORED: &str = "vmlab-restored\0";

pub(super) const COMMAND_LINE: Scenario = Scenario::new(
    "checkpoint.command-line",
    "prctl(PR_SET_MM) tells the kernel where a restored process has its command line",
    command_line,
)
.shows(&["7a"], "prctl(2), PR_SET_MM")
.steps(&[
    "A process sets its PR_SET_MM_ARG_START and PR_SET_MM_ARG_END to a text in its memory; in the control, not.",
    "Another process reads its /proc/PID/cmdline. It must be this text. In the control it is the old command line.",
])
.by_means_of("PR_SET_MM")
.needs(&["CONFIG_CHECKPOINT_RESTORE"], 3, 5, 0)
.probed_by(|| known("prctl(PR_SET_MM_MAP_SIZE)", mm_map_size(), &[Errno::EINVAL], &[]));

fn command_line(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let sets = sandbox.applies();
    let inside = sandbox.hold(|| {
        // The kernel shows anonymous memory only (FOLL_ANON in fs/proc/base.c), which a constant is not in.
        let text = RESTORED.to_owned().leak();
        if sets { set_command_line(text.as_bytes()).during("prctl(PR_SET_MM)") } else { Ok(()) }
    })?;
    let text = |process: Pid| {
        let bytes = fs::read(format!("/proc/{process}/cmdline")).during("reading /proc/PID/cmdline")?;
        Ok::<_, Trouble>(String::from_utf8_lossy(&bytes).into_owned())
    };
    judge("the process's command line", &text(inside.pid())?, &RESTORED.to_owned(), &text(getpid())?)
}

pub(super) const KCMP: Scenario = Scenario::new(
    "checkpoint.kcmp",
    "kcmp(2) tells an open file that two processes share from two open files of one path",
    kcmp,
)
.shows(&["7a"], "kcmp(2)")
.steps(&[
    "Open a file. Another process inherits the open file; in the control it opens the path itself.",
    "kcmp(KCMP_FILE) of both descriptors must return 0. In the control it returns 1 or 2.",
])
.by_means_of("an inherited descriptor")
.needs(&["CONFIG_CHECKPOINT_RESTORE"], 3, 5, 0)
.probed_by(probe_kcmp);

fn kcmp(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let path = scratch.join("file");
    write(&path, "")?;
    let open = || File::open(&path).during("open(2)");
    let file = open()?;
    let shares = sandbox.applies();
    // The descriptor stays open as long as its process lives.
    let inside = sandbox.hold(|| if shares { Ok(file.as_raw_fd()) } else { open().map(File::into_raw_fd) })?;
    let order = compare_files((getpid(), file.as_raw_fd()), (inside.pid(), *inside.value())).during("kcmp(2)")?;
    decide("kcmp(KCMP_FILE)", &order, (order == 0, [1, 2].contains(&order)), "0, or 1 or 2")
}

fn probe_kcmp() -> Result<Probe, Trouble> {
    let own = (getpid(), 0);
    known("kcmp(2)", compare_files(own, own), &[Errno::ENOSYS], &[Errno::EBADF])
}

pub(super) const TIMER_ID: Scenario = Scenario::new(
    "checkpoint.timer-id",
    "PR_TIMER_CREATE_RESTORE_IDS lets timer_create(2) give a timer a chosen id",
    chosen_timer_id,
)
.shows(&["7a"], "prctl(2), PR_TIMER_CREATE_RESTORE_IDS")
.steps(&[
    "A process calls prctl(PR_TIMER_CREATE_RESTORE_IDS, ON); in the control it does not.",
    "It calls timer_create(2) with the id 4711 in the place for the id. The timer's id must be 4711.",
    "In the control the kernel ignores the number and gives the next id.",
])
.by_means_of("PR_TIMER_CREATE_RESTORE_IDS")
.needs(&["CONFIG_POSIX_TIMERS"], 6, 15, 0)
.probed_by(|| known("prctl(PR_TIMER_CREATE_RESTORE_IDS)", choose_timer_ids(false), &[Errno::EINVAL], &[]));

fn chosen_timer_id(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const WANTED: i32 = 4711;
    let chooses = sandbox.applies();
    let id = sandbox.run(|| {
        if chooses {
            choose_timer_ids(true).during("prctl(PR_TIMER_CREATE_RESTORE_IDS)")?;
        }
        Ok(timer_id(WANTED).map_err(Code::from))
    })?;
    let next = id.is_ok_and(|id| id != WANTED);
    decide("the timer's id", &id, (id == Ok(WANTED), next), format_args!("{WANTED}, or another id"))
}
