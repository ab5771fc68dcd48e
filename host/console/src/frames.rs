//! Functions in call traces: reads them from lines, normalises their names, and recognises insignificant ones.

/// Functions that print a trace or that every trace ends with.
const GENERIC: &[&str] = &[
    "__alloc_pages_may_oom",
    "__bug_table",
    "__cond_resched",
    "__const_udelay",
    "__delay",
    "__die",
    "__die_body",
    "__fentry__",
    "__lock_acquire",
    "__lock_release",
    "__might_fault",
    "__might_resched",
    "__might_sleep",
    "__schedule",
    "__schedule_bug",
    "__stack_chk_fail",
    "__switch_to_asm",
    "__udelay",
    "__warn",
    "__warn_printk",
    "__wait_for_common",
    "arch_cpu_idle",
    "arch_call_rest_init",
    "bad_area",
    "bad_area_nosemaphore",
    "bad_page",
    "bug_handler",
    "check_noncircular",
    "check_prev_add",
    "check_prevs_add",
    "check_usage",
    "common_interrupt",
    "cpu_startup_entry",
    "cpuidle_idle_call",
    "delay_halt",
    "delay_loop",
    "delay_tsc",
    "die",
    "die_addr",
    "do_exit",
    "do_group_exit",
    "do_idle",
    "do_int80_syscall_32",
    "do_kern_addr_fault",
    "do_syscall_64",
    "do_syscall_x64",
    "do_trap",
    "do_user_addr_fault",
    "dump_header",
    "dump_stack",
    "dump_stack_lvl",
    "end_report",
    "fault_in_kernel_space",
    "fixup_bug",
    "handle_bug",
    "handle_stack_overflow",
    "invalid_op",
    "io_schedule",
    "irqentry_exit",
    "kernel_init",
    "kernel_init_freeable",
    "kernelmode_fixup_or_oops",
    "kfence_handle_page_fault",
    "kfence_report_error",
    "kthread",
    "kthread_worker_fn",
    "lock_acquire",
    "lock_release",
    "make_task_dead",
    "mark_held_locks",
    "mark_lock",
    "mark_usage",
    "mdelay",
    "mwait_idle",
    "msleep",
    "native_halt",
    "native_safe_halt",
    "no_context",
    "oom_kill_process",
    "oops_end",
    "out_of_memory",
    "page_fault",
    "page_fault_oops",
    "panic",
    "preempt_schedule",
    "preempt_schedule_common",
    "preempt_schedule_irq",
    "preempt_schedule_notrace",
    "process_one_work",
    "rcu_dump_cpu_stacks",
    "rcu_sched_clock_irq",
    "report_bug",
    "report_bug_entry",
    "rest_init",
    "rewind_stack_and_make_dead",
    "rewind_stack_do_exit",
    "sched_show_task",
    "schedule",
    "schedule_bug",
    "schedule_hrtimeout_range",
    "schedule_preempt_disabled",
    "schedule_timeout",
    "schedule_timeout_uninterruptible",
    "search_module_extables",
    "show_regs",
    "show_stack",
    "show_trace_log_lvl",
    "start_kernel",
    "start_secondary",
    "sysvec_apic_timer_interrupt",
    "validate_chain",
    "vpanic",
    "wait_for_completion",
    "warn_bogus_irq_restore",
    "warn_slowpath_fmt",
    "warn_slowpath_null",
    "watchdog_timer_fn",
    "worker_thread",
    "x64_sys_call",
    "x64_setup_rt_frame",
    "x86_64_start_kernel",
    "x86_64_start_reservations",
];

/// Prefixes of such functions' names.
const GENERIC_FAMILIES: &[&str] = &[
    "__asan_",
    "__kasan_",
    "__kcsan_",
    "__list_add_valid",
    "__list_del_entry_valid",
    "__msan_",
    "__mutex_lock",
    "__mutex_unlock",
    "__raw_spin_",
    "__refcount_",
    "__tsan_",
    "__ubsan_",
    "_printk",
    "_raw_read_",
    "_raw_spin_",
    "_raw_write_",
    "arch_trigger_",
    "asm_",
    "check_flush_dependency_",
    "debug_check_",
    "debug_lock",
    "do_error_trap",
    "do_raw_spin_",
    "do_raw_read_",
    "do_raw_write_",
    "dump_",
    "entry_",
    "exc_",
    "exit_to_user_mode",
    "irqentry_",
    "kasan_",
    "kcsan_",
    "kmsan_",
    "lockdep_",
    "mutex_lock",
    "mutex_unlock",
    "nmi_",
    "print_",
    "printk",
    "rcu_lockdep_",
    "refcount_",
    "ret_from_",
    "rt_mutex_",
    "secondary_startup_64",
    "spin_bug",
    "spin_dump",
    "syscall_exit_",
    "syscall_return_",
    "sysvec_",
    "trace_hardirqs_",
    "ubsan_",
    "val_to_string",
    "warn_alloc",
];

/// The function in a line of a call trace, by its name on all kernels. None for lines that the unwinder is not sure of
/// (`? name`) and for addresses in programs.
///
/// Forms: ` name+0x1c/0x20 [module]`, ` [<ffffffff81000000>] name+0x1c/0x20` (before Linux 4.10), and
/// `RIP: 0010:name+0x1c/0x20`.
pub(super) fn function(words: &str) -> Option<&str> {
    let words = words.trim_start();
    let words = words.strip_prefix("RIP: ").map_or(words, |rest| rest.split_once(':').map_or(rest, |(_, name)| name));
    let words = match words.strip_prefix("[<").and_then(|rest| rest.split_once(">] ")) {
        Some((_, after)) => after,
        None => words,
    };
    let (name, offset) = words.split_once("+0x")?;
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(letters);
    let has_size = offset.split_once("/0x").is_some_and(|(at, _)| at.bytes().all(|b| b.is_ascii_hexdigit()));
    (is_name && has_size).then(|| plain(name))
}

/// Whether a function is insignificant for the cause of a report.
pub(super) fn is_generic(name: &str) -> bool {
    GENERIC.contains(&name) || GENERIC_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// A function's name without prefixes and suffixes of macros and compilers: `__x64_sys_kill`, `__do_sys_kill` and
/// `__se_sys_kill` become `sys_kill`; `f.constprop.0`, `f.cold` and `f.isra.0.cold` become `f`.
pub(super) fn plain(name: &str) -> &str {
    let name = name.split_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem });
    let name = name.strip_prefix("__pfx_").unwrap_or(name);
    ["__x64_", "__ia32_", "__arm64_", "__riscv_", "__do_", "__se_"]
        .iter()
        .find_map(|prefix| {
            name.strip_prefix(prefix).filter(|rest| rest.starts_with("sys_") || rest.starts_with("compat_sys_"))
        })
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_read_from_all_forms() {
        for (line, name) in [
            (" sysrq_handle_crash+0x16/0x20", Some("sysrq_handle_crash")),
            ("RIP: 0010:boom.constprop.0+0x0/0x10 [faulty]", Some("boom")),
            (" [<ffffffff8100abcd>] __handle_sysrq.cold+0x43/0x11a", Some("__handle_sysrq")),
            (" __x64_sys_kill+0x10/0x20 kernel/signal.c:10", Some("sys_kill")),
            (" ? printk+0x58/0x73", None),
            ("RIP: 0033:0x47b7a0", None),
            (" <TASK>", None),
            ("exitcode=0x0000000b", None),
            ("a b+0x1/0x2", None),
        ] {
            assert_eq!(function(line), name, "{line}");
        }
    }

    #[test]
    fn functions_that_print_a_trace_are_insignificant() {
        for name in
            ["dump_stack_lvl", "panic", "asm_exc_page_fault", "exc_invalid_op", "entry_SYSCALL_64_after_hwframe"]
        {
            assert!(is_generic(name), "{name}");
        }
        for name in ["sysrq_handle_crash", "__handle_sysrq", "vfs_write", "sys_kill", "mount_root"] {
            assert!(!is_generic(name), "{name}");
        }
    }

    #[test]
    fn names_are_the_same_on_all_kernels() {
        for (name, same) in [
            ("__pfx_do_thing", "do_thing"),
            ("f.isra.0.cold", "f"),
            ("f.llvm.1234", "f"),
            ("__se_sys_mount", "sys_mount"),
            ("__do_sys_mount", "sys_mount"),
            ("__do_softirq", "__do_softirq"),
        ] {
            assert_eq!(plain(name), same);
        }
    }
}
