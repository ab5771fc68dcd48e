//! QEMU's command line. Pure: the arguments depend only on the parameters, so that tests can compare them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use vmlab_protocol::message::CONSOLE_LEVEL;
use vmlab_protocol::{CONTROL_PORT, FILES_PORT};

use super::accelerator::Accelerator;
use super::devices::{self, Disk};
use super::qemu::QemuVersion;
use super::quirks::{self, Workaround};

/// A guest's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The accelerator that executes the guest's instructions.
    pub accelerator: Accelerator,
    /// The guest's memory, in MiB.
    pub memory_mib: u32,
    /// The number of CPUs.
    pub cpus: u32,
    /// Whether a nanosecond of the guest's clock is an instruction. Only for [`Accelerator::Tcg`] and one CPU.
    pub counts_instructions: bool,
    /// Whether it has the port for the host's files.
    pub files: bool,
    /// Whether it has a network card.
    pub network: bool,
    /// Whether it has a network card that is linked to that of a second guest, and to nothing else.
    pub link: bool,
    /// Whether it can have guests of its own.
    pub nested: bool,
    /// The number of NUMA nodes.
    pub nodes: u32,
    /// The disks.
    pub disks: Vec<Disk>,
}

impl Machine {
    /// A machine with one node, and without files, network, disks and guests of its own.
    #[must_use]
    pub const fn bare(accelerator: Accelerator, memory_mib: u32, cpus: u32) -> Self {
        Self {
            accelerator,
            memory_mib,
            cpus,
            counts_instructions: false,
            files: false,
            network: false,
            link: false,
            nested: false,
            nodes: 1,
            disks: Vec::new(),
        }
    }
}

/// The parameters of a boot.
#[derive(Debug, Clone, Copy)]
pub struct Boot<'a> {
    /// The bzImage or vmlinux.
    pub kernel: &'a Path,
    /// The initramfs.
    pub initrd: &'a Path,
    /// PID 1's time limit for the control port to appear, in ms.
    pub port_timeout_ms: u64,
    /// The user's additional parameters for the kernel's command line.
    pub append: Option<&'a str>,
}

/// How a guest starts.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// A boot.
    Boot(Boot<'a>),
    /// A boot with the memory in these files, one for each node, so that the guest can be saved as a template.
    Template(Boot<'a>, &'a [PathBuf]),
    /// A fork of the template whose memory is in these files, which are mapped privately.
    Fork(&'a [PathBuf]),
}

/// The numbers of the descriptors that QEMU inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// A connected stream socket for the control port.
    pub control: i32,
    /// A connected stream socket for QMP.
    pub qmp: i32,
    /// The writing end of a pipe for the console.
    pub console: i32,
    /// A readable file with a fork's device state.
    pub state: i32,
    /// A connected stream socket for the port with the host's files.
    pub files: i32,
    /// A listening stream socket for debuggers.
    pub debugger: i32,
    /// A connected stream socket for the link between two guests.
    pub link: i32,
}

/// The descriptors that vmlab passes: the numbers after the standard streams.
pub const DESCRIPTORS: Descriptors =
    Descriptors { control: 3, qmp: 4, console: 5, state: 6, files: 7, debugger: 8, link: 9 };

/// The arguments of a QEMU of this version, without the program's name. They have the work-arounds of the table of
/// quirks.
#[must_use]
pub fn arguments(machine: &Machine, version: QemuVersion, start: Start<'_>, fds: Descriptors) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::with_capacity(48);
    let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));
    add(&["-name", "vmlab", "-nodefaults", "-no-user-config", "-display", "none"]);
    // A guest that panics, resets or powers off is paused, so that vmlab can read its registers and memory before it
    // ends QEMU. A signal to QEMU still ends it.
    add(&["-action", "reboot=shutdown,shutdown=pause,panic=pause"]);
    // A running QEMU needs no new processes and privileges; code that breaks out of the guest gets neither.
    add(&["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
    // A fork must have the same machine as its template, including all devices.
    let one_node = machine.nodes < 2;
    let in_a_file = one_node && !matches!(start, Start::Boot(_));
    add(&["-machine", if in_a_file { "q35,memory-backend=ram0" } else { "q35" }]);
    add(&["-accel", &accel(machine, version), "-cpu", &cpu(machine, version)]);
    // The processors of a socket belong to one node; a kernel warns of others.
    let sockets = if one_node { String::new() } else { format!(",sockets={}", machine.cpus) };
    add(&["-m", &format!("{}M", machine.memory_mib), "-smp", &format!("{}{sockets}", machine.cpus)]);
    if machine.counts_instructions {
        // While the guest has nothing to do, its clock jumps to the next timer.
        add(&["-icount", "shift=0,sleep=off", "-rtc", "clock=vm"]);
    }
    add(&["-chardev", &format!("socket,id=control,fd={}", fds.control)]);
    add(&["-chardev", &format!("socket,id=qmp,fd={}", fds.qmp)]);
    // The console is a pipe. In a socket each byte of the serial line would be a message, and some 280 messages fill
    // it: the kernel then waits for the line for a while and drops its output (`wait_for_xmitr` in
    // drivers/tty/serial/8250/8250_port.c). A pipe holds bytes up to its nominal size.
    // With append=on QEMU does not truncate the file, which a pipe refuses.
    add(&["-add-fd", &format!("fd={},set=1", fds.console)]);
    add(&["-chardev", "file,id=console,path=/dev/fdset/1,append=on"]);
    add(&["-mon", "chardev=qmp,mode=control"]);
    add(&["-serial", "chardev:console"]);
    // The first port is a console's, which there is not.
    add(&["-device", &format!("virtio-serial-pci,max_ports={}", if machine.files { 3 } else { 2 })]);
    add(&["-device", &format!("virtserialport,chardev=control,name={CONTROL_PORT}")]);
    if machine.files {
        add(&["-chardev", &format!("socket,id=files,fd={}", fds.files)]);
        add(&["-device", &format!("virtserialport,chardev=files,name={FILES_PORT}")]);
    }
    // The kernel reports a panic to pvpanic, and stores what a debugger needs to know about its memory in vmcoreinfo.
    // Kernels find both through ACPI; Debian's kernels have the modules.
    add(&["-device", "pvpanic", "-device", "vmcoreinfo"]);
    if machine.network {
        add(&devices::NETWORK);
    }
    if machine.link {
        add(&devices::link(fds.link).each_ref().map(String::as_str));
    }
    args.extend(devices::disks(&machine.disks));
    let parameters = quirk_parameters(machine.accelerator, version, machine.cpus);
    match start {
        Start::Boot(boot) => {
            if !one_node {
                add_memory(&mut args, machine, None);
            }
            add_boot(&mut args, machine, &boot, &parameters);
        }
        Start::Template(boot, files) => {
            add_memory(&mut args, machine, Some((files, "on")));
            add_boot(&mut args, machine, &boot, &parameters);
        }
        Start::Fork(files) => {
            add_memory(&mut args, machine, Some((files, "off")));
            // The fork stays paused until it is resumed, so that its clock does not run while it waits for a job.
            args.extend(["-incoming", "defer", "-S"].map(OsString::from));
        }
    }
    args
}

/// The arguments with which a debugger can connect, at any time and again. A guest that boots waits for the debugger's order to
/// continue, as a fork does already.
#[must_use]
pub fn debugger(start: Start<'_>, fds: Descriptors) -> Vec<OsString> {
    let socket = format!("socket,id=debugger,fd={},server=on,wait=off", fds.debugger);
    let mut args = vec!["-chardev".to_owned(), socket, "-gdb".to_owned(), "chardev:debugger".to_owned()];
    if !matches!(start, Start::Fork(_)) {
        args.push("-S".to_owned());
    }
    args.into_iter().map(OsString::from).collect()
}

fn add_boot(args: &mut Vec<OsString>, machine: &Machine, boot: &Boot<'_>, quirks: &[&str]) {
    args.extend(["-kernel".into(), boot.kernel.into(), "-initrd".into(), boot.initrd.into()]);
    args.extend(["-append".into(), command_line(boot, machine.files, quirks).into()]);
}

/// The memory of each node, in a file if there are files: `share=on` writes to it, `share=off` maps it privately.
fn add_memory(args: &mut Vec<OsString>, machine: &Machine, files: Option<(&[PathBuf], &str)>) {
    for (node, mib) in devices::node_memory_mib(machine.memory_mib, machine.nodes).into_iter().enumerate() {
        let kind = if files.is_some() { "memory-backend-file" } else { "memory-backend-ram" };
        let mut value = OsString::from(format!("{kind},id={},size={mib}M", devices::memory_id(node)));
        if let Some((files, share)) = files
            && let Some(file) = files.get(node)
        {
            value.push(format!(",share={share},mem-path="));
            value.push(devices::escaped(file));
        }
        args.extend(["-object".into(), value]);
    }
    args.extend(devices::numa(machine.cpus, machine.nodes).into_iter().map(OsString::from));
}

/// The CPU model, without the features that the accelerator executes wrongly or slowly.
fn cpu(machine: &Machine, version: QemuVersion) -> String {
    let accelerator = machine.accelerator;
    let model = match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg => "max",
    };
    let properties = quirks::in_force(accelerator, version, machine.cpus).flat_map(|quirk| match quirk.workaround {
        Workaround::Cpu(properties) => properties,
        Workaround::Parameter(_) | Workaround::Accelerator(_) => &[],
    });
    let nested = machine.nested.then(|| devices::nested(accelerator)).flatten();
    std::iter::once(model).chain(properties.copied()).chain(nested).collect::<Vec<_>>().join(",")
}

/// The accelerator, with the properties that avoid its faults.
fn accel(machine: &Machine, version: QemuVersion) -> String {
    let properties =
        quirks::in_force(machine.accelerator, version, machine.cpus).filter_map(|quirk| match quirk.workaround {
            Workaround::Accelerator(property) => Some(property),
            Workaround::Parameter(_) | Workaround::Cpu(_) => None,
        });
    std::iter::once(machine.accelerator.name()).chain(properties).collect::<Vec<_>>().join(",")
}

/// The kernel parameters among the work-arounds that guests of this QEMU with this number of CPUs get.
#[must_use]
pub fn quirk_parameters(accelerator: Accelerator, version: QemuVersion, cpus: u32) -> Vec<&'static str> {
    quirks::in_force(accelerator, version, cpus).filter_map(|quirk| parameter(quirk.workaround)).collect()
}

const fn parameter(workaround: Workaround) -> Option<&'static str> {
    match workaround {
        Workaround::Parameter(parameter) => Some(parameter),
        Workaround::Cpu(_) | Workaround::Accelerator(_) => None,
    }
}

/// The maximum length of an x86 kernel's command line, in bytes (`COMMAND_LINE_SIZE` of arch/x86/include/asm/setup.h,
/// minus the NUL). A kernel truncates a longer one or does not boot.
pub const COMMAND_LINE_LIMIT: usize = 2047;

/// The kernel's name for the serial line.
pub const CONSOLE: &str = "ttyS0";

/// The length of the kernel's command line with the user's parameters, in bytes. The accelerator and QEMU's version are
/// not known yet, so the parameters of all quirks count.
#[must_use]
pub fn command_line_bytes(append: &str) -> usize {
    let nowhere = Path::new("");
    let boot = Boot { kernel: nowhere, initrd: nowhere, port_timeout_ms: u64::MAX, append: Some(append) };
    let parameters: Vec<_> = quirks::QUIRKS.iter().filter_map(|quirk| parameter(quirk.workaround)).collect();
    command_line(&boot, true, &parameters).len()
}

/// The kernel's command line (Documentation/admin-guide/kernel-parameters.txt).
fn command_line(boot: &Boot<'_>, files: bool, quirks: &[&str]) -> String {
    let mut words = vec![
        format!("console={CONSOLE}"),
        // earlyprintk shows crashes before the serial driver is up.
        format!("earlyprintk={CONSOLE}"),
        // Print only warnings and worse, because each line costs time under an emulator.
        format!("loglevel={CONSOLE_LEVEL}"),
        // A crash ends the guest at once: it reboots, which QEMU turns into its end (`-action`).
        "oops=panic".to_owned(),
        "panic=-1".to_owned(),
        "reboot=t".to_owned(),
        // Without a panic, a locked-up kernel may print nothing: from Linux 7.x on (seen with 7.3) a thread
        // (`pr/ttyS0`) prints on the serial line, and gets no CPU in a lockup. In a panic the kernel prints at once.
        "softlockup_panic=1".to_owned(),
        // The agent writes markers to the kernel's log, which must not be rate-limited.
        "printk.devkmsg=on".to_owned(),
        // A program's output on the console may lack a newline; time stamps mark the beginning of kernel messages.
        "printk.time=1".to_owned(),
        // With the kernel's self-tests of cryptography a run takes 1.25 (6.12) and 1.17 (6.1) times the CPU time (whole
        // run under TCG, 10 and 8 pairs; a run against itself: 0.93 and 1.03). Fifteen other sets of parameters that
        // skip probing differed no more than a run against itself (tsc, lpj, raid, pci, i8042, 8250, libata, KASLR,
        // IOMMU, RCU, noreplace-smp, nosmp, hashdist, random, init_on_alloc).
        "cryptomgr.notests".to_owned(),
        format!("vmlab.port_timeout_ms={}", boot.port_timeout_ms),
    ];
    words.extend(files.then(|| "vmlab.files=1".to_owned()));
    words.extend(quirks.iter().map(|&parameter| parameter.to_owned()));
    // The user's parameters come last, because the last of several equal parameters counts.
    words.extend(boot.append.map(str::to_owned));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: QemuVersion = QemuVersion { major: 7, minor: 2, micro: 22 };
    const NEW: QemuVersion = QemuVersion { major: 8, minor: 0, micro: 0 };

    fn line(accelerator: Accelerator, cpus: u32, version: QemuVersion) -> String {
        let machine = Machine::bare(accelerator, 256, cpus);
        let boot = Boot {
            kernel: Path::new("/k/vmlinuz"),
            initrd: Path::new("/i.cpio"),
            port_timeout_ms: 10_000,
            append: Some("nokaslr"),
        };
        let words = arguments(&machine, version, Start::Boot(boot), DESCRIPTORS);
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn arguments_for_one_cpu_under_tcg() {
        insta::assert_snapshot!(line(Accelerator::Tcg, 1, OLD));
    }

    #[test]
    fn a_machine_that_counts_instructions_has_one_clock_for_all() {
        let machine = Machine { counts_instructions: true, ..Machine::bare(Accelerator::Tcg, 256, 1) };
        let words = arguments(&machine, OLD, Start::Fork(&[]), DESCRIPTORS);
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        assert!(words.join(" ").contains("-smp 1 -icount shift=0,sleep=off -rtc clock=vm "), "{words:?}");
        assert!(!line(Accelerator::Tcg, 1, OLD).contains("icount"));
    }

    #[test]
    fn tcg_before_8_0_has_no_cmpxchg16b_with_any_number_of_cpus() {
        for cpus in [1, 2, 3, 64] {
            let old = line(Accelerator::Tcg, cpus, OLD);
            assert!(old.contains("\nmax,erms=off,fsrm=off,pclmulqdq=off,cx16=off\n"), "{old}");
            let new = line(Accelerator::Tcg, cpus, NEW);
            assert!(new.contains("\nmax,erms=off,fsrm=off,pclmulqdq=off\n"), "{new}");
        }
    }

    #[test]
    fn several_cpus_under_an_old_tcg_share_a_thread() {
        assert!(line(Accelerator::Tcg, 2, OLD).contains("-accel\ntcg,thread=single\n"));
        for other in [line(Accelerator::Tcg, 1, OLD), line(Accelerator::Kvm, 2, OLD)] {
            assert!(!other.contains("thread="), "{other}");
        }
    }

    #[test]
    fn parameters_of_quirks_are_on_the_command_line_before_the_users() {
        assert!(line(Accelerator::Tcg, 1, NEW).contains(" no_timer_check nokaslr"));
        assert!(!line(Accelerator::Kvm, 1, NEW).contains("no_timer_check"));
    }

    #[test]
    fn the_length_of_the_command_line_is_never_underestimated() {
        let longest = line(Accelerator::Tcg, 1, OLD).lines().map(str::len).max().unwrap();
        assert!(command_line_bytes("nokaslr") >= longest);
    }

    #[test]
    fn template_and_fork_have_the_same_machine() {
        let machine = Machine { files: true, ..Machine::bare(Accelerator::Tcg, 256, 1) };
        let boot = Boot { kernel: Path::new("/k"), initrd: Path::new("/i"), port_timeout_ms: 1, append: None };
        let text = |start| {
            let words = arguments(&machine, OLD, start, DESCRIPTORS);
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let ram = [PathBuf::from("/c/a,b/ram")];
        let (template, fork) = (text(Start::Template(boot, &ram)), text(Start::Fork(&ram)));
        let at = template.iter().position(|word| word == "-object").unwrap();
        assert_eq!(template[..at], fork[..at]);
        let memory = "memory-backend-file,id=ram0,size=256M,share=off,mem-path=/c/a,,b/ram";
        assert_eq!(fork[at + 1..], [memory, "-incoming", "defer", "-S"]);
        assert_eq!(template[at + 1], memory.replace("share=off", "share=on"));
    }

    #[test]
    fn a_machine_with_everything() {
        let disk = Disk { file: "/d".into(), format: devices::DiskFormat::Raw, identity: String::new() };
        let bare = Machine::bare(Accelerator::Tcg, 500, 2);
        let machine = Machine { network: true, nested: true, nodes: 2, disks: vec![disk], ..bare };
        let ram = [PathBuf::from("/ram"), PathBuf::from("/ram-1")];
        let words = arguments(&machine, OLD, Start::Fork(&ram), DESCRIPTORS);
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        insta::assert_snapshot!(words.join("\n"));
    }

    #[test]
    fn a_guest_that_boots_waits_for_the_debugger() {
        let boot = Boot { kernel: Path::new("/k"), initrd: Path::new("/i"), port_timeout_ms: 1, append: None };
        assert!(debugger(Start::Boot(boot), DESCRIPTORS).contains(&"-S".into()));
        assert!(!debugger(Start::Fork(&[]), DESCRIPTORS).contains(&"-S".into()), "a fork is paused already");
    }

    #[test]
    fn kvm_uses_the_hosts_cpu_model() {
        assert!(line(Accelerator::Kvm, 4, OLD).contains("-accel\nkvm\n-cpu\nhost\n"));
    }
}
