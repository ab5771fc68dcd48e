//! One and two interrupts, and SIGKILL.

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vmlab_events::event::LabEvent;
use vmlab_events::exit;
use vmlab_tests::UTS;
use vmlab_tests::env::Running;
use vmlab_tests::env::events_so_far;
use vmlab_tests::fake::script::{Action, Guest, hello, started};
use vmlab_tests::lab::FakeLab;
use vmlab_tests::outcome::record_dir;

use crate::{FAKE_QEMU, HOSTNAME, ONLY_HOSTNAME, VMLAB, booted, lab};

/// A guest that marks its start for the test, and sends nothing to the host.
fn silent() -> Guest {
    Guest::new(vec![Action::Mark("up".to_owned()), Action::Hang])
}

fn await_up(lab: &FakeLab, running: &mut Running) {
    running.until("a guest", || lab.dir().join("up").exists().then_some(()));
}

fn was_told(lab: &FakeLab) -> bool {
    lab.events().iter().any(|stamped| stamped.event == LabEvent::Interrupted)
}

#[test]
fn an_interrupt_while_booting_is_orderly() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let lab = lab(vec![silent()]);
        let mut running = lab.start(&UTS);
        await_up(&lab, &mut running);
        running.signal(signal);
        let outcome = lab.outcome(running.wait());
        outcome.exits(exit::INTERRUPTED);
        assert!(was_told(&lab));
        for name in ["uts.domainname", HOSTNAME, "uts.sysctl"] {
            outcome.has(name, "NOT-RUN", "interrupted");
        }
    }
}

#[test]
fn signals_that_were_blocked_at_the_start_end_a_run_as_well() {
    let lab = lab(vec![silent()]);
    let mut command = lab.env.command("env");
    command.args(["--block-signal=TERM", "--block-signal=INT", VMLAB]).args(lab.arguments(&UTS));
    let mut running = lab.env.start_command(command);
    await_up(&lab, &mut running);
    running.signal(Signal::SIGTERM);
    lab.outcome(running.wait()).exits(exit::INTERRUPTED);
}

/// `nohup vmlab run &`, and a script's background job.
#[test]
fn signals_that_were_ignored_at_the_start_end_no_run() {
    for (option, signal) in
        [("HUP", Signal::SIGHUP), ("INT", Signal::SIGINT), ("TERM", Signal::SIGTERM), ("HUP,INT", Signal::SIGINT)]
    {
        let before = [Action::Mark("up".to_owned()), Action::AwaitMark("signalled".to_owned()), hello()];
        let lab = lab(vec![Guest::new([before.to_vec(), vec![Action::ServeRest]].concat())]);
        let mut command = lab.env.command("env");
        command.args(["--default-signal", &format!("--ignore-signal={option}"), VMLAB]);
        command.args(lab.arguments(&[ONLY_HOSTNAME]));
        let mut running = lab.env.start_command(command);
        await_up(&lab, &mut running);
        running.signal(signal);
        fs::write(lab.dir().join("signalled"), "").unwrap();
        lab.outcome(running.wait()).exits(exit::OK).has(HOSTNAME, "PASS", "");
    }
}

#[test]
fn an_interrupt_keeps_the_verdicts_of_completed_scenarios() {
    let actions = [Action::Serve(1), Action::AwaitRun(HOSTNAME.to_owned()), started(2, HOSTNAME), Action::Hang];
    let lab = lab(vec![booted(actions)]);
    let junit = lab.file("junit.xml");
    let mut running = lab.start(&[UTS[0], UTS[1], UTS[2], "--report", &format!("junit={}", junit.display())]);
    lab.await_event(
        &mut running,
        "the second scenario",
        |event| matches!(event, LabEvent::JobStarted { job, .. } if job.name() == HOSTNAME),
    );
    running.signal(Signal::SIGINT);
    let outcome = lab.outcome(running.wait());
    outcome.exits(exit::INTERRUPTED);
    outcome.has("uts.domainname", "PASS", "").has(HOSTNAME, "NOT-RUN", "interrupted");
    outcome.has("uts.sysctl", "NOT-RUN", "interrupted");
    // All reports are complete, also the report that is written last.
    assert!(outcome.ended.stdout.contains("NOT-RUN"), "{}", outcome.ended);
    let junit = fs::read_to_string(junit).unwrap();
    assert_eq!(junit.matches("type=\"NOT-RUN\"").count(), 2, "{junit}");
}

/// Sends further interrupts to a vmlab that needs some seconds for an orderly end. Returns whether the end was orderly.
fn interrupted_twice_it_ends_orderly() -> bool {
    // A process outside QEMU's group keeps QEMU's standard error open, so that vmlab waits for more output.
    let lab = lab(vec![silent()]);
    // It has no mark of vmlab's either, by which vmlab would find it; the test environment finds it.
    let clear = "env -u VMLAB_STARTED_BY setsid sleep 1000";
    let body = format!("[ \"$1\" = --version ] || {clear} &\nexec {FAKE_QEMU} \"$@\"");
    let script = lab.script(&body);
    let lab = lab.qemu(script);
    let mut running = lab.start(&UTS);
    await_up(&lab, &mut running);
    running.signal(Signal::SIGINT);
    lab.await_event(&mut running, "the interrupt", |event| *event == LabEvent::Interrupted);
    // vmlab ignores a second signal that follows at once, because timeout(1) signals both the process and its group. So this
    // test sends signals until vmlab has ended.
    while !running.has_ended() {
        running.signal(Signal::SIGINT);
        sleep(Duration::from_millis(20));
    }
    running.wait().exits(exit::INTERRUPTED);
    let qemus = || lab.env.processes().into_iter().filter(|p| p.command.contains("-chardev")).collect::<Vec<_>>();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !qemus().is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(2));
    }
    assert_eq!(qemus(), []);
    matches!(lab.events().pop().map(|stamped| stamped.event), Some(LabEvent::RunFinished { .. }))
}

#[test]
fn a_second_interrupt_ends_vmlab_at_once() {
    // On a busy host this test may send the second signal too late, so it tries several times.
    assert!((0..5).any(|_| !interrupted_twice_it_ends_orderly()), "it always went on to its orderly end");
}

#[test]
fn a_reader_that_has_stopped_reading_does_not_delay_an_interrupt() {
    let lab = lab(vec![Guest::good()]);
    let (reader, mut stdout) = UnixStream::pair().unwrap();
    stdout.set_nonblocking(true).unwrap();
    while stdout.write(&[b' '; 4096]).is_ok() {}
    stdout.set_nonblocking(false).unwrap();
    let mut command = lab.env.command(crate::VMLAB);
    command.args(lab.arguments(&UTS)).stdout(OwnedFd::from(stdout)).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(command);
    // vmlab writes each event to the record first, and then to the report that is not read.
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_recorded =
        || record_dir(&lab.env).is_some_and(|record| !events_so_far(&record.join("events.jsonl")).is_empty());
    while !is_recorded() && Instant::now() < deadline {
        sleep(Duration::from_millis(2));
    }
    // The kernel merges signals that are pending at the same time, so one more is sent until vmlab has ended.
    let status = loop {
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
        sleep(Duration::from_millis(5));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            break child.wait().unwrap();
        }
    };
    assert_eq!(status.code(), Some(i32::from(exit::INTERRUPTED)));
    assert_eq!(lab.env.outliving(), []);
    drop(reader);
}

#[test]
fn a_killed_vmlab_leaves_no_process_and_a_readable_record() {
    let stuck = [Action::AwaitRun("uts.domainname".to_owned()), started(1, "uts.domainname"), Action::Hang];
    let lab = lab(vec![booted(stuck)]);
    let mut running = lab.start(&UTS);
    lab.await_event(&mut running, "a scenario", |event| matches!(event, LabEvent::JobStarted { .. }));
    running.signal(Signal::SIGKILL);
    assert_eq!(running.wait().status.signal(), Some(9));
    assert_eq!(lab.env.outliving(), []);

    let report = lab.env.run(&["report", "latest"]);
    report.exits(exit::OK);
    assert!(report.stdout.contains("the run was cut off"), "{report}");
    assert!(report.stdout.contains("uts.domainname") && report.stdout.contains("NOT-RUN"), "{report}");
    let list = lab.env.run(&["report", "--list"]);
    list.exits(exit::OK);
    assert!(list.stdout.contains("cut off"), "{list}");
    // Every format has all announced scenarios.
    for format in ["ktap", "junit", "json"] {
        let again = lab.env.run(&["report", "--format", format]);
        again.exits(exit::OK);
        assert!(again.stdout.contains("uts.sysctl"), "{again}");
    }
}

#[test]
fn a_killed_vmlab_leaves_no_booting_guest() {
    let lab = lab(vec![silent()]);
    let mut running = lab.start(&[ONLY_HOSTNAME]);
    await_up(&lab, &mut running);
    running.signal(Signal::SIGKILL);
    assert_eq!(running.wait().status.signal(), Some(9));
    assert_eq!(lab.env.outliving(), []);
}

#[test]
fn time_in_which_vmlab_was_stopped_changes_no_verdict() {
    // The limit passes while vmlab is stopped, and the guest sends its results meanwhile.
    let before = [Action::Mark("up".to_owned()), Action::AwaitMark("stopped".to_owned())];
    let after = [hello(), Action::Mark("said".to_owned()), Action::ServeRest];
    let lab = lab(vec![Guest::new([before.to_vec(), after.to_vec()].concat())]);
    let mut running = lab.start(&[ONLY_HOSTNAME, "--boot-timeout", "2"]);
    await_up(&lab, &mut running);
    running.signal(Signal::SIGSTOP);
    fs::write(lab.dir().join("stopped"), "").unwrap();
    running.until("the guest's word", || lab.dir().join("said").exists().then_some(()));
    // The limit has to pass in wall-clock time. A stopped vmlab shows nothing that could be waited for.
    sleep(Duration::from_millis(2_500));
    running.signal(Signal::SIGCONT);
    lab.outcome(running.wait()).exits(exit::OK).has(HOSTNAME, "PASS", "");
}

/// Starts a run behind a script that starts QEMU in another way, kills vmlab, and checks that nothing is left.
fn killed_behind(script: &str) {
    let lab = lab(vec![silent()]);
    let path = lab.script(&script.replace("QEMU", FAKE_QEMU));
    let lab = lab.qemu(path);
    let mut running = lab.start(&[ONLY_HOSTNAME]);
    await_up(&lab, &mut running);
    running.signal(Signal::SIGKILL);
    assert_eq!(running.wait().status.signal(), Some(9));
    assert_eq!(lab.env.outliving(), [], "{script}");
}

#[test]
fn a_killed_vmlab_leaves_no_process_behind_a_script() {
    for script in [
        "QEMU \"$@\"; exit $?",
        "setsid QEMU \"$@\" & wait",
        "sh -c 'setsid sh -c \"\\\"\\$0\\\" \\\"\\$@\\\"; true\" \"$0\" \"$@\" & wait' QEMU \"$@\"; true",
        "sleep 1000 & exec QEMU \"$@\"",
    ] {
        killed_behind(script);
    }
}
