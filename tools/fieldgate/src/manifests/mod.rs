//! `fieldgate manifests`: from the description of an appliance to files that Kubernetes applies.

mod report;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use k3s_manifest_gen::output::{Options, plan};
use k3s_manifest_gen::{Appliance, description, new_module};

use crate::whole_file;

/// Writes the Kubernetes manifests of an appliance
///
/// One file per module, to be read and edited by people. A change of a generated file belongs into FILE.override next to it; an edit inside
/// a generated file is reported and never overwritten. MODULE-configuration.yaml follows the description until you edit it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ManifestsArgs {
    #[command(subcommand)]
    command: Option<ManifestsCommand>,
    /// The description of the appliance
    #[arg(long, value_name = "FILE", default_value = "appliance.yaml")]
    appliance: PathBuf,
    /// The directory of the manifests; on a device with k3s /var/lib/rancher/k3s/server/manifests
    #[arg(long, value_name = "DIR", required_unless_present = "print_schema")]
    output: Option<PathBuf>,
    /// Writes nothing; exit status 1 when anything would change or was edited
    #[arg(long)]
    check: bool,
    /// Moves edits of generated files into their overrides
    #[arg(long)]
    adopt: bool,
    /// Writes the configuration file of this module anew from the description's document
    #[arg(long, value_name = "MODULE")]
    reset: Vec<String>,
    /// Prints the JSON Schema of the description and ends
    #[arg(long)]
    print_schema: bool,
}

#[derive(Debug, Subcommand)]
enum ManifestsCommand {
    /// Prints the description's entry for a module of your own, in any language, and what its program has to do
    NewModule {
        /// The module's name
        name: String,
        /// The description that gets the entry; without it, the entry is printed
        #[arg(long, value_name = "FILE")]
        appliance: Option<PathBuf>,
    },
}

pub(crate) fn run(args: ManifestsArgs) -> Result<ExitCode> {
    match args.command {
        Some(ManifestsCommand::NewModule { name, appliance }) => {
            write_new_module(&name, appliance.as_deref())?;
            Ok(ExitCode::SUCCESS)
        }
        None if args.print_schema => {
            let schema = description::description_schema()?;
            println!("{}", serde_json::to_string_pretty(&schema)?);
            Ok(ExitCode::SUCCESS)
        }
        None => write_manifests(&args),
    }
}

fn write_manifests(args: &ManifestsArgs) -> Result<ExitCode> {
    let Some(output) = &args.output else {
        bail!("give the directory of the manifests with --output");
    };
    let (appliance, documents) = Appliance::load(&args.appliance)?;
    let description = args
        .appliance
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let plan = plan(
        &appliance,
        &documents,
        Options {
            directory: output,
            description: &description,
            adopt: args.adopt,
            reset: &args.reset,
        },
    )?;
    if !args.check {
        plan.write()?;
    }
    print!(
        "{}",
        report::report(&plan, &appliance.namespace, args.check)
    );
    let is_failure = plan.needs_person() || (args.check && plan.has_changes());
    Ok(if is_failure {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn write_new_module(name: &str, appliance: Option<&Path>) -> Result<()> {
    let Some(file) = appliance else {
        println!("# Stands under `modules:` in the description of the appliance.");
        print!("{}", new_module::entry(name)?);
        eprint!("\n{}", new_module::duties());
        return Ok(());
    };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{}: cannot be read", file.display()))?;
    let extended = new_module::append(&file.display().to_string(), &text, name)?;
    let mode = std::fs::metadata(file)
        .with_context(|| format!("{}: cannot be read", file.display()))?
        .permissions()
        .mode();
    whole_file::write(file, extended.as_bytes(), mode & 0o7777)?;
    println!(
        "{}: module {name} is in it; adapt its image, topics and limits",
        file.display()
    );
    eprint!("\n{}", new_module::duties());
    Ok(())
}
