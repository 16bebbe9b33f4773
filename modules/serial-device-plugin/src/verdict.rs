//! Whether what a container was given is still its port. No I/O.

use std::path::Path;

use crate::given::{Given, What};
use crate::plug::{DeviceNumber, Node, NodeKind, Plug};
use crate::plug_watch::PortStates;

/// What is to be done about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It has its port, or a device that is dead until the port is back.
    Keep,
    /// It has another device than the port is now, and a restart gives it the right one. The reason follows "because".
    Restart(String),
    /// It has the wrong thing, and a restart repeats that: only a new pod is asked what it is to be given.
    NewPod(String),
}

/// Judges one port of one container, made at `created_at`; both times in nanoseconds since 1970.
pub fn judge(given: &Given, created_at: i128, now: i128, states: &PortStates) -> Verdict {
    let Some(state) = states.get(&given.port) else {
        // Taken out of the document: its pod is, too, or goes on with what it has.
        return Verdict::Keep;
    };
    if given.host_path != state.path {
        return Verdict::NewPod(format!(
            "it was made for {}, the port is {} now",
            given.host_path.display(),
            state.path.display()
        ));
    }
    match (&state.plug, &given.what) {
        (Plug::Absent(_), What::Mount(_)) => Verdict::Keep,
        (Plug::Absent(_), What::Device(number)) => taken(given, *number, states),
        (Plug::Plugged(node), What::Device(number)) => device(node, *number),
        (Plug::Plugged(node), What::Mount(source)) => mount(node, source, created_at, now),
    }
}

/// The port is away; its numbers may already be those of another one.
fn taken(given: &Given, number: DeviceNumber, states: &PortStates) -> Verdict {
    let other = states.iter().find(|(name, state)| {
        **name != given.port
            && matches!(&state.plug, Plug::Plugged(node) if node.kind == NodeKind::Device && node.number == number)
    });
    match other {
        Some((name, _)) => Verdict::Restart(format!(
            "its port is unplugged, and its device {number} is the port {name} now"
        )),
        None => Verdict::Keep,
    }
}

fn device(node: &Node, number: DeviceNumber) -> Verdict {
    match node.kind {
        NodeKind::Terminal { .. } => Verdict::NewPod(
            "it was given a device node, and the port is a pseudo-terminal now".to_owned(),
        ),
        NodeKind::Device if node.number == number => Verdict::Keep,
        NodeKind::Device => Verdict::Restart(format!(
            "it was given the device {number}, and the port is {} now",
            node.number
        )),
    }
}

fn mount(node: &Node, source: &Path, created_at: i128, now: i128) -> Verdict {
    match node.kind {
        NodeKind::Device => Verdict::NewPod(
            "it was given a pseudo-terminal, and the port is a device now".to_owned(),
        ),
        NodeKind::Terminal { .. } if node.path != source => Verdict::Restart(format!(
            "it was given {}, and the port is {} now",
            source.display(),
            node.path.display()
        )),
        // A clock that was set back puts terminals into the future: then only the paths count.
        NodeKind::Terminal { changed } if changed <= now && created_at < changed => {
            Verdict::Restart(format!(
                "{} was made anew after the container was",
                source.display()
            ))
        }
        NodeKind::Terminal { .. } => Verdict::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plug::Absence;
    use crate::plug_watch::PortState;

    const PATH: &str = "/dev/serial/by-id/usb-x";

    fn number(minor: u32) -> DeviceNumber {
        DeviceNumber { major: 188, minor }
    }

    fn usb(minor: u32) -> Plug {
        Plug::Plugged(Node {
            path: format!("/dev/ttyUSB{minor}").into(),
            number: number(minor),
            kind: NodeKind::Device,
        })
    }

    fn terminal(index: u32, changed: i128) -> Plug {
        Plug::Plugged(Node {
            path: format!("/dev/pts/{index}").into(),
            number: DeviceNumber {
                major: 136,
                minor: index,
            },
            kind: NodeKind::Terminal { changed },
        })
    }

    fn states<const N: usize>(ports: [(&str, &str, Plug); N]) -> PortStates {
        ports
            .into_iter()
            .map(|(name, path, plug)| {
                let path = path.into();
                (name.to_owned(), PortState { path, plug })
            })
            .collect()
    }

    fn verdict(what: What, states: &PortStates) -> Verdict {
        let given = Given {
            port: "line-1".to_owned(),
            host_path: PATH.into(),
            what,
        };
        judge(&given, 100, 1000, states)
    }

    fn with(plug: Plug) -> PortStates {
        states([("line-1", PATH, plug)])
    }

    fn restarts(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Restart(_))
    }

    #[test]
    fn a_device_of_the_same_numbers_is_kept_and_of_others_not() {
        let has = || What::Device(number(0));
        assert_eq!(verdict(has(), &with(usb(0))), Verdict::Keep);
        assert!(restarts(&verdict(has(), &with(usb(1)))));
        let away = with(Plug::Absent(Absence::Missing));
        assert_eq!(verdict(has(), &away), Verdict::Keep);
    }

    #[test]
    fn numbers_that_another_port_took_are_not_kept() {
        let away = Plug::Absent(Absence::Missing);
        let other = states([("line-1", PATH, away), ("line-2", "/dev/b", usb(0))]);
        let verdict = verdict(What::Device(number(0)), &other);
        assert!(matches!(&verdict, Verdict::Restart(reason) if reason.contains("line-2")));
    }

    #[test]
    fn a_terminal_counts_by_path_and_age() {
        let has = || What::Mount("/dev/pts/4".into());
        assert_eq!(verdict(has(), &with(terminal(4, 99))), Verdict::Keep);
        assert!(restarts(&verdict(has(), &with(terminal(5, 99)))));
        assert!(restarts(&verdict(has(), &with(terminal(4, 101)))));
        assert_eq!(verdict(has(), &with(terminal(4, 1001))), Verdict::Keep);
        let away = with(Plug::Absent(Absence::Missing));
        assert_eq!(verdict(has(), &away), Verdict::Keep);
    }

    #[test]
    fn what_a_restart_would_repeat_is_not_restarted() {
        let elsewhere = states([("line-1", "/dev/elsewhere", usb(3))]);
        for verdict in [
            verdict(What::Device(number(0)), &elsewhere),
            verdict(What::Device(number(0)), &with(terminal(4, 0))),
            verdict(What::Mount("/dev/pts/4".into()), &with(usb(0))),
        ] {
            assert!(matches!(verdict, Verdict::NewPod(_)), "{verdict:?}");
        }
        let gone = PortStates::new();
        assert_eq!(verdict(What::Device(number(0)), &gone), Verdict::Keep);
    }
}
