//! `synchronous` turned off against the queue's will, to show that the check of power cuts can fail.
//!
//! The queue has no option for this and must not get one. So this reaches past it: a hook of SQLite that runs for each new
//! connection of the process turns `synchronous` off and has later settings of it ignored. It makes the connection exclusive
//! before, as the queue does: the disk has no memory to share.

#![expect(
    unsafe_code,
    reason = "SQLite calls this before the queue has the connection, so rusqlite has no handle to offer"
)]

use std::ffi::{CStr, c_char, c_int, c_void};

use rusqlite::ffi;

const SETTING: &CStr = c"synchronous";

/// For all connections that this process opens from here on.
pub(crate) fn turn_off_synchronous() -> anyhow::Result<()> {
    // SAFETY: `prepare` has the signature that SQLite wants, opens and closes no connection, and lives for ever.
    let code = unsafe { ffi::sqlite3_auto_extension(Some(prepare)) };
    anyhow::ensure!(
        code == ffi::SQLITE_OK,
        "SQLite refused the hook that turns synchronous off: {code}"
    );
    Ok(())
}

unsafe extern "C" fn prepare(
    connection: *mut ffi::sqlite3,
    _message: *mut *mut c_char,
    _api: *const ffi::sqlite3_api_routines,
) -> c_int {
    // SAFETY: SQLite hands over a connection that it has just opened, and the text ends with a zero.
    unsafe {
        let code = ffi::sqlite3_exec(
            connection,
            c"PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF".as_ptr(),
            None,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
        if code != ffi::SQLITE_OK {
            return code;
        }
        ffi::sqlite3_set_authorizer(connection, Some(ignore_setting), std::ptr::null_mut())
    }
}

unsafe extern "C" fn ignore_setting(
    _data: *mut c_void,
    action: c_int,
    name: *const c_char,
    value: *const c_char,
    _database: *const c_char,
    _inner: *const c_char,
) -> c_int {
    if action != ffi::SQLITE_PRAGMA || name.is_null() || value.is_null() {
        return ffi::SQLITE_OK;
    }
    // SAFETY: for a pragma SQLite hands over its name, which ends with a zero.
    let name = unsafe { CStr::from_ptr(name) };
    if name.to_bytes().eq_ignore_ascii_case(SETTING.to_bytes()) {
        ffi::SQLITE_IGNORE
    } else {
        ffi::SQLITE_OK
    }
}
