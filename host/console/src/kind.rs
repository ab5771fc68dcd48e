//! What a kernel can report about itself, and how bad each of these is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a line in the report: it was expected, as an OOM kill in a scenario's own memory cgroup can be.
    Note,
    /// The kernel found a fault and goes on.
    Warned,
    /// The kernel goes on, or tries to, and cannot be trusted any more.
    Broken,
    /// The kernel is done for.
    Fatal,
}

/// What a kernel reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The kernel gave up, for a reason that has no kind of its own.
    Panic,
    /// PID 1 ended.
    InitDied,
    /// There is no root file system.
    NoRoot,
    /// There is nothing to run as PID 1.
    NoInit,
    /// The processor reported broken hardware.
    MachineCheck,
    /// A fault in the handling of a fault.
    DoubleFault,
    /// A kernel stack ran over or was overwritten.
    StackOverflow,
    /// A kernel access to an address that is not there: a NULL pointer, a wild one.
    Oops,
    /// A general protection fault in the kernel.
    GeneralProtection,
    /// A division by zero in the kernel.
    DivideError,
    /// An instruction in the kernel that is none.
    InvalidOpcode,
    /// A stack segment fault in the kernel.
    StackSegment,
    /// `BUG()` or `BUG_ON()`.
    KernelBug,
    /// Another line that begins with `BUG: `.
    Bug,
    /// The address sanitizer.
    Kasan,
    /// The sampling detector of memory errors.
    Kfence,
    /// The detector of uninitialised memory.
    Kmsan,
    /// The detector of data races.
    Kcsan,
    /// The undefined behaviour sanitizer.
    Ubsan,
    /// The lock validator, and RCU's.
    Lockdep,
    /// A spin lock that is used wrongly.
    Spinlock,
    /// Code that may sleep was called where it must not.
    SleepInAtomic,
    /// The scheduler was called where it must not.
    ScheduleInAtomic,
    /// A linked list is damaged.
    ListCorruption,
    /// A slab object is damaged.
    SlabCorruption,
    /// A page, a page table or a page counter is damaged.
    BadPage,
    /// A reference counter that overflowed or underflowed.
    Refcount,
    /// Memory that nothing points to any more.
    Kmemleak,
    /// A processor that did not schedule for long.
    SoftLockup,
    /// A processor that took no interrupts for long.
    HardLockup,
    /// A grace period of RCU does not end.
    RcuStall,
    /// A task that slept uninterruptibly for long.
    HungTask,
    /// A worker pool that makes no progress.
    WorkqueueLockup,
    /// A network device that cannot go because something holds it.
    NetdevRefs,
    /// The machine ran out of memory and a process was killed.
    Oom,
    /// A memory cgroup ran out of memory and a process in it was killed.
    MemcgOom,
    /// `WARN()` or `WARN_ON()`, or another line that begins with `WARNING: `.
    Warning,
}

impl Kind {
    /// Its word, how bad it is, and how the end of its report is found.
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
            Self::NetdevRefs => ("netdev-refs", Warned, Ending::Title),
            Self::Oom => ("oom", Warned, Ending::Killed),
            Self::MemcgOom => ("memcg-oom", Warned, Ending::Killed),
            Self::Warning => ("warning", Warned, Ending::Marker),
        }
    }

    /// One word for reports; the same as in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        self.facts().0
    }

    /// How bad it is where nobody expects it.
    #[must_use]
    pub const fn severity(self) -> Severity {
        self.facts().1
    }

    /// How the end of its report is found.
    pub(super) const fn ending(self) -> Ending {
        self.facts().2
    }

    /// Whether it is a processor's trap, or the words that come right before one: several such titles in a row, before
    /// any trace, are one report (`kernel BUG at`, then `invalid opcode:`; `list_del corruption`, then `kernel BUG at`).
    /// These are all whose reports end with a marker, but for the two that only warn.
    pub(super) const fn is_trap(self) -> bool {
        matches!(self.ending(), Ending::Marker) && !matches!(self, Self::Refcount | Self::Warning)
    }

    /// Whether a report's title alone tells what it is, and no other title can be part of it.
    pub(super) const fn is_known_by_title(self) -> bool {
        !self.is_trap() && !matches!(self, Self::Oom | Self::MemcgOom | Self::RcuStall | Self::MachineCheck)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How the end of a report is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The title is all.
    Title,
    /// `---[ end trace`
    Marker,
    /// A line of `=`, or the marker.
    Ruler,
    /// The end of a call trace.
    Trace,
    /// The line that says who was killed.
    Killed,
    /// `---[ end Kernel panic`
    Panic,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_the_same_word_in_json() {
        for kind in [Kind::GeneralProtection, Kind::MemcgOom, Kind::Kasan, Kind::InitDied, Kind::ScheduleInAtomic] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
            assert_eq!(kind.to_string(), kind.word());
        }
    }

    #[test]
    fn severities_are_ordered() {
        assert!(Severity::Note < Severity::Warned);
        assert!(Kind::Warning.severity() < Kind::Oops.severity());
        assert!(Kind::Oops.severity() < Kind::Panic.severity());
    }
}
