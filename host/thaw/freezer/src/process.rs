//! What belongs to the process as a whole.

use nix::unistd::Pid;
use vmlab_thaw_image::process::{Action, Addresses, Limit, Process};
use vmlab_thaw_image::tables::Tables;

use crate::child::{Child, Filter};
use crate::procfs::{self, Memory, stat_field, stat_fields};
use crate::refusal::Refusal;
use crate::threads::done;
use crate::tracee::Tracee;

/// The number of signals.
const SIGNALS: u64 = 64;
/// The size of the kernel's signal set, in bytes.
const SIGNAL_SET: u64 = 8;
/// The number of resource limits (`RLIM_NLIMITS`).
const RESOURCES: u32 = 16;

/// What cannot be restored, before anything is read.
pub(crate) fn check(tracees: &[Tracee], child: &Child) -> Result<(), Refusal> {
    let process = child.id();
    if !procfs::read(process, "timers")?.trim().is_empty() {
        return Err(Refusal::Timers("timer_create(2)"));
    }
    let own = procfs::read(Pid::this(), "status")?;
    let seen = usize::from(child.filter().map_err(Refusal::NoTracing)?.is_some());
    for tracee in tracees {
        let status = procfs::read(tracee.thread, "status")?;
        check_status(&status, &own, seen, tracee.thread.as_raw())?;
        let stat = procfs::read(tracee.thread, "stat")?;
        let own_stat = procfs::read(Pid::this(), "stat")?;
        let (fields, own_fields) = (stat_fields(&stat), stat_fields(&own_stat));
        // Nice value, real-time priority and scheduling policy.
        for number in [19, 40, 41] {
            if stat_field::<i64>(&fields, number)? != stat_field::<i64>(&own_fields, number)? {
                return Err(Refusal::Changed { what: "the scheduling", thread: tracee.thread.as_raw() });
            }
        }
    }
    Ok(())
}

/// `own` is the status of this process, which has started the other one.
fn check_status(status: &str, own: &str, seen: usize, thread: i32) -> Result<(), Refusal> {
    if procfs::value(status, "x86_Thread_features").is_some_and(|features| features.contains("shstk")) {
        return Err(Refusal::ShadowStack);
    }
    for pending in ["SigPnd", "ShdPnd"] {
        if procfs::number(status, pending, 16)? != Some(0) {
            return Err(Refusal::PendingSignal);
        }
    }
    // Linux 5.9 and later; those that this process has are QEMU's as well.
    let filters = |text: &str| Ok::<_, Refusal>(procfs::number(text, "Seccomp_filters", 10)?.unwrap_or(u64::MAX));
    let installed = filters(status)?.saturating_sub(filters(own)?);
    if installed != seen as u64 {
        return Err(Refusal::Filters { installed, seen });
    }
    for (name, what) in [("Umask", "the umask"), ("Cpus_allowed", "the set of processors"), ("Uid", "the user")] {
        if procfs::value(status, name) != procfs::value(own, name) {
            return Err(Refusal::Changed { what, thread });
        }
    }
    Ok(())
}

/// Adds everything to the tables that is not a mapping, a descriptor or a thread.
pub(crate) fn read(first: &mut Tracee, child: &Child, tables: &mut Tables) -> Result<(), Refusal> {
    let process = child.id();
    for (number, name) in [(0, "ITIMER_REAL"), (1, "ITIMER_VIRTUAL"), (2, "ITIMER_PROF")] {
        let room = first.room();
        done("read QEMU's timers", first.call(libc::SYS_getitimer, [number, room, 0, 0, 0])?)?;
        let memory = Memory::of(process).map_err(Refusal::on("open QEMU's memory"))?;
        for at in [16, 24] {
            if memory.number(room + at).map_err(Refusal::on("read QEMU's memory"))? != 0 {
                return Err(Refusal::Timers(name));
            }
        }
    }
    tables.actions = actions(first)?;
    tables.limits = limits(process)?;
    let filter = child.filter().map_err(Refusal::NoTracing)?;
    if let Some(Filter { instructions, .. }) = filter {
        tables.filter.clone_from(instructions);
    }
    let status = procfs::read(process, "status")?;
    let no_new_privileges = procfs::number(&status, "NoNewPrivs", 10)?.unwrap_or(0);
    tables.process = Process {
        addresses: addresses(first, process)?,
        no_new_privileges: u32::from(no_new_privileges == 1),
        filter_flags: filter.map_or(0, |filter| filter.flags),
    };
    Ok(())
}

fn actions(first: &mut Tracee) -> Result<Vec<Action>, Refusal> {
    let mut actions = Vec::new();
    let memory = Memory::of(first.thread).map_err(Refusal::on("open QEMU's memory"))?;
    let unchangeable = [libc::SIGKILL, libc::SIGSTOP].map(|signal| u64::from(signal.unsigned_abs()));
    for signal in (1..=SIGNALS).filter(|signal| !unchangeable.contains(signal)) {
        let room = first.room();
        let result = first.call(libc::SYS_rt_sigaction, [signal, 0, room, SIGNAL_SET, 0])?;
        done("read what a signal does", result)?;
        let mut words = [0; 4];
        for (at, word) in (0..).step_by(8).zip(&mut words) {
            *word = memory.number(room + at).map_err(Refusal::on("read QEMU's memory"))?;
        }
        let [handler, flags, restorer, mask] = words;
        if handler != 0 {
            actions.push(Action { signal, handler, flags, restorer, mask });
        }
    }
    Ok(actions)
}

/// The limits that differ from those of this process: QEMU has changed them.
fn limits(process: Pid) -> Result<Vec<Limit>, Refusal> {
    let mut changed = Vec::new();
    let theirs = procfs::read(process, "limits")?;
    let own = procfs::read(Pid::this(), "limits")?;
    for (theirs, own) in theirs.lines().zip(own.lines()).skip(1) {
        if theirs != own {
            changed.push(limit(theirs).ok_or_else(|| procfs::unreadable("limits", theirs))?);
        }
    }
    Ok(changed)
}

/// The order of the lines in `/proc/PID/limits` is not that of the numbers, so they go by name (fs/proc/base.c).
fn limit(line: &str) -> Option<Limit> {
    const NAMES: [(&str, u32); RESOURCES as usize] = [
        ("Max cpu time", libc::RLIMIT_CPU),
        ("Max file size", libc::RLIMIT_FSIZE),
        ("Max data size", libc::RLIMIT_DATA),
        ("Max stack size", libc::RLIMIT_STACK),
        ("Max core file size", libc::RLIMIT_CORE),
        ("Max resident set", libc::RLIMIT_RSS),
        ("Max processes", libc::RLIMIT_NPROC),
        ("Max open files", libc::RLIMIT_NOFILE),
        ("Max locked memory", libc::RLIMIT_MEMLOCK),
        ("Max address space", libc::RLIMIT_AS),
        ("Max file locks", libc::RLIMIT_LOCKS),
        ("Max pending signals", libc::RLIMIT_SIGPENDING),
        ("Max msgqueue size", libc::RLIMIT_MSGQUEUE),
        ("Max nice priority", libc::RLIMIT_NICE),
        ("Max realtime priority", libc::RLIMIT_RTPRIO),
        ("Max realtime timeout", libc::RLIMIT_RTTIME),
    ];
    let (rest, resource) =
        NAMES.iter().find_map(|(name, number)| Some((line.strip_prefix(name)?, u64::from(*number))))?;
    let mut values = rest.split_whitespace().map(|word| match word {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    });
    Some(Limit { resource, soft: values.next()??, hard: values.next()?? })
}

fn addresses(first: &mut Tracee, process: Pid) -> Result<Addresses, Refusal> {
    let brk = done("find the end of QEMU's heap", first.call(libc::SYS_brk, [0; 5])?)?;
    let text = procfs::read(process, "stat")?;
    let fields = stat_fields(&text);
    let field = |number| stat_field(&fields, number);
    Ok(Addresses {
        start_code: field(26)?,
        end_code: field(27)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        brk,
        start_stack: field(28)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "Uid:\t0\t0\t0\t0\nUmask:\t0022\nCpus_allowed:\t3\nSigPnd:\t0\nShdPnd:\t0\nSeccomp_filters:\t1\n";

    #[test]
    fn a_status_like_that_of_the_freezer_is_accepted() {
        assert_eq!(check_status(OWN, OWN, 0, 1), Ok(()));
        let filtered = OWN.replace("filters:\t1", "filters:\t2");
        assert_eq!(check_status(&filtered, OWN, 1, 1), Ok(()));
        assert_eq!(check_status(&filtered, OWN, 0, 1), Err(Refusal::Filters { installed: 1, seen: 0 }));
        assert_eq!(check_status(OWN, OWN, 1, 1), Err(Refusal::Filters { installed: 0, seen: 1 }));
    }

    #[test]
    fn what_a_new_process_does_not_have_is_refused() {
        let with = |from: &str, to: &str| check_status(&OWN.replace(from, to), OWN, 0, 7).unwrap_err();
        assert_eq!(with("SigPnd:\t0", "SigPnd:\t4000"), Refusal::PendingSignal);
        assert_eq!(with("ShdPnd:\t0", "ShdPnd:\t1"), Refusal::PendingSignal);
        assert_eq!(with("ShdPnd", "x86_Thread_features:\tshstk\nShdPnd"), Refusal::ShadowStack);
        for (from, what) in [("0022", "umask"), ("allowed:\t3", "processors"), ("Uid:\t0", "user")] {
            let refusal = with(from, &format!("{from}7"));
            assert!(
                matches!(&refusal, Refusal::Changed { what: found, thread: 7 } if found.contains(what)),
                "{refusal}"
            );
        }
    }

    #[test]
    fn limits_are_known_by_their_names() {
        let line = "Max open files            20000                524288               files     ";
        assert_eq!(limit(line), Some(Limit { resource: 7, soft: 20_000, hard: 524_288 }));
        let line = "Max core file size        0                    unlimited            bytes     ";
        assert_eq!(limit(line), Some(Limit { resource: 4, soft: 0, hard: u64::MAX }));
        assert_eq!(limit("Max unheard of            1                    2"), None);
        assert_eq!(limit("Max open files            x"), None);
    }

    #[test]
    fn this_process_has_its_own_limits() {
        assert_eq!(limits(Pid::this()), Ok(Vec::new()));
        let text = procfs::read(Pid::this(), "limits").unwrap();
        assert_eq!(text.lines().skip(1).filter_map(limit).count(), RESOURCES as usize);
    }
}
