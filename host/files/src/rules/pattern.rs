//! Patterns of relative paths: names, in which a `*` stands for any bytes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// The number of names of the pattern, if the names begin with what the pattern describes.
///
/// The case of ASCII letters is ignored, because a directory of the host's may ignore it (casefold, vfat).
pub(super) fn matches_beginning(pattern: &str, names: &[&OsStr]) -> Option<usize> {
    let mut names = names.iter();
    let mut count = 0;
    for wanted in pattern.split('/') {
        if !matches_name(wanted.as_bytes(), names.next()?.as_bytes()) {
            return None;
        }
        count += 1;
    }
    Some(count)
}

/// Whether a name is of the form that a name of a pattern describes.
pub(crate) fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    let Some(star) = pattern.iter().position(|byte| *byte == b'*') else { return pattern.eq_ignore_ascii_case(name) };
    let (head, tail) = (&pattern[..star], &pattern[star + 1..]);
    name.len() >= head.len() + tail.len()
        && name[..head.len()].eq_ignore_ascii_case(head)
        && name[name.len() - tail.len()..].eq_ignore_ascii_case(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_not_parts_of_names() {
        for (pattern, path, matched) in [
            (".ssh", ".ssh", Some(1)),
            (".ssh", ".ssh/id", Some(1)),
            (".ssh", ".SSH", Some(1)),
            (".ssh", ".sshx", None),
            (".ssh", "x.ssh", None),
            (".config/gh", ".config/gh/hosts.yml", Some(2)),
            (".config/gh", ".config", None),
            (".config/gh", ".config/gha", None),
            ("ssh_host_*_key", "ssh_host_rsa_key", Some(1)),
            ("ssh_host_*_key", "ssh_host_rsa_key.pub", None),
            ("ssh_host_*_key", "ssh_host_key", None),
            ("shadow*", "shadow-", Some(1)),
            ("shadow*", "shado", None),
        ] {
            let names: Vec<&OsStr> = path.split('/').map(OsStr::new).collect();
            assert_eq!(matches_beginning(pattern, &names), matched, "{pattern} on {path}");
        }
    }
}
