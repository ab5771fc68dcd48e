//! Kernel releases: what `uname -r` prints. How a release is read from a kernel's banner, which texts are releases, and
//! which of two releases is newer.

use std::cmp::Ordering;

use vmlab_protocol::catalogue::KernelVersion;

/// The maximum length of a release, in bytes (`__NEW_UTS_LEN`, uname(2)).
pub(crate) const RELEASE_LIMIT: usize = 64;

/// The text between the release and the builder in a kernel's banner: `RELEASE (user@host) VERSION` (`kernel_version` in
/// arch/x86/boot/version.c, `linux_banner` in init/version.c). A release may contain spaces, but not this text.
const BUILDER: &str = " (";

/// The kernel's release does not begin with a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{label}: its release `{release}` does not begin with a version such as 6.12, so vmlab cannot determine its features"
)]
pub struct BadRelease {
    label: String,
    release: String,
}

/// The numbers of the release of the kernel with a label.
pub(crate) fn version_of(label: &str, release: &str) -> Result<KernelVersion, BadRelease> {
    release.parse().map_err(|_| BadRelease { label: label.to_owned(), release: release.to_owned() })
}

/// Whether a text is a kernel release that is safe as a file name and as an argument. `CONFIG_LOCALVERSION` may contain
/// spaces, punctuation, and letters of any language.
#[must_use]
pub fn is_release(text: &str) -> bool {
    let is_safe = |c: char| c != '/' && (c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric());
    (1..=RELEASE_LIMIT).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(is_safe)
        && !text.contains(BUILDER)
}

/// The release at the beginning of a banner's text. `None` if it is no release, or if the text ends before its end.
pub(crate) fn of_banner(text: &[u8]) -> Option<String> {
    let near = &text[..text.len().min(RELEASE_LIMIT + BUILDER.len())];
    let end = near.windows(BUILDER.len()).position(|pair| pair == BUILDER.as_bytes())?;
    std::str::from_utf8(&near[..end]).ok().filter(|release| is_release(release)).map(str::to_owned)
}

/// Orders releases, older first. The order is total; two releases are equal only if their texts are. In this order,
/// these decide:
///
/// 1. the version, as numbers: `6.9` before `6.12`; a missing number counts as 0;
/// 2. the release candidate: `6.12-rc3` and `6.12.0-0.rc3.fc42` before `6.12`;
/// 3. the numbers of the rest, which count builds, without those of architectures: `6.1.0-9-cloud-amd64` before
///    `6.1.0-10-amd64`. No number comes before any number: `6.12.5-lts` before `6.12.5-arch1-1`;
/// 4. the text: `6.1.0-9-amd64` before `6.1.0-9-cloud-amd64`. Neither is newer, but the order has to be the same each
///    time.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    Key::of(a).cmp(&Key::of(b)).then_with(|| a.cmp(b))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    version: [u64; 3],
    /// `u64::MAX` if the release is no candidate.
    candidate: u64,
    builds: Vec<u64>,
}

impl Key {
    fn of(release: &str) -> Self {
        let (version, mut rest) = version(release);
        let (mut candidate, mut builds) = (u64::MAX, Vec::new());
        while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
            rest = &rest[start..];
            if let Some(after) = ARCHITECTURES.iter().find_map(|name| rest.strip_prefix(name))
                && !after.starts_with(|c: char| c.is_ascii_alphanumeric())
            {
                rest = after;
                continue;
            }
            let (word, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len()));
            rest = after;
            read_word(word, &mut candidate, &mut builds);
        }
        Self { version, candidate, builds }
    }
}

/// The names of architectures that contain numbers.
const ARCHITECTURES: &[&str] =
    &["x86_64", "x86-64", "amd64", "i386", "i486", "i586", "i686", "686", "arm64", "aarch64"];

/// The first three numbers, and the text after them.
fn version(release: &str) -> ([u64; 3], &str) {
    let (mut version, mut rest) = ([0; 3], release);
    for (at, part) in version.iter_mut().enumerate() {
        let numbers = if at == 0 { Some(rest) } else { rest.strip_prefix('.') };
        let Some((number, after)) = numbers.and_then(number) else { break };
        (*part, rest) = (number, after);
    }
    (version, rest)
}

/// Adds the numbers of a word such as `10`, `arch1`, `fc41`, `rc3` or `061200rc3`.
fn read_word(word: &str, candidate: &mut u64, builds: &mut Vec<u64>) {
    let mut rest = word;
    while !rest.is_empty() {
        let letters = &rest[..rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len())];
        rest = &rest[letters.len()..];
        let Some((number, after)) = number(rest) else { return };
        rest = after;
        if letters == "rc" && *candidate == u64::MAX { *candidate = number } else { builds.push(number) }
    }
}

/// The number at the beginning of a text, and the text after it.
fn number(text: &str) -> Option<(u64, &str)> {
    let (digits, after) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    (!digits.is_empty()).then(|| (digits.parse().unwrap_or(u64::MAX), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_version_then_candidate_then_builds() {
        let ordered = [
            "5.10.0-46-amd64",
            "6.1.0-9-amd64",
            "6.1.0-9-cloud-amd64",
            "6.1.0-10-amd64",
            "6.1.0-56-amd64",
            "6.1.0-56-cloud-amd64",
            "6.4.0-150600.23.7-default",
            "6.4.0-150600.23.25-default",
            "6.9.3",
            "6.12-rc3",
            "6.12.0-rc3-00012-gabcdef123456",
            "6.12.0-rc4",
            "6.12.0-0.rc5.20241022git.44.fc42.x86_64",
            "6.12.0-rc10",
            "6.12",
            "6.12.0",
            "6.12.0+",
            "6.12.0-061200-generic",
            "6.12.5-lts",
            "6.12.5-arch1-1",
            "6.12.5-zen1-1-zen",
            "6.12.5-arch1-2",
            "6.12.5-100.fc40.x86_64",
            "6.12.5-200.fc41.x86_64",
            "6.12.117+deb13-amd64",
            "6.12.117+deb13+1-amd64",
            "7.0.0-rc3",
            "7.0.0",
            "7.0.0-1-amd64",
            "7.3.4+deb13-amd64",
        ];
        for (at, older) in ordered.iter().enumerate() {
            assert_eq!(compare(older, older), Ordering::Equal);
            for newer in &ordered[at + 1..] {
                assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
                assert_eq!(compare(newer, older), Ordering::Greater, "{older} {newer}");
            }
        }
    }

    #[test]
    fn numbers_of_any_length_and_texts_without_numbers_have_an_order() {
        let huge = format!("6.1.{}", "9".repeat(40));
        assert_eq!(compare("6.1.5", &huge), Ordering::Less);
        for (a, b) in [("", "a"), ("rc", "rc1"), ("next", "6"), ("6-größe", "6-größe2")] {
            assert_ne!(compare(a, b), Ordering::Equal, "{a:?} {b:?}");
            assert_eq!(compare(a, b), compare(b, a).reverse(), "{a:?} {b:?}");
        }
    }

    #[test]
    fn the_release_of_a_banner_ends_before_the_builder() {
        let builder = " (somebody@some host) #1 SMP (x)";
        let longest = format!("6.1-{}", "x".repeat(60));
        for release in [
            "6.1.0-56-cloud-amd64",
            "6.12.117-it works+1_1",
            "6.12.0-a  b ",
            "6.12.0-$(x)'\"`;&|#!",
            "6.12.0-größe",
            "6.12.0(x)",
            "7",
            &longest,
        ] {
            let banner = format!("{release}{builder}");
            assert_eq!(of_banner(banner.as_bytes()).as_deref(), Some(release));
            assert_eq!(of_banner(&banner.as_bytes()[..release.len() + 1]), None, "the end of {release} is not known");
        }
        let too_long = format!("{longest}y");
        for release in ["", " 6.1", "-x", "..", "6.1/x", "6.1\x1b[1m", "6.1\u{202e}x", &too_long] {
            assert_eq!(of_banner(format!("{release}{builder}").as_bytes()), None, "{release:?}");
        }
        assert_eq!(of_banner(b"6.1-\xff (x)"), None);
    }
}
