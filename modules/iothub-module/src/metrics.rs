//! The figures of this module: names and help texts.

module_runtime::figures! {
    QUEUED_EVENTS = gauge "fieldgate_iothub_module_queued_events", "Events in the queue";
    QUEUED_BY_PRIORITY = gauge "fieldgate_iothub_module_queued_by_priority_events", "Events in the queue, by priority";
    QUEUED_BY_ROUTE = gauge "fieldgate_iothub_module_queued_by_route_events", "Events in the queue, by route";
    QUEUE_WRITABLE = gauge "fieldgate_iothub_module_queue_writable", "1 while the last write of the queue is safe on its disk";
    QUEUE_BYTES = gauge "fieldgate_iothub_module_queue_bytes", "The queue's file and log on disk";
    QUEUE_STORED = counter "fieldgate_iothub_module_queue_stored_bytes_total", "Bytes of the events that were stored, with their keys, ids and properties";
    QUEUE_WRITTEN = counter "fieldgate_iothub_module_queue_written_bytes_total", "Bytes that the queue has given to its disk";
    QUEUE_OLDEST_AGE = gauge "fieldgate_iothub_module_queue_oldest_age_seconds", "How long the oldest event has been in the queue";
    CONNECTED = gauge "fieldgate_iothub_module_connected", "1 while there is a connection to the hub";
    RECONNECTS = counter "fieldgate_iothub_module_reconnects_total", "Connections to the hub after the first";
    STORAGE_ERRORS = counter "fieldgate_iothub_module_storage_errors_total", "Failures of the queue's disk";
    COMPACTIONS = counter "fieldgate_iothub_module_queue_compactions_total", "How often the queue's file was made smaller after a backlog had drained";
    STORED_EVENTS = counter "fieldgate_iothub_module_stored_events_total", "Events stored in the queue, by route";
    DROPPED = counter "fieldgate_iothub_module_dropped_total", "Events lost from the queue, by reason, priority and route, and those that a route drops";
    ROUTED = counter "fieldgate_iothub_module_routed_total", "Events by the route they took, dropped ones too";
    RECEIVED = counter "fieldgate_iothub_module_received_events_total", "Events from the broker, copies included";
    DUPLICATES = counter "fieldgate_iothub_module_duplicates_total", "Copies of stored events, left out";
    REORDERED = counter "fieldgate_iothub_module_reordered_total", "Events that came early and waited for those before them";
    AFTER_GAP = counter "fieldgate_iothub_module_after_gap_total", "Events that waited in vain for those before them";
    LATE = counter "fieldgate_iothub_module_late_total", "Events that came after their successors";
    RETURNED = counter "fieldgate_iothub_module_returned_total", "Events given back to the broker, by reason";
    DEAD_LETTERS = counter "fieldgate_iothub_module_dead_letters_total", "Events that can never be sent, by reason";
    SENT = counter "fieldgate_iothub_module_sent_total", "Messages confirmed by the hub";
    PUBACK = histogram "fieldgate_iothub_module_puback_seconds", "From sending a message to the hub's confirmation";
    WINDOW = gauge "fieldgate_iothub_module_window_messages", "Messages that may wait for the hub's confirmation at a time, by identity";
    THROTTLE = gauge "fieldgate_iothub_module_throttle_state", "0 while the hub takes all, 1 while it throttles, 2 while the quota of the day is used up, by identity";
    BUDGET_USED = gauge "fieldgate_iothub_module_budget_used_bytes", "Bytes counted by the budget in the last minute and in the month, by bound";
    BUDGET_HOLDS = gauge "fieldgate_iothub_module_budget_holds", "1 while a bound of the budget keeps messages back, by bound";
    SENT_EVENTS = counter "fieldgate_iothub_module_sent_events_total", "Events confirmed by the hub, by priority, lane (live, backlog) and route";
    METHODS = counter "fieldgate_iothub_module_methods_total", "Direct methods, by status of the answer";
    CLOUD_MESSAGES = counter "fieldgate_iothub_module_cloud_messages_total", "Cloud-to-device messages handed on";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use module_runtime::test_support::documented_figures;

    use super::ALL;

    #[test]
    fn every_figure_is_documented_and_nothing_else() {
        let standby = module_runtime::standby_name("iothub-module");
        let names = ALL.iter().map(|figure| figure.name.to_owned());
        let names: BTreeSet<String> = names.chain([standby]).collect();
        assert_eq!(names, documented_figures("fieldgate_iothub_module_"));
    }
}
