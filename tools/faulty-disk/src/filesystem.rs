//! The disk as the kernel asks for it (FUSE).
//!
//! Nothing is kept in the kernel: no attributes, no names, no pages (direct input and output). So each operation of a program
//! comes here as it is, and files cannot be mapped into memory to be written (mmap with MAP_SHARED fails with ENODEV).

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use crate::content::{PAGE, SECTOR};
use crate::disk::{Attributes, Disk};

/// How long the kernel may keep names and attributes.
const NOT_AT_ALL: Duration = Duration::ZERO;

#[derive(Debug)]
pub(crate) struct Served(pub(crate) Arc<Disk>);

fn of_file(request: &Request, file: Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(file.inode),
        size: file.bytes,
        blocks: file.bytes.div_ceil(PAGE as u64) * (PAGE / SECTOR) as u64,
        atime: file.changed,
        mtime: file.changed,
        ctime: file.changed,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0o644,
        nlink: 1,
        uid: request.uid(),
        gid: request.gid(),
        rdev: 0,
        // SQLite grows files by writing into each block of this size.
        blksize: PAGE as u32,
        flags: 0,
    }
}

fn of_folder(request: &Request) -> FileAttr {
    FileAttr {
        ino: INodeNo::ROOT,
        size: PAGE as u64,
        blocks: 8,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::Directory,
        perm: 0o755,
        nlink: 2,
        uid: request.uid(),
        gid: request.gid(),
        rdev: 0,
        blksize: PAGE as u32,
        flags: 0,
    }
}

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Served {
    fn lookup(&self, request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.0.find(name) {
            Ok(file) => reply.entry(&NOT_AT_ALL, &of_file(request, file), Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(
        &self,
        request: &Request,
        inode: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        if inode == INodeNo::ROOT {
            return reply.attr(&NOT_AT_ALL, &of_folder(request));
        }
        match self.0.attributes(inode.0) {
            Ok(file) => reply.attr(&NOT_AT_ALL, &of_file(request, file)),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let Some(size) = size else {
            return self.getattr(request, inode, handle, reply);
        };
        match self.0.set_len(inode.0, size) {
            Ok(()) => self.getattr(request, inode, handle, reply),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn unlink(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.0.unlink(name), reply);
    }

    fn rename(
        &self,
        _request: &Request,
        _parent: INodeNo,
        name: &OsStr,
        _new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        if flags.intersects(RenameFlags::RENAME_EXCHANGE | RenameFlags::RENAME_WHITEOUT) {
            return reply.error(Errno::EINVAL);
        }
        done(self.0.rename(name, new_name, replace), reply);
    }

    fn open(&self, _request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let to_write = flags.acc_mode() != OpenAccMode::O_RDONLY;
        match self.0.open(inode.0, to_write) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        request: &Request,
        _parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.0.create(name) {
            Ok(file) => reply.created(
                &NOT_AT_ALL,
                &of_file(request, file),
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_DIRECT_IO,
            ),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read(inode.0, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.write(inode.0, offset, data) {
            // The kernel sends at most 16 MiB.
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn flush(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // The kernel does not ask again: closing a file syncs nothing.
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.0.close(inode.0);
        reply.ok();
    }

    fn fsync(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        done(self.0.sync(inode.0, data_only), reply);
    }

    fn readdir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let names = match self.0.names() {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        let above = [".", ".."].map(|name| (name.into(), 1, FileType::Directory));
        let files = names
            .into_iter()
            .map(|(name, inode)| (name, inode, FileType::RegularFile));
        let entries = (1..).zip(above.into_iter().chain(files));
        for (next, (name, inode, kind)) in entries {
            if next > offset && reply.add(INodeNo(inode), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        done(self.0.sync_folder(), reply);
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        let (free, all) = self.0.pages();
        reply.statfs(
            all,
            free,
            free,
            1 << 20,
            1 << 20,
            PAGE as u32,
            255,
            PAGE as u32,
        );
    }
}
