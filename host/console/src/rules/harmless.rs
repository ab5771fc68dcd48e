//! Lines that begin with `WARNING: ` or `BUG: ` and are no report.

/// A line that is no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Harmless {
    /// A regular expression for the beginning of a message.
    pub(super) pattern: &'static str,
    /// A line that it matches.
    pub(super) example: &'static str,
    /// A line of a real report that it does not match.
    pub(super) report: &'static str,
}

pub(super) const LINES: &[Harmless] = &[
    // fs/namespace.c: what a program asked for, not what the kernel did wrong.
    Harmless {
        pattern: r"WARNING: [Tt]he mand mount option ",
        example: "WARNING: the mand mount option is being deprecated and",
        report: "WARNING: the mand lock is held",
    },
    // Notices that an interface goes away (drivers, file systems, kernel/workqueue.c). They begin in upper case like a report,
    // but name no fault.
    Harmless {
        pattern: r"WARNING: .*(?:\b(?:is|are|being|been|now) (?:deprecated|obsolete|going away)|\bdeprecated\b|will be (?:removed|prohibited))",
        example: "WARNING: The foo driver is deprecated and will be removed",
        report: "WARNING: CPU: 0 PID: 1 at drivers/foo.c:1 foo+0x1/0x2",
    },
    // arch/x86/kernel/cpu/mtrr, arch/x86/kernel/e820.c: the firmware's fault.
    Harmless {
        pattern: r"WARNING: (?:BIOS bug: |MTRRs? |MP table |firmware )",
        example: "WARNING: BIOS bug: CPU MTRRs don't cover all of memory, losing 64MB of RAM.",
        report: "WARNING: possible recursive locking detected",
    },
    // init/main.c, security/tomoyo: a choice of the command line or of a policy.
    Harmless {
        pattern: r"WARNING: (?:'bootconfig' found on the kernel command line|Domain '.*' has too many ACLs)",
        example: "WARNING: 'bootconfig' found on the kernel command line but CONFIG_BOOT_CONFIG is not set.",
        report: "WARNING: kernel stack regs at 000000003f2c1b7a in init:1 has bad 'bp' value 0000000000000000",
    },
    // arch/x86/kernel/cpu/bugs.c: a choice of the configuration. Mostly behind `Spectre V2 : `.
    Harmless {
        pattern: r"WARNING: Unprivileged eBPF is enabled",
        example: "WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible via Spectre v2 BHB attacks!",
        report: "WARNING: stack recursion on stack type 4",
    },
];
