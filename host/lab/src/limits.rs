//! Time limits. Every wait has one.

use std::time::Duration;

use vmlab_events::job::{JobSpec, LegLimit};
use vmlab_qemu::accelerator::Accelerator;

/// The limits that the user set; None for vmlab's own limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// From QEMU's start to the kernel's first line.
    pub boot: Option<Duration>,
    /// From the kernel's first line to the hello; also the time in which a fork must become ready.
    pub handshake: Option<Duration>,
    /// The limit of a whole job.
    pub scenario: Option<Duration>,
    /// The limit of silence on all channels while a job runs.
    pub silence: Option<Duration>,
}

/// The time limits of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    wanted: Wanted,
    boot: Duration,
    /// The factor for a leg's limit: an emulator is slower than the hardware for which limits are stated.
    scale: u32,
    /// Whether the guest may take any time, because a debugger can stop it at any point.
    without_end: bool,
}

/// The time that the host waits beyond a job's own limits before it decides that the guest hangs.
const GRACE: Duration = Duration::from_secs(15);
/// The time from QEMU's last sign to the end of its sockets. Multiplied by the scale, also the limit of a guest's
/// immediate answers.
pub(crate) const EXIT: Duration = Duration::from_secs(10);

/// The time without a word of the agent's after which it is asked whether it still answers, while a command runs.
const PING: Duration = Duration::from_secs(10);

/// The time from the hello, or from the console's last output after it, to the marker that was printed before the hello.
pub(crate) const CONSOLE: Duration = Duration::from_secs(10);

/// The time for the files that a command sends at its end.
const FILES: Duration = Duration::from_hours(24);

/// Longer than any run: 100 years.
const NO_LIMIT: Duration = Duration::from_hours(100 * 365 * 24);

impl Limits {
    /// The limits for an accelerator, with the user's changes.
    #[must_use]
    pub fn new(accelerator: Accelerator, wanted: Wanted) -> Self {
        let (default_boot, scale) = match accelerator {
            Accelerator::Kvm => (Duration::from_secs(30), 1),
            Accelerator::Tcg => (Duration::from_secs(120), 6),
        };
        Self { wanted, boot: wanted.boot.unwrap_or(default_boot), scale, without_end: false }
    }

    /// No limits, for a guest that a debugger can stop. The limits of a leg and of PID 1 stay: the guest enforces them, and its clock
    /// stops with it.
    #[must_use]
    pub fn without_end(self) -> Self {
        Self { without_end: true, ..self }
    }

    fn unless_without_end(&self, limit: Duration) -> Duration {
        if self.without_end { NO_LIMIT } else { limit }
    }

    /// From QEMU's start to the kernel's first line on the console.
    #[must_use]
    pub fn boot(&self) -> Duration {
        self.unless_without_end(self.boot)
    }

    /// From the kernel's first line to the hello.
    #[must_use]
    pub fn handshake(&self) -> Duration {
        self.unless_without_end(self.wanted.handshake.unwrap_or(self.boot))
    }

    /// From the order to prepare until the guest is ready.
    #[must_use]
    pub fn prepare(&self) -> Duration {
        self.unless_without_end(self.wanted.handshake.unwrap_or(EXIT * self.scale))
    }

    /// For messages that a guest sends immediately: a job's announcement, the goodbye.
    #[must_use]
    pub fn answer(&self) -> Duration {
        self.unless_without_end(EXIT * self.scale)
    }

    /// The limit of one leg, which the guest enforces. If the user limits the whole job, three legs fit into that
    /// limit, and the guest has time to report which leg was too slow.
    #[must_use]
    pub fn leg(&self, spec: &JobSpec) -> Duration {
        match (self.wanted.scenario, spec.leg_limit()) {
            (_, LegLimit::Exactly(limit)) => limit,
            (_, LegLimit::None) => NO_LIMIT,
            (Some(whole), LegLimit::OnHardware(_)) => whole / 4,
            (None, LegLimit::OnHardware(limit)) => limit * self.scale,
        }
    }

    /// The limit of a whole job, which the host enforces: three legs, and time for the guest to enforce its
    /// limits.
    #[must_use]
    pub fn job(&self, spec: &JobSpec) -> Duration {
        let own = match spec.leg_limit() {
            // One leg has it.
            LegLimit::Exactly(limit) => limit.saturating_add(GRACE),
            LegLimit::None | LegLimit::OnHardware(_) => self.leg(spec) * 3 + GRACE,
        };
        self.unless_without_end(self.wanted.scenario.unwrap_or(own))
    }

    /// The limit of a command that sends files when it has ended: as that of a job, and time for the files. While they come, the
    /// limit of silence holds.
    #[must_use]
    pub fn job_with_files(&self, spec: &JobSpec) -> Duration {
        self.job(spec).saturating_add(FILES)
    }

    /// The limit of silence while a job runs. By default it is a leg's limit, after which the guest sends a
    /// message, and some time for that.
    #[must_use]
    pub fn silence(&self, spec: &JobSpec) -> Duration {
        self.unless_without_end(self.wanted.silence.unwrap_or(self.leg(spec) + GRACE))
    }

    /// While a command runs: the time without a word of the agent's until it is asked whether it still answers, and from then on the
    /// time for the answer.
    #[must_use]
    pub fn ping(&self) -> (Duration, Duration) {
        (self.unless_without_end(PING), self.answer())
    }

    /// PID 1's limit for the control port. It is far below the boot limit, so that PID 1 can still report the problem.
    #[must_use]
    pub fn port(&self) -> Duration {
        (self.boot.min(self.wanted.handshake.unwrap_or(self.boot)) / 4).min(Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use vmlab_events::job::SuiteId;
    use vmlab_image::guest_init;

    use super::*;

    fn specs() -> Vec<JobSpec> {
        let scenarios = guest_init::catalogue().unwrap().iter().cloned().map(JobSpec::from);
        scenarios.chain([JobSpec::Kunit(SuiteId::new("list-kunit-test").unwrap())]).collect()
    }

    #[test]
    fn the_guests_limits_pass_before_the_hosts_limits() {
        let s = Duration::from_secs;
        let wishes = [Wanted::default(), Wanted { scenario: Some(s(8)), silence: Some(s(3)), ..Wanted::default() }];
        for (accelerator, wanted) in [Accelerator::Kvm, Accelerator::Tcg].into_iter().zip(wishes) {
            let limits = Limits::new(accelerator, wanted);
            for spec in &specs() {
                assert!(limits.leg(spec) * 3 < limits.job(spec), "{}", spec.name());
                assert!(limits.silence(spec) < limits.job(spec), "{}", spec.name());
            }
        }
        let limits = Limits::new(Accelerator::Tcg, wishes[1]);
        let spec = &specs()[0];
        assert_eq!((limits.job(spec), limits.leg(spec), limits.silence(spec)), (s(8), s(2), s(3)));
    }

    #[test]
    fn files_of_a_command_have_a_time_of_their_own() {
        let limits =
            Limits::new(Accelerator::Kvm, Wanted { scenario: Some(Duration::from_secs(8)), ..Wanted::default() });
        let spec = &specs()[0];
        assert_eq!(limits.job_with_files(spec), limits.job(spec) + FILES);
    }

    #[test]
    fn the_handshake_limit_is_the_boot_limit_by_default() {
        let s = Duration::from_secs;
        let limits = Limits::new(Accelerator::Kvm, Wanted { boot: Some(s(7)), ..Wanted::default() });
        assert_eq!((limits.boot(), limits.handshake(), limits.port()), (s(7), s(7), s(7) / 4));
        let limits = Limits::new(Accelerator::Kvm, Wanted { handshake: Some(s(9)), ..Wanted::default() });
        assert_eq!((limits.boot(), limits.handshake(), limits.prepare()), (s(30), s(9), s(9)));
    }
}
