//! The root of a command.

use std::fs;
use std::path::Path;

use vmlab_protocol::command::{Command, Text};

use crate::host::{Scratch, run, shell};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("a_command_can_write_anywhere_and_changes_nothing", a_command_can_write_anywhere_and_changes_nothing),
    ("the_file_systems_of_the_kernel_are_at_their_places", the_file_systems_of_the_kernel_are_at_their_places),
    ("the_host_name_and_the_loopback_device_are_set", the_host_name_and_the_loopback_device_are_set),
    ("a_command_can_make_namespaces", a_command_can_make_namespaces),
    ("a_working_directory_below_run_is_shown", a_working_directory_below_run_is_shown),
    ("a_root_without_files_has_the_file_systems", a_root_without_files_has_the_file_systems),
];

fn succeeds(script: &str) -> String {
    let observed = run(&shell(&format!("set -e; {script}")));
    observed.has_exited(0);
    observed.text()
}

fn a_command_can_write_anywhere_and_changes_nothing() {
    let scratch = Scratch::new("write");
    let dir = scratch.0.display();
    fs::write(scratch.0.join("file"), "old").unwrap();
    fs::create_dir(scratch.0.join("directory")).unwrap();
    let script = format!(
        "cd {dir}; cat file; echo new >file; cat file; rm -r directory; mkdir other; mv other renamed; ls; echo x >/made; \
         echo x >/tmp/made; touch /usr/bin/made; echo x >/dev/shm/made; echo x >/run/made; stat -c %a /tmp"
    );
    assert_eq!(succeeds(&script), "oldnew\nfile\nrenamed\n1777\n");
    assert_eq!(fs::read_to_string(scratch.0.join("file")).unwrap(), "old");
    assert!(scratch.0.join("directory").exists());
    for made in ["/made", "/tmp/made", "/usr/bin/made", "/dev/shm/made", "/run/made"] {
        assert!(!Path::new(made).exists(), "{made}");
    }
}

fn the_file_systems_of_the_kernel_are_at_their_places() {
    let text = succeeds("cat /proc/self/mountinfo");
    let has = |target: &str, kind: &str| {
        let is_it = |line: &&str| line.split(' ').nth(4) == Some(target) && line.contains(&format!(" - {kind} "));
        assert!(text.lines().any(|line| is_it(&line)), "{target}: {text}");
    };
    for (target, kind) in [
        ("/", "overlay"),
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev", "devtmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
        ("/run", "tmpfs"),
    ] {
        has(target, kind);
    }
    assert_eq!(succeeds("echo a | cat /dev/stdin; test -e /dev/fd/0; echo b >/dev/stdout; : >/dev/null"), "a\nb\n");
}

fn the_host_name_and_the_loopback_device_are_set() {
    assert_eq!(succeeds("cat /proc/sys/kernel/hostname"), "guest\n");
    assert_eq!(succeeds("cat /sys/class/net/lo/flags"), "0x9\n");
}

fn a_command_can_make_namespaces() {
    assert_eq!(succeeds("unshare --user --map-root-user --mount --pid --fork --mount-proc sh -c 'echo $$'"), "1\n");
}

fn a_working_directory_below_run_is_shown() {
    let scratch = Scratch::below(Path::new("/run"), "work");
    fs::write(scratch.0.join("file"), "here\n").unwrap();
    let cwd = Text::from(scratch.0.as_os_str().to_owned());
    let observed = run(&Command { cwd, ..shell("cat file; ls -A /run | wc -l; echo changed >file; pwd") });
    observed.has_exited(0);
    assert_eq!(observed.text(), format!("here\n1\n{}\n", scratch.0.display()));
    assert_eq!(fs::read_to_string(scratch.0.join("file")).unwrap(), "here\n");
}

fn a_root_without_files_has_the_file_systems() {
    let command = Command { host_files: false, ..shell("true") };
    let outcome = format!("{:?}", run(&command).outcome);
    assert!(outcome.contains("no directory of PATH has a program `sh`"), "{outcome}");
}
