//! What the kernel has to load for us, and may refuse: made when it is first wanted, and where that fails tried again, after
//! a longer time each, until the cause is gone.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rvs_packet::Now;

/// How long after a refusal somebody who changes the configuration has it tried again.
const SOON: Duration = Duration::from_secs(1);
/// The longest time between two trials that nobody asked for.
const LONGEST: Duration = Duration::from_secs(30);
/// Why there is none that nobody has wanted.
const UNTRIED: &str = "no port has wanted it yet";

/// Where everybody finds it once it is there. It does not go again.
#[derive(Debug)]
pub struct Place<T>(Arc<OnceLock<T>>);

impl<T> Place<T> {
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }
}

impl<T> Clone for Place<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// Who asks for a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A port that comes or changes.
    ByChange,
    /// The clock.
    ByTime,
}

type Make<T> = Box<dyn FnMut() -> Result<T, String>>;

/// One such thing.
pub struct Wanted<T> {
    place: Place<T>,
    make: Make<T>,
    /// What is said where it is refused, before the cause, and where it comes after that.
    lines: (&'static str, &'static str),
    why: String,
    /// The last trial, and how long the clock waits after it. Zero: never tried.
    tried: Now,
    wait: Duration,
    refused: u64,
}

impl<T> fmt::Debug for Wanted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = self.place.get().is_some();
        write!(f, "Wanted({there}, {})", self.why)
    }
}

impl<T> Wanted<T> {
    /// `lines`: what is said of a refusal, and of the end of it.
    pub fn new(
        lines: (&'static str, &'static str),
        make: impl FnMut() -> Result<T, String> + 'static,
    ) -> Self {
        Self {
            place: Place::default(),
            make: Box::new(make),
            lines,
            why: UNTRIED.to_owned(),
            tried: Now::ZERO,
            wait: Duration::ZERO,
            refused: 0,
        }
    }

    /// It is there already.
    pub fn found(self, value: T) -> Self {
        // The place is new: nothing is in it.
        let _ = self.place.0.set(value);
        self
    }

    pub fn place(&self) -> Place<T> {
        self.place.clone()
    }

    /// It, or why there is none.
    pub fn get(&self) -> Result<&T, &str> {
        self.place.get().ok_or(&self.why)
    }

    /// Nobody has wanted it yet.
    pub fn is_untried(&self) -> bool {
        self.place.get().is_none() && self.wait.is_zero()
    }

    /// Trials that failed.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Makes it, unless it is there or was refused a moment ago. True when it came just now.
    pub fn want(&mut self, now: Now, asked: Asked) -> bool {
        let wait = match asked {
            Asked::ByChange => self.wait.min(SOON),
            Asked::ByTime => self.wait,
        };
        if self.place.get().is_some() || !self.wait.is_zero() && now.since(self.tried) < wait {
            return false;
        }
        match (self.make)() {
            Ok(value) => {
                let (_, again) = self.lines;
                if self.refused > 0 {
                    tracing::info!("{again} (after {} refusals)", self.refused);
                }
                self.place.0.set(value).is_ok()
            }
            Err(why) => {
                self.refused += 1;
                self.tried = now;
                self.wait = (self.wait * 2).clamp(SOON, LONGEST);
                let (refused, _) = self.lines;
                if self.why == why {
                    tracing::debug!("{refused}: {why}");
                } else {
                    tracing::warn!("{refused}: {why}");
                    self.why = why;
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use super::*;

    const LINES: (&str, &str) = ("none", "there again");

    type Says = Rc<RefCell<Result<u32, String>>>;

    /// A kernel that says what it is told to, and how often it was asked.
    fn kernel() -> (Wanted<u32>, Says, Rc<Cell<u32>>) {
        let says = Rc::new(RefCell::new(Err("no memory".to_owned())));
        let asked = Rc::new(Cell::new(0));
        let (s, a) = (Rc::clone(&says), Rc::clone(&asked));
        let wanted = Wanted::new(LINES, move || {
            a.set(a.get() + 1);
            s.borrow().clone()
        });
        (wanted, says, asked)
    }

    fn at(millis: u64) -> Now {
        Now((100_000 + millis) * 1_000_000)
    }

    #[test]
    fn nothing_is_loaded_that_nobody_wants() {
        let (mut wanted, says, asked) = kernel();
        *says.borrow_mut() = Ok(7);
        assert_eq!(wanted.get(), Err(UNTRIED));
        assert!(wanted.is_untried());
        assert_eq!(asked.get(), 0);
        let elsewhere = wanted.place();
        assert!(wanted.want(at(0), Asked::ByChange), "it came");
        assert!(!wanted.want(at(1), Asked::ByChange), "it was there");
        assert_eq!((wanted.get(), elsewhere.get()), (Ok(&7), Some(&7)));
        assert_eq!((asked.get(), wanted.refused()), (1, 0));
        assert!(!wanted.is_untried());
    }

    #[test]
    fn recovery_when_the_cause_is_gone() {
        let (mut wanted, says, _) = kernel();
        assert!(!wanted.want(at(0), Asked::ByChange));
        assert_eq!(wanted.get(), Err("no memory"));
        *says.borrow_mut() = Err("a policy".to_owned());
        assert!(!wanted.want(at(1_500), Asked::ByTime));
        assert_eq!((wanted.get(), wanted.refused()), (Err("a policy"), 2));
        *says.borrow_mut() = Ok(7);
        assert!(!wanted.want(at(2_000), Asked::ByTime), "too early");
        assert!(wanted.want(at(4_000), Asked::ByTime));
        assert_eq!((wanted.get(), wanted.refused()), (Ok(&7), 2));
    }

    #[test]
    fn a_kernel_that_goes_on_refusing_is_asked_ever_more_seldom() {
        let (mut wanted, _, asked) = kernel();
        let mut times = Vec::new();
        for second in 0..200 {
            let before = asked.get();
            wanted.want(at(second * 1_000), Asked::ByTime);
            if asked.get() > before {
                times.push(second);
            }
        }
        assert_eq!(times, [0, 1, 3, 7, 15, 31, 61, 91, 121, 151, 181]);
        assert_eq!(wanted.refused(), 11);
    }

    #[test]
    fn many_changes_at_once_are_one_trial() {
        let (mut wanted, _, asked) = kernel();
        for n in 0..1_000 {
            wanted.want(at(n), Asked::ByChange);
        }
        assert_eq!(asked.get(), 1);
        // A change need not wait as long as the clock does.
        for second in 1..=40 {
            wanted.want(at(second * 1_000), Asked::ByTime);
        }
        let before = asked.get();
        assert!(!wanted.want(at(42_000), Asked::ByTime));
        assert_eq!(asked.get(), before);
        wanted.want(at(42_000), Asked::ByChange);
        assert_eq!(asked.get(), before + 1);
    }
}
