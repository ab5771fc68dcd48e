//! Executes a guest's script.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::getppid;
use serde_json::{Value, json};
use vmlab_image::guest_init;
use vmlab_protocol::catalogue::{Control, Expectation, KernelVersion};
use vmlab_protocol::frame::{Decoder, HEADER_LEN, Item};
use vmlab_protocol::job::Job;
use vmlab_protocol::message::{
    self, CONSOLE_LEVEL, Envelope, GuestMessage, HERE, Hello, HostMessage, Leg, LegOutcome, PROTOCOL, RawChunk,
};

use super::machine::Machine;
use super::qmp::Monitor;
use super::script::{Action, Channel, Damage, Qmp};
use crate::kernel;
use crate::kernel::RELEASE;

/// The delay of a console that holds back its output, relative to the port.
const LATE: Duration = Duration::from_millis(300);
/// The offset of the length in a frame's header.
const LENGTH_AT: usize = 8;

pub(super) struct Player {
    dir: PathBuf,
    machine: Machine,
    monitor: Monitor,
    decoder: Decoder,
    seq: u64,
    started: u32,
    boot_id: String,
    /// The console's output while it is held back.
    held: Option<Vec<u8>>,
}

/// What follows an action.
enum Next {
    Go,
    /// QEMU exits with this code.
    End(ExitCode),
}

impl Player {
    pub(super) fn new(dir: PathBuf, machine: Machine, qmp: Qmp) -> Result<Self, String> {
        let monitor = Monitor::start(machine.qmp, qmp)?;
        // The template has sent the hello.
        let seq = u64::from(machine.is_fork);
        let boot_id = "00000000-0000-4000-8000-000000000000".to_owned();
        Ok(Self { dir, machine, monitor, decoder: Decoder::default(), seq, started: 0, boot_id, held: None })
    }

    pub(super) fn play(mut self, actions: &[Action]) -> Result<ExitCode, String> {
        for action in actions {
            if let Next::End(code) = self.act(action)? {
                return Ok(code);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn act(&mut self, action: &Action) -> Result<Next, String> {
        match action {
            Action::Hello(fields) => {
                self.print(HERE)?;
                self.say(GuestMessage::Hello(Box::new(self.hello(fields)?)))?;
            }
            Action::BootId(id) => self.boot_id.clone_from(id),
            Action::AwaitRun(wanted) => {
                let (_, job) = self.hear()?.ok_or("the host has nothing more to do")?;
                if job.name() != wanted {
                    return Err(format!("{wanted} was due, the host asked for {job}"));
                }
            }
            Action::AwaitFinish => {
                if let Some((_, job)) = self.hear()? {
                    return Err(format!("nothing more was due, the host asked for {job}"));
                }
            }
            Action::HoldConsole => self.held = Some(Vec::new()),
            Action::ReleaseConsole => {
                sleep(LATE);
                let held = self.held.take().ok_or("the console holds nothing back")?;
                self.machine.console.write(&held)?;
            }
            Action::Say(message) => self.say(message.clone())?,
            Action::SayAs(seq, message) => {
                self.seq = *seq;
                self.say(message.clone())?;
            }
            Action::SayDamaged(message, damage) => {
                let mut frame = self.encode(message.clone())?;
                harm(&mut frame, *damage)?;
                self.machine.control.write(&frame)?;
            }
            Action::Output(run, leg, stream, data) => {
                let mut frame = Vec::new();
                let chunk = RawChunk { run: *run, leg: *leg, stream: *stream, data };
                chunk.encode(&mut frame).map_err(|error| error.to_string())?;
                self.machine.control.write(&frame)?;
            }
            Action::Serve(count) => {
                for _ in 0..*count {
                    let (run, job) = self.hear()?.ok_or("the host has nothing more to do")?;
                    self.serve(run, &job)?;
                }
            }
            Action::ServeRest => {
                while let Some((run, job)) = self.hear()? {
                    self.serve(run, &job)?;
                }
                self.say(GuestMessage::RunFinished { started: self.started })?;
            }
            Action::Flood(channel, bytes) => while self.write(*channel, bytes)? {},
            Action::Port(bytes) => drop(self.write(Channel::Port, bytes)?),
            Action::Console(bytes) => drop(self.write(Channel::Console, bytes)?),
            Action::Qmp(line) => drop(self.monitor.event(line)?),
            Action::AwaitCommand(name) => self.monitor.wait_for(name),
            Action::Stderr(line) => eprintln!("{line}"),
            Action::Close(Channel::Port) => self.machine.control.close()?,
            Action::Close(Channel::Console) => self.machine.console.close(),
            Action::Close(Channel::Qmp) => self.monitor.close()?,
            Action::Mark(name) => drop(File::create(self.dir.join(name)).map_err(|error| format!("{name}: {error}"))?),
            Action::AwaitMark(name) => {
                while !self.dir.join(name).exists() {
                    sleep(Duration::from_millis(2));
                }
            }
            Action::HostSleeps(stops) => {
                let signal = if *stops { Signal::SIGSTOP } else { Signal::SIGCONT };
                kill(getppid(), signal).map_err(|error| format!("cannot send vmlab {signal}: {error}"))?;
            }
            Action::ExitAsFork(_) if !self.machine.is_fork => {}
            Action::Exit(code) | Action::ExitAsFork(code) => return Ok(Next::End(ExitCode::from(*code))),
            Action::Signal(number) => {
                let signal = Signal::try_from(*number).map_err(|error| format!("signal {number}: {error}"))?;
                raise(signal).map_err(|error| format!("cannot raise {signal}: {error}"))?;
            }
            Action::Hang => super::hang(),
        }
        Ok(Next::Go)
    }

    fn write(&mut self, channel: Channel, bytes: &[u8]) -> Result<bool, String> {
        match (channel, &mut self.held) {
            (Channel::Port, _) => self.machine.control.write(bytes),
            (Channel::Console, Some(held)) => {
                held.extend_from_slice(bytes);
                Ok(true)
            }
            (Channel::Console, None) => self.machine.console.write(bytes),
            (Channel::Qmp, _) => self.machine.qmp.write(bytes),
        }
    }

    /// Waits for the host's next message: a job to run, or the end of the work.
    fn hear(&mut self) -> Result<Option<(u32, Job)>, String> {
        loop {
            match self.decoder.next_item() {
                Some(Item::Frame(frame)) => match message::decode(&frame).map_err(|error| error.to_string())? {
                    HostMessage::Prepare { .. } => {
                        let boot_id = self.boot_id.clone();
                        self.say(GuestMessage::Prepared { boot_id })?;
                        continue;
                    }
                    HostMessage::Run { run, job, marker, .. } => {
                        marker.map_or(Ok(()), |marker| self.print(&marker))?;
                        return Ok(Some((run, job)));
                    }
                    // No scripted guest runs a command.
                    HostMessage::Control { .. } => continue,
                    HostMessage::Finish { marker } => {
                        self.print(&marker)?;
                        return Ok(None);
                    }
                },
                Some(Item::Damaged { bytes, why }) => return Err(format!("the host sent {why} ({bytes} bytes)")),
                None => {}
            }
            let bytes = self.machine.control.read()?;
            if bytes.is_empty() {
                return Err("the host has gone".to_owned());
            }
            self.decoder.push(&bytes);
        }
    }

    /// Runs a scenario with the documented result.
    fn serve(&mut self, run: u32, job: &Job) -> Result<(), String> {
        let catalogue = guest_init::catalogue().map_err(|error| error.to_string())?;
        let spec = catalogue.iter().find(|spec| spec.id.as_str() == job.name()).ok_or(format!("there is no {job}"))?;
        let seen = || "as documented".to_owned();
        let version = RELEASE.parse::<KernelVersion>().map_err(|error| error.to_string())?;
        let subject = match spec.expects_of(version) {
            Expectation::Isolation => LegOutcome::Isolated { detail: seen() },
            Expectation::Leak => LegOutcome::Leaked { detail: seen() },
            Expectation::Figures => return Err(format!("{job} needs a script of its own")),
        };
        let mut legs = vec![(Leg::Probe, LegOutcome::Available), (Leg::Subject, subject)];
        if spec.control == Control::Runs {
            legs.push((Leg::Control, LegOutcome::Leaked { detail: seen() }));
        }
        self.say(GuestMessage::JobStarted { run, job: job.clone() })?;
        for (leg, outcome) in legs {
            self.say(GuestMessage::LegFinished { run, leg, outcome, duration_ns: 1_000_000, output_dropped: 0 })?;
        }
        self.say(GuestMessage::JobFinished { run })
    }

    /// Prints a line of the kernel's log on the console, as a kernel does.
    fn print(&mut self, line: &str) -> Result<(), String> {
        if self.machine.console.is_open() {
            self.write(Channel::Console, format!("[    9.000000] {line}\r\n").as_bytes())?;
        }
        Ok(())
    }

    fn say(&mut self, message: GuestMessage) -> Result<(), String> {
        let frame = self.encode(message)?;
        // The next wait notices a host that has closed the connection.
        self.machine.control.write(&frame).map(drop)
    }

    fn encode(&mut self, message: GuestMessage) -> Result<Vec<u8>, String> {
        if matches!(message, GuestMessage::JobStarted { .. }) {
            self.started += 1;
        }
        let envelope = Envelope { seq: self.seq, boottime_ns: 1_000_000_000 + self.seq, message };
        self.seq += 1;
        let mut frame = Vec::new();
        message::encode(&envelope, &mut frame).map_err(|error| error.to_string())?;
        Ok(frame)
    }

    /// The hello of the machine that vmlab asked for, with some fields replaced.
    fn hello(&self, fields: &Value) -> Result<Hello, String> {
        // Only VIRTIO_F_VERSION_1; status ACKNOWLEDGE, DRIVER and DRIVER_OK (virtio 1.1, sections 2.1 and 6).
        let features: String = (0..64).map(|bit| if bit == 32 { '1' } else { '0' }).collect();
        let mut hello = json!({
            "protocol": PROTOCOL,
            "init_build": "fake-init 1",
            "kernel_release": kernel::RELEASE,
            "kernel_version": "#1 SMP PREEMPT_DYNAMIC fixture",
            "machine": "x86_64",
            "command_line": self.machine.command_line,
            "memory_bytes": (self.machine.memory_mib << 20) - (1 << 19),
            "cpus": self.machine.cpus,
            "virtio": [{"name": "virtio0", "id": 3, "features": features, "status": 15}],
            "modules": [],
            "console_level": CONSOLE_LEVEL,
            "consoles": ["ttyS0"],
            "problems": [],
        });
        if let (Some(all), Value::Object(fields)) = (hello.as_object_mut(), fields) {
            all.extend(fields.clone());
        }
        serde_json::from_value(hello).map_err(|error| format!("the script's hello is none: {error}"))
    }
}

fn harm(frame: &mut Vec<u8>, damage: Damage) -> Result<(), String> {
    match damage {
        Damage::FlipBit(bit) => {
            let byte = frame.get_mut(bit / 8).ok_or("the frame has no such bit")?;
            *byte ^= 1 << (bit % 8);
        }
        Damage::Truncate(length) => frame.truncate(length),
        Damage::Announce(length) => {
            let field = frame.get_mut(LENGTH_AT..LENGTH_AT + 4).filter(|_| LENGTH_AT < HEADER_LEN);
            field.ok_or("the frame has no length")?.copy_from_slice(&length.to_le_bytes());
        }
    }
    Ok(())
}
