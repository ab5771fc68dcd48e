//! Reads `/proc/PID/smaps` (proc_pid_smaps(5)). Pure.

use crate::procfs::unreadable;
use crate::refusal::Refusal;

/// A mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// As in mmap(2).
    pub(crate) protection: u32,
    pub(crate) shared: bool,
    /// In the file, in bytes.
    pub(crate) offset: u64,
    /// A path, or a name in brackets; empty for anonymous memory.
    pub(crate) name: String,
    /// The two-letter flags.
    pub(crate) flags: Vec<String>,
    /// The line in `/proc/PID/maps`, for messages.
    pub(crate) line: String,
}

/// Reads all mappings.
pub(crate) fn parse(text: &str) -> Result<Vec<Mapping>, Refusal> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        // A line of a mapping begins with addresses, all others with a name and a colon.
        if let Some(mapping) = heading(line) {
            mappings.push(mapping);
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { return Err(unreadable("smaps", line)) };
        let Some(mapping) = mappings.last_mut() else { return Err(unreadable("smaps", line)) };
        match name {
            "VmFlags" => mapping.flags = value.split_whitespace().map(str::to_owned).collect(),
            // A key other than 0 is of pkey_mprotect(2).
            "ProtectionKey" if value.trim() != "0" => mapping.flags.push("pk".to_owned()),
            _ => {}
        }
    }
    Ok(mappings)
}

fn heading(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut word = || {
        let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = behind.trim_start();
        word
    };
    let (start, end) = word().split_once('-')?;
    let permissions = word().as_bytes().first_chunk::<4>()?;
    let offset = word();
    // Skips the device and the inode.
    let _ = (word(), word());
    let number = |text| u64::from_str_radix(text, 16).ok();
    let bits = [(b'r', 1), (b'w', 2), (b'x', 4)];
    let protection =
        bits.iter().zip(permissions).filter(|((letter, _), is)| letter == *is).map(|((_, bit), _)| bit).sum();
    Some(Mapping {
        start: number(start)?,
        end: number(end)?,
        protection,
        shared: permissions[3] == b's',
        offset: number(offset)?,
        name: unescaped(rest),
        flags: Vec::new(),
        line: line.to_owned(),
    })
}

/// The kernel writes a newline as `\012` (`seq_file_path`).
fn unescaped(name: &str) -> String {
    name.replace("\\012", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
55ef3c8f4000-55ef3cc00000 r-xp 00002000 fe:00 4242                       /usr/bin/a b (deleted)
Size:               3120 kB
ProtectionKey:         0
VmFlags: rd ex mr mw me 
7f0000000000-7f0000001000 rw-s 00000000 00:01 7                          /dev/x\\012y
ProtectionKey:         3
VmFlags: rd wr sh mr mw me ms 
7ffd05be8000-7ffd05c09000 ---p 00000000 00:00 0 
VmFlags: mr mw me gd ac 
";

    #[test]
    fn mappings_have_their_names_permissions_and_flags() {
        let mappings = parse(TEXT).unwrap();
        let [code, shared, anonymous] = &mappings[..] else { panic!("{mappings:?}") };
        assert_eq!((code.start, code.end, code.protection), (0x55ef_3c8f_4000, 0x55ef_3cc0_0000, 5));
        assert_eq!((code.offset, &code.name[..], code.shared), (0x2000, "/usr/bin/a b (deleted)", false));
        assert_eq!(code.flags, ["rd", "ex", "mr", "mw", "me"]);
        assert_eq!((shared.shared, &shared.name[..], shared.protection), (true, "/dev/x\ny", 3));
        assert_eq!(shared.flags.last().unwrap(), "ms");
        assert_eq!((&anonymous.name[..], anonymous.protection), ("", 0));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["x", "VmFlags: rd", "1-2 r-xp\nnonsense", "1-2 r"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse(""), Ok(Vec::new()));
    }
}
