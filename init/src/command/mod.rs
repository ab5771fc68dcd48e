//! A command: a program of the host's with a root, an environment and a terminal or pipes of its own. This is what its process does
//! until it executes the program; the agent's side is `agent::session`.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{
    Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown, setgroups, sethostname, setresgid, setresuid, setsid,
};
use serde::{Deserialize, Serialize};
use vmlab_protocol::command::{Command, Text, User};
use vmlab_protocol::message::LegOutcome;

use crate::files::Files;
use crate::sandbox::{During as _, Trouble};
use crate::sys::{process, terminal};
pub(crate) use root::{Place, Root};

pub(crate) mod autoload;
mod execute;
mod load;
mod network;
pub(crate) mod out;
mod program;
mod root;

/// The limits of open files: the kernel's own soft limit, and a hard one up to which programs may raise it (that of systemd).
const OPEN_FILES: (u64, u64) = (1024, 524_288);

/// The ends of pipes that become a command's standard streams if it has no terminal.
pub(crate) struct Pipes {
    pub(crate) stdin: PipeReader,
    pub(crate) stdout: PipeWriter,
    pub(crate) stderr: PipeWriter,
}

/// The order that the agent sends to the process of a command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) command: Command,
    /// The device of the command's terminal, below /dev/pts; None for pipes.
    pub(crate) terminal: Option<Text>,
}

/// Whether commands can see the host's files: PID 1 has mounted them, and the kernel has what a command's root needs. The outcome is
/// that of a probe, and does not change later.
pub(crate) fn probe(files: Option<Files>) -> LegOutcome {
    try_probe(files).unwrap_or_else(|trouble| LegOutcome::Failed { detail: trouble.into_text() })
}

fn try_probe(files: Option<Files>) -> Result<LegOutcome, Trouble> {
    let files = files.ok_or_else(|| Trouble::new("the guest was started without a port for the host's files"))?;
    match files.wait()? {
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

/// Makes the calling process ready to become a command.
///
/// Under an emulator each step is slow when it is done for the first time, so everything that does not depend on the command is done
/// here, and may be done before a template is saved.
pub(crate) fn prepare(place: Place<'_>, host_files: bool) -> Result<Root, Trouble> {
    // A process group of its own comes with the session: signals to the command reach its children.
    setsid().during("setsid")?;
    process::default_actions();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).during("sigprocmask")?;
    // The agent is protected when memory runs out; the command is not.
    fs::write("/proc/self/oom_score_adj", "0").during("writing to /proc/self/oom_score_adj")?;
    // The sysctl fs.nr_open may allow less, and the kernel's own limits then stay.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.0, OPEN_FILES.1);
    let root = Root::mount(place, host_files)?;
    loopback_up(&root);
    Ok(root)
}

/// Waits for the order, and makes the calling process the program. Returns only if a step fails.
pub(crate) fn await_order(
    prepared: Result<Root, Trouble>,
    order: PipeReader,
    pipes: Pipes,
    for_files: out::Pipes,
) -> LegOutcome {
    let became = prepared.and_then(|root| {
        let order = receive(order)?;
        finish(root, &order, pipes, for_files)?;
        Ok(LegOutcome::Ended(execute::execute(&order.command)))
    });
    became.unwrap_or_else(|trouble| LegOutcome::Failed { detail: trouble.into_text() })
}

fn receive(order: PipeReader) -> Result<Order, Trouble> {
    let mut json = Vec::new();
    BufReader::new(order).read_until(b'\n', &mut json).during("waiting for the command")?;
    serde_json::from_slice(&json).during("unreadable order of the agent")
}

fn finish(root: Root, order: &Order, pipes: Pipes, for_files: out::Pipes) -> Result<(), Trouble> {
    let command = &order.command;
    let upper = root.enter(command)?;
    if !command.out.is_empty() {
        out::start(&command.out, upper, for_files)?;
    }
    sethostname(&command.hostname).during("sethostname")?;
    load::load(&command.load)?;
    command.network.as_ref().map_or(Ok(()), network::set_up)?;
    attach(order.terminal.as_ref(), pipes, &command.user)?;
    become_user(&command.user)?;
    let cwd = Path::new(command.cwd.as_os_str());
    env::set_current_dir(cwd).during(format!("the working directory {} cannot be entered: chdir", cwd.display()))
}

/// Sets IFF_UP (netdevice(7)) of the loopback device, whose only other flag to set is IFF_LOOPBACK. A kernel without networking has
/// no such file.
fn loopback_up(root: &Root) {
    let flags = libc::IFF_UP | libc::IFF_LOOPBACK;
    let _ = fs::write(root.staged("sys/class/net/lo/flags"), format!("{flags:#x}"));
}

/// Makes the descriptors the standard ones. The user owns them, so that programs can open /dev/stdout and the terminal again.
fn attach(terminal: Option<&Text>, pipes: Pipes, user: &User) -> Result<(), Trouble> {
    let own =
        |fd: &dyn AsFd| fchown(fd.as_fd(), Some(Uid::from_raw(user.uid)), None).during("fchown of a standard stream");
    let Some(path) = terminal.map(Text::as_os_str) else {
        let Pipes { stdin, stdout, stderr } = pipes;
        let streams: [&dyn AsFd; 3] = [&stdin, &stdout, &stderr];
        streams.into_iter().try_for_each(own)?;
        return dup2_stdin(&stdin)
            .and_then(|()| dup2_stdout(&stdout))
            .and_then(|()| dup2_stderr(&stderr))
            .during("dup2");
    };
    let opened = OpenOptions::new().read(true).write(true).open(path);
    let file = opened.during(format!("open({})", Path::new(path).display()))?;
    terminal::take_control(&file).during("ioctl(TIOCSCTTY)")?;
    own(&file)?;
    dup2_stdin(&file).and_then(|()| dup2_stdout(&file)).and_then(|()| dup2_stderr(&file)).during("dup2")
}

fn become_user(user: &User) -> Result<(), Trouble> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups: Vec<_> = user.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).during("setgroups")?;
    setresgid(gid, gid, gid).during(format!("setresgid({gid})"))?;
    setresuid(uid, uid, uid).during(format!("setresuid({uid})"))
}
