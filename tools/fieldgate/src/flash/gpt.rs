//! The partition table: where the boot partition is, and its second copy at the end of the disk (UEFI 2.10, 5.3).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::target::SECTOR;

const SIGNATURE: &[u8; 8] = b"EFI PART";
/// More than 128 entries of 128 bytes are rare, and more than this is none.
const LARGEST_TABLE: u64 = 1 << 20;

/// EFI system partition, and what Microsoft's systems call basic data, as GUIDs on disk.
const BOOT_TYPES: [[u8; 16]; 2] = [
    [
        0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9,
        0x3b,
    ],
    [
        0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99,
        0xc7,
    ],
];
/// EFI system partition and FAT32 in a table of the old kind.
const OLD_BOOT_TYPES: [u8; 3] = [0xef, 0x0c, 0x0b];

/// Bytes of a part of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// A header that holds, and its entries.
struct Table {
    header: Vec<u8>,
    entries: Vec<u8>,
}

/// The size of the disk that a table was made for, from the disk's first two sectors.
pub(super) fn disk_bytes(sectors: &[u8]) -> Option<u64> {
    let header = sectors.get(512..1024)?;
    let last = is_header(header).then(|| number(header, 32))??;
    last.checked_add(1)?.checked_mul(SECTOR)
}

/// Where the boot partition is.
pub(super) fn boot_partition(disk: &File) -> io::Result<Option<Part>> {
    let Some(table) = read(disk)? else {
        return old_boot_partition(disk);
    };
    let size = entry_size(&table.header);
    let part = |kind: &[u8; 16]| {
        table
            .entries
            .chunks_exact(size)
            .find(|entry| entry.starts_with(kind))
            .and_then(|entry| {
                let (first, last) = (number(entry, 32)?, number(entry, 40)?);
                Some(Part {
                    start: first.checked_mul(SECTOR)?,
                    bytes: last
                        .checked_sub(first)?
                        .checked_add(1)?
                        .checked_mul(SECTOR)?,
                })
            })
    };
    Ok(BOOT_TYPES.iter().find_map(part))
}

fn old_boot_partition(disk: &File) -> io::Result<Option<Part>> {
    let mut sector = [0; 512];
    disk.read_exact_at(&mut sector, 0)?;
    let entries = sector.get(446..510).unwrap_or_default();
    Ok(entries
        .chunks_exact(16)
        .find(|entry| OLD_BOOT_TYPES.contains(&entry[4]))
        .map(|entry| {
            let word = |at: usize| {
                u64::from(u32::from_le_bytes([
                    entry[at],
                    entry[at + 1],
                    entry[at + 2],
                    entry[at + 3],
                ]))
            };
            Part {
                start: word(8) * SECTOR,
                bytes: word(12) * SECTOR,
            }
        }))
}

/// Puts the second copy of the table to the end of a disk that is larger than the image, and says in the first one that the disk is. Says
/// whether it was elsewhere.
pub(super) fn move_backup(disk: &File, disk_bytes: u64) -> io::Result<bool> {
    let Some(mut table) = read(disk)? else {
        return Ok(false);
    };
    let last = disk_bytes / SECTOR - 1;
    let old = number(&table.header, 32).unwrap_or_default();
    if old == last {
        return Ok(false);
    }
    let sectors = (table.entries.len() as u64).div_ceil(SECTOR);
    // The first copy.
    put(&mut table.header, 32, last);
    put(&mut table.header, 48, last - sectors - 1);
    seal(&mut table.header);
    let mut second = table.header.clone();
    put(&mut second, 24, last);
    put(&mut second, 32, 1);
    put(&mut second, 72, last - sectors);
    seal(&mut second);
    disk.write_all_at(&table.entries, (last - sectors) * SECTOR)?;
    disk.write_all_at(&second, last * SECTOR)?;
    disk.write_all_at(&table.header, SECTOR)?;
    // The old one would be found by programs that look for a lost table.
    if old > 1 && old < last {
        disk.write_all_at(&[0; 512], old * SECTOR)?;
    }
    // The table of the old kind that covers the whole disk, so that old programs leave it alone.
    let mut protective = [0; 512];
    disk.read_exact_at(&mut protective, 0)?;
    if protective[450] == 0xee {
        let count = u32::try_from(last).unwrap_or(u32::MAX);
        protective[458..462].copy_from_slice(&count.to_le_bytes());
        disk.write_all_at(&protective, 0)?;
    }
    disk.sync_all()?;
    Ok(true)
}

/// The first copy of the table, if it is one and whole.
fn read(disk: &File) -> io::Result<Option<Table>> {
    let mut header = vec![0; 512];
    disk.read_exact_at(&mut header, SECTOR)?;
    if !is_header(&header) {
        return Ok(None);
    }
    let count = u64::from(word(&header, 80).unwrap_or_default());
    let size = entry_size(&header) as u64;
    let start = number(&header, 72).and_then(|start| start.checked_mul(SECTOR));
    let (Some(start), Some(bytes)) = (start, count.checked_mul(size)) else {
        return Ok(None);
    };
    if size < 128 || bytes == 0 || bytes > LARGEST_TABLE {
        return Ok(None);
    }
    let mut entries = vec![0; usize::try_from(bytes).unwrap_or_default()];
    disk.read_exact_at(&mut entries, start)?;
    let holds = word(&header, 88) == Some(crc32fast::hash(&entries));
    Ok(holds.then_some(Table { header, entries }))
}

fn is_header(sector: &[u8]) -> bool {
    let Some(size) = word(sector, 12).and_then(|size| usize::try_from(size).ok()) else {
        return false;
    };
    let Some(mut header) = sector.get(..size).map(<[u8]>::to_vec) else {
        return false;
    };
    let sum = word(&header, 16);
    if size < 92 || !header.starts_with(SIGNATURE) {
        return false;
    }
    header[16..20].fill(0);
    sum == Some(crc32fast::hash(&header))
}

/// Writes the checksum of a header into it.
fn seal(header: &mut [u8]) {
    let size = word(header, 12).map_or(92, |size| size as usize);
    header[16..20].fill(0);
    let sum = crc32fast::hash(header.get(..size).unwrap_or_default());
    header[16..20].copy_from_slice(&sum.to_le_bytes());
}

fn entry_size(header: &[u8]) -> usize {
    // A sector at most in practice; zero would never end.
    word(header, 84).map_or(128, |size| size as usize).max(1)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    if let Some(place) = bytes.get_mut(at..at + 8) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A disk of 4 MiB whose boot partition takes 2 MiB from the second.
    pub(in super::super) fn disk() -> Vec<u8> {
        let last: u64 = (4 << 20) / SECTOR - 1;
        let mut disk = vec![0; 4 << 20];
        disk[450] = 0xee;
        disk[458..462].copy_from_slice(&(last as u32).to_le_bytes());
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        let mut entries = vec![0; 128 * 128];
        entries[..16].copy_from_slice(&BOOT_TYPES[0]);
        put(&mut entries, 32, 2048);
        put(&mut entries, 40, 2048 + 4095);
        let mut header = vec![0; 512];
        header[..8].copy_from_slice(SIGNATURE);
        header[10] = 1;
        header[12] = 92;
        for (at, value) in [(24, 1), (32, last), (40, 34), (48, last - 33), (72, 2)] {
            put(&mut header, at, value);
        }
        header[80] = 128;
        header[84] = 128;
        header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        seal(&mut header);
        disk[512..1024].copy_from_slice(&header);
        disk[1024..1024 + entries.len()].copy_from_slice(&entries);
        let mut second = header;
        for (at, value) in [(24, last), (32, 1), (72, last - 32)] {
            put(&mut second, at, value);
        }
        seal(&mut second);
        let end = disk.len();
        disk[end - 512..].copy_from_slice(&second);
        disk[end - 33 * 512..end - 512].copy_from_slice(&entries);
        disk
    }

    fn file(content: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(content, 0).unwrap();
        file
    }

    #[test]
    fn the_boot_partition_is_found_in_tables_of_both_kinds() {
        let expected = Some(Part {
            start: 1 << 20,
            bytes: 2 << 20,
        });
        assert_eq!(boot_partition(&file(&disk())).unwrap(), expected);
        let mut old = vec![0; 1024];
        old[450] = 0x0c;
        old[454..458].copy_from_slice(&2048u32.to_le_bytes());
        old[458..462].copy_from_slice(&4096u32.to_le_bytes());
        assert_eq!(boot_partition(&file(&old)).unwrap(), expected);
        assert_eq!(boot_partition(&file(&[0; 1024])).unwrap(), None);
    }

    #[test]
    fn a_damaged_table_is_none() {
        let mut damaged = disk();
        damaged[1100] ^= 1;
        assert_eq!(boot_partition(&file(&damaged)).unwrap(), None);
        let mut damaged = disk();
        damaged[512 + 40] ^= 1;
        assert_eq!(disk_bytes(&damaged), None);
        assert!(!move_backup(&file(&damaged), 8 << 20).unwrap());
    }

    #[test]
    fn the_second_copy_goes_to_the_end_of_a_larger_disk() {
        let small = disk();
        let disk = file(&small);
        assert!(!move_backup(&disk, 4 << 20).unwrap(), "it fits already");
        disk.set_len(10 << 20).unwrap();
        assert!(move_backup(&disk, 10 << 20).unwrap());
        assert!(!move_backup(&disk, 10 << 20).unwrap());
        let mut all = vec![0; 10 << 20];
        disk.read_exact_at(&mut all, 0).unwrap();
        assert_eq!(disk_bytes(&all), Some(10 << 20));
        assert_eq!(
            &all[1024..],
            &[&small[1024..small.len() - 512], &all[(4 << 20) - 512..]].concat()
        );
        assert!(all[(4 << 20) - 512..4 << 20].iter().all(|byte| *byte == 0));
        let second = &all[(10 << 20) - 512..];
        assert!(is_header(second));
        assert_eq!(number(second, 72), Some((10 << 20) / SECTOR - 33));
    }
}
