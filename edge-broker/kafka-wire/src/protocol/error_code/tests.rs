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
fn names_and_numbers_equal_those_of_a_second_crate() {
    for (number, name, _) in TABLE {
        let Some(theirs) = kafka_protocol::error::ResponseError::try_from_code(*number) else {
            continue;
        };
        let theirs = format!("{theirs:?}").to_uppercase();
        assert_eq!(name.replace('_', ""), theirs, "{number}");
    }
}
