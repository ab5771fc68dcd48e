//! Child processes that do not outlive vmlab. Apart from `vmlab_report::stdio` and the allocator of the command, this is the
//! host's only unsafe code.
//!
//! The kernel kills a child when vmlab ends (prctl(2), `PR_SET_PDEATHSIG`), but not the child's children. A QEMU starts none.
//! For a program that does, such as a script or apt, a second process of vmlab's waits for the end of the first one, and
//! kills all that carries its [`Mark`].

use std::env;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{self, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid, getppid};
use tokio::process::{Child, Command};

use crate::mark::Mark;

/// The name under which this program waits for the end of another vmlab: see [`watch_if_asked`].
const WATCHER: &str = "vmlab-watcher";

/// What a child starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offspring {
    /// No process of its own.
    None,
    /// Processes that may outlive it.
    Any,
}

/// Has the kernel send SIGKILL to the child when the spawning thread ends, and puts the child into its own process
/// group. Signals from the terminal then reach only vmlab, and the child's children can be killed with it.
///
/// The signal is tied to the spawning thread and not to the process (prctl(2), `PR_SET_PDEATHSIG`): spawn from the
/// runtime's thread, never from `spawn_blocking`. Executing a set-user-ID program clears the setting.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = getpid();
    command.process_group(0);
    let in_child = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // If the parent died between the fork and the line above, no signal will be sent.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from(Errno::ESRCH)) }
    };
    #[expect(unsafe_code, reason = "the standard library has no safe way to run code between fork and exec")]
    // SAFETY: the closure runs in the child between fork and exec, where only async-signal-safe calls are allowed. The
    // closure makes two system calls, prctl(2) and getppid(2), allocates nothing, takes no lock, and touches only its
    // copied capture.
    unsafe {
        command.pre_exec(in_child)
    }
}

/// A child that is killed on drop, with its process group and, if it has [`Offspring::Any`], all its descendants.
#[derive(Debug)]
pub struct Family {
    /// The child.
    pub child: Child,
    mark: Option<Mark>,
}

impl Family {
    /// Starts a program.
    ///
    /// # Errors
    /// As execve(2) and fork(2).
    pub fn spawn(command: &mut Command, offspring: Offspring) -> io::Result<Self> {
        let mark = (offspring == Offspring::Any).then(Mark::of_next_child);
        if let Some(mark) = &mark {
            // Without a watcher the program runs as well: see `start_watcher`.
            start_watcher().unwrap_or_default();
            let (name, value) = mark.variable();
            command.env(name, value);
        }
        Ok(Self { child: die_with_parent(command).spawn()?, mark })
    }

    /// Kills the child with its group if it was not reaped yet, and its marked descendants in any case. The group's id is
    /// the child's PID, which may belong to another process after the child was reaped.
    ///
    /// # Errors
    /// As killpg(3), except for a group that does not exist.
    pub fn kill(&self) -> io::Result<()> {
        let group = self.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let killed = match group.map(|group| killpg(group, Signal::SIGKILL)) {
            None | Some(Ok(()) | Err(Errno::ESRCH)) => Ok(()),
            Some(Err(error)) => Err(error.into()),
        };
        if let Some(mark) = &self.mark {
            mark.kill_all();
        }
        killed
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        // tokio kills the child again and reaps it. A destructor cannot return other errors.
        let _ = self.kill();
    }
}

/// Whether this program is the watcher if it is called by the watcher's name. A test's program is not.
static CAN_WATCH: AtomicBool = AtomicBool::new(false);

/// To be called first in `main`: if this process is the watcher of another vmlab, waits for that one's end, kills what it
/// left, and returns true.
#[must_use]
pub fn watch_if_asked() -> bool {
    let mut arguments = env::args_os();
    if arguments.next().is_none_or(|name| name != WATCHER) {
        CAN_WATCH.store(true, Ordering::Relaxed);
        return false;
    }
    let mark = arguments.next().and_then(|mark| mark.into_string().ok());
    // The other end of the pipe is closed when the process that holds it ends, however it ends. Nothing is written to it.
    if let (Some(mark), Ok(_)) = (mark, io::copy(&mut io::stdin().lock(), &mut io::sink())) {
        Mark::from_text(&mark).kill_all();
    }
    true
}

/// Starts the process that kills the descendants of this one if this one is killed by SIGKILL, unless it runs already.
///
/// # Errors
/// It cannot be started. Descendants that are no children may then outlive a SIGKILL.
pub fn start_watcher() -> io::Result<()> {
    /// The open end of the watcher's pipe.
    static WATCHED: OnceLock<process::ChildStdin> = OnceLock::new();
    if WATCHED.get().is_some() || !CAN_WATCH.load(Ordering::Relaxed) {
        return Ok(());
    }
    let mut command = process::Command::new("/proc/self/exe");
    command.arg0(WATCHER).arg(Mark::of_this_process().text());
    // Signals to vmlab's process group must not end it, and it must not hold vmlab's output open.
    command.process_group(0).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(pipe) = command.spawn()?.stdin.take() {
        // Only one thread starts children, so no other watcher was set meanwhile, and `set` cannot fail.
        let _ = WATCHED.set(pipe);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// The PIDs that a script prints, one a line.
    async fn pids(family: &mut Family, count: usize) -> Vec<Pid> {
        let mut text = String::new();
        let stdout = family.child.stdout.as_mut().unwrap();
        while text.lines().count() < count || !text.ends_with('\n') {
            let mut piece = [0; 64];
            let read = stdout.read(&mut piece).await.unwrap();
            text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        text.lines().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
    }

    fn is_alive(pid: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }

    fn all_end(pids: &[Pid]) -> bool {
        let deadline = Instant::now() + Duration::from_secs(60);
        while pids.iter().any(|pid| is_alive(*pid)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        !pids.iter().any(|pid| is_alive(*pid))
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    #[tokio::test]
    async fn descendants_in_any_session_end_with_their_family() {
        for script in [
            "sleep 1000 & echo $!; echo $$; wait",
            "setsid sh -c 'echo $$; exec sleep 1000' & echo $$; wait",
            "sh -c 'setsid sh -c \"echo \\$\\$; exec sleep 1000\" & echo $$; wait' & wait",
            // The child itself has ended and is reaped.
            "setsid sh -c 'echo $$; exec sleep 1000' & echo $$; exec sleep 0.01",
        ] {
            let mut family = Family::spawn(&mut shell(script), Offspring::Any).unwrap();
            let started = pids(&mut family, 2).await;
            if script.contains("exec sleep 0.01") {
                family.child.wait().await.unwrap();
            }
            drop(family);
            assert!(all_end(&started), "{script}");
        }
    }

    #[tokio::test]
    async fn ending_one_family_leaves_the_others() {
        let script = "setsid sh -c 'echo $$; exec sleep 1000' & wait";
        let [mut one, mut two] = [(); 2].map(|()| Family::spawn(&mut shell(script), Offspring::Any).unwrap());
        let (first, second) = (pids(&mut one, 1).await, pids(&mut two, 1).await);
        one.kill().unwrap();
        assert!(all_end(&first));
        assert!(is_alive(second[0]));
    }
}
