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
        pattern: r"(?P<what>VFS: Busy inodes after unmount)",
        example: "VFS: Busy inodes after unmount of tmpfs. Self-destruct in 5 seconds.  Have a nice day...",
        near_miss: "VFS: no inodes after unmount",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "VFS: ",
        pattern: r"(?P<what>VFS: Close: file count is 0)",
        example: "VFS: Close: file count is 0",
        near_miss: "VFS: Close: file counts",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "VFS: ",
        pattern: r"(?P<what>VFS: brelse: Trying to free free buffer)",
        example: "VFS: brelse: Trying to free free buffer",
        near_miss: "VFS: free free buffer",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "Leaked ",
        pattern: r"(?P<what>Leaked (?:locks|\S+ lock) on dev=)",
        example: "Leaked locks on dev=0x0:0x17 ino=0x2c1:",
        near_miss: "kmemleak: Leaked 0 objects",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "NULL!",
        pattern: r"(?P<what>alloc_fd: slot \d+ not NULL!)",
        example: "alloc_fd: slot 12 not NULL!",
        near_miss: "slot 12 not NULL!",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "fasync",
        pattern: r"(?P<what>\S+: fasync list not empty!)",
        example: "tun_chr_close: fasync list not empty!",
        near_miss: "the fasync list not empty",
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
        anchor: "Assertion failure",
        pattern: r"(?P<what>Assertion failure in [\w.$]+\(\))",
        example: "Assertion failure in jbd2_journal_commit_transaction() at fs/jbd2/commit.c:421: \"commit_transaction\"",
        near_miss: "test: Assertion failure in mine",
    },
    // mm/vmscan.c, mm/slab_common.c, mm/hugetlb.c, mm/memory.c, arch/x86/mm/fault.c, mm/internal.h, mm/page_alloc.c
    Rule {
        kind: Kind::Inconsistency,
        anchor: "shrink_slab",
        pattern: r"(?P<what>(?:vmscan: )?shrink_slab: \S+ negative objects to delete)",
        example: "vmscan: shrink_slab: super_cache_scan+0x0/0x1a0 negative objects to delete nr=-14",
        near_miss: "no negative objects to delete",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "Huge Page Reserved",
        pattern: r"(?P<what>(?:hugetlb: )?Huge Page Reserved count may go negative)",
        example: "hugetlb: Huge Page Reserved count may go negative.",
        near_miss: "the count may go negative",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "kmem_cache_destroy",
        pattern: r"(?P<what>kmem_cache_destroy \S+: Slab cache still has objects)",
        example: "kmem_cache_destroy ext4_inode: Slab cache still has objects",
        near_miss: "slub: it still has objects",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "Fixing recursive",
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
        anchor: "Fix your code",
        pattern: r"(?P<what>Unexpected gfp): .* Fix your code!",
        example: "Unexpected gfp: 0x4 (GFP_DMA32). Fixing up to gfp: 0xcc0 (GFP_KERNEL). Fix your code!",
        near_miss: "checkpatch: Fix your code!",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "PAGETABLE",
        pattern: r"(?P<what>PAGETABLE BUG #\d+)!",
        example: "PAGETABLE BUG #01! ffff888004a5bd20 <-> ffff888004a5bd28",
        near_miss: "kmemleak: PAGETABLE BUG",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "percpu_ref",
        pattern: r"(?P<what>\S+: \S+\(\): percpu_ref underflow)",
        example: "percpu_ref_switch_to_atomic_rcu: percpu_ref_switch_to_atomic_rcu(): percpu_ref underflow",
        near_miss: "no percpu_ref underflow",
    },
    // kernel/irq/spurious.c, arch/x86/kernel/irq.c, lib/irq_regs.c
    Rule {
        kind: Kind::Inconsistency,
        anchor: "nobody cared",
        pattern: r"(?P<what>irq \d+: nobody cared)",
        example: "irq 16: nobody cared (try booting with the \"irqpoll\" option)",
        near_miss: "poll: nobody cared",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "bogus return value",
        pattern: r"(?P<what>irq event \d+: bogus return value)",
        example: "irq event 16: bogus return value 2",
        near_miss: "a bogus return value",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "unexpected IRQ",
        pattern: r"(?P<what>unexpected IRQ trap at vector)",
        example: "unexpected IRQ trap at vector e9",
        near_miss: "no unexpected IRQ trap",
    },
    // kernel/sched/idle.c, kernel/sched/psi.c, kernel/time/timer.c
    Rule {
        kind: Kind::Inconsistency,
        anchor: "bad: sched",
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
        anchor: "wrong timeout",
        pattern: r"(?P<what>schedule_timeout: wrong timeout value)",
        example: "schedule_timeout: wrong timeout value ffffffffffff0000",
        near_miss: "watchdog: wrong timeout value",
    },
    // net/core/dev.c, net/core/neighbour.c, net/core/page_pool.c, net/ipv6/addrconf.c, lib/ref_tracker.c
    Rule {
        kind: Kind::Inconsistency,
        anchor: "Dead loop on",
        pattern: r"(?P<what>(?:ip_tunnel_core: )?Dead loop on virtual device)",
        example: "Dead loop on virtual device ip6gre0, fix it urgently!",
        near_miss: "no loop on virtual device lo",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "Virtual device",
        pattern: r"(?P<what>Virtual device) \S+ asks to queue packet!",
        example: "Virtual device team0 asks to queue packet!",
        near_miss: "lo: asks to queue packet!",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "buggy, dev",
        pattern: r"(?P<what>protocol [0-9a-f]{4} is buggy), dev ",
        example: "protocol 0800 is buggy, dev hsr0",
        near_miss: "that protocol is buggy, dev eth0",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "neighbour: ",
        pattern: r"(?P<what>neighbour: (?:neighbour leakage|Impossible event))",
        example: "neighbour: neighbour leakage",
        near_miss: "neighbour: arp_cache: neighbor table overflow!",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "page_pool",
        pattern: r"(?P<what>\S+\(\) page_pool refcnt -?\d+ violation)",
        example: "page_pool_empty_ring() page_pool refcnt 0 violation",
        near_miss: "page_pool_create() page_pool refcnt 1 is right",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "BUG: ",
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
        anchor: "seriously wrong",
        pattern: r"(?:kobject: )?(?P<what>kobject .*: tried to (?:init an initialized|add an uninitialized) object), something is seriously wrong",
        example: "kobject: kobject (ffff888004a5bd20): tried to init an initialized object, something is seriously wrong.",
        near_miss: "fwupd: something is seriously wrong",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "duplicate filename",
        pattern: r"(?P<what>sysfs: cannot create duplicate filename '[^']*')",
        example: "sysfs: cannot create duplicate filename '/devices/virtual/net/x'",
        near_miss: "debugfs: cannot create duplicate filename",
    },
    Rule {
        kind: Kind::Inconsistency,
        anchor: "Return address not found",
        pattern: r"(?:rethook: )+(?P<what>Return address not found)",
        example: "rethook: rethook: Return address not found! Maybe there is a bug in the kernel",
        near_miss: "gdb: Return address not found",
    },
];
