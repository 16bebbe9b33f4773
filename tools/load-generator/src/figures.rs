//! The figures of this program.

module_runtime::figures! {
    RATE = gauge "fieldgate_load_generator_rate", "Events per second that are asked for now";
    DUE = gauge "fieldgate_load_generator_due_events", "Events that the rate has asked for so far";
    CONFIRMED = counter "fieldgate_load_generator_confirmed_events_total", "Events that the broker has confirmed";
    REPEATED = counter "fieldgate_load_generator_repeated_events_total", "Events published again, because the broker had not confirmed them";
}
