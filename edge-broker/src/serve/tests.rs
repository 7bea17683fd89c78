//! What `serve` says at its start.

use super::*;

#[test]
fn a_lost_identity_is_said_and_a_known_one_is_not() {
    let opened = OpenReport {
        store_id: 7,
        ..OpenReport::default()
    };
    assert_eq!(new_identity(&opened), None);
    let renewed = OpenReport {
        previous_store_id: Some(0),
        ..opened.clone()
    };
    let said = new_identity(&renewed).unwrap_or_default();
    let begin = "identity was missing or damaged: node is aaaaaaaaaaaao from now on";
    assert!(said.starts_with(begin), "{said}");
    let lost = OpenReport {
        previous_store_id: Some(1),
        ..opened
    };
    let said = new_identity(&lost).unwrap_or_default();
    assert!(said.starts_with("records were lost"), "{said}");
}
