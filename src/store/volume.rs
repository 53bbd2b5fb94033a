//! What kind of file system a run directory lies on. SQLite's write-ahead log works on local ones only.

use std::path::Path;

use rustix::fs::statfs;

/// Where a store lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    Local,
    /// Shared with other machines, with the name people know it by.
    Network(&'static str),
}

/// Magic numbers of statfs(2) and of the file systems' own headers.
const NETWORK: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x0BD0_0BD0, "Lustre"),
    (0x517B, "SMB"),
    (0xFE53_4D42, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0x4750_4653, "GPFS"),
    (0x00C3_6400, "Ceph"),
    (0x1983_0326, "BeeGFS"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0xAAD7_AAEA, "PanFS"),
];

/// The kind of file system of an existing directory; one that cannot be asked counts as local.
pub fn of(dir: &Path) -> Volume {
    // The field's type differs between machines; its low 32 bits are the magic number on all of them.
    statfs(dir).map_or(Volume::Local, |found| kind(found.f_type as u32))
}

/// What a magic number says.
pub fn kind(magic: u32) -> Volume {
    NETWORK.iter().find(|(known, _)| *known == magic).map_or(Volume::Local, |(_, name)| Volume::Network(name))
}
