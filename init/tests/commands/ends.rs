//! How commands end, and what keeps them from starting.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use vmlab_protocol::command::{CommandEnd, Control, Text, User};
use vmlab_protocol::message::LegOutcome;

use crate::host::{Observed, Scratch, Script, command, run, run_with, shell};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("the_exit_code_is_the_programs", the_exit_code_is_the_programs),
    ("signals_that_kill_are_told_by_number", signals_that_kill_are_told_by_number),
    ("signals_reach_the_whole_process_group", signals_reach_the_whole_process_group),
    ("signals_can_be_handled", signals_can_be_handled),
    ("a_command_can_be_stopped_and_continued", a_command_can_be_stopped_and_continued),
    ("a_program_that_does_not_exist_is_not_found", a_program_that_does_not_exist_is_not_found),
    ("a_missing_interpreter_is_named", a_missing_interpreter_is_named),
    ("a_program_that_cannot_be_executed_says_why", a_program_that_cannot_be_executed_says_why),
    ("a_missing_working_directory_is_a_failure", a_missing_working_directory_is_a_failure),
    ("a_command_is_killed_at_its_time_limit", a_command_is_killed_at_its_time_limit),
    ("processes_that_a_command_leaves_are_killed", processes_that_a_command_leaves_are_killed),
    ("the_environment_and_the_user_are_the_commands", the_environment_and_the_user_are_the_commands),
];

fn the_exit_code_is_the_programs() {
    for code in [0, 1, 125, 255] {
        run(&shell(&format!("exit {code}"))).has_exited(code);
    }
    let observed = run(&command(&["/bin/echo", "two words", "", "$HOME"]));
    observed.has_exited(0);
    assert_eq!(observed.text(), "two words  $HOME\n");
}

fn killed(observed: &Observed, signal: i32) {
    assert_eq!(observed.outcome, LegOutcome::Ended(CommandEnd::Killed { signal }), "{}", observed.errors());
}

fn signals_that_kill_are_told_by_number() {
    // 34 to 64 are real-time signals, of which libraries use the first ones.
    for signal in [1, 9, 11, 13, 40, 64] {
        killed(&run(&shell(&format!("kill -{signal} $$"))), signal);
    }
}

fn signals_reach_the_whole_process_group() {
    let script = Script { after: vec![("ready", Control::Signal { signal: 15 })], ..Script::default() };
    let child = "(trap 'echo child; exit' TERM; echo ready; while :; do sleep 0.05; done)";
    let observed = run_with(&shell(&format!("trap 'wait; exit 4' TERM; {child} & wait")), script);
    observed.has_exited(4);
    assert_eq!(observed.text(), "ready\nchild\n");
}

fn signals_can_be_handled() {
    let after = vec![
        ("ready", Control::Signal { signal: 2 }),
        ("got 2", Control::Signal { signal: 1000 }),
        ("got 2", Control::Signal { signal: 1 }),
    ];
    let text = "trap 'echo got 2' INT; trap 'echo got 1; exit 5' HUP; echo ready; while :; do sleep 0.05; done";
    let observed = run_with(&shell(text), Script { after, ..Script::default() });
    observed.has_exited(5);
    assert_eq!(observed.text(), "ready\ngot 2\ngot 1\n");
}

fn a_command_can_be_stopped_and_continued() {
    // The background process tells that its parent has stopped, and is in a session of its own to go on itself.
    let after = vec![
        ("ready", Control::Signal { signal: 20 }),
        ("stopped", Control::Signal { signal: 18 }),
        ("stopped", Control::Signal { signal: 15 }),
    ];
    // The shell starts nothing more: while its child is between vfork(2) and execve(2), it does not stop.
    let watcher = "echo ready; until grep -q '^State:.T' /proc/$$/status; do sleep 0.05; done; echo stopped";
    let script = Script { after, ..Script::default() };
    let observed = run_with(&shell(&format!("setsid sh -c \"{watcher}\" & wait; exec sleep 1000")), script);
    killed(&observed, 15);
    assert_eq!(observed.text(), "ready\nstopped\n");
}

fn not_found(argv: &[&str]) -> String {
    match run(&command(argv)).outcome {
        LegOutcome::Ended(CommandEnd::NotFound { detail }) => detail,
        other => panic!("{argv:?}: {other:?}"),
    }
}

fn a_program_that_does_not_exist_is_not_found() {
    assert_eq!(not_found(&["no-such-program"]), "no directory of PATH has a program `no-such-program`");
    assert_eq!(not_found(&[""]), "no directory of PATH has a program ``");
    let missing = "the program `/no/such` does not exist here: execve: ENOENT: No such file or directory";
    assert_eq!(not_found(&["/no/such"]), missing);
    assert!(not_found(&["/bin/sh/x"]).contains("ENOTDIR"));
}

fn a_missing_interpreter_is_named() {
    let scratch = Scratch::new("interpreters");
    let file = |name: &str, content: &str| {
        let path = scratch.0.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let script = file("script", "#!/no/such/interpreter -x\n");
    let needs = |path: &str, name: &str| format!("`{path}` needs the interpreter `{name}`, which does not exist here");
    assert_eq!(not_found(&[&script]), needs(&script, "/no/such/interpreter"));
    let dos = file("dos", "#!/bin/sh\r\necho\r\n");
    assert_eq!(not_found(&[&dos]), needs(&dos, "/bin/sh\\r"));
    let nested = file("nested", &format!("#!{script}\n"));
    assert_eq!(not_found(&[&nested]), needs(&script, "/no/such/interpreter"));
}

fn not_executable(argv: &[&str]) -> String {
    match run(&command(argv)).outcome {
        LegOutcome::Ended(CommandEnd::NotExecutable { detail }) => detail,
        other => panic!("{argv:?}: {other:?}"),
    }
}

fn a_program_that_cannot_be_executed_says_why() {
    let scratch = Scratch::new("programs");
    let file = |name: &str, content: &[u8], mode: u32| {
        let path = scratch.0.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    assert!(not_executable(&["/usr"]).starts_with("`/usr` is a directory: execve: EACCES"));
    let plain = file("plain", b"echo\n", 0o644);
    assert!(not_executable(&[&plain]).starts_with(&format!("`{plain}` has the permissions 0644: execve: EACCES")));
    let text = file("text", b"echo\n", 0o755);
    assert!(
        not_executable(&[&text]).contains("is neither a program nor a script that begins with #!: execve: ENOEXEC")
    );
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(128, 0);
    elf[16..20].copy_from_slice(&[2, 0, 22, 0]);
    assert!(not_executable(&[&file("foreign", &elf, 0o755)]).contains("is a program for s390x, and this kernel runs"));
}

fn a_missing_working_directory_is_a_failure() {
    let mut command = command(&["true"]);
    command.cwd = Text::from("/no/such/directory");
    let LegOutcome::Failed { detail } = run(&command).outcome else { panic!("started") };
    assert!(detail.starts_with("the working directory /no/such/directory cannot be entered: chdir: "), "{detail}");
}

fn a_command_is_killed_at_its_time_limit() {
    let observed = run_with(&shell("echo before; sleep 1000"), Script { limit_ms: 300, ..Script::default() });
    assert_eq!(observed.outcome, LegOutcome::TimedOut { limit_ms: 300 });
    assert_eq!(observed.text(), "before\n");
}

fn processes_that_a_command_leaves_are_killed() {
    let observed = run(&shell("(trap '' HUP TERM; setsid sleep 1000) & echo left; kill -64 $$"));
    killed(&observed, 64);
    assert_eq!(observed.text(), "left\n");
}

fn the_environment_and_the_user_are_the_commands() {
    let mut command = command(&["sh", "-c", "env | sort; id -u; id -g; id -G; echo again >/dev/stderr"]);
    command.env = vec![Text::from("PATH=/bin:/usr/bin"), Text::from("ODD=a=b c")];
    command.user = User { uid: 1000, gid: 1001, groups: vec![1001, 1002] };
    let observed = run(&command);
    observed.has_exited(0);
    let text = observed.text();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("PWD=") && !line.starts_with('_')).collect();
    assert_eq!(lines[..5], ["ODD=a=b c", "PATH=/bin:/usr/bin", "1000", "1001", "1001 1002"]);
    assert_eq!(observed.errors(), "again\n");
}
