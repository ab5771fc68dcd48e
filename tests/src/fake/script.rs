//! The script of a fake QEMU: values that a test makes and the program reads.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vmlab_protocol::message::{GuestMessage, Leg, LegOutcome, Stream};

/// The environment variable that names the script's directory.
pub const VARIABLE: &str = "VMLAB_FAKE_QEMU";
/// The name of the script's file.
const FILE: &str = "script.json";

/// Everything that the fake QEMU does in a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// The answer to `--version`.
    pub version: Version,
    /// The guests, in the order of their starts.
    pub guests: Vec<Guest>,
}

/// What `--version` does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Version {
    /// QEMU prints this line.
    Says(String),
    /// QEMU prints an error and exits.
    Dies {
        /// The exit code.
        code: u8,
        /// The text on standard error.
        stderr: String,
    },
    /// QEMU does not end.
    Hangs,
}

impl Default for Version {
    fn default() -> Self {
        Self::Says("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)".to_owned())
    }
}

/// One guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guest {
    /// A part of the path of the kernel that the guest is for. Empty: any kernel.
    pub kernel: String,
    /// How its monitor behaves.
    pub qmp: Qmp,
    /// What the guest does, in order. After the last action QEMU exits with 0.
    pub actions: Vec<Action>,
}

/// How the monitor behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Qmp {
    /// The monitor greets and answers.
    Answers,
    /// The monitor greets and answers, but refuses to write the guest's memory.
    RefusesDumps,
    /// The monitor sends nothing.
    Silent,
    /// The monitor is closed from the start.
    Closed,
}

/// One of a guest's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channel {
    /// The control port.
    Port,
    /// The console.
    Console,
    /// The monitor.
    Qmp,
}

/// How a message is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Damage {
    /// This bit of the frame, counted from the frame's first, is flipped.
    FlipBit(usize),
    /// Only this many bytes of the frame are sent.
    Truncate(usize),
    /// The header announces this length.
    Announce(u32),
}

/// One step of a guest or its QEMU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Sends the hello of the machine that vmlab asked for, with these fields replaced.
    Hello(Value),
    /// Changes the guest's boot id.
    BootId(String),
    /// Waits until the host asks for this scenario.
    AwaitRun(String),
    /// Waits until the host has nothing more to do.
    AwaitFinish,
    /// Makes the console hold back its output.
    HoldConsole,
    /// Lets the console write, a moment later, all that it has held back.
    ReleaseConsole,
    /// Sends a message with the next sequence number.
    Say(GuestMessage),
    /// Sends a message with this sequence number.
    SayAs(u64, GuestMessage),
    /// Sends a damaged message.
    SayDamaged(GuestMessage, Damage),
    /// Sends a scenario's output.
    Output(u32, Leg, Stream, Vec<u8>),
    /// Runs this many scenarios with their documented results.
    Serve(u32),
    /// Runs all further scenarios with their documented results, and sends the goodbye.
    ServeRest,
    /// Writes bytes to the control port.
    Port(Vec<u8>),
    /// Writes bytes to the console.
    Console(Vec<u8>),
    /// Sends a line that is an event of the monitor. Only for [`Qmp::Answers`].
    Qmp(String),
    /// Waits until a command of the monitor has been answered. Only for [`Qmp::Answers`].
    AwaitCommand(String),
    /// Prints a line on standard error.
    Stderr(String),
    /// Closes a connection.
    Close(Channel),
    /// Writes to a connection until the host closes it.
    Flood(Channel, Vec<u8>),
    /// Creates a file of this name in the script's directory.
    Mark(String),
    /// Waits for a file of this name in the script's directory.
    AwaitMark(String),
    /// Stops vmlab (true) as if the host were busy, or lets it continue (false).
    HostSleeps(bool),
    /// Exits with this code.
    Exit(u8),
    /// Exits with this code if the guest is a fork.
    ExitAsFork(u8),
    /// Kills itself with this signal.
    Signal(i32),
    /// Does nothing until it is killed.
    Hang,
}

impl Guest {
    /// A guest for any kernel, with a monitor that answers.
    #[must_use]
    pub fn new(actions: Vec<Action>) -> Self {
        Self { kernel: String::new(), qmp: Qmp::Answers, actions }
    }

    /// Restricts the guest to kernels whose path contains this text.
    #[must_use]
    pub fn on(self, kernel: &str) -> Self {
        Self { kernel: kernel.to_owned(), ..self }
    }

    /// Replaces the monitor's behaviour.
    #[must_use]
    pub fn with_qmp(self, qmp: Qmp) -> Self {
        Self { qmp, ..self }
    }

    /// A guest that boots and is saved.
    #[must_use]
    pub fn template() -> Self {
        Self::new(vec![hello(), Action::Hang])
    }

    /// A fork of a template that runs everything with the documented result. A fork has no kernel of its own.
    #[must_use]
    pub fn good_fork() -> Self {
        Self::new(vec![Action::ServeRest])
    }

    /// A guest that boots and runs everything with the documented result.
    #[must_use]
    pub fn good() -> Self {
        Self::new(vec![hello(), Action::ServeRest])
    }
}

/// The hello of the machine that vmlab asked for.
#[must_use]
pub fn hello() -> Action {
    Action::Hello(json!({}))
}

/// A hello with other fields, named as in [`vmlab_protocol::message::Hello`].
#[must_use]
pub fn hello_with(fields: Value) -> Action {
    Action::Hello(fields)
}

/// An event of the monitor, with its data.
#[must_use]
pub fn event(name: &str, data: &Value) -> Action {
    let timestamp = json!({"seconds": 1, "microseconds": 2});
    Action::Qmp(json!({"event": name, "data": data, "timestamp": timestamp}).to_string())
}

/// The events of QEMU when a guest ends: the reason, and that the guest is paused, as with `-action shutdown=pause`.
#[must_use]
pub fn ends(reason: &str) -> [Action; 2] {
    [event("SHUTDOWN", &json!({"guest": true, "reason": reason})), event("STOP", &json!({}))]
}

/// The events of QEMU when a guest has reported a panic.
#[must_use]
pub fn panics() -> [Action; 2] {
    [event("GUEST_PANICKED", &json!({"action": "pause"})), event("STOP", &json!({}))]
}

/// Text on the console.
#[must_use]
pub fn console(text: &str) -> Action {
    Action::Console(text.as_bytes().to_vec())
}

/// The announcement of a scenario.
#[must_use]
pub fn started(run: u32, scenario: &str) -> Action {
    Action::Say(GuestMessage::JobStarted { run, job: scenario.parse().expect("a job's name") })
}

/// The end of a leg.
#[must_use]
pub fn leg(run: u32, leg: Leg, outcome: LegOutcome) -> Action {
    Action::Say(GuestMessage::LegFinished { run, leg, outcome, duration_ns: 1_000_000, output_dropped: 0 })
}

/// The end of a scenario.
#[must_use]
pub fn finished(run: u32) -> Action {
    Action::Say(GuestMessage::JobFinished { run })
}

/// A scenario from the host's order to the end of its legs, without the scenario's own end.
#[must_use]
pub fn legs(run: u32, scenario: &str, outcomes: &[(Leg, LegOutcome)]) -> Vec<Action> {
    let mut actions = vec![Action::AwaitRun(scenario.to_owned()), started(run, scenario)];
    actions.extend(outcomes.iter().map(|(which, outcome)| leg(run, *which, outcome.clone())));
    actions
}

/// A scenario from the host's order to its end.
#[must_use]
pub fn scenario(run: u32, name: &str, outcomes: &[(Leg, LegOutcome)]) -> Vec<Action> {
    let mut actions = legs(run, name, outcomes);
    actions.push(finished(run));
    actions
}

impl Script {
    /// A script with these guests and the default version.
    #[must_use]
    pub fn new(guests: Vec<Guest>) -> Self {
        Self { version: Version::default(), guests }
    }

    /// Writes the script to a directory.
    ///
    /// # Panics
    /// The directory cannot be written.
    pub fn put(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join(FILE), serde_json::to_vec_pretty(self).unwrap()).unwrap();
    }

    /// Reads the script from a directory.
    ///
    /// # Errors
    /// The file is missing or malformed.
    pub fn get(dir: &Path) -> Result<Self, String> {
        let bytes = fs::read(dir.join(FILE)).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
        serde_json::from_slice(&bytes).map_err(|error| format!("the script cannot be read: {error}"))
    }

    /// Takes the first guest for a kernel that no other start has taken.
    ///
    /// # Errors
    /// The script has no such guest left.
    pub fn claim(self, dir: &Path, kernel: &str) -> Result<Guest, String> {
        for (number, guest) in self.guests.into_iter().enumerate().filter(|(_, guest)| kernel.contains(&guest.kernel)) {
            match File::create_new(dir.join(claim_name(number))) {
                Ok(_) => return Ok(guest),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(format!("cannot take a guest: {error}")),
            }
        }
        Err(format!("the script has no guest left for {kernel}"))
    }

    /// The numbers, from 0, of the guests that no start has taken.
    #[must_use]
    pub fn unclaimed(&self, dir: &Path) -> Vec<usize> {
        (0..self.guests.len()).filter(|number| !dir.join(claim_name(*number)).exists()).collect()
    }
}

fn claim_name(number: usize) -> String {
    format!("guest-{number}")
}
