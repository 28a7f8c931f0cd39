//! What compiles and what does not, one file a rule. `TRYBUILD=overwrite` writes the expected messages anew.

#[test]
fn compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*.rs");
}
