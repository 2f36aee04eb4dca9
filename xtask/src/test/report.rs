//! Adds up what test programs print: libtest, doc tests and libtest-mimic alike.

/// What one or more test programs said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Names of tests that failed.
    pub(crate) failures: Vec<String>,
    /// Names of tests that did not run, with their reasons.
    pub(crate) ignored: Vec<String>,
}

impl Tally {
    /// Reads all that one run printed.
    pub(crate) fn read(text: &str) -> Self {
        let mut tally = Self::default();
        let mut unnamed = 0;
        for line in plain(text).lines().map(str::trim) {
            if let Some(result) = line.strip_prefix("test result: ") {
                tally.passed += count(result, "passed");
                tally.failed += count(result, "failed");
                unnamed += count(result, "ignored");
            } else if let Some((name, outcome)) = test_line(line) {
                if outcome.starts_with("FAILED") {
                    tally.failures.push(name);
                } else if let Some(reason) = outcome.strip_prefix("ignored") {
                    let reason = reason.trim_start_matches(',').trim();
                    tally.ignored.push(if reason.is_empty() { name } else { format!("{name}: {reason}") });
                }
            }
        }
        // Output of a test can tear a line apart; the count is still right.
        let named = u64::try_from(tally.ignored.len()).unwrap_or(u64::MAX);
        if unnamed > named {
            tally.ignored.push(format!("{} more that are not named", unnamed - named));
        }
        tally
    }

    /// Whether not even an ignored test was seen.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes another's counts and names in.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.ignored.extend(other.ignored);
    }
}

/// The name and outcome in `test NAME ... OUTCOME`.
fn test_line(line: &str) -> Option<(String, &str)> {
    let (name, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    Some((name.trim().to_owned(), outcome))
}

/// The number before a word, as in `3 passed; 0 failed`.
fn count(text: &str, what: &str) -> u64 {
    let words: Vec<_> = text.split([' ', ';']).filter(|word| !word.is_empty()).collect();
    let pairs = words.windows(2);
    let found = pairs.filter_map(|pair| match pair {
        [number, word] if *word == what => number.parse::<u64>().ok(),
        _ => None,
    });
    found.sum()
}

/// Without the terminal's colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.strip_prefix('[').and_then(|part| part.split_once(|c: char| c.is_ascii_alphabetic()));
        out.push_str(rest.map_or(part, |(_, rest)| rest));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBTEST: &str = "
running 3 tests
test a::works ... ok
test a::broken ... FAILED
test a::later ... ignored, needs a server

failures:

failures:
    a::broken

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

    #[test]
    fn reads_libtest() {
        let tally = Tally::read(LIBTEST);
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert_eq!(tally.failures, ["a::broken"]);
        assert_eq!(tally.ignored, ["a::later: needs a server"]);
    }

    #[test]
    fn reads_libtest_mimic_with_kinds_padding_and_colours() {
        let text = "test [memory] vm::create      ... \u{1b}[32mok\u{1b}[0m\n\
                    test [libvirt] vm::migrate    ... \u{1b}[33mignored\u{1b}[0m\n\n\
                    test result: \u{1b}[32mok\u{1b}[0m. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.30s";
        let tally = Tally::read(text);
        assert_eq!((tally.passed, tally.failed), (1, 0));
        assert_eq!(tally.ignored, ["[libvirt] vm::migrate"]);
    }

    #[test]
    fn adds_programs_and_doc_tests() {
        let docs = "   Doc-tests core\ntest src/lib.rs - (line 3) ... ok\ntest src/lib.rs - (line 9) ... ignored\n\
                    test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out";
        let mut tally = Tally::read(&format!("{LIBTEST}{docs}"));
        assert_eq!((tally.passed, tally.failed, tally.ignored.len()), (2, 1, 2));
        tally.add(Tally::read(docs));
        assert_eq!((tally.passed, tally.ignored.len()), (3, 3));
    }

    #[test]
    fn a_filter_that_fits_nothing_is_seen() {
        let none =
            "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out";
        assert!(Tally::read(none).is_empty());
        assert!(!Tally::read("test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured").is_empty());
    }

    #[test]
    fn an_ignored_test_whose_line_was_torn_is_still_told() {
        let tally = Tally::read(
            "test x ... hello\nignored\ntest result: ok. 0 passed; 0 failed; 2 ignored; 0 measured",
        );
        assert_eq!(tally.ignored, ["2 more that are not named"]);
    }
}
