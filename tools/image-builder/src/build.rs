//! `image-builder build`: programs, archives, bills of material, list.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use oci_image::Architecture;

use crate::architecture::Selection;
use crate::archive;
use crate::compile;
use crate::description::{Description, ImageDescription};
use crate::listing;
use crate::sbom;
use crate::workspace::Workspace;

/// Builds images and writes them to OUTPUT/<architecture>/
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Processor of the device
    #[arg(long, value_enum, default_value_t = Selection::of_this_machine())]
    arch: Selection,
    /// Only these images (names in the description)
    #[arg(long, num_args = 1.., value_name = "NAME")]
    only: Vec<String>,
    /// Where the archives go; default: `images` in Cargo's target folder
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// The description of the images; default: image/images/images.yaml of the repository
    #[arg(long, value_name = "FILE")]
    description: Option<PathBuf>,
}

pub(crate) fn run(args: &BuildArgs) -> Result<()> {
    let path = args
        .description
        .clone()
        .unwrap_or_else(|| args.root.join("image/images/images.yaml"));
    let description = Description::load(&path)?;
    let selected = description.select(&args.only)?;
    let workspace = Workspace::load(&args.root)?;
    let output = args
        .output
        .clone()
        .unwrap_or_else(|| workspace.target.join("images"));
    for architecture in args.arch.architectures() {
        let job = Job {
            description: &description,
            workspace: &workspace,
            architecture: *architecture,
            folder: output.join(architecture.name()),
            created: compile::source_date_epoch()?,
        };
        fs::create_dir_all(&job.folder).with_context(|| job.folder.display().to_string())?;
        for image in &selected {
            job.build(image)
                .with_context(|| format!("image {} for {architecture}", image.name))?;
        }
        let stems = description
            .images
            .iter()
            .map(|image| archive::stem(image, *architecture));
        for line in listing::write(&job.folder, stems)? {
            println!("{line}");
        }
    }
    Ok(())
}

struct Job<'a> {
    description: &'a Description,
    workspace: &'a Workspace,
    architecture: Architecture,
    folder: PathBuf,
    /// seconds since 1970
    created: Option<u64>,
}

impl Job<'_> {
    fn build(&self, image: &ImageDescription) -> Result<()> {
        let together = self.description.rust_programs();
        let programs: Vec<PathBuf> = image
            .programs
            .iter()
            .map(|program| compile::program(self.workspace, program, &together, self.architecture))
            .collect::<Result<_>>()?;
        let sealed = archive::seal(
            self.description,
            image,
            &programs,
            self.architecture,
            self.created,
        )?;
        let stem = archive::stem(image, self.architecture);
        let stored = archive::store(&sealed, &self.folder.join(format!("{stem}.tar.zst")))?;
        let bill = sbom::of_image(
            self.workspace,
            image,
            &together,
            &programs,
            &stored,
            self.created,
        )?;
        let path = self.folder.join(format!("{stem}.cdx.json"));
        fs::write(&path, bill).with_context(|| path.display().to_string())
    }
}
