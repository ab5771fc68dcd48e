//! A guest must be the machine that was asked for, and speak this vmlab's protocol.

use serde_json::{Value, json};
use vmlab_events::exit;
use vmlab_tests::fake::script::{Action, Guest, hello_with};

use crate::{HOSTNAME, ONLY_HOSTNAME, lab};

/// What comes of a guest whose hello says otherwise: the first guest decides, and no scenario runs in it.
fn with(fields: Value, word: &str, words: &str) {
    let outcome = lab(vec![Guest::new(vec![hello_with(fields), Action::Hang])]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, word, words);
    assert_eq!(outcome.guests(), 1);
}

#[test]
fn another_kernel() {
    let words = "the guest runs Linux 5.10.0-1, 6.12.0-fixture was to be booted";
    with(json!({"kernel_release": "5.10.0-1"}), "NO-BOOT", words);
}

#[test]
fn another_protocol() {
    with(json!({"protocol": {"major": 2, "minor": 0}}), "GARBLED", "the guest speaks protocol 2, this vmlab speaks 1");
}

#[test]
fn a_newer_minor_version_is_the_same_protocol() {
    let hello = hello_with(json!({"protocol": {"major": 1, "minor": 9}}));
    lab(vec![Guest::new(vec![hello, Action::ServeRest])]).run(&[ONLY_HOSTNAME]).exits(exit::OK);
}

#[test]
fn other_processors_or_memory() {
    with(json!({"cpus": 2}), "NO-BOOT", "the guest has 2 processors online, 1 were asked for");
    with(json!({"memory_bytes": 64_u64 << 20}), "NO-BOOT", "the guest has 64 MiB of memory, 256 MiB were asked for");
}

#[test]
fn another_set_of_devices() {
    with(json!({"virtio": []}), "NO-BOOT", "the guest shows 0 virtio consoles, one was asked for");
    let legacy = json!({"name": "virtio0", "id": 3, "features": "0".repeat(64), "status": 15});
    with(json!({ "virtio": [legacy] }), "NO-BOOT", "was negotiated as a legacy device");
    let failed = json!({"name": "virtio0", "id": 3, "features": "1".repeat(64), "status": 0x8f});
    with(json!({ "virtio": [failed] }), "NO-BOOT", "has failed (status 0x8f)");
}

#[test]
fn a_kernel_whose_warnings_would_not_be_seen() {
    with(json!({"console_level": 4}), "NO-BOOT", "kernel.printk is 4");
    with(json!({"consoles": ["tty0"]}), "NO-BOOT", "does not print on ttyS0, where it is read, but on: tty0");
}

#[test]
fn a_guest_that_booted_with_problems_says_so() {
    let hello = hello_with(json!({"problems": ["cannot mount \u{1b}[31m/sys"]}));
    let outcome = lab(vec![Guest::new(vec![hello, Action::ServeRest])]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::OK);
    assert!(outcome.notices().any(|text| text.contains("cannot mount")), "{outcome:?}");
    assert!(!outcome.ended.stdout.contains('\u{1b}'), "{}", outcome.ended);
}

#[test]
fn the_machine_is_the_one_that_was_typed() {
    // The fake guest's hello tells what it finds on QEMU's command line, so only the right one passes.
    let outcome = lab(vec![Guest::good()]).run(&[ONLY_HOSTNAME, "--cpus", "3", "--memory", "512", "--append", "a.b=c"]);
    outcome.exits(exit::OK);
    let told = outcome.events.iter().find_map(|stamped| match &stamped.event {
        vmlab_events::event::LabEvent::GuestReady { hello, .. } => Some(hello.clone()),
        _ => None,
    });
    let told = told.expect("the guest came up");
    assert_eq!(told.cpus, 3);
    assert!(told.command_line.ends_with(" a.b=c"), "{}", told.command_line);
}
