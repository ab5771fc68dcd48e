//! Kernels as users have them: releases with spaces, packages without modules.dep, and kernels whose configuration says
//! that vmlab cannot use them.

use std::fs;

use roxmltree::Document;
use serde_json::json;
use vmlab_events::event::LabEvent;
use vmlab_events::exit;
use vmlab_tests::fake::script::{Action, Guest, hello_with};
use vmlab_tests::kernel::RELEASE;

use crate::{HOSTNAME, ONLY_HOSTNAME, lab};

/// The lines of a whole configuration that vmlab needs.
const WHOLE: &str = "CONFIG_X86=y\nCONFIG_PRINTK=y\nCONFIG_TTY=y\nCONFIG_SERIAL_8250=y\nCONFIG_SERIAL_8250_CONSOLE=y\n\
                     CONFIG_BLK_DEV_INITRD=y\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_CONSOLE=y\n";

#[test]
fn a_release_with_spaces_is_the_same_in_the_guest_and_in_all_reports() {
    for release in ["6.12.117-it works+1_1", "6.12.0-a  <b> & \"c\"", "6.12.0-größe"] {
        let hello = hello_with(json!({ "kernel_release": release }));
        let lab = lab(vec![Guest::new(vec![hello, Action::ServeRest])]).release(release);
        let junit = lab.file("junit");
        let outcome = lab.run(&[ONLY_HOSTNAME, "--report", &format!("junit={}", junit.display())]);
        outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
        let ready = outcome.events.iter().find_map(|stamped| match &stamped.event {
            LabEvent::KernelReady { release, .. } => Some(release.as_str()),
            _ => None,
        });
        assert_eq!(ready, Some(release));
        let text = fs::read_to_string(junit).unwrap();
        let document = Document::parse(&text).unwrap();
        let mut properties = document.descendants().filter(|node| node.attribute("name") == Some("kernel.release"));
        assert_eq!(properties.next().and_then(|property| property.attribute("value")), Some(release), "{text}");
        assert!(outcome.ended.stdout.contains(release), "{}", outcome.ended);
    }
}

#[test]
fn a_release_that_differs_after_its_first_space_is_another_kernel() {
    let hello = hello_with(json!({"kernel_release": "6.12.0-it"}));
    let lab = lab(vec![Guest::new(vec![hello, Action::Hang])]).release("6.12.0-it works");
    let text = "the guest runs Linux 6.12.0-it instead of 6.12.0-it works";
    lab.run(&[ONLY_HOSTNAME]).exits(exit::LAB).has(HOSTNAME, "NO-BOOT", text);
}

#[test]
fn a_kernel_that_its_configuration_makes_unusable_is_refused_before_its_boot() {
    let own = "CONFIG_CMDLINE_BOOL=y\nCONFIG_CMDLINE=\"console=tty0 quiet\"\n";
    let modules = format!("lib/modules/{RELEASE}");
    for (lines, words) in [
        (format!("{own}CONFIG_CMDLINE_OVERRIDE=y\n"), &["CONFIG_CMDLINE_OVERRIDE=y", "console=tty0 quiet"][..]),
        ("# CONFIG_SERIAL_8250 is not set\n".to_owned(), &["CONFIG_SERIAL_8250 not set", "ttyS0"]),
        ("CONFIG_SERIAL_8250_CONSOLE=n\n".to_owned(), &["build it with CONFIG_SERIAL_8250_CONSOLE=y"]),
        ("# CONFIG_PRINTK is not set\n".to_owned(), &["CONFIG_PRINTK not set"]),
        ("CONFIG_VIRTIO_CONSOLE=m\n".to_owned(), &["CONFIG_VIRTIO_CONSOLE=m", "modules.dep", &modules]),
    ] {
        let lab = lab(vec![Guest::good()]).with_config(&format!("{WHOLE}{lines}"));
        let ended = lab.env.run(&lab.arguments(&[ONLY_HOSTNAME]));
        ended.exits(exit::USAGE);
        for word in words {
            assert!(ended.stderr.contains(word), "{word}: {ended}");
        }
        assert_eq!(lab.unclaimed(), [0], "no guest was started");
    }
    let lab = lab(vec![Guest::good()]).with_config(&format!("{WHOLE}{own}"));
    lab.run(&[ONLY_HOSTNAME]).exits(exit::OK);
}

#[test]
fn missing_modules_and_an_unknown_configuration_are_told_before_the_boot() {
    let lab = lab(vec![Guest::good()]);
    let kernels = lab.file("kernels");
    fs::remove_file(kernels.join(format!("config-{RELEASE}"))).unwrap();
    let outcome = lab.run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::OK);
    let place = format!("lib/modules/{RELEASE} below {}", kernels.display());
    let names_both = |text: &str| text.contains("modules.dep") && text.contains(&place);
    assert!(outcome.notices().any(names_both), "{outcome:?}");
}

#[test]
fn a_console_without_a_line_is_told_after_the_hello() {
    let silent = Guest::new(vec![Action::HoldConsole, hello_with(json!({})), Action::Hang]);
    // The limit of the boot is shorter than the 10 s for the console, which the guest's state machine tests.
    let outcome = lab(vec![silent]).run(&[ONLY_HOSTNAME, "--boot-timeout", "2"]);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "CONFIG_SERIAL_8250_CONSOLE");
    assert_eq!(outcome.guests(), 1);
}
