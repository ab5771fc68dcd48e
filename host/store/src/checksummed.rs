//! Checksummed JSON, the format of every small file of the cache. The checksum detects a flipped bit or an edit even if
//! the result is valid JSON. A damaged file is not an error: vmlab computes its content again.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::regular::is_absence;
use crate::{CacheError, atomic, hex, regular};

/// The largest file that vmlab writes, what is known of the 92,000 files of a source tree, has 14 MB.
const LIMIT_BYTES: u64 = 64 << 20;

/// The result of reading a file.
#[derive(Debug)]
pub enum Stored<T> {
    /// There is no such file.
    Missing,
    /// The content is not as written; the text names the file and the damage.
    Damaged(String),
    /// The value.
    Sound(T),
}

/// The format of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    /// The SHA-256 of the text of `content`, in hexadecimal.
    sha256: String,
    content: Box<RawValue>,
}

/// Reads a file that [`write()`] wrote.
///
/// # Errors
/// [`CacheError`] if the file exists and cannot be read.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Stored<T>, CacheError> {
    let bytes = match regular::read(path, LIMIT_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if is_absence(&error) => return Ok(Stored::Missing),
        Err(error) => {
            let damage = regular::damage(path, &error).map(Stored::Damaged);
            return damage.ok_or_else(|| CacheError::on("read", path)(error));
        }
    };
    let malformed = |error| Stored::Damaged(format!("{} is malformed ({error})", path.display()));
    Ok(match serde_json::from_slice::<Envelope>(&bytes) {
        Err(error) => malformed(error),
        Ok(Envelope { sha256, content }) if sha256 != checksum(content.get()) => {
            Stored::Damaged(format!("{} is damaged: its checksum does not match", path.display()))
        }
        Ok(Envelope { content, .. }) => serde_json::from_str(content.get()).map_or_else(malformed, Stored::Sound),
    })
}

/// Writes a file atomically.
///
/// # Errors
/// [`CacheError`]
pub fn write<T: Serialize>(path: &Path, content: &T) -> Result<(), CacheError> {
    let content = serde_json::to_string_pretty(content)
        .map_err(|error| CacheError::on("write", path)(io::Error::other(error)))?;
    let text = format!("{{\n\"sha256\": \"{}\",\n\"content\": {content}\n}}\n", checksum(&content));
    atomic::write(path, text.as_bytes())
}

fn checksum(text: &str) -> String {
    hex(&Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixture::{NOT_REGULAR, put};

    #[test]
    fn every_flipped_bit_that_changes_the_content_is_detected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let content = vec![("name".to_owned(), 7_u64), ("ä\"".to_owned(), u64::MAX)];
        write(&path, &content).unwrap();
        let bytes = fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut harmed = bytes.clone();
            harmed[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &harmed).unwrap();
            match read::<Vec<(String, u64)>>(&path).unwrap() {
                // The bit turned a line feed outside the content into another white-space character.
                Stored::Sound(same) => assert_eq!(same, content, "bit {bit}"),
                Stored::Damaged(why) => assert!(why.contains(path.to_str().unwrap()), "{why}"),
                Stored::Missing => panic!("bit {bit}"),
            }
        }
    }

    #[test]
    fn an_edit_an_addition_and_another_type_are_detected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write(&path, &"text").unwrap();
        assert!(matches!(read::<String>(&path).unwrap(), Stored::Sound(text) if text == "text"));
        assert!(matches!(read::<u64>(&path).unwrap(), Stored::Damaged(_)));
        let text = fs::read_to_string(&path).unwrap();
        for edited in [text.replace("text", "other"), text.replace('}', r#", "more": 1}"#), "\"text\"".to_owned()] {
            fs::write(&path, edited).unwrap();
            assert!(matches!(read::<String>(&path).unwrap(), Stored::Damaged(_)));
        }
        assert!(matches!(read::<String>(&dir.path().join("none")).unwrap(), Stored::Missing));
    }

    #[test]
    fn whatever_stands_in_a_files_place_is_damage_and_is_replaced_by_writing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        for (name, make) in NOT_REGULAR {
            put(&path, make);
            assert!(matches!(read::<u32>(&path).unwrap(), Stored::Damaged(_)), "{name}");
            write(&path, &7).unwrap();
            assert!(matches!(read::<u32>(&path).unwrap(), Stored::Sound(7)), "{name}");
        }
    }
}
