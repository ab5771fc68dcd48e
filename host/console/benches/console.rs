//! Measures the speed of reading a console: `cargo bench -p vmlab-console --bench console [MB]`. Prints MB/s (10^6
//! bytes) of a core and asserts nothing.
//!
//! The benchmark reads synthetic output first, then each console of the corpus, repeated; the slowest is printed first.

use std::path::Path;
use std::time::Instant;

use vmlab_console::ConsoleReader;

/// The size of a read from a console's socket, in bytes.
const CHUNK: usize = 64 << 10;
/// The number of runs; the fastest counts, because other load slows down a run.
const RUNS: usize = 5;

const BOOT: &[u8] = include_bytes!("../src/corpus/clean-6.12.log");
const OOPS: &[u8] = include_bytes!("../src/corpus/sysrq-crash-6.12.log");

fn main() {
    let megabytes: usize = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(100);
    let bytes = megabytes * 1_000_000;
    let coloured: Vec<u8> = BOOT
        .split_inclusive(|&byte| byte == b'\n')
        .flat_map(|line| [b"\x1b[1;32m".as_slice(), line.trim_ascii_end(), b"\x1b[0m\r\n"].concat())
        .collect();
    let warnings = b"[    1.000000] WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2\r\n[    1.000000] Call Trace:\r\n";
    // Warnings of the same place by a thousand processes, and of a thousand places.
    let by_others: String = (0..1000)
        .map(|n| {
            format!(
                "[    1.{n:06}] WARNING: CPU: 0 PID: {n} at kernel/x.c:1 f+0x1/0x2\r\n[    1.{n:06}] Call Trace:\r\n"
            )
        })
        .collect();
    let elsewhere: String = (0..1000)
        .map(|n| {
            format!(
                "[    1.{n:06}] WARNING: CPU: 0 PID: 1 at kernel/x{n}.c:{n} f+0x1/0x2\r\n[    1.{n:06}] Call Trace:\r\n"
            )
        })
        .collect();
    for (name, pattern) in [
        ("clean boot log", BOOT),
        ("lines of one character", b"x\n"),
        ("a line without a newline", b"x"),
        ("boot log in colour (ANSI)", &coloured),
        ("only time stamps", b"[    1.000000] \n"),
        ("repeated warning", warnings),
        ("a warning by 1000 processes", by_others.as_bytes()),
        ("warnings at 1000 places", elsewhere.as_bytes()),
        ("repeated panic", OOPS),
    ] {
        println!("{name:<32} {:>8.0} MB/s", speed(pattern, bytes));
    }
    println!();
    let mut consoles: Vec<(f64, String)> =
        corpus().into_iter().map(|(name, console)| (speed(&console, bytes / 4), name)).collect();
    consoles.sort_by(|one, other| one.0.total_cmp(&other.0));
    for (speed, name) in consoles {
        println!("{name:<32} {speed:>8.0} MB/s");
    }
}

/// The consoles of the corpus, without their headers.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/corpus");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let read = |path: &Path| {
        let console: Vec<u8> = std::fs::read(path)
            .ok()?
            .split_inclusive(|&byte| byte == b'\n')
            .filter(|line| !line.starts_with(b"#: "))
            .collect::<Vec<_>>()
            .concat();
        Some((path.file_stem()?.to_str()?.to_owned(), console))
    };
    files.filter_map(|file| read(&file.path())).collect()
}

/// The speed in MB/s for `bytes` bytes of the repeated pattern.
fn speed(pattern: &[u8], bytes: usize) -> f64 {
    let console: Vec<u8> = pattern.iter().copied().cycle().take(bytes).collect();
    let best = (0..RUNS).map(|_| seconds(&console)).fold(f64::INFINITY, f64::min);
    f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1000.0 / best
}

/// The time to read a console, in seconds.
fn seconds(console: &[u8]) -> f64 {
    let began = Instant::now();
    let mut reader = ConsoleReader::default();
    console.chunks(CHUNK).for_each(|chunk| reader.push(chunk));
    reader.end();
    std::hint::black_box((reader.crash().is_some(), reader.take_warnings()));
    began.elapsed().as_secs_f64()
}
