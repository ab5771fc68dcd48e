//! The messages in both directions: internally tagged JSON. A receiver ignores unknown fields, so a minor version may
//! add fields. A change that an older peer would misunderstand raises the major number of [`PROTOCOL`].

use serde::{Deserialize, Serialize};

use crate::command::{Command, CommandEnd, Control};
use crate::figure::{Figure, Inconclusive};
use crate::frame::{self, Frame, Kind, TooLarge};
use crate::job::{self, Job};
pub use crate::stream::Stream;

/// The protocol version of this build.
pub const PROTOCOL: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };

/// The lowest console log level at which a kernel prints warnings (`KERN_WARNING`, level 4) on its consoles.
pub const CONSOLE_LEVEL: u32 = 5;

/// The marker that a guest writes to the kernel's log before its hello. On the console it ends the boot.
pub const HERE: &str = "vmlab: here";

/// The entropy that the host gives a guest, in bytes: twice the state of the kernel's generator
/// (drivers/char/random.c).
pub const ENTROPY_BYTES: usize = 64;

/// A version of the protocol: `major` must be equal on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolVersion {
    /// Raised by changes that an older peer would misunderstand.
    pub major: u16,
    /// Raised by additions that an older peer may ignore.
    pub minor: u16,
}

/// A guest's message with its sequence number and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// 0 for the first message after boot, then one more for each message: a gap means that a message was lost.
    pub seq: u64,
    /// `CLOCK_BOOTTIME` in ns when the message was made.
    pub boottime_ns: u64,
    /// The message itself; its fields are beside `seq` in the JSON object.
    #[serde(flatten)]
    pub message: GuestMessage,
}

/// A message from the guest to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GuestMessage {
    /// The first message: describes the guest, which then waits for [`HostMessage::Prepare`]. Templates are saved at
    /// this point.
    Hello(Box<Hello>),
    /// The guest has done what [`HostMessage::Prepare`] asks: it now has its own entropy, boot id and wall clock.
    Prepared {
        /// `/proc/sys/kernel/random/boot_id`. The kernel draws the boot id at the first read, which is now, so that
        /// forks of one template have different ones.
        boot_id: String,
    },
    /// A job is about to start. The agent sends this before any code of the job runs.
    #[serde(rename = "scenario_started")]
    JobStarted {
        /// The run number of [`HostMessage::Run`].
        run: u32,
        /// The job.
        #[serde(rename = "scenario", with = "job::by_name")]
        job: Job,
    },
    /// A leg has ended.
    LegFinished {
        /// The run number of [`HostMessage::Run`].
        run: u32,
        /// The leg that ended.
        leg: Leg,
        /// What the leg found.
        outcome: LegOutcome,
        /// The leg's duration on the guest's `CLOCK_MONOTONIC`, in ns.
        duration_ns: u64,
        /// Bytes of output beyond the limit, which the agent read and dropped.
        output_dropped: u64,
    },
    /// A command has read input: the host may send as much again.
    InputTaken {
        /// The run number of [`HostMessage::Run`].
        run: u32,
        /// Bytes since the last such message.
        bytes: u64,
    },
    /// The answer to [`Control::Ping`] while a command runs.
    Alive {
        /// The run number of [`HostMessage::Run`].
        run: u32,
    },
    /// All legs have ended, and no process of the job is left.
    #[serde(rename = "scenario_finished")]
    JobFinished {
        /// The run number of [`HostMessage::Run`].
        run: u32,
    },
    /// The guest cannot do what the host asked for.
    Refused {
        /// The run number of [`HostMessage::Run`].
        run: u32,
        /// The reason.
        why: String,
    },
    /// The goodbye: the guest's last message.
    RunFinished {
        /// The number of jobs started since boot.
        started: u32,
    },
}

/// The description of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The guest's protocol version.
    pub protocol: ProtocolVersion,
    /// Name and version of vmlab-init.
    pub init_build: String,
    /// `uname -r`.
    pub kernel_release: String,
    /// `uname -v`.
    pub kernel_version: String,
    /// `uname -m`.
    pub machine: String,
    /// `/proc/cmdline` without the newline.
    pub command_line: String,
    /// Memory in bytes: the pages that are present in the zones of `/proc/zoneinfo`.
    pub memory_bytes: u64,
    /// The number of online processors.
    pub cpus: u32,
    /// The virtio devices that the kernel lists.
    pub virtio: Vec<VirtioDevice>,
    /// The modules that PID 1 loaded at boot, in order.
    pub modules: Vec<String>,
    /// The console log level, the first number in `/proc/sys/kernel/printk`: the kernel prints only
    /// messages with a smaller level number on its consoles.
    pub console_level: u32,
    /// The consoles that the kernel prints on, for example `ttyS0`.
    pub consoles: Vec<String>,
    /// Problems during boot that did not prevent it, one sentence each.
    pub problems: Vec<String>,
}

/// A device under `/sys/bus/virtio/devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioDevice {
    /// The name of the device's directory, for example `virtio0`.
    pub name: String,
    /// The `device` attribute: virtio device id.
    pub id: u32,
    /// The `features` attribute: the negotiated features as digits `0` and `1`, bit 0 first.
    pub features: String,
    /// The `status` attribute: device status bits.
    pub status: u32,
}

/// The legs of a job, in the order in which they run. A scenario has three. A KUnit suite and a command have no control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leg {
    /// Tests whether the kernel has the feature, or the KUnit suite; or makes the command's root.
    Probe,
    /// Runs the trial inside the namespace, where the isolation must hold; or runs the KUnit suite or the command.
    Subject,
    /// Runs the same calls without the namespace, where the leak must show.
    Control,
}

impl Leg {
    /// The leg's name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Subject => "subject",
            Self::Control => "control",
        }
    }
}

/// The result of a leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LegOutcome {
    /// Probe: the kernel has the feature.
    Available,
    /// Probe: the kernel positively lacks the feature.
    Missing {
        /// The call and its errno, or the missing file, for example `unshare(CLONE_NEWTIME): EINVAL`.
        evidence: String,
    },
    /// Subject or control: the effect was not visible outside.
    Isolated {
        /// The observation.
        detail: String,
    },
    /// Subject or control: the effect was visible outside.
    Leaked {
        /// The observation.
        detail: String,
    },
    /// Subject of a KUnit suite: the suite has run, and its results are the standard output of the leg.
    Reported,
    /// Subject of a command: the command has ended, or cannot be executed.
    Ended(CommandEnd),
    /// Subject of a measuring scenario: what it has measured.
    Measured {
        /// The costs, in order.
        figures: Vec<Figure>,
        /// What could not be measured on this machine.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        inconclusive: Vec<Inconclusive>,
    },
    /// A step of the leg failed, or the observation is neither isolation nor a leak.
    Failed {
        /// The step and its error, or the observation.
        detail: String,
    },
    /// The leg's process ended before it reported a result.
    Died {
        /// How the process ended, for example `killed by SIGSEGV` or `exited with 3`.
        how: String,
    },
    /// The agent killed the leg at its time limit.
    TimedOut {
        /// The time limit, in ms.
        limit_ms: u64,
    },
}

/// One of two guests whose network cards are linked to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The guest whose report is the job's.
    First,
    /// Its peer.
    Second,
}

/// A message from the host to the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum HostMessage {
    /// Make the guest distinct from other guests with the same memory: mix the entropy in, reseed the generator, set
    /// the wall clock. The host sends this once, first after the hello.
    Prepare {
        /// `CLOCK_REALTIME`, ns since 1970 UTC.
        wall_clock_ns: u64,
        /// [`ENTROPY_BYTES`] bytes from the host's random number generator, hexadecimal.
        entropy: String,
        /// Whether the guest is a fork. A fork must reseed the generator, because other forks have the same memory; a
        /// booted guest may continue if its kernel is too old for the call.
        fork: bool,
        /// Which of two linked guests it is, if it is one of two.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        side: Option<Side>,
    },
    /// Run a job.
    Run {
        /// The run number, which the answers repeat. Unique within a guest.
        run: u32,
        /// The job.
        #[serde(rename = "scenario", with = "job::by_name")]
        job: Job,
        /// The time limit of each leg, in ms.
        leg_timeout_ms: u64,
        /// The output that the guest may send for this job, in bytes.
        output_limit: u64,
        /// A random marker that the agent writes to the kernel's log before it announces the job. Kernel reports after the
        /// marker on the console are charged to this job.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        marker: Option<String>,
        /// What to run, if the job is a command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<Box<Command>>,
    },
    /// Something for the command that runs. The guest ignores it if the command has ended.
    Control {
        /// The run number of [`HostMessage::Run`].
        run: u32,
        /// What the host tells.
        #[serde(flatten)]
        control: Control,
    },
    /// No more work: write the marker to the kernel's log, say goodbye and power off. The marker on the console tells
    /// the host that it has read all earlier kernel messages.
    Finish {
        /// A random marker.
        marker: String,
    },
}

/// A piece of a job's raw output, or of a command's input.
///
/// Layout: run number (4 bytes, little-endian), leg (1 byte), stream (1 byte), two zero bytes, the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawChunk<'a> {
    /// The run number of [`HostMessage::Run`].
    pub run: u32,
    /// The leg of the process.
    pub leg: Leg,
    /// The stream.
    pub stream: Stream,
    /// The data; at most [`RawChunk::MAX_DATA`] bytes.
    pub data: &'a [u8],
}

impl<'a> RawChunk<'a> {
    /// The length of the fields before the data, in bytes.
    const HEAD: usize = 8;
    /// The most data that fits into a frame, in bytes.
    pub const MAX_DATA: usize = frame::MAX_PAYLOAD - Self::HEAD;

    /// Appends the chunk as a frame.
    ///
    /// # Errors
    /// [`TooLarge`] if `data` exceeds [`Self::MAX_DATA`].
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLarge> {
        let run = self.run.to_le_bytes();
        let stream = match self.stream {
            Stream::Stdin => 0,
            Stream::Stdout => 1,
            Stream::Stderr => 2,
            Stream::Archive => 3,
        };
        let leg = self.leg as u8;
        frame::encode(Kind::Raw, &[&run, &[leg, stream, 0, 0], self.data], out)
    }

    /// Decodes a raw frame's payload.
    ///
    /// # Errors
    /// [`BadMessage`] if the payload is no chunk.
    pub fn decode(payload: &'a [u8]) -> Result<Self, BadMessage> {
        let bad = |what: &str| BadMessage(format!("raw chunk: {what}"));
        let (head, data) = payload.split_at_checked(Self::HEAD).ok_or_else(|| bad("shorter than its head"))?;
        let leg = match head[4] {
            0 => Leg::Probe,
            1 => Leg::Subject,
            2 => Leg::Control,
            _ => return Err(bad("unknown leg")),
        };
        let stream = match head[5] {
            0 => Stream::Stdin,
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            3 => Stream::Archive,
            _ => return Err(bad("unknown stream")),
        };
        Ok(Self { run: u32::from_le_bytes([head[0], head[1], head[2], head[3]]), leg, stream, data })
    }
}

/// A frame with a valid checksum holds no message of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a message of this protocol: {0}")]
pub struct BadMessage(pub String);

/// Appends a message as a frame.
///
/// # Errors
/// [`TooLarge`] if the message does not fit into a frame.
pub fn encode<M: Serialize>(message: &M, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    // Maps have string keys only, and no type of this module fails to serialise.
    let json = serde_json::to_vec(message).map_err(|_| TooLarge(usize::MAX))?;
    frame::encode(Kind::Message, &[&json], out)
}

/// Decodes the message in a frame of kind [`Kind::Message`].
///
/// # Errors
/// [`BadMessage`] if the payload is no message of type `M`.
pub fn decode<'a, M: Deserialize<'a>>(frame: &'a Frame) -> Result<M, BadMessage> {
    serde_json::from_slice(&frame.payload).map_err(|error| BadMessage(error.to_string()))
}
