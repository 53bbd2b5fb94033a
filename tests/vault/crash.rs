//! The process dies or the power fails at any call of a save.

use rand_chacha::rand_core::RngCore;

use super::{
    disk::{Faults, Loss},
    scene::{Scene, random},
};
use crate::figure::figure;

#[test]
fn a_crash_at_every_write_point_loses_nothing() {
    let (mut n_points, mut n_images, mut n_new) = (0, 0, 0);
    for scene in Scene::all() {
        let n_calls = scene.n_calls();
        n_points += n_calls;
        for crash_at in 1..=n_calls + 1 {
            for loss in [Loss::Nothing, Loss::AllUnsynced, Loss::SomeUnsynced] {
                let disk = scene.disk.copy(Faults { crash_at: Some(crash_at), ..Faults::default() });
                let was_saved = scene.save(&disk).is_ok();
                let how = format!("crash at call {crash_at} of {n_calls}, {loss:?} lost");
                let after = disk.after(loss, &mut random(crash_at));
                n_new += u32::from(scene.check(&after, was_saved, &how) == Some(scene.step));
                if loss != Loss::SomeUnsynced {
                    scene.check_no_ruins(&after, &how);
                }
                scene.check_life_goes_on(&after, &how);
                n_images += 1;
            }
        }
    }
    assert!(n_points >= 200 && n_new > 0 && n_new < n_images, "{n_points} {n_images} {n_new}");
    figure(
        "R2",
        "crash at every write point of a checkpoint",
        &format!("{n_points} write points in 8 scenes, {n_images} images: 0 unreadable, 0 previous checkpoints lost"),
    );
}

#[test]
fn power_cuts_leave_no_undetected_corruption() {
    let (mut n_images, mut n_new, mut n_old) = (0, 0, 0);
    let scenes = Scene::all();
    for seed in 0..700u64 {
        let mut random = random(seed);
        let scene = &scenes[random.next_u32() as usize % scenes.len()];
        let mut disk = scene.disk.clone();
        // Up to three cuts, each during the save that follows the one before.
        for cut in 0..=random.next_u32() % 3 {
            let crash_at = 1 + u64::from(random.next_u32()) % (scene.n_calls() + 2);
            let harmed = disk.copy(Faults { crash_at: Some(crash_at), ..Faults::default() });
            let was_saved = scene.save(&harmed).is_ok();
            disk = harmed.after(Loss::SomeUnsynced, &mut random);
            let step = scene.check(&disk, was_saved, &format!("seed {seed}, cut {cut} at call {crash_at}"));
            if step == Some(scene.step) {
                n_new += 1
            } else {
                n_old += 1
            }
            n_images += 1;
        }
        scene.check_life_goes_on(&disk, &format!("seed {seed}"));
    }
    assert!(n_images >= 1_000 && n_new > 100 && n_old > 100, "{n_images} images, {n_new} new, {n_old} old");
    figure(
        "R3",
        "power loss: unsynced data dropped in part, names out of order, last write torn",
        &format!(
            "{n_images} images ({n_new} go on from the new checkpoint, {n_old} from the one before): 0 undetected corruption"
        ),
    );
}
