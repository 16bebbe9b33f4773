//! The figures of this module.

module_runtime::figures! {
    HOST_AVAILABLE = gauge "fieldgate_device_agent_host_available", "1 while the host answers, 0 while it does not";
    HOST_REQUESTS = counter "fieldgate_device_agent_host_requests_total", "Requests to the host";
    HOST_FAILURES = counter "fieldgate_device_agent_host_failures_total", "Requests that the host refused or did not answer";
    UPDATES = counter "fieldgate_device_agent_updates_total", "Updates that were begun, by who wanted them";
    CONFIG_EVENTS = counter "fieldgate_device_agent_config_events_total", "Changes of the desired properties that came in";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use module_runtime::test_support::documented_figures;

    use super::ALL;

    #[test]
    fn every_figure_is_documented_and_nothing_else() {
        let names = ALL.iter().map(|figure| figure.name.to_owned());
        // It has no volume, and so no lock, but anybody may give it one.
        let standby = module_runtime::standby_name("device-agent");
        let names: BTreeSet<String> = names.chain([standby]).collect();
        assert_eq!(names, documented_figures("fieldgate_device_agent_"));
    }
}
