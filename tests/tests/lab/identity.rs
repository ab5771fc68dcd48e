//! A guest must be the machine that vmlab asked for, and speak the protocol of this vmlab.

use serde_json::{Value, json};
use vmlab_events::exit;
use vmlab_tests::fake::script::{Action, Guest, hello_with};

use crate::{HOSTNAME, ONLY_HOSTNAME, lab};

/// Runs a guest whose hello has these fields, and checks that no scenario runs: the verdict has this label and text.
fn with(fields: Value, label: &str, text: &str) {
    let outcome = lab(vec![Guest::new(vec![hello_with(fields), Action::Hang])]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, label, text);
    assert_eq!(outcome.guests(), 1);
}

#[test]
fn a_guest_with_another_kernel_runs_nothing() {
    let text = "the guest runs Linux 5.10.0-1 instead of 6.12.0-fixture";
    with(json!({"kernel_release": "5.10.0-1"}), "NO-BOOT", text);
}

#[test]
fn a_guest_with_another_major_version_of_the_protocol_runs_nothing() {
    with(json!({"protocol": {"major": 2, "minor": 0}}), "GARBLED", "the guest speaks protocol 2, this vmlab speaks 1");
}

#[test]
fn a_newer_minor_version_of_the_protocol_is_accepted() {
    let hello = hello_with(json!({"protocol": {"major": 1, "minor": 9}}));
    lab(vec![Guest::new(vec![hello, Action::ServeRest])]).run(&[ONLY_HOSTNAME]).exits(exit::OK);
}

#[test]
fn a_guest_with_other_processors_or_memory_runs_nothing() {
    with(json!({"cpus": 2}), "NO-BOOT", "the guest has 2 processors online instead of 1");
    with(json!({"memory_bytes": 64_u64 << 20}), "NO-BOOT", "the guest has 64 MiB of memory instead of 256 MiB");
}

#[test]
fn a_guest_with_other_devices_runs_nothing() {
    with(json!({"virtio": []}), "NO-BOOT", "the guest has 0 virtio consoles instead of 1");
    let legacy = json!({"name": "virtio0", "id": 3, "features": "0".repeat(64), "status": 15});
    with(json!({ "virtio": [legacy] }), "NO-BOOT", "was negotiated as a legacy device");
    let failed = json!({"name": "virtio0", "id": 3, "features": "1".repeat(64), "status": 0x8f});
    with(json!({ "virtio": [failed] }), "NO-BOOT", "has failed (status 0x8f)");
}

#[test]
fn a_guest_whose_console_hides_warnings_runs_nothing() {
    with(json!({"console_level": 4}), "NO-BOOT", "kernel.printk is 4");
    with(json!({"consoles": ["tty0"]}), "NO-BOOT", "does not print on ttyS0, which vmlab reads, but on tty0");
}

#[test]
fn problems_of_a_guests_boot_are_reported() {
    let hello = hello_with(json!({"problems": ["cannot mount \u{1b}[31m/sys"]}));
    let outcome = lab(vec![Guest::new(vec![hello, Action::ServeRest])]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::OK);
    assert!(outcome.notices().any(|text| text.contains("cannot mount")), "{outcome:?}");
    assert!(!outcome.ended.stdout.contains('\u{1b}'), "{}", outcome.ended);
}

#[test]
fn options_of_the_command_line_reach_the_guest() {
    // The hello of the fake guest describes the machine on QEMU's command line, so only the right machine passes.
    let outcome = lab(vec![Guest::good()]).run(&[ONLY_HOSTNAME, "--cpus", "3", "--memory", "512", "--append", "a.b=c"]);
    outcome.exits(exit::OK);
    let hello = outcome.events.iter().find_map(|stamped| match &stamped.event {
        vmlab_events::event::LabEvent::GuestReady { hello, .. } => Some(hello.clone()),
        _ => None,
    });
    let hello = hello.expect("the guest came up");
    assert_eq!(hello.cpus, 3);
    assert!(hello.command_line.ends_with(" a.b=c"), "{}", hello.command_line);
}
