//! The table of timings: phases down, percentiles across.

use vmlab_protocol::message::Leg;

use super::paint::Paint;
use crate::percentile::nearest_rank;
use crate::timings::{Row, Timings};
use vmlab_events::clean;

/// The phases that are parts of the scenario above them.
const PARTS: [Leg; 3] = [Leg::Probe, Leg::Subject, Leg::Control];

/// The table, with a line end for each row.
#[must_use]
pub fn render(timings: &Timings, paint: Paint) -> String {
    if timings.groups().is_empty() {
        return "no timings: the events have none, because the run was cut off or an older vmlab made them\n"
            .to_owned();
    }
    let groups: Vec<(String, Vec<(String, &Row)>)> = timings
        .groups()
        .iter()
        .map(|group| (clean::line(&group.name), group.rows.iter().map(|row| (name(row), row)).collect()))
        .collect();
    let head = "timings in ms";
    let names = groups.iter().flat_map(|(_, rows)| rows).map(|(name, _)| name.chars().count());
    let width = names.max().unwrap_or(0).max(head.len());
    let mut out = paint.bold(&format!("{head:<width$}  {:>6}  {:>9}  {:>9}  {:>9}", "count", "p50", "p95", "max"));
    out.push('\n');
    for (group, rows) in groups {
        out.push_str(&paint.bold(&group));
        out.push('\n');
        for (name, row) in rows {
            let mut sorted = row.us.clone();
            sorted.sort_unstable();
            let [p50, p95, max] =
                [50, 95, 100].map(|percent| nearest_rank(&sorted, percent).map_or_else(String::new, ms));
            out.push_str(&format!("{name:<width$}  {:>6}  {p50:>9}  {p95:>9}  {max:>9}\n", sorted.len()));
        }
    }
    out
}

fn name(row: &Row) -> String {
    let indent = if PARTS.iter().any(|leg| leg.name() == row.name) { 4 } else { 2 };
    format!("{}{}", " ".repeat(indent), clean::line(&row.name))
}

/// With one decimal, rounded half up.
fn ms(us: u64) -> String {
    let tenths = us / 100 + u64::from(us % 100 >= 50);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Run;
    use vmlab_events::event::Phase;
    use vmlab_events::fixture;

    #[test]
    fn the_fixture_s_timings() {
        let mut run = Run::default();
        fixture::run().iter().for_each(|event| run.apply(event).unwrap());
        insta::assert_snapshot!(render(&run.timings, Paint(false)));
    }

    #[test]
    fn what_a_record_calls_a_phase_does_no_harm() {
        let mut timings = Timings::default();
        timings.add("\x1b[2J", &[Phase { name: "\x1b[31m\n".to_owned(), us: 1 }]);
        let text = render(&timings, Paint(false));
        assert!(text.contains("\\x1b[2J\n  \\x1b[31m\\n        1        0.0"), "{text}");
        assert!(!text.chars().any(|c| c != '\n' && clean::is_hostile(c)));
    }

    #[test]
    fn where_there_are_none_it_is_said() {
        assert!(render(&Timings::default(), Paint(false)).starts_with("no timings: "));
    }

    #[test]
    fn milliseconds_are_rounded() {
        assert_eq!(
            [0, 49, 50, 949, 950, 1_049, 123_456_789].map(ms),
            ["0.0", "0.0", "0.1", "0.9", "1.0", "1.0", "123456.8"]
        );
    }
}
