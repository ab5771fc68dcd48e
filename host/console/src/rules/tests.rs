use super::*;
use crate::ConsoleReader;

/// The kinds of the reports on a console of this line.
fn kinds(line: &str) -> Vec<Kind> {
    let mut reader = ConsoleReader::default();
    reader.push(line.as_bytes());
    reader.end();
    let crash = reader.crash().map(|crash| crash.kind);
    crash.into_iter().chain(reader.take_warnings().into_iter().map(|finding| finding.kind)).collect()
}

#[test]
fn each_rule_matches_its_example_first_and_no_rule_its_near_miss() {
    let rules = RULES.as_ref().unwrap_or_else(|why| panic!("{why}"));
    for (number, rule) in all().enumerate() {
        let Rule { kind, anchor, example, near_miss, .. } = rule;
        assert!(example.contains(anchor), "{example} has no `{anchor}`");
        assert_eq!(rules.meaning(example.as_bytes()), Some(Meaning::Title(number)), "{example}");
        let is_doubtful = rule.pattern == warned::IS_ANY[1];
        assert_eq!(kinds(example), if is_doubtful { vec![] } else { vec![*kind] }, "{example}");
        assert_eq!(kinds(&format!("[    1.234567][    T1] {example}\r\n")), [*kind], "{example}");
        assert!(!near_miss.is_empty() && near_miss != example);
        assert_eq!(kinds(near_miss), [], "{near_miss}");
        assert_eq!(kinds(&format!("[    1.234567] {near_miss}\r\n")), [], "{near_miss}");
        // The kernel never indents a title; but a task's name may begin with a blank.
        let named_first = rule.pattern.starts_with("(?P<comm>");
        assert_eq!(kinds(&format!("[    1.234567]  {example}\n")).is_empty(), !named_first, "{example}");
    }
}

#[test]
fn harmless_lines_are_no_reports_and_similar_reports_are() {
    for line in harmless::LINES {
        assert_eq!(kinds(line.example), [], "{}", line.example);
        assert_eq!(kinds(&format!("[    1.234567][    T1] {}\r\n", line.example)), [], "{}", line.example);
        assert_eq!(kinds(&format!("[    1.234567] {}\n", line.report)).len(), 1, "{}", line.report);
    }
}

#[test]
fn every_kind_has_a_rule() {
    let kinds: Vec<Kind> = all().map(|rule| rule.kind).collect();
    for kind in KINDS {
        assert!(kinds.contains(kind), "{kind}");
    }
    assert!(kinds.iter().all(|kind| KINDS.contains(kind)));
}

const KINDS: &[Kind] = &[
    Kind::Panic,
    Kind::InitDied,
    Kind::NoRoot,
    Kind::NoInit,
    Kind::MachineCheck,
    Kind::DoubleFault,
    Kind::StackOverflow,
    Kind::Oops,
    Kind::GeneralProtection,
    Kind::DivideError,
    Kind::InvalidOpcode,
    Kind::StackSegment,
    Kind::KernelBug,
    Kind::Bug,
    Kind::Kasan,
    Kind::Kfence,
    Kind::Kmsan,
    Kind::Kcsan,
    Kind::Ubsan,
    Kind::Lockdep,
    Kind::Spinlock,
    Kind::SleepInAtomic,
    Kind::ScheduleInAtomic,
    Kind::ListCorruption,
    Kind::SlabCorruption,
    Kind::BadPage,
    Kind::Refcount,
    Kind::Kmemleak,
    Kind::SoftLockup,
    Kind::HardLockup,
    Kind::RcuStall,
    Kind::HungTask,
    Kind::WorkqueueLockup,
    Kind::Inconsistency,
    Kind::NetdevRefs,
    Kind::Oom,
    Kind::MemcgOom,
    Kind::Warning,
];

/// Spellings of other kernel versions, and of other functions that print the same report.
#[test]
fn other_spellings_of_titles_match() {
    for (line, kind) in [
        ("BUG: unable to handle page fault for address: ffffc8ff12345000", Kind::Oops),
        ("BUG: unable to handle kernel paging request at ffffc8ff12345000", Kind::Oops),
        ("BUG: unable to handle kernel NULL pointer dereference at 0000000000000010", Kind::Oops),
        ("Internal error: Oops: 0000000096000044 [#1] SMP", Kind::Oops),
        ("Oops: Oops: 0002 [#1] SMP NOPTI", Kind::Oops),
        ("Oops: stack guard page: 0000 [#1] SMP", Kind::StackOverflow),
        ("BUG: stack guard page was hit at 00000000d1 (stack is 0..1)", Kind::StackOverflow),
        ("kernel stack overflow (page fault): 0000 [#1] SMP", Kind::StackOverflow),
        ("Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: f+0x1/0x2", Kind::StackOverflow),
        ("general protection fault: 0000 [#1] SMP", Kind::GeneralProtection),
        ("Oops: divide error: 0000 [#1] SMP", Kind::DivideError),
        ("Oops: invalid opcode: 0000 [#1] SMP", Kind::InvalidOpcode),
        ("double fault: 0000 [#1] SMP", Kind::DoubleFault),
        ("Kernel BUG at ffffffff81000000 [verbose debug info unavailable]", Kind::KernelBug),
        ("Kernel panic - not syncing: VFS: Unable to mount root fs on \"\" or unknown-block(0,0)", Kind::NoRoot),
        ("Kernel panic - not syncing: No init found.  Try passing init= option to kernel.", Kind::NoInit),
        ("Kernel panic - not syncing: Requested init /x failed (error -2).", Kind::NoInit),
        ("Kernel panic - not syncing: System is deadlocked on memory", Kind::Panic),
        ("WARNING: possible recursive locking detected", Kind::Lockdep),
        ("WARNING: possible irq lock inversion dependency detected", Kind::Lockdep),
        ("WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected", Kind::Lockdep),
        ("WARNING: SOFTIRQ-READ-safe -> SOFTIRQ-READ-unsafe lock order detected", Kind::Lockdep),
        ("WARNING: inconsistent lock state", Kind::Lockdep),
        ("WARNING: bad unlock balance detected!", Kind::Lockdep),
        ("WARNING: bad contention detected!", Kind::Lockdep),
        ("WARNING: held lock freed!", Kind::Lockdep),
        ("WARNING: lock held when returning to user space!", Kind::Lockdep),
        ("WARNING: suspicious RCU usage", Kind::Lockdep),
        ("WARNING: Nested lock was not taken", Kind::Lockdep),
        ("WARNING: chain_key collision", Kind::Lockdep),
        ("[ INFO: possible circular locking dependency detected ]", Kind::Lockdep),
        ("BUG: key ffff888004a5bd20 has not been registered!", Kind::Lockdep),
        ("BUG: using smp_processor_id() in preemptible [00000000] code: init/1", Kind::SleepInAtomic),
        ("BUG: workqueue leaked lock or atomic: kworker/0:1/0x00000001/31", Kind::SleepInAtomic),
        ("NMI watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:1]", Kind::SoftLockup),
        ("watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [kworker/0:1:31]", Kind::SoftLockup),
        ("watchdog: Watchdog detected hard LOCKUP on cpu 1", Kind::HardLockup),
        ("watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1", Kind::HardLockup),
        ("rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", Kind::RcuStall),
        ("rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-.... } 21 jiffies", Kind::RcuStall),
        ("INFO: rcu_tasks_trace detected stalls on tasks:", Kind::RcuStall),
        ("rcu: rcu_sched kthread timer wakeup didn't happen for 2 jiffies! g1 f0x0", Kind::RcuStall),
        ("INFO: task kworker/u2:1:31 blocked in I/O wait for more than 120 seconds.", Kind::HungTask),
        ("BUG: non-zero pgtables_bytes on freeing mm: 4096", Kind::BadPage),
        ("BUG: Bad rss-counter state mm:00000000c0ffee00 type:MM_ANONPAGES val:1", Kind::BadPage),
        ("BUG: Bad page map in process sh  pte:80000000 pmd:0", Kind::BadPage),
        ("list_add corruption. prev->next should be next (x), but was y. (prev=z).", Kind::ListCorruption),
        ("WARNING: lib/refcount.c:28 at refcount_warn_saturate+0xba/0x110, CPU#0: sh/61", Kind::Refcount),
        ("WARNING: CPU: 0 PID: 7 at f+0x1/0x2", Kind::Warning),
        ("WARNING: at f+0x1/0x2, CPU#1: sh/61", Kind::Warning),
        ("WARNING: fs/a.c:3 at f+0x1/0x2 [ext4], CPU#1: sh/61", Kind::Warning),
        ("BUG: KCSAN: assert: race in f+0x6df/0x760", Kind::Kcsan),
        ("alignment check: 0000 [#1] PREEMPT SMP NOPTI", Kind::Oops),
        ("control protection: 0003 [#2] SMP", Kind::Oops),
        ("Oops: int3: 0000 [#1] SMP NOPTI", Kind::Oops),
        ("VFS: Close: file count is 0 (f_op=ext4_file_operations)", Kind::Inconsistency),
        ("WARNING: stack recursion on stack type 4", Kind::Warning),
        ("Memory cgroup out of memory: Kill process 98 (u) score 900 or sacrifice child", Kind::MemcgOom),
    ] {
        assert_eq!(kinds(line), [kind], "{line}");
    }
}

#[test]
fn lines_of_programs_and_of_healthy_kernels_are_no_findings() {
    for line in [
        "[    2.1] u[84]: segfault at 0 ip 0000000000401646 sp 00007ffd2f772eb0 error 6 in u[401000+78000]",
        "[    2.1] traps: u[85] general protection fault ip:401650 sp:7ffd2f772eb0 error:0 in u[401000+78000]",
        "[    2.1] INFO: NMI handler (nmi_cpu_backtrace_handler) took too long to run: 1.292 msecs",
        "[    2.1] INFO: lockdep is turned off.",
        "[    2.1] random: crng init done",
        "[    2.1] Spectre V2 : Mitigation: Retpolines",
        "[    2.1] the WARNING: is not at the beginning",
        "[    2.1] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---",
        "[    2.1] sched: RT throttling activated",
        "[    2.1] Oops (not really",
        "not ok 1 - BUG: unable to handle",
    ] {
        assert_eq!(kinds(line), [], "{line}");
    }
}

#[test]
fn an_unreadable_console_is_a_warning() {
    let found = unread(&Err("unclosed group".to_owned())).unwrap();
    assert!(found.severity == Kind::Warning.severity() && found.title.contains("unclosed group"), "{found:?}");
    assert!(RULES.as_ref().is_ok_and(|rules| rules.titles().is_some()) && unread(&RULES).is_none());
    let rules = Rules::compile().unwrap();
    assert!(rules.titles.set(Err("unclosed group".to_owned())).is_ok());
    assert_eq!(rules.meaning(b"BUG: unable to handle"), None);
    assert_eq!(unread(&Ok(rules)), Some(found));
}

#[test]
fn the_patterns_of_titles_are_compiled_for_a_line_that_may_be_one() {
    let rules = Rules::compile().unwrap();
    let said = [CONSOLE_MARK, "a leg begins"].concat();
    assert_eq!(rules.meaning(said.as_bytes()), Some(Meaning::InitSays(CONSOLE_MARK.len())));
    assert_eq!(rules.meaning(b"Linux version 6.12.0 (gcc) #1 SMP"), Some(Meaning::Banner));
    assert!(rules.titles.get().is_none());
    assert_eq!(rules.meaning(b"BUGS: none"), None);
    assert!(rules.titles.get().is_some());
}
