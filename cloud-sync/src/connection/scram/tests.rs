//! SCRAM against the example of RFC 7677 §3, and its refusals.
#![allow(clippy::unwrap_used)]

use super::{super::base64, Hash, start};

const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const VERDICT: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn nonce() -> Vec<u8> {
    base64::decode("rOprNGfwEbeRWgbNEkqO").unwrap()
}

#[test]
fn the_example_of_the_standard_comes_out() {
    let (started, first) = start(Hash::Sha256, "user", "pencil", &nonce());
    assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let (proven, last) = started.prove(CHALLENGE).unwrap();
    assert_eq!(
        last,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    proven.check(VERDICT).unwrap();
}

#[test]
fn a_server_that_does_not_know_the_password_is_refused() {
    let (started, _) = start(Hash::Sha256, "user", "pencil", &nonce());
    let (proven, _) = started.prove(CHALLENGE).unwrap();
    let forged = VERDICT.replace("v=6r", "v=7r");
    assert!(
        proven
            .check(&forged)
            .unwrap_err()
            .contains("may not be your cluster")
    );
}

#[test]
fn what_the_server_refuses_is_said_in_its_words() {
    let (started, _) = start(Hash::Sha512, "user", "wrong", &nonce());
    let (proven, _) = started.prove(CHALLENGE).unwrap();
    assert_eq!(
        proven.check("e=invalid-proof").unwrap_err(),
        "server says: invalid-proof"
    );
}

#[test]
fn a_foreign_nonce_few_iterations_and_too_many_are_refused() {
    for bad in [
        "r=somebodyelse,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=100",
        "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
        "r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096",
        "",
    ] {
        let (started, _) = start(Hash::Sha256, "user", "pencil", &nonce());
        assert!(started.prove(bad).is_err(), "{bad}");
    }
}

#[test]
fn commas_and_equals_signs_in_a_name_are_escaped() {
    let (_, first) = start(Hash::Sha256, "a=b,c", "", &nonce());
    assert!(first.starts_with("n,,n=a=3Db=2Cc,r="));
}

#[test]
fn base64_is_that_of_the_standard() {
    for (plain, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(base64::encode(plain.as_bytes()), text);
        assert_eq!(base64::decode(text).unwrap(), plain.as_bytes());
    }
    for bad in ["Zg", "Zg=", "Z===", "Z!==", "===="] {
        assert_eq!(base64::decode(bad), None, "{bad}");
    }
}
