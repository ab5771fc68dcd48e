//! Fingerprints: names of crashes that are the same on every run and kernel.

use sha2::{Digest as _, Sha256};

use super::kind::Kind;

/// The number of functions of a call trace in a fingerprint: the place of the fault. Whether its caller is inlined differs
/// between kernels.
pub(super) const NAMING_FRAMES: usize = 1;

/// The fingerprint of a report: `KIND:PLACE-HASH`.
///
/// `what` is the part of the title that distinguishes reports of this kind; its numbers and addresses are ignored.
/// `frames` are the significant functions, innermost first. PLACE is the first function, or `what` without functions.
pub(super) fn fingerprint(kind: Kind, what: &str, frames: &[String]) -> String {
    let what = stable(what);
    let frames = &frames[..frames.len().min(NAMING_FRAMES)];
    let mut hash = Sha256::new();
    for part in [kind.label(), &what].into_iter().chain(frames.iter().map(String::as_str)) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hash: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let place = frames.first().map_or_else(|| slug(&what), Clone::clone);
    let colon = if place.is_empty() { "" } else { ":" };
    format!("{kind}{colon}{place}-{hash}")
}

/// The text without parts that differ between runs: numbers and addresses become `#`, function offsets are removed.
///
/// Digits within a name stay, as in `ext4_put` and `x86`. A long hexadecimal number is an address.
pub(super) fn stable(words: &str) -> String {
    let mut out = String::new();
    let mut rest = words;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        if end == 0 {
            let after = &rest[first.len_utf8()..];
            match offset(rest) {
                Some(past) => rest = past,
                None => {
                    out.push(first);
                    rest = after;
                }
            }
        } else {
            let word = &rest[..end];
            out.push_str(if is_number(word) { "#" } else { word });
            rest = &rest[end..];
        }
    }
    out.trim().to_owned()
}

/// The key under which similar reports are counted: the number of the title's rule, and the title without numbers.
///
/// Line numbers (`kernel/fork.c:1723`) and function offsets stay in the key, because they distinguish places. A
/// fingerprint has neither, because it is the same on all kernels.
pub(super) fn alike(rule: usize, words: &[u8], key: &mut Vec<u8>) {
    key.clear();
    key.extend_from_slice(&rule.to_le_bytes());
    let mut rest = words;
    // Whether the word before is a source file's extension.
    let mut in_source = false;
    while let Some(&first) = rest.first() {
        if IS_WORD[usize::from(first)] {
            let end = rest.iter().position(|&byte| !IS_WORD[usize::from(byte)]).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let behind_offset = key.ends_with(b"+") || key.ends_with(b"/");
            if first.is_ascii_digit() && !in_source && !(behind_offset && word.starts_with(b"0x")) || is_address(word) {
                key.push(b'#');
            } else {
                key.extend_from_slice(word);
            }
            in_source = matches!(word, b"c" | b"h" | b"S" | b"rs") && after.first() == Some(&b':');
            rest = after;
        } else {
            key.push(first);
            in_source &= first == b':';
            rest = &rest[1..];
        }
    }
}

fn is_address(word: &[u8]) -> bool {
    word.len() >= 8 && word.iter().all(u8::is_ascii_hexdigit) && word.iter().any(u8::is_ascii_digit)
}

/// The bytes that words consist of.
const IS_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    table
};

/// The text after an offset such as `+0x1c/0x20` at the beginning.
fn offset(text: &str) -> Option<&str> {
    let hex = |text: &str| text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
    let at = text.strip_prefix("+0x")?;
    let size = at[hex(at)..].strip_prefix("/0x")?;
    Some(&size[hex(size)..])
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_number(word: &str) -> bool {
    let hex = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    word.bytes().all(|b| b.is_ascii_digit())
        || word.strip_prefix("0x").is_some_and(hex)
        || (word.len() >= 8 && hex(word) && word.bytes().any(|b| b.is_ascii_digit()))
}

/// The words in lower case, joined by hyphens; at most 40 bytes.
fn slug(words: &str) -> String {
    let mut out = String::new();
    for word in words.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()) {
        if out.len() + word.len() >= 40 {
            break;
        }
        if !out.is_empty() {
            out.push('-');
        }
        out.push_str(&word.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_addresses_and_offsets_are_removed_and_names_stay() {
        for (words, same) in [
            ("ext4_put_super+0x1c/0x20 [ext4]", "ext4_put_super [ext4]"),
            ("Attempted to kill init! exitcode=0x0000000b", "Attempted to kill init! exitcode=#"),
            ("ffff888012345678 is 12 x86 deadbeef", "# is # x86 deadbeef"),
            ("a + 0x12", "a + #"),
            ("über 5", "über #"),
        ] {
            assert_eq!(stable(words), same);
        }
    }

    #[test]
    fn a_fingerprint_has_kind_place_and_hash() {
        let frames = ["sysrq_handle_crash".to_owned(), "__handle_sysrq".to_owned(), "vfs_write".to_owned()];
        let name = fingerprint(Kind::Oops, "NULL pointer", &frames);
        assert!(name.starts_with("oops:sysrq_handle_crash-"), "{name}");
        // Whether the caller is inlined differs between kernels.
        assert_eq!(name, fingerprint(Kind::Oops, "NULL pointer", &frames[..1]));
        assert_ne!(name, fingerprint(Kind::Oops, "NULL pointer", &frames[1..]));
        assert_ne!(name, fingerprint(Kind::Panic, "NULL pointer", &frames));
        assert!(fingerprint(Kind::Panic, "Out of memory", &[]).starts_with("panic:out-of-memory-"));
        assert!(fingerprint(Kind::NoRoot, "", &[]).starts_with("no-root-"));
    }

    proptest! {
        #[test]
        fn a_fingerprint_does_not_depend_on_numbers(address: u64, other: u64, pid: u32, offset: u16) {
            let name = |address: u64, pid: u32, offset: u16| {
                let what = format!("bad thing at 0x{address:016x} in f+0x{offset:x}/0x{offset:x} of {pid} ({address:016x}0)");
                fingerprint(Kind::Kasan, &what, &[])
            };
            // A hexadecimal number without digits may be a word.
            prop_assume!(format!("{address:016x}{other:016x}").bytes().any(|b| b.is_ascii_digit()));
            prop_assert_eq!(name(address, pid, offset), name(other, !pid, !offset));
        }
    }
}
