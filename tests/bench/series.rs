//! Repeated measurements of one figure.

use std::fmt;
use std::time::Duration;

/// Measurements in one unit.
#[derive(Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// Adds a time, in ms.
    pub fn time(&mut self, taken: Duration) {
        self.figure(taken.as_secs_f64() * 1e3);
    }

    /// Adds a figure.
    pub fn figure(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The median; NaN without measurements.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let half = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[half],
            _ => f64::midpoint(sorted[half - 1], sorted[half]),
        }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = self.sorted();
        let (least, most) = (sorted.first().unwrap_or(&f64::NAN), sorted.last().unwrap_or(&f64::NAN));
        write!(f, "{:9.1}  ({least:.1} to {most:.1}, n = {})", self.median(), sorted.len())
    }
}

/// Prints a heading.
pub fn heading(text: &str) {
    println!("\n{text}");
}

/// Prints a series' line.
pub fn line(what: &str, unit: &str, series: &Series) {
    println!("  {what:<44} {unit:>8} {series}");
}

/// Prints a figure's line with its bar.
pub fn against(what: &str, unit: &str, figure: f64, bar: Bar) {
    let (met, words) = match bar {
        Bar::AtMost(most) => (figure <= most, format!("at most {most}")),
        Bar::AtLeast(least) => (figure >= least, format!("at least {least}")),
    };
    println!("  {what:<44} {unit:>8} {figure:9.2}  bar: {words}: {}", if met { "green" } else { "RED" });
}

/// The limit of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}
