//! The parts of a report, by the beginnings of their lines.

/// Prefixes of lines around a call trace that belong to a report (arch/x86/kernel/dumpstack.c, lib/dump_stack.c,
/// lib/nmi_backtrace.c, kernel/rcu/tree_stall.h).
const AROUND_TRACE: &[&str] = &[
    "Modules linked in",
    "CPU: ",
    "Tainted: ",
    "Hardware name: ",
    "Workqueue: ",
    "RIP: ",
    "EIP: ",
    "pc : ",
    "lr : ",
    "sp : ",
    "pstate: ",
    "RSP: ",
    "RAX: ",
    "RDX: ",
    "RBP: ",
    "R10: ",
    "R13: ",
    "FS: ",
    "CS: ",
    "CR2: ",
    "DR0: ",
    "DR3: ",
    "PKRU: ",
    "Code: ",
    "Call Trace",
    "Stack:",
    "Sending NMI",
    "NMI backtrace",
    "rcu: ",
    "task:",
    "Preemption disabled at",
    "irq event stamp",
    "hardirqs last",
    "softirqs last",
    "#",
    "stack backtrace",
    "other info",
    "Showing ",
    "BUG: ",
    "------------[ cut here",
];

/// The lines before a call trace (arch/*/kernel/{dumpstack,stacktrace,traps}.c, mm/kmemleak.c).
const TRACE_HEADS: &[&str] = &["Call Trace:", "Call trace:", "Backtrace:", "backtrace:", "backtrace (crc "];
/// The lines before the history of an object, whose traces are not the report's (mm/kasan/report.c, mm/kfence/report.c,
/// mm/kmsan/report.c).
const HISTORY: &[&str] = &[
    "Allocated by task",
    "Freed by task",
    "allocated by task",
    "freed by task",
    "Last potentially related work",
    "Second to last potentially",
    "Uninit was ",
    "Local variable ",
];

/// Whether a line around a call trace belongs to the report.
pub(super) fn is_around_trace(words: &str) -> bool {
    // `x29: ffff800012345678 x28: ...` (arch/arm64/kernel/process.c).
    let register = words.strip_prefix('x').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    register || AROUND_TRACE.iter().any(|start| words.starts_with(start))
}

/// Whether only a kernel's report has this line: `CPU: 0 PID: 1 Comm: sh`, `Modules linked in: `, `---[ end trace`.
pub(super) fn is_of_report(words: &str) -> bool {
    let cpu = words.strip_prefix("CPU: ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    cpu || words.starts_with("Modules linked in") || words.starts_with("---[ end trace")
}

/// Whether a call trace begins after this line.
pub(super) fn begins_trace(words: &str) -> bool {
    // kmemleak indents its own.
    TRACE_HEADS.iter().any(|head| words.trim_start().starts_with(head))
}

/// Whether the history of an object begins with this line.
pub(super) fn begins_history(words: &str) -> bool {
    HISTORY.iter().any(|head| words.starts_with(head))
}
