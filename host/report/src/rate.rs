//! How often a job fails, and how sure that figure is.
//!
//! The interval is that of Clopper and Pearson ("The use of confidence or fiducial limits illustrated in the case of the
//! binomial", Biometrika 26, 1934): never narrower than its confidence promises, whatever the rate, where approximations
//! are too sure of themselves just where rates are small and runs are few.

use vmlab_events::attempts::Attempts;

/// The probability of an error that is left: 95 % confidence.
const ALPHA: f64 = 0.05;
/// Halvings of an interval of rates: as many as a double has binary digits.
const HALVINGS: u32 = 53;

/// `3 of 20 attempts failed: 15.0 % (3.2 % to 37.9 %)`, and where none or all failed, the bound:
/// `0 of 100 attempts failed: rate below 3.0 %`.
#[must_use]
pub fn text(attempts: &Attempts) -> String {
    let Attempts { runs, failures, .. } = *attempts;
    let count = format!("{failures} of {runs} attempt{} failed", if runs == 1 { "" } else { "s" });
    if runs == 0 {
        return count;
    }
    let rate = match failures {
        0 => format!("rate below {} %", percent(upper(0, runs, ALPHA))),
        _ if failures == runs => format!("rate above {} %", percent(lower(failures, runs, ALPHA))),
        _ => {
            let (low, high) = (lower(failures, runs, ALPHA / 2.0), upper(failures, runs, ALPHA / 2.0));
            let share = f64::from(failures) / f64::from(runs);
            format!("{} % ({} % to {} %)", percent(share), percent(low), percent(high))
        }
    };
    format!("{count}: {rate}")
}

/// The method behind [`text`], for a heading.
pub const METHOD: &str = "at 95 % confidence, after Clopper and Pearson";

/// A share in percent, with more decimals the smaller it is.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let decimals = match percent {
        1.0.. => 1,
        0.1.. => 2,
        0.01.. => 3,
        _ => 4,
    };
    format!("{percent:.decimals$}")
}

/// The rate at which so few failures, or fewer, have only the probability `alpha`.
fn upper(failures: u32, runs: u32, alpha: f64) -> f64 {
    if failures >= runs {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if at_most(failures, runs, middle) > alpha { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The rate at which so many failures, or more, have only the probability `alpha`.
fn lower(failures: u32, runs: u32, alpha: f64) -> f64 {
    1.0 - upper(runs.saturating_sub(failures), runs, alpha)
}

/// The probability of at most so many failures in so many runs: the binomial distribution, term by term from the one
/// before. Each is kept as its logarithm, because the first can be too small for a double where later ones are not.
fn at_most(failures: u32, runs: u32, rate: f64) -> f64 {
    let odds = rate.ln() - (-rate).ln_1p();
    let mut term = f64::from(runs) * (-rate).ln_1p();
    let mut sum = term.exp();
    for done in 0..failures {
        term += (f64::from(runs - done) / f64::from(done + 1)).ln() + odds;
        sum += term.exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two-sided 95 % intervals in percent. The first three are in Newcombe, "Two-sided confidence intervals for the
    /// single proportion" (Statistics in Medicine 17, 1998), table I, method 5; the others in any table of exact
    /// binomial limits.
    #[test]
    fn published_intervals() {
        for (failures, runs, low, high) in [
            (81, 263, 25.27, 36.76),
            (15, 148, 5.78, 16.17),
            (1, 29, 0.09, 17.76),
            (1, 10, 0.25, 44.50),
            (5, 10, 18.71, 81.29),
            (9, 10, 55.50, 99.75),
            (1, 20, 0.13, 24.87),
            (3, 20, 3.21, 37.89),
        ] {
            let bounds = [lower(failures, runs, 0.025), upper(failures, runs, 0.025)].map(|rate| rate * 100.0);
            assert!(
                (bounds[0] - low).abs() < 0.006 && (bounds[1] - high).abs() < 0.006,
                "{failures}/{runs}: {bounds:?}"
            );
        }
    }

    #[test]
    fn without_a_failure_the_bound_has_a_closed_form() {
        for runs in [1, 2, 20, 100, 299, 100_000, 4_000_000_000] {
            let bound = 1.0 - 0.05_f64.powf(1.0 / f64::from(runs));
            let found = upper(0, runs, 0.05);
            assert!((found - bound).abs() <= bound * 1e-6, "{runs}: {found} for {bound}");
        }
    }

    #[test]
    fn a_bound_is_where_the_tail_is_as_likely_as_it_was_to_be() {
        for (failures, runs) in [(1, 3), (7, 50), (1234, 5000), (50_000, 100_000)] {
            let tail = at_most(failures, runs, upper(failures, runs, 0.025));
            assert!((tail - 0.025).abs() < 1e-6, "{failures}/{runs}: {tail}");
            let tail = 1.0 - at_most(failures - 1, runs, lower(failures, runs, 0.025));
            assert!((tail - 0.025).abs() < 1e-6, "{failures}/{runs}: {tail}");
        }
        assert_eq!((upper(5, 5, 0.05), lower(0, 5, 0.05)), (1.0, 0.0));
    }

    #[test]
    fn as_text() {
        let said = |failures, runs| text(&Attempts { runs, failures, kept: Vec::new() });
        assert_eq!(said(0, 100), "0 of 100 attempts failed: rate below 3.0 %");
        assert_eq!(said(0, 1000), "0 of 1000 attempts failed: rate below 0.30 %");
        assert_eq!(said(0, 20), "0 of 20 attempts failed: rate below 13.9 %");
        assert_eq!(said(0, 1), "0 of 1 attempt failed: rate below 95.0 %");
        assert_eq!(said(3, 20), "3 of 20 attempts failed: 15.0 % (3.2 % to 37.9 %)");
        assert_eq!(said(20, 20), "20 of 20 attempts failed: rate above 86.1 %");
        assert_eq!(said(1, 100_000), "1 of 100000 attempts failed: 0.0010 % (0.0000 % to 0.0056 %)");
        assert_eq!(said(0, 0), "0 of 0 attempts failed");
    }
}
