//! The files that a frozen process has mapped.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use vmlab_thaw_image::image::{HEADER_BYTES, Header, Image};
use vmlab_thaw_image::memory::MappedFile;

/// The first mapped file that is gone or not the same any more, so that the image cannot thaw. The thawer looks for itself; who asks here
/// can write a new image before.
///
/// # Errors
/// The file cannot be read, or is not an image of this version.
pub fn changed_file(image: &Path) -> io::Result<Option<PathBuf>> {
    let mut file = File::open(image)?;
    let file_bytes = file.metadata()?.len();
    let mut tables = vec![0; HEADER_BYTES];
    file.read_exact(&mut tables)?;
    let header = tables.first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
    let header = Header::decode(header, file_bytes).map_err(io::Error::other)?;
    let rest = header.tables_bytes.saturating_sub(HEADER_BYTES as u64);
    file.take(rest).read_to_end(&mut tables)?;
    let image = Image::decode(&tables, file_bytes).map_err(io::Error::other)?;
    for mapped in image.files() {
        let mapped = mapped.map_err(io::Error::other)?;
        let path = image.path(&mapped).map(|path| Path::new(OsStr::from_bytes(path.to_bytes())));
        if let Some(path) = path
            && !is_same(path, &mapped)
        {
            return Ok(Some(path.to_owned()));
        }
    }
    Ok(None)
}

fn is_same(path: &Path, mapped: &MappedFile) -> bool {
    let time = |seconds: i64, nanoseconds: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds);
    // The thawer opens it, too: a user may see a file that only another user may read.
    File::open(path).and_then(|file| file.metadata()).is_ok_and(|now| {
        (now.dev(), now.ino(), now.size()) == (mapped.device, mapped.inode, mapped.size_bytes)
            && time(now.mtime(), now.mtime_nsec()) == mapped.modified_ns
            && time(now.ctime(), now.ctime_nsec()) == mapped.changed_ns
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_no_image_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        assert!(changed_file(&path).is_err());
        for content in [vec![], vec![0; 4096], b"VMLFROZN".repeat(1000)] {
            fs::write(&path, content).unwrap();
            assert!(changed_file(&path).is_err());
        }
    }
}
