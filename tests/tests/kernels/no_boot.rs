//! Kernels that do not reach the hello, and their verdicts.

use vmlab_events::exit;
use vmlab_tests::outcome::Outcome;

use crate::{BOOKWORM, ONLY_HOSTNAME, TRIXIE, env, run};

#[test]
fn a_panic_while_booting_is_a_crash() {
    let env = env();
    let outcome = run(&env, &["--kernel", TRIXIE, ONLY_HOSTNAME, "--append", "rdinit=/nonexistent"]);
    outcome.exits(exit::CRASHED).has(
        "uts.hostname",
        "CRASH",
        "Kernel panic - not syncing: VFS: Unable to mount root fs",
    );
}

#[test]
fn too_little_memory_for_the_kernel_is_reported_with_the_option() {
    let env = env();
    let outcome = run(&env, &["--kernel", TRIXIE, "--kernel", BOOKWORM, ONLY_HOSTNAME, "--memory", "32"]);
    outcome.exits(exit::LAB);
    for report in outcome.reports() {
        let (word, detail) = (report.verdict.label(), report.verdict.detail());
        assert_eq!(word, "NO-BOOT", "{}", outcome.ended);
        assert!(detail.contains("it has 32 MiB, give it more with --memory"), "{detail}");
        assert!(detail.contains("QEMU shut down (guest-reset)"), "{detail}");
    }
}

#[test]
fn too_little_memory_for_the_image_is_reported_with_the_option() {
    let env = env();
    let outcome = run(&env, &["--kernel", TRIXIE, ONLY_HOSTNAME, "--memory", "72"]);
    outcome.exits(exit::LAB).has("uts.hostname", "NO-BOOT", "it has 72 MiB, give it more with --memory");
}

/// Runs a kernel whose command line disables the driver of virtio ports. PID 1 must not wait for a port that cannot appear:
/// it would wait for longer than the host does.
fn without_ports(kernel: &str, hidden: &str) -> Outcome {
    let env = env();
    let append = format!("{hidden} vmlab.port_timeout_ms=86400000");
    let outcome = run(&env, &["--kernel", kernel, ONLY_HOSTNAME, "--append", &append]);
    let text = "the guest has no control port: its kernel has no working virtio-console driver";
    outcome.exits(exit::LAB).has("uts.hostname", "NO-BOOT", text);
    outcome
}

#[test]
fn a_kernel_without_builtin_virtio_console_is_no_boot() {
    let outcome = without_ports(TRIXIE, "initcall_blacklist=virtio_console_init");
    outcome.has("uts.hostname", "NO-BOOT", "virtio devices: virtio0; ports: none");
}

#[test]
fn a_kernel_that_refuses_the_virtio_console_module_is_no_boot() {
    let outcome = without_ports(BOOKWORM, "module_blacklist=virtio_console");
    outcome.has("uts.hostname", "NO-BOOT", "cannot load the module /modules/virtio_console.ko: EPERM");
}
