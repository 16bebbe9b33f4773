//! Asks on a terminal before something is erased.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result, bail};

/// Goes on only when the person types the word.
pub(crate) fn confirm(word: &str, question: &str) -> Result<()> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        bail!("nobody is there to be asked, and nothing was done; say --yes to go on without");
    }
    print!("{question} (type {word}): ");
    io::stdout().flush().context("the terminal")?;
    let mut line = String::new();
    stdin.read_line(&mut line).context("the terminal")?;
    if line.trim() != word {
        bail!("that is not {word}; nothing was done");
    }
    Ok(())
}
