//! The part of a guest's output that a report shows.

use vmlab_events::clean;

/// Some lines of a text, each clean and of bounded length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The lines.
    pub lines: Vec<String>,
    /// How many others there are, and on which side: `earlier` or `later`.
    others: (usize, &'static str),
}

impl Excerpt {
    /// A note on the lines that are left out.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        let (count, side) = self.others;
        (count > 0).then(|| format!("({count} {side} {} left out)", if count == 1 { "line" } else { "lines" }))
    }
}

/// The last lines: of a program's output, the end says most.
#[must_use]
pub fn tail(output: &str, max_lines: usize, max_chars: usize) -> Excerpt {
    let all = output.lines().count();
    let lines = clean::lines(output).skip(all.saturating_sub(max_lines)).map(|line| clean::cut(&line, max_chars));
    Excerpt { lines: lines.collect(), others: (all.saturating_sub(max_lines), "earlier") }
}

/// The first lines: of a kernel's trace, the beginning says most.
#[must_use]
pub fn head(trace: &[String], max_lines: usize, max_chars: usize) -> Excerpt {
    let lines = trace.iter().take(max_lines).map(|line| clean::cut(&clean::lines(line).collect::<String>(), max_chars));
    Excerpt { lines: lines.collect(), others: (trace.len().saturating_sub(max_lines), "later") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_output() {
        let excerpt = tail("1\n2\x1b\n3456789\n", 2, 5);
        assert_eq!(excerpt.lines, ["2\\x1b", "34567… (2 more characters)"]);
        assert_eq!(excerpt.left_out().unwrap(), "(1 earlier line left out)");
        assert_eq!(tail("", 2, 4).left_out(), None);
    }

    #[test]
    fn the_beginning_of_a_trace() {
        let trace = ["Oops", "\tf+0x1", "g"].map(str::to_owned);
        let excerpt = head(&trace, 2, 80);
        assert_eq!(excerpt.lines, ["Oops", "        f+0x1"]);
        assert_eq!(excerpt.left_out().unwrap(), "(1 later line left out)");
    }
}
