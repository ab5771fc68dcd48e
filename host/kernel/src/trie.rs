//! The binary indexes of kmod, such as `modules.dep.bin`. Pure.
//!
//! libkmod reads only these files, not `modules.dep` and the like. The format (libkmod/libkmod-index.c of kmod 30): three
//! numbers, namely the magic number, the version and the offset of the root of a trie. A node is written after its children,
//! and consists of the parts that the flags in its offset name: a prefix; the first and the last byte that continue a key,
//! with the offset of a child for each byte from one to the other, or 0; and values, each with its priority. All numbers are
//! big-endian, all texts end with a NUL.

use std::collections::BTreeMap;

const MAGIC: u32 = 0xB007_F457;
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;

/// More than the longest alias has, in bytes. It bounds the depth of the trie.
const KEY_LIMIT: usize = 1024;

/// Keys with their values.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    values: BTreeMap<Vec<u8>, Vec<(u32, String)>>,
}

type Entry<'a> = (&'a [u8], &'a [(u32, String)]);

impl Trie {
    /// Adds a value. A lookup gives the values of a key in the order of their priorities, lowest first. A key that cannot be
    /// in such a file is left out: libkmod looks up ASCII only.
    pub(crate) fn insert(&mut self, key: &str, priority: u32, value: &str) {
        if key.len() > KEY_LIMIT || !key.bytes().all(|byte| (1..0x80).contains(&byte)) || value.contains('\0') {
            return;
        }
        let values = self.values.entry(key.as_bytes().to_owned()).or_default();
        // Of equal priorities the last one comes first, as in depmod's files.
        let at = values.partition_point(|(other, _)| *other < priority);
        values.insert(at, (priority, value.to_owned()));
    }

    /// The content of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = [MAGIC, VERSION, 0].map(u32::to_be_bytes).concat();
        let entries: Vec<Entry<'_>> = self.values.iter().map(|(key, values)| (&key[..], &values[..])).collect();
        // The root never has a prefix.
        let root = write(&entries, 0, 0, &mut out);
        out[8..12].copy_from_slice(&root.to_be_bytes());
        out
    }
}

/// Writes the node of sorted entries whose keys are equal up to `end`; its prefix begins at `start`. Returns its offset with
/// its flags.
fn write(entries: &[Entry<'_>], start: usize, end: usize, out: &mut Vec<u8>) -> u32 {
    let (values, longer) = match entries {
        [(key, values), longer @ ..] if key.len() == end => (*values, longer),
        _ => (&[][..], entries),
    };
    let children: Vec<(u8, u32)> = longer
        .chunk_by(|(one, _), (other, _)| one[end] == other[end])
        .map(|group| (group[0].0[end], write(group, end + 1, end + 1 + common(group, end + 1), out)))
        .collect();
    // The texts of all modules of a kernel have some MB, and an offset has 28 bits.
    let mut offset = u32::try_from(out.len()).unwrap_or(u32::MAX);
    if start < end {
        offset |= HAS_PREFIX;
        out.extend_from_slice(&entries[0].0[start..end]);
        out.push(0);
    }
    if let [(first, _), ..] = children[..]
        && let [.., (last, _)] = children[..]
    {
        offset |= HAS_CHILDREN;
        out.extend([first, last]);
        let child = |byte| children.iter().find(|(own, _)| *own == byte).map_or(0, |(_, offset)| *offset);
        (first..=last).for_each(|byte| out.extend(child(byte).to_be_bytes()));
    }
    if !values.is_empty() {
        offset |= HAS_VALUES;
        out.extend(u32::try_from(values.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (priority, value) in values {
            out.extend(priority.to_be_bytes());
            out.extend(value.bytes().chain([0]));
        }
    }
    offset
}

/// The number of bytes from `start` on that all keys have in common. The entries are sorted, so the first and the last tell.
fn common(entries: &[Entry<'_>], start: usize) -> usize {
    let [(first, _), ..] = entries else { return 0 };
    let [.., (last, _)] = entries else { return 0 };
    first[start..].iter().zip(&last[start..]).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
pub(crate) mod tests {
    use vmlab_store::hex;

    use super::*;

    fn number(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn text(bytes: &[u8], at: usize) -> String {
        bytes[at..].iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect()
    }

    /// All keys with their values, in order.
    pub(crate) fn read(bytes: &[u8]) -> Vec<(String, u32, String)> {
        assert_eq!((number(bytes, 0), number(bytes, 4)), (0xB007_F457, 0x0002_0001));
        let mut found = Vec::new();
        read_node(bytes, number(bytes, 8), String::new(), &mut found);
        found
    }

    fn read_node(bytes: &[u8], offset: u32, mut key: String, found: &mut Vec<(String, u32, String)>) {
        let mut at = (offset & 0x0FFF_FFFF) as usize;
        if offset & HAS_PREFIX != 0 {
            let prefix = text(bytes, at);
            at += prefix.len() + 1;
            key += &prefix;
        }
        let mut children = Vec::new();
        if offset & HAS_CHILDREN != 0 {
            let (first, last) = (bytes[at], bytes[at + 1]);
            at += 2;
            for byte in first..=last {
                children.push((char::from(byte), number(bytes, at)));
                at += 4;
            }
        }
        if offset & HAS_VALUES != 0 {
            let count = number(bytes, at);
            at += 4;
            for _ in 0..count {
                let value = text(bytes, at + 4);
                found.push((key.clone(), number(bytes, at), value.clone()));
                at += 4 + value.len() + 1;
            }
        }
        for (byte, child) in children.into_iter().filter(|(_, child)| *child != 0) {
            read_node(bytes, child, format!("{key}{byte}"), found);
        }
    }

    fn trie(entries: &[(&str, u32, &str)]) -> Trie {
        let mut trie = Trie::default();
        entries.iter().for_each(|(key, priority, value)| trie.insert(key, *priority, value));
        trie
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut entries = vec![
            ("", 1, "the empty key"),
            ("a", 0, ""),
            ("ab", 0, "x"),
            ("abcdef", 7, "long"),
            ("abcxyz", 7, "branch"),
            ("fs-*", 3, "first"),
            ("fs-*", 9, "second"),
            ("~", 0, "last"),
        ];
        let expected: Vec<_> =
            entries.iter().map(|(key, priority, value)| ((*key).to_owned(), *priority, (*value).to_owned())).collect();
        assert_eq!(read(&trie(&entries).encode()), expected);
        entries.reverse();
        assert_eq!(read(&trie(&entries).encode()), expected, "the order of insertion does not matter");
    }

    #[test]
    fn of_equal_priorities_the_last_value_comes_first() {
        let values = read(&trie(&[("k", 1, "a"), ("k", 1, "b"), ("k", 0, "c")]).encode());
        assert_eq!(values.iter().map(|(_, _, value)| value.as_str()).collect::<Vec<_>>(), ["c", "b", "a"]);
    }

    #[test]
    fn keys_that_no_lookup_finds_are_left_out() {
        let long = "x".repeat(KEY_LIMIT + 1);
        assert_eq!(read(&trie(&[("ä", 0, ""), ("a\0b", 0, ""), (&long, 0, ""), ("k", 0, "a\0b")]).encode()), []);
        // depmod writes the same file if there is nothing to write.
        assert_eq!(trie(&[]).encode(), [MAGIC, VERSION, 12].map(u32::to_be_bytes).concat());
    }

    const WITHOUT_VALUES: &str = "\
        b007f457000200012000004700000001000000000062624000000c000000010000000000000000010000000000\
        61636000001500000000400000245f630000000001000000000061622000002dc000003b";
    const WITH_VALUES: &str = "\
        b007f457000200012000004d000000010000000161622e6b6f3a20612e6b6f0062624000000c00000001000000\
        02612e6b6f3a000000000100000000622e6b6f3a2061622e6b6f20612e6b6f0061626000002040000034";

    /// depmod of kmod 30 wrote these bytes for a `modules.builtin` with the modules aa, aab, ac and b-c.
    #[test]
    fn the_bytes_are_those_of_depmod() {
        let encoded = trie(&["aa", "aab", "ac", "b_c"].map(|name| (name, 0, ""))).encode();
        assert_eq!(hex(&encoded), WITHOUT_VALUES);
    }

    /// depmod of kmod 30 wrote these bytes for a tree of the modules a.ko, ab.ko (needs a) and b.ko (needs ab).
    #[test]
    fn the_bytes_with_values_are_those_of_depmod() {
        let values = [("a", 2, "a.ko:"), ("ab", 1, "ab.ko: a.ko"), ("b", 0, "b.ko: ab.ko a.ko")];
        assert_eq!(hex(&trie(&values).encode()), WITH_VALUES);
    }
}
