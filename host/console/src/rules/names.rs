//! Task names: a program chooses any bytes but NUL, up to 15 (prctl(2), `PR_SET_NAME`), and the kernel prints them as they
//! are.

use proptest::prelude::*;
use regex::bytes::Regex;

use super::*;
use crate::{ConsoleReader, Finding};

/// Each rule with a task's name: its kind, and its example's text before and after the name.
fn named() -> Vec<(&'static Rule, &'static [u8], &'static [u8])> {
    let parts = |rule: &'static Rule| {
        let name = Regex::new(rule.pattern).unwrap().captures(rule.example.as_bytes())?.name("comm")?;
        Some((rule, &rule.example.as_bytes()[..name.start()], &rule.example.as_bytes()[name.end()..]))
    };
    all().filter(|rule| rule.pattern.contains("(?P<comm>")).map(|rule| parts(rule).unwrap()).collect()
}

/// What the kernel prints of a title: after a line end in the name, the record's prefix is printed again.
fn printed(before: &[u8], name: &[u8], after: &[u8], prefix: &str) -> Vec<u8> {
    let message = [before, name, after].concat();
    let lines = message.split(|&byte| byte == b'\n');
    lines.flat_map(|line| [prefix.as_bytes(), line, b"\r\n"].concat()).collect()
}

fn findings(console: &[u8]) -> Vec<Finding> {
    let mut reader = ConsoleReader::default();
    reader.push(console);
    reader.end();
    let crash = reader.crash().cloned();
    crash.into_iter().chain(reader.take_warnings()).collect()
}

/// Names of arbitrary bytes, and of parts that have a meaning elsewhere on a console.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => any::<u8>().prop_map(|byte| vec![byte]),
        1 => prop::sample::select(vec![
            &b"\n"[..], b"\r", b"\r\n", b"\x1b", b"\x1b[", b"\x1b[1", b"\x1b[31m", b"\x1b(", b"\x1b]0;", b" ", b":", b"/", b")",
            b"(", b"]", b"[", b"BUG: ", b"BUG: x", b"WARNING: ", b"[    1.0] ", b"[ 1.0][T1] ", b"INFO: task ", b"<4>", b"**",
            b"Oops", b"\xe4\xbd", b"\xff\xfe", b" Tainted: ", b"---[ end trace", b"Kernel panic - ",
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| {
        let mut name = parts.concat();
        name.retain(|&byte| byte != 0);
        name.truncate(15);
        name
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_tasks_name_never_hides_a_report(name in name(), size in 1_usize..64) {
        for (rule, before, after) in named() {
            for prefix in ["[ 1052.080846][   T41] ", "[    1.000000] "] {
                let console = printed(before, &name, after, prefix);
                let found = findings(&console);
                prop_assert!(found.iter().any(|finding| finding.kind == rule.kind), "{:?} gives {found:#?}", console.escape_ascii().to_string());
                let mut reader = ConsoleReader::default();
                console.chunks(size).for_each(|chunk| reader.push(chunk));
                reader.end();
                let crash = reader.crash().cloned();
                let by_pieces: Vec<_> = crash.into_iter().chain(reader.take_warnings()).collect();
                prop_assert_eq!(by_pieces, found);
            }
        }
    }
}

#[test]
fn a_report_has_one_finding_whatever_bytes_the_name_has() {
    for name in [
        &b"\x9b\xff\x80\xf7\xd1\xaa\xc0"[..],
        b"\x9babcdefghijklmn",
        b"\xe4\xbd\xa0\xe5\xa5\xbd\xe4\xb8\x96\xe7\x95\x8c\xe4\xbd",
        b"a\nb",
        b"\n",
        b"a\n\nb",
        b"x\ry",
        b"\x1b[31mred",
        b"\x1b[",
        b"a b",
        b" ",
        b"",
        b"[1]",
        b"a:1",
        b"a/2",
        b"(sd-pam)",
    ] {
        for (rule, before, after) in named() {
            let found = findings(&printed(before, name, after, "[    1.000000][    T9] "));
            let kinds: Vec<Kind> = found.iter().map(|finding| finding.kind).collect();
            assert_eq!(kinds, [rule.kind], "{}: {found:#?}", name.escape_ascii());
        }
    }
}

#[test]
fn a_name_is_kept_with_its_line_ends() {
    let console = printed(b"INFO: task ", b"a\nb\nc", b":4711 blocked for more than 143 seconds.", "[    1.000000] ");
    let [finding] = &findings(&console)[..] else { panic!() };
    let task = finding.task.as_ref().unwrap();
    assert_eq!((task.comm.as_str(), task.pid), ("a\nb\nc", 4711));
}
