//! Freezes processes of this program and thaws them. The tests have their own `main`, because this program is also the process that is
//! frozen, whose threads must be its own.
#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test without the standard harness")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::{env, thread};

use command_fds::FdMapping;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vmlab_thaw::NOT_THAWED;
use vmlab_thaw::freezer::Message;
use vmlab_thaw::mapped::changed_file;

use support::{Frozen, Place, Thawed, pair};

mod subject;
#[path = "../support/mod.rs"]
mod support;

const TESTS: &[(&str, fn())] = &[
    ("a_thawed_process_goes_on_with_all_that_it_had", a_thawed_process_goes_on_with_all_that_it_had),
    ("thawed_processes_share_nothing", thawed_processes_share_nothing),
    ("the_filter_holds_for_all_threads", the_filter_holds_for_all_threads),
    ("a_thawed_process_can_be_recognised", a_thawed_process_can_be_recognised),
    ("many_thaws_at_once_are_all_complete", many_thaws_at_once_are_all_complete),
    ("what_cannot_be_restored_is_refused_with_its_reason", what_cannot_be_restored_is_refused_with_its_reason),
    ("a_process_goes_on_after_a_refusal", a_process_goes_on_after_a_refusal),
    (
        "an_image_that_does_not_fit_is_an_exit_status_and_a_line",
        an_image_that_does_not_fit_is_an_exit_status_and_a_line,
    ),
    ("a_mapped_file_that_has_changed_is_named", a_mapped_file_that_has_changed_is_named),
    ("threads_that_end_meanwhile_are_no_obstacle", threads_that_end_meanwhile_are_no_obstacle),
    ("the_freezer_ends_as_its_process_does", the_freezer_ends_as_its_process_does),
    ("a_process_ends_with_its_freezer", a_process_ends_with_its_freezer),
];

fn main() {
    if let Ok(kind) = env::var(subject::VARIABLE) {
        return subject::live(&kind);
    }
    let wanted: Vec<_> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|it| name.contains(it)))
    {
        test();
        println!("test {name} ... ok");
    }
}

/// Our end of a process's control socket.
struct Control(BufReader<UnixStream>);

impl Control {
    fn ask(&mut self, question: &str) -> String {
        self.0.get_mut().write_all(format!("{question}\n").as_bytes()).unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

/// A control socket, and its other end for a process.
fn control() -> (Control, Vec<FdMapping>) {
    let (ours, theirs) = pair();
    (Control(BufReader::new(ours)), vec![FdMapping { parent_fd: theirs, child_fd: subject::CONTROL }])
}

/// Starts a process of a kind, and waits until it is ready.
fn start(place: &Place, kind: &str) -> (Frozen, Control) {
    start_program(place, kind, env::current_exe().unwrap())
}

fn start_program(place: &Place, kind: &str, program: PathBuf) -> (Frozen, Control) {
    let (mut control, passed) = control();
    // The freezer looks for a filter only if QEMU is asked for one.
    let sandbox = (kind == "filtered").then(|| OsString::from("-sandbox"));
    let program: Vec<_> = std::iter::once(program.into()).chain(sandbox).collect();
    let ram = place.ram();
    let environment = [(subject::VARIABLE, kind), (subject::RAM, ram.to_str().unwrap())];
    let frozen = Frozen::start(place, &program, passed, &environment);
    assert_eq!(control.line(), "ready");
    (frozen, control)
}

/// An image of a process of a kind.
fn freeze(kind: &str) -> Place {
    let place = Place::new();
    let (mut frozen, mut control) = start(&place, kind);
    assert_eq!(control.ask("count"), "1");
    match frozen.freeze() {
        Message::Frozen(figures) => assert!(figures.threads == 3 && figures.disk_bytes > 0, "{figures:?}"),
        other => panic!("{other:?}"),
    }
    assert!(frozen.freezer.wait().unwrap().success());
    place
}

fn thaw(place: &Place) -> (Thawed, Control) {
    let (control, passed) = control();
    (Thawed::start(place, passed), control)
}

fn a_thawed_process_goes_on_with_all_that_it_had() {
    let place = freeze("plain");
    let (mut thawed, mut control) = thaw(&place);
    for (question, answer) in [
        ("count", "2"),
        ("event", "7 true"),
        ("event", "7 true"),
        ("second", "5"),
        ("signal", "10"),
        ("handler", "1"),
        ("thread", "42"),
        ("send", "true"),
        ("heap", "true"),
        ("stack", "2000"),
        ("slack", "1234"),
        ("float", "1224"),
        ("ram", "78"),
        ("wiped", "0"),
        ("wiped", "1"),
    ] {
        assert_eq!(control.ask(question), answer, "{question}");
    }
    control.0.get_mut().write_all(b"exit\n").unwrap();
    let (status, text) = thawed.end();
    assert_eq!((status.code(), &text[..]), (Some(9), ""));
}

fn thawed_processes_share_nothing() {
    let place = freeze("plain");
    let (before, ram) = (fs::read(place.image()).unwrap(), fs::read(place.ram()).unwrap());
    assert_eq!(ram[5000], 77);
    let mut all: Vec<_> = (0..3).map(|_| thaw(&place)).collect();
    for round in 2..5 {
        for (_, control) in &mut all {
            assert_eq!(control.ask("count"), round.to_string());
            assert_eq!(control.ask("ram"), (76 + round).to_string());
        }
    }
    assert!(before == fs::read(place.image()).unwrap() && ram == fs::read(place.ram()).unwrap());
}

fn the_filter_holds_for_all_threads() {
    let place = freeze("filtered");
    let (thawed, mut control) = thaw(&place);
    assert_eq!(control.ask("denied"), subject::DENIED.to_string());
    assert_eq!(control.ask("event"), "7 true");
    let tasks = fs::read_dir(format!("/proc/{}/task", thawed.child.id())).unwrap();
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).unwrap();
    let all: Vec<_> = tasks.map(|task| status(task.unwrap())).collect();
    let filtered = |text: &&String| text.contains("Seccomp:\t2") && text.contains("NoNewPrivs:\t1");
    assert_eq!((all.len(), all.iter().filter(filtered).count()), (3, 3), "{all:?}");
    let place = freeze("plain");
    let (_thawed, mut control) = thaw(&place);
    assert_eq!(control.ask("denied"), "0");
}

fn a_thawed_process_can_be_recognised() {
    let place = freeze("plain");
    let (thawed, mut control) = thaw(&place);
    assert_eq!(control.ask("count"), "2");
    assert_eq!(thawed.proc("comm"), "vmlab-guest-7\n");
    assert_eq!(thawed.proc("cmdline"), "vmlab-guest-7\0a title\0");
    // Others see the environment of the thawer, by which vmlab finds its processes. The process has its own.
    assert!(thawed.proc("environ").split('\0').any(|variable| variable == "VMLAB_TEST_THAWER=1"));
    let tasks = fs::read_dir(format!("/proc/{}/task", thawed.child.id())).unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    let names: BTreeSet<_> = names.map(|name| name.trim_end().to_owned()).collect();
    assert_eq!(names, ["reader", "vmlab-guest-7", "waiter"].map(str::to_owned).into());
    // The same descriptors are open as before the freeze.
    let open = fs::read_dir(format!("/proc/{}/fd", thawed.child.id())).unwrap();
    let mut numbers: Vec<u32> =
        open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.starts_with(&[0, 1, 2, 3]) && numbers.len() <= 10, "{numbers:?}");
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    assert_eq!(thawed.proc("limits"), limits);
}

fn many_thaws_at_once_are_all_complete() {
    let place = freeze("filtered");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let (mut thawed, mut control) = thaw(&place);
                    for (question, answer) in [("event", "7 true"), ("signal", "10"), ("thread", "42")] {
                        assert_eq!(control.ask(question), answer);
                    }
                    control.0.get_mut().write_all(b"exit\n").unwrap();
                    assert_eq!(thawed.end().0.code(), Some(9));
                }
            });
        }
    });
}

fn what_cannot_be_restored_is_refused_with_its_reason() {
    for (kind, reason) in [
        ("shared", "a mapping is shared, and not the guest's memory: "),
        ("locked", "memory has the property `lo` of /proc/PID/smaps"),
        ("pipe", " is pipe:["),
        ("inotify", " is anon_inode:inotify, which cannot be restored"),
        ("threads", "QEMU has 73 threads; an image can have 64"),
        ("runs", "does not wait in a system call: the guest has to be paused"),
        ("timer", "QEMU has timers of its own: ITIMER_REAL"),
        ("deleted", " (deleted)"),
        ("unseen", "QEMU has 1 seccomp filters, of which vmlab has seen 0"),
        ("child", "QEMU has child processes"),
    ] {
        let place = Place::new();
        let (mut frozen, mut control) = start(&place, kind);
        match frozen.freeze() {
            Message::Refused { why } => assert!(why.contains(reason), "{kind}: {why}"),
            other => panic!("{kind}: {other:?}"),
        }
        if kind != "runs" {
            assert_eq!(control.ask("count"), "1", "{kind}");
        }
    }
}

fn a_process_goes_on_after_a_refusal() {
    let place = Place::new();
    let (mut frozen, mut control) = start(&place, "pipe");
    for round in 1..4 {
        assert!(matches!(frozen.freeze(), Message::Refused { .. }));
        assert_eq!(control.ask("count"), round.to_string());
        assert_eq!(control.ask("event"), "7 true");
        assert_eq!(control.ask("signal"), "10");
    }
}

/// QEMU's workers end when they have nothing to do, also while the freezer stops the threads that it has found.
fn threads_that_end_meanwhile_are_no_obstacle() {
    for _ in 0..10 {
        let place = Place::new();
        let (mut frozen, _control) = start(&place, "ending");
        match frozen.freeze() {
            Message::Frozen(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

type Harm = fn(&Place);

fn an_image_that_does_not_fit_is_an_exit_status_and_a_line() {
    let harms: &[(&str, Harm)] = &[
        ("the image is not complete", |place| {
            let image = File::options().write(true).open(place.image()).unwrap();
            image.set_len(image.metadata().unwrap().len() - 4096).unwrap();
        }),
        ("the image is damaged", |place| {
            let image = File::options().write(true).open(place.image()).unwrap();
            image.write_all_at(b"?", 9000).unwrap();
        }),
        ("no image of a frozen process", |place| fs::write(place.image(), vec![7; 8192]).unwrap()),
        ("the image is not complete", |place| fs::write(place.image(), "").unwrap()),
    ];
    for (reason, harm) in harms {
        let place = freeze("plain");
        harm(&place);
        let (mut thawed, _control) = thaw(&place);
        let (status, text) = thawed.end();
        assert_eq!(status.code(), Some(NOT_THAWED), "{reason}: {text}");
        assert!(text.contains(reason) && text.lines().count() == 1, "{reason}: {text}");
    }
    let place = freeze("plain");
    let mut without = Thawed::start(&place, Vec::new());
    let (status, text) = without.end();
    assert_eq!(status.code(), Some(NOT_THAWED));
    assert!(text.contains("a descriptor is missing: error 9"), "{text}");
}

fn a_mapped_file_that_has_changed_is_named() {
    let place = Place::new();
    let copy = place.image().with_file_name("program");
    let contents = fs::read(env::current_exe().unwrap()).unwrap();
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    let (mut frozen, _control) = start_program(&place, "plain", copy.clone());
    assert!(matches!(frozen.freeze(), Message::Frozen(_)));
    frozen.freezer.wait().unwrap();
    let (thawed, mut control) = thaw(&place);
    assert_eq!(control.ask("count"), "1");
    drop(thawed);
    assert_eq!(changed_file(&place.image()).unwrap(), None);
    // The same bytes, and another time.
    fs::write(&copy, contents).unwrap();
    assert_eq!(changed_file(&place.image()).unwrap(), Some(copy.clone()));
    let (mut thawed, _control) = thaw(&place);
    let (status, text) = thawed.end();
    assert_eq!(status.code(), Some(NOT_THAWED));
    assert_eq!(text, format!("vmlab-thawer: a mapped file has changed: {}\n", copy.display()));
}

fn the_freezer_ends_as_its_process_does() {
    let place = Place::new();
    let (mut frozen, mut control) = start(&place, "plain");
    control.0.get_mut().write_all(b"exit\n").unwrap();
    assert_eq!(frozen.freezer.wait().unwrap().code(), Some(9));
    let (mut frozen, _control) = start(&place, "plain");
    kill(Pid::from_raw(frozen.pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    assert_eq!(frozen.freezer.wait().unwrap().signal(), Some(9));
}

fn a_process_ends_with_its_freezer() {
    let place = Place::new();
    let (mut frozen, mut control) = start(&place, "plain");
    frozen.freezer.kill().unwrap();
    frozen.freezer.wait().unwrap();
    // The socket is closed when the process has ended.
    assert_eq!(control.line(), "");
}
