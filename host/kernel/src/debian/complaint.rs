//! Classifies the error messages of apt and dpkg in the C locale. Pure.

/// The cause in an error message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Complaint {
    /// The disk is full.
    Full,
    /// The mirror cannot be reached.
    Network(String),
    /// A signature cannot be verified.
    Signature(String),
    /// The mirror lacks these suites.
    MissingSuites(Vec<String>),
    /// Anything else.
    Other(String),
}

const FULL: [&str; 3] = ["No space left on device", "Disk quota exceeded", "don't have enough free space"];

const NETWORK: [&str; 12] = [
    "Could not resolve",
    "Temporary failure resolving",
    "Could not connect",
    "Unable to connect",
    "Cannot initiate the connection",
    "Connection failed",
    "Connection refused",
    "Connection timed out",
    "connection timed out",
    "Network is unreachable",
    "No route to host",
    "Could not handshake",
];

const SIGNATURE: [&str; 6] =
    ["NO_PUBKEY", "is not signed", "BADSIG", "EXPKEYSIG", "signatures couldn't be verified", "signatures were invalid"];

/// Lines that only summarise other lines.
const HOLLOW: [&str; 2] = ["Some index files failed to download", "Unable to fetch some archives"];

/// The maximum length of the quoted text, in characters.
const DETAIL_LIMIT: usize = 400;

#[must_use]
pub(super) fn read(stderr: &str) -> Complaint {
    let line_with = |marks: &[&str]| stderr.lines().find(|line| marks.iter().any(|mark| line.contains(mark)));
    if line_with(&FULL).is_some() {
        return Complaint::Full;
    }
    if let Some(line) = line_with(&NETWORK) {
        return Complaint::Network(plain(line));
    }
    if let Some(line) = line_with(&SIGNATURE) {
        return Complaint::Signature(plain(line));
    }
    let missing: Vec<String> = stderr.lines().filter_map(missing_suite).collect();
    if missing.is_empty() { Complaint::Other(gist(stderr)) } else { Complaint::MissingSuites(missing) }
}

/// Reads the suite from `E: The repository 'URI SUITE Release' does not have a Release file.`
fn missing_suite(line: &str) -> Option<String> {
    let quoted = line.strip_suffix("does not have a Release file.")?.split('\'').nth(1)?;
    quoted.split_whitespace().nth(1).map(str::to_owned)
}

/// The error lines in one paragraph, or all lines if none is marked as an error.
fn gist(stderr: &str) -> String {
    let is_error = |line: &&str| line.starts_with("E: ") || line.starts_with("Error: ");
    let has_content = |line: &&str| !HOLLOW.iter().any(|hollow| line.contains(hollow));
    let errors: Vec<String> = stderr.lines().filter(is_error).filter(has_content).map(plain).collect();
    let lines = if errors.is_empty() { stderr.lines().map(plain).collect() } else { errors };
    let mut text = lines.join("; ");
    if let Some((at, _)) = text.char_indices().nth(DETAIL_LIMIT) {
        text.truncate(at);
        text.push('…');
    }
    if text.is_empty() { "it printed no reason".to_owned() } else { text }
}

fn plain(line: &str) -> String {
    let line = ["E: ", "W: ", "Error: ", "Warning: "].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line);
    let clean: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_suite_is_not_a_missing_network() {
        let missing = "E: The repository 'http://m.example/debian nosuch Release' does not have a Release file.\n\
            E: The repository 'http://m.example/sec nosuch-security Release' does not have a Release file.\n";
        let suites = vec!["nosuch".to_owned(), "nosuch-security".to_owned()];
        assert_eq!(read(missing), Complaint::MissingSuites(suites));
        let resolving = "W: Failed to fetch http://m.example/dists/trixie/InRelease  Could not resolve 'm.example'\n\
            E: Some index files failed to download. They have been ignored, or old ones used instead.\n";
        let detail = "Failed to fetch http://m.example/dists/trixie/InRelease  Could not resolve 'm.example'";
        assert_eq!(read(resolving), Complaint::Network(detail.to_owned()));
        let refused = "E: Failed to fetch http://127.0.0.1:9/x  Could not connect to 127.0.0.1:9 (127.0.0.1). - \
            connect (111: Connection refused)\n";
        assert!(matches!(read(refused), Complaint::Network(_)));
    }

    #[test]
    fn bad_signatures_and_full_disks_are_recognised() {
        let unsigned = "W: GPG error: http://m.example/debian trixie InRelease: The following signatures couldn't be \
            verified because the public key is not available: NO_PUBKEY 6ED0E7B82643E131\nE: The repository \
            'http://m.example/debian trixie InRelease' is not signed.\n";
        assert!(matches!(read(unsigned), Complaint::Signature(line) if line.starts_with("GPG error")));
        let full = "E: Write error - write (28: No space left on device)\nE: IO Error saving source cache\n";
        assert_eq!(read(full), Complaint::Full);
    }

    #[test]
    fn other_messages_are_quoted_in_one_paragraph() {
        let other = "W: odd\nE: Failed to fetch http://m.example/x.deb  404  Not Found\u{1b}[0m\n\
            E: Unable to fetch some archives, maybe run apt-get update\nE: Two.\n";
        let quoted = "Failed to fetch http://m.example/x.deb  404  Not Found [0m; Two";
        assert_eq!(read(other), Complaint::Other(quoted.to_owned()));
        assert_eq!(read("dpkg-deb: error: 'x' is broken\n"), Complaint::Other("dpkg-deb: error: 'x' is broken".into()));
        assert_eq!(read(""), Complaint::Other("it printed no reason".into()));
        let Complaint::Other(long) = read(&"é".repeat(1000)) else { panic!("not other") };
        assert_eq!(long.chars().count(), DETAIL_LIMIT + 1);
    }
}
