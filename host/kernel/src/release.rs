//! The version at the beginning of a kernel's release.

use vmlab_protocol::catalogue::KernelVersion;

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
