//! Reads Rust source as far as these tests need it: tokens without comments and literals, and the paths in them.

use regex::Regex;
use std::sync::LazyLock;

/// Comments, and literals of text and characters. A lifetime is not matched: its quote is not closed.
static NOT_CODE: LazyLock<Regex> = LazyLock::new(|| {
    let raw = (0..=2).map(|count| {
        let hashes = "#".repeat(count);
        format!("\\bb?r{hashes}\"(?s:.*?)\"{hashes}")
    });
    let plain =
        [r"//[^\n]*", r"/\*(?s:.*?)\*/", r#""(?:[^"\\]|\\(?s:.))*""#, r"'(?:[^'\\\n]|\\[^u\n]|\\u\{\w+\}|\\x\w\w)'"];
    let all: Vec<String> = raw.chain(plain.map(str::to_owned)).collect();
    Regex::new(&all.join("|")).unwrap()
});

static TOKEN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\w+|::|\S").unwrap());

/// The source without comments and literals.
pub(crate) fn code(source: &str) -> String {
    NOT_CODE.replace_all(source, " ").into_owned()
}

/// The tokens of code: words, `::`, and single characters.
pub(crate) fn tokens(code: &str) -> Vec<&str> {
    TOKEN.find_iter(code).map(|found| found.as_str()).collect()
}

/// Removes items that exist in tests only, such as `#[cfg(test)] mod tests { … }`. Also returns the names of the modules
/// in files of their own that are removed.
pub(crate) fn without_tests<'a>(tokens: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].starts_with(&["#", "[", "cfg", "("]) {
            let attribute = closing(tokens, at + 1);
            let condition = &tokens[at..attribute];
            if condition.contains(&"test") && !condition.contains(&"not") {
                let end = end_of_item(tokens, attribute + 1);
                if let Some(name) = tokens[attribute..end].windows(3).find(|it| it[0] == "mod" && it[2] == ";") {
                    modules.push(name[1]);
                }
                at = end;
                continue;
            }
        }
        kept.push(tokens[at]);
        at += 1;
    }
    (kept, modules)
}

/// The place of the bracket that closes the one at `open`.
fn closing(tokens: &[&str], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len() - 1
}

/// The place behind an item: behind its semicolon or its braces. An attribute or an argument list before that belongs to it.
fn end_of_item(tokens: &[&str], start: usize) -> usize {
    let is_use = tokens[start..].iter().find(|token| !matches!(**token, "pub")).is_some_and(|token| *token == "use");
    let mut at = start;
    while at < tokens.len() {
        match tokens[at] {
            ";" => return at + 1,
            "{" if !is_use => return closing(tokens, at) + 1,
            "(" | "[" | "{" => at = closing(tokens, at) + 1,
            _ => at += 1,
        }
    }
    at
}

/// All paths with at least two segments, those of use declarations one by one: `use a::{b, c::d};` gives `a::b` and
/// `a::c::d`.
pub(crate) fn paths<'a>(tokens: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let starts = is_word(tokens[at]) && tokens.get(at + 1) == Some(&"::") && (at == 0 || tokens[at - 1] != "::");
        at = if starts { path(tokens, at, &[], &mut found) } else { at + 1 };
    }
    found
}

/// Reads one path, or one branch of a use tree, behind `prefix`. Returns the place behind it.
fn path<'a>(tokens: &[&'a str], start: usize, prefix: &[&'a str], found: &mut Vec<Vec<&'a str>>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = start;
    while at < tokens.len() {
        match tokens[at] {
            "{" if tokens[at - 1] == "::" => {
                let end = closing(tokens, at);
                at += 1;
                while at < end {
                    at = if tokens[at] == "," { at + 1 } else { self::path(tokens, at, &path, found) };
                }
                return end + 1;
            }
            "*" if tokens[at - 1] == "::" => {
                at += 1;
                break;
            }
            word if is_word(word) => {
                path.push(word);
                at += 1;
                match tokens.get(at) {
                    Some(&"::") => at += 1,
                    Some(&"as") if !prefix.is_empty() => {
                        at += 2;
                        break;
                    }
                    _ => break,
                }
            }
            // As in `Vec::<u8>::new()`.
            _ => {
                at += 1;
                break;
            }
        }
    }
    found.push(path);
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[test]
fn comments_and_literals_are_not_code() {
    let source = "a // b\n/* c \n d */ e(\"f \\\" g\", r#\"h \" i\"#, 'j', '\\'', '\\u{6b}', b\"l\") m::<'n>";
    assert_eq!(
        tokens(&code(source)),
        ["a", "e", "(", ",", ",", ",", ",", ",", "b", ")", "m", "::", "<", "'", "n", ">"]
    );
}

#[test]
fn items_for_tests_are_removed() {
    let source = "
        #[cfg(test)] mod tests { fn a() { b() } } fn c() {}
        #[cfg(any(test, feature = \"x\"))] pub mod fixture; #[cfg(not(test))] fn d();
        #[cfg(test)] use e::{f, g}; h";
    let code = code(source);
    let (kept, modules) = without_tests(&tokens(&code));
    assert_eq!(kept.join(" "), "fn c ( ) { } # [ cfg ( not ( test ) ) ] fn d ( ) ; h");
    assert_eq!(modules, ["fixture"]);
}

#[test]
fn paths_are_found_in_use_trees_and_in_expressions() {
    let source =
        "pub use crate::{a::{B, C as D}, e::*, f::{self}}; fn g() -> crate::h::I { super::super::j() + k::<u8>() }";
    let found: Vec<_> = paths(&tokens(source)).iter().map(|path| path.join("::")).collect();
    let expected = ["crate::a::B", "crate::a::C", "crate::e", "crate::f::self", "crate::h::I", "super::super::j", "k"];
    assert_eq!(found, expected);
}
