//! The table against itself and against a second library.

use kafka_protocol::error::ResponseError;

use super::*;

#[test]
fn the_table_is_sorted_so_that_every_code_is_found() {
    assert!(TABLE.is_sorted_by_key(|row| row.0));
    for (number, name, retriable) in TABLE {
        let code = ErrorCode(*number);
        assert_eq!((code.name(), code.retriable()), (*name, *retriable));
    }
}

#[test]
fn the_table_equals_that_of_a_second_crate() {
    for (number, name, retriable) in TABLE {
        let theirs = ResponseError::try_from_code(*number).expect("they know it too");
        assert_eq!(name.replace('_', ""), format!("{theirs:?}").to_uppercase());
        // Java's client retries while the previous transaction is still completing.
        let theirs_retriable = theirs.is_retriable() || *name == "CONCURRENT_TRANSACTIONS";
        assert_eq!(*retriable, theirs_retriable, "{name}");
    }
}

#[test]
fn a_code_of_a_newer_kafka_is_kept_and_not_retried() {
    let code = ErrorCode::from(9999);
    assert_eq!(code.to_string(), "UNKNOWN_ERROR_CODE (9999)");
    assert!(code.is_error() && !code.retriable());
    assert_eq!(ErrorCode::NONE.to_string(), "NONE (0)");
}
