//! Pauses double up to a minute and end with the first success.

use super::Pause;

#[test]
fn each_failure_doubles_the_pause_and_a_success_ends_it() {
    let mut pause = Pause::default();
    assert!(pause.is_over(0) && !pause.is_on());
    let mut now_ms = 10;
    let waits: Vec<u64> = (0..8)
        .map(|_| {
            let wait_ms = pause.failed(now_ms);
            assert!(pause.is_on() && !pause.is_over(now_ms + wait_ms - 1));
            now_ms += wait_ms;
            assert!(pause.is_over(now_ms));
            wait_ms
        })
        .collect();
    assert_eq!(
        waits,
        [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]
    );
    pause.worked();
    assert!(pause.is_over(0) && !pause.is_on());
    assert_eq!(pause.failed(0), 1000);
}
