//! What stays when a new checkpoint is safe, what is swept, and what is listed.

use std::{fs, path::Path};

use medserl::train::vault::{Keep, Local, Vault};

use super::scene::{files, kept_mark, path};
use super::{disk::FaultyDisk, scene::vault};

fn keep(newest: usize) -> Keep {
    Keep { newest, ..Keep::default() }
}

fn steps(vault: &Vault<impl medserl::train::vault::Disk>) -> Vec<u32> {
    vault.list().unwrap().into_iter().map(|(step, _)| step).collect()
}

#[test]
fn the_newest_stay_by_number_and_not_by_name() {
    let vault = vault(&FaultyDisk::new());
    for step in [1, 2, 9, 10] {
        vault.save(step, &files(1), &keep(2)).unwrap();
    }
    assert_eq!(steps(&vault), [10, 9]);
    let saved = vault.save(11, &files(1), &keep(1)).unwrap();
    assert_eq!(saved.pruned, [path(10), path(9)]);
    assert_eq!(steps(&vault), [11]);
}

#[test]
fn the_best_and_the_kept_stay_for_good() {
    let disk = FaultyDisk::new();
    let vault = vault(&disk);
    for step in 1..=3 {
        vault.save(step, &files(1), &keep(9)).unwrap();
    }
    vault.mark_kept(&path(1)).unwrap();
    vault.mark_kept(&path(1)).unwrap();
    vault.save(4, &files(1), &Keep { best: Some(2), ..keep(1) }).unwrap();
    assert_eq!(steps(&vault), [4, 2, 1]);
    // Saved again, a kept checkpoint is still kept.
    vault.save(1, &files(5), &keep(9)).unwrap();
    assert!(vault.is_kept(&path(1)) && medserl::train::vault::Disk::size(&disk, &kept_mark(1)).is_ok());
    assert_eq!(vault.read(&path(1)).unwrap(), files(5), "the mark is no part of the checkpoint");
    vault.save(5, &files(1), &keep(1)).unwrap();
    assert_eq!(steps(&vault), [5, 1]);
}

#[test]
fn a_quota_lets_the_oldest_go_and_never_the_new_one() {
    let vault = vault(&FaultyDisk::new());
    let one = vault.save(1, &files(1), &keep(9)).unwrap().bytes;
    assert_eq!(one, 200_558);
    let limit = |bytes| Keep { max_bytes: Some(bytes), ..keep(9) };
    for step in 2..=5 {
        vault.save(step, &files(1), &limit(3 * one + 3_000)).unwrap();
    }
    assert_eq!(steps(&vault), [5, 4, 3]);
    let saved = vault.save(6, &files(1), &limit(1)).unwrap();
    assert_eq!(steps(&vault), [6]);
    assert!(saved.remarks.len() == 1 && saved.remarks[0].contains("max_gb"), "{:?}", saved.remarks);
}

#[test]
fn a_course_that_was_left_goes_first() {
    let vault = vault(&FaultyDisk::new());
    for step in [2, 4, 6] {
        vault.save(step, &files(1), &keep(9)).unwrap();
    }
    // 6 and 4 turned out damaged, the run went on from 2 and now saves 3: that one and its origin stay.
    let saved = vault.save(3, &files(1), &keep(2)).unwrap();
    assert_eq!((saved.pruned, steps(&vault)), (vec![path(6), path(4)], vec![3, 2]));
}

#[test]
fn leftovers_are_swept_and_strangers_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("checkpoints");
    let vault = Vault::new(Local, &root);
    assert!(vault.sweep().unwrap().is_empty() && steps(&vault).is_empty(), "a folder that is not there yet holds nothing");
    vault.save(3, &files(1), &keep(2)).unwrap();
    for name in [".stage-7-123", ".gone-step-1"] {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("cursor.json"), "half").unwrap();
    }
    for name in ["step-04", "step-+5", "step-6x", "step-", "notes.txt"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    assert_eq!(vault.sweep().unwrap(), [".gone-step-1", ".stage-7-123"]);
    assert!(vault.sweep().unwrap().is_empty());
    assert_eq!(steps(&vault), [3]);
    vault.save(9, &files(1), &keep(1)).unwrap();
    let mut names: Vec<String> = fs::read_dir(&root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["notes.txt", "step-", "step-+5", "step-04", "step-6x", "step-9"]);
    assert!(fs::read_dir(root.join("step-9")).unwrap().count() == 5 && Path::new(&root).exists());
}

#[test]
fn what_the_judge_refuses_is_passed_over_with_its_reason() {
    let vault = vault(&FaultyDisk::new());
    assert_eq!(vault.choose(|_, _| Ok(())).unwrap().chosen, None);
    for step in [1, 2, 3] {
        vault.save(step, &files(u64::from(step)), &keep(9)).unwrap();
    }
    let choice = vault
        .choose(
            |dir, files_read| {
                if files_read == files(3) { Err(format!("{} is odd", dir.display())) } else { Ok(files_read.len()) }
            },
        )
        .unwrap();
    let chosen = choice.chosen.unwrap();
    assert_eq!((chosen.step, chosen.dir, chosen.value), (2, path(2), 4));
    assert!(choice.refused.len() == 1 && choice.refused[0].why.ends_with("step-3 is odd"), "{:?}", choice.refused);
}
