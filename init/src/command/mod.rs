//! A command: a program of the host's with a root, an environment and a terminal or pipes of its own. This is what its process does
//! until it executes the program; the agent's side is `agent::session`.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{
    Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown, setgroups, sethostname, setresgid, setresuid, setsid,
};
use vmlab_protocol::command::{Command, User};
use vmlab_protocol::message::LegOutcome;

use crate::files::Files;
use crate::sandbox::{During as _, Trouble};
use crate::sys::{process, terminal};
pub(crate) use root::Place;

pub(crate) mod autoload;
mod execute;
mod load;
mod program;
mod root;

/// The limits of open files: the kernel's own soft limit, and a hard one up to which programs may raise it (that of systemd).
const OPEN_FILES: (u64, u64) = (1024, 524_288);

/// The standard descriptors of a command.
pub(crate) enum Stdio {
    Pipes {
        stdin: PipeReader,
        stdout: PipeWriter,
        stderr: PipeWriter,
    },
    /// The device of a terminal, below /dev/pts.
    Terminal(PathBuf),
}

/// Has the host's files mounted if the command needs them, and looks for what its root needs.
pub(crate) fn probe(command: &Command, files: Option<&Files>) -> LegOutcome {
    try_probe(command, files).unwrap_or_else(|Trouble(detail)| LegOutcome::Failed { detail })
}

fn try_probe(command: &Command, files: Option<&Files>) -> Result<LegOutcome, Trouble> {
    if !command.host_files {
        return Ok(LegOutcome::Available);
    }
    let files = files.ok_or_else(|| Trouble::new("the guest was started without a port for the host's files"))?;
    match files.mount()? {
        LegOutcome::Available => {}
        outcome => return Ok(outcome),
    }
    // A mount of the overlay for the test would cost an emulated guest several times as much.
    let known = fs::read_to_string("/proc/filesystems").during("reading /proc/filesystems")?;
    if known.lines().any(|line| line.split_whitespace().next_back() == Some("overlay")) {
        Ok(LegOutcome::Available)
    } else {
        Ok(LegOutcome::Missing { evidence: format!("mount(overlay): {:?}", Errno::ENODEV) })
    }
}

/// Makes the calling process the command. Returns only if a step fails.
pub(crate) fn become_program(command: &Command, place: &Place<'_>, stdio: Stdio) -> LegOutcome {
    match prepare(command, place, stdio) {
        Ok(()) => LegOutcome::Ended(execute::execute(&command.argv, &command.env)),
        Err(Trouble(detail)) => LegOutcome::Failed { detail },
    }
}

fn prepare(command: &Command, place: &Place<'_>, stdio: Stdio) -> Result<(), Trouble> {
    // A process group of its own comes with the session: signals to the command reach its children.
    setsid().during("setsid")?;
    process::default_actions();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).during("sigprocmask")?;
    root::enter(place, command)?;
    sethostname(&command.hostname).during("sethostname")?;
    loopback_up();
    load::load(&command.load)?;
    // The agent is protected when memory runs out (`agent::session`); the command is not.
    fs::write("/proc/self/oom_score_adj", "0").during("writing to /proc/self/oom_score_adj")?;
    // The sysctl fs.nr_open may allow less, and the kernel's own limits then stay.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.0, OPEN_FILES.1);
    attach(stdio, &command.user)?;
    become_user(&command.user)?;
    let cwd = Path::new(command.cwd.as_os_str());
    env::set_current_dir(cwd).during(format!("the working directory {} cannot be entered: chdir", cwd.display()))
}

/// Sets IFF_UP (netdevice(7)) of the loopback device, whose only other flag to set is IFF_LOOPBACK. A kernel without networking has
/// no such file.
fn loopback_up() {
    let flags = libc::IFF_UP | libc::IFF_LOOPBACK;
    let _ = fs::write("/sys/class/net/lo/flags", format!("{flags:#x}"));
}

/// Makes the descriptors the standard ones. The user owns them, so that programs can open /dev/stdout and the terminal again.
fn attach(stdio: Stdio, user: &User) -> Result<(), Trouble> {
    let own =
        |fd: &dyn AsFd| fchown(fd.as_fd(), Some(Uid::from_raw(user.uid)), None).during("fchown of a standard stream");
    match stdio {
        Stdio::Pipes { stdin, stdout, stderr } => {
            let streams: [&dyn AsFd; 3] = [&stdin, &stdout, &stderr];
            streams.into_iter().try_for_each(own)?;
            dup2_stdin(&stdin).and_then(|()| dup2_stdout(&stdout)).and_then(|()| dup2_stderr(&stderr)).during("dup2")
        }
        Stdio::Terminal(path) => {
            let opened = OpenOptions::new().read(true).write(true).open(&path);
            let file = opened.during(format!("open({})", path.display()))?;
            terminal::take_control(&file).during("ioctl(TIOCSCTTY)")?;
            own(&file)?;
            dup2_stdin(&file).and_then(|()| dup2_stdout(&file)).and_then(|()| dup2_stderr(&file)).during("dup2")
        }
    }
}

fn become_user(user: &User) -> Result<(), Trouble> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups: Vec<_> = user.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).during("setgroups")?;
    setresgid(gid, gid, gid).during(format!("setresgid({gid})"))?;
    setresuid(uid, uid, uid).during(format!("setresuid({uid})"))
}
