//! Tests of commands on the host: roots, programs, streams, signals and ends, through the same code as in a guest. Each command runs
//! in namespaces of its own. Without the right to create them (root has it) the test does nothing.
//!
//! The test has its own `main`: fork(2) is sound only in a process of one thread, and the test harness has several.

#![expect(
    dead_code,
    unused_imports,
    reason = "the modules are private to the library; the test uses only parts of them"
)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test without the standard harness")]

#[path = "../../src/agent/mod.rs"]
mod agent;
#[path = "../../src/children.rs"]
mod children;
#[path = "../../src/command/mod.rs"]
mod command;
#[path = "../../src/console.rs"]
mod console;
#[path = "../../src/faults/mod.rs"]
mod faults;
#[path = "../../src/files/mod.rs"]
mod files;
#[path = "../../src/kunit.rs"]
mod kunit;
#[path = "../../src/link.rs"]
mod link;
#[path = "../../src/measure/mod.rs"]
mod measure;
#[path = "../../src/modules.rs"]
mod modules;
#[path = "../../src/sandbox/mod.rs"]
mod sandbox;
#[path = "../../src/scenarios/mod.rs"]
mod scenarios;
#[path = "../../src/sys/mod.rs"]
mod sys;

mod ends;
mod files_out;
mod host;
mod roots;
mod streams;
mod terminals;

fn main() {
    if !host::can_be_guest() {
        println!("the tests of commands are skipped: this user cannot create namespaces");
        return;
    }
    let wanted: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, test) in [ends::TESTS, files_out::TESTS, roots::TESTS, streams::TESTS, terminals::TESTS].concat() {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
}
