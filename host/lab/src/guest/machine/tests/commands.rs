//! Commands, whose streams and signals pass through the machine while they run.

use vmlab_events::job::{CommandId, CommandSpec, JobSpec};
use vmlab_events::verdict::{Failure, Verdict};
use vmlab_protocol::command::{CommandEnd, Control};
use vmlab_protocol::message::{GuestMessage, HostMessage, Leg, LegOutcome, RawChunk, Stream};
use vmlab_qemu::qmp::QmpEvent;

use super::super::Start;
use super::guest::Play;
use crate::attempts::AttemptEnd::Complete;
use crate::command::CommandInput;
use crate::guest::QueuedJob;
use crate::guest::input::Input;

fn command(allow_warnings: bool) -> QueuedJob {
    let id = CommandId::of_program("x".as_ref());
    let spec = CommandSpec { id, words: vec!["./x".to_owned()], timeout_ms: None, allow_warnings };
    QueuedJob { spec: JobSpec::Command(Box::new(spec)), attempt: 1 }
}

/// A fork in which the command has been announced, and its root is made.
fn running(allow_warnings: bool) -> Play {
    let mut play = Play::new(Start::Fork, vec![command(allow_warnings)]);
    play.give(Input::Start).qmp(QmpEvent::Resumed).prepares().obeys();
    ends_leg(&mut play, Leg::Probe, LegOutcome::Available);
    play
}

fn ends_leg(play: &mut Play, leg: Leg, outcome: LegOutcome) {
    play.says(GuestMessage::LegFinished { run: 1, leg, outcome, duration_ns: 1, output_dropped: 0 });
}

fn ends(play: &mut Play, end: CommandEnd) {
    ends_leg(play, Leg::Subject, LegOutcome::Ended(end));
    play.says(GuestMessage::JobFinished { run: 1 });
}

fn writes(play: &mut Play, stream: Stream, data: &[u8]) {
    let mut bytes = Vec::new();
    RawChunk { run: 1, leg: Leg::Subject, stream, data }.encode(&mut bytes).unwrap();
    play.give(Input::Control(bytes));
}

#[test]
fn streams_pass_through_while_the_command_runs() {
    let mut play = running(false);
    play.give(Input::Command(CommandInput::Stdin(b"in".to_vec())));
    assert_eq!(play.input, b"in");
    play.says(GuestMessage::InputTaken { run: 1, bytes: 2 });
    writes(&mut play, Stream::Stdout, b"out");
    writes(&mut play, Stream::Stderr, b"err");
    writes(&mut play, Stream::Archive, b"files");
    assert_eq!(play.output, b"outerrfiles");
    play.give(Input::Command(CommandInput::Control(Control::Signal { signal: 15 })));
    assert_eq!(play.orders.remove(0), HostMessage::Control { run: 1, control: Control::Signal { signal: 15 } });
    ends(&mut play, CommandEnd::Exited { code: 0 });
    assert_eq!(play.done, ["wake", "attach", "input taken", "detach"]);
    // What comes too late is for nobody.
    let before = play.orders.len();
    play.give(Input::Command(CommandInput::Control(Control::EndOfInput)));
    play.give(Input::Command(CommandInput::Stdin(b"late".to_vec())));
    assert_eq!((play.orders.len(), play.input.as_slice()), (before, &b"in"[..]));
    play.obeys().killed();
    assert_eq!(play.labels(), [("PASS", Complete)]);
    assert_eq!((play.reports[0].0.stdout.as_str(), play.reports[0].0.stderr.as_str()), ("out", "err"));
}

#[test]
fn the_end_of_a_command_is_its_verdict() {
    for end in [
        CommandEnd::Exited { code: 3 },
        CommandEnd::Killed { signal: 11 },
        CommandEnd::NotFound { detail: "x".to_owned() },
        CommandEnd::NotExecutable { detail: "x".to_owned() },
    ] {
        let mut play = running(false);
        ends(&mut play, end.clone());
        play.obeys().killed();
        assert_eq!(play.reports[0].0.verdict, Verdict::Failed { reason: Failure::Command(end) });
    }
}

#[test]
fn input_from_a_guest_and_output_of_another_job_are_violations() {
    let mut play = running(false);
    writes(&mut play, Stream::Stdin, b"x");
    play.killed();
    assert_eq!(play.labels(), [("GARBLED", Complete)]);
    let mut play = Play::new(Start::Fork, super::guest::jobs(1));
    play.give(Input::Start).qmp(QmpEvent::Resumed).prepares().obeys();
    writes(&mut play, Stream::Archive, b"files");
    play.killed();
    assert_eq!(play.labels(), [("GARBLED", Complete)]);
    let mut play = Play::new(Start::Fork, super::guest::jobs(1));
    play.give(Input::Start).qmp(QmpEvent::Resumed).prepares().obeys();
    play.says(GuestMessage::InputTaken { run: 1, bytes: 1 }).killed();
    assert_eq!(play.labels(), [("GARBLED", Complete)]);
}

#[test]
fn a_kernel_warning_fails_a_command_unless_it_is_allowed() {
    for (allowed, label) in [(false, "FAIL"), (true, "PASS")] {
        let mut play = running(allowed);
        play.prints("WARNING: CPU: 0 PID: 1 at kernel/fork.c:2 f+0x1/0x2");
        ends(&mut play, CommandEnd::Exited { code: 0 });
        play.obeys().killed();
        assert_eq!(play.labels(), [(label, Complete)]);
        assert_eq!(play.reports[0].0.warnings.len(), 1);
    }
}

#[test]
fn a_command_has_no_limit_of_its_own() {
    let mut play = running(false);
    for _ in 0..1000 {
        play.wait_until_due().give(Input::Deadline(None));
        let ping = HostMessage::Control { run: 1, control: Control::Ping };
        assert_eq!(play.orders.pop(), Some(ping));
        play.says(GuestMessage::Alive { run: 1 });
    }
    ends(&mut play, CommandEnd::Exited { code: 0 });
    play.obeys().killed();
    assert_eq!(play.labels(), [("PASS", Complete)]);
}

#[test]
fn a_guest_whose_agent_does_not_answer_hangs() {
    let mut play = running(false);
    // The question, half of the limit, and the end of it.
    for _ in 0..3 {
        // The kernel still prints.
        play.prints("rcu: INFO: rcu_preempt self-detected stall on CPU");
        play.wait_until_due().give(Input::Deadline(None));
    }
    play.killed();
    assert_eq!(play.labels(), [("TIMEOUT", Complete)]);
    let detail = play.reports[0].0.verdict.detail();
    assert!(detail.starts_with("the guest hangs: its agent has not answered for 60 s"), "{detail}");
}
