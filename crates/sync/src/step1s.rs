//! How often a connection may start to sync a document: an answer may be as large as the document.

use crate::Settings;

/// What is left of the SyncStep1 that may be sent for one document: [`Settings::step1_burst`] at once, and one more after
/// each [`Settings::step1_every_ms`]. The session keeps one for each attachment; who can make attachments at will, as
/// Hocuspocus clients do, needs another for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step1s {
    left: u32,
    at_ms: u64,
}

impl Step1s {
    /// The whole allowance.
    pub fn full(settings: &Settings, now_ms: u64) -> Self {
        Self { left: settings.step1_burst, at_ms: now_ms }
    }

    /// Says whether it is whole again: there is nothing to remember then.
    pub fn is_full(&self, settings: &Settings, now_ms: u64) -> bool {
        let mut earned = *self;
        earned.earn(settings, now_ms);
        earned.left == settings.step1_burst
    }

    /// Takes one, if one is left.
    pub fn take(&mut self, settings: &Settings, now_ms: u64) -> bool {
        self.earn(settings, now_ms);
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }

    fn earn(&mut self, settings: &Settings, now_ms: u64) {
        let every = settings.step1_every_ms.max(1);
        let earned = now_ms.saturating_sub(self.at_ms) / every;
        self.at_ms += earned * every;
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(earned).min(settings.step1_burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_earned_back_one_by_one() {
        let settings = Settings { step1_burst: 3, step1_every_ms: 100, ..Settings::default() };
        let mut step1s = Step1s::full(&settings, 0);
        assert!(step1s.is_full(&settings, 0));
        let taken = [0, 0, 0, 99, 100, 100, 250].map(|now_ms| step1s.take(&settings, now_ms));
        assert_eq!(taken, [true, true, true, false, true, false, true]);
        assert!(!step1s.is_full(&settings, 499));
        assert!(step1s.is_full(&settings, 500));
    }
}
