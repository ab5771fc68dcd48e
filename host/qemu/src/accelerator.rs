//! The accelerators that vmlab uses.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How QEMU executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// QEMU translates them (Tiny Code Generator).
    Tcg,
    /// The host's processor executes them.
    Kvm,
}

impl Accelerator {
    /// The value for QEMU's `-accel`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
