//! Runs found by name, and taken away for good.

use std::{fs, os::unix::fs::symlink, path::Path};

use medserl::store::{RunLock, Store, delete_run, list_runs, resolve_run};

use super::store::meta;

#[test]
fn a_run_is_found_by_as_much_of_its_id_as_it_takes() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path();
    assert!(resolve_run(at, None).unwrap_err().to_string().contains("no run"));
    for (id, started) in [("20260101-a", 100), ("20260101-ab", 300), ("20260202-c", 200)] {
        Store::create(&at.join(id)).unwrap().begin_run(&meta(id, started)).unwrap();
    }
    fs::create_dir(at.join("broken")).unwrap();
    let found = |wanted| resolve_run(at, wanted).map(|dir| dir.file_name().unwrap().to_string_lossy().into_owned());
    assert_eq!(found(None).unwrap(), "20260101-ab");
    assert_eq!(found(Some("20260101-a")).unwrap(), "20260101-a");
    assert_eq!(found(Some("202602")).unwrap(), "20260202-c");
    assert_eq!(found(Some("br")).unwrap(), "broken");
    let error = found(Some("2026")).unwrap_err().to_string();
    assert!(error.contains("any of 20260101-ab, 20260202-c, 20260101-a;"), "{error}");
    assert!(found(Some("x")).unwrap_err().to_string().contains("begins with 'x'"));
    let path = at.join("20260202-c");
    assert_eq!(resolve_run(Path::new("/nowhere"), path.to_str()).unwrap(), path);
    assert!(resolve_run(at, at.to_str()).is_err());
}

#[test]
fn a_run_is_deleted_whole_and_only_a_run() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("night-s1");
    Store::create(&at).unwrap().begin_run(&meta("night-s1", 1)).unwrap();
    fs::create_dir_all(at.join("checkpoints/step-5")).unwrap();
    let lock = RunLock::acquire(&at).unwrap();
    assert!(delete_run(&at).is_err(), "a trainer holds it");
    assert!(at.join("run.db").exists());
    drop(lock);
    let papers = root.path().join("papers");
    fs::create_dir(&papers).unwrap();
    symlink(&at, root.path().join("link")).unwrap();
    for other in [papers.as_path(), &root.path().join("link"), Path::new("/nowhere"), root.path()] {
        let error = delete_run(other).unwrap_err().to_string();
        assert!(error.contains("nothing was deleted"), "{error}");
    }
    fs::remove_file(root.path().join("link")).unwrap();
    delete_run(&at).unwrap();
    let left: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["papers"]);
    assert!(list_runs(root.path()).iter().all(|run| run.broken.is_some()));
}
