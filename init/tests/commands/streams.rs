//! Standard input, output and errors of commands.

use vmlab_protocol::command::{CommandEnd, Control, WINDOW};
use vmlab_protocol::message::{LegOutcome, Stream};

use crate::host::{Script, run, run_with, shell};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("outputs_are_apart_and_complete", outputs_are_apart_and_complete),
    ("a_ping_is_answered_while_the_program_sleeps", a_ping_is_answered_while_the_program_sleeps),
    ("much_output_comes_through_the_window", much_output_comes_through_the_window),
    ("much_input_comes_through_the_window", much_input_comes_through_the_window),
    ("input_that_nobody_reads_is_taken", input_that_nobody_reads_is_taken),
    ("a_closed_stream_ends_its_writer", a_closed_stream_ends_its_writer),
    ("output_beyond_the_limit_is_dropped", output_beyond_the_limit_is_dropped),
    ("output_waits_for_a_reader_that_is_slow", output_waits_for_a_reader_that_is_slow),
    (
        "output_that_nobody_takes_is_given_up_after_a_time_limit",
        output_that_nobody_takes_is_given_up_after_a_time_limit,
    ),
];

fn outputs_are_apart_and_complete() {
    let observed = run(&shell("echo out; echo err >&2; (sleep 0.2; echo late) & exit 3"));
    observed.has_exited(3);
    assert_eq!((observed.text().as_str(), observed.errors().as_str()), ("out\n", "err\n"));
    let observed = run(&shell("head -c 60000 /dev/zero; head -c 60001 /dev/zero >&2"));
    assert_eq!((observed.stdout.len(), observed.stderr.len()), (60_000, 60_001));
}

fn a_ping_is_answered_while_the_program_sleeps() {
    let pings = vec![("ready", Control::Ping), ("ready", Control::Ping)];
    let observed = run_with(&shell("echo ready; sleep 0.5"), Script { after: pings, ..Script::default() });
    observed.has_exited(0);
    assert_eq!(observed.answers, 2);
}

fn much_output_comes_through_the_window() {
    let observed = run(&shell("seq 7000000"));
    observed.has_exited(0);
    assert!(observed.stdout.len() > 50_000_000);
    assert!(observed.most_on_the_way <= WINDOW);
    let mut numbers = observed.stdout.split(|&byte| byte == b'\n');
    for number in 1..=7_000_000 {
        assert_eq!(numbers.next(), Some(number.to_string().as_bytes()));
    }
}

fn much_input_comes_through_the_window() {
    let input: Vec<u8> = (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let observed = run_with(&shell("cat"), Script { input: input.clone(), ..Script::default() });
    observed.has_exited(0);
    assert!(observed.stdout == input, "{} bytes observed back", observed.stdout.len());
}

fn input_that_nobody_reads_is_taken() {
    let input = vec![b'x'; 1_000_000];
    let observed =
        run_with(&shell("exec <&-; sleep 0.3; echo done"), Script { input: input.clone(), ..Script::default() });
    observed.has_exited(0);
    assert_eq!(observed.text(), "done\n");
    let observed = run_with(&shell("head -c 3"), Script { input, ..Script::default() });
    observed.has_exited(0);
    assert_eq!(observed.text(), "xxx");
}

fn a_closed_stream_ends_its_writer() {
    let script = Script { after: vec![("y", Control::Closed { stream: Stream::Stdout })], ..Script::default() };
    let observed = run_with(&shell("exec yes"), script);
    assert_eq!(observed.outcome, LegOutcome::Ended(CommandEnd::Killed { signal: 13 }));
}

fn output_beyond_the_limit_is_dropped() {
    let observed = run_with(&shell("head -c 1000000 /dev/zero"), Script { output_limit: 1000, ..Script::default() });
    observed.has_exited(0);
    assert_eq!((observed.stdout.len(), observed.dropped), (1000, 999_000));
}

/// The command ends while the host has taken nothing.
fn output_waits_for_a_reader_that_is_slow() {
    let after = vec![("end\n", Control::Taken { stream: Stream::Stdout, bytes: WINDOW })];
    let zeros = WINDOW - 4;
    let observed = run_with(
        &shell(&format!("head -c {zeros} /dev/zero; echo end; head -c 50000 /dev/zero; echo more")),
        Script { takes: false, after, ..Script::default() },
    );
    observed.has_exited(0);
    assert!(observed.text().ends_with("\0more\n"));
    assert_eq!(observed.stdout.len() as u64, WINDOW + 50_005);
}

fn output_that_nobody_takes_is_given_up_after_a_time_limit() {
    let observed = run_with(&shell("exec yes"), Script { limit_ms: 300, takes: false, ..Script::default() });
    assert_eq!(observed.outcome, LegOutcome::TimedOut { limit_ms: 300 });
    assert_eq!(observed.stdout.len() as u64, WINDOW);
}
