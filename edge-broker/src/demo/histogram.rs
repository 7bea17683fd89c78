//! Durations counted in buckets: any number of them in a few kilobytes, quantiles to 3 %.
//!
//! Pure. Fed by the devices, read by the picture and the report.

/// Below this every microsecond has its own bucket.
const EXACT_US: u64 = 64;
/// Buckets per doubling above that.
const STEPS: u64 = 32;

/// Durations in microseconds.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn add(&mut self, us: u64) {
        let at = bucket(us);
        if self.buckets.len() <= at {
            self.buckets.resize(at + 1, 0);
        }
        self.buckets[at] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    /// The duration that a share of `quantile` (0 to 1) does not exceed; 0 without any count.
    pub fn quantile_us(&self, quantile: f64) -> u64 {
        let wanted = ((self.count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_us(at).min(self.max_us);
            }
        }
        self.max_us
    }
}

fn bucket(us: u64) -> usize {
    if us < EXACT_US {
        return us as usize;
    }
    let doublings = u64::from(us.ilog2() - EXACT_US.ilog2());
    let within = (us >> (doublings + 1)) - STEPS;
    (EXACT_US + doublings * STEPS + within) as usize
}

/// The largest duration that falls into a bucket.
fn upper_us(at: usize) -> u64 {
    let at = at as u64;
    if at < EXACT_US {
        return at;
    }
    let (doublings, within) = ((at - EXACT_US) / STEPS, (at - EXACT_US) % STEPS);
    ((within + STEPS + 1) << (doublings + 1)) - 1
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, upper_us};

    #[test]
    fn quantiles_are_within_three_percent() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|us| histogram.add(us));
        for (quantile, exact) in [(0.5, 50_000.0), (0.99, 99_000.0), (0.001, 100.0)] {
            let found = histogram.quantile_us(quantile) as f64;
            assert!((found / exact - 1.0).abs() < 0.032, "{quantile}: {found}");
        }
        assert_eq!(histogram.quantile_us(1.0), 100_000);
    }

    #[test]
    fn every_duration_falls_into_a_bucket_that_reaches_it() {
        for us in (0..5_000).chain([u64::from(u32::MAX), 1 << 50]) {
            assert!(upper_us(bucket(us)) >= us, "{us}");
            assert!(bucket(us) == 0 || upper_us(bucket(us) - 1) < us, "{us}");
        }
    }

    #[test]
    fn nothing_counted_has_no_quantile() {
        assert_eq!(Histogram::default().quantile_us(0.99), 0);
    }
}
