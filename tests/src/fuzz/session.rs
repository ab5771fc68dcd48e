//! The session: in any order of messages and requests, a result counts only if its job was asked for, announced and
//! complete.

use vmlab_events::job::{CommandId, CommandSpec, JobSpec, SuiteId};
use vmlab_lab::command::CommandInput;
use vmlab_lab::guest::session::{Findings, Freshness, OUTPUT_KEPT, OUTPUT_LIMIT, Session, SessionEvent};
use vmlab_protocol::catalogue::{Control, Expectation, KernelVersion, Requirement, ScenarioSpec};
use vmlab_protocol::command::CommandEnd;
use vmlab_protocol::message::{
    self, Envelope, GuestMessage, Hello, Leg, LegOutcome, PROTOCOL, ProtocolVersion, RawChunk, Stream,
};

pub const WORDS: &[&[u8]] = &[
    // A complete run, in the letters of [`Play::step`].
    b"hPpaAsA1B2D3fd",
    b"hPpassABCfd",
    b"hPpcKoxAoyUfd",
    b"hPpkWAoxi\x05I\x07Z\0fd",
    b"o\xff",
    b"x\x05VMLB\x01",
    b"z",
];

/// The observed results, in a form that does not depend on how the bytes are split.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    events: Vec<String>,
    over: bool,
    asked: u32,
    finished: u32,
    dismissed: bool,
}

/// One execution of the input, which is a script of letters.
struct Play<'a> {
    session: Session,
    specs: &'a [JobSpec],
    seq: u64,
    run: u32,
    /// How many bytes go to the session at once; 0: all.
    piece: usize,
    seen: Seen,
}

fn spec(id: &str, control: Control) -> JobSpec {
    JobSpec::from(ScenarioSpec {
        id: id.parse().unwrap(),
        title: String::new(),
        items: Vec::new(),
        steps: Vec::new(),
        source: String::new(),
        namespaces: Vec::new(),
        expects: Expectation::Isolation,
        isolates_since: None,
        control_namespaces: Vec::new(),
        mechanism: None,
        control,
        requires: Requirement { config: Vec::new(), since: KernelVersion::new(2, 6, 19), backports: Vec::new() },
        modules: Vec::new(),
        machine: vmlab_protocol::catalogue::MachineNeed::default(),
        leg_timeout_ms: 1000,
        allows: Vec::new(),
    })
}

fn hello(major: u16) -> GuestMessage {
    let text = String::new;
    GuestMessage::Hello(Box::new(Hello {
        protocol: ProtocolVersion { major, ..PROTOCOL },
        init_build: text(),
        kernel_release: text(),
        kernel_version: text(),
        machine: text(),
        command_line: text(),
        memory_bytes: 0,
        cpus: 1,
        virtio: Vec::new(),
        modules: Vec::new(),
        console_level: 0,
        consoles: Vec::new(),
        problems: Vec::new(),
    }))
}

impl Play<'_> {
    /// Executes a letter; the bytes after it may be its argument.
    fn step(&mut self, letter: u8, script: &mut impl Iterator<Item = u8>) {
        let mut argument = || script.next().unwrap_or_default();
        match letter {
            b'h' => self.say(hello(PROTOCOL.major)),
            b'H' => self.say(hello(u16::from(argument()))),
            b'p' => self.say(GuestMessage::Prepared { boot_id: "x".to_owned() }),
            b's' => self.started(0),
            b'S' => self.started(1),
            b'K' => self.started(2),
            b'A' => self.leg(Leg::Probe, LegOutcome::Available, 0),
            b'B' => self.leg(Leg::Subject, LegOutcome::Isolated { detail: String::new() }, 0),
            b'C' => self.leg(Leg::Control, LegOutcome::Leaked { detail: String::new() }, 0),
            b'D' => self.leg(Leg::Control, LegOutcome::Died { how: String::new() }, u64::MAX),
            b'E' => self.leg(Leg::Probe, LegOutcome::Missing { evidence: String::new() }, u64::MAX),
            b'F' => self.leg(Leg::Subject, LegOutcome::TimedOut { limit_ms: u64::MAX }, u64::MAX),
            b'U' => self.leg(Leg::Subject, LegOutcome::Reported, 0),
            b'f' => self.say(GuestMessage::JobFinished { run: self.run }),
            b'g' => self.say(GuestMessage::RunFinished { started: self.run }),
            b'r' => self.say(GuestMessage::Refused { run: self.run, why: String::new() }),
            b'q' => self.seq = self.seq.wrapping_add(u64::from(argument())),
            b'n' => self.run = u32::from(argument()),
            b'o' => self.output(Stream::Stdout, usize::from(argument()) * 100),
            b'e' => self.output(Stream::Stderr, usize::from(argument())),
            b'v' => self.output(Stream::Archive, usize::from(argument())),
            b'x' => {
                let count = argument();
                let bytes: Vec<u8> = (0..count).map_while(|_| script.next()).collect();
                self.push(&bytes);
            }
            b'P' => {
                let fresh = Freshness { wall_clock_ns: 1, entropy: String::new(), fork: false, side: None };
                drop(self.session.prepare(&fresh));
            }
            b'a'..=b'c' => self.ask(usize::from(letter - b'a')),
            b'k' => self.ask(3),
            b'W' => self.started(3),
            b'i' => self.say(GuestMessage::InputTaken { run: self.run, bytes: u64::from(argument()) }),
            b'I' => drop(self.session.control(CommandInput::Stdin(vec![0; usize::from(argument())]))),
            b'Z' => self.leg(Leg::Subject, LegOutcome::Ended(CommandEnd::Exited { code: argument() }), 0),
            b'd' => self.seen.dismissed |= self.session.dismiss("marker".to_owned()).is_ok(),
            _ => {}
        }
    }

    fn ask(&mut self, spec: usize) {
        if self.session.ask(&self.specs[spec], 1000, None, None).is_ok() {
            self.seen.asked += 1;
        }
    }

    fn started(&mut self, spec: usize) {
        self.run = self.run.saturating_add(1);
        let job = self.specs[spec].job();
        self.say(GuestMessage::JobStarted { run: self.run, job });
    }

    fn leg(&mut self, leg: Leg, outcome: LegOutcome, output_dropped: u64) {
        let (run, duration_ns) = (self.run, output_dropped);
        self.say(GuestMessage::LegFinished { run, leg, outcome, duration_ns, output_dropped });
    }

    fn output(&mut self, stream: Stream, length: usize) {
        let mut bytes = Vec::new();
        RawChunk { run: self.run, leg: Leg::Probe, stream, data: &vec![b'x'; length] }.encode(&mut bytes).unwrap();
        self.push(&bytes);
    }

    fn say(&mut self, message: GuestMessage) {
        let mut bytes = Vec::new();
        let envelope = Envelope { seq: self.seq, boottime_ns: self.seq, message };
        self.seq = self.seq.wrapping_add(1);
        message::encode(&envelope, &mut bytes).unwrap();
        self.push(&bytes);
    }

    fn push(&mut self, bytes: &[u8]) {
        let piece = if self.piece == 0 { bytes.len().max(1) } else { self.piece };
        for bytes in bytes.chunks(piece) {
            if self.seen.over {
                return;
            }
            self.session.push(bytes);
            loop {
                match self.session.next_event() {
                    Ok(Some(event)) => self.check(&event),
                    Ok(None) => break,
                    // The text may contain how many damaged bytes had come by then.
                    Err(_) => {
                        self.seen.over = true;
                        break;
                    }
                }
            }
        }
    }

    fn check(&mut self, event: &SessionEvent) {
        assert_ne!(self.seen.events.last().map(String::as_str), Some("Goodbye"), "{event:?} after the goodbye");
        if let SessionEvent::Finished(findings) = event {
            self.seen.finished += 1;
            assert!(self.seen.finished <= self.seen.asked, "more results than orders");
            check(findings);
        }
        if matches!(event, SessionEvent::Goodbye) {
            assert!(self.seen.dismissed && self.seen.finished == self.seen.asked, "a goodbye that leaves work undone");
        }
        self.seen.events.push(format!("{event:?}"));
    }
}

/// Checks that legs come in their order, that no leg is left out, and that only the control follows a leg that broke off.
fn check(findings: &Findings) {
    let legs: Vec<Leg> = findings.legs.iter().map(|report| report.leg).collect();
    assert!(
        [&[Leg::Probe][..], &[Leg::Probe, Leg::Subject], &[Leg::Probe, Leg::Subject, Leg::Control]]
            .contains(&&legs[..])
    );
    let available = findings.legs[0].outcome == LegOutcome::Available;
    assert_eq!(legs.len() > 1, available, "{findings:?}");
    assert!(findings.results.len() as u64 <= OUTPUT_LIMIT);
    for tail in [&findings.stdout, &findings.stderr] {
        assert!(tail.text().len() <= OUTPUT_KEPT);
    }
}

fn play(input: &[u8], specs: &[JobSpec], piece: usize) -> Seen {
    let of_fork = input.first() == Some(&b'z');
    let session = if of_fork { Session::of_fork() } else { Session::default() };
    let seq = u64::from(of_fork);
    let mut play = Play { session, specs, seq, run: 0, piece, seen: Seen::default() };
    let mut script = input.iter().copied();
    while let (Some(letter), false) = (script.next(), play.seen.over) {
        play.step(letter, &mut script);
    }
    play.seen
}

pub fn run(input: &[u8]) {
    let input = &input[..input.len().min(4096)];
    let impossible = Control::Impossible { why: "none".to_owned() };
    let command = JobSpec::Command(Box::new(CommandSpec {
        id: CommandId::of_program("d".as_ref()),
        words: Vec::new(),
        timeout_ms: None,
        allow_warnings: false,
    }));
    let suite = JobSpec::Kunit(SuiteId::new("c").unwrap());
    let specs = [spec("a.a", Control::Runs), spec("b.b", impossible), suite, command];
    let whole = play(input, &specs, 0);
    assert_eq!(play(input, &specs, 1), whole, "the same, byte by byte");
    assert_eq!(play(input, &specs, 7), whole, "the same, in sevens");
}
