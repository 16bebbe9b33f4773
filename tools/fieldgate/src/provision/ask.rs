//! Asks on a terminal for what a device needs most, and makes a document of the answers.

use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// Who is asked.
pub(super) trait Person {
    /// One line, without its end; an end of input is an error.
    fn answer(&mut self, question: &str, is_secret: bool) -> Result<String>;
    fn tell(&mut self, line: &str);
}

/// The terminal of this process.
pub(super) struct Terminal;

impl Person for Terminal {
    fn answer(&mut self, question: &str, is_secret: bool) -> Result<String> {
        print!("{question}: ");
        io::stdout().flush().context("the terminal")?;
        let _silence = if is_secret { Silence::begin() } else { None };
        let mut line = String::new();
        let count = io::stdin()
            .lock()
            .read_line(&mut line)
            .context("the terminal")?;
        if is_secret {
            println!();
        }
        if count == 0 {
            bail!("the input ended; nothing was done");
        }
        Ok(line.trim().to_owned())
    }

    fn tell(&mut self, line: &str) {
        println!("{line}");
    }
}

/// While it lives, what is typed is not shown.
struct Silence(Termios);

impl Silence {
    fn begin() -> Option<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(stdin.as_fd()).ok()?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &self.0);
    }
}

/// The document of the answers. Each part is asked for again until it holds.
pub(super) fn document(person: &mut dyn Person) -> Result<String> {
    let mut document = String::new();
    part(person, &mut document, |person| {
        let name = person.answer("Name of the device, such as gate-7", false)?;
        Ok(format!("name: {}\n", text(&name)))
    })?;
    part(person, &mut document, |person| {
        let interface = person.answer(
            "Network interface, such as enp1s0 (empty: DHCP on all)",
            false,
        )?;
        if interface.is_empty() {
            return Ok(String::new());
        }
        let address = person.answer("Its address, such as 192.168.1.20/24 (empty: DHCP)", false)?;
        let mut written = format!("network:\n  interfaces:\n  - name: {}\n", text(&interface));
        if address.is_empty() {
            return Ok(written);
        }
        written.push_str(&format!("    addresses: [{}]\n", text(&address)));
        for (key, question) in [
            ("gateway", "Its gateway (empty: none)"),
            ("dns", "Its DNS server (empty: none)"),
        ] {
            let answer = person.answer(question, false)?;
            match key {
                _ if answer.is_empty() => {}
                "dns" => written.push_str(&format!("    dns: [{}]\n", text(&answer))),
                key => written.push_str(&format!("    {key}: {}\n", text(&answer))),
            }
        }
        Ok(written)
    })?;
    part(person, &mut document, |person| {
        let string = person.answer(
            "Connection string of the device at IoT Hub, not shown (empty: none)",
            true,
        )?;
        if string.is_empty() {
            return Ok(String::new());
        }
        Ok(format!("hub:\n  connection_string: {}\n", text(&string)))
    })?;
    Ok(document)
}

/// Asks for one part until the document holds with it.
fn part(
    person: &mut dyn Person,
    document: &mut String,
    ask: impl Fn(&mut dyn Person) -> Result<String>,
) -> Result<()> {
    loop {
        let more = ask(person)?;
        let with = format!("{document}{more}");
        match provisioning::load_text("answer", &with, std::path::Path::new("/"), None) {
            Ok(_) => {
                *document = with;
                return Ok(());
            }
            Err(error) => {
                for problem in &error.problems {
                    person.tell(&format!("{}: {}", problem.path, problem.message));
                }
            }
        }
    }
}

/// An answer as a text of YAML, whatever is in it: JSON is YAML.
fn text(answer: &str) -> String {
    serde_json::Value::from(answer).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Script {
        answers: Vec<&'static str>,
        told: Vec<String>,
    }

    impl Person for Script {
        fn answer(&mut self, _: &str, _: bool) -> Result<String> {
            if self.answers.is_empty() {
                bail!("the input ended; nothing was done");
            }
            Ok(self.answers.remove(0).to_owned())
        }

        fn tell(&mut self, line: &str) {
            self.told.push(line.to_owned());
        }
    }

    fn asked(answers: &[&'static str]) -> (Result<String>, Vec<String>) {
        let mut script = Script {
            answers: answers.to_vec(),
            told: Vec::new(),
        };
        (document(&mut script), script.told)
    }

    #[test]
    fn a_wrong_answer_is_asked_for_again() {
        let (document, told) = asked(&[
            "Gate 7",
            "gate-7",
            "eth0",
            "192.168.1.20",
            "",
            "",
            "eth0",
            "192.168.1.20/24",
            "192.168.1.1",
            "",
            "hunter2",
            "HostName=h.example;DeviceId=d;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg==",
        ]);
        assert_eq!(
            document.unwrap(),
            "name: \"gate-7\"\nnetwork:\n  interfaces:\n  - name: \"eth0\"\n    addresses: [\"192.168.1.20/24\"]\n    gateway: \"192.168.1.1\"\nhub:\n  connection_string: \"HostName=h.example;DeviceId=d;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg==\"\n"
        );
        assert_eq!(told.len(), 3, "{told:#?}");
        assert!(
            told.iter().all(|line| !line.contains("hunter2")),
            "{told:#?}"
        );
    }

    #[test]
    fn the_least_is_a_name_and_an_end_does_nothing() {
        assert_eq!(asked(&["gate-7", "", ""]).0.unwrap(), "name: \"gate-7\"\n");
        let error = asked(&["gate-7"]).0.unwrap_err();
        assert!(error.to_string().contains("nothing was done"), "{error}");
    }
}
