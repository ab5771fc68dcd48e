//! What a frozen process has besides memory, descriptors and threads.

use crate::field::record;

record! {
    /// The process.
    Process {
        /// The addresses that prctl(2) sets with `PR_SET_MM_MAP`.
        addresses: Addresses,
        /// Whether execve(2) grants no privileges any more (prctl(2), `PR_SET_NO_NEW_PRIVS`): 0 or 1.
        no_new_privileges: u32,
        /// The flags of seccomp(2) with which the filter was installed.
        filter_flags: u32,
    }
}

record! {
    /// Where the kernel believes parts of the process to be. Arguments and environment
    /// are not here: a thawed process shows those that the thawer was started with.
    Addresses {
        /// The beginning of the program.
        start_code: u64,
        /// Its end.
        end_code: u64,
        /// The beginning of its data.
        start_data: u64,
        /// Its end.
        end_data: u64,
        /// The beginning of the heap that brk(2) enlarges.
        start_brk: u64,
        /// Its end.
        brk: u64,
        /// The beginning of the first thread's stack.
        start_stack: u64,
    }
}

record! {
    /// What a signal does, in the layout of the kernel's `struct sigaction`.
    Action {
        /// The signal.
        signal: u64,
        /// The handler's address; 1 is `SIG_IGN`.
        handler: u64,
        /// `SA_RESTART` and others.
        flags: u64,
        /// The address to which the handler returns.
        restorer: u64,
        /// The signals that are blocked while it runs.
        mask: u64,
    }
}

record! {
    /// An instruction of the seccomp filter (`struct sock_filter`).
    Instruction {
        /// The operation.
        code: u16,
        /// How far to jump if true.
        if_true: u8,
        /// How far to jump if false.
        if_false: u8,
        /// The operand.
        operand: u32,
    }
}

/// The number of a filter's instructions (`BPF_MAXINSNS`).
pub const INSTRUCTIONS_LIMIT: usize = 4096;

record! {
    /// A resource limit (setrlimit(2)) that the process has set for itself.
    Limit {
        /// `RLIMIT_NOFILE` and others.
        resource: u64,
        /// The soft limit.
        soft: u64,
        /// The hard limit.
        hard: u64,
    }
}
