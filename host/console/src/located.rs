//! The numbers of the reports' lines.

use super::*;

/// The line of each report, and its title.
fn located(console: &[u8], size: usize) -> Vec<(Option<u64>, String)> {
    let mut reader = ConsoleReader::counting_lines();
    console.chunks(size).for_each(|chunk| reader.push(chunk));
    reader.end();
    reader.take_all().into_iter().map(|located| (located.line, located.finding.title)).collect()
}

#[test]
fn a_report_tells_the_line_of_its_title_however_the_bytes_are_split() {
    let clean = "[    1.0] usb 1-1: new device\r\n\n";
    let lines = [
        clean,
        "[    2.0] ------------[ cut here ]------------\n[    2.0] a message\n",
        "[    2.0] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n[    2.0] Call Trace:\n[    2.0]  f+0x1/0x2\n",
        "[    2.0] ---[ end trace 0000000000000000 ]---\n",
        clean,
        "[    3.0] INFO: task a\n[    3.0] b:4711 blocked for more than 143 seconds.\n",
        "[    4.0] u invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE), order=0\n",
        "[    4.0] Out of memory: Killed process 96 (u) total-vm:119208kB\n",
        "progress\r[    5.0] Leaked locks on dev=0x0:0x17 ino=0x2c1:\n",
        clean,
        "[    6.0] Kernel panic - not syncing: x",
    ]
    .concat();
    let whole = located(lines.as_bytes(), lines.len());
    let numbers: Vec<_> = whole.iter().map(|(line, _)| line.unwrap()).collect();
    assert_eq!(numbers, [5, 11, 14, 15, 18], "{whole:?}");
    for (number, (_, title)) in numbers.into_iter().zip(&whole) {
        let line = lines.lines().nth(usize::try_from(number).unwrap() - 1).unwrap();
        assert!(line.contains(title.lines().next().unwrap()), "{number}: {line}");
    }
    for size in 1..lines.len() {
        assert_eq!(located(lines.as_bytes(), size), whole, "{size}");
    }
}

#[test]
fn a_line_is_counted_beyond_many_blocks_and_long_lines() {
    let console = [
        "x\n".repeat(3 * BLOCK),
        format!("{}\n", "y".repeat(3 * BLOCK)),
        "[    1.0] Kernel panic - not syncing: x\n".to_owned(),
    ]
    .concat();
    for size in [console.len(), 1000, BLOCK + 1] {
        assert_eq!(located(console.as_bytes(), size)[0].0, Some(3 * BLOCK as u64 + 2), "{size}");
    }
}
