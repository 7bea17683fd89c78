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
