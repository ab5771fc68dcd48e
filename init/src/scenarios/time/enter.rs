//! How a process gets into a time namespace: by fork(2), and by execve(2) since Linux 6.3.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io::{Read as _, pipe, stdout};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;

use nix::errno::Errno;
use nix::sched::unshare;
use nix::unistd::Pid;
use vmlab_protocol::catalogue::Namespace;

use crate::sandbox::{During, Sandbox, clone_flag};
use crate::scenarios::namespace::inode;
use crate::scenarios::process::and_end;
use crate::scenarios::support::{Scratch, judge, known, note, open_namespace};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::create::{execute, vfork_and_execute};
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
fn program() -> Result<(Scratch, CString), Trouble> {
    let scratch = Scratch::new()?;
    let path = scratch.join("sleeper");
    fs::write(&path, SLEEPER).during("writing a program")?;
    fs::set_permissions(&path, Permissions::from_mode(0o755)).during("chmod(2)")?;
    let path = CString::new(path.into_os_string().into_vec()).during("the path of a program")?;
    Ok((scratch, path))
}

fn unshare_time() -> nix::Result<()> {
    unshare(clone_flag(Namespace::Time).0)
}

/// The inode number of a process's time namespace.
fn time_of(process: Pid) -> Result<u64, Trouble> {
    inode(&open_namespace(process, "time")?)
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
                    let errno = execute(&path, output.as_fd());
                    note(format_args!("execve(2): {errno}"));
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
        Ok(and_end(child, time_of(child))? != before)
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
    "It starts a program as posix_spawn(3) does: clone(CLONE_VM | CLONE_VFORK), then execve(2).",
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
        let child = vfork_and_execute(&path, beginner.as_fd()).during("clone(CLONE_VM | CLONE_VFORK)")?;
        drop(beginner);
        let begun = begun.read_exact(&mut [0]).during("read(2) from the child");
        let after = and_end(child, begun.and_then(|()| time_of(child)))?;
        Ok(after != before)
    })?;
    judge("whether the program is in a new time namespace", &seen, &true, &false)
}

fn probe_vfork() -> Result<Probe, Trouble> {
    if let missing @ Probe::Missing(_) = super::offsets::probe()? {
        return Ok(missing);
    }
    let (_scratch, path) = program()?;
    match vfork_and_execute(&path, stdout().as_fd()) {
        Ok(child) => and_end(child, Ok(Probe::Available)),
        Err(errno) => known("vfork(2) after unshare(CLONE_NEWTIME)", Err::<(), _>(errno), &[Errno::EINVAL], &[]),
    }
}
