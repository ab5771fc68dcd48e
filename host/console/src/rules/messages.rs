//! Messages of one line that the kernel's own data is inconsistent. They begin with neither `BUG: ` nor `WARNING: `, and no
//! such report follows. Collected from the format strings of Debian's 5.10, 6.1, 6.12 and 7.2;
//! `tests/tests/kernels/messages.rs` compares the rules with those of the fetched kernels.

use super::Rule;
use crate::kind::Kind;

pub(super) const RULES: &[Rule] = &[
    // fs/super.c, fs/open.c, fs/buffer.c, fs/locks.c, fs/file.c, fs/fcntl.c, ipc/mqueue.c
    Rule {
        kind: Kind::Inconsistency,
        anchor: "VFS: ",
        pattern: r"(?P<what>VFS: (?:Busy inodes after unmount|Close: file count is 0|brelse: Trying to free free buffer))",
        example: "VFS: Busy inodes after unmount of tmpfs. Self-destruct in 5 seconds.  Have a nice day...",
        near_miss: "VFS: Disk quotas dquot_6.6.0",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "eaked ",
        pattern: r"(?P<what>Leaked (?:locks|\S+ lock) on dev=)",
        example: "Leaked locks on dev=0x0:0x17 ino=0x2c1:",
        near_miss: "PM: leaked 0 pages",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: " not ",
        pattern: r"(?P<what>alloc_fd: slot \d+ not NULL!|\S+: fasync list not empty!)",
        example: "alloc_fd: slot 12 not NULL!",
        near_miss: "x86/cpu: SGX is not enabled, the fasync list not looked at",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "Inconsistency in POSIX",
        pattern: r"(?P<what>Inconsistency in POSIX message queue)",
        example: "Inconsistency in POSIX message queue, no tree element, but supposedly messages should exist!",
        near_miss: "mqueue: no Inconsistency in POSIX message queues",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "Assertion failure in ",
        pattern: r"(?P<what>Assertion failure in [\w.$]+\(\))",
        example: "Assertion failure in jbd2_journal_commit_transaction() at fs/jbd2/commit.c:421: \"commit_transaction\"",
        near_miss: "test: Assertion failure in mine",
    },
    // mm/vmscan.c, mm/slab_common.c, mm/hugetlb.c, mm/memory.c, arch/x86/mm/fault.c, mm/internal.h, mm/page_alloc.c
    Rule {
        kind: Kind::Inconsistency,
        anchor: "egative",
        pattern: r"(?P<what>(?:vmscan: )?shrink_slab: \S+ negative objects to delete|(?:hugetlb: )?Huge Page Reserved count may go negative)",
        example: "vmscan: shrink_slab: super_cache_scan+0x0/0x1a0 negative objects to delete nr=-14",
        near_miss: "UBSAN: shift exponent is not negative",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "still has objects",
        pattern: r"(?P<what>kmem_cache_destroy \S+: Slab cache still has objects)",
        example: "kmem_cache_destroy ext4_inode: Slab cache still has objects",
        near_miss: "slub: it still has objects",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "Fixing recursive fault",
        pattern: r"(?P<what>Fixing recursive fault but reboot is needed)",
        example: "Fixing recursive fault but reboot is needed!",
        near_miss: "no Fixing recursive fault",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "VM_FAULT_OOM leaked",
        pattern: r"(?P<what>Huh VM_FAULT_OOM leaked out to the #PF handler)",
        example: "Huh VM_FAULT_OOM leaked out to the #PF handler. Retrying PF",
        near_miss: "no VM_FAULT_OOM leaked",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "Fix your code!",
        pattern: r"(?P<what>Unexpected gfp): .* Fix your code!",
        example: "Unexpected gfp: 0x4 (GFP_DMA32). Fixing up to gfp: 0xcc0 (GFP_KERNEL). Fix your code!",
        near_miss: "checkpatch: Fix your code!",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "PAGETABLE BUG",
        pattern: r"(?P<what>PAGETABLE BUG #\d+)!",
        example: "PAGETABLE BUG #01! ffff888004a5bd20 <-> ffff888004a5bd28",
        near_miss: "kmemleak: PAGETABLE BUG",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "percpu_ref underflow",
        pattern: r"(?P<what>\S+: \S+\(\): percpu_ref underflow)",
        example: "percpu_ref_switch_to_atomic_rcu: percpu_ref_switch_to_atomic_rcu(): percpu_ref underflow",
        near_miss: "no percpu_ref underflow",
    },
    // kernel/irq/spurious.c, arch/x86/kernel/irq.c, lib/irq_regs.c
    Rule {
        kind: Kind::Inconsistency,
        anchor: "irq ",
        pattern: r"(?P<what>irq \d+: nobody cared|irq event \d+: bogus return value)",
        example: "irq 16: nobody cared (try booting with the \"irqpoll\" option)",
        near_miss: "irq 16: Affinity broken due to vector space exhaustion.",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "unexpected IRQ trap",
        pattern: r"(?P<what>unexpected IRQ trap at vector)",
        example: "unexpected IRQ trap at vector e9",
        near_miss: "no unexpected IRQ trap",
    },
    // kernel/sched/idle.c, kernel/sched/psi.c, kernel/time/timer.c
    Rule {
        kind: Kind::Inconsistency,
        anchor: "scheduling from the idle thread!",
        pattern: r"(?P<what>bad: scheduling from the idle thread)!",
        example: "bad: scheduling from the idle thread!",
        near_miss: "no scheduling from the idle thread!",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "psi: ",
        pattern: r"(?P<what>psi: (?:inconsistent task state|task underflow))!",
        example: "psi: task underflow! cpu=0 t=2 tasks=[0 0 1 0] clear=4 set=0",
        near_miss: "psi: inconsistent",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "wrong timeout value",
        pattern: r"(?P<what>schedule_timeout: wrong timeout value)",
        example: "schedule_timeout: wrong timeout value ffffffffffff0000",
        near_miss: "watchdog: wrong timeout value",
    },
    // net/core/dev.c, net/core/neighbour.c, net/core/page_pool.c, net/ipv6/addrconf.c, lib/ref_tracker.c
    Rule {
        kind: Kind::Inconsistency,
        anchor: "virtual device ",
        pattern: r"(?P<what>(?:ip_tunnel_core: )?Dead loop on virtual device)",
        example: "Dead loop on virtual device ip6gre0, fix it urgently!",
        near_miss: "no loop on virtual device lo",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "asks to queue packet!",
        pattern: r"(?P<what>Virtual device) \S+ asks to queue packet!",
        example: "Virtual device team0 asks to queue packet!",
        near_miss: "lo: asks to queue packet!",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "is buggy, dev ",
        pattern: r"(?P<what>protocol [0-9a-f]{4} is buggy), dev ",
        example: "protocol 0800 is buggy, dev hsr0",
        near_miss: "that protocol is buggy, dev eth0",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "neighbour",
        pattern: r"(?P<what>neighbour: (?:neighbour leakage|Impossible event))",
        example: "neighbour: neighbour leakage",
        near_miss: "neighbour: arp_cache: neighbor table overflow!",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "page_pool",
        pattern: r"(?P<what>\S+\(\) page_pool refcnt -?\d+ violation)",
        example: "page_pool_empty_ring() page_pool refcnt 0 violation",
        near_miss: "page_pool_create() page_pool refcnt 1",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "is missing its host route",
        pattern: r"(?P<what>IPv6: BUG: Address) \S+ on device \S+ is missing its host route",
        example: "IPv6: BUG: Address fe80::1 on device eth0 is missing its host route.",
        near_miss: "lo is missing its host route",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "ref_tracker: ",
        pattern: r"(?P<what>ref_tracker: \S+ has \d+/\d+ users)",
        example: "ref_tracker: netdev@ffff888004a5bd20 has 1/1 users at",
        near_miss: "ref_tracker: memory allocation failure, unreliable refcount tracker.",
    },
    // lib/kobject.c, fs/sysfs/dir.c, kernel/trace/rethook.c
    Rule {
        kind: Kind::Inconsistency,
        anchor: "something is seriously wrong",
        pattern: r"(?:kobject: )?(?P<what>kobject .*: tried to (?:init an initialized|add an uninitialized) object), something is seriously wrong",
        example: "kobject: kobject (ffff888004a5bd20): tried to init an initialized object, something is seriously wrong.",
        near_miss: "fwupd: something is seriously wrong",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "sysfs: ",
        pattern: r"(?P<what>sysfs: cannot create duplicate filename '[^']*')",
        example: "sysfs: cannot create duplicate filename '/devices/virtual/net/x'",
        near_miss: "sysfs: no duplicate filename",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "rethook: ",
        pattern: r"(?:rethook: )+(?P<what>Return address not found)",
        example: "rethook: rethook: Return address not found! Maybe there is a bug in the kernel",
        near_miss: "rethook: on",
    },
];
