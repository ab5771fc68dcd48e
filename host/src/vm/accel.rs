//! What runs the guest's instructions.

use serde::{Deserialize, Serialize};

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// QEMU's own emulation.
    Tcg,
    /// The host's hardware, through /dev/kvm.
    Kvm,
}

impl Accelerator {
    /// QEMU's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}
