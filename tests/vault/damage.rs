//! Bits flipped, files cut, zeroed, swapped, removed, on the real file system: every change is found, and the one before is used.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use medserl::train::vault::{Files, Keep, Local, MANIFEST, Vault};
use rand_chacha::rand_core::RngCore;
use tempfile::TempDir;

use super::scene::random;
use crate::figure::figure;

/// Two checkpoints, the newer of which is to be harmed.
struct Pair {
    _home: TempDir,
    vault: Vault<Local>,
    newer: PathBuf,
    older: Files,
    older_dir: PathBuf,
}

fn files(seed: u64) -> Files {
    let mut random = random(seed);
    let mut file = |name: &str, n: usize| {
        let mut bytes = vec![0; n];
        random.fill_bytes(&mut bytes);
        (name.to_owned(), bytes)
    };
    Files::from([file("adapter_model.safetensors", 9_000), file("cursor.json", 120), file("optimizer.safetensors", 17_000)])
}

impl Pair {
    fn new() -> Pair {
        let home = tempfile::tempdir().unwrap();
        let vault = Vault::new(Local, &home.path().join("checkpoints"));
        let keep = Keep { newest: 5, ..Keep::default() };
        let older = files(2);
        let older_dir = vault.save(2, &older, &keep).unwrap().dir;
        let newer = vault.save(4, &files(4), &keep).unwrap().dir;
        Pair { _home: home, vault, newer, older, older_dir }
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(&self.newer).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, [MANIFEST, "adapter_model.safetensors", "cursor.json", "optimizer.safetensors"]);
        names
    }

    /// The harmed checkpoint is refused by the name of `file`, and the one before it is whole.
    #[track_caller]
    fn check_found(&self, file: &str, how: &str) {
        let choice = self.vault.choose(|_, files| Ok(files)).unwrap();
        let [refused] = choice.refused.as_slice() else { panic!("{how}: {:?}", choice.refused) };
        // A manifest that lists another name or hash shows in the file that it lists.
        assert!(refused.dir == self.newer && (refused.why.contains(file) || file == MANIFEST), "{how}: {}", refused.why);
        let chosen = choice.chosen.unwrap();
        assert!(chosen.step == 2 && chosen.value == self.older, "{how}: step {} was chosen", chosen.step);
    }

    #[track_caller]
    fn check_whole(&self) {
        assert_eq!(self.vault.choose(|_, _| Ok(())).unwrap().chosen.map(|c| c.step), Some(4));
    }

    /// Writes `harmed` in the place of `path`, checks, and puts the whole file back.
    #[track_caller]
    fn check_harm(&self, path: &Path, whole: &[u8], harmed: &[u8], how: &str) {
        let name = path.file_name().unwrap().to_str().unwrap();
        rewrite(path, harmed);
        self.check_found(name, &format!("{name}, {how}"));
        rewrite(path, whole);
    }
}

/// In place: emptying a file first makes some file systems wait for the device.
fn rewrite(path: &Path, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}

#[test]
fn every_flipped_bit_is_found() {
    let pair = Pair::new();
    let mut random = random(7);
    let mut n_flips = 0;
    for name in pair.names() {
        let path = pair.newer.join(&name);
        let whole = fs::read(&path).unwrap();
        // Every bit of the small files, some of the large ones.
        let bits: Vec<usize> = match whole.len() * 8 {
            n if n <= 1_000 || name == MANIFEST => (0..n).collect(),
            n => (0..300).map(|_| random.next_u32() as usize % n).collect(),
        };
        for bit in bits {
            let mut harmed = whole.clone();
            harmed[bit / 8] ^= 1 << (bit % 8);
            pair.check_harm(&path, &whole, &harmed, &format!("bit {bit}"));
            n_flips += 1;
        }
    }
    pair.check_whole();
    assert!(n_flips >= 1_000);
    figure(
        "R5",
        "one bit flipped in a checkpoint",
        &format!("{n_flips} flips over every file: 100 % found, 100 % fell back to the one before"),
    );
}

#[test]
fn every_cut_gap_and_exchange_is_found() {
    let pair = Pair::new();
    let mut random = random(8);
    let (mut n_cuts, mut n_others) = (0, 0);
    for name in pair.names() {
        let path = pair.newer.join(&name);
        let whole = fs::read(&path).unwrap();
        let n = whole.len();
        let lengths: Vec<usize> =
            if n < 200 { (0..n).collect() } else { (0..100).map(|_| random.next_u32() as usize % n).chain([0, n - 1]).collect() };
        for length in lengths {
            pair.check_harm(&path, &whole, &whole[..length], &format!("cut to {length} bytes"));
            n_cuts += 1;
        }
        for start in (0..n).step_by(4096) {
            let mut harmed = whole.clone();
            harmed[start..n.min(start + 4096)].fill(0);
            pair.check_harm(&path, &whole, &harmed, &format!("zeros from {start}"));
            n_others += 1;
        }
        let longer = [whole.as_slice(), b"\n"].concat();
        pair.check_harm(&path, &whole, &longer, "one byte more");
        fs::remove_file(&path).unwrap();
        pair.check_found(&name, "removed");
        fs::write(&path, &whole).unwrap();
        n_others += 2;
        if name != MANIFEST {
            let exchanged = fs::read(pair.older_dir.join(&name)).unwrap();
            pair.check_harm(&path, &whole, &exchanged, "from another checkpoint");
            n_others += 1;
        }
    }
    pair.check_whole();
    assert!(n_cuts >= 200, "{n_cuts}");
    figure(
        "R5",
        "a checkpoint's file cut, zeroed by the page, lengthened, removed or exchanged",
        &format!("{n_cuts} cuts and {n_others} others: 100 % found, 100 % fell back to the one before"),
    );
}

#[test]
fn a_manifest_cannot_lead_out_of_its_folder() {
    let pair = Pair::new();
    let path = pair.newer.join(MANIFEST);
    let whole = fs::read_to_string(&path).unwrap();
    for name in ["../step-2/cursor.json", "/etc/passwd", "..", ".hidden", "a/b", "a\\\\b", "", "KEPT"] {
        let harmed = whole.replace("cursor.json", name);
        pair.check_harm(&path, whole.as_bytes(), harmed.as_bytes(), &format!("a file called {name:?}"));
    }
    let other_format = whole.replacen("\"format\": 2", "\"format\": 1", 1);
    assert!(other_format != whole);
    pair.check_harm(&path, whole.as_bytes(), other_format.as_bytes(), "another format");
    let entry = whole.find("    \"cursor.json\"").unwrap();
    let next = entry + whole[entry..].find("],\n").unwrap() + 3;
    let shorter = format!("{}{}", &whole[..entry], &whole[next..]);
    pair.check_harm(&path, whole.as_bytes(), shorter.as_bytes(), "a file left out of the list");
    let huge = vec![b' '; 2 << 20];
    pair.check_harm(&path, whole.as_bytes(), &huge, "2 MiB");
    let files = Files::from([("../out".to_owned(), vec![1])]);
    let error = pair.vault.save(6, &files, &Keep::default()).unwrap_err().to_string();
    assert!(error.contains("../out"), "{error}");
}
