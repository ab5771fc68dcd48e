use indicatif::InMemoryTerm;

use super::*;
use crate::style::Style;
use vmlab_events::fixture;

fn setup(style: Style, verbosity: Verbosity) -> Setup {
    let record = Some("/state/vmlab/runs/20261122-110203-4f2a".into());
    Setup { style, verbosity, timings: false, record, screen: Screen::none() }
}

fn render(events: &[Stamped], setup: Setup) -> String {
    let mut reporter = Human::new(Vec::new(), setup);
    events.iter().for_each(|event| reporter.event(event).unwrap());
    reporter.finish().unwrap();
    String::from_utf8(reporter.out).unwrap()
}

#[test]
fn the_fixture_in_plain_lines() {
    let text = render(&fixture::run(), setup(Style::FILE, Verbosity::Normal));
    assert!(!text.chars().any(|c| c != '\n' && clean::is_hostile(c)));
    insta::assert_snapshot!(text);
}

#[test]
fn each_test_of_a_suite_has_a_line_and_one_that_failed_says_why() {
    let text = render(&fixture::suites(), setup(Style::FILE, Verbosity::Normal));
    assert!(!text.chars().any(|c| c != '\n' && clean::is_hostile(c)));
    insta::assert_snapshot!("suites", text);
}

#[test]
fn quiet_is_the_table_the_summary_and_why_there_is_no_result() {
    insta::assert_snapshot!(render(&fixture::run(), setup(Style::FILE, Verbosity::Quiet)));
}

#[test]
fn timings_follow_the_table_and_change_nothing_else() {
    for verbosity in [Verbosity::Quiet, Verbosity::Normal] {
        let without = setup(Style::FILE, verbosity);
        let with = render(&fixture::run(), Setup { timings: true, ..without.clone() });
        let start = with.find("\n\ntimings in ms ").unwrap() + 1;
        let end = start + 1 + with[start + 1..].find("\n\n").unwrap() + 1;
        assert_eq!([&with[..start], &with[end..]].concat(), render(&fixture::run(), without));
        assert!(
            with[..start].ends_with(
                "uts.hostname   PASS                   TIMEOUT               NOT-RUN                     NO-BOOT\n"
            ),
            "{with}"
        );
    }
}

#[test]
fn verbose_shows_what_passing_scenarios_found_and_all_output() {
    let (normal, verbose) =
        [Verbosity::Normal, Verbosity::Verbose].map(|v| render(&fixture::run(), setup(Style::FILE, v))).into();
    assert!(!normal.contains("PASS  uts.hostname on debian:bullseye"), "{normal}");
    assert!(verbose.contains("PASS  uts.hostname on debian:bullseye (12 ms)\n      what uts.hostname shows (namespaces(7))\n      probe    available"), "{verbose}");
    assert!(normal.contains("stderr: (10 earlier lines left out)\n      | line 11\n"), "{normal}");
    assert!(verbose.contains("stderr:\n      | line 1\n"), "{verbose}");
}

#[test]
fn a_finished_run_on_a_terminal_has_the_table_at_once() {
    let style = Style { colour: true, live: false, lines: false, columns: Some(80) };
    let text = render(&fixture::run(), setup(style, Verbosity::Normal));
    let table = text.find("scenario ").unwrap();
    let before: Vec<_> = text[..table].lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(before[..3], ["note"; 3], "{text}");
    assert!(text[table..].contains("\x1b[1m\x1b[31mFAIL\x1b[0m"), "{text}");
    assert!(!text.chars().any(|c| !['\x1b', '\n'].contains(&c) && clean::is_hostile(c)));
}

#[test]
fn an_interrupted_run_shows_what_did_not_run() {
    let events = fixture::run();
    let mut cut = events[..20].to_vec();
    cut.push(Stamped { elapsed_ms: 4000, event: LabEvent::Interrupted });
    let text = render(&cut, setup(Style::FILE, Verbosity::Normal));
    assert!(text.contains("\ninterrupted: 6 scenarios on 4 kernels: "), "{text}");
    assert!(text.contains("NOT-RUN  5 scenarios on debian:bullseye: "), "{text}");
    assert!(text.contains("\n      the run was interrupted\n"), "{text}");
    let whole = render(&events, setup(Style::FILE, Verbosity::Normal));
    assert!(whole.contains("pid.init has no control leg: "), "{whole}");
    assert_eq!(render(&[], setup(Style::FILE, Verbosity::Normal)), "");
    cut.drain(12..20);
    let text = render(&cut, setup(Style::FILE, Verbosity::Normal));
    assert!(text.contains("NOT-RUN  all 6 scenarios on debian:bullseye\n"), "{text}");
    assert!(!text.contains("has no control leg"), "nothing ran: {text}");
}

#[test]
fn every_attempt_is_shown_and_flaky_is_explained() {
    insta::assert_snapshot!(render(&fixture::retried(), setup(Style::FILE, Verbosity::Normal)));
}

#[test]
fn runs_are_shown_by_their_failures_and_rates() {
    let text = render(&fixture::repeated(), setup(Style::FILE, Verbosity::Normal));
    // A line for each of the first ten failures in each paragraph, and one above the attempt that is shown in full.
    assert_eq!(text.matches("      attempt ").count(), 3 + 10 + 2, "{text}");
    insta::assert_snapshot!(text);
    let quiet = render(&fixture::repeated(), setup(Style::FILE, Verbosity::Quiet));
    assert!(quiet.contains("\n\nfailure rates at 95 % confidence, after Clopper and Pearson\ncgroup.path "), "{quiet}");
    assert!(!quiet.contains("DONE"), "{quiet}");
}

#[test]
fn a_cut_record_shows_the_rates_so_far() {
    let events = fixture::repeated();
    let text = render(&events[..13], setup(Style::FILE, Verbosity::Normal));
    assert!(text.contains("\ncgroup.path  debian:bookworm  2 of 9 attempts failed: 22.2 % ("), "{text}");
    assert!(text.contains("cgroup.path    NOT-RUN"), "{text}");
}

#[test]
fn a_single_leak_is_in_the_singular() {
    let mut events = fixture::run();
    let text = render(&events, setup(Style::FILE, Verbosity::Normal));
    assert!(text.contains("; 2 of those passed are documented leaks ("), "{text}");
    let is_leak = |event: &Stamped| matches!(&event.event, LabEvent::JobFinished(report) if matches!(report.verdict, vmlab_events::verdict::Verdict::Leaks { .. }));
    let at = events.iter().position(is_leak).unwrap();
    events.remove(at);
    let text = render(&events, setup(Style::FILE, Verbosity::Normal));
    assert!(text.contains("; 1 of those passed is a documented leak ("), "{text}");
}

/// Writes to the terminal that the live lines are drawn on.
struct Terminal(InMemoryTerm);

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use indicatif::TermLike;
        self.0.write_str(&std::str::from_utf8(bytes).unwrap().replace('\n', "\r\n"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn failures_stand_above_the_live_lines_and_the_end_leaves_none() {
    let terminal = InMemoryTerm::new(200, 200);
    let style = Style { colour: false, live: true, lines: false, columns: Some(200) };
    let setup = Setup { screen: Screen::in_memory(&terminal), ..setup(style, Verbosity::Normal) };
    let mut reporter = Human::new(Terminal(terminal.clone()), setup.clone());
    let events = fixture::run();
    events[..29].iter().for_each(|event| reporter.event(event).unwrap());
    let shown = terminal.contents();
    let line = |part: &str| shown.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{shown}"));
    assert!(line("FAIL  debian:bookworm") < line("10/24 done on 4 kernels, 7 not good"), "{shown}");
    assert!(!shown.contains("PASS"), "{shown}");
    assert_eq!(shown.matches("NO-BOOT").count(), 1, "one line for a guest that took all with it: {shown}");
    events[29..].iter().for_each(|event| reporter.event(event).unwrap());
    reporter.finish().unwrap();
    let left: Vec<_> = terminal.contents().lines().map(str::to_owned).collect();
    let still = Setup { style: Style { live: false, ..style }, ..setup };
    let again = render(&events, still);
    let from_table = |lines: Vec<&str>| {
        lines.iter().skip_while(|l| !l.starts_with("scenario ")).map(|l| l.trim_end().to_owned()).collect::<Vec<_>>()
    };
    let left_table = from_table(left.iter().map(String::as_str).collect());
    assert_eq!(left_table[..8], from_table(again.lines().collect())[..8]);
    assert!(!left.iter().any(|line| line.contains("done on 4 kernels")), "{left:?}");
}
