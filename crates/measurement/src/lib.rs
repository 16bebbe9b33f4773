//! The measurement event: values, qualities and CloudEvents attributes; no I/O.
