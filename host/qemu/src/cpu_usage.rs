//! The CPU usage of a QEMU process by proc(5). Read only when a time limit is about to pass, so that a healthy guest is
//! not slowed down.

use std::fs;
use std::time::Duration;

/// The maximum depth of QEMU below the started process, which may be a script.
const DEPTH: u32 = 4;
/// The unit of times in `/proc/PID/stat`: `USER_HZ`, which is 100 per second on every x86 kernel (time(7)).
const TICK: Duration = Duration::from_millis(10);

/// The CPU usage of a process and its children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// The CPU time of all threads.
    pub run: Duration,
    /// The longest time that a thread was ready to run but waited for a CPU. Zero on a host whose kernel does not
    /// measure it (CONFIG_SCHED_INFO).
    pub runqueue_wait: Duration,
    /// Whether a signal has stopped the process (state `T`).
    pub stopped: bool,
}

impl CpuUsage {
    /// The usage of a process and its descendants; None if the process does not exist.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Self::at_depth(pid, 0)
    }

    fn at_depth(pid: u32, depth: u32) -> Option<Self> {
        let mut usage = parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            // A thread that has just ended does not count.
            usage.runqueue_wait = usage.runqueue_wait.max(parse_schedstat(&read("schedstat")).unwrap_or_default());
            if depth < DEPTH {
                let children = read("children");
                for child in children.split_ascii_whitespace().filter_map(|child| child.parse().ok()) {
                    let child = Self::at_depth(child, depth + 1).unwrap_or_default();
                    usage.run += child.run;
                    usage.runqueue_wait = usage.runqueue_wait.max(child.runqueue_wait);
                    usage.stopped |= child.stopped;
                }
            }
        }
        Some(usage)
    }
}

/// Parses `/proc/PID/stat`: the state, and the sum of `utime` and `stime`. The process's name before them may contain
/// any characters. None if the text has another form: the usage is then unknown, and no limit is stretched.
fn parse_stat(text: &str) -> Option<CpuUsage> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
    // Fields 3, 14 and 15 of proc(5); the first field after the name is the third.
    let run = TICK * (ticks(11)?.saturating_add(ticks(12)?));
    Some(CpuUsage { run, runqueue_wait: Duration::ZERO, stopped: *fields.first()? == "T" })
}

/// Parses `/proc/PID/task/TID/schedstat`: the second number is the time that the thread waited on a run queue, in ns
/// (Documentation/scheduler/sched-stats.rst).
fn parse_schedstat(text: &str) -> Option<Duration> {
    let waited = text.split_ascii_whitespace().nth(1)?;
    waited.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn lines_of_proc_are_parsed() {
        let line = "4711 (qemu) R) x) T 1 4711 4711 0 -1 4194560 1052 0 0 0 123 45 0 0 20 0 4 0 1 2 3";
        let usage = parse_stat(line).unwrap();
        assert_eq!(usage, CpuUsage { run: Duration::from_millis(1680), runqueue_wait: Duration::ZERO, stopped: true });
        assert_eq!(parse_stat("4711 (qemu) R 1 2"), None);
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_schedstat("123 4567 8\n"), Some(Duration::from_nanos(4567)));
        assert_eq!(parse_schedstat("0"), None);
    }

    #[test]
    fn a_stopped_child_of_a_script_is_seen_and_an_ended_process_is_none() {
        // The outer shell waits for its child, which stops itself.
        let mut shell = Command::new("sh");
        shell.args(["-c", "sh -c 'kill -STOP $$; :' ; :"]).stdin(Stdio::null());
        let mut shell = shell.spawn().unwrap();
        let began = Instant::now();
        let stopped = loop {
            let usage = CpuUsage::of(shell.id()).unwrap();
            if usage.stopped || began.elapsed() > Duration::from_secs(20) {
                break usage.stopped;
            }
        };
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.id())).unwrap();
        let child: i32 = children.trim().parse().unwrap();
        kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
        assert!(stopped);
        let id = shell.id();
        shell.wait().unwrap();
        assert_eq!(CpuUsage::of(id), None);
    }

    #[test]
    fn a_process_that_ran_has_cpu_time() {
        // A process of one thread: the longest wait of several threads becomes shorter when a thread ends.
        let mut busy = Command::new("/bin/sh").args(["-c", "ulimit -t 100; while :; do :; done"]).spawn().unwrap();
        let of_busy = || CpuUsage::of(busy.id()).unwrap();
        let (before, began) = (of_busy(), Instant::now());
        let mut usage = before;
        while usage.run == before.run && began.elapsed() < Duration::from_secs(60) {
            usage = of_busy();
        }
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(
            usage.run > before.run && usage.runqueue_wait >= before.runqueue_wait && !usage.stopped,
            "{usage:?}, before: {before:?}"
        );
    }
}
