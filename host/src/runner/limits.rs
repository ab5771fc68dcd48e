//! Time limits. Everything that is waited for has one.

use std::time::Duration;

use vmlab_protocol::catalogue::ScenarioSpec;

use crate::vm::accel::Accelerator;

/// The limits of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From QEMU's start to the hello.
    pub boot: Duration,
    /// What a leg's limit is multiplied with: an emulator is slower than the hardware that limits are stated for.
    pub scale: u32,
}

/// What the host waits on top of a scenario's own limits before it judges that the guest itself hangs.
const GRACE: Duration = Duration::from_secs(15);
/// From the order to leave to the goodbye, and from QEMU's last sign to the end of its sockets.
pub const FAREWELL: Duration = Duration::from_secs(10);

impl Limits {
    /// The limits for an accelerator. `boot` is the user's word, where there is one.
    #[must_use]
    pub fn new(accelerator: Accelerator, boot: Option<Duration>) -> Self {
        let (default_boot, scale) = match accelerator {
            Accelerator::Kvm => (Duration::from_secs(30), 1),
            Accelerator::Tcg => (Duration::from_secs(120), 6),
        };
        Self { boot: boot.unwrap_or(default_boot), scale }
    }

    /// The limit of one leg, which the guest keeps.
    #[must_use]
    pub fn leg(&self, spec: &ScenarioSpec) -> Duration {
        Duration::from_millis(spec.leg_timeout_ms) * self.scale
    }

    /// The limit of a whole scenario, which the host keeps: three legs, and time for the guest to keep its own limits.
    #[must_use]
    pub fn scenario(&self, spec: &ScenarioSpec) -> Duration {
        self.leg(spec) * 3 + GRACE
    }

    /// How long PID 1 waits for the control port: well within the boot limit, so that it can still say what is missing.
    #[must_use]
    pub fn port(&self) -> Duration {
        (self.boot / 4).min(Duration::from_secs(10))
    }
}
