//! The kinds of kernel reports and their severities.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The effect of a report on the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Expected, for example an OOM kill in a scenario's own memory cgroup. The finding is only noted.
    Note,
    /// The kernel found a fault and continues.
    Warned,
    /// The kernel may continue but cannot be trusted.
    Broken,
    /// The kernel stops.
    Fatal,
}

impl Severity {
    /// The severity's name in reports and in JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warned => "warned",
            Self::Broken => "broken",
            Self::Fatal => "fatal",
        }
    }
}

/// The kind of a kernel report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A panic for a reason that has no other kind.
    Panic,
    /// PID 1 ended.
    InitDied,
    /// The kernel found no root file system.
    NoRoot,
    /// The kernel found no program to run as PID 1.
    NoInit,
    /// The CPU reported a hardware error.
    MachineCheck,
    /// A double fault: an exception during the handling of an exception.
    DoubleFault,
    /// A kernel stack overflowed or was overwritten.
    StackOverflow,
    /// A kernel access to an unmapped address, for example a NULL pointer.
    Oops,
    /// A general protection fault in the kernel.
    GeneralProtection,
    /// A division by zero in the kernel.
    DivideError,
    /// An invalid instruction in the kernel.
    InvalidOpcode,
    /// A stack segment fault in the kernel.
    StackSegment,
    /// `BUG()` or `BUG_ON()`.
    KernelBug,
    /// Another line that begins with `BUG: `.
    Bug,
    /// A report of KASAN, the address sanitizer.
    Kasan,
    /// A report of KFENCE, the sampling detector of memory errors.
    Kfence,
    /// A report of KMSAN, the detector of uninitialised memory.
    Kmsan,
    /// A report of KCSAN, the detector of data races.
    Kcsan,
    /// A report of UBSAN, the undefined behaviour sanitizer.
    Ubsan,
    /// A report of lockdep, the lock validator, including its checks of RCU.
    Lockdep,
    /// Wrong use of a spin lock.
    Spinlock,
    /// A function that may sleep was called in atomic context.
    SleepInAtomic,
    /// The scheduler was called in atomic context.
    ScheduleInAtomic,
    /// A corrupted linked list.
    ListCorruption,
    /// A corrupted slab object.
    SlabCorruption,
    /// A corrupted page, page table or page counter.
    BadPage,
    /// A reference counter that overflowed or underflowed.
    Refcount,
    /// A suspected memory leak.
    Kmemleak,
    /// A CPU did not schedule for a long time.
    SoftLockup,
    /// A CPU took no interrupts for a long time.
    HardLockup,
    /// An RCU grace period does not end.
    RcuStall,
    /// A task slept uninterruptibly for a long time.
    HungTask,
    /// A worker pool that makes no progress.
    WorkqueueLockup,
    /// A message without a trace that the kernel's own data is inconsistent.
    Inconsistency,
    /// A network device cannot be removed because it still has references.
    NetdevRefs,
    /// The machine ran out of memory, and a process was killed.
    Oom,
    /// A memory cgroup ran out of memory, and a process in it was killed.
    MemcgOom,
    /// `WARN()` or `WARN_ON()`, or another line that begins with `WARNING: `.
    Warning,
}

impl Kind {
    /// The label, the severity, and how the end of the report is recognised.
    const fn facts(self) -> (&'static str, Severity, Ending) {
        use Severity::{Broken, Fatal, Warned};
        match self {
            Self::Panic => ("panic", Fatal, Ending::Panic),
            Self::InitDied => ("init-died", Fatal, Ending::Panic),
            Self::NoRoot => ("no-root", Fatal, Ending::Panic),
            Self::NoInit => ("no-init", Fatal, Ending::Panic),
            Self::MachineCheck => ("machine-check", Broken, Ending::Trace),
            Self::DoubleFault => ("double-fault", Broken, Ending::Marker),
            Self::StackOverflow => ("stack-overflow", Broken, Ending::Marker),
            Self::Oops => ("oops", Broken, Ending::Marker),
            Self::GeneralProtection => ("general-protection", Broken, Ending::Marker),
            Self::DivideError => ("divide-error", Broken, Ending::Marker),
            Self::InvalidOpcode => ("invalid-opcode", Broken, Ending::Marker),
            Self::StackSegment => ("stack-segment", Broken, Ending::Marker),
            Self::KernelBug => ("kernel-bug", Broken, Ending::Marker),
            Self::Bug => ("bug", Broken, Ending::Trace),
            Self::Kasan => ("kasan", Broken, Ending::Ruler),
            Self::Kfence => ("kfence", Broken, Ending::Ruler),
            Self::Kmsan => ("kmsan", Warned, Ending::Ruler),
            Self::Kcsan => ("kcsan", Warned, Ending::Ruler),
            Self::Ubsan => ("ubsan", Warned, Ending::Ruler),
            Self::Lockdep => ("lockdep", Warned, Ending::Trace),
            Self::Spinlock => ("spinlock", Broken, Ending::Trace),
            Self::SleepInAtomic => ("sleep-in-atomic", Broken, Ending::Trace),
            Self::ScheduleInAtomic => ("schedule-in-atomic", Broken, Ending::Trace),
            Self::ListCorruption => ("list-corruption", Warned, Ending::Marker),
            Self::SlabCorruption => ("slab-corruption", Broken, Ending::Trace),
            Self::BadPage => ("bad-page", Broken, Ending::Trace),
            Self::Refcount => ("refcount", Warned, Ending::Marker),
            Self::Kmemleak => ("kmemleak", Warned, Ending::Title),
            Self::SoftLockup => ("soft-lockup", Broken, Ending::Trace),
            Self::HardLockup => ("hard-lockup", Broken, Ending::Trace),
            Self::RcuStall => ("rcu-stall", Warned, Ending::Trace),
            Self::HungTask => ("hung-task", Warned, Ending::Trace),
            Self::WorkqueueLockup => ("workqueue-lockup", Warned, Ending::Trace),
            Self::Inconsistency => ("inconsistency", Warned, Ending::Title),
            Self::NetdevRefs => ("netdev-refs", Warned, Ending::Title),
            Self::Oom => ("oom", Warned, Ending::Killed),
            Self::MemcgOom => ("memcg-oom", Warned, Ending::Killed),
            Self::Warning => ("warning", Warned, Ending::Marker),
        }
    }

    /// The kind's name in reports and in JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.facts().0
    }

    /// The severity if no scenario allows the report.
    #[must_use]
    pub const fn severity(self) -> Severity {
        self.facts().1
    }

    /// How the end of the report is recognised.
    pub(super) const fn ending(self) -> Ending {
        self.facts().2
    }

    /// Whether the kind is a CPU exception or a message right before an exception. Several such titles in a row, before
    /// any trace, are one report (`kernel BUG at`, then `invalid opcode:`; `list_del corruption`, then `kernel BUG
    /// at`). These are all kinds whose reports end with a marker, except the two that only warn.
    #[must_use]
    pub const fn is_trap(self) -> bool {
        matches!(self.ending(), Ending::Marker) && !matches!(self, Self::Refcount | Self::Warning)
    }

    /// Whether the title alone identifies the report, and no other title can be part of it.
    pub(super) const fn is_known_by_title(self) -> bool {
        !self.is_trap() && !matches!(self, Self::Oom | Self::MemcgOom | Self::RcuStall | Self::MachineCheck)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// How the end of a report is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The report is only the title.
    Title,
    /// The line `---[ end trace`.
    Marker,
    /// A line of `=`, or the marker.
    Ruler,
    /// The end of a call trace.
    Trace,
    /// The line that names the killed process.
    Killed,
    /// The line `---[ end Kernel panic`.
    Panic,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kinds_label_is_its_name_in_json() {
        for kind in [Kind::GeneralProtection, Kind::MemcgOom, Kind::Kasan, Kind::InitDied, Kind::ScheduleInAtomic] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.label());
            assert_eq!(kind.to_string(), kind.label());
        }
    }

    #[test]
    fn severities_are_ordered_and_named_as_in_json() {
        for severity in [Severity::Note, Severity::Warned, Severity::Broken, Severity::Fatal] {
            assert_eq!(serde_json::to_value(severity).unwrap(), severity.label());
        }
        assert!(Severity::Note < Severity::Warned);
        assert!(Kind::Warning.severity() < Kind::Oops.severity());
        assert!(Kind::Oops.severity() < Kind::Panic.severity());
    }
}
