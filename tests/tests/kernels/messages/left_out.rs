//! Messages with alarming words that are no rule, each with the reason.

/// Reasons, with patterns of printk's format strings.
#[rustfmt::skip]
pub(super) const LEFT_OUT: &[(&str, &[&str])] = &[
    ("a continuation of a report that has a title of its own (an oops, a panic, a KFENCE report, an RCU stall, a dump)", &[
        r"^(?:%s: )?0x%hx -- |^%s: 0x%hx -- |^%s: NULL\n?$|^%s: %pA$|^#PF: |^IDT: |^pgd:%|^addr:%px|^file:%pD|^P%d: |^%p: %c%c nvcsw|^%s%s Tasks%s RCU|^\t(?:Barrier|Callback|Enqueue|IPI)",
        r"^rcu: (?:%s%s Tree SRCU|%s: No-CB GP kthread|INFO: (?:Expedited stall|Stall) ended)",
        r"^(?:Corrupted memory at|Use-after-free %s at 0x%p \(in kfence|Thread overran stack|Disabling IRQ #|left shift of negative|shift exponent %s is negative)",
        r"^(?:kernel tried to execute NX-protected|unable to execute userspace code|File: %s PID: |Shutting down cpus|panic: Redirect|%s but panic disabled|---\[ end Kernel panic|Bad dumping mode|Rebooting in|-{20,})",
        r"^(?: +Depth    Size|%3ld\) %8d|   \(ftrace|mce: \[Hardware Error\]|Dumping ftrace|Instance %s not found|Kernel Offset|percpu: cpu_possible_mask|SEV-ES: Unsupported)",
        r"^ {3}|^\(ftrace buffer empty",
    ]),
    ("a BUG() or WARN() with a report of its own follows", &[
        r"^(?:skbuff: %s: text:|usercopy: Kernel memory|detected buffer overflow in|jump_label: Fatal kernel bug|capability: capable\(\) called with invalid|percpu: failed to initialize)",
        r"^(?:Trying to (?:vfree|vunmap)\(\) nonexistent|Unbalanced enable for IRQ|Device '%s' does not have a release|Debug warning: early ioremap leak|page:%px? is uninitialized and poisoned|IPv4: %s\(\): Argh)",
        r"^(?:IPv4: Bug in ip_route_input_slow|%s: class %p was not registered|BUG in find_next_ancestor|protocol %d >= NPROTO)",
    ]),
    ("the rule needs values that the sample does not have; its example has them", &[
        r"^BUG %s \(%s\)|^watchdog: BUG: soft lockup|^%s: Corrupted page table",
    ]),
    ("the hardware, the firmware or the hypervisor is at fault, not the kernel", &[
        r"BIOS|Firmware (?:Bug|Warn)|^(?:ACPI|AER|APEI|CXL|DMAR|EFI|efi|DMI|HEST|Hyper-V|IOAPIC|MCE|MTRR|mtrr|NMI|PRM|RAS|RDRAND|RDSEED|RDSEED32|SEV|tdx|xen|x86|sgx|smpboot|hvc_close)\b",
        r"^(?:Bogus \(zero\) I/O APIC|Dazed and confused|Do you have a strange power|Uhhuh|No irq handler|%s: %d\.%u No irq handler|Failed to broadcast timer|Hmm, FPU|\* (?:Found|The chipset may have) PM-Timer|pin%d on IOAPIC|vcpu restore failed)",
        r"^(?:clear VMSA page|leaking DMA memory|mce: |%#llx: Sending SIGBUS|Memory failure: |OperationRegion handler|Trying to free unknown IOASID|(?:resctrl: )?Ignoring impossible MBM|%s\[%d\] control protection|resource: resource sanity|resource sanity)",
        r"^reboot: ",
    ]),
    ("a disk, a swap device or what is on it is at fault", &[
        r"^(?:EXT4-fs(?: \(|:| warning)|JBD2|%s: journal block not found|inconsistent data on disk|(?:PM: )?(?:Read|Write)-error on swap-device|VFS: busy inodes on|zswap: Decompression error|%s: inode number overflow)",
        r"^(?:Page cache invalidation failure on direct|unrecognized swap entry|EXT4-fs: %s:%d: inode on nonexistent)",
    ]),
    ("a choice of the command line, the configuration or the administrator", &[
        r"^(?:Spectre|RETBleed|MDS|TAA|MMIO|SRBDS|L1TF|Speculative|ITS|TSA|VMSCAPE)\b|data leaks? possible|^(?:Unsupported mitigations|tsc: |ERROR: earlyprintk|devpts: called with bogus|ima: |evm: |SELinux: )",
        r"^(?:rcu: .*Limited prio to|%s \(%d\): Using fanotify|%s\[%d\] is installing a program with bpf_probe_write_user|vmcore: |Warning: Core image elf header|initrd overwritten|Failed to create /dev/root|Initramfs unpacking failed)",
        r"^(?:Invalid parameters for execmem|execmem: |Adding module '%s' to sysfs failed|kexec: |module: overflow in relocation|Invalid ELF section header|PM: |reboot: |run queue from wrong CPU)",
        r"^(?:Hibernate inconsistent|Unrecognized hibernate|mmiotrace: |kmmio_page_table|tc ematch: |A link change request)",
    ]),
    ("a program, a peer or a BPF program is at fault, and the kernel says so", &[
        r"^(?:ref_ctr going negative|MPTCP: bogus|ASN\.1 decoder|PKCS7: |sched_ext: |%s\(\): recursion limit|bpf: recursion limit|alg: |ex gen bug|mem32 extable bug)",
    ]),
    ("want of memory while the kernel starts", &[
        r"[Nn]o memory|Not enough memory|[Cc]an(?:'t|not) (?:create|add|init|register)|cannot initialize default policy|JBD2: failed to create|%s: failed to move",
    ]),
    ("a statistic or a notice of a table that is full", &[
        r"stat buffer overflow|^%s: (?:memory leak as|cannot accumulate) runstate|^(?:keyboard: k_lowercase)",
    ]),
    ("part of a sentence whose beginning is another message", &[
        r"^leaking",
    ]),
    ("no text, but data that looks like a message", &[
        r"^[^ ]{3,4}$|^\P{ASCII}",
    ]),
];
