//! Titles of panics (kernel/panic.c, init/main.c, init/do_mounts.c).

use super::Rule;
use crate::kind::Kind;

pub(super) const ANCHOR: &str = "Kernel panic - not syncing";

pub(super) const RULES: &[Rule] = &[
    Rule {
        kind: Kind::InitDied,
        anchor: ANCHOR,
        pattern: r"Kernel panic - not syncing: Attempted to kill init!(?: exitcode=0x(?P<what>[0-9a-f]+))?",
        example: "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
        near_miss: "---[ end Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b ]---",
    },
    Rule {
        kind: Kind::NoRoot,
        anchor: ANCHOR,
        pattern: r"Kernel panic - not syncing: (?:VFS: Unable to mount root fs|VFS: Insert root floppy|.*[Uu]nable to mount root)",
        example: "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
        near_miss: "VFS: Cannot open root device \"(null)\" or unknown-block(0,0): error -6",
    },
    Rule {
        kind: Kind::NoInit,
        anchor: ANCHOR,
        pattern: r"Kernel panic - not syncing: (?:No (?:working )?init found|Requested init )",
        example: "Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.",
        near_miss: "Run /sbin/init as init process",
    },
    Rule {
        kind: Kind::StackOverflow,
        anchor: ANCHOR,
        pattern: r"Kernel panic - not syncing: (?P<what>stack-protector: Kernel stack is corrupted|corrupted (?:shadow )?stack end|(?:kernel )?stack overflow|low stack detected|.{0,40} stack guard hit)",
        example: "Kernel panic - not syncing: corrupted stack end detected inside scheduler",
        near_miss: "Stack Depot early init allocating hash table with memblock_alloc, 65536 bytes",
    },
    Rule {
        kind: Kind::MachineCheck,
        anchor: ANCHOR,
        pattern: r"Kernel panic - not syncing: (?P<what>(?:Fatal )?(?:local )?[Mm]achine check|MCA|Timeout: Not all CPUs|Panicing machine check)",
        example: "Kernel panic - not syncing: Fatal machine check",
        near_miss: "mce: CPU supports 10 MCE banks",
    },
    Rule {
        kind: Kind::Panic,
        anchor: ANCHOR,
        pattern: r"Kernel panic - not syncing: (?P<what>.{1,120})",
        example: "Kernel panic - not syncing: sysrq triggered crash",
        near_miss: "Kernel command line: oops=panic panic=-1 console=ttyS0 Kernel panic - not syncing: x",
    },
];
