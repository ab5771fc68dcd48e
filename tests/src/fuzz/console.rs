//! The console's classifier: its result does not depend on how the bytes are split, and its memory is bounded.

use vmlab_console::ConsoleReader;

pub const WORDS: &[&[u8]] = &[
    b"\n[    1.234567] ",
    b"\n[    1.234567][    T1] ",
    b"\n[    1.234567][    C0] ",
    b"\r\n",
    b"\x1b[31m",
    b"\xff\xfe\0",
    b"Kernel panic - not syncing: Fatal exception",
    b"BUG: kernel NULL pointer dereference, address: 0000000000000000",
    b"BUG: KASAN: slab-out-of-bounds in foo+0x1/0x2",
    b"BUG: KFENCE: use-after-free read in foo+0x1/0x2",
    b"UBSAN: array-index-out-of-bounds in kernel/foo.c:1:2",
    b"BUG: KCSAN: data-race in foo / bar",
    b"WARNING: CPU: 0 PID: 1 at kernel/foo.c:12 foo+0x1/0x2",
    b"WARNING: possible circular locking dependency detected",
    b"------------[ cut here ]------------",
    b"---[ end trace 0000000000000000 ]---",
    b"---[ end Kernel panic - not syncing: x ]---",
    b"Oops: 0000 [#1] PREEMPT SMP NOPTI",
    b"kernel BUG at kernel/foo.c:1!",
    b"general protection fault, probably for non-canonical address 0xdead000000000000: 0000 [#1]",
    b"CPU: 0 PID: 1 Comm: init Not tainted 6.1.0 #1",
    b"RIP: 0010:foo+0x1/0x2",
    b"Call Trace:\n <TASK>\n foo+0x1/0x2\n </TASK>\n",
    b"rcu: INFO: rcu_sched self-detected stall on CPU",
    b"watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [a:1]",
    b"INFO: task a:1 blocked for more than 120 seconds.",
    b"Out of memory: Killed process 1 (a)",
    b"vmlab-init: ",
    b"Linux version ",
];

/// The most text that the classifier may keep of one console, in bytes: a trace and the last lines, each of at most 200
/// lines of 4096 bytes, which decoding may triple, and its own text about them.
const KEPT: usize = 8 << 20;

pub fn run(input: &[u8]) {
    let seen = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = ConsoleReader::default();
        pieces.for_each(|piece| reader.push(piece));
        reader.end();
        let (crash, warnings) = (format!("{:?}", reader.crash()), format!("{:?}", reader.take_warnings()));
        (crash, warnings, format!("{:?}", reader.last_lines().collect::<Vec<_>>()))
    };
    let whole = seen(&mut std::iter::once(input));
    assert!(whole.0.len() + whole.1.len() + whole.2.len() <= KEPT, "more is kept than any console is worth");
    assert_eq!(seen(&mut super::pieces(input)), whole, "the same, cut elsewhere");
    assert_eq!(seen(&mut input.chunks(1)), whole, "the same, byte by byte");

    let mut reader = ConsoleReader::default();
    reader.push(input);
    reader.end();
    drop(reader.take_warnings());
    assert!(reader.take_warnings().is_empty(), "each warning is given once");
}
