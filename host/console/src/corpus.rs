//! Tests with consoles of real kernels.
//!
//! A file in `corpus/` begins with header lines (`#: `): the kernel, how the console was produced, then the expected
//! findings in order: `#: crash:` or `#: warning:` with the fingerprint, and `#: panics` if the kernel panics. The rest
//! is the console.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

struct Sample {
    /// The file's name without kernel version and extension.
    case: String,
    name: String,
    expected: Vec<String>,
    console: Vec<u8>,
}

fn samples() -> Vec<Sample> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/corpus");
    let mut samples: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| sample(&entry.unwrap().path())).collect();
    samples.sort_by(|a, b| a.name.cmp(&b.name));
    samples
}

fn sample(path: &Path) -> Sample {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut header = Vec::new();
    while let Some(after) = rest.strip_prefix(b"#: ") {
        let end = memchr::memchr(b'\n', after).unwrap();
        header.push(String::from_utf8(after[..end].to_vec()).unwrap());
        rest = &after[end + 1..];
    }
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    for key in ["kernel: ", "made by: "] {
        assert!(header.iter().any(|line| line.starts_with(key)), "{name} has no header line `{key}`");
    }
    header.retain(|line| !line.starts_with("kernel: ") && !line.starts_with("made by: "));
    let (case, _) = name.rsplit_once('-').unwrap();
    Sample { case: case.to_owned(), name: name.clone(), expected: header, console: rest.to_vec() }
}

/// The findings in the format of the files' headers.
fn found(reader: &mut ConsoleReader) -> Vec<String> {
    let crash = reader.crash().map(|crash| format!("crash: {}", crash.fingerprint));
    let panics = reader.has_panicked().then(|| "panics".to_owned());
    let warnings = reader.take_warnings().into_iter().map(|warning| format!("warning: {}", warning.fingerprint));
    crash.into_iter().chain(panics).chain(warnings).collect()
}

#[test]
fn each_console_has_the_findings_of_its_header() {
    let mut wrong = String::new();
    for sample in samples() {
        for size in [1, 7, 4096, usize::MAX] {
            let mut reader = ConsoleReader::default();
            sample.console.chunks(size.min(sample.console.len())).for_each(|chunk| reader.push(chunk));
            reader.end();
            let found = found(&mut reader);
            if found != sample.expected {
                wrong.push_str(&format!("{} by {size}:\n#: {}\n", sample.name, found.join("\n#: ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_crash_has_the_same_fingerprint_on_every_kernel() {
    let mut cases: BTreeMap<String, Vec<(String, Vec<String>)>> = BTreeMap::new();
    for sample in samples() {
        // The number of repetitions is random.
        let mut expected = sample.expected;
        expected.dedup();
        cases.entry(sample.case).or_default().push((sample.name, expected));
    }
    for case in ["clean", "sysrq-crash", "init-exits", "oom", "memcg-oom", "no-root", "no-init"] {
        let kernels = &cases[case];
        assert_eq!(kernels.len(), 4, "{case}");
        assert!(kernels.iter().all(|(_, expected)| *expected == kernels[0].1), "{kernels:#?}");
        assert_eq!(case == "clean", kernels[0].1.is_empty());
    }
}

#[test]
fn reports_of_real_kernels_name_task_and_place() {
    for sample in samples() {
        let mut reader = ConsoleReader::default();
        reader.push(&sample.console);
        reader.end();
        let crash = reader.crash().cloned();
        for finding in crash.into_iter().chain(reader.take_warnings()) {
            let is_there = finding.trace.iter().any(|line| line.ends_with(&finding.title));
            assert!(is_there, "{}: {} is not in its own trace", sample.name, finding.title);
            // Reports on hardware and worker pools name no task, nor do reports that another report interrupted.
            let is_of_none = matches!(finding.kind, Kind::WorkqueueLockup | Kind::MachineCheck);
            let is_whole = finding.trace.iter().any(|line| line.contains("Call Trace"));
            let has_none = is_of_none || !is_whole;
            assert!(has_none || finding.task.is_some(), "{}: {} has no task", sample.name, finding.title);
            assert!(finding.trace.len() <= 200);
        }
        // The other consoles begin after the banner.
        assert_eq!(reader.kernel_spoke(), sample.case == "clean", "{}", sample.name);
    }
}
