//! Time limits. Everything that is waited for has one.

use std::time::Duration;

use vmlab_protocol::catalogue::ScenarioSpec;

use vmlab_qemu::accelerator::Accelerator;

/// What the user said of limits; each that was not named is vmlab's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// From QEMU's start to the kernel's first line.
    pub boot: Option<Duration>,
    /// From there to the hello, and until a fork has become a guest of its own.
    pub handshake: Option<Duration>,
    /// A whole scenario.
    pub scenario: Option<Duration>,
    /// Without a byte while a scenario runs.
    pub silence: Option<Duration>,
}

/// The limits of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    wanted: Wanted,
    boot: Duration,
    /// What a leg's limit is multiplied with: an emulator is slower than the hardware that limits are stated for.
    scale: u32,
}

/// What the host waits on top of a scenario's own limits before it judges that the guest itself hangs.
const GRACE: Duration = Duration::from_secs(15);
/// From QEMU's last sign to the end of its sockets; for what takes a guest no time, multiplied by the scale.
pub(crate) const EXIT: Duration = Duration::from_secs(10);

impl Limits {
    /// The limits for an accelerator, and by the user's word.
    #[must_use]
    pub fn new(accelerator: Accelerator, wanted: Wanted) -> Self {
        let (default_boot, scale) = match accelerator {
            Accelerator::Kvm => (Duration::from_secs(30), 1),
            Accelerator::Tcg => (Duration::from_secs(120), 6),
        };
        Self { wanted, boot: wanted.boot.unwrap_or(default_boot), scale }
    }

    /// From QEMU's start to the kernel's first line on the console.
    #[must_use]
    pub const fn boot(&self) -> Duration {
        self.boot
    }

    /// From the kernel's first line to the hello.
    #[must_use]
    pub fn handshake(&self) -> Duration {
        self.wanted.handshake.unwrap_or(self.boot)
    }

    /// From the order to prepare until the guest is one of its own.
    #[must_use]
    pub fn prepare(&self) -> Duration {
        self.wanted.handshake.unwrap_or(EXIT * self.scale)
    }

    /// For a word that takes a guest no time: a scenario's announcement, the goodbye.
    #[must_use]
    pub fn answer(&self) -> Duration {
        EXIT * self.scale
    }

    /// The limit of one leg, which the guest keeps. Where the user limits the whole scenario, three legs fit into that,
    /// and the guest has time to tell which of them was too long.
    #[must_use]
    pub fn leg(&self, spec: &ScenarioSpec) -> Duration {
        self.wanted.scenario.map_or(Duration::from_millis(spec.leg_timeout_ms) * self.scale, |whole| whole / 4)
    }

    /// The limit of a whole scenario, which the host keeps: three legs, and time for the guest to keep its own limits.
    #[must_use]
    pub fn scenario(&self, spec: &ScenarioSpec) -> Duration {
        self.wanted.scenario.unwrap_or(self.leg(spec) * 3 + GRACE)
    }

    /// How long a guest may say nothing while a scenario runs. By itself that is as long as a leg, at whose end it
    /// speaks, and time to do so.
    #[must_use]
    pub fn silence(&self, spec: &ScenarioSpec) -> Duration {
        self.wanted.silence.unwrap_or(self.leg(spec) + GRACE)
    }

    /// How long PID 1 waits for the control port: well within the boot limit, so that it can still say what is missing.
    #[must_use]
    pub fn port(&self) -> Duration {
        (self.boot.min(self.handshake()) / 4).min(Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use vmlab_image::guest_init;

    use super::*;

    #[test]
    fn the_guest_keeps_its_limits_before_the_host_does() {
        let s = Duration::from_secs;
        let words = [Wanted::default(), Wanted { scenario: Some(s(8)), silence: Some(s(3)), ..Wanted::default() }];
        for (accelerator, wanted) in [Accelerator::Kvm, Accelerator::Tcg].into_iter().zip(words) {
            let limits = Limits::new(accelerator, wanted);
            for spec in guest_init::catalogue().unwrap() {
                assert!(limits.leg(spec) * 3 < limits.scenario(spec), "{}", spec.id);
                assert!(limits.silence(spec) < limits.scenario(spec), "{}", spec.id);
            }
        }
        let limits = Limits::new(Accelerator::Tcg, words[1]);
        let spec = &guest_init::catalogue().unwrap()[0];
        assert_eq!((limits.scenario(spec), limits.leg(spec), limits.silence(spec)), (s(8), s(2), s(3)));
    }

    #[test]
    fn the_handshake_has_as_long_as_the_boot_where_nobody_says_otherwise() {
        let s = Duration::from_secs;
        let limits = Limits::new(Accelerator::Kvm, Wanted { boot: Some(s(7)), ..Wanted::default() });
        assert_eq!((limits.boot(), limits.handshake(), limits.port()), (s(7), s(7), s(7) / 4));
        let limits = Limits::new(Accelerator::Kvm, Wanted { handshake: Some(s(9)), ..Wanted::default() });
        assert_eq!((limits.boot(), limits.handshake(), limits.prepare()), (s(30), s(9), s(9)));
    }
}
