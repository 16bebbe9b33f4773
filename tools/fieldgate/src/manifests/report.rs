//! What was done, or would be, file by file.

use std::fmt::Write;

use k3s_manifest_gen::changes::Change;
use k3s_manifest_gen::output::{Action, Plan, Step};

/// The most changes of one file that are listed.
const MOST: usize = 20;

/// What was done, or with `is_check` what would be.
pub(crate) fn report(plan: &Plan, namespace: &str, is_check: bool) -> String {
    let mut out = String::new();
    for step in &plan.steps {
        describe(&mut out, step, namespace);
    }
    let count =
        |what: fn(&Action) -> bool| plan.steps.iter().filter(|step| what(&step.action)).count();
    let changed = count(Action::is_change);
    let open = count(Action::needs_person);
    let would = if is_check { "would change" } else { "changed" };
    let summary = match (changed, open) {
        (0, 0) => "everything is as described".to_owned(),
        (changed, 0) => format!("{} {would}", files(changed)),
        (changed, open) => format!("{} {would}, {} left for you", files(changed), files(open)),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{summary}");
    out
}

fn files(count: usize) -> String {
    format!("{count} {}", if count == 1 { "file" } else { "files" })
}

fn describe(out: &mut String, step: &Step, namespace: &str) {
    let file = &step.file;
    let (word, changes): (&str, &[Change]) = match &step.action {
        Action::Create => ("create", &[]),
        Action::Update(changes) => ("update", changes),
        Action::Unchanged => ("same", &[]),
        Action::Edited(changes) => ("EDITED", changes),
        Action::Unreadable(_) => ("EDITED", &[]),
        Action::Foreign => ("FOREIGN", &[]),
        Action::Adopt(changes, _) => ("adopt", changes),
        Action::Keep { faults, .. } if !faults.is_empty() => ("WRONG", &[]),
        Action::Keep { .. } => ("yours", &[]),
        Action::Reset(changes) => ("reset", changes),
        Action::Remove => ("remove", &[]),
        Action::Stale { is_seed: true } => ("yours", &[]),
        Action::Stale { is_seed: false } => ("EDITED", &[]),
    };
    let _ = writeln!(out, "{word:8} {file}");
    for change in changes.iter().take(MOST) {
        let _ = writeln!(out, "           {change}");
    }
    if changes.len() > MOST {
        let _ = writeln!(out, "           and {} more", changes.len() - MOST);
    }
    for note in notes(step, namespace) {
        let _ = writeln!(out, "         {note}");
    }
}

fn notes(step: &Step, namespace: &str) -> Vec<String> {
    let file = &step.file;
    match &step.action {
        Action::Edited(changes) if changes.is_empty() => vec![
            "was edited by hand (comments or layout only), so it is left as it is. Comments belong into the override;".to_owned(),
            "run again with --adopt to write it anew without them".to_owned(),
        ],
        Action::Edited(_) => vec![format!(
            "was edited by hand, so it is left as it is: run again with --adopt to move this into {file}.override, or undo it"
        )],
        Action::Unreadable(problem) => vec![
            problem.to_string(),
            "was edited by hand so that it is no YAML any more, so it is left as it is: mend it, or remove the file to have it written anew".to_owned(),
        ],
        Action::Foreign => vec![
            "is not written by fieldgate, so it is left as it is: rename it, and run again".to_owned(),
        ],
        Action::Adopt(changes, _) if changes.is_empty() => {
            vec!["comments and layout are as written again".to_owned()]
        }
        Action::Adopt(_, into) => vec![format!("this is in {into} now")],
        Action::Keep { faults, .. } if !faults.is_empty() => faults
            .iter()
            .map(ToString::to_string)
            .chain(["Kubernetes would not take it so: mend it".to_owned()])
            .collect(),
        Action::Keep { differs: true, .. } => {
            let module = file.trim_end_matches("-configuration.yaml");
            vec![format!(
                "differs from the description's document; --reset {module} would take that over"
            )]
        }
        Action::Remove => gone(file, namespace),
        Action::Stale { is_seed: true } => vec![
            "its module is not described any more; the file is yours: remove it when you do not need it".to_owned(),
        ],
        Action::Stale { is_seed: false } => vec![
            "its module is not described any more, but it was edited by hand, so it is left as it is: remove it yourself".to_owned(),
        ],
        _ => Vec::new(),
    }
}

/// k3s leaves objects alone when their file goes.
fn gone(file: &str, namespace: &str) -> Vec<String> {
    let module = file.trim_end_matches(".yaml");
    vec![
        "its module is not described any more. What runs of it stays until somebody removes it:"
            .to_owned(),
        format!(
            "  kubectl -n {namespace} delete deployment,service,configmap,networkpolicy,serviceaccount,role,rolebinding,components.dapr.io,configurations.dapr.io,subscriptions.dapr.io,resiliencies.dapr.io -l fieldgate.io/module={module}"
        ),
        format!(
            "  and its data: kubectl -n {namespace} delete pvc -l fieldgate.io/module={module}"
        ),
    ]
}
