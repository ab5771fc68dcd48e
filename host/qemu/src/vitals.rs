//! How a QEMU fares on its host: what proc(5) says of its processor time. Read only where a limit is about to pass, never
//! on the way of a guest that does well.

use std::fs;
use std::time::Duration;

/// How deep QEMU may lie below the process that was started, as where that is a script.
const DEPTH: u32 = 4;
/// The unit of the times in `/proc/PID/stat`: `USER_HZ`, 100 to the second on every x86 kernel (time(7)).
const TICK: Duration = Duration::from_millis(10);

/// What was read of a process and its children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vitals {
    /// How much processor time its threads have had, all together.
    pub had: Duration,
    /// How long its threads were ready to run and had no processor: that of the one that waited longest. Zero on a host
    /// whose kernel does not count it (CONFIG_SCHED_INFO).
    pub starved: Duration,
    /// Whether a signal had stopped it: state `T`.
    pub stopped: bool,
}

impl Vitals {
    /// Of a process and all below it; None where it is gone.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Self::at_depth(pid, 0)
    }

    fn at_depth(pid: u32, depth: u32) -> Option<Self> {
        let mut vitals = parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            // Of a thread that has just ended nothing is counted.
            vitals.starved = vitals.starved.max(parse_schedstat(&read("schedstat")).unwrap_or_default());
            if depth < DEPTH {
                let children = read("children");
                for child in children.split_ascii_whitespace().filter_map(|child| child.parse().ok()) {
                    let child = Self::at_depth(child, depth + 1).unwrap_or_default();
                    vitals.had += child.had;
                    vitals.starved = vitals.starved.max(child.starved);
                    vitals.stopped |= child.stopped;
                }
            }
        }
        Some(vitals)
    }
}

/// From `/proc/PID/stat`: the state, and the sum of `utime` and `stime`. The name, which comes before them, may hold
/// anything.
fn parse_stat(text: &str) -> Option<Vitals> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
    // Fields 3, 14 and 15 of proc(5), where the first after the name is the third.
    let had = TICK * (ticks(11)?.saturating_add(ticks(12)?));
    Some(Vitals { had, starved: Duration::ZERO, stopped: *fields.first()? == "T" })
}

/// From `/proc/PID/task/TID/schedstat`: the time that the thread waited on a run queue, the second number, in ns
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
    fn lines_as_proc_has_them() {
        let line = "4711 (qemu) R) x) T 1 4711 4711 0 -1 4194560 1052 0 0 0 123 45 0 0 20 0 4 0 1 2 3";
        let vitals = parse_stat(line).unwrap();
        assert_eq!(vitals, Vitals { had: Duration::from_millis(1680), starved: Duration::ZERO, stopped: true });
        assert_eq!(parse_stat("4711 (qemu) R 1 2"), None);
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_schedstat("123 4567 8\n"), Some(Duration::from_nanos(4567)));
        assert_eq!(parse_schedstat("0"), None);
    }

    #[test]
    fn a_stopped_process_below_a_script_is_seen_and_one_that_is_gone_is_none() {
        // The shell waits for its child, which stops itself.
        let mut shell = Command::new("sh");
        shell.args(["-c", "sh -c 'kill -STOP $$; :' ; :"]).stdin(Stdio::null());
        let mut shell = shell.spawn().unwrap();
        let began = Instant::now();
        let stopped = loop {
            let vitals = Vitals::of(shell.id()).unwrap();
            if vitals.stopped || began.elapsed() > Duration::from_secs(20) {
                break vitals.stopped;
            }
        };
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.id())).unwrap();
        let child: i32 = children.trim().parse().unwrap();
        kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
        assert!(stopped);
        let id = shell.id();
        shell.wait().unwrap();
        assert_eq!(Vitals::of(id), None);
    }

    #[test]
    fn what_has_run_has_had_processor_time() {
        let mut own = Vitals::of(std::process::id()).unwrap();
        let (before, began) = (own, Instant::now());
        while own.had == before.had && began.elapsed() < Duration::from_secs(60) {
            own = Vitals::of(std::process::id()).unwrap();
        }
        assert!(own.had > before.had && own.starved >= before.starved && !own.stopped, "{own:?}");
    }
}
