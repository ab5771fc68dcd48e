//! Freezes and thaws a real QEMU without a guest: paused, in its sandbox, with the devices of vmlab's guests.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::env;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use command_fds::FdMapping;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vmlab_thaw::freezer::Message;

use support::{Frozen, Place, Thawed, pair};

mod support;

const ARGUMENTS: &str = "-name vmlab -nodefaults -no-user-config -display none -S \
    -action reboot=shutdown,shutdown=pause,panic=pause \
    -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny \
    -machine q35,memory-backend=ram0 -accel tcg -cpu max -m 1M \
    -chardev socket,id=control,fd=3 -chardev socket,id=qmp,fd=4 \
    -add-fd fd=5,set=1 -chardev file,id=console,path=/dev/fdset/1,append=on \
    -mon chardev=qmp,mode=control -serial chardev:console \
    -device virtio-serial-pci,max_ports=2 -device virtserialport,chardev=control,name=org.vmlab.control.0";

/// Our ends of QEMU's channels.
struct Channels {
    _control: UnixStream,
    qmp: BufReader<UnixStream>,
    _console: std::io::PipeReader,
}

fn channels() -> (Channels, Vec<FdMapping>) {
    let (control, control_fd) = pair();
    let (qmp, qmp_fd) = pair();
    let (console, console_fd) = std::io::pipe().unwrap();
    let theirs = [control_fd, qmp_fd, OwnedFd::from(console_fd)];
    let mappings = theirs.into_iter().zip(3..).map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
    (Channels { _control: control, qmp: BufReader::new(qmp), _console: console }, mappings.collect())
}

impl Channels {
    /// Executes a QMP command, and returns its answer. Events are passed over.
    fn execute(&mut self, command: &str) -> String {
        self.qmp.get_mut().write_all(format!("{{\"execute\": {command}}}\n").as_bytes()).unwrap();
        self.until("\"return\"")
    }

    fn until(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.qmp.read_line(&mut line).unwrap() > 0, "QEMU has closed its monitor");
            assert!(!line.contains("\"error\""), "{line}");
            if line.contains(word) {
                return line;
            }
        }
    }
}

fn qemu() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join("qemu-system-x86_64")).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no qemu-system-x86_64: `vmlab doctor --fix --tests` installs it"))
}

fn arguments(ram: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![qemu().into()];
    arguments.extend(ARGUMENTS.split_whitespace().map(OsString::from));
    let memory = format!("memory-backend-file,id=ram0,size=1M,share=on,mem-path={}", ram.display());
    arguments.extend(["-object".into(), memory.into()]);
    arguments
}

fn freeze() -> Place {
    let place = Place::new();
    let (mut channels, passed) = channels();
    let mut frozen = Frozen::start(&place, &arguments(&place.ram()), passed, &[]);
    channels.until("QMP");
    channels.execute("\"qmp_capabilities\"");
    match frozen.freeze() {
        Message::Frozen(figures) => assert!(figures.disk_bytes < 80 << 20, "{figures:?}"),
        other => panic!("{other:?}"),
    }
    place
}

#[test]
fn a_thawed_qemu_answers_runs_its_guest_and_ends() {
    let place = freeze();
    for end in ["quit", "SIGTERM"] {
        let (mut channels, passed) = channels();
        let mut thawed = Thawed::start(&place, passed);
        assert!(channels.execute("\"query-status\"").contains("\"running\": false"));
        channels.execute("\"cont\"");
        assert!(channels.execute("\"query-status\"").contains("\"running\": true"));
        let registers =
            channels.execute("\"human-monitor-command\", \"arguments\": {\"command-line\": \"info registers -a\"}");
        assert!(registers.contains("IP="), "{registers}");
        let status = thawed.proc("status");
        assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
        assert_eq!(thawed.proc("timerslack_ns"), "1\n", "QEMU has set it");
        if end == "quit" {
            channels.execute("\"quit\"");
        } else {
            let pid = i32::try_from(thawed.child.id()).unwrap();
            kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        }
        let (status, text) = thawed.end();
        assert!(status.success() && status.signal().is_none(), "{end}: {status}, {text}");
    }
}

#[test]
fn a_qemu_outside_of_its_sandbox_has_no_filter_and_is_thawed_as_well() {
    let place = Place::new();
    let (mut channels, passed) = channels();
    let mut words = arguments(&place.ram());
    let at = words.iter().position(|word| word == "-sandbox").unwrap();
    words.drain(at..at + 2);
    let mut frozen = Frozen::start(&place, &words, passed, &[]);
    channels.until("QMP");
    channels.execute("\"qmp_capabilities\"");
    assert!(matches!(frozen.freeze(), Message::Frozen(_)));
    let (mut channels, passed) = self::channels();
    let thawed = Thawed::start(&place, passed);
    assert!(channels.execute("\"query-status\"").contains("\"running\": false"));
    assert!(thawed.proc("status").contains("Seccomp:\t0"));
}
