//! `fieldgate reset`: the factory reset.

mod button;
mod device;
mod undelivered;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{ArgGroup, Args};
use provisioning::{
    Part, apply_reset, default_preserve, kept_files, last_reset, pending_reset, request_reset,
};
use time::OffsetDateTime;

use crate::confirm::confirm;
use crate::install::say;
use button::Button;
use device::Device;

/// Resets this device to what came out of the factory: everything on its data partition goes but the parts that are preserved
///
/// Asks, and restarts the device, which is reset at its start. Exit status: 0 asked for, or carried out, or nothing to do; 1 anything else.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").multiple(false)))]
pub(crate) struct ResetArgs {
    /// What outlives it: any of network, name, hub, modules, ssh, or `none` [default: what the provisioning file says]
    #[arg(long, value_name = "PART,…", value_parser = preserve)]
    preserve: Option<Preserve>,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Do not restart; it is carried out at the next start
    #[arg(long)]
    no_reboot: bool,

    /// Why, for the record of the last reset
    #[arg(long, value_name = "TEXT", default_value = "command", value_parser = reason)]
    reason: String,

    /// Carry out a reset that was asked for; at the device's start, before anything uses the data partition
    #[arg(long, group = "what", conflicts_with_all = ["preserve", "yes", "no_reboot"])]
    apply: bool,

    /// Show whether one is asked for, and what the last one was
    #[arg(long, group = "what")]
    status: bool,

    /// Watch a button, and reset without asking when it is held: gpiochip0:17 is line 17 of that chip, :low after it says that pressed is low
    #[arg(
        long,
        value_name = "CHIP:LINE[:low]",
        group = "what",
        requires = "hold"
    )]
    button: Option<Button>,

    /// How long the button must be held
    #[arg(long, value_name = "TIME", value_parser = crate::duration::parse, requires = "button")]
    hold: Option<Duration>,

    /// The device's file tree, if it is not this machine's; nothing is restarted
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// What `--preserve` says.
#[derive(Debug, Clone)]
struct Preserve(Vec<Part>);

fn preserve(text: &str) -> Result<Preserve, String> {
    if text == "none" {
        return Ok(Preserve(Vec::new()));
    }
    let part = |word: &str| {
        Part::named(word.trim())
            .ok_or_else(|| format!("{word:?} is none of network, name, hub, modules, ssh, none"))
    };
    text.split(',')
        .map(part)
        .collect::<Result<_, _>>()
        .map(Preserve)
}

fn reason(text: &str) -> Result<String, String> {
    if text.chars().count() > 200 || text.contains(char::is_control) {
        return Err("give one line of at most 200 characters".to_owned());
    }
    Ok(text.to_owned())
}

pub(crate) fn run(args: &ResetArgs) -> Result<ExitCode> {
    let device = Device::new(&args.root);
    if args.status {
        return status(&args.root).map(|()| ExitCode::SUCCESS);
    }
    if args.apply {
        return apply(&device, &args.root).map(|()| ExitCode::SUCCESS);
    }
    device.check()?;
    if let (Some(button), Some(hold)) = (&args.button, args.hold) {
        button.wait(hold)?;
        say(&format!("{button} was held for {} s", hold.as_secs_f32()));
        return ask_for(args, &device, &format!("button {button}"));
    }
    let preserve = wanted(args)?;
    let name = device.name()?;
    for line in device.goes(&preserve)? {
        say(&line);
    }
    if !args.yes {
        confirm(&name, &format!("Reset {name} to the factory's state?"))?;
    }
    ask_for(args, &device, &args.reason)
}

fn wanted(args: &ResetArgs) -> Result<Vec<Part>> {
    Ok(match &args.preserve {
        Some(Preserve(parts)) => parts.clone(),
        None => default_preserve(&args.root)?,
    })
}

fn ask_for(args: &ResetArgs, device: &Device, reason: &str) -> Result<ExitCode> {
    request_reset(
        &args.root,
        &wanted(args)?,
        reason,
        OffsetDateTime::now_utc(),
    )?;
    if args.no_reboot || !device.is_this_machine() {
        say("the reset is asked for; it is carried out when the device starts next");
        return Ok(ExitCode::SUCCESS);
    }
    say("the device restarts and is reset at its start");
    device.restart()?;
    Ok(ExitCode::SUCCESS)
}

fn apply(device: &Device, root: &Path) -> Result<()> {
    let Some(request) = pending_reset(root)? else {
        say("no factory reset is asked for");
        return Ok(());
    };
    device.check_unused()?;
    say(&format!(
        "factory reset, asked for {} ({}); stays: {}; this may take minutes",
        request.requested,
        request.reason,
        words(&request.preserve)
    ));
    let done = apply_reset(root, OffsetDateTime::now_utc())?
        .context("the request for the reset is gone, although nothing else should run now")?;
    for path in &done.kept {
        say(&format!("kept {}", path.display()));
    }
    say("the factory reset is complete");
    Ok(())
}

fn status(root: &Path) -> Result<()> {
    match pending_reset(root)? {
        Some(request) if request.is_begun() => say(&format!(
            "a reset has begun, asked for {} ({}); restart the device to complete it",
            request.requested, request.reason
        )),
        Some(request) => say(&format!(
            "a reset is asked for since {} ({}); stays: {}; it is carried out when the device starts next",
            request.requested,
            request.reason,
            words(&request.preserve)
        )),
        None => say("no reset is asked for"),
    }
    match last_reset(root)? {
        Some(last) => {
            say(&format!(
                "last reset {} ({}), asked for {}, by version {}; stayed: {}",
                last.completed,
                last.reason,
                last.requested,
                last.version,
                words(&last.preserve)
            ));
            for path in &last.kept {
                say(&format!("kept {}", path.display()));
            }
        }
        None => say("this device was never reset"),
    }
    Ok(())
}

/// `network and name`, or `nothing`.
fn words(parts: &[Part]) -> String {
    let words: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
    match words.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, first)) => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_in_a_list() {
        let parts = |text: &str| preserve(text).map(|preserve| words(&preserve.0));
        assert_eq!(parts("none").unwrap(), "nothing");
        assert_eq!(parts("hub").unwrap(), "hub");
        assert_eq!(parts("network, name,ssh").unwrap(), "network, name and ssh");
        for wrong in ["", "name,", "all", "name,none"] {
            let error = parts(wrong).unwrap_err();
            assert!(error.contains("none of network"), "{error}");
        }
        assert!(reason("two\nlines").is_err());
    }
}
