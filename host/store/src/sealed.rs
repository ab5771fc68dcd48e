//! Small JSON files with a checksum over what they say, so that a flipped bit or an edit is found out even where what
//! comes of it could be read.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::json::{self, Json};
use super::{CacheError, hex};

/// As it is on the disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    about: Value,
    /// Of `about` as JSON without spaces, an object's keys sorted; hexadecimal.
    sha256: String,
}

/// Reads what [`write()`] wrote. What has another checksum is malformed.
///
/// # Errors
/// As [`json::read`].
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Json<T>, CacheError> {
    let Sealed { about, sha256 } = match json::read(path)? {
        Json::Read(sealed) => sealed,
        Json::Missing => return Ok(Json::Missing),
        Json::Malformed(why) => return Ok(Json::Malformed(why)),
    };
    if checksum(&about) != sha256 {
        return Ok(Json::Malformed(format!("{} is not what was written: its checksum is another", path.display())));
    }
    Ok(json::parsed(path, serde_json::from_value(about)))
}

/// Writes a file whole.
///
/// # Errors
/// As [`json::write`].
pub fn write<T: Serialize>(path: &Path, about: &T) -> Result<(), CacheError> {
    let about = serde_json::to_value(about).map_err(|error| CacheError::on("write", path)(io::Error::other(error)))?;
    json::write(path, &Sealed { sha256: checksum(&about), about })
}

fn checksum(about: &Value) -> String {
    // An object's keys are sorted, so equal values are equal texts.
    hex(&Sha256::digest(about.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_flipped_bit_that_changes_what_is_said_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let about = vec![("name".to_owned(), 7_u64), ("ä\"".to_owned(), u64::MAX)];
        write(&path, &about).unwrap();
        let bytes = fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut harmed = bytes.clone();
            harmed[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &harmed).unwrap();
            match read::<Vec<(String, u64)>>(&path).unwrap() {
                // White space that became another.
                Json::Read(same) => assert_eq!(same, about, "bit {bit}"),
                Json::Malformed(why) => assert!(why.contains(path.to_str().unwrap()), "{why}"),
                Json::Missing => panic!("bit {bit}"),
            }
        }
    }

    #[test]
    fn an_edit_an_addition_and_another_type_are_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write(&path, &"text").unwrap();
        assert!(matches!(read::<String>(&path).unwrap(), Json::Read(text) if text == "text"));
        assert!(matches!(read::<u64>(&path).unwrap(), Json::Malformed(_)));
        let text = fs::read_to_string(&path).unwrap();
        for edited in [text.replace("text", "other"), text.replace('}', r#", "more": 1}"#), "\"text\"".to_owned()] {
            fs::write(&path, edited).unwrap();
            assert!(matches!(read::<String>(&path).unwrap(), Json::Malformed(_)));
        }
        assert!(matches!(read::<String>(&dir.path().join("none")).unwrap(), Json::Missing));
    }
}
