//! Deadlines, before and after the hello, and boots for want of memory.

use super::*;

#[test]
fn each_deadline_has_a_text_of_its_own() {
    for (which, booted, phase, text) in [
        (Deadline::Boot, false, Phase::Boot, "no line from the kernel within 1 s (--boot-timeout)"),
        (Deadline::Handshake, false, Phase::Boot, "no hello from the guest within 1 s (--handshake-timeout)"),
        (Deadline::Handshake, false, Phase::Prepare, "the fork was not ready within 1 s (--handshake-timeout)"),
        (Deadline::Start, true, Phase::Asked, "the guest did not start the scenario within 1 s"),
        (Deadline::Scenario, true, Phase::Running, "the scenario did not end within 1 s (--scenario-timeout)"),
        (Deadline::Silence, true, Phase::Running, "used no CPU time for 1 s (--silence-timeout)"),
        (Deadline::Goodbye, true, Phase::Leaving, "no goodbye from the guest within 1 s"),
        (Deadline::Exit, true, Phase::Running, "the guest closed its control port and did not end within 1 s"),
    ] {
        let mut case = case();
        case.loss = limit(which);
        (case.link.booted, case.link.phase, case.link.closed) = (booted, phase, which == Deadline::Exit);
        case.monitor.state = Some(Ok("running".to_owned()));
        case.qemu = QemuEnd::Lived { stopped: false };
        let verdict = of(&case.evidence());
        assert_eq!(verdict.label(), if booted { "TIMEOUT" } else { "NO-BOOT" });
        let detail = verdict.detail();
        assert!(detail.contains(text) && !detail.contains("QEMU says"), "{detail}");
    }
}

#[test]
fn a_boot_for_want_of_memory_is_the_labs_failure() {
    let judged = |console: &str| {
        let mut reader = ConsoleReader::default();
        reader.push(console.as_bytes());
        let mut case = case();
        case.link = Link { booted: false, phase: Phase::Boot, cut: None, closed: false };
        at_boot(
            &Evidence { console: Console::of(&reader), ..case.evidence() },
            &reader,
            Booted { memory_mib: 64, append: None, lacking: None },
        )
    };
    let linux = "[    0.0] Linux version 6.12.0\n";
    let no_root = "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n";
    for (console, label, text) in [
        (format!("{linux}[    1.0] Kernel panic - not syncing: System is deadlocked on memory\n"), "NO-BOOT", "64 MiB"),
        (
            format!("{linux}[    0.0] Kernel panic - not syncing: alloc_low_pages: can not alloc memory\n"),
            "NO-BOOT",
            "64 MiB",
        ),
        (format!("{linux}[    0.9] Initramfs unpacking failed: junk\n{no_root}"), "NO-BOOT", "64 MiB"),
        // Without that line it is no want of memory, nor is that line without the panic.
        (format!("{linux}{no_root}"), "CRASH", "Unable to mount root fs"),
        (format!("{linux}[    0.9] Initramfs unpacking failed: junk\n"), "NO-BOOT", "last line: [    0.9] Initramfs"),
        ("Decompressing Linux...\n".to_owned(), "NO-BOOT", "give it more with --memory"),
        // QEMU itself did not start.
        (String::new(), "NO-BOOT", "QEMU exited with 0"),
    ] {
        let verdict = judged(&console);
        assert!(verdict.label() == label && verdict.detail().contains(text), "{console}: {verdict:?}");
    }
    assert_eq!(judged("").detail(), "QEMU exited with 0 by itself before the guest's hello");
}

#[test]
fn a_parameter_that_limits_the_machine_is_named() {
    let judged = |console: &str, loss: Option<Mismatch>, append: &str| {
        let mut reader = ConsoleReader::default();
        reader.push(console.as_bytes());
        let mut case = case();
        case.loss = loss.map_or(case.loss, GuestLoss::WrongMachine);
        case.link = Link { booted: false, phase: Phase::Boot, cut: None, closed: false };
        let evidence = Evidence { console: Console::of(&reader), ..case.evidence() };
        at_boot(&evidence, &reader, Booted { memory_mib: 256, append: Some(append), lacking: None }).detail()
    };
    let deadlocked =
        "[    0.0] Linux version 6.12.0\n[    1.0] Kernel panic - not syncing: System is deadlocked on memory\n";
    let memory = || Some(Mismatch::Memory { guest_mib: 180, asked_mib: 256 });
    let cpus = || Some(Mismatch::Cpus { guest: 1, asked: 2 });
    for (console, loss, append, named) in [
        (deadlocked, None, "nokaslr mem=64M", "`mem=64M` in --append"),
        (deadlocked, None, "memmap=200M$16M", "`memmap=200M$16M` in --append"),
        ("Decompressing Linux...\n", None, "mem=4M", "`mem=4M` in --append"),
        ("", memory(), "mem=180M", "`mem=180M` in --append"),
        ("", cpus(), "mem=180M nosmp", "`nosmp` in --append"),
    ] {
        let detail = judged(console, loss, append);
        assert!(detail.contains(named) && !detail.contains("--memory"), "{append}: {detail}");
    }
    for (console, loss, append) in [(deadlocked, None, "nosmp"), ("", memory(), "nosmp"), ("", cpus(), "mem=180M")] {
        let detail = judged(console, loss, append);
        assert!(!detail.contains("--append"), "{append}: {detail}");
    }
}

#[test]
fn a_boot_without_the_drivers_for_the_port_names_them_as_the_cause() {
    let judged = |console: &str, loss: Option<GuestLoss>, qemu: QemuEnd, lacking: &LackingDrivers| {
        let mut reader = ConsoleReader::default();
        reader.push(console.as_bytes());
        let mut case = case();
        (case.loss, case.qemu) = (loss.unwrap_or(case.loss), qemu);
        case.link = Link { booted: false, phase: Phase::Boot, cut: None, closed: false };
        let evidence = Evidence { console: Console::of(&reader), ..case.evidence() };
        at_boot(&evidence, &reader, Booted { memory_mib: 256, append: None, lacking: Some(lacking) }).detail()
    };
    let lived = || QemuEnd::Lived { stopped: false };
    let modules = LackingDrivers::Modules { names: vec!["virtio_pci".to_owned(), "virtio_console".to_owned()] };
    let directory = LackingDrivers::Directory { looked_in: "/lib/modules/6.1.0".to_owned() };
    let named = "the kernel has virtio_pci and virtio_console neither built in nor among its modules";
    let linux = "[    0.0] Linux version 6.12.0\n";
    let no_port = format!("{linux}vmlab-init: no virtio-serial port named p appeared within 10000 ms\n");
    let late = || Some(limit(Deadline::Handshake));
    assert!(judged(&no_port, None, QemuEnd::Exited(0), &modules).contains(named));
    assert!(judged(linux, late(), lived(), &modules).contains(named));
    assert!(judged(&no_port, None, QemuEnd::Exited(0), &directory).contains("the kernel's modules were not found"));
    assert!(!judged(linux, late(), lived(), &directory).contains("modules"));
    // A kernel that has not begun, or a QEMU that was killed, has another cause.
    assert!(!judged("Decompressing Linux...\n", late(), lived(), &modules).contains("virtio_pci"));
    assert!(!judged(linux, None, QemuEnd::Killed(9), &modules).contains("virtio_pci"));
}
