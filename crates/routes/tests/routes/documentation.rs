//! The examples of docs/reference/routes.md are documents that hold.

use crate::document;

#[test]
fn every_example_is_valid() {
    let text = include_str!("../../../../docs/reference/routes.md");
    let examples: Vec<&str> = text
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(example, _)| example)
        .filter(|example| example.starts_with("routes:"))
        .collect();
    assert!(examples.len() >= 5, "{} examples", examples.len());
    for example in examples {
        document::load(example).unwrap_or_else(|problems| panic!("{example}\n{problems:#?}"));
    }
}
