//! Tests of the whole host through its command line, with a scripted QEMU: which verdict and exit code follow from what a
//! guest does. [`vmlab_tests::lab`] checks what must hold after each run, such as that no process is left.

use vmlab_protocol::message::{GuestMessage, Leg, LegOutcome};
use vmlab_tests::fake::script::{Action, Guest, hello, scenario};
use vmlab_tests::lab::FakeLab;

mod cache;
mod crashes;
mod evidence;
mod flakes;
mod forks;
mod hostile;
mod identity;
mod kernels_on_disk;
mod limits;
mod link;
mod measuring;
mod qemu;
mod reports;
mod signals;
mod verdicts;
mod work;

const VMLAB: &str = env!("CARGO_BIN_EXE_vmlab-under-test");
const FAKE_QEMU: &str = env!("CARGO_BIN_EXE_fake-qemu");

/// A scenario with a control, which passes if its subject is isolated.
const HOSTNAME: &str = "uts.hostname";
/// The filter that picks only this scenario.
const ONLY_HOSTNAME: &str = "=uts.hostname";

fn lab(guests: Vec<Guest>) -> FakeLab {
    FakeLab::new(VMLAB, FAKE_QEMU, guests)
}

/// A guest that boots and then does this.
fn booted(actions: impl IntoIterator<Item = Action>) -> Guest {
    Guest::new(std::iter::once(hello()).chain(actions).collect())
}

/// A guest that boots, does this, and then runs all further scenarios with their documented results.
fn booted_then_good(actions: impl IntoIterator<Item = Action>) -> Guest {
    booted(actions.into_iter().chain([Action::ServeRest]))
}

fn isolated() -> LegOutcome {
    LegOutcome::Isolated { detail: "nothing showed".to_owned() }
}

fn leaked() -> LegOutcome {
    LegOutcome::Leaked { detail: "it showed".to_owned() }
}

/// The legs of a scenario that passes.
fn passing() -> [(Leg, LegOutcome); 3] {
    [(Leg::Probe, LegOutcome::Available), (Leg::Subject, isolated()), (Leg::Control, leaked())]
}

/// The first scenario of a guest, which passes.
fn passed_hostname() -> Vec<Action> {
    scenario(1, HOSTNAME, &passing())
}

fn goodbye(started: u32) -> Action {
    Action::Say(GuestMessage::RunFinished { started })
}
