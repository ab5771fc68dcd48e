//! The reader of test results: writing and reading results again gives the same results.

use vmlab_ktap::{Block, Directive, Flavour, MAX_DEPTH, Reader, Test, read};

pub const WORDS: &[&[u8]] = &[
    b"KTAP version 1\n1..1\n",
    b"KTAP version 2\n",
    b"TAP version 13\n",
    b"TAP version 14\n",
    b"  KTAP version 1\n  1..1\n  ok 1 a\n",
    b"ok 1 a\n",
    b"not ok 2 - b # SKIP why\n",
    b"ok 3 # TODO\n",
    b"ok 4 c # XFAIL\n",
    b"not ok 5 d # TIMEOUT 1 s\n",
    b"not ok 6 e # ERROR x\n",
    b"# Subtest: f\n",
    b"\t# Subtest: g\n\t1..2\n",
    b"1..0 # SKIP nothing\n",
    b"Bail out! no\n",
    b"  ---\n  a: 1\n  ...\n",
    b"pragma +strict\n",
    b"[    1.234567] ",
    b"<6>[    1.234567][    T1] ",
    b"99999999999999999999",
    b"\\#",
];

pub fn run(input: &[u8]) {
    let document = read(input);
    let mut reader = Reader::default();
    super::pieces(input).for_each(|piece| reader.push(piece));
    assert_eq!(reader.finish(), document, "the same, cut elsewhere");
    let mut reader = Reader::default();
    input.chunks(1).for_each(|piece| reader.push(piece));
    assert_eq!(reader.finish(), document, "the same, byte by byte");

    check(&document.block, 1, document.is_sound());
    if document.is_sound() {
        let mut text = String::new();
        write(&document.block, Flavour::Ktap(1), 0, &mut text);
        let mut again = read(text.as_bytes());
        assert_eq!(again.problems, [], "{text}");
        let mut first = document.block;
        [&mut first, &mut again.block].into_iter().for_each(bare);
        assert_eq!(again.block, first, "{text}");
    }
}

fn check(block: &Block, depth: usize, sound: bool) {
    assert!(depth <= MAX_DEPTH);
    for (test, due) in block.tests.iter().zip(1..) {
        assert!(!sound || test.number == due, "{test:?}");
        let below = test.subtests.as_ref();
        below.into_iter().for_each(|below| check(below, depth + 1, sound));
    }
    assert!(!sound || block.plan == Some(block.tests.len() as u64), "{block:?}");
}

/// Writes results in the format of ktap.rst, or as TAP 14 with its escapes.
fn write(block: &Block, above: Flavour, depth: usize, out: &mut String) {
    let flavour = block.flavour.unwrap_or(above);
    let mut line = |text: String| out.push_str(&format!("{}{text}\n", "  ".repeat(depth)));
    block.flavour.iter().for_each(|flavour| line(flavour.to_string()));
    block.name.iter().for_each(|name| line(format!("# Subtest: {name}")));
    let skipped = block.skipped.as_ref().map(|reason| format!(" # SKIP {reason}")).unwrap_or_default();
    line(format!("1..{}{skipped}", block.tests.len()));
    for test in &block.tests {
        test.subtests.iter().for_each(|below| write(below, flavour, depth + 1, out));
        let Test { number, name, ok, directive, data, .. } = test;
        let escaped = name.replace('\\', "\\\\").replace('#', "\\#");
        let name = if flavour == Flavour::Tap(14) { &escaped } else { name };
        let word = Directive::ALL.iter().find(|(_, it)| Some(*it) == *directive).map_or("", |(word, _)| word);
        let hash = if word.is_empty() && data.is_empty() { "" } else { "#" };
        let result = if *ok { "ok" } else { "not ok" };
        out.push_str(&format!("{}{result} {number} - {name} {hash} {word} {data}\n", "  ".repeat(depth)));
    }
}

/// Removes what [`write`] does not write.
fn bare(block: &mut Block) {
    block.diagnostics.clear();
    for test in &mut block.tests {
        test.diagnostics.clear();
        test.line = 0;
        test.subtests.iter_mut().for_each(bare);
    }
}
