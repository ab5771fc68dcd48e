//! Standard output that is closed or full, or whose reader ends.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use vmlab_events::exit;
use vmlab_tests::UTS;
use vmlab_tests::fake::script::{Action, Guest, hello};
use vmlab_tests::lab::FakeLab;

use crate::{FAKE_QEMU, ONLY_HOSTNAME, VMLAB, lab, leaves_nothing};

#[test]
fn a_reader_that_closes_the_pipe_is_no_failure() {
    // The guest continues only after the reader has closed the pipe.
    let guest = Guest::new(vec![hello(), Action::AwaitMark("reader-has-gone".to_owned()), Action::ServeRest]);
    let lab = FakeLab::new(VMLAB, FAKE_QEMU, vec![guest]);
    let mut command = lab.env.command(VMLAB);
    let stderr = lab.file("stderr");
    command.args(lab.arguments(&UTS)).stdout(Stdio::piped()).stderr(File::create(&stderr).unwrap());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(!line.is_empty());
    fs::write(lab.dir().join("reader-has-gone"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(i32::from(exit::OK)));
    let stderr = fs::read_to_string(stderr).unwrap();
    assert!(!stderr.contains("panicked") && !stderr.contains("vmlab: "), "{stderr}");
    // The report in the file is complete.
    assert!(
        lab.events().iter().any(|stamped| matches!(stamped.event, vmlab_events::event::LabEvent::RunFinished { .. }))
    );
    leaves_nothing(&lab.env);
}

/// The first run fills the cache. The second run may write files of at most 4 KiB.
#[test]
fn a_file_size_limit_has_the_effect_of_a_full_disk() {
    let lab = FakeLab::new(VMLAB, FAKE_QEMU, vec![Guest::good(); 2]);
    let arguments = lab.arguments(&UTS);
    lab.env.run(&arguments).exits(exit::OK);
    let mut command = lab.env.command("sh");
    command.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\"", VMLAB]).args(arguments);
    let ended = lab.env.start_command(command).wait();
    ended.exits(exit::LAB);
    assert!(ended.stdout.contains("3 passed") && ended.stderr.contains("File too large"), "{ended}");
    leaves_nothing(&lab.env);
}

#[test]
fn a_file_size_limit_that_a_template_exceeds_is_reported_and_guests_boot() {
    let lab = lab();
    let mut command = lab.env.command("sh");
    command.args(["-c", "ulimit -f 100000; exec \"$0\" \"$@\"", VMLAB]);
    command.args(lab.arguments(&[ONLY_HOSTNAME, "--isolation", "fork"]));
    let ended = lab.env.start_command(command).wait();
    ended.exits(exit::OK);
    assert!(ended.stdout.contains("guests are booted, not forked") && ended.stdout.contains("too large"), "{ended}");
}

#[test]
fn a_full_standard_output_is_reported_and_is_no_success() {
    let lab = lab();
    let mut command = lab.env.command("sh");
    command.args(["-c", "exec \"$0\" \"$@\" >/dev/full", VMLAB]).args(lab.arguments(&UTS));
    let ended = lab.env.start_command(command).wait();
    ended.exits(exit::LAB);
    assert!(
        ended.stderr.contains("the human report to standard output is not whole: No space left on device"),
        "{ended}"
    );
    assert!(ended.stderr.contains("`vmlab report RUN --format FORMAT --output FILE`"), "{ended}");
    leaves_nothing(&lab.env);
    // The remedy works.
    let again = lab.env.run(&["report", "latest"]);
    again.exits(exit::OK);
    assert!(again.stdout.contains("3 passed"), "{again}");
}

#[test]
fn closed_standard_streams_break_nothing() {
    for redirection in [">&-", "2>&-", ">&- 2>&- <&-"] {
        let lab = lab();
        let mut command = lab.env.command("sh");
        command.args(["-c", &format!("exec \"$0\" \"$@\" {redirection}"), VMLAB]).args(lab.arguments(&[ONLY_HOSTNAME]));
        let ended = lab.env.start_command(command).wait();
        lab.outcome(ended).exits(exit::OK);
    }
}

#[test]
fn a_report_that_was_asked_for_on_a_closed_standard_output_is_no_success() {
    let lab = lab();
    let ended = |arguments: &str| {
        let mut command = lab.env.command("sh");
        command.args(["-c", &format!("exec \"$0\" {arguments} >&-"), VMLAB]);
        lab.env.start_command(command).wait()
    };
    for arguments in ["run --report json -k /no/such/kernel", "run --report ktap -k /no/such/kernel", "list"] {
        let ended = ended(arguments);
        ended.exits(exit::LAB);
        assert!(ended.stderr.contains("standard output") && ended.stderr.contains("closed"), "{ended}");
    }
    lab.env.run(&lab.arguments(&[ONLY_HOSTNAME])).exits(exit::OK);
    ended("report latest").exits(exit::OK);
    ended("report latest --format json").exits(exit::LAB);
}

#[test]
fn other_commands_report_a_full_standard_output_and_ignore_a_closed_pipe() {
    let lab = lab();
    let with_stdout = |redirection: &str, arguments: &[&str]| {
        let mut command = lab.env.command("sh");
        command.args(["-c", &format!("\"$0\" \"$@\" {redirection}"), VMLAB]).args(arguments);
        lab.env.start_command(command).wait()
    };
    for arguments in [&["list"][..], &["list", "--json"], &["kernel", "list"], &["--help"], &["--version"]] {
        let ended = with_stdout("| true", arguments);
        assert!(!ended.stderr.contains("panicked"), "{arguments:?}: {ended}");
    }
    for arguments in [&["list"][..], &["list", "--json"], &["kernel", "list"]] {
        let ended = with_stdout(">/dev/full", arguments);
        ended.exits(exit::LAB);
        assert!(ended.stderr.contains("cannot write to standard output"), "{arguments:?}: {ended}");
    }
}

#[test]
fn a_small_stack_limit_ends_no_command() {
    let lab = lab();
    let with_limit = |kib: u32, arguments: &[String]| {
        let mut command = lab.env.command("/bin/sh");
        command.args(["-c", &format!("ulimit -s {kib}; exec \"$0\" \"$@\""), VMLAB]).args(arguments);
        lab.env.start_command(command).wait()
    };
    for kib in [64, 128, 256] {
        for words in [&["list"][..], &["help", "kernels"], &["doctor", "--help"]] {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            with_limit(kib, &words).exits(exit::OK);
        }
    }
    lab.outcome(with_limit(64, &lab.arguments(&[ONLY_HOSTNAME]))).exits(exit::OK).has("uts.hostname", "PASS", "");
    // With less, QEMU does not start.
    let ended = with_limit(24, &lab.arguments(&[ONLY_HOSTNAME]));
    ended.exits(exit::LAB);
    assert!(ended.stderr.contains("the stack limit is 24 KiB, and QEMU needs 40 KiB or more"), "{ended}");
}
