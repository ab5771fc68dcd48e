//! The timings of all events, grouped by how the guests started, phase by phase.

use vmlab_events::event::Phase;

/// All timings of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timings {
    groups: Vec<Group>,
}

/// The timings of guests that started in the same way, or of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `fork`, `boot`, `template` or `run`.
    pub name: String,
    /// In the order in which the phases follow each other.
    pub rows: Vec<Row>,
}

/// The timings of one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The phase.
    pub name: String,
    /// How long it took each time, in µs.
    pub us: Vec<u64>,
}

impl Timings {
    /// Adds the phases of one guest, or of the run.
    pub fn add(&mut self, group: &str, phases: &[Phase]) {
        let at = self.groups.iter().position(|known| known.name == group).unwrap_or_else(|| {
            self.groups.push(Group { name: group.to_owned(), rows: Vec::new() });
            self.groups.len() - 1
        });
        self.groups[at].add(phases);
    }

    /// The groups, in the order of their first events.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }
}

impl Group {
    fn add(&mut self, phases: &[Phase]) {
        let mut next = 0;
        for (index, phase) in phases.iter().enumerate() {
            let at = self.rows.iter().position(|row| row.name == phase.name).unwrap_or_else(|| {
                let at = next + self.before_what_follows(next, &phases[index + 1..]);
                self.rows.insert(at, Row { name: phase.name.clone(), us: Vec::new() });
                at
            });
            self.rows[at].us.push(phase.us);
            next = at + 1;
        }
    }

    /// How many rows from `next` on come before those of the phases that follow.
    fn before_what_follows(&self, next: usize, following: &[Phase]) -> usize {
        let follows = |row: &Row| following.iter().any(|phase| phase.name == row.name);
        self.rows[next..].iter().position(follows).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(names: &str) -> Vec<Phase> {
        names.split(' ').zip(1..).map(|(name, us)| Phase { name: name.to_owned(), us }).collect()
    }

    fn rows(guests: &[&str]) -> String {
        let mut timings = Timings::default();
        guests.iter().for_each(|names| timings.add("fork", &phases(names)));
        timings.groups[0].rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn phases_that_only_some_guests_have_are_where_they_were() {
        let first = "restore prepare start scenario probe goodbye end total";
        let standby = "restore standby prepare start scenario probe subject control goodbye end total";
        let both = "restore standby prepare start scenario probe subject control goodbye end total";
        assert_eq!(rows(&[first, standby]), both);
        assert_eq!(rows(&[standby, first]), both);
    }

    #[test]
    fn phases_that_a_guest_has_several_times_are_counted_together() {
        let shared = "boot start scenario probe start scenario probe subject goodbye total";
        assert_eq!(rows(&[shared]), "boot start scenario probe subject goodbye total");
        let mut timings = Timings::default();
        timings.add("boot", &phases(shared));
        assert_eq!(timings.groups[0].rows[1], Row { name: "start".to_owned(), us: vec![2, 5] });
    }

    #[test]
    fn a_guest_that_was_lost_was_lost_before_its_end() {
        let good = "boot start scenario goodbye end total";
        assert_eq!(rows(&[good, "boot start lost end total"]), "boot start scenario goodbye lost end total");
    }

    #[test]
    fn groups_are_kept_apart() {
        let mut timings = Timings::default();
        timings.add("template", &phases("total"));
        timings.add("fork", &phases("total"));
        timings.add("fork", &phases("total"));
        let groups: Vec<_> = timings.groups().iter().map(|g| (g.name.as_str(), g.rows[0].us.len())).collect();
        assert_eq!(groups, [("template", 1), ("fork", 2)]);
    }
}
