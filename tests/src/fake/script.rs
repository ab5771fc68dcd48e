//! What a fake QEMU is to do: plain values, made by a test and read by the program.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vmlab_protocol::message::{GuestMessage, Leg, LegOutcome, Stream};

/// The variable that names the script's directory.
pub const VARIABLE: &str = "VMLAB_FAKE_QEMU";
/// The script's file.
const FILE: &str = "script.json";

/// All that the program does in a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// What `--version` does.
    pub version: Version,
    /// The guests, in the order of their starts.
    pub guests: Vec<Guest>,
}

/// What `--version` does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Version {
    /// It prints this line.
    Says(String),
    /// It complains and exits.
    Dies {
        /// The exit code.
        code: u8,
        /// What it says.
        stderr: String,
    },
    /// It does not end.
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
    /// A part of the path of the kernel that it is for; any kernel where it is empty.
    pub kernel: String,
    /// How its monitor behaves.
    pub qmp: Qmp,
    /// What it does, in order; then QEMU exits with 0.
    pub actions: Vec<Action>,
}

/// How the monitor behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Qmp {
    /// It greets and answers.
    Answers,
    /// Likewise, and does not write the guest's memory.
    RefusesDumps,
    /// It says nothing.
    Silent,
    /// It is closed from the start.
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

/// How a message comes to harm on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Damage {
    /// One bit of the frame is flipped: this one, from the frame's first.
    FlipBit(usize),
    /// Only so many bytes of the frame are sent.
    Truncate(usize),
    /// The header's length is this.
    Announce(u32),
}

/// One thing that a guest or its QEMU does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// The hello of the machine that vmlab asked for, with these fields in place of its own.
    Hello(Value),
    /// From now on the guest's boot id is this.
    BootId(String),
    /// Waits until the host asks for this scenario.
    AwaitRun(String),
    /// Waits until the host has nothing more to do.
    AwaitFinish,
    /// From now on the console holds back what it is given.
    HoldConsole,
    /// A moment later the console has all that was held back.
    ReleaseConsole,
    /// Says a message, with the next sequence number.
    Say(GuestMessage),
    /// Says a message with another sequence number.
    SayAs(u64, GuestMessage),
    /// Says a message that comes to harm.
    SayDamaged(GuestMessage, Damage),
    /// A scenario's output.
    Output(u32, Leg, Stream, Vec<u8>),
    /// Runs so many scenarios as they are documented to end.
    Serve(u32),
    /// Runs all scenarios that are still asked for, and says goodbye.
    ServeRest,
    /// Bytes on the control port.
    Port(Vec<u8>),
    /// Bytes on the console.
    Console(Vec<u8>),
    /// An event of the monitor, as its line. Only for [`Qmp::Answers`].
    Qmp(String),
    /// Waits until a command of the monitor has been answered. Only for [`Qmp::Answers`].
    AwaitCommand(String),
    /// A line on standard error.
    Stderr(String),
    /// Closes a connection.
    Close(Channel),
    /// Writes to a connection until the host has gone.
    Flood(Channel, Vec<u8>),
    /// Makes a file of this name in the script's directory.
    Mark(String),
    /// Waits for a file of this name there.
    AwaitMark(String),
    /// Stops vmlab, as a busy host does, or lets it go on.
    HostSleeps(bool),
    /// Exits.
    Exit(u8),
    /// Exits where it is a fork.
    ExitAsFork(u8),
    /// Kills itself with this signal.
    Signal(i32),
    /// Does nothing until it is killed.
    Hang,
}

impl Guest {
    /// For any kernel, with a monitor that answers.
    #[must_use]
    pub fn new(actions: Vec<Action>) -> Self {
        Self { kernel: String::new(), qmp: Qmp::Answers, actions }
    }

    /// For a kernel in whose path this occurs.
    #[must_use]
    pub fn on(self, kernel: &str) -> Self {
        Self { kernel: kernel.to_owned(), ..self }
    }

    /// With another monitor.
    #[must_use]
    pub fn with_qmp(self, qmp: Qmp) -> Self {
        Self { qmp, ..self }
    }

    /// One that boots and is saved.
    #[must_use]
    pub fn template() -> Self {
        Self::new(vec![hello(), Action::Hang])
    }

    /// A fork of one, which has no kernel of its own, that runs everything as documented.
    #[must_use]
    pub fn good_fork() -> Self {
        Self::new(vec![Action::ServeRest])
    }

    /// One that boots and runs everything as documented.
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

/// QEMU's words where a guest ends: why, and that it is paused, as under `-action shutdown=pause`.
#[must_use]
pub fn ends(reason: &str) -> [Action; 2] {
    [event("SHUTDOWN", &json!({"guest": true, "reason": reason})), event("STOP", &json!({}))]
}

/// QEMU's words where a guest has told it of a panic.
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
    Action::Say(GuestMessage::ScenarioStarted { run, scenario: scenario.parse().expect("a scenario's name") })
}

/// The end of a leg.
#[must_use]
pub fn leg(run: u32, leg: Leg, outcome: LegOutcome) -> Action {
    Action::Say(GuestMessage::LegFinished { run, leg, outcome, duration_ns: 1_000_000, output_dropped: 0 })
}

/// The end of a scenario.
#[must_use]
pub fn finished(run: u32) -> Action {
    Action::Say(GuestMessage::ScenarioFinished { run })
}

/// A scenario from the order for it to the end of its legs, without its own end. A leg that breaks off is the last but
/// for the control's sake: the guest goes on to the control whatever the subject found.
#[must_use]
pub fn legs(run: u32, scenario: &str, outcomes: &[(Leg, LegOutcome)]) -> Vec<Action> {
    let mut actions = vec![Action::AwaitRun(scenario.to_owned()), started(run, scenario)];
    actions.extend(outcomes.iter().map(|(which, outcome)| leg(run, *which, outcome.clone())));
    actions
}

/// A scenario from the order for it to its end.
#[must_use]
pub fn scenario(run: u32, name: &str, outcomes: &[(Leg, LegOutcome)]) -> Vec<Action> {
    let mut actions = legs(run, name, outcomes);
    actions.push(finished(run));
    actions
}

impl Script {
    /// A QEMU of these guests.
    #[must_use]
    pub fn new(guests: Vec<Guest>) -> Self {
        Self { version: Version::default(), guests }
    }

    /// Puts the script into a directory.
    ///
    /// # Panics
    /// The directory cannot be written.
    pub fn put(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join(FILE), serde_json::to_vec_pretty(self).unwrap()).unwrap();
    }

    /// Reads it from there.
    ///
    /// # Errors
    /// It is not there or no script.
    pub fn get(dir: &Path) -> Result<Self, String> {
        let bytes = fs::read(dir.join(FILE)).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
        serde_json::from_slice(&bytes).map_err(|error| format!("the script cannot be read: {error}"))
    }

    /// Takes the first guest for a kernel that no other start has taken.
    ///
    /// # Errors
    /// There is none left.
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

    /// The numbers, from 0, of the guests that nobody has taken.
    #[must_use]
    pub fn unclaimed(&self, dir: &Path) -> Vec<usize> {
        (0..self.guests.len()).filter(|number| !dir.join(claim_name(*number)).exists()).collect()
    }
}

fn claim_name(number: usize) -> String {
    format!("guest-{number}")
}
