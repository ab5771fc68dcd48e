//! How a process gets into a time namespace: by fork(2), and by execve(2) since Linux 6.3.

use std::fs::{self, Permissions};
use std::io::{Read as _, pipe};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sched::unshare;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use vmlab_protocol::catalogue::Namespace;

use crate::sandbox::{Answer, Code, During, Sandbox, answer, clone_flag};
use crate::scenarios::support::{Scratch, judge, known};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::process::fork_with;

/// A program for x86-64 that writes a byte to its standard output and then calls pause(2) for ever: an ELF header, a program header,
/// and 31 bytes of code.
const SLEEPER: [u8; 151] = [
    // ELF header: 64 bit, little endian, executable, x86-64, entry 0x400078, program header at 64.
    0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0x3e, 0, 1, 0, 0, 0, 0x78, 0, 0x40, 0, 0, 0, 0, 0,
    64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0,
    // Program header: load 151 bytes of the file at 0x400000, readable and executable.
    1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 151, 0, 0, 0,
    0, 0, 0, 0, 151, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0,
    // mov eax, 1 (write); mov edi, 1; mov esi, 0x400000; mov edx, 1; syscall.
    0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe, 0, 0, 0x40, 0, 0xba, 1, 0, 0, 0, 0x0f, 0x05,
    // mov eax, 34 (pause); syscall; jmp to the mov.
    0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7,
];

/// A scratch directory with the program in it.
fn program() -> Result<(Scratch, std::path::PathBuf), Trouble> {
    let scratch = Scratch::new()?;
    let path = scratch.join("sleeper");
    fs::write(&path, SLEEPER).during("writing a program")?;
    fs::set_permissions(&path, Permissions::from_mode(0o755)).during("chmod(2)")?;
    Ok((scratch, path))
}

fn unshare_time() -> nix::Result<()> {
    unshare(clone_flag(Namespace::Time).0)
}

fn time_of(process: Pid) -> Result<String, Trouble> {
    let link = format!("/proc/{process}/ns/time");
    let target = fs::read_link(&link).during(format_args!("readlink({link})"))?;
    Ok(target.to_string_lossy().into_owned())
}

pub(super) const EXEC: Scenario = Scenario::new(
    "time.exec",
    "execve(2) after unshare(CLONE_NEWTIME) moves the process into the new time namespace",
    exec,
)
.shows(&["later-time"], "time_namespaces(7); kernel/nsproxy.c, exec_task_namespaces")
.steps(&[
    "A process calls unshare(CLONE_NEWTIME), which leaves it in its old time namespace.",
    "The subject's process executes a program.",
    "/proc/PID/ns/time of this process must be another one than outside. Before Linux 6.3 it is the same.",
    "The control's process executes nothing.",
])
.by_means_of("execve(2)")
.needs(&["CONFIG_TIME_NS"], 5, 6, 0)
.probed_by(super::offsets::probe)
.isolates_since((6, 3, 0), &[]);

fn exec(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (_scratch, path) = program()?;
    let seen = sandbox.run(|| {
        let before = time_of(nix::unistd::getpid())?;
        // The program writes a byte; without it the pipe is closed.
        let (mut begun, beginner) = pipe().during("pipe(2)")?;
        let mut beginner = Some(beginner);
        let replaces = sandbox.applies();
        let child = fork_with(|| {
            if unshare_time().is_err() {
                return 1;
            }
            match beginner.take() {
                Some(output) if replaces => {
                    let _error = Command::new(&path).stdout(output).exec();
                    return 2;
                }
                unused => drop(unused),
            }
            loop {
                nix::unistd::pause();
            }
        })
        .during("fork(2)")?;
        drop(beginner);
        begun.read(&mut [0]).during("read(2) from the child")?;
        let after = time_of(child);
        kill(child, Signal::SIGKILL).during("kill(2)")?;
        waitpid(child, None).during("waitpid(2)")?;
        Ok(after? != before)
    })?;
    judge("whether the process is in a new time namespace", &seen, &true, &false)
}

pub(super) const VFORK: Scenario = Scenario::new(
    "time.vfork",
    "vfork(2) and execve(2) after unshare(CLONE_NEWTIME) start a program in the new namespace",
    vfork,
)
.shows(&["later-time", "version-6"], "time_namespaces(7); kernel/fork.c, copy_process")
.steps(&[
    "The subject's process calls unshare(CLONE_NEWTIME).",
    "It starts a program with posix_spawn(3): clone(CLONE_VM | CLONE_VFORK), then execve(2).",
    "/proc/PID/ns/time of the program must be a new one. Before Linux 6.3 the clone fails with EINVAL.",
])
.by_means_of("unshare(CLONE_NEWTIME)")
.needs(&["CONFIG_TIME_NS"], 6, 3, 0)
.probed_by(probe_vfork);

fn vfork(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (_scratch, path) = program()?;
    let seen = sandbox.run(|| {
        let before = time_of(nix::unistd::getpid())?;
        if sandbox.applies() {
            unshare_time().during("unshare(CLONE_NEWTIME)")?;
        }
        // The kernel lets the parent go on before it moves the child into the namespace, so wait for the program's first byte.
        let (mut begun, beginner) = pipe().during("pipe(2)")?;
        let mut child = spawn(&path, beginner.into())?.map_err(Code::errno).during("posix_spawn(3)")?;
        begun.read_exact(&mut [0]).during("read(2) from the child")?;
        let pid = i32::try_from(child.id()).map(Pid::from_raw).during("reading a PID")?;
        let after = time_of(pid);
        child.kill().during("kill(2)")?;
        child.wait().during("waitpid(2)")?;
        Ok(after? != before)
    })?;
    judge("whether the program is in a new time namespace", &seen, &true, &false)
}

/// The standard library uses posix_spawn(3) where nothing must be done between vfork(2) and execve(2).
fn spawn(path: &Path, output: Stdio) -> Result<Answer<std::process::Child>, Trouble> {
    answer("posix_spawn(3)", Command::new(path).stdin(Stdio::null()).stdout(output).spawn())
}

fn probe_vfork() -> Result<Probe, Trouble> {
    if let missing @ Probe::Missing(_) = super::offsets::probe()? {
        return Ok(missing);
    }
    let (_scratch, path) = program()?;
    match spawn(&path, Stdio::null())? {
        Ok(mut child) => {
            child.kill().during("kill(2)")?;
            child.wait().during("waitpid(2)")?;
            Ok(Probe::Available)
        }
        Err(code) => known("vfork(2) after unshare(CLONE_NEWTIME)", Err::<(), _>(code.errno()), &[Errno::EINVAL], &[]),
    }
}
