//! The command line of Fieldgate.

fn main() {}
