//! Which worlds are simulated: a setting is a point in a small grid, with a name to type.

use crate::storage::{MS, SEC, Time};

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Number of hosts, blind ones included (2 to 4).
    pub hosts: u8,
    /// The storage's clock ticks once a second instead of every 4 ms.
    pub coarse: bool,
    /// Agent clocks are off by up to days and jump.
    pub skew: bool,
    /// Spools are delivered hours late, after the view has converged.
    pub late: bool,
    /// Agents and the server crash, links are cut, leaders change, kernel queues overflow.
    pub crashes: bool,
}

impl Settings {
    /// All settings, the simple ones first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for hosts in 2..=4 {
            for bits in 0..16_u8 {
                let bit = |place: u8| bits & (1 << place) != 0;
                all.push(Self {
                    hosts,
                    coarse: bit(0),
                    skew: bit(1),
                    late: bit(2),
                    crashes: bit(3),
                });
            }
        }
        all
    }

    /// The name, as `3h-4ms-skew-late-crash`.
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = format!("{}h-{}", self.hosts, if self.coarse { "1s" } else { "4ms" });
        for (on, word) in [(self.skew, "-skew"), (self.late, "-late"), (self.crashes, "-crash")] {
            if on {
                name.push_str(word);
            }
        }
        name
    }

    /// The setting with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|settings| settings.name() == name)
    }

    pub(crate) const fn tick(&self) -> Time {
        if self.coarse { SEC } else { 4 * MS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_its_own_name() {
        for settings in Settings::all() {
            assert_eq!(Settings::parse(&settings.name()), Some(settings));
        }
        assert_eq!(Settings::all().len(), 48);
        assert_eq!(Settings::parse("5h"), None);
    }
}
