//! A disk in memory that loses power, tears writes, fills up and fails, at any chosen call. It keeps two states: what processes see,
//! and what would be there after a power cut.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::{Component, Path},
    rc::Rc,
};

use medserl::train::vault::Disk;
use rand_chacha::{ChaCha8Rng, rand_core::RngCore};

const SECTOR: usize = 512;

/// What goes wrong, and when. Calls that change something count from 1.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The process dies at this call; a write is half done.
    pub crash_at: Option<u64>,
    /// From this call on there is no room for anything new.
    pub full_at: Option<u64>,
    /// This call alone fails with an I/O error.
    pub fail_at: Option<u64>,
    /// The n-th sync fails, and what it should have saved is dropped.
    pub sync_fails: Option<u64>,
    /// Bytes all files may take, in whole sectors.
    pub capacity: Option<u64>,
    /// Free space is not told, as under a quota.
    pub hides_free: bool,
    /// A file of this name reads back with one bit flipped.
    pub flips: Option<&'static str>,
}

/// What survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The process was killed: the kernel still writes everything.
    Nothing,
    /// The power failed: only what was synced is there.
    AllUnsynced,
    /// The power failed: of what was not synced, any part may be there, torn and out of order.
    SomeUnsynced,
}

#[derive(Clone)]
pub struct FaultyDisk(Rc<RefCell<State>>);

#[derive(Clone, Default)]
struct State {
    nodes: Vec<Node>,
    /// Changes of names that no sync has made durable, oldest first.
    journal: Vec<NameChange>,
    faults: Faults,
    n_calls: u64,
    n_syncs: u64,
    dead: bool,
    /// Nodes whose sync failed, and whether one of them was synced again.
    failed_syncs: Vec<usize>,
    synced_again: bool,
}

#[derive(Clone)]
enum Node {
    Dir { names: BTreeMap<String, usize>, durable: BTreeMap<String, usize> },
    File { bytes: Vec<u8>, durable: Vec<u8> },
}

#[derive(Clone)]
enum NameChange {
    Link { dir: usize, name: String, node: usize },
    Unlink { dir: usize, name: String },
    Rename { from_dir: usize, from: String, to_dir: usize, to: String },
}

impl NameChange {
    fn touches(&self, node: usize) -> bool {
        match self {
            NameChange::Link { dir, .. } | NameChange::Unlink { dir, .. } => *dir == node,
            NameChange::Rename { from_dir, to_dir, .. } => *from_dir == node || *to_dir == node,
        }
    }
}

impl FaultyDisk {
    pub fn new() -> FaultyDisk {
        let root = Node::Dir { names: BTreeMap::new(), durable: BTreeMap::new() };
        FaultyDisk(Rc::new(RefCell::new(State { nodes: vec![root], ..State::default() })))
    }

    /// The same disk, to be harmed apart from this one; calls count from 1 again.
    pub fn copy(&self, faults: Faults) -> FaultyDisk {
        let mut state = self.0.borrow().clone();
        (state.faults, state.n_calls, state.n_syncs) = (faults, 0, 0);
        (state.failed_syncs, state.synced_again) = (Vec::new(), false);
        FaultyDisk(Rc::new(RefCell::new(state)))
    }

    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    pub fn n_calls(&self) -> u64 {
        self.0.borrow().n_calls
    }

    pub fn n_syncs(&self) -> u64 {
        self.0.borrow().n_syncs
    }

    pub fn synced_again(&self) -> bool {
        self.0.borrow().synced_again
    }

    pub fn bytes_used(&self) -> u64 {
        self.0.borrow().used()
    }

    /// Changes a file behind everybody's back, durably.
    pub fn overwrite(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.borrow_mut();
        let node = state.find(path).unwrap();
        let Node::File { bytes, durable } = &mut state.nodes[node] else { panic!("{} is no file", path.display()) };
        change(bytes);
        *durable = bytes.clone();
    }

    /// The disk as the next start finds it.
    pub fn after(&self, loss: Loss, random: &mut ChaCha8Rng) -> FaultyDisk {
        let mut state = self.0.borrow().clone();
        let journal = std::mem::take(&mut state.journal);
        // A journal that keeps its order loses a tail; one that does not may lose anything.
        let (in_order, cut) = (random.next_u32().is_multiple_of(2), random.next_u32() as usize % (journal.len() + 1));
        for (i, change) in journal.iter().enumerate() {
            let survives = match loss {
                Loss::Nothing => true,
                Loss::AllUnsynced => false,
                Loss::SomeUnsynced if in_order => i < cut,
                Loss::SomeUnsynced => random.next_u32().is_multiple_of(2),
            };
            if survives {
                state.make_durable(change);
            }
        }
        for node in &mut state.nodes {
            match node {
                Node::Dir { names, durable } => *names = durable.clone(),
                Node::File { bytes, durable } => {
                    *bytes = match loss {
                        Loss::Nothing => std::mem::take(bytes),
                        Loss::AllUnsynced => durable.clone(),
                        Loss::SomeUnsynced => torn(bytes, durable, random),
                    };
                    *durable = bytes.clone();
                }
            }
        }
        (state.faults, state.dead, state.n_calls, state.n_syncs) = (Faults::default(), false, 0, 0);
        (state.failed_syncs, state.synced_again) = (Vec::new(), false);
        FaultyDisk(Rc::new(RefCell::new(state)))
    }
}

/// The durable part and then, sector by sector, the data, zeros or whatever lay there before; cut anywhere.
fn torn(bytes: &[u8], durable: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let unsynced = bytes.len().saturating_sub(durable.len());
    let length = match random.next_u32() % 3 {
        0 => bytes.len(),
        1 => durable.len() + (random.next_u32() as usize % (unsynced + 1)),
        _ => durable.len() + (random.next_u32() as usize % (unsynced / SECTOR + 1)) * SECTOR,
    };
    let mut out = durable.to_vec();
    for sector in bytes[durable.len().min(bytes.len())..].chunks(SECTOR) {
        match random.next_u32() % 4 {
            0 => out.extend(std::iter::repeat_n(0, sector.len())),
            1 => out.extend((0..sector.len()).map(|_| random.next_u32() as u8)),
            _ => out.extend_from_slice(sector),
        }
    }
    out.truncate(length.max(durable.len()));
    out
}

impl State {
    /// Counts a call that changes something, and lets it fail where it is to.
    fn call(&mut self, needs_room: bool) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("the power is off"));
        }
        self.n_calls += 1;
        if self.faults.crash_at == Some(self.n_calls) {
            self.dead = true;
            return Err(io::Error::other("the power fails"));
        }
        if self.faults.fail_at == Some(self.n_calls) {
            return Err(io::Error::from_raw_os_error(5));
        }
        if needs_room && self.faults.full_at.is_some_and(|at| self.n_calls >= at) {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync_call(&mut self, node: usize) -> io::Result<()> {
        self.call(true)?;
        self.n_syncs += 1;
        self.synced_again |= self.failed_syncs.contains(&node);
        if self.faults.sync_fails == Some(self.n_syncs) {
            self.failed_syncs.push(node);
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        let mut reachable = vec![0];
        let (mut at, mut used) = (0, 0);
        while let Some(&node) = reachable.get(at) {
            match &self.nodes[node] {
                Node::Dir { names, .. } => reachable.extend(names.values()),
                Node::File { bytes, .. } => used += bytes.len().next_multiple_of(SECTOR) as u64,
            }
            at += 1;
        }
        used
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        if self.dead {
            return Err(io::Error::other("the power is off"));
        }
        let mut here = 0;
        for name in path.components().filter(|c| *c != Component::RootDir) {
            let Node::Dir { names, .. } = &self.nodes[here] else { return Err(ErrorKind::NotADirectory.into()) };
            let name = name.as_os_str().to_string_lossy();
            here = *names.get(name.as_ref()).ok_or(ErrorKind::NotFound)?;
        }
        Ok(here)
    }

    fn parent(&self, path: &Path) -> io::Result<(usize, String)> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
        Ok((self.find(path.parent().ok_or(ErrorKind::InvalidInput)?)?, name))
    }

    fn names(&mut self, dir: usize) -> &mut BTreeMap<String, usize> {
        let Node::Dir { names, .. } = &mut self.nodes[dir] else { panic!("no directory") };
        names
    }

    fn link(&mut self, dir: usize, name: &str, node: Node) -> usize {
        self.nodes.push(node);
        let node = self.nodes.len() - 1;
        self.names(dir).insert(name.to_owned(), node);
        self.journal.push(NameChange::Link { dir, name: name.to_owned(), node });
        node
    }

    fn unlink(&mut self, dir: usize, name: &str) -> io::Result<()> {
        self.call(false)?;
        self.names(dir).remove(name);
        self.journal.push(NameChange::Unlink { dir, name: name.to_owned() });
        Ok(())
    }

    fn make_durable(&mut self, change: &NameChange) {
        let mut durable = |dir: &usize, name: &str, node: Option<usize>| {
            let Node::Dir { durable, .. } = &mut self.nodes[*dir] else { panic!("no directory") };
            match node {
                Some(node) => durable.insert(name.to_owned(), node),
                None => durable.remove(name),
            }
        };
        match change {
            NameChange::Link { dir, name, node } => _ = durable(dir, name, Some(*node)),
            NameChange::Unlink { dir, name } => _ = durable(dir, name, None),
            // Both names in one act, or neither. What has no durable name cannot get another.
            NameChange::Rename { from_dir, from, to_dir, to } => {
                if let Some(node) = durable(from_dir, from, None) {
                    durable(to_dir, to, Some(node));
                }
            }
        }
    }
}

impl Disk for FaultyDisk {
    type File = usize;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let mut here = 0;
        for name in dir.components().filter(|c| *c != Component::RootDir) {
            let name = name.as_os_str().to_string_lossy().into_owned();
            here = match state.names(here).get(&name) {
                Some(node) => *node,
                None => {
                    state.call(true)?;
                    state.link(here, &name, Node::Dir { names: BTreeMap::new(), durable: BTreeMap::new() })
                }
            };
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        let (dir, name) = state.parent(path)?;
        if state.names(dir).contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.call(true)?;
        Ok(state.link(dir, &name, Node::File { bytes: Vec::new(), durable: Vec::new() }))
    }

    fn append(&self, file: &mut usize, new: &[u8]) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let done = state.call(true);
        let room = state.faults.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(state.used()) as usize);
        let was_alive = done.is_ok() || state.faults.crash_at == Some(state.n_calls);
        let Node::File { bytes, .. } = &mut state.nodes[*file] else { panic!("no file") };
        match done {
            Ok(()) if new.len() <= room => bytes.extend_from_slice(new),
            Ok(()) => {
                bytes.extend_from_slice(&new[..room]);
                return Err(ErrorKind::StorageFull.into());
            }
            Err(_) if was_alive => bytes.extend_from_slice(&new[..new.len() / 2]),
            Err(_) => {}
        }
        done
    }

    fn sync(&self, file: usize) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let done = state.sync_call(file);
        let is_failed = state.failed_syncs.contains(&file);
        let Node::File { bytes, durable } = &mut state.nodes[file] else { panic!("no file") };
        if is_failed {
            // As Linux does: the pages are clean now, and gone with the next cache miss.
            *bytes = durable.clone();
        } else if done.is_ok() {
            *durable = bytes.clone();
        }
        done
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let node = state.find(dir)?;
        state.sync_call(node)?;
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut state.journal).into_iter().partition(|c| c.touches(node));
        now.iter().for_each(|change| state.make_durable(change));
        state.journal = later;
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let ((from_dir, from), (to_dir, to)) = (state.parent(from)?, state.parent(to)?);
        let node = *state.names(from_dir).get(&from).ok_or(ErrorKind::NotFound)?;
        if let Some(&there) = state.names(to_dir).get(&to)
            && !state.names(there).is_empty()
        {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        state.call(true)?;
        state.names(from_dir).remove(&from);
        state.names(to_dir).insert(to.clone(), node);
        state.journal.push(NameChange::Rename { from_dir, from, to_dir, to });
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let node = state.find(dir)?;
        for name in state.names(node).keys().cloned().collect::<Vec<_>>() {
            state.unlink(node, &name)?;
        }
        let (above, name) = state.parent(dir)?;
        state.unlink(above, &name)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.0.borrow();
        let Node::File { bytes, .. } = &state.nodes[state.find(path)?] else { return Err(ErrorKind::IsADirectory.into()) };
        let mut bytes = bytes.clone();
        if state.faults.flips.is_some_and(|name| path.ends_with(name)) {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        }
        Ok(bytes)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        let state = self.0.borrow();
        match &state.nodes[state.find(path)?] {
            Node::File { bytes, .. } => Ok(bytes.len() as u64),
            Node::Dir { .. } => Ok(0),
        }
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.borrow();
        match &state.nodes[state.find(dir)?] {
            Node::Dir { names, .. } => Ok(names.keys().cloned().collect()),
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let state = self.0.borrow();
        state.find(dir)?;
        let told = state.faults.capacity.filter(|_| !state.faults.hides_free);
        Ok(told.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }
}
