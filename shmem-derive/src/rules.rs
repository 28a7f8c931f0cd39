//! RULES.md, held against the code: every message it quotes is one that the derive, or what it writes, can give.

/// Where messages come from.
const SOURCES: &[&str] = &[
    include_str!("attributes.rs"),
    include_str!("validate/mod.rs"),
    include_str!("validate/types.rs"),
    include_str!("expand/traits.rs"),
    include_str!("../../shmem-core/src/derive_support/mod.rs"),
    include_str!("../../shmem-core/src/derive_support/enums.rs"),
];

/// The code spans of the last column of each table row: what the messages say.
fn quoted(rules: &str) -> Vec<&str> {
    let rows = rules.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| rule"));
    rows.filter_map(|line| line.trim_end_matches(" |").rsplit(" | ").next())
        .flat_map(|column| column.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_message_in_the_rules_is_given() {
    let quoted = quoted(include_str!("../RULES.md"));
    assert!(quoted.len() > 50, "{} messages", quoted.len());
    // Of attributes that are quoted as such, not as messages.
    let messages = quoted.iter().filter(|text| !text.starts_with("#["));
    for message in messages {
        let message = message.replace('\\', "");
        let found = SOURCES.iter().any(|source| source.replace("\\\n", "").contains(&*message));
        assert!(found, "no message says `{message}`");
    }
}
