//! Mount points that do not exist on the host, made without touching the host.
//!
//! A process pod sees the host's files, so a volume on `/data` would need a folder `/data` there. Instead the deepest
//! existing parent is covered by a small tmpfs in which every entry of the parent is bound to itself; the missing folders
//! are made in that tmpfs. Promises: what was in the parent is still there, same file systems, same contents; devices
//! are the same devices (made anew where that is allowed: a /dev has a hundred, and each mount costs at the start and at
//! the end). Left out: the machine's virtual consoles (tty1, vcs …), which no container gets. Refuses: parents with
//! more than 2,000 entries.

use std::fs::{self, DirEntry, Metadata, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, mknod};

use super::command::plain;
use super::mounts::raw;

const MOST_ENTRIES: usize = 2000;

/// Makes sure that `target` exists, as a directory or as a file. Returns the parent that had to be covered for it.
pub fn make_target(target: &Path, directory: bool) -> Result<Option<String>, String> {
    if target.exists() {
        return Ok(None);
    }
    let parent = existing_parent(target);
    let covered = !is_ours(&parent);
    if covered {
        cover(&parent)?;
    }
    make(target, directory)?;
    Ok(covered.then(|| parent.to_string_lossy().into_owned()))
}

fn make(target: &Path, directory: bool) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot make mount point {target:?}: {}", plain(&error));
    if directory {
        return fs::create_dir_all(target).map_err(failed);
    }
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(target, "").map_err(failed)
}

fn existing_parent(target: &Path) -> PathBuf {
    target.ancestors().skip(1).find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_path_buf()
}

/// Whether this directory is in a tmpfs that `cover` made (its root is marked).
fn is_ours(directory: &Path) -> bool {
    directory.ancestors().any(|path| {
        path.join(MARK).exists()
            && fs::metadata(path).map(|m| device(&m)).ok() == fs::metadata(directory).map(|m| device(&m)).ok()
    })
}

const MARK: &str = ".fairlead-mount-points";

fn device(metadata: &Metadata) -> u64 {
    metadata.dev()
}

fn cover(parent: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot make mount points in {parent:?}: {}", plain(&error));
    let below = fs::File::open(parent).map_err(failed)?;
    let entries: Vec<DirEntry> = fs::read_dir(parent).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if entries.len() > MOST_ENTRIES {
        return Err(format!("cannot make mount points in {parent:?}: it has more than {MOST_ENTRIES} entries"));
    }
    let is_root = parent == Path::new("/");
    // The root cannot be covered in place: the new one is built elsewhere and moved there.
    let stage = if is_root { staging()? } else { parent.to_path_buf() };
    let stage_text = stage.to_str().ok_or("a mount point's path is not UTF-8")?;
    let no_devices = if under_dev(parent) { MsFlags::empty() } else { MsFlags::MS_NODEV };
    raw(Some("tmpfs"), stage_text, Some("tmpfs"), MsFlags::MS_NOSUID | no_devices, Some("mode=0755"))?;
    let under = format!("/proc/self/fd/{}", below.as_raw_fd());
    for entry in &entries {
        copy_entry(&under, entry, &stage)?;
    }
    fs::write(stage.join(MARK), "").map_err(failed)?;
    if is_root { switch_root(&stage).map_err(failed) } else { Ok(()) }
}

fn staging() -> Result<PathBuf, String> {
    ["/tmp", "/run", "/mnt", "/var", "/usr"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_dir() && !path.is_symlink())
        .ok_or_else(|| "no directory to build a root file system on".to_owned())
}

fn copy_entry(under: &str, entry: &DirEntry, stage: &Path) -> Result<(), String> {
    let name = entry.file_name();
    let target = stage.join(&name);
    let failed = |error: std::io::Error| format!("cannot mirror {:?}: {}", entry.path(), plain(&error));
    let kind = entry.file_type().map_err(failed)?;
    if kind.is_symlink() {
        let to = fs::read_link(Path::new(under).join(&name)).map_err(failed)?;
        return std::os::unix::fs::symlink(to, &target).map_err(failed);
    }
    if kind.is_char_device() || kind.is_block_device() {
        let metadata = entry.metadata().map_err(failed)?;
        if is_console(&metadata) || under_dev(&target) && copy_device(&metadata, &target) {
            return Ok(());
        }
    }
    if kind.is_dir() {
        fs::create_dir(&target).map_err(failed)?;
    } else {
        fs::write(&target, "").map_err(failed)?;
    }
    let source = Path::new(under).join(&name);
    let (Some(source), Some(target)) = (source.to_str(), target.to_str()) else {
        return Err(format!("cannot mirror {:?}: its name is not UTF-8", entry.path()));
    };
    raw(Some(source), target, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)
}

fn under_dev(target: &Path) -> bool {
    target.starts_with("/dev")
}

/// tty0 to tty63 and their memory (the kernel's admin-guide/devices.txt).
fn is_console(metadata: &Metadata) -> bool {
    let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    metadata.file_type().is_char_device() && (major == 4 && minor < 64 || major == 7)
}

/// Makes the same device with the same owner and mode. `false` where that is not allowed (user namespaces).
fn copy_device(metadata: &Metadata, target: &Path) -> bool {
    let kind = if metadata.file_type().is_block_device() { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
    if mknod(target, kind, Mode::empty(), metadata.rdev()).is_err() {
        return false;
    }
    let owned =
        metadata.uid() == 0 && metadata.gid() == 0 || chown(target, Some(metadata.uid()), Some(metadata.gid())).is_ok();
    if owned && fs::set_permissions(target, Permissions::from_mode(metadata.mode() & 0o7777)).is_ok() {
        return true;
    }
    let _ = fs::remove_file(target);
    false
}

fn switch_root(stage: &Path) -> std::io::Result<()> {
    std::env::set_current_dir(stage)?;
    nix::mount::mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    nix::unistd::chroot(".")?;
    std::env::set_current_dir("/")
}
