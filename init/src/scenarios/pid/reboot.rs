//! reboot(2) in a PID namespace.

use std::process::exit;

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::signal::Signal;
use vmlab_protocol::catalogue::Namespace;

use super::support::{judge, note};
use super::{Finding, Scenario, Trouble};
use crate::sandbox::{Code, End, Sandbox, refused};
use crate::sys::system::reboot;

/// The exit code that stands for EPERM.
const REFUSED: i32 = 3;
const SOURCE: &str = "reboot(2), section Behavior inside PID namespaces";

pub(super) const POWER_OFF: Scenario = Scenario::new(
    "pid.power-off",
    "reboot(2) to halt or power off, in a PID namespace, kills its init with SIGINT",
    power_off,
)
.shows(&["3g"], SOURCE)
.steps(&[
    "Inside: init of the PID namespace calls reboot(LINUX_REBOOT_CMD_POWER_OFF).",
    "Outside: waitpid(2) must report that SIGINT has killed this init. The same is done with LINUX_REBOOT_CMD_HALT.",
    "The control is in the user namespace only: there both calls are refused with EPERM.",
])
.inside(&[Namespace::User, Namespace::Pid])
// In the initial user namespace the call would stop the machine.
.control_inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_PID_NS"], 3, 8, 0);

fn power_off(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    ends_by(sandbox, [libc::LINUX_REBOOT_CMD_POWER_OFF, libc::LINUX_REBOOT_CMD_HALT], Signal::SIGINT)
}

pub(super) const REBOOT: Scenario = Scenario::new(
    "pid.reboot",
    "reboot(2) in a PID namespace kills its init with SIGHUP and leaves the machine running",
    reboot_inside,
)
.shows(&["3g"], SOURCE)
.steps(&[
    "Inside: init of the PID namespace calls reboot(LINUX_REBOOT_CMD_RESTART).",
    "Outside: waitpid(2) must report that SIGHUP has killed this init. The same is done with LINUX_REBOOT_CMD_RESTART2.",
    "The control is in the user namespace only: there both calls are refused with EPERM.",
])
.inside(&[Namespace::User, Namespace::Pid])
// In the initial user namespace the call would restart the machine.
.control_inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_PID_NS"], 3, 8, 0);

fn reboot_inside(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    ends_by(sandbox, [libc::LINUX_REBOOT_CMD_RESTART, libc::LINUX_REBOOT_CMD_RESTART2], Signal::SIGHUP)
}

/// Calls reboot(2) inside with each command.
fn ends_by(sandbox: &Sandbox, commands: [c_int; 2], signal: Signal) -> Result<Finding, Trouble> {
    let [one, other] = commands.map(|command| {
        sandbox.end_of(|| {
            let answer = reboot(command);
            note(format_args!("reboot({command:#x}) inside: {answer:?}"));
            exit(if answer == Err(Errno::EPERM) { REFUSED } else { 1 })
        })
    });
    let what = "the ends of the processes that called reboot(2)";
    judge(what, &[one?, other?], &[End::killed(signal); 2], &[End::Exited(REFUSED); 2])
}

pub(super) const REBOOT_CAD: Scenario = Scenario::new(
    "pid.reboot-cad",
    "A PID namespace has no setting of Ctrl-Alt-Del: reboot(2) fails with EINVAL there",
    reboot_cad,
)
.shows(&["3g"], SOURCE)
.steps(&[
    "Inside: init of the PID namespace calls reboot(LINUX_REBOOT_CMD_CAD_OFF). The call must fail with EINVAL.",
    "The control is in the user namespace only: there the call is refused with EPERM.",
])
.inside(&[Namespace::User, Namespace::Pid])
// In the initial user namespace the call would change the machine's setting.
.control_inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_PID_NS"], 3, 8, 0);

fn reboot_cad(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let answer = sandbox.run(|| Ok(reboot(libc::LINUX_REBOOT_CMD_CAD_OFF).map_err(Code::from)))?;
    judge("reboot(LINUX_REBOOT_CMD_CAD_OFF) inside", &answer, &refused(Errno::EINVAL), &refused(Errno::EPERM))
}
