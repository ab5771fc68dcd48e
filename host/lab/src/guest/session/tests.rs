use vmlab_events::job::SuiteId;
use vmlab_protocol::catalogue::{Control, Expectation, KernelVersion, Requirement, ScenarioSpec};
use vmlab_protocol::message::ProtocolVersion;

use super::*;
use vmlab_events::fixture::hello;

fn spec() -> JobSpec {
    JobSpec::from(ScenarioSpec {
        id: "uts.hostname".parse().unwrap(),
        title: "a title".to_owned(),
        items: vec!["3a".to_owned()],
        steps: Vec::new(),
        source: "uts_namespaces(7)".to_owned(),
        namespaces: Vec::new(),
        expects: Expectation::Isolation,
        isolates_since: None,
        control_namespaces: Vec::new(),
        mechanism: None,
        control: Control::Runs,
        requires: Requirement { config: Vec::new(), since: KernelVersion::new(2, 6, 19), backports: Vec::new() },
        modules: Vec::new(),
        machine: vmlab_protocol::catalogue::MachineNeed::default(),
        leg_timeout_ms: 1000,
        allows: Vec::new(),
    })
}

fn suite() -> JobSpec {
    JobSpec::Kunit(SuiteId::new("list-kunit-test").unwrap())
}

fn fresh() -> Freshness {
    Freshness { wall_clock_ns: 1, entropy: "00".to_owned(), fork: false, side: None }
}

/// A guest that numbers its messages correctly.
#[derive(Default)]
struct Guest {
    seq: u64,
}

impl Guest {
    fn says(&mut self, message: GuestMessage) -> Vec<u8> {
        let envelope = Envelope { seq: self.seq, boottime_ns: 1, message };
        self.seq += 1;
        let mut out = Vec::new();
        message::encode(&envelope, &mut out).unwrap();
        out
    }

    fn leg(&mut self, run: u32, leg: Leg, outcome: LegOutcome) -> Vec<u8> {
        self.says(GuestMessage::LegFinished { run, leg, outcome, duration_ns: 5, output_dropped: 0 })
    }
}

fn isolated() -> LegOutcome {
    LegOutcome::Isolated { detail: "kept".to_owned() }
}

fn leaked() -> LegOutcome {
    LegOutcome::Leaked { detail: "seen".to_owned() }
}

fn next(session: &mut Session, bytes: &[u8]) -> Result<Option<SessionEvent>, Violation> {
    session.push(bytes);
    session.next_event()
}

/// A session whose guest is ready and has announced the job.
fn running_job(spec: &JobSpec) -> (Session, Guest) {
    let (mut session, mut guest) = (Session::default(), Guest::default());
    let event = next(&mut session, &guest.says(GuestMessage::Hello(Box::new(hello())))).unwrap();
    assert!(matches!(event, Some(SessionEvent::Hello(_))));
    session.prepare(&fresh()).unwrap();
    session.ask(spec, 1000, None, None).unwrap();
    let event = next(&mut session, &guest.says(GuestMessage::Prepared { boot_id: "b".to_owned() })).unwrap();
    assert!(matches!(event, Some(SessionEvent::Prepared { .. })));
    let started = guest.says(GuestMessage::JobStarted { run: 1, job: spec.job() });
    assert!(matches!(next(&mut session, &started).unwrap(), Some(SessionEvent::Started)));
    (session, guest)
}

fn running() -> (Session, Guest) {
    running_job(&spec())
}

#[test]
fn a_scenario_from_hello_to_goodbye() {
    let (mut session, mut guest) = running();
    let mut bytes = Vec::new();
    RawChunk { run: 1, leg: Leg::Probe, stream: Stream::Stdout, data: b"out" }.encode(&mut bytes).unwrap();
    bytes.extend(guest.leg(1, Leg::Probe, LegOutcome::Available));
    bytes.extend(guest.leg(1, Leg::Subject, isolated()));
    bytes.extend(guest.leg(1, Leg::Control, leaked()));
    bytes.extend(guest.says(GuestMessage::JobFinished { run: 1 }));
    let Some(SessionEvent::Finished(findings)) = next(&mut session, &bytes).unwrap() else { panic!("not finished") };
    assert_eq!(findings.legs.len(), 3);
    assert_eq!(findings.stdout.text(), "out");
    session.dismiss("marker".to_owned()).unwrap();
    let goodbye = guest.says(GuestMessage::RunFinished { started: 1 });
    assert!(matches!(next(&mut session, &goodbye).unwrap(), Some(SessionEvent::Goodbye)));
    assert!(session.closed().is_ok());
}

#[test]
fn a_missing_feature_ends_after_the_probe() {
    let (mut session, mut guest) = running();
    let mut bytes = guest.leg(1, Leg::Probe, LegOutcome::Missing { evidence: "ENOSYS".to_owned() });
    bytes.extend(guest.says(GuestMessage::JobFinished { run: 1 }));
    assert!(matches!(next(&mut session, &bytes).unwrap(), Some(SessionEvent::Finished(_))));
}

#[test]
fn a_message_out_of_order_is_a_violation() {
    type Case = (&'static str, fn(&mut Guest) -> Vec<u8>);
    let cases: &[Case] = &[
        ("a second hello", |guest| guest.says(GuestMessage::Hello(Box::new(hello())))),
        ("a second start", |guest| guest.says(GuestMessage::JobStarted { run: 1, job: spec().job() })),
        ("a goodbye in the middle", |guest| guest.says(GuestMessage::RunFinished { started: 1 })),
        ("an end before its legs", |guest| guest.says(GuestMessage::JobFinished { run: 1 })),
        ("a subject before its probe", |guest| guest.leg(1, Leg::Subject, isolated())),
        ("a leg of another run", |guest| guest.leg(2, Leg::Probe, LegOutcome::Available)),
        ("a probe that leaks", |guest| guest.leg(1, Leg::Probe, leaked())),
        ("a refusal after the start", |guest| guest.says(GuestMessage::Refused { run: 1, why: String::new() })),
        ("two results for one leg", |guest| {
            let mut bytes = guest.leg(1, Leg::Probe, LegOutcome::Available);
            bytes.extend(guest.leg(1, Leg::Probe, LegOutcome::Available));
            bytes
        }),
        ("two ends", |guest| {
            let mut bytes = guest.leg(1, Leg::Probe, LegOutcome::Missing { evidence: String::new() });
            bytes.extend(guest.says(GuestMessage::JobFinished { run: 1 }));
            bytes.extend(guest.says(GuestMessage::JobFinished { run: 1 }));
            bytes
        }),
        ("a control that is missing", |guest| {
            let mut bytes = guest.leg(1, Leg::Probe, LegOutcome::Available);
            bytes.extend(guest.leg(1, Leg::Subject, isolated()));
            bytes.extend(guest.says(GuestMessage::JobFinished { run: 1 }));
            bytes
        }),
        ("a lost message", |guest| {
            guest.seq += 1;
            guest.leg(1, Leg::Probe, LegOutcome::Available)
        }),
        ("noise", |_| b"KTAP version 1\nok 1 forged\n".to_vec()),
        ("output of another run", |_| {
            let mut bytes = Vec::new();
            RawChunk { run: 9, leg: Leg::Probe, stream: Stream::Stdout, data: b"x" }.encode(&mut bytes).unwrap();
            bytes
        }),
        ("a frame that is no message", |_| {
            let mut bytes = Vec::new();
            vmlab_protocol::frame::encode(Kind::Message, &[b"{\"type\":\"all_passed\"}"], &mut bytes).unwrap();
            bytes
        }),
    ];
    for (name, says) in cases {
        let (mut session, mut guest) = running();
        let bytes = says(&mut guest);
        session.push(&bytes);
        let verdict = loop {
            match session.next_event() {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        assert!(verdict.is_err(), "{name} was accepted");
    }
}

#[test]
fn another_major_version_is_refused_with_both_versions() {
    let mut other = hello();
    other.protocol = ProtocolVersion { major: PROTOCOL.major + 1, minor: 0 };
    let bytes = Guest::default().says(GuestMessage::Hello(Box::new(other)));
    let error = next(&mut Session::default(), &bytes).unwrap_err();
    assert_eq!(error, Violation::WrongProtocol { guest: 2, host: 1 });
}

#[test]
fn a_fork_prepares_before_anything_else() {
    let (mut session, mut guest) = (Session::of_fork(), Guest { seq: 1 });
    assert!(session.ask(&spec(), 1, None, None).is_err());
    session.prepare(&fresh()).unwrap();
    assert!(session.prepare(&fresh()).is_err());
    let event = next(&mut session, &guest.says(GuestMessage::Prepared { boot_id: "b".to_owned() }));
    assert!(matches!(event, Ok(Some(SessionEvent::Prepared { .. }))));
    session.ask(&spec(), 1, None, None).unwrap();

    let mut session = Session::of_fork();
    session.prepare(&fresh()).unwrap();
    session.ask(&spec(), 1, None, None).unwrap();
    let mut guest = Guest { seq: 1 };
    let early = guest.says(GuestMessage::JobStarted { run: 1, job: spec().job() });
    assert!(next(&mut session, &early).is_err(), "a scenario started before the guest was prepared");
}

#[test]
fn a_scenario_that_was_never_asked_for_cannot_start() {
    let (mut session, mut guest) = (Session::default(), Guest::default());
    let mut bytes = guest.says(GuestMessage::Hello(Box::new(hello())));
    bytes.extend(guest.says(GuestMessage::JobStarted { run: 1, job: spec().job() }));
    session.push(&bytes);
    assert!(matches!(session.next_event(), Ok(Some(SessionEvent::Hello(_)))));
    assert!(session.next_event().is_err());
}

#[test]
fn a_truncated_frame_is_distinguished_from_a_clean_end() {
    let (mut session, mut guest) = running();
    let bytes = guest.leg(1, Leg::Probe, LegOutcome::Available);
    assert!(session.closed().is_ok());
    assert!(next(&mut session, &bytes[..bytes.len() - 1]).unwrap().is_none());
    assert!(session.closed().is_err());
}

#[test]
fn only_the_end_of_the_output_is_stored_and_the_rest_is_counted() {
    let mut tail = Tail::default();
    tail.push(&vec![b'a'; OUTPUT_KEPT]);
    tail.push(b"bc");
    assert_eq!(tail.dropped, 2);
    assert!(tail.text().ends_with("abc"));
    tail.push(&vec![b'd'; OUTPUT_KEPT * 2]);
    assert_eq!(tail.dropped, 2 + OUTPUT_KEPT as u64 * 2);
    assert_eq!(tail.text().len(), OUTPUT_KEPT);
}

#[test]
fn an_impossible_count_of_dropped_bytes_is_harmless() {
    let (mut session, mut guest) = running();
    let outcomes = [(Leg::Probe, LegOutcome::Available), (Leg::Subject, isolated()), (Leg::Control, leaked())];
    for (leg, outcome) in outcomes {
        let ended = GuestMessage::LegFinished { run: 1, leg, outcome, duration_ns: u64::MAX, output_dropped: u64::MAX };
        assert!(next(&mut session, &guest.says(ended)).unwrap().is_none());
    }
    assert_eq!(session.findings_so_far().unwrap().dropped, u64::MAX);
}

#[test]
fn a_suite_has_two_legs_whose_output_is_kept_whole() {
    let (mut session, mut guest) = running_job(&suite());
    let print = |leg, data: &[u8]| {
        let mut bytes = Vec::new();
        RawChunk { run: 1, leg, stream: Stream::Stdout, data }.encode(&mut bytes).unwrap();
        bytes
    };
    let long = vec![b'x'; 2 * OUTPUT_KEPT];
    for bytes in [
        guest.leg(1, Leg::Probe, LegOutcome::Available),
        print(Leg::Subject, &long),
        guest.leg(1, Leg::Subject, LegOutcome::Reported),
    ] {
        assert!(next(&mut session, &bytes).unwrap().is_none());
    }
    let end = next(&mut session, &guest.says(GuestMessage::JobFinished { run: 1 })).unwrap();
    let Some(SessionEvent::Finished(findings)) = end else { panic!("{end:?}") };
    assert_eq!(findings.results, long);
    assert!(findings.stdout.text().is_empty());
}

#[test]
fn a_suite_cannot_end_as_a_scenario_nor_a_scenario_as_a_suite() {
    for (spec, outcome) in [(suite(), isolated()), (suite(), LegOutcome::Available), (spec(), LegOutcome::Reported)] {
        let (mut session, mut guest) = running_job(&spec);
        next(&mut session, &guest.leg(1, Leg::Probe, LegOutcome::Available)).unwrap();
        let ended = next(&mut session, &guest.leg(1, Leg::Subject, outcome));
        assert!(matches!(ended, Err(Violation::ImpossibleOutcome { .. })), "{ended:?}");
    }
    let (mut session, mut guest) = running_job(&suite());
    next(&mut session, &guest.leg(1, Leg::Probe, LegOutcome::Available)).unwrap();
    let early = next(&mut session, &guest.says(GuestMessage::JobFinished { run: 1 }));
    assert!(matches!(early, Err(Violation::EndedEarly { due: Leg::Subject, .. })), "{early:?}");
}

#[test]
fn the_host_bounds_the_output_that_it_keeps_whole() {
    let (mut session, _) = running_job(&suite());
    let mut bytes = Vec::new();
    let data = vec![b'x'; RawChunk::MAX_DATA];
    let chunks = OUTPUT_LIMIT / data.len() as u64 + 2;
    for _ in 0..chunks {
        bytes.clear();
        RawChunk { run: 1, leg: Leg::Subject, stream: Stream::Stdout, data: &data }.encode(&mut bytes).unwrap();
        assert!(next(&mut session, &bytes).unwrap().is_none());
    }
    let findings = session.findings_so_far().unwrap();
    assert_eq!(findings.results.len() as u64, OUTPUT_LIMIT);
    assert_eq!(findings.dropped, chunks * data.len() as u64 - OUTPUT_LIMIT);
}
