//! Titles of reports after which the kernel continues (kernel/locking/lockdep.c, kernel/rcu/, kernel/sched/core.c,
//! lib/, mm/).
//!
//! The last rules match every other line that begins with `WARNING: ` or `BUG: `, so that unknown reports are found,
//! too. Programs print such warnings as well: in a line without a time stamp or another prefix, any text behind `WARNING: `
//! is a report only with a line that only the kernel's reports have (`crate::report::is_doubtful`).

use super::Rule;
use crate::kind::Kind;

/// Matches every report of a kind that has no rule of its own.
const ANY_BUG: &str = r"BUG: (?P<what>.{1,120})";
const ANY_WARNING: &str = r"WARNING: (?P<what>.{1,120})";
pub(super) const IS_ANY: [&str; 2] = [ANY_BUG, ANY_WARNING];

pub(super) const RULES: &[Rule] = &[
    Rule {
        kind: Kind::Lockdep,
        anchor: "WARNING: ",
        pattern: r"WARNING: (?P<what>possible (?:circular|recursive|irq) lock\w* [a-z ]*detected|possible \w+ (?:dependency|locking)[a-z ]* detected|[A-Z-]+-safe -> [A-Z-]+-unsafe lock order detected|inconsistent lock state|bad (?:unlock balance|contention) detected!|held lock freed!|lock held when returning to user space!|suspicious RCU usage|Nested lock was not taken|chain_key collision)",
        example: "WARNING: possible circular locking dependency detected",
        near_miss: "Warning: lockdep cannot say whether a possible circular locking dependency detected is real",
    },
    Rule {
        kind: Kind::Lockdep,
        anchor: "WARNING: ",
        pattern: r"WARNING: (?P<comm>(?s:.{0,15}))/(?P<pid>\d+) (?P<what>still has locks held)!",
        example: "WARNING: init/1 still has locks held!",
        near_miss: "1 lock held by init/1: WARNING: none",
    },
    Rule {
        kind: Kind::Lockdep,
        anchor: "[ BUG: ",
        pattern: r"\[ BUG: (?P<what>[A-Za-z][A-Za-z _!-]*[A-Za-z!]) \]",
        example: "[ BUG: Invalid wait context ]",
        near_miss: "[ BUG: ] see above",
    },
    Rule {
        kind: Kind::Lockdep,
        anchor: "INFO: ",
        pattern: r"(?:\[ )?INFO: (?P<what>trying to register non-static key|possible [a-z ]+ detected|inconsistent lock state|suspicious RCU usage|[A-Z-]+-safe -> [A-Z-]+-unsafe lock order detected)",
        example: "INFO: trying to register non-static key.",
        near_miss: "INFO: lockdep is turned off.",
    },
    Rule {
        kind: Kind::Lockdep,
        anchor: "BUG: ",
        pattern: r"BUG: (?P<what>MAX_LOCK\w+ too low!|MAX_STACK_TRACE_ENTRIES too low!|looking up invalid subclass|key \S+ has not been registered!)",
        example: "BUG: MAX_LOCKDEP_CHAINS too low!",
        near_miss: "lockdep: MAX_LOCKDEP_CHAINS too low!, no BUG: follows",
    },
    Rule {
        kind: Kind::Spinlock,
        anchor: "BUG: ",
        pattern: r"BUG: (?P<what>(?:spinlock|rwlock) [a-z -]+?) on CPU#\d+, (?P<comm>(?s:.{0,15}))/(?P<pid>\d+)",
        example: "BUG: spinlock bad magic on CPU#0, swapper/0",
        near_miss: "spinlock debugging finds the BUG: spinlock bad magic on CPU#0",
    },
    Rule {
        kind: Kind::Kcsan,
        anchor: "BUG: ",
        pattern: r"BUG: KCSAN: (?P<what>(?:assert: )?[a-z-]+ in [\w.$]+(?:\+0x[0-9a-f]+/0x[0-9a-f]+)?(?: \[\w+\])?(?: / [\w.$]+)?)",
        example: "BUG: KCSAN: data-race in test_kernel_read / test_kernel_write",
        near_miss: "kcsan: enabled early",
    },
    Rule {
        kind: Kind::Kmsan,
        anchor: "BUG: ",
        pattern: r"BUG: KMSAN: (?P<what>[a-z-]+) in (?P<func>[\w.$]+)",
        example: "BUG: KMSAN: uninit-value in test_uninit_kmsan_check_memory+0x1be/0x380 [kmsan_test]",
        near_miss: "kmsan: Starting KernelMemorySanitizer",
    },
    Rule {
        kind: Kind::Ubsan,
        anchor: "UBSAN: ",
        pattern: r"UBSAN: (?P<what>[a-z -]+?) in \S+",
        example: "UBSAN: shift-out-of-bounds in drivers/misc/faulty.c:60:52",
        near_miss: "UBSAN: enabled",
    },
    Rule {
        kind: Kind::SleepInAtomic,
        anchor: "BUG: ",
        pattern: r"BUG: (?P<what>sleeping function called from invalid context|assuming (?:atomic|non migratable) context|using \w+(?:\(\))? in preemptible|scheduling in a non-blocking section|workqueue leaked lock or atomic)",
        example: "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580",
        near_miss: "a BUG: sleeping function called from invalid context at is told of",
    },
    Rule {
        kind: Kind::ScheduleInAtomic,
        anchor: "BUG: ",
        pattern: r"BUG: scheduling while atomic: (?P<comm>(?s:.{0,15}))/(?P<pid>\d+)/",
        example: "BUG: scheduling while atomic: init/1/0x00000002",
        near_miss: "bad: scheduling from the idle thread, no BUG: scheduling while atomic",
    },
    Rule {
        kind: Kind::WorkqueueLockup,
        anchor: "BUG: ",
        pattern: r"BUG: workqueue lockup - pool",
        example: "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 34s!",
        near_miss: "workqueue: stuck_work hogged CPU for >10000us 4 times, no BUG: workqueue lockup yet",
    },
    Rule {
        kind: Kind::ListCorruption,
        anchor: "list_",
        pattern: r"(?P<what>list_(?:add|del)) (?:corruption|double add)",
        example: "list_del corruption. next->prev should be ffff888004a5bd20, but was dead000000000122",
        near_miss: "list_lru is in order",
    },
    Rule {
        kind: Kind::RcuStall,
        anchor: "INFO: ",
        pattern: r"(?:rcu: )?INFO: rcu_\w+ (?:self-)?detected (?:expedited )?stalls?",
        example: "rcu: INFO: rcu_preempt self-detected stall on CPU",
        near_miss: "rcu: INFO: Stall ended before state dump start",
    },
    Rule {
        kind: Kind::RcuStall,
        anchor: "kthread ",
        pattern: r"(?:rcu: )?rcu_\w+ (?P<what>kthread (?:starved for|timer wakeup didn't happen))",
        example: "rcu: rcu_preempt kthread starved for 5250 jiffies! g-1187 f0x0 RCU_GP_WAIT_FQS(5) ->state=0x0 ->cpu=0",
        near_miss: "rcu: RCU calculated value of scheduler-enlistment delay is 25 jiffies, kthread started",
    },
    Rule {
        kind: Kind::HungTask,
        anchor: "INFO: ",
        pattern: r"INFO: task (?P<comm>(?s:.{0,15})):(?P<pid>\d+) (?:is )?blocked (?:in I/O wait )?for more than ",
        example: "INFO: task fsfreeze:62 blocked for more than 5 seconds.",
        near_miss: "INFO: task accounting is on",
    },
    Rule {
        kind: Kind::MemcgOom,
        anchor: "ut of memory",
        pattern: r"Memory cgroup (?:stats )?out of memory: Kill(?:ed)? process (?P<pid>\d+) \((?P<comm>(?s:.{0,15}?))(?:\)[, ]|$)",
        example: "Memory cgroup out of memory: Killed process 98 (u) total-vm:9212kB, anon-rss:8120kB, file-rss:4kB",
        near_miss: "Memory cgroup out of memory and no killable processes...",
    },
    Rule {
        kind: Kind::Oom,
        anchor: "ut of memory",
        pattern: r"Out of memory(?: \(oom_kill_allocating_task\))?: Kill(?:ed)? process (?P<pid>\d+) \((?P<comm>(?s:.{0,15}?))(?:\)[, ]|$)",
        example: "Out of memory: Killed process 96 (u) total-vm:119208kB, anon-rss:117232kB, file-rss:4kB",
        near_miss: "oom_reaper: reaped process 96 (u), now anon-rss:0kB, was Out of memory: ",
    },
    Rule {
        kind: Kind::Kmemleak,
        anchor: "kmemleak: ",
        pattern: r"kmemleak: \d+ new suspected memory leaks",
        example: "kmemleak: 8 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
        near_miss: "kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)",
    },
    Rule {
        kind: Kind::NetdevRefs,
        anchor: "unregister_netdevice: waiting for ",
        pattern: r"unregister_netdevice: waiting for \S+ to become free",
        example: "unregister_netdevice: waiting for lo to become free. Usage count = 2",
        near_miss: "veth0: unregister_netdevice: waiting for nothing",
    },
    Rule {
        kind: Kind::Refcount,
        anchor: "WARNING: ",
        pattern: r"WARNING: (?:CPU: \d+ PID: \d+ at )?\S*lib/refcount\.c:\d+ (?:at )?(?:refcount_\w+)",
        example: "WARNING: CPU: 0 PID: 62 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110",
        near_miss: "refcount_t: underflow; use-after-free.",
    },
    Rule {
        kind: Kind::Warning,
        anchor: "WARNING: ",
        pattern: r"WARNING: (?:CPU: \d+ PID: \d+ )?at (?:\S+:\d+ )?(?P<func>[\w.$]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\w+\])?(?:\s|$)",
        example: "WARNING: CPU: 0 PID: 9 at kernel/workqueue.c:1723 __queue_work+0x2e/0x4c0",
        near_miss: "[ a WARNING: CPU: 0 PID: 9 at kernel/workqueue.c:1723 __queue_work+0x2e/0x4c0",
    },
    Rule {
        kind: Kind::Warning,
        anchor: "WARNING: ",
        pattern: r"WARNING: (?:\S+:\d+ )?at (?P<func>[\w.$]+)\+\S+(?: \[\w+\])?, CPU#\d+: (?P<comm>(?s:.{0,15}))/(?P<pid>\d+)",
        example: "WARNING: kernel/workqueue.c:1723 at __queue_work+0x2e/0x4c0, CPU#1: kworker/1:1/31",
        near_miss: "Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible",
    },
    // arch/x86/kernel/unwind_orc.c, arch/x86/kernel/unwind_frame.c, kernel/workqueue.c: a line without a call trace.
    Rule {
        kind: Kind::Warning,
        anchor: "WARNING: ",
        pattern: r"WARNING: (?P<what>kernel stack (?:frame pointer|regs) at|stack recursion on stack type|stack going in the wrong direction|unknown (?:[SB]P base reg|\.orc_unwind entry type)|missing \w+ value at|can't access (?:iret )?registers at|WARNING: (?:bad lookup|(?:Corrupt|Bad or missing) \.orc_unwind table)|workqueue cpumask: online intersect)",
        example: "WARNING: kernel stack frame pointer at 000000003f2c1b7a in init:1 has bad value 0000000000000000",
        near_miss: "unwind stack type:0 next_sp:0000000000000000 mask:0x2 graph_idx:0",
    },
    // kernel/trace/ftrace.c. Its anchor finds CUT_HERE as well.
    Rule {
        kind: Kind::Warning,
        anchor: "------------[ ",
        pattern: r"-{12}\[ (?P<what>ftrace bug) \]-{12}",
        example: "------------[ ftrace bug ]------------",
        near_miss: "------------[ ftrace ]------------",
    },
    Rule {
        kind: Kind::Bug,
        anchor: "BUG: ",
        pattern: ANY_BUG,
        example: "BUG: Dentry 00000000a1b2c3d4{i=3,n=x} still in use (1) [unmount of tmpfs tmpfs]",
        near_miss: "DEBUG: 3 unexpected failures",
    },
    Rule {
        kind: Kind::Warning,
        anchor: "WARNING: ",
        pattern: ANY_WARNING,
        example: "WARNING: fbcon: Driver 'qxl' missed to adjust virtual screen size (640x480 vs. 800x600)",
        near_miss: "Warning: unable to open an initial console.",
    },
];
