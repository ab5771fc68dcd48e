//! Which results are compared with each other.

use vmlab_events::clean;
use vmlab_events::target::TargetId;

use crate::side::Side;

/// Results that are compared.
pub type Pair<'a> = (&'a Side, &'a Side);

/// Why nothing can be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPair {
    /// The runs have no target in common.
    #[error("the two runs have no kernel in common: {old} and {new}; name one of each with --kernel OLD --kernel NEW")]
    NothingInCommon {
        /// The targets of the first run.
        old: String,
        /// The targets of the second run.
        new: String,
    },
    /// A run has no such target.
    #[error("run {run} has no kernel `{wanted}`; it has {has}")]
    NoSuchTarget {
        /// The run's name.
        run: String,
        /// What was asked for.
        wanted: String,
        /// The targets that it has.
        has: String,
    },
    /// A record has no beginning.
    #[error("run {0} has no results: it ended before its first guest")]
    NoResults(String),
}

/// The results on the same targets; and those that only one run has. Two runs with one target each are compared whatever the
/// targets are called: two trees, for example.
///
/// # Errors
/// [`NoPair::NothingInCommon`].
pub fn of_runs<'a>(old: &'a [Side], new: &'a [Side]) -> Result<(Vec<Pair<'a>>, Alone<'a>), NoPair> {
    if let ([old], [new]) = (old, new) {
        return Ok((vec![(old, new)], Alone::default()));
    }
    let twin = |side: &Side, others: &'a [Side]| others.iter().find(|other| other.about.target == side.about.target);
    let pairs: Vec<_> = old.iter().filter_map(|side| Some((side, twin(side, new)?))).collect();
    if pairs.is_empty() {
        return Err(NoPair::NothingInCommon { old: names(old), new: names(new) });
    }
    let alone = |sides: &'a [Side], others: &'a [Side]| -> Vec<&'a TargetId> {
        sides.iter().filter(|side| twin(side, others).is_none()).map(|side| &side.about.target).collect()
    };
    Ok((pairs, Alone { old: alone(old, new), new: alone(new, old) }))
}

/// The targets that only one of two runs has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alone<'a> {
    /// Those of the first run.
    pub old: Vec<&'a TargetId>,
    /// Those of the second run.
    pub new: Vec<&'a TargetId>,
}

/// The results on a target.
///
/// # Errors
/// [`NoPair::NoSuchTarget`].
pub fn on<'a>(sides: &'a [Side], run: &str, wanted: &str) -> Result<&'a Side, NoPair> {
    let found = sides.iter().find(|side| side.about.target.as_str() == wanted);
    found.ok_or_else(|| NoPair::NoSuchTarget { run: run.to_owned(), wanted: wanted.to_owned(), has: names(sides) })
}

fn names(sides: &[Side]) -> String {
    let names: Vec<_> = sides.iter().map(|side| clean::line(side.about.target.as_str())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::run;
    use crate::side::sides;

    fn of(targets: &[&str]) -> Vec<Side> {
        sides(&run("run", targets, &[]))
    }

    #[test]
    fn runs_are_compared_kernel_by_kernel() {
        let (old, new) = (of(&["a", "b", "c"]), of(&["c", "d", "b"]));
        let (pairs, alone) = of_runs(&old, &new).unwrap();
        let names: Vec<_> =
            pairs.iter().map(|(old, new)| (old.about.target.as_str(), new.about.target.as_str())).collect();
        assert_eq!(names, [("b", "b"), ("c", "c")]);
        assert_eq!((alone.old[0].as_str(), alone.new[0].as_str()), ("a", "d"));
    }

    #[test]
    fn two_runs_with_one_kernel_each_are_compared_whatever_they_are_called() {
        assert_eq!(of_runs(&of(&["tree:a"]), &of(&["tree:b"])).unwrap().0.len(), 1);
        let error = of_runs(&of(&["a", "b"]), &of(&["c"])).unwrap_err();
        assert!(error.to_string().contains("no kernel in common: a, b and c"), "{error}");
    }

    #[test]
    fn a_kernel_is_found_by_its_name() {
        assert_eq!(on(&of(&["a", "b"]), "r", "b").unwrap().about.target.as_str(), "b");
        assert_eq!(on(&of(&["a"]), "r", "c").unwrap_err().to_string(), "run r has no kernel `c`; it has a");
    }
}
