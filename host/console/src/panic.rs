//! Which report a panic is the consequence of.

use crate::kind::Kind;
use crate::prefix::Start;
use crate::report::Report;
use crate::rules::Title;
use crate::{ConsoleReader, Opened};

/// A panic message that follows an earlier report, and the reports that it can follow.
struct Consequence {
    message: &'static str,
    follows: fn(Kind) -> bool,
}

/// kernel/panic.c, kernel/watchdog.c, kernel/hung_task.c, kernel/rcu/tree_stall.h, arch/x86/kernel/dumpstack.c,
/// mm/kasan/report.c, mm/oom_kill.c. The first message that is in the title counts.
const CONSEQUENCES: &[Consequence] = &[
    Consequence { message: "Fatal exception", follows: Kind::is_trap },
    Consequence { message: "fault in interrupt", follows: Kind::is_trap },
    // A trap in PID 1, in the idle task or in an interrupt, with a kernel that does not panic on traps.
    Consequence { message: "Attempted to kill", follows: Kind::is_trap },
    Consequence { message: "Aiee, killing interrupt handler", follows: Kind::is_trap },
    Consequence { message: "Machine halted", follows: Kind::is_trap },
    Consequence { message: "KASAN: panic_on_warn set", follows: |kind| kind == Kind::Kasan },
    Consequence { message: "KFENCE: panic_on_warn set", follows: |kind| kind == Kind::Kfence },
    Consequence { message: "KMSAN: panic_on_warn set", follows: |kind| kind == Kind::Kmsan },
    Consequence { message: "KCSAN: panic_on_warn set", follows: |kind| kind == Kind::Kcsan },
    Consequence { message: "UBSAN: panic_on_warn set", follows: |kind| kind == Kind::Ubsan },
    Consequence { message: "panic_on_warn set", follows: |_| true },
    Consequence { message: "softlockup: hung tasks", follows: |kind| kind == Kind::SoftLockup },
    Consequence { message: "hung_task: blocked tasks", follows: |kind| kind == Kind::HungTask },
    Consequence { message: "RCU Stall", follows: |kind| kind == Kind::RcuStall },
    Consequence { message: "Hard LOCKUP", follows: |kind| kind == Kind::HardLockup },
    Consequence { message: "kasan.fault=panic set", follows: |kind| kind == Kind::Kasan },
    Consequence { message: "kmsan.panic set", follows: |kind| kind == Kind::Kmsan },
    Consequence { message: "panic_on_oom is enabled", follows: |kind| matches!(kind, Kind::Oom | Kind::MemcgOom) },
    Consequence { message: "panic_on_taint set", follows: |_| true },
    Consequence { message: "system warned too often", follows: |_| true },
];

impl ConsoleReader {
    /// A panic after a report is that report's consequence if the kernel is configured to panic on such reports. Where
    /// several tasks report at once, it is the consequence of the report by the task that panics.
    pub(super) fn panic(&mut self, title: Title, line: &[u8], words: &str, start: Start) -> Option<Opened> {
        self.has_panicked = true;
        let consequence = CONSEQUENCES.iter().find(|known| words.contains(known.message));
        let follows = |report: &Report| consequence.is_some_and(|known| (known.follows)(report.finding.kind));
        if let Some(consequence) = consequence {
            self.choose_crash(consequence.follows, start);
        }
        match &mut self.crash {
            // A panic for another reason, long after a report, is a report of its own.
            Some(crash) if crash.is_open || follows(crash) => {
                crash.take_panic(line);
                None
            }
            _ => Some(self.open(title, start, Vec::new(), line, words)),
        }
    }

    /// Makes the report that a panic follows the crash. The crash stays where no other report fits better.
    fn choose_crash(&mut self, follows: fn(Kind) -> bool, start: Start) {
        let by_other =
            |report: &Report| report.caller.is_some() && start.caller.is_some() && report.caller != start.caller;
        let fits = |report: &Report| follows(report.finding.kind) && !by_other(report);
        if self.crash.as_ref().is_some_and(fits) {
            return;
        }
        if let Some(caused) = self.reports.take_last(fits) {
            if let Some(other) = self.crash.replace(caused) {
                self.reports.add_back(other);
            }
        } else if self.crash.is_none() {
            self.crash = self.reports.take_latest();
        }
    }
}
