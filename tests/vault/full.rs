//! A full disk, a failed call, a failed sync and a device that returns other bytes than it was given: the save fails, says why, and
//! everything before it stands.

use std::path::Path;

use medserl::train::vault::VaultError;

use super::{
    disk::{Faults, Loss},
    scene::{ROOT, Scene, random},
};
use crate::figure::figure;

#[test]
fn a_full_disk_at_every_call_is_told_and_survived() {
    let (mut n_points, mut n_told) = (0, 0);
    for scene in Scene::all() {
        for full_at in 1..=scene.n_calls() {
            let disk = scene.disk.copy(Faults { full_at: Some(full_at), ..Faults::default() });
            let result = scene.save(&disk);
            let how = format!("full from call {full_at}");
            match &result {
                Err(VaultError::Full { path, needed, .. }) => {
                    assert!(path.starts_with(ROOT) || Path::new(ROOT).starts_with(path), "{path:?}");
                    assert!(*needed > 200_000, "{needed}");
                    n_told += 1;
                }
                Ok(()) => {}
                Err(other) => panic!("{}, {how}: {other}", scene.name),
            }
            scene.check(&disk, result.is_ok(), &how);
            scene.check_life_goes_on(&disk, &how);
            n_points += 1;
        }
    }
    assert!(n_told >= 150, "{n_told}");
    figure(
        "R4",
        "disk full from every write point of a checkpoint",
        &format!(
            "{n_points} points, {n_told} saves refused with path, needed and free bytes; 0 lost, all succeed after space appears"
        ),
    );
}

#[test]
fn a_disk_of_every_size_is_told_and_survived() {
    let mut n_sizes = 0;
    for scene in Scene::all().into_iter().take(3) {
        let used = scene.disk.bytes_used();
        for hides_free in [false, true] {
            let (mut n_refused, mut fits) = (0, 0);
            for pages in 0..=100u64 {
                let disk = scene.disk.copy(Faults { capacity: Some(used + 4096 * pages), hides_free, ..Faults::default() });
                let result = scene.save(&disk);
                let how = format!("{pages} free pages");
                match &result {
                    Err(VaultError::Full { needed, free, .. }) => {
                        assert!(hides_free || (*free == 4096 * pages && free < needed), "{how}: {needed} needed, {free} free");
                        n_refused += 1;
                    }
                    Ok(()) => fits += 1,
                    Err(other) => panic!("{}, {how}: {other}", scene.name),
                }
                scene.check(&disk, result.is_ok(), &how);
                if result.is_err() {
                    assert_eq!(disk.bytes_used(), used, "{how}: the failed attempt still takes room");
                    scene.check_life_goes_on(&disk, &how);
                }
                n_sizes += 1;
            }
            assert!(n_refused >= 50 && fits > 5, "{}: {n_refused} refused, {fits} fit", scene.name);
        }
    }
    figure("R4", "disk of every size from 0 pages to enough", &format!("{n_sizes} sizes: 0 panics, 0 lost, nothing left behind"));
}

#[test]
fn a_failed_call_voids_the_save_and_nothing_else() {
    let mut n_points = 0;
    for scene in Scene::all() {
        for fail_at in 1..=scene.n_calls() {
            let disk = scene.disk.copy(Faults { fail_at: Some(fail_at), ..Faults::default() });
            let was_saved = scene.save(&disk).is_ok();
            let how = format!("I/O error at call {fail_at}");
            if !was_saved {
                scene.check_void(&disk, &how);
            }
            scene.check(&disk.after(Loss::Nothing, &mut random(0)), was_saved, &how);
            scene.check(&disk.after(Loss::AllUnsynced, &mut random(0)), was_saved, &how);
            scene.check_life_goes_on(&disk, &how);
            n_points += 1;
        }
    }
    figure("R6", "I/O error at every write point of a checkpoint", &format!("{n_points} points: 0 previous checkpoints lost"));
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let mut n_syncs = 0;
    for scene in Scene::all() {
        let undisturbed = scene.disk.copy(Faults::default());
        scene.save(&undisturbed).unwrap();
        for nth in 1..=undisturbed.n_syncs() {
            let disk = scene.disk.copy(Faults { sync_fails: Some(nth), ..Faults::default() });
            let error = scene.save(&disk).expect_err("saved though a sync failed");
            let how = format!("sync {nth} fails");
            assert!(matches!(error, VaultError::Unsynced { .. }), "{}, {how}: {error}", scene.name);
            assert!(!disk.synced_again(), "{}, {how}: the same sync was tried again", scene.name);
            scene.check_void(&disk, &how);
            scene.check(&disk.after(Loss::Nothing, &mut random(0)), false, &how);
            scene.check(&disk.after(Loss::AllUnsynced, &mut random(0)), false, &how);
            scene.check_life_goes_on(&disk, &how);
            // And what was saved then is safe from a power cut.
            scene.check(&disk.after(Loss::AllUnsynced, &mut random(0)), true, &how);
            n_syncs += 1;
        }
    }
    assert!(n_syncs >= 60, "{n_syncs}");
    figure(
        "R6",
        "every fsync of a checkpoint fails once",
        &format!("{n_syncs} syncs: checkpoint void, the one before kept, 0 retries"),
    );
}

#[test]
fn a_device_that_returns_other_bytes_is_found_out_at_once() {
    for scene in Scene::all() {
        for name in ["adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors", "cursor.json", "MANIFEST.json"]
        {
            let disk = scene.disk.copy(Faults { flips: Some(name), ..Faults::default() });
            let error = scene.save(&disk).expect_err("saved though it reads back otherwise");
            let VaultError::Damaged { path, .. } = &error else { panic!("{}: {error}", scene.name) };
            assert!(path.ends_with(name) || name == "MANIFEST.json", "{}: {error}", scene.name);
            disk.set_faults(Faults::default());
            scene.check_void(&disk, name);
            scene.check(&disk, false, name);
            scene.check_life_goes_on(&disk, name);
        }
    }
}
