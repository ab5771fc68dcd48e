//! The machines of a target: jobs that need the same machine have guests of the same kind. Pure.

use std::num::NonZero;

use vmlab_events::job::JobSpec;
use vmlab_qemu::accelerator::Accelerator;

/// What the machines of a run have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machines {
    /// The accelerator of all guests.
    pub(crate) accelerator: Accelerator,
    /// The number of CPUs that each guest has at least.
    pub(crate) cpus: u32,
}

/// A kind of machine. Each has its own templates, time limits and guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Variant {
    /// Whether it executes a constant number of instructions in a second of its clock.
    pub(crate) counts_instructions: bool,
    /// Whether its network card is linked to that of a second guest.
    pub(crate) linked: bool,
    /// The number of CPUs.
    pub(crate) cpus: u32,
}

impl Machines {
    /// The machine that a job gets.
    pub(crate) fn of_job(self, spec: &JobSpec) -> Variant {
        let need = spec.machine();
        let counts_instructions = need.measuring && self.accelerator == Accelerator::Tcg;
        // With one clock for all CPUs, more than one would only take turns.
        let cpus = if counts_instructions { 1 } else { self.cpus.max(need.cpus) };
        Variant { counts_instructions, linked: need.peer, cpus }
    }

    /// The machines that these jobs need, sorted. A run without jobs has the plainest.
    pub(crate) fn of_jobs(self, jobs: &[JobSpec]) -> Vec<Variant> {
        let mut all: Vec<_> = jobs.iter().map(|spec| self.of_job(spec)).collect();
        if all.is_empty() {
            all.push(Variant { counts_instructions: false, linked: false, cpus: self.cpus });
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The slots that a guest takes, or two linked guests, where a guest with [`Self::cpus`] takes one and there are `slots`.
    pub(crate) fn slots_of(self, variant: Variant, slots: usize) -> u32 {
        let cpus = NonZero::new(self.cpus).unwrap_or(NonZero::<u32>::MIN);
        (variant.cpus.div_ceil(cpus.get()) * (u32::from(variant.linked) + 1))
            .min(u32::try_from(slots).unwrap_or(u32::MAX))
            .max(1)
    }
}

#[cfg(test)]
mod tests {
    use vmlab_events::fixture;
    use vmlab_protocol::catalogue::MachineNeed;

    use super::*;

    fn job(cpus: u32, measuring: bool) -> JobSpec {
        let mut spec = fixture::scenarios().remove(0);
        spec.machine = MachineNeed { cpus, measuring, peer: false };
        spec.into()
    }

    fn machines(accelerator: Accelerator, cpus: u32) -> Machines {
        Machines { accelerator, cpus }
    }

    #[test]
    fn a_job_gets_what_it_needs_and_no_less_than_the_run_says() {
        for (asked, needed, given) in [(1, 1, 1), (1, 2, 2), (4, 2, 4), (2, 4, 4)] {
            let variant = machines(Accelerator::Tcg, asked).of_job(&job(needed, false));
            assert_eq!(variant, Variant { cpus: given, linked: false, counts_instructions: false });
        }
    }

    #[test]
    fn instructions_are_counted_on_one_cpu_and_under_an_emulator_only() {
        let measured = job(1, true);
        assert_eq!(
            machines(Accelerator::Tcg, 4).of_job(&measured),
            Variant { counts_instructions: true, linked: false, cpus: 1 }
        );
        assert_eq!(
            machines(Accelerator::Kvm, 4).of_job(&measured),
            Variant { counts_instructions: false, linked: false, cpus: 4 }
        );
    }

    #[test]
    fn jobs_with_the_same_need_share_a_machine() {
        let machines = machines(Accelerator::Tcg, 1);
        let cpus = |jobs: &[JobSpec]| machines.of_jobs(jobs).iter().map(|variant| variant.cpus).collect::<Vec<_>>();
        assert_eq!(cpus(&[]), [1]);
        assert_eq!(cpus(&[job(2, false), job(1, false), job(2, false)]), [1, 2]);
        assert_eq!(cpus(&[job(2, false)]), [2], "no machine without a job");
    }

    #[test]
    fn a_guest_takes_a_slot_for_its_cpus_and_never_more_than_there_are() {
        let slots = |asked, cpus, slots| {
            machines(Accelerator::Tcg, asked)
                .slots_of(Variant { counts_instructions: false, linked: false, cpus }, slots)
        };
        assert_eq!([slots(1, 1, 2), slots(1, 2, 2), slots(1, 4, 2), slots(2, 4, 8), slots(2, 3, 8)], [1, 2, 2, 2, 2]);
        assert_eq!(slots(1, 2, 1), 1);
        let linked = Variant { counts_instructions: false, linked: true, cpus: 1 };
        assert_eq!([1, 2, 8].map(|slots| machines(Accelerator::Tcg, 1).slots_of(linked, slots)), [1, 2, 2]);
    }
}
