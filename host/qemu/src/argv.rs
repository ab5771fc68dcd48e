//! QEMU's command line. Pure: what is passed in decides every word, so that a test can hold it fast.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use vmlab_protocol::CONTROL_PORT;
use vmlab_protocol::message::CONSOLE_LEVEL;

use super::accel::Accelerator;

/// The machine that a guest is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// What runs the guest's instructions.
    pub accelerator: Accelerator,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Number of processors.
    pub cpus: u32,
}

/// What a guest boots.
#[derive(Debug, Clone, Copy)]
pub struct Boot<'a> {
    /// bzImage or vmlinux.
    pub kernel: &'a Path,
    /// The initramfs.
    pub initrd: &'a Path,
    /// How long PID 1 waits for the control port, in ms.
    pub port_timeout_ms: u64,
    /// More words for the kernel's command line, as the user gave them.
    pub append: Option<&'a str>,
}

/// How a guest comes to be.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// By booting.
    Boot(Boot<'a>),
    /// By booting with its memory in a file, so that it can be saved as a template.
    Template(Boot<'a>, &'a Path),
    /// As a fork of the template whose memory is in the file: it reads that, and writes to pages of its own.
    Fork(&'a Path),
}

/// Numbers of the descriptors that QEMU inherits; the first two are each one end of a connected stream socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// The control port.
    pub control: i32,
    /// QMP.
    pub qmp: i32,
    /// The console: the end of a pipe that is written to.
    pub console: i32,
    /// A fork's device state, a file to read.
    pub state: i32,
}

/// The descriptors as vmlab passes them: the first after the standard streams.
pub const DESCRIPTORS: Descriptors = Descriptors { control: 3, qmp: 4, console: 5, state: 6 };

/// QEMU's arguments, without its own name.
#[must_use]
pub fn arguments(machine: &Machine, start: Start<'_>, fds: Descriptors) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::with_capacity(48);
    let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));
    add(&["-name", "vmlab", "-nodefaults", "-no-user-config", "-display", "none"]);
    // A guest that panics, resets or switches off is paused, so that its registers and its memory can be had; vmlab ends
    // QEMU. Whoever sends QEMU itself a signal ends it all the same.
    add(&["-action", "reboot=shutdown,shutdown=pause,panic=pause"]);
    // QEMU needs no new process and no privilege once it runs; what breaks out of the guest gets neither.
    add(&["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
    // A fork must be the same machine as its template, device for device.
    add(&["-machine", if matches!(start, Start::Boot(_)) { "q35" } else { "q35,memory-backend=ram" }]);
    add(&["-accel", machine.accelerator.name(), "-cpu", cpu(machine)]);
    add(&["-m", &format!("{}M", machine.memory_mib), "-smp", &machine.cpus.to_string()]);
    add(&["-chardev", &format!("socket,id=control,fd={}", fds.control)]);
    add(&["-chardev", &format!("socket,id=qmp,fd={}", fds.qmp)]);
    // In a socket each byte of the serial line would be a message of its own, and some 280 of them fill it: then the kernel
    // waits for its line for a while, and goes on without what it had to say (`wait_for_xmitr` in its
    // drivers/tty/serial/8250/8250_port.c). A pipe holds as many bytes as it says.
    // QEMU would truncate a file that it is not to append to, which a pipe refuses.
    add(&["-add-fd", &format!("fd={},set=1", fds.console)]);
    add(&["-chardev", "file,id=console,path=/dev/fdset/1,append=on"]);
    add(&["-mon", "chardev=qmp,mode=control"]);
    add(&["-serial", "chardev:console"]);
    add(&["-device", "virtio-serial-pci,max_ports=2"]);
    add(&["-device", &format!("virtserialport,chardev=control,name={CONTROL_PORT}")]);
    // The kernel tells the first of a panic, and leaves with the second what a debugger needs to know of its memory. Both
    // are found through ACPI, by modules that Debian's kernels have.
    add(&["-device", "pvpanic", "-device", "vmcoreinfo"]);
    match start {
        Start::Boot(boot) => add_boot(&mut args, &boot),
        Start::Template(boot, ram) => {
            add_memory(&mut args, machine, ram, "on");
            add_boot(&mut args, &boot);
        }
        Start::Fork(ram) => {
            add_memory(&mut args, machine, ram, "off");
            // It stays paused until it is woken: its clock does not run while it waits for work.
            args.extend(["-incoming", "defer", "-S"].map(OsString::from));
        }
    }
    args
}

fn add_boot(args: &mut Vec<OsString>, boot: &Boot<'_>) {
    args.extend(["-kernel".into(), boot.kernel.into(), "-initrd".into(), boot.initrd.into()]);
    args.extend(["-append".into(), command_line(boot).into()]);
}

/// Guest memory in a file: `share=on` writes to it, `share=off` maps it privately.
fn add_memory(args: &mut Vec<OsString>, machine: &Machine, file: &Path, share: &str) {
    let mut value =
        OsString::from(format!("memory-backend-file,id=ram,size={}M,share={share},mem-path=", machine.memory_mib));
    // QEMU reads a doubled comma as one that is no separator (qemu(1), "-object").
    let path = file.as_os_str().as_bytes();
    let doubled = path.iter().flat_map(|&byte| std::iter::repeat_n(byte, if byte == b',' { 2 } else { 1 }));
    value.push(OsString::from_vec(doubled.collect()));
    args.extend(["-object".into(), value]);
}

/// The processor model.
const fn cpu(machine: &Machine) -> &'static str {
    match (machine.accelerator, machine.cpus) {
        (Accelerator::Kvm, _) => "host",
        // TCG of QEMU 7.2 moves one byte after the other for `rep movsb`, which a kernel takes for all copying where the
        // processor says that it is quick (ERMS, FSRM), and does PCLMULQDQ, for checksums, bit by bit. Without the
        // first two the link's throughput from the guest rose from 43 to 100 and from 57 to 66 MB/s (medians of two series
        // in turn, 6.12, a noisy machine), without the third from 72 to 81 and from 63 to 74; forks were no slower.
        (Accelerator::Tcg, 1) => "max,erms=off,fsrm=off,pclmulqdq=off",
        // Under TCG of QEMU 7.2 with two or more processors, stock 6.12 died in early boot about once in six, in SLUB
        // right after a cmpxchg16b; without that instruction 50 of 50 boots were good.
        (Accelerator::Tcg, _) => "max,erms=off,fsrm=off,pclmulqdq=off,cx16=off",
    }
}

/// The longest command line that an x86 kernel takes, in bytes (`COMMAND_LINE_SIZE` of arch/x86/include/asm/setup.h,
/// which counts a NUL); it cuts a longer one, or does not boot at all.
pub const COMMAND_LINE_LIMIT: usize = 2047;

/// The kernel's name for the serial line.
pub const CONSOLE: &str = "ttyS0";

/// The first of the user's words by which a kernel would not print its warnings, or not so that they are found behind what
/// a program left on the same line (Documentation/admin-guide/kernel-parameters.txt, "quiet", "loglevel" and
/// "printk.time"), wherever it stands among them.
#[must_use]
pub fn hushing_word(append: &str) -> Option<&str> {
    append.split_whitespace().find(|word| {
        // The kernel takes quotes around a word away (lib/cmdline.c, next_arg).
        let word = word.replace('"', "");
        let level = word.strip_prefix("loglevel=").map(|level| level.parse::<u32>().unwrap_or_default());
        // As the kernel reads a switch (kstrtobool of lib/kstrtox.c).
        let stamps = word
            .strip_prefix("printk.time=")
            .map(|on| on.starts_with(['y', 'Y', 't', 'T', '1']) || on.to_lowercase().starts_with("on"));
        word == "quiet" || level.is_some_and(|level| level < CONSOLE_LEVEL) || stamps == Some(false)
    })
}

/// How long the kernel's command line is with the user's words, in bytes.
#[must_use]
pub fn command_line_bytes(append: &str) -> usize {
    let nowhere = Path::new("");
    let boot = Boot { kernel: nowhere, initrd: nowhere, port_timeout_ms: u64::MAX, append: Some(append) };
    command_line(&boot).len()
}

/// The kernel's command line (Documentation/admin-guide/kernel-parameters.txt).
fn command_line(boot: &Boot<'_>) -> String {
    let mut words = vec![
        format!("console={CONSOLE}"),
        // What dies before the serial driver is up says so all the same.
        format!("earlyprintk={CONSOLE}"),
        // Warnings and worse; each line more costs time under an emulator.
        format!("loglevel={CONSOLE_LEVEL}"),
        // A crash ends the guest at once: a reboot is its end, by `-action`.
        "oops=panic".to_owned(),
        "panic=-1".to_owned(),
        "reboot=t".to_owned(),
        // A kernel that is locked up may not tell it by itself: from Linux 7.x on (seen with 7.3) a thread prints on the
        // serial line (`pr/ttyS0`), and has no processor then. In a panic it prints at once.
        "softlockup_panic=1".to_owned(),
        // The kernel's check whether its timer interrupts come counts them during a delay that it takes by the TSC. An
        // emulator that is not scheduled meanwhile brings too few, and the kernel panics: "IO-APIC + timer doesn't work!",
        // seen in 4 of some 40 boots on a machine with a load of 8 or more on 2 processors. Under KVM the kernel leaves the
        // check out by itself (arch/x86/kernel/kvm.c, paravirt_ops_setup).
        "no_timer_check".to_owned(),
        // The agent's words go through the kernel's log, however much was written to that before.
        "printk.devkmsg=on".to_owned(),
        // What a program writes on the console need not end its line; the kernel's own words begin behind their stamp.
        "printk.time=1".to_owned(),
        // With the kernel's self-tests of its cryptography a boot takes 1.25 (6.12) and 1.17 (6.1) times as long (processor
        // time of a whole run under TCG, 10 and 8 pairs; a run against itself: 0.93 and 1.03). Fifteen other sets of
        // words that skip probing differed no more than that (tsc, lpj, raid, pci, i8042, 8250, libata, KASLR, IOMMU,
        // RCU, noreplace-smp, nosmp, hashdist, random, init_on_alloc).
        "cryptomgr.notests".to_owned(),
        format!("vmlab.port_timeout_ms={}", boot.port_timeout_ms),
    ];
    words.extend(boot.append.map(str::to_owned));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(accelerator: Accelerator, cpus: u32) -> String {
        let machine = Machine { accelerator, memory_mib: 256, cpus };
        let boot = Boot {
            kernel: Path::new("/k/vmlinuz"),
            initrd: Path::new("/i.cpio"),
            port_timeout_ms: 10_000,
            append: Some("nokaslr"),
        };
        let words = arguments(&machine, Start::Boot(boot), DESCRIPTORS);
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn one_processor_under_tcg() {
        insta::assert_snapshot!(line(Accelerator::Tcg, 1));
    }

    #[test]
    fn several_processors_under_tcg_do_without_cmpxchg16b() {
        assert!(line(Accelerator::Tcg, 2).contains("\nmax,erms=off,fsrm=off,pclmulqdq=off,cx16=off\n"));
    }

    #[test]
    fn template_and_fork_are_the_same_machine_but_for_how_they_start() {
        let machine = Machine { accelerator: Accelerator::Tcg, memory_mib: 256, cpus: 1 };
        let boot = Boot { kernel: Path::new("/k"), initrd: Path::new("/i"), port_timeout_ms: 1, append: None };
        let text = |start| {
            let words = arguments(&machine, start, DESCRIPTORS);
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let ram = Path::new("/c/a,b/ram");
        let (template, fork) = (text(Start::Template(boot, ram)), text(Start::Fork(ram)));
        let at = template.iter().position(|word| word == "-object").unwrap();
        assert_eq!(template[..at], fork[..at]);
        let memory = "memory-backend-file,id=ram,size=256M,share=off,mem-path=/c/a,,b/ram";
        assert_eq!(fork[at + 1..], [memory, "-incoming", "defer", "-S"]);
        assert_eq!(template[at + 1], memory.replace("share=off", "share=on"));
    }

    #[test]
    fn words_that_hush_the_kernel_are_found_and_others_are_not() {
        for words in [
            "quiet",
            "a quiet",
            "loglevel=4",
            "loglevel=0x7 a",
            "loglevel=",
            "\"quiet\"",
            "loglevel=\"3\"",
            "printk.time=off",
        ] {
            assert!(hushing_word(words).is_some(), "{words}");
        }
        for words in [
            "",
            "loglevel=5",
            "loglevel=8 debug",
            "quietly",
            "fsck.quiet=1",
            "ignore_loglevel",
            "printk.time=on printk.time",
        ] {
            assert_eq!(hushing_word(words), None);
        }
    }

    #[test]
    fn kvm_takes_the_host_processor() {
        assert!(line(Accelerator::Kvm, 4).contains("-accel\nkvm\n-cpu\nhost\n"));
    }
}
