//! QEMU as a child process, and the seccomp filter that it puts on itself.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::ptrace::{self, Options};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, raise, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use vmlab_thaw_image::process::{INSTRUCTIONS_LIMIT, Instruction};

use crate::procfs::Memory;

/// A seccomp filter that the child has installed.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// The flags of seccomp(2).
    pub(crate) flags: u32,
    pub(crate) instructions: Vec<Instruction>,
}

/// The child.
pub(crate) struct Child {
    pid: Pid,
    /// Readable when the child has ended.
    signals: SignalFd,
    /// Why the child could not be traced.
    untraced: Option<Errno>,
    filter: Option<Filter>,
    /// Whether it will put a filter on itself.
    has_sandbox: bool,
}

/// How the child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(u8),
    Killed(Signal),
}

impl Ended {
    fn of(status: WaitStatus) -> Option<Self> {
        match status {
            WaitStatus::Exited(_, code) => Some(Self::Exited(code.to_le_bytes()[0])),
            WaitStatus::Signaled(_, signal, _) => Some(Self::Killed(signal)),
            _ => None,
        }
    }

    /// Ends this process in the same way.
    pub(crate) fn follow(self) -> ExitCode {
        match self {
            Self::Exited(code) => ExitCode::from(code),
            Self::Killed(signal) => {
                // QEMU has left the core file that there is to be. If one of these steps fails, the exit status below says that QEMU
                // did not end well.
                let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
                let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
                #[expect(unsafe_code, reason = "sigaction(2)")]
                // SAFETY: the default action is no function.
                let _ = unsafe { sigaction(signal, &default) };
                let _ = raise(signal);
                ExitCode::FAILURE
            }
        }
    }
}

impl Child {
    /// Starts the program, stopped at its first instruction if it may be traced.
    pub(crate) fn start(program: &OsStr, arguments: &[OsString]) -> io::Result<Self> {
        let mut ended = SigSet::empty();
        ended.add(Signal::SIGCHLD);
        // The standard library clears the mask in children.
        ended.thread_block()?;
        let signals = SignalFd::with_flags(&ended, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let has_sandbox = arguments.iter().any(|argument| argument == "-sandbox");
        let (spawned, untraced) = match spawn(program, arguments, true) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                (spawn(program, arguments, false)?, Some(Errno::EPERM))
            }
            spawned => (spawned?, None),
        };
        Ok(Self { pid: spawned, signals, untraced, filter: None, has_sandbox })
    }

    pub(crate) const fn id(&self) -> Pid {
        self.pid
    }

    /// The filter, or why there is no knowing it.
    pub(crate) fn filter(&self) -> Result<Option<&Filter>, Errno> {
        match self.untraced {
            Some(error) => Err(error),
            None => Ok(self.filter.as_ref()),
        }
    }

    /// Lets the child run, with a stop before and after each system call until it has put a filter on itself. The kernel shows
    /// filters of other processes only to a privileged one.
    pub(crate) fn note_filter(&mut self) -> io::Result<Option<Ended>> {
        if self.untraced.is_some() {
            return Ok(None);
        }
        let pid = self.pid;
        if let Some(ended) = Ended::of(waitpid(pid, None)?) {
            return Ok(Some(ended));
        }
        ptrace::setoptions(pid, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL)?;
        let (mut deliver, mut tried) = (None, None);
        while self.has_sandbox && self.filter.is_none() {
            ptrace::syscall(pid, deliver.take())?;
            match waitpid(pid, Some(WaitPidFlag::__WALL))? {
                WaitStatus::PtraceSyscall(_) => {
                    let registers = ptrace::getregs(pid)?;
                    let is_at_entry = registers.rax.cast_signed() == -i64::from(libc::ENOSYS);
                    match tried.take() {
                        None if is_at_entry => tried = filter_at(pid, &registers)?,
                        Some(filter) if registers.rax == 0 => self.filter = Some(filter),
                        None | Some(_) => {}
                    }
                }
                // The stop after execve(2).
                WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
                WaitStatus::Stopped(_, signal) => deliver = Some(signal),
                status => {
                    if let Some(ended) = Ended::of(status) {
                        return Ok(Some(ended));
                    }
                }
            }
        }
        ptrace::detach(pid, deliver)?;
        Ok(None)
    }

    /// Waits until the channel has an order or has ended. Returns how the child ended if it did.
    pub(crate) fn wait_for_order(&self, channel: &impl AsFd) -> io::Result<Option<Ended>> {
        loop {
            if let Some(ended) = Ended::of(waitpid(self.pid, Some(WaitPidFlag::WNOHANG))?) {
                return Ok(Some(ended));
            }
            let mut polled =
                [PollFd::new(channel.as_fd(), PollFlags::POLLIN), PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            let [has_order, has_signal] = polled.map(|polled| polled.any().unwrap_or(false));
            if has_signal {
                self.signals.read_signal()?;
            } else if has_order {
                return Ok(None);
            }
        }
    }

    /// Kills the child and waits for its end.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match kill(self.pid, Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
        loop {
            // Threads that are traced have to be waited for as well; the first thread ends last.
            match waitpid(self.pid, Some(WaitPidFlag::__WALL)) {
                Ok(status) if Ended::of(status).is_some() => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn spawn(program: &OsStr, arguments: &[OsString], traced: bool) -> io::Result<Pid> {
    let mut command = Command::new(program);
    command.args(arguments);
    let in_child = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if traced {
            ptrace::traceme()?;
        }
        Ok(())
    };
    #[expect(unsafe_code, reason = "the standard library has no safe way to run code between fork and exec")]
    // SAFETY: the closure makes two system calls, allocates nothing, takes no lock, and touches only its copied capture.
    let child = unsafe { command.pre_exec(in_child) }.spawn()?;
    i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)
}

/// The filter that a system call is about to install.
fn filter_at(pid: Pid, registers: &libc::user_regs_struct) -> io::Result<Option<Filter>> {
    let is_filter = registers.orig_rax == libc::SYS_seccomp.unsigned_abs()
        && registers.rdi == u64::from(libc::SECCOMP_SET_MODE_FILTER)
        // libseccomp asks with a null pointer which flags the kernel knows.
        && registers.rdx != 0;
    if !is_filter {
        return Ok(None);
    }
    let memory = Memory::of(pid)?;
    // `struct sock_fprog`: a length of 16 bits, and behind padding a pointer.
    let mut program = [0; 16];
    memory.read_exact_at(&mut program, registers.rdx)?;
    let [length, at] =
        [0, 8].map(|at| program[at..].first_chunk().map_or(0, |word: &[u8; 8]| u64::from_le_bytes(*word)));
    let count = usize::from(length.to_le_bytes()[0]) | usize::from(length.to_le_bytes()[1]) << 8;
    let mut bytes = vec![0; count.min(INSTRUCTIONS_LIMIT) * 8];
    memory.read_exact_at(&mut bytes, at)?;
    let instruction = |word: &[u8; 8]| Instruction {
        code: u16::from_le_bytes([word[0], word[1]]),
        if_true: word[2],
        if_false: word[3],
        operand: u32::from_le_bytes([word[4], word[5], word[6], word[7]]),
    };
    let instructions = bytes.as_chunks::<8>().0.iter().map(instruction).collect();
    let flags = u32::try_from(registers.rsi).unwrap_or(u32::MAX);
    Ok(Some(Filter { flags, instructions }))
}
