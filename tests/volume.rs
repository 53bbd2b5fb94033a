//! Where a store lies: on a network file system it works without a write-ahead log, and says so.

use medserl::store::{Store, Volume, volume};

use crate::{figure::figure, readers::step};

#[test]
fn network_file_systems_are_known_by_their_numbers() {
    let cases = [(0x6969, "NFS"), (0x0BD0_0BD0, "Lustre"), (0xFE53_4D42, "SMB"), (0x4750_4653, "GPFS"), (0x00C3_6400, "Ceph")];
    for (magic, name) in cases {
        assert_eq!(volume::kind(magic), Volume::Network(name));
    }
    // ext4, xfs, btrfs, tmpfs, overlay.
    for magic in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630] {
        assert_eq!(volume::kind(magic), Volume::Local);
    }
    let home = tempfile::tempdir().unwrap();
    assert_eq!(volume::of(&home.path().join("not there")), Volume::Local);
}

#[test]
fn a_store_on_a_network_file_system_has_no_log_and_says_why() {
    let home = tempfile::tempdir().unwrap();
    let mut store = Store::create_on(home.path(), Volume::Network("NFS")).unwrap();
    store.begin_run(&crate::store::meta("r", 0)).unwrap();
    let (report, samples, rollouts) = step(1);
    store.commit_step(&report, &samples, &rollouts).unwrap();
    assert!(!home.path().join("run.db-wal").exists());
    let reader = Store::open_read_only(home.path()).unwrap();
    assert_eq!((reader.last_step().unwrap(), reader.samples(1).unwrap()), (Some(1), samples));
    let remark = store.remark().unwrap();
    assert!(remark.contains("NFS") && remark.contains("--run-dir"), "{remark}");
    drop((store, reader));
    // Brought to a local disk it gets its log back, and nothing is lost.
    let mut store = Store::open(home.path()).unwrap();
    assert!(store.remark().is_none() && store.last_step().unwrap() == Some(1));
    let (report, samples, rollouts) = step(2);
    store.commit_step(&report, &samples, &rollouts).unwrap();
    assert!(home.path().join("run.db-wal").exists());
    figure(
        "store",
        "a store on a network file system",
        "12 kinds known by number; rollback journal instead of the log, told at the start",
    );
}
