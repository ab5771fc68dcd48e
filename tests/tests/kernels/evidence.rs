//! The evidence of lost guests from real kernels and a real QEMU.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::Signal;
use vmlab_events::event::LabEvent;
use vmlab_events::exit;
use vmlab_events::loss::{LossReport, QemuEnd, ShutdownReason};
use vmlab_tests::env::{TestEnv, events_so_far};
use vmlab_tests::outcome::Outcome;

use crate::{BOOKWORM, ONLY_HOSTNAME, TRIXIE, arguments, env, events_file, run};

/// A script that starts QEMU with a second monitor at this socket, through which a test can harm the guest.
fn with_monitor(env: &TestEnv, socket: &Path) -> String {
    let path = env.home().join("qemu.sh");
    let real = std::env::var("VMLAB_QEMU").unwrap_or_else(|_| "qemu-system-x86_64".to_owned());
    let monitor =
        format!("-chardev socket,id=t,path={},server=on,wait=off -mon chardev=t,mode=control", socket.display());
    let body = format!("[ \"$1\" = --version ] && exec {real} \"$@\"\nexec {real} \"$@\" {monitor}");
    // A child process writes the file, see FakeLab::script.
    let mut writer = env.command("sh");
    writer.args(["-c", "printf '%s\\n' '#!/bin/sh' \"$2\" >\"$1\" && chmod 755 \"$1\"", "sh"]);
    assert!(writer.arg(&path).arg(body).status().unwrap().success());
    path.to_str().unwrap().to_owned()
}

/// Sends commands to a monitor, and waits for each answer.
fn command(socket: &Path, commands: &[&str]) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for command in ["qmp_capabilities"].iter().chain(commands) {
        stream.write_all(format!("{{\"execute\": \"{command}\"}}\n").as_bytes()).unwrap();
        while !lines.next().unwrap().unwrap().contains("\"return\"") {}
    }
}

/// Runs one scenario on a kernel that panics at a non-maskable interrupt, and sends such an interrupt when the guest is ready.
/// vmlab is stopped meanwhile, so that the guest cannot finish before.
fn interrupted_by_nmi(kernel: &str, more: &[&str]) -> (TestEnv, Outcome) {
    let env = env();
    let socket = env.home().join("monitor");
    let qemu = with_monitor(&env, &socket);
    let fixed = ["--kernel", kernel, "--isolation", "boot", ONLY_HOSTNAME, "--qemu", &qemu];
    let all = [&fixed[..], &["--append", "unknown_nmi_panic=1"], more].concat();
    let mut running = env.start(&arguments(&env, &all));
    let file = events_file(&env);
    running.until("the guest", || {
        let ready = |event: &LabEvent| matches!(event, LabEvent::GuestReady { .. });
        events_so_far(&file).iter().any(|stamped| ready(&stamped.event)).then_some(())
    });
    running.signal(Signal::SIGSTOP);
    command(&socket, &["inject-nmi"]);
    running.signal(Signal::SIGCONT);
    let outcome = Outcome::of(&env, &file, running.wait());
    (env, outcome)
}

fn loss(outcome: &Outcome) -> &LossReport {
    outcome.exits(exit::CRASHED).has("uts.hostname", "CRASH", "Kernel panic - not syncing: NMI");
    outcome.loss()
}

#[test]
fn kernels_report_a_panic_to_qemu_and_vmlab_reads_their_registers() {
    for kernel in [BOOKWORM, TRIXIE] {
        let (_env, outcome) = interrupted_by_nmi(kernel, &[]);
        let loss = loss(&outcome);
        assert!(loss.panic_reported, "{kernel}: {}", outcome.ended);
        assert_eq!(
            (loss.shutdown.as_ref().map(ShutdownReason::name), &loss.qemu),
            (Some("guest-reset"), &QemuEnd::Lived { stopped: false })
        );
        let registers = loss.registers.as_deref().unwrap();
        assert!(registers.contains("CPU#0") && registers.contains("RIP=ffffffff"), "{registers}");
        // The kernel continued after that, and printed the rest of its panic.
        assert!(loss.console.iter().any(|line| line.contains("Kernel Offset")), "{:?}", loss.console);
    }
}

#[test]
fn a_panicked_guests_memory_is_an_elf_core_with_the_kernels_own_note() {
    let (_env, outcome) = interrupted_by_nmi(TRIXIE, &["--dump"]);
    let vmcore = loss(&outcome).vmcore.clone().unwrap();
    assert!(vmcore.bytes >= 256 << 20, "{vmcore:?}");
    let core = fs::read(&vmcore.path).unwrap();
    // e_ident and e_type of elf(5): 64 bits, little-endian, a core.
    assert_eq!((&core[..6], &core[16..18]), (&b"\x7fELF\x02\x01"[..], &[4, 0][..]));
    // The kernel's own note has what a debugger needs (Documentation/admin-guide/kdump/vmcoreinfo.rst). Notes precede the
    // memory.
    let notes = String::from_utf8_lossy(&core[..64 << 10]);
    for words in ["VMCOREINFO", "OSRELEASE=6.12.", "KERNELOFFSET=", "SYMBOL(init_uts_ns)="] {
        assert!(notes.contains(words), "{words} is missing");
    }
}

#[test]
fn a_panic_before_any_module_leaves_registers_as_well() {
    let env = env();
    let outcome = run(&env, &["--kernel", TRIXIE, ONLY_HOSTNAME, "--append", "rdinit=/nonexistent"]);
    outcome.exits(exit::CRASHED);
    let loss = outcome.loss();
    assert!(!loss.panic_reported && loss.registers.as_deref().is_some_and(|text| text.contains("RIP=")), "{loss:?}");
    assert!(loss.console.iter().any(|line| line.contains("Unable to mount root fs")), "{:?}", loss.console);
}
