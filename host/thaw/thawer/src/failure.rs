//! Why a process was not thawed, in one line.

use core::ffi::CStr;

use vmlab_thaw_image::DecodeError;

/// What failed, and with which error.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    what: &'static str,
    path: Option<&'static CStr>,
    /// The system's error, or 0.
    code: i32,
}

/// The longest line, in bytes.
pub const LINE_LIMIT: usize = 512;

impl Failure {
    /// A failure of a step, with an error of errno(3) or 0.
    #[must_use]
    pub const fn new(what: &'static str, code: i32) -> Self {
        Self { what, path: None, code }
    }

    /// The same with the path of the file that it is about.
    #[must_use]
    pub const fn of(self, path: &'static CStr) -> Self {
        Self { path: Some(path), ..self }
    }

    /// Writes the line, cut to what fits. Returns its length.
    pub fn line(&self, to: &mut [u8; LINE_LIMIT]) -> usize {
        let mut line = Line { to, at: 0 };
        line.put(b"vmlab-thawer: ");
        line.put(self.what.as_bytes());
        if let Some(path) = self.path {
            line.put(b" ");
            line.put(path.to_bytes());
        }
        if self.code != 0 {
            line.put(b": error ");
            line.number(self.code.unsigned_abs());
        }
        line.to[line.at] = b'\n';
        line.at + 1
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::new(error.name(), 0)
    }
}

struct Line<'a> {
    to: &'a mut [u8; LINE_LIMIT],
    at: usize,
}

impl Line<'_> {
    /// Leaves room for the newline.
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.at < LINE_LIMIT - 1 {
                self.to[self.at] = if *byte == b'\n' { b'?' } else { *byte };
                self.at += 1;
            }
        }
    }

    fn number(&mut self, number: u32) {
        let (mut divisor, mut rest) = (1_000_000_000, number);
        let mut begun = false;
        while divisor > 0 {
            let digit = rest / divisor;
            begun |= digit != 0 || divisor == 1;
            if begun {
                // A digit is less than 10.
                self.put(&[b'0' + digit.to_le_bytes()[0]]);
            }
            (rest, divisor) = (rest % divisor, divisor / 10);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(failure: Failure, to: &mut [u8; LINE_LIMIT]) -> &str {
        let length = failure.line(to);
        core::str::from_utf8(&to[..length]).unwrap()
    }

    #[test]
    fn a_failure_is_one_line_with_path_and_error() {
        let mut line = [0; LINE_LIMIT];
        assert_eq!(text(Failure::new("cannot do it", 0), &mut line), "vmlab-thawer: cannot do it\n");
        let of_a_file = Failure::new("cannot open", 2).of(c"/usr/lib/a\nb");
        assert_eq!(text(of_a_file, &mut line), "vmlab-thawer: cannot open /usr/lib/a?b: error 2\n");
        assert_eq!(text(Failure::new("x", i32::MIN), &mut line), "vmlab-thawer: x: error 2147483648\n");
        let error = Failure::from(DecodeError::Checksum);
        assert_eq!(text(error, &mut line), "vmlab-thawer: the image is damaged\n");
    }

    #[test]
    fn a_long_path_is_cut() {
        static LONG: [u8; 600] = {
            let mut bytes = [b'x'; 600];
            bytes[599] = 0;
            bytes
        };
        let mut line = [0; LINE_LIMIT];
        let path = CStr::from_bytes_with_nul(&LONG).unwrap();
        let text = text(Failure::new("cannot open", 13).of(path), &mut line);
        assert!(text.len() == LINE_LIMIT && text.ends_with("xx\n"));
    }
}
