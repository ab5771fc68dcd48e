//! The threads of a frozen process.

use crate::field::record;

record! {
    /// The general registers. `rip` is at a system call, which the thread makes again, and `rax` is its number.
    Registers {
        /// r8
        r8: u64,
        /// r9
        r9: u64,
        /// r10
        r10: u64,
        /// r11
        r11: u64,
        /// r12
        r12: u64,
        /// r13
        r13: u64,
        /// r14
        r14: u64,
        /// r15
        r15: u64,
        /// rdi
        rdi: u64,
        /// rsi
        rsi: u64,
        /// rbp
        rbp: u64,
        /// rbx
        rbx: u64,
        /// rdx
        rdx: u64,
        /// rax
        rax: u64,
        /// rcx
        rcx: u64,
        /// rsp
        rsp: u64,
        /// rip
        rip: u64,
        /// The flags.
        eflags: u64,
        /// The code segment.
        cs: u16,
        /// The stack segment.
        ss: u16,
        /// Zero.
        reserved: u32,
    }
}

record! {
    /// A thread. The first one of the section is the process's first.
    Thread {
        /// The general registers.
        registers: Registers,
        /// The signals that it blocks.
        signal_mask: u64,
        /// The thread-local storage (arch_prctl(2), `ARCH_SET_FS`).
        fs_base: u64,
        /// Where the C library keeps the thread's id (set_tid_address(2)).
        tid_at: u64,
        /// set_robust_list(2)
        robust_list: u64,
        /// In bytes.
        robust_list_bytes: u64,
        /// rseq(2); 0 if the thread has none.
        rseq: u64,
        /// In bytes.
        rseq_bytes: u32,
        /// The signature.
        rseq_signature: u32,
        /// The slack of its timers, in ns (prctl(2), `PR_SET_TIMERSLACK`).
        timer_slack_ns: u64,
        /// The alternative stack for signal handlers (sigaltstack(2)).
        signal_stack: u64,
        /// In bytes.
        signal_stack_bytes: u64,
        /// `SS_DISABLE` and others.
        signal_stack_flags: u32,
        /// Where the extended state begins in its section, in bytes: a multiple of 64.
        xstate_at: u32,
        /// The length of the extended state as a signal frame has it (see [`crate::xstate`]), in bytes.
        xstate_bytes: u64,
        /// The name, with a NUL at the end (prctl(2), `PR_SET_NAME`).
        name: [u8; 16],
    }
}
