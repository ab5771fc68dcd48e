//! Functions that are insignificant for the cause of a report, by the families of their names.
//!
//! A trace begins with the functions that detect and print a fault, and often with helpers that only did what their caller
//! asked for. The place of a fault is the first function behind them. The families are patterns because the members differ
//! between versions and configurations of the kernel.

use std::sync::LazyLock;

use regex::RegexSet;

/// The families, each with the reason why none of its functions is the place of a fault. The patterns are of whole names.
const FAMILIES: &[&[&str]] = &[
    // Prints the report.
    &[
        r"_*(?:dump|show|print)_.*|_*printk(?:_.*)?|_?v?printk.*|sched_show_task|val_to_string",
        r"__?warn.*|warn_(?:slowpath|alloc|bogus).*|panic|vpanic|nmi_panic.*|check_panic_on_warn",
        r"oops_.*|die|die_addr|__die.*|make_task_dead|rewind_stack_.*|search_module_extables|nmi_.*|arch_trigger_.*",
        r"report_bug.*|fixup_bug.*|bug_handler|handle_bug|handle_ubsan_.*|invalid_op|__bug_table",
        r"end_report|print_report|report_(?:access|tag_fault|mismatch).*|rcu_(?:dump_cpu_stacks|sched_clock_irq)",
        r"oom_kill_process|out_of_memory|__alloc_pages_may_oom|mem_cgroup_out_of_memory|watchdog_(?:timer_fn|hardlockup.*)",
        r"__schedule_bug|schedule_bug|spin_(?:bug|dump)|rwlock_bug|debug_lock.*|(?:__)?fortify_(?:panic|report)",
        r"__stack_chk_fail|handle_stack_overflow|stack_overflow_.*|usercopy_(?:abort|warn)",
    ],
    // Is a sanitizer or a checker of the kernel's data.
    &[
        r"_*(?:asan|kasan|hwasan|kcsan|tsan|kmsan|msan|kfence|ubsan|sanitizer)_.*|memory_is_poisoned.*",
        r"check_(?:memory_region|region_inline|object|slab|bytes_and_report|heap_object|stack_object|poison_obj)(?:_.*)?",
        r"__check_(?:object_size|heap_object)|free_debug_processing|alloc_debug_processing|free_consistency_checks",
        r"object_err|slab_(?:err|bug|fix|pad_check|free_hook.*|free_freelist_hook)|free_to_partial_list|on_freelist",
        r"_*debug_(?:object|check|print_object|assert|mutex|spin|rt_mutex|dma)_?.*|timer_is_static_object|work_is_static_object",
        r"check_preemption_disabled|debug_smp_processor_id|__this_cpu_preempt_check|kmemleak_.*|write_comp_data|__sanitizer_cov_.*",
        r"bad_page|bad_range|page_bad_reason|free_page_is_bad.*|check_new_page.*|free_pages?_prepare|free_pages?_check.*",
        r"_*list_(?:add|del_entry|del)_valid.*",
    ],
    // Checks or takes a lock.
    &[
        r"_*lock(?:dep)?_(?:acquire|release|is_held|rcu|assert|hardirqs|softirqs|init|unregister|sock|count).*|lockdep_.*",
        r"validate_chain|check_(?:noncircular|usage.*|prevs?_add|irq_usage|deadlock.*|wait_context|flags.*|flush_dependency.*)",
        r"mark_(?:lock|usage|held_locks|lock_irq)(?:_.*)?|(?:register|look_up)_lock_class|trace_hardirqs_.*|__bad_.*_lock",
        r"_*raw_(?:spin|read|write)_.*|do_raw_.*|_*spin_(?:un|try)?lock.*|(?:native_)?queued_(?:spin|read|write)_.*|__pv_queued.*",
        r"_*(?:ww_|rt_)?mutex_.*|_*rt_spin_.*|rtlock_.*|_*(?:percpu_)?(?:down|up)_(?:read|write|killable|timeout|trylock|interruptible).*",
        r"_*down(?:_common)?|_*up|rwsem_.*|_*rwbase_.*|_*rcu_read_(?:un)?lock.*|rcu_lockdep_.*|warn_bogus_irq_restore",
    ],
    // Sleeps, waits or lets another task run.
    &[
        r"_*might_(?:sleep|resched|fault|alloc)(?:_if)?|_*cond_resched.*|_*preempt_(?:schedule|count_).*|preempt_schedule.*",
        r"_*schedule(?:_.*)?|io_schedule.*|__switch_to(?:_asm)?|context_switch|rcu_note_context_switch",
        r"_*wait_for_(?:common|completion).*|do_wait_for_common|_*wait_on_(?:bit|page|buffer).*|out_of_line_wait_.*|bit_wait.*",
        r"folio_wait_.*|wait_on_page_.*|prepare_to_wait.*|finish_wait",
        r"_*(?:m|u|n|const_u|const_n)?delay(?:_.*)?|_*msleep.*|usleep_range.*|_*ssleep",
        r"arch_cpu_idle|(?:native_|default_)?(?:safe_)?(?:halt|idle).*|mwait_idle.*|cpuidle_.*|cpu_idle_.*|(?:acpi|intel)_idle.*",
        r"kthread(?:_worker_fn|_parkme)?|worker_thread|process_one_work|process_scheduled_works",
    ],
    // Allocates or frees memory for its caller.
    &[
        r"_*(?:devm_)?(?:k|kv)(?:m|z|c|re)?alloc.*|_*(?:k|v|kv)free.*|_*kmem_cache_.*|_*kmem?(?:mem|str|strn)?dup.*",
        r"_*k(?:mem|str|strn)dup.*|v?memdup_user.*|strndup_user|_*vmalloc(?:_(?:node|user|32|huge|array|node_range|area))*|_*vmap_.*|_*vfree.*",
        r"_*(?:folio_)?alloc_(?:page|frozen_page|folio|pages|contig|slab|percpu).*|folio_alloc.*|_*get_free_pages?.*|get_zeroed_page.*",
        r"_*free_(?:page|pages|frozen_page|unref|folio|pcp|one_page|large_kmalloc|slab|percpu|contig).*|_*folio_put.*|release_pages",
        r"_*(?:slab|do_slab|new_slab|allocate_slab|get_new_slab|discard_slab|free_slab|refill).*|get_page_from_freelist|rmqueue.*",
        r"prep_new_page|post_alloc_hook|should_fail.*|fail_dump|_*pcpu_(?:alloc|free).*|_*stack_depot_.*|stack_trace_save.*",
        r"save_stack.*|set_track.*|_*alloc_skb.*|kmalloc_reserve|(?:__)?(?:netdev|napi|sock)_alloc_(?:skb|send_p?skb|frag).*",
        r"memblock_(?:alloc|free).*|krealloc.*|mempool_(?:alloc|free).*|page_frag_alloc.*",
    ],
    // Moves bytes, or formats or compares text, for its caller.
    &[
        r"_*mem(?:cpy|set|move|cmp|chr|scan|chr_inv|_.*)(?:_.*)?|_*str(?:l|n|s|r|case|ncase)*(?:cpy|cmp|len|cat|chr|str|spn|pbrk|sep|cpy_pad)",
        r"_*v?s[cn]*printf|(?:bin|b)str_printf|string(?:_nocheck)?|number|pointer|format_decode|read_word_at_a_time|sized_str.*|get_freepointer.*|_*csum_partial.*",
        r"_*(?:raw_)?copy_(?:from|to|in|mc).*|_*copy_user.*|copyin|copyout|copy_page.*|clear_page.*|clear_user.*|rep_(?:movs|stos).*",
        r"_*(?:get|put)_user.*|__(?:get|put)_user_.*|instrument_.*|_*iov_iter_(?:advance|revert|zero)|fault_in_.*",
    ],
    // Keeps a counter, a bit, a list or the bounds of a packet for its caller.
    &[
        r"_*refcount_.*|kref_(?:get|put).*|(?:arch_|raw_)?atomic(?:64|_long)?_.*",
        r"(?:arch_)?(?:_*test|_*set|_*clear|_*change)(?:_and_[a-z]+)?_bit.*|_*find_(?:first|next|last|nth)_.*bit.*|bitmap_.*",
        r"_*h?list_(?:add|del|move|splice|replace|bl).*",
        r"_*p?skb_(?:panic|over_panic|under_panic|put|push|pull|trim|pull_tail|expand_head|may_pull|copy_bits|copy_and_csum.*)(?:_.*)?",
    ],
    // Is how a program, an interrupt or a fault enters the kernel, or how a CPU or task starts.
    &[
        r"__x86_(?:indirect|return)_thunk.*|srso_.*|retbleed_.*|arm64_serror_panic|entry_.*|asm_.*|exc_.*|sysvec_.*|(?:do_)?(?:fast_)?syscall_.*|do_syscall_.*|do_int80_.*|x(?:64|32)_(?:sys_call|setup_rt_frame)|ia32_sys_call",
        r"irqentry_.*|(?:syscall_)?(?:exit|enter)_(?:to|from)_user_mode.*|syscall_(?:exit|return|enter|trace)_.*|ret_from_.*|restore_regs.*",
        r"common_interrupt|do_IRQ|(?:__)?irq_exit(?:_rcu)?|(?:__)?do_softirq|handle_softirqs|do_softirq_own_stack|run_ksoftirqd|smpboot_thread_fn",
        r"page_fault|do_(?:user|kern)_addr_fault|_*bad_area.*|no_context|page_fault_oops|kernelmode_fixup_or_oops|fault_in_kernel_space|spurious_.*",
        r"do_(?:trap|error_trap|page_fault|general_protection|invalid_op|group_exit|exit|translation_fault|mem_abort|undefinstr|bad_area)",
        r"start_(?:kernel|secondary)|secondary_start.*|x86_64_start_.*|rest_init|kernel_init.*|arch_call_rest_init|cpu_startup_entry|do_idle",
        r"el[01][a-z0-9]*(?:_.*)?|do_el0_svc.*|invoke_syscall|el0_svc_common.*|__primary_switched|handle_(?:exception|page_fault)|__fentry__|ftrace_.*",
    ],
];

/// The families' patterns. None if they do not compile, which a test excludes; then every function is significant.
static PATTERNS: LazyLock<Option<RegexSet>> =
    LazyLock::new(|| RegexSet::new(FAMILIES.concat().iter().map(|pattern| format!("^(?:{pattern})$"))).ok());

/// Whether a function is insignificant for the cause of a report.
pub(super) fn is_helper(name: &str) -> bool {
    PATTERNS.as_ref().is_some_and(|patterns| patterns.is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_only_serve_their_caller_are_helpers() {
        assert!(PATTERNS.is_some());
        for name in [
            "dump_stack_lvl",
            "show_stack",
            "print_circular_bug",
            "__warn",
            "oops_end",
            "report_bug",
            "__die_body",
            "__kasan_check_read",
            "kasan_check_range",
            "__asan_load8",
            "check_heap_object",
            "__list_add_valid_or_report",
            "__mutex_lock",
            "_raw_spin_lock_irqsave",
            "do_raw_spin_lock",
            "down_read",
            "rwsem_down_write_slowpath",
            "___might_sleep",
            "__might_resched",
            "schedule_timeout",
            "__schedule",
            "wait_for_completion",
            "delay_tsc",
            "__kmalloc",
            "___kmalloc_large_node",
            "__alloc_frozen_pages",
            "kmem_cache_free",
            "kfree",
            "__slab_alloc",
            "kmemdup",
            "memcpy",
            "__memset",
            "strcmp",
            "strnlen",
            "vsnprintf",
            "_copy_from_user",
            "copy_user_generic",
            "refcount_warn_saturate",
            "skb_panic",
            "skb_put",
            "__pskb_pull_tail",
            "_find_next_bit",
            "list_del",
            "entry_SYSCALL_64_after_hwframe",
            "asm_exc_page_fault",
            "do_syscall_64",
            "el0t_64_sync",
            "ret_from_fork",
        ] {
            assert!(is_helper(name), "{name}");
        }
    }

    #[test]
    fn functions_that_can_be_the_place_of_a_fault_are_no_helpers() {
        for name in [
            "sysrq_handle_crash",
            "__handle_sysrq",
            "vfs_write",
            "sys_kill",
            "mount_root",
            "ext4_alloc_inode",
            "tcp_sendmsg",
            "start_transaction",
            "exit_mmap",
            "list_lru_add",
            "print",
            "show",
            "upload",
            "delayed_work_timer_fn",
            "entry",
            "driver_one_ioctl",
            "proto_two_xmit",
            "lockd_up",
            "waitid",
            "nfs_wait_on_request",
            "strparser",
            "__queue_work",
            "elf_map",
            "el_destroy",
            "skb_segment",
            "memory_failure",
            "dumpit",
            "reporter",
        ] {
            assert!(!is_helper(name), "{name}");
        }
    }
}
