//! The shares fit the sum, and what is shed comes in its order.
#![allow(clippy::unwrap_used)]

use super::*;

const MIB: usize = 1 << 20;

#[test]
fn the_shares_of_every_sum_that_is_taken_fit_it() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..10_000 {
        let mut some = || rng.usize(..200 * MIB);
        let (sum, caches, queue, window) = (some(), some() / 8, some() / 8, some() / 8);
        match MemoryShares::of(sum, caches, queue, window) {
            Ok(shares) => {
                let rest = shares.recent + shares.forwarder + shares.doors;
                assert_eq!(caches + queue + window + rest, sum);
                assert!(shares.recent > 0 && shares.forwarder > 0);
                assert!(shares.doors >= shares.recent);
            }
            Err(shortage) => {
                assert!(sum < shortage.bytes_min);
                MemoryShares::of(shortage.bytes_min, caches, queue, window).unwrap();
            }
        }
    }
}

fn memory() -> Memory {
    let shares = MemoryShares::of(100 * MIB, 24 * MIB, 16 * MIB, 8 * MIB).unwrap();
    assert_eq!(shares.doors, 36 * MIB);
    Memory::new(100 * MIB, &shares)
}

#[test]
fn shedding_follows_its_order_as_the_sum_grows() {
    let memory = memory();
    let mut seen = Vec::new();
    for held in 0..=76 {
        // Everybody holds a part of it: the doors are never full before the others.
        memory.queue.set(held * MIB / 2);
        memory.doors.set(held * MIB / 2);
        let pressure = memory.pressure();
        if seen.last() != Some(&pressure) {
            seen.push(pressure);
        }
    }
    use Pressure::{CloseSlow, Low, RefuseClients, ShedQos0};
    assert_eq!(seen, [Low, ShedQos0, RefuseClients, CloseSlow]);
}

#[test]
fn doors_that_filled_their_share_shed_although_others_hold_nothing() {
    let memory = memory();
    memory.doors.add(28 * MIB);
    assert_eq!(memory.pressure(), Pressure::Low);
    memory.doors.add(8 * MIB);
    assert_eq!(memory.pressure(), Pressure::CloseSlow);
    memory.doors.sub(36 * MIB);
    assert_eq!(memory.pressure(), Pressure::Low);
}
