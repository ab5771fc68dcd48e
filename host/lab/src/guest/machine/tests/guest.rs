//! A scripted guest at the other end of a [`GuestMachine`]: it reads the orders, and speaks the protocol.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use vmlab_console::{Finding, Kind};
use vmlab_events::event::{JobReport, LabEvent};
use vmlab_events::fixture;
use vmlab_events::job::{JobSpec, SuiteId};
use vmlab_events::loss::QemuEnd;
use vmlab_events::target::TargetId;
use vmlab_kernel::Kernel;
use vmlab_kernel::modules::Modules;
use vmlab_protocol::frame::{self, Decoder, Item};
use vmlab_protocol::message::{
    self, Envelope, GuestMessage, HERE, Hello, HostMessage, Leg, LegOutcome, RawChunk, Stream, VirtioDevice,
};
use vmlab_qemu::accelerator::Accelerator;
use vmlab_qemu::argv::Machine;
use vmlab_qemu::qmp::{QmpEvent, TimedQmpEvent};
use vmlab_qemu::template::BootReport;

use super::super::{GuestMachine, Outcome, Secrets, Start};
use crate::attempts::AttemptEnd;
use crate::command::CommandOutput;
use crate::guest::input::{Action, End, Input, Now};
use crate::guest::jobs::QueuedJob;
use crate::limits::{Limits, Wanted};
use crate::target::Target;
use crate::variant::Variant;

const MEMORY_MIB: u32 = 256;

/// A machine, its guest, and the machine's actions so far.
pub(super) struct Play {
    pub(super) machine: GuestMachine,
    began: Instant,
    /// The time since the guest's start.
    pub(super) now: Duration,
    seq: u64,
    decoder: Decoder,
    /// The orders that the guest has not answered yet.
    pub(super) orders: Vec<HostMessage>,
    pub(super) events: Vec<LabEvent>,
    pub(super) reports: Vec<(JobReport, AttemptEnd)>,
    /// What was sent to a command's standard input.
    pub(super) input: Vec<u8>,
    /// What a command wrote.
    pub(super) output: Vec<u8>,
    /// The names of the other actions.
    pub(super) done: Vec<&'static str>,
}

pub(super) fn jobs(count: usize) -> Vec<QueuedJob> {
    let specs = fixture::scenarios()
        .into_iter()
        .filter(|spec| spec.expects == vmlab_protocol::catalogue::Expectation::Isolation);
    let jobs: Vec<_> = specs.map(|spec| QueuedJob { spec: JobSpec::from(spec), attempt: 1 }).collect();
    jobs.into_iter()
        .cycle()
        .take(count)
        .enumerate()
        .map(|(at, mut job)| {
            if let JobSpec::Scenario(spec) = &mut job.spec {
                spec.id = format!("job.n{at}").parse().unwrap();
                spec.control = vmlab_protocol::catalogue::Control::Runs;
            }
            job
        })
        .collect()
}

/// A KUnit suite.
pub(super) fn suite(name: &str) -> QueuedJob {
    QueuedJob { spec: JobSpec::Kunit(SuiteId::new(name).unwrap()), attempt: 1 }
}

fn target() -> Rc<Target> {
    let kernel = Kernel {
        label: "k".to_owned(),
        release: "6.1.0".to_owned(),
        version: "6.1.0".parse().unwrap(),
        path: PathBuf::new(),
        sha256: String::new(),
        config: None,
        config_file: None,
        modules: Modules::NotFound { looked_in: Vec::new() },
        suites: Some(Vec::new()),
        lease: None,
        notices: Vec::new(),
    };
    let machine = Machine::bare(Accelerator::Tcg, MEMORY_MIB, 1);
    let limits = Limits::new(Accelerator::Tcg, Wanted::default());
    Rc::new(Target {
        id: TargetId::new("k"),
        kernel,
        machine,
        variant: Variant { counts_instructions: false, linked: false, cpus: 1 },
        append: None,
        lacking: None,
        command: None,
        files: None,
        debugger: false,
        _index: None,
        _disks: Rc::default(),
        limits,
    })
}

/// What the boot of a fork's template said: the kernel warned during the suite `warned`.
fn boot() -> BootReport {
    let warning = Finding::of_title(Kind::Warning, "WARNING: CPU: 0 at lib/x.c:1");
    let suite_warnings = vec![Finding { suite: Some("warned".to_owned()), ..warning }];
    BootReport { hello: hello(), boot_notes: Vec::new(), suite_warnings }
}

/// The hello of a guest that matches the requested machine.
pub(super) fn hello() -> Hello {
    let mut features = "0".repeat(64);
    features.replace_range(32..33, "1");
    let console = VirtioDevice { name: "virtio0".to_owned(), id: 3, status: 0xf, features };
    Hello { memory_bytes: u64::from(MEMORY_MIB) << 20, virtio: vec![console], ..fixture::hello() }
}

impl Play {
    pub(super) fn new(start: Start, queue: Vec<QueuedJob>) -> Self {
        let began = Instant::now();
        let boot = (start == Start::Fork).then(boot);
        let mut machine = GuestMachine::new(7, target(), start, Secrets::fixed(), boot, began);
        machine.add_jobs(queue);
        let (orders, events, reports, input, output, done) = Default::default();
        let seq = u64::from(start == Start::Fork);
        Self {
            machine,
            began,
            now: Duration::ZERO,
            seq,
            decoder: Decoder::default(),
            orders,
            events,
            reports,
            input,
            output,
            done,
        }
    }

    pub(super) fn give(&mut self, input: Input) -> &mut Self {
        self.now += Duration::from_millis(1);
        let now = Now { at: self.began + self.now, unix_ns: 1_795_345_323_000_000_000 };
        for action in self.machine.handle(now, input) {
            match action {
                Action::Send(bytes) => self.decoder.push(&bytes),
                Action::Emit(event) => self.events.push(event),
                Action::Report(report, end) => self.reports.push((*report, end)),
                Action::ToUser(CommandOutput::Data { data, .. }) => self.output.extend(data),
                Action::ToUser(CommandOutput::InputTaken(_)) => self.done.push("input taken"),
                Action::Attach { .. } => self.done.push("attach"),
                Action::Detach => self.done.push("detach"),
                Action::Wake => self.done.push("wake"),
                Action::ExamineAndResume => self.done.push("examine and resume"),
                Action::Save => self.done.push("save"),
                Action::End { .. } => self.done.push("end"),
            }
        }
        while let Some(item) = self.decoder.next_item() {
            let Item::Frame(frame) = item else { panic!("the host sends whole frames") };
            match frame.kind {
                frame::Kind::Message => self.orders.push(message::decode(&frame).unwrap()),
                frame::Kind::Raw => self.input.extend(RawChunk::decode(&frame.payload).unwrap().data),
            }
        }
        self
    }

    /// Lets time pass without inputs.
    pub(super) fn wait(&mut self, duration: Duration) -> &mut Self {
        self.now += duration;
        self
    }

    /// Lets time pass until the machine wants to look at its limits.
    pub(super) fn wait_until_due(&mut self) -> &mut Self {
        self.now = self.now.max(self.machine.deadline().saturating_duration_since(self.began));
        self
    }

    /// Waits until the machine's limit passes, without known CPU usage.
    pub(super) fn run_out(&mut self) -> &mut Self {
        for _ in 0..100 {
            self.wait_until_due().give(Input::Deadline(None));
            if self.done.contains(&"end") {
                return self;
            }
        }
        panic!("no limit ever passes");
    }

    pub(super) fn says(&mut self, message: GuestMessage) -> &mut Self {
        let bytes = self.encode(message);
        self.give(Input::Control(bytes))
    }

    pub(super) fn encode(&mut self, message: GuestMessage) -> Vec<u8> {
        let envelope = Envelope { seq: self.seq, boottime_ns: 1, message };
        self.seq += 1;
        let mut bytes = Vec::new();
        message::encode(&envelope, &mut bytes).unwrap();
        bytes
    }

    pub(super) fn prints(&mut self, line: &str) -> &mut Self {
        self.give(Input::Console(format!("[    1.000000] {line}\r\n").into_bytes()))
    }

    pub(super) fn qmp(&mut self, event: QmpEvent) -> &mut Self {
        let at = self.began + self.now;
        self.give(Input::Qmp(TimedQmpEvent { at, event }))
    }

    /// QEMU was killed as ordered.
    pub(super) fn ends(&mut self, qemu: QemuEnd) -> &mut Self {
        self.give(Input::Ended(Box::new(End {
            state: None,
            console: Vec::new(),
            qmp: Vec::new(),
            qemu,
            stderr: String::new(),
            registers: None,
            vmcore: None,
            notices: Vec::new(),
        })))
    }

    pub(super) fn killed(&mut self) -> &mut Self {
        self.ends(QemuEnd::Lived { stopped: false })
    }

    /// Prints the kernel's first line and the marker of the boot.
    pub(super) fn boots(&mut self) -> &mut Self {
        self.prints("Linux version 6.1.0").prints(HERE).says(GuestMessage::Hello(Box::new(hello())))
    }

    /// Answers the order to prepare.
    pub(super) fn prepares(&mut self) -> &mut Self {
        assert!(matches!(self.orders.first(), Some(HostMessage::Prepare { .. })), "{:?}", self.orders);
        self.orders.remove(0);
        self.says(GuestMessage::Prepared { boot_id: "a".to_owned() })
    }

    /// Prints the marker of the order to run a job or to say goodbye, and sends the first answer.
    pub(super) fn obeys(&mut self) -> &mut Self {
        let order = self.orders.remove(0);
        match order {
            HostMessage::Run { run, job, marker, .. } => {
                if let Some(marker) = marker {
                    self.prints(&marker);
                }
                self.says(GuestMessage::JobStarted { run, job })
            }
            HostMessage::Control { .. } => panic!("no command runs"),
            HostMessage::Finish { marker } => {
                let started = u32::try_from(self.started()).unwrap();
                self.prints(&marker).says(GuestMessage::RunFinished { started })
            }
            HostMessage::Prepare { .. } => panic!("it is prepared"),
        }
    }

    /// A KUnit suite of one test, which passes.
    pub(super) fn passes_suite(&mut self, run: u32, name: &str) -> &mut Self {
        let text = format!(
            "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: {name}\n    1..1\n    ok 1 test\nok 1 {name}\n"
        );
        let mut results = Vec::new();
        let chunk = RawChunk { run, leg: Leg::Subject, stream: Stream::Stdout, data: text.as_bytes() };
        chunk.encode(&mut results).unwrap();
        self.leg(run, Leg::Probe, LegOutcome::Available)
            .give(Input::Control(results))
            .leg(run, Leg::Subject, LegOutcome::Reported)
            .says(GuestMessage::JobFinished { run })
    }

    pub(super) fn started(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, LabEvent::JobStarted { .. })).count()
    }

    pub(super) fn leg(&mut self, run: u32, leg: Leg, outcome: LegOutcome) -> &mut Self {
        self.says(GuestMessage::LegFinished { run, leg, outcome, duration_ns: 5, output_dropped: 0 })
    }

    /// All three legs of a job that is isolated.
    pub(super) fn passes(&mut self, run: u32) -> &mut Self {
        let detail = || "seen".to_owned();
        self.leg(run, Leg::Probe, LegOutcome::Available)
            .leg(run, Leg::Subject, LegOutcome::Isolated { detail: detail() })
            .leg(run, Leg::Control, LegOutcome::Leaked { detail: detail() })
            .says(GuestMessage::JobFinished { run })
    }

    pub(super) fn output(run: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        RawChunk { run, leg: Leg::Probe, stream: Stream::Stdout, data }.encode(&mut bytes).unwrap();
        bytes
    }

    /// The label and the attempt's end of each report.
    pub(super) fn labels(&self) -> Vec<(&'static str, AttemptEnd)> {
        self.reports.iter().map(|(report, end)| (report.verdict.label(), *end)).collect()
    }

    pub(super) fn outcome(self) -> Outcome {
        self.machine.into_outcome().0
    }
}
