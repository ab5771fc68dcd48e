//! Processes in namespaces of their own.

use vmlab_protocol::catalogue::Namespace;

/// The namespaces that a leg's processes are to run in; none for the control.
#[derive(Debug, Clone, Copy)]
pub struct Sandbox {
    namespaces: &'static [Namespace],
}

impl Sandbox {
    /// With these namespaces: the subject's.
    #[must_use]
    pub const fn of(namespaces: &'static [Namespace]) -> Self {
        Self { namespaces }
    }

    /// Without any: the control's.
    #[must_use]
    pub const fn none() -> Self {
        Self { namespaces: &[] }
    }
}
