//! The table of emulator quirks: faults of QEMU's accelerators, the versions that have them, and the work-arounds that
//! every guest on such a QEMU gets. [`crate::argv`] applies the table, so a template's key depends on it.
//!
//! A work-around is always in force on a QEMU in its range: no option of vmlab's removes it. A fault in the table is
//! therefore no explanation for a crash, and crashes need not be compared with the table. Each entry
//! has a work-around; one without would need such a comparison.

use crate::accelerator::Accelerator;
use crate::qemu::QemuVersion;

/// A fault of an emulator.
#[derive(Debug, PartialEq, Eq)]
pub struct Quirk {
    /// The name, for lists and logs.
    pub name: &'static str,
    /// The accelerator with the fault.
    pub accelerator: Accelerator,
    /// The first version without the fault; None if no version is known to be without it. The first version with the
    /// fault is older than every QEMU that vmlab supports.
    pub mended_in: Option<QemuVersion>,
    /// The smallest number of CPUs with which a machine has the fault.
    pub cpus: u32,
    /// What the fault does, in one clause.
    pub fault: &'static str,
    /// The work-around.
    pub workaround: Workaround,
    /// The source of the fact and of the range.
    pub evidence: &'static str,
}

/// How guests avoid a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workaround {
    /// Properties of QEMU's `-cpu`.
    Cpu(&'static [&'static str]),
    /// A parameter for the kernel's command line.
    Parameter(&'static str),
    /// A property of QEMU's `-accel`.
    Accelerator(&'static str),
}

impl Workaround {
    /// The properties or the parameter, for example `erms=off,fsrm=off`.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Cpu(properties) => properties.join(","),
            Self::Parameter(text) | Self::Accelerator(text) => text.to_owned(),
        }
    }
}

/// The table. The order is that of the arguments.
pub static QUIRKS: [Quirk; 5] = [
    Quirk {
        name: "slow-string-copy",
        accelerator: Accelerator::Tcg,
        mended_in: None,
        cpus: 1,
        fault: "`rep movsb` is executed byte by byte",
        workaround: Workaround::Cpu(&["erms=off", "fsrm=off"]),
        evidence: "Kernels copy with `rep movsb` if the CPU has ERMS or FSRM. Link throughput from the guest, with \
                   against without ERMS and FSRM: 43 against 100 MB/s and 57 against 66 MB/s (medians of two \
                   interleaved series, 6.12, QEMU 7.2, noisy machine). Forks were no slower without them. Versions \
                   after 7.2 were not measured, so the range is open.",
    },
    Quirk {
        name: "slow-carryless-multiply",
        accelerator: Accelerator::Tcg,
        mended_in: None,
        cpus: 1,
        fault: "PCLMULQDQ, used for checksums, is executed bit by bit",
        workaround: Workaround::Cpu(&["pclmulqdq=off"]),
        evidence: "Link throughput from the guest, with against without PCLMULQDQ: 72 against 81 MB/s and 63 against 74 \
                   MB/s (medians of two interleaved series, 6.12, QEMU 7.2, noisy machine). Versions after 7.2 were \
                   not measured, so the range is open.",
    },
    Quirk {
        name: "cmpxchg16b-flags",
        accelerator: Accelerator::Tcg,
        mended_in: Some(QemuVersion { major: 8, minor: 0, micro: 0 }),
        cpus: 1,
        fault: "CMPXCHG16B spoils the CPU's flags, and kernels crash in early boot",
        workaround: Workaround::Cpu(&["cx16=off"]),
        evidence: "The helper computes the flags from `env->cc_op`, which the translator has not updated (7.2, \
                   target/i386/tcg/mem_helper.c, helper_cmpxchg16b; translate.c, case 0x1c7). The operand of an \
                   earlier comparison becomes EFLAGS: a program that executes `cmp`, `cmpxchg16b` and `pushfq` reads \
                   0x37fff, the operand, under 7.2.22. SLUB executes the instruction in each allocation, so kernels \
                   die in kmem_cache_alloc with a garbage EFLAGS: 6.12.95 in 4 of 12 boots with 1 CPU, 6.12.1xx in 6 \
                   of 35 with 2 CPUs, and in 0 of 12 and 0 of 50 with cx16=off. QEMU commit 5f0dd8cd33cb \
                   (target/i386: Inline cmpxchg16b), merged in February 2023 for 8.0, computes the flags in \
                   translated code, which updates cc_op first; no 7.2 stable release has it (7.2.22 fails). \
                   CMPXCHG8B has the same fault; kernels for x86-64 do not boot without it, and do not depend on \
                   the flags that it spoils.",
    },
    Quirk {
        name: "timer-check",
        accelerator: Accelerator::Tcg,
        mended_in: None,
        cpus: 1,
        fault: "timer interrupts are late if the host is busy, and the kernel's timer check panics",
        workaround: Workaround::Parameter("no_timer_check"),
        evidence: "The check counts interrupts during a delay that the TSC measures. An emulator that gets no processor \
                   in that time delivers too few, and the kernel panics with \"IO-APIC + timer doesn't work!\": 4 of \
                   some 40 boots with a load of 8 or more on 2 CPUs (QEMU 7.2). Under KVM the kernel skips the check \
                   (arch/x86/kernel/kvm.c, paravirt_ops_setup). The cause is the host's scheduling, so the range is \
                   open.",
    },
    Quirk {
        name: "stale-translation",
        accelerator: Accelerator::Tcg,
        mended_in: Some(QemuVersion { major: 8, minor: 1, micro: 0 }),
        cpus: 2,
        fault: "a CPU executes code that another CPU has replaced, and kernels die of an int3 while they patch themselves",
        workaround: Workaround::Accelerator("thread=single"),
        evidence: "The translator reads a page of code before it takes the page's lock. A CPU that writes there in the \
                   meantime finds no translation to discard, and the old code is entered afterwards and kept (7.2, \
                   accel/tcg/translate-all.c: tb_gen_code calls tb_link_page last). Kernels replace a jump label by an \
                   int3 for a moment; a CPU that keeps the int3 dies with \"Oops: int3\": 2 of some 400 jobs with 2 CPUs under 7.2.22, in __alloc_pages_noprof of 6.12 and \
                   sched_clock_cpu of 7.3. QEMU commit deba78709ae8 (accel/tcg: Always lock pages before \
                   translation), merged in July 2023 for 8.1, takes the lock first; reported in the thread \
                   \"qemu-x86_64 booting with 8.0.0 stil see int3\" of linux-kernel. With one thread for all CPUs, \
                   none writes while another is translated.",
    },
];

impl Quirk {
    /// Whether a machine with this accelerator of this QEMU and this number of CPUs has the fault.
    fn affects(&self, accelerator: Accelerator, version: QemuVersion, cpus: u32) -> bool {
        self.accelerator == accelerator && self.mended_in.is_none_or(|mended| version < mended) && cpus >= self.cpus
    }
}

/// The quirks of machines with this accelerator of this QEMU and this number of CPUs, in the order of the table.
pub fn in_force(accelerator: Accelerator, version: QemuVersion, cpus: u32) -> impl Iterator<Item = &'static Quirk> {
    QUIRKS.iter().filter(move |quirk| quirk.affects(accelerator, version, cpus))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::qemu::MINIMUM;

    const fn version(major: u32, minor: u32, micro: u32) -> QemuVersion {
        QemuVersion { major, minor, micro }
    }

    fn workarounds(accelerator: Accelerator, version: QemuVersion) -> Vec<String> {
        in_force(accelerator, version, 1).map(|quirk| quirk.workaround.text()).collect()
    }

    fn tcg_has(workaround: &str, version: QemuVersion) -> bool {
        workarounds(Accelerator::Tcg, version).iter().any(|text| text == workaround)
    }

    #[test]
    fn string_copies_avoid_erms_and_fsrm_on_every_tcg() {
        for version in [MINIMUM, version(7, 2, 22), version(11, 0, 1)] {
            assert!(tcg_has("erms=off,fsrm=off", version), "{version}");
        }
    }

    #[test]
    fn checksums_avoid_carryless_multiplication_on_every_tcg() {
        for version in [MINIMUM, version(7, 2, 22), version(11, 0, 1)] {
            assert!(tcg_has("pclmulqdq=off", version), "{version}");
        }
    }

    #[test]
    fn cmpxchg16b_is_hidden_under_tcg_before_8_0_and_only_there() {
        for version in [MINIMUM, version(7, 1, 0), version(7, 2, 22), version(7, 2, 93)] {
            assert!(tcg_has("cx16=off", version), "{version}");
        }
        for version in [version(8, 0, 0), version(8, 0, 5), version(10, 2, 0)] {
            assert!(!tcg_has("cx16=off", version), "{version}");
        }
    }

    #[test]
    fn the_timer_check_is_skipped_on_every_tcg() {
        for version in [MINIMUM, version(7, 2, 22), version(11, 0, 1)] {
            assert!(tcg_has("no_timer_check", version), "{version}");
        }
    }

    #[test]
    fn kvm_needs_no_workaround_on_any_version() {
        for version in [MINIMUM, version(7, 2, 22), version(11, 0, 1)] {
            assert_eq!(in_force(Accelerator::Kvm, version, 64).next(), None);
        }
    }

    #[test]
    fn several_cpus_share_a_thread_before_8_1() {
        let shares = |version, cpus| {
            in_force(Accelerator::Tcg, version, cpus).any(|quirk| quirk.workaround.text() == "thread=single")
        };
        for old in [MINIMUM, version(7, 2, 22), version(8, 0, 5)] {
            assert!(!shares(old, 1) && shares(old, 2) && shares(old, 64), "{old}");
        }
        for new in [version(8, 1, 0), version(10, 0, 2)] {
            assert!(!shares(new, 2), "{new}");
        }
    }

    #[test]
    fn names_are_unique_and_entries_complete() {
        let names: BTreeSet<_> = QUIRKS.iter().map(|quirk| quirk.name).collect();
        assert_eq!(names.len(), QUIRKS.len());
        for Quirk { name, fault, workaround, evidence, .. } in &QUIRKS {
            assert!(!fault.is_empty() && !workaround.text().is_empty(), "{name}");
            assert!(evidence.contains("7.2"), "{name}: the evidence names no version of QEMU");
        }
    }
}
