//! Titles that begin with a task's name. A program chooses its name, and the name may look like the beginning of another
//! title, so these rules are tried first.

use super::Rule;
use crate::kind::Kind;

pub(super) const RULES: &[Rule] = &[
    Rule {
        kind: Kind::BadPage,
        anchor: "Corrupted page table",
        pattern: r"(?P<comm>(?s:.{0,15})): (?P<what>Corrupted page table) at address ",
        example: "init: Corrupted page table at address 7f1200345000",
        near_miss: "Corrupted page tables are looked for",
    },
    // mm/page_alloc.c, warn_alloc()
    Rule {
        kind: Kind::Warning,
        anchor: "page allocation failure",
        pattern: r"(?P<comm>(?s:.{0,15})): (?P<what>page allocation failure): order:",
        example: "sh: page allocation failure: order:4, mode:0x40dc0(GFP_KERNEL|__GFP_COMP|__GFP_ZERO), nodemask=(null),cpuset=/,mems_allowed=0",
        near_miss: "a page allocation failure is no crash",
    },
    Rule {
        kind: Kind::Oom,
        anchor: "invoked oom-killer",
        pattern: r"(?P<comm>(?s:.{0,15})) invoked oom-killer: gfp_mask=",
        example: "u invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0",
        near_miss: "the kernel has never invoked oom-killer: gfp_mask=0",
    },
];
