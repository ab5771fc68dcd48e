//! The messages, both directions. JSON, internally tagged; unknown fields are ignored, so that a minor version may add
//! some. A change that an older peer would misunderstand raises [`PROTOCOL`]'s major number.

use serde::{Deserialize, Serialize};

use crate::catalogue::ScenarioId;
use crate::frame::{self, Frame, Kind, TooLarge};

/// The version that this build speaks.
pub const PROTOCOL: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };

/// The console level at which a kernel prints its warnings, which begin at level 4 (`KERN_WARNING`).
pub const CONSOLE_LEVEL: u32 = 5;

/// What a guest has its kernel print before its hello: on the console it divides the boot from what comes later.
pub const HERE: &str = "vmlab: here";

/// How much entropy a guest is given, in bytes: twice what the kernel's generator holds (drivers/char/random.c).
pub const ENTROPY_BYTES: usize = 64;

/// Version of the protocol: `major` must be equal on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolVersion {
    /// Raised by a change that an older peer would misunderstand.
    pub major: u16,
    /// Raised by an addition that an older peer may ignore.
    pub minor: u16,
}

/// A guest's message with its place in the order of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// 0 for the first message after boot, then one more each: a gap is a lost message.
    pub seq: u64,
    /// `CLOCK_BOOTTIME` in ns when the message was made.
    pub boottime_ns: u64,
    /// What is said.
    #[serde(flatten)]
    pub message: GuestMessage,
}

/// What the guest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GuestMessage {
    /// The first message: who is there. The guest waits for [`HostMessage::Prepare`], and this is the moment at which a
    /// template is saved.
    Hello(Box<Hello>),
    /// What [`HostMessage::Prepare`] asked for is done: from here on this guest is like no other.
    Prepared {
        /// `/proc/sys/kernel/random/boot_id`. It is read, and so drawn, only now: forks of one template differ in it.
        boot_id: String,
    },
    /// A scenario is about to start; sent before any of its code runs.
    ScenarioStarted {
        /// The number that the host gave with [`HostMessage::Run`].
        run: u32,
        /// Its name.
        scenario: ScenarioId,
    },
    /// One leg has ended.
    LegFinished {
        /// The host's number.
        run: u32,
        /// Which leg.
        leg: Leg,
        /// What it found.
        outcome: LegOutcome,
        /// How long it took on the guest's `CLOCK_MONOTONIC`, in ns.
        duration_ns: u64,
        /// Bytes of output beyond the limit, which were read and dropped.
        output_dropped: u64,
    },
    /// All legs that were to run have ended, and nothing of the scenario runs any more.
    ScenarioFinished {
        /// The host's number.
        run: u32,
    },
    /// The host asked for something that the guest cannot do.
    Refused {
        /// The host's number.
        run: u32,
        /// Why.
        why: String,
    },
    /// The last message: nothing more will be said.
    RunFinished {
        /// How many scenarios were started since boot.
        started: u32,
    },
}

/// Who the guest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol that the guest speaks.
    pub protocol: ProtocolVersion,
    /// Version and build of vmlab-init.
    pub init_build: String,
    /// `uname -r`
    pub kernel_release: String,
    /// `uname -v`
    pub kernel_version: String,
    /// `uname -m`
    pub machine: String,
    /// `/proc/cmdline` without the line end.
    pub command_line: String,
    /// Bytes of memory: the pages that are present in the zones of `/proc/zoneinfo`.
    pub memory_bytes: u64,
    /// Processors online.
    pub cpus: u32,
    /// The virtio devices that the kernel shows.
    pub virtio: Vec<VirtioDevice>,
    /// Modules loaded at boot, in order.
    pub modules: Vec<String>,
    /// What is less urgent than this the kernel does not print on its consoles: `/proc/sys/kernel/printk`.
    pub console_level: u32,
    /// The consoles that it prints on, as `ttyS0`.
    pub consoles: Vec<String>,
    /// What went wrong during boot and did not prevent it: each is a sentence.
    pub problems: Vec<String>,
}

/// A device under `/sys/bus/virtio/devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioDevice {
    /// Its directory's name, as `virtio0`.
    pub name: String,
    /// The `device` attribute: virtio device id.
    pub id: u32,
    /// The `features` attribute: negotiated features, bit 0 first, as `0` and `1`.
    pub features: String,
    /// The `status` attribute: device status bits.
    pub status: u32,
}

/// The three legs of a scenario, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leg {
    /// Is the feature there?
    Probe,
    /// Inside the namespace: the isolation must hold.
    Subject,
    /// The same calls without it: the leak must show.
    Control,
}

impl Leg {
    /// As in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Subject => "subject",
            Self::Control => "control",
        }
    }
}

/// What a leg found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LegOutcome {
    /// Probe: the feature is there.
    Available,
    /// Probe: positively not there.
    Missing {
        /// The call and its errno, or the file, as `unshare(CLONE_NEWTIME): EINVAL`.
        evidence: String,
    },
    /// Subject or control: what was done did not show outside.
    Isolated {
        /// What was seen.
        detail: String,
    },
    /// Subject or control: what was done showed outside.
    Leaked {
        /// What was seen.
        detail: String,
    },
    /// The leg could not do what it was to do, or saw what is neither isolation nor a leak.
    Failed {
        /// The step and its error.
        detail: String,
    },
    /// The leg's process ended and had found nothing.
    Died {
        /// Its end, as `killed by SIGSEGV` or `exited with 3`.
        how: String,
    },
    /// The leg was killed after its time limit.
    TimedOut {
        /// The limit, in ms.
        limit_ms: u64,
    },
}

/// What the host says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum HostMessage {
    /// Become a guest of your own: mix this entropy in and draw anew from it, set the wall clock. Comes after the hello,
    /// once, before anything else.
    Prepare {
        /// `CLOCK_REALTIME`, ns since 1970 UTC.
        wall_clock_ns: u64,
        /// [`ENTROPY_BYTES`] bytes from the host's random number generator, hexadecimal.
        entropy: String,
        /// Whether other guests have the same memory, so that nothing less than a new key will do.
        fork: bool,
    },
    /// Run a scenario.
    Run {
        /// A number for the answers, new in each guest.
        run: u32,
        /// Which.
        scenario: ScenarioId,
        /// The limit of each leg, in ms.
        leg_timeout_ms: u64,
        /// How many bytes of output the guest may send for this scenario.
        output_limit: u64,
        /// A word that nobody else knows, to be written to the kernel's log before the scenario is announced: on the
        /// console it divides what came before from what the scenario is charged with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        word: Option<String>,
    },
    /// Nothing more to do: write the word to the kernel's log, say goodbye and power off. When the word comes out on the
    /// console, all that the kernel had to say before has.
    Finish {
        /// A word that nobody else knows.
        word: String,
    },
}

/// Which output of a scenario's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// A piece of a scenario's output, as it came.
///
/// On the wire: run number (4 bytes, little-endian), leg (1 byte), stream (1 byte), two zero bytes, the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawChunk<'a> {
    /// The host's number of the scenario's run.
    pub run: u32,
    /// The leg whose process wrote.
    pub leg: Leg,
    /// Where it wrote.
    pub stream: Stream,
    /// What it wrote; at most [`RawChunk::MAX_DATA`] bytes.
    pub data: &'a [u8],
}

impl<'a> RawChunk<'a> {
    /// Bytes before the output.
    const HEAD: usize = 8;
    /// The most output that fits into one frame.
    pub const MAX_DATA: usize = frame::MAX_PAYLOAD - Self::HEAD;

    /// Appends the chunk as a frame.
    ///
    /// # Errors
    /// [`TooLarge`] where `data` exceeds [`Self::MAX_DATA`].
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLarge> {
        let run = self.run.to_le_bytes();
        let stream = match self.stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        let leg = self.leg as u8;
        frame::encode(Kind::Raw, &[&run, &[leg, stream, 0, 0], self.data], out)
    }

    /// Reads a raw frame's payload.
    ///
    /// # Errors
    /// [`BadMessage`] where the payload is no chunk.
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
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return Err(bad("unknown stream")),
        };
        Ok(Self { run: u32::from_le_bytes([head[0], head[1], head[2], head[3]]), leg, stream, data })
    }
}

/// A frame whose checksum is right and whose content is not: the other side speaks something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a message of this protocol: {0}")]
pub struct BadMessage(pub String);

/// Appends a message as a frame.
///
/// # Errors
/// [`TooLarge`] where the message exceeds one frame.
pub fn encode<M: Serialize>(message: &M, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    // Maps have string keys only, and no type here fails to serialise, so an error can only mean size.
    let json = serde_json::to_vec(message).map_err(|_| TooLarge(usize::MAX))?;
    frame::encode(Kind::Message, &[&json], out)
}

/// Reads a message out of a frame of kind [`Kind::Message`].
///
/// # Errors
/// [`BadMessage`] where the payload is not such a message.
pub fn decode<'a, M: Deserialize<'a>>(frame: &'a Frame) -> Result<M, BadMessage> {
    serde_json::from_slice(&frame.payload).map_err(|error| BadMessage(error.to_string()))
}
