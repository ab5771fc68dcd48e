//! The frozen QEMU of a template: an image of the process that has booted the guest, and a description. Both are optional. An image is
//! valid for one boot of one machine, and for the files that QEMU has mapped; after that a new template is made.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vmlab_store::checksummed::{self, Stored};
use vmlab_store::integrity::{Integrity, Lasts, Trust};
use vmlab_store::{CacheError, host_boot_id};
use vmlab_thaw::mapped::changed_file;

/// The name of the image.
pub(super) const IMAGE: &str = "frozen";
/// The name of its description.
const ABOUT_IMAGE: &str = "frozen.json";

/// An image that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenImage {
    /// QEMU's greeting on its monitor, which it sends once.
    pub greeting: String,
    /// Figures about the image, for the log.
    pub figures: String,
}

/// The content of the description.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    /// The machine on which it was written.
    host: Value,
    #[serde(flatten)]
    image: FrozenImage,
    files: Integrity,
}

/// Creates an empty image. It contains all of a process's memory, so that others must not read it.
pub(super) fn create(dir: &Path) -> Result<File, CacheError> {
    let path = dir.join(IMAGE);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(CacheError::on("create", &path))
}

/// Describes the image, or removes an incomplete one. Returns the digest of its file.
pub(super) fn describe(dir: &Path, image: Option<&FrozenImage>) -> Result<Option<Integrity>, CacheError> {
    let path = dir.join(IMAGE);
    let (Some(image), Some(host)) = (image, host()) else {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(CacheError::on("remove", &path)(error)),
            Ok(()) | Err(_) => Ok(None),
        };
    };
    let files = Integrity::of_guest(dir, &[IMAGE])?;
    let about = About { host, image: image.clone(), files };
    checksummed::write(&dir.join(ABOUT_IMAGE), &about)?;
    Ok(Some(about.files))
}

/// The result of looking for an image.
#[derive(Debug)]
pub(super) enum Image {
    /// It can be used on this machine now.
    Usable(FrozenImage),
    /// It is damaged; the text describes the damage.
    Damaged(String),
    /// There is no image, or the image was written on another boot or with other libraries.
    NotHere,
}

/// Looks for an image. Without a usable one the template is made again, or forks are restored.
pub(super) fn find(dir: &Path, cache: &Path) -> Result<Image, CacheError> {
    let about: About = match checksummed::read(&dir.join(ABOUT_IMAGE))? {
        Stored::Missing => return Ok(Image::NotHere),
        Stored::Damaged(why) => return Ok(Image::Damaged(why)),
        Stored::Sound(about) => about,
    };
    if host().is_none_or(|host| host != about.host) {
        return Ok(Image::NotHere);
    }
    if let Some(why) = about.files.damage(dir, cache, Trust::Stat, Lasts::UntilReboot)? {
        return Ok(Image::Damaged(why));
    }
    // A mapped file changes when a library is upgraded, for example. An image that cannot be read is not used: the template is made
    // again, as for any older image.
    let same = matches!(changed_file(&dir.join(IMAGE)), Ok(None));
    Ok(if same { Image::Usable(about.image) } else { Image::NotHere })
}

/// What an image depends on beside its template's key: the format, the boot of the machine, and its processor, for which QEMU and the
/// C library have chosen code. None if the boot is unknown. The mapped files are compared
/// one by one.
fn host() -> Option<Value> {
    let boot = host_boot_id().ok()?;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = |name: &str| cpuinfo.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    let (cpu, microcode, flags) = (line("model name"), line("microcode"), line("flags"));
    Some(json!({ "format": vmlab_thaw::VERSION, "boot": boot, "cpu": cpu, "microcode": microcode, "flags": flags }))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn damage_is_not_the_same_as_another_machine() {
        let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (image, about) = (dir.path().join(IMAGE), dir.path().join(ABOUT_IMAGE));
        let look = || find(dir.path(), cache.path()).unwrap();
        assert!(matches!(look(), Image::NotHere));
        create(dir.path()).unwrap().write_all(&[1; 5000]).unwrap();
        let frozen = FrozenImage { greeting: "{}".to_owned(), figures: String::new() };
        describe(dir.path(), Some(&frozen)).unwrap();
        // Its bytes are those that were written, and no image of a process.
        assert!(matches!(look(), Image::NotHere));
        for (file, content) in [(&image, vec![2; 5000]), (&image, vec![]), (&about, b"{}".to_vec())] {
            fs::write(file, content).unwrap();
            assert!(matches!(look(), Image::Damaged(why) if why.contains("frozen")), "{}", file.display());
        }
    }
}
