//! Commands with a terminal.

use vmlab_protocol::command::{Command, CommandEnd, Control, User, WindowSize};
use vmlab_protocol::message::{LegOutcome, Stream};

use crate::host::{Script, run_with, shell};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("a_terminal_is_the_controlling_one", a_terminal_is_the_controlling_one),
    ("a_terminal_has_a_size_that_changes", a_terminal_has_a_size_that_changes),
    ("signals_go_to_the_foreground", signals_go_to_the_foreground),
    ("a_terminal_takes_input_and_interrupts", a_terminal_takes_input_and_interrupts),
    ("no_output_of_a_terminal_is_lost_at_the_end", no_output_of_a_terminal_is_lost_at_the_end),
    ("a_terminal_that_hangs_up_ends_nothing_else", a_terminal_that_hangs_up_ends_nothing_else),
    ("a_terminal_that_nobody_reads_holds_up_nothing", a_terminal_that_nobody_reads_holds_up_nothing),
];

const SIZE: WindowSize = WindowSize { rows: 24, columns: 80 };

fn in_terminal(script: &str) -> Command {
    Command { terminal: Some(SIZE), ..shell(script) }
}

fn script() -> Script {
    Script { ends_input: false, ..Script::default() }
}

fn a_terminal_is_the_controlling_one() {
    let user = User { uid: 1000, gid: 1000, groups: Vec::new() };
    for user in [User::ROOT, user] {
        let uid = user.uid;
        let observed =
            run_with(&Command { user, ..in_terminal("tty; echo tty >/dev/tty; stat -c %u $(tty)") }, script());
        observed.has_exited(0);
        let lines: Vec<_> = observed.text().lines().map(str::to_owned).collect();
        assert!(lines[0].starts_with("/dev/pts/"), "{lines:?}");
        assert_eq!(lines[1..], ["tty".to_owned(), uid.to_string()]);
        assert!(observed.stderr.is_empty());
    }
}

fn a_terminal_has_a_size_that_changes() {
    let size = WindowSize { rows: 50, columns: 132 };
    let after = vec![("ready", Control::Resize { size })];
    let text = "stty size; trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done";
    let observed = run_with(&in_terminal(text), Script { after, ..script() });
    assert_eq!(observed.text(), "24 80\r\nready\r\n50 132\r\n");
}

fn signals_go_to_the_foreground() {
    let after = vec![("ready", Control::Signal { signal: 15 })];
    let text = "set -m; sh -c 'echo ready; exec sleep 1000'; echo $?";
    let observed = run_with(&in_terminal(text), Script { after, ..script() });
    observed.has_exited(0);
    assert!(observed.text().contains("143"), "{}", observed.text());
}

fn a_terminal_takes_input_and_interrupts() {
    let typed = |input: &[u8]| Script { input: input.to_vec(), input_after: "ready", ..script() };
    let observed = run_with(&in_terminal("stty -echo; echo ready; read line; echo \"<$line>\""), typed(b"typed\r"));
    assert_eq!(observed.text(), "ready\r\n<typed>\r\n");
    let observed = run_with(&in_terminal("echo ready; cat; echo end"), typed(b"x\r\x04"));
    observed.has_exited(0);
    assert!(observed.text().ends_with("x\r\nend\r\n"), "{}", observed.text());
    let observed = run_with(&in_terminal("echo ready; exec sleep 1000"), typed(b"\x03"));
    assert_eq!(observed.outcome, LegOutcome::Ended(CommandEnd::Killed { signal: 2 }));
}

fn no_output_of_a_terminal_is_lost_at_the_end() {
    let observed = run_with(&in_terminal("stty -opost; seq 100000"), script());
    observed.has_exited(0);
    let lines: Vec<_> = observed.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 100_000);
    assert_eq!(lines.last().map(String::as_str), Some("100000"));
}

fn a_terminal_that_hangs_up_ends_nothing_else() {
    // The descriptors are closed and opened again while the command goes on.
    let observed = run_with(&in_terminal("exec <&- >&- 2>&-; sleep 0.2; echo again >/dev/tty; exit 6"), script());
    observed.has_exited(6);
    assert_eq!(observed.text(), "again\r\n");
}

fn a_terminal_that_nobody_reads_holds_up_nothing() {
    let after = vec![("1000", Control::Closed { stream: Stream::Stdout })];
    let observed = run_with(&in_terminal("seq 1000000; exit 4"), Script { takes: false, after, ..script() });
    observed.has_exited(4);
    assert!(!observed.text().contains("1000000"));
}
