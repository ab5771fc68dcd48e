//! How fast a console is read: `cargo bench -p vmlab --bench console [MB]`. Prints MB/s (10^6 bytes) of one core, and
//! asserts nothing about them: that is for whoever looks.

use std::time::Instant;

use vmlab::verdict::console::ConsoleReader;

/// So much comes at once from a console's socket, in bytes.
const CHUNK: usize = 64 << 10;
/// The best of so many runs counts: the others were disturbed.
const RUNS: usize = 5;

const BOOT: &[u8] = include_bytes!("../src/verdict/console/corpus/clean-6.12.log");
const OOPS: &[u8] = include_bytes!("../src/verdict/console/corpus/sysrq-crash-6.12.log");

fn main() {
    let megabytes: usize = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(100);
    let bytes = megabytes * 1_000_000;
    let coloured: Vec<u8> = BOOT
        .split_inclusive(|&byte| byte == b'\n')
        .flat_map(|line| [b"\x1b[1;32m".as_slice(), line.trim_ascii_end(), b"\x1b[0m\r\n"].concat())
        .collect();
    let warnings = b"[    1.000000] WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2\r\n[    1.000000] Call Trace:\r\n";
    for (name, pattern) in [
        ("clean boot log", BOOT),
        ("lines of one character", b"x\n"),
        ("one endless line", b"x"),
        ("boot log in colour (ANSI)", &coloured),
        ("nothing but time stamps", b"[    1.000000] \n"),
        ("warning upon warning", warnings),
        ("panic upon panic", OOPS),
    ] {
        let console: Vec<u8> = pattern.iter().copied().cycle().take(bytes).collect();
        let best = (0..RUNS).map(|_| seconds(&console)).fold(f64::INFINITY, f64::min);
        println!("{name:<26} {:>8.0} MB/s", f64::from(u32::try_from(megabytes).unwrap_or(u32::MAX)) / best);
    }
}

/// How long it takes to read a console.
fn seconds(console: &[u8]) -> f64 {
    let began = Instant::now();
    let mut reader = ConsoleReader::default();
    console.chunks(CHUNK).for_each(|chunk| reader.push(chunk));
    reader.end();
    std::hint::black_box((reader.crash().is_some(), reader.take_warnings()));
    began.elapsed().as_secs_f64()
}
