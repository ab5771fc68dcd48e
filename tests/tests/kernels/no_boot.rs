//! Kernels that do not get as far as the first word, and what is said of them.

use vmlab_events::exit;
use vmlab_tests::lab::Outcome;

use crate::{BOOKWORM, ONLY_HOSTNAME, TRIXIE, bench, run};

#[test]
fn a_panic_while_booting() {
    let bench = bench();
    let outcome = run(&bench, &["--kernel", TRIXIE, ONLY_HOSTNAME, "--append", "rdinit=/nonexistent"]);
    outcome.exits(exit::CRASHED).has(
        "uts.hostname",
        "CRASH",
        "Kernel panic - not syncing: VFS: Unable to mount root fs",
    );
}

#[test]
fn too_little_memory_to_reach_the_kernel() {
    let bench = bench();
    let outcome = run(&bench, &["--kernel", TRIXIE, "--kernel", BOOKWORM, ONLY_HOSTNAME, "--memory", "32"]);
    outcome.exits(exit::LAB);
    for report in outcome.reports() {
        let (word, detail) = (report.verdict.label(), report.verdict.detail());
        assert_eq!(word, "NO-BOOT", "{}", outcome.ended);
        assert!(detail.contains("it has 32 MiB, give it more with --memory"), "{detail}");
        assert!(detail.contains("QEMU shut down (guest-reset)"), "{detail}");
    }
}

#[test]
fn too_little_memory_for_the_image() {
    let bench = bench();
    let outcome = run(&bench, &["--kernel", TRIXIE, ONLY_HOSTNAME, "--memory", "72"]);
    outcome.exits(exit::LAB).has("uts.hostname", "NO-BOOT", "it has 72 MiB, give it more with --memory");
}

/// On a kernel that hides the driver of the ports by these words on its command line.
fn without_ports(kernel: &str, hidden: &str) -> Outcome {
    let bench = bench();
    let append = format!("{hidden} vmlab.port_timeout_ms=1000");
    let outcome = run(&bench, &["--kernel", kernel, ONLY_HOSTNAME, "--append", &append]);
    let words = "PID 1 said on the console: no virtio-serial port named org.vmlab.control.0 appeared within 1000 ms";
    outcome.exits(exit::LAB).has("uts.hostname", "NO-BOOT", words);
    outcome
}

#[test]
fn no_virtio_console_built_in() {
    let outcome = without_ports(TRIXIE, "initcall_blacklist=virtio_console_init");
    outcome.has("uts.hostname", "NO-BOOT", "virtio devices: virtio0; ports: none");
}

#[test]
fn no_virtio_console_as_a_module() {
    let outcome = without_ports(BOOKWORM, "module_blacklist=virtio_console");
    outcome.has("uts.hostname", "NO-BOOT", "cannot load the module /modules/virtio_console.ko: EPERM");
}
