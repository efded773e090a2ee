//! Mount points that do not exist on the host, made without touching the host.
//!
//! A process pod sees the host's files, so a volume on `/data` would need a folder `/data` there. Instead the deepest
//! existing parent is covered by a small tmpfs in which every entry of the parent is bound to itself; the missing folders
//! are made in that tmpfs. Promises: what was in the parent is still there, same file systems, same contents; devices
//! are the same devices (made anew where that is allowed: a /dev has a hundred, and each mount costs at the start and at
//! the end). Left out: the machine's virtual consoles (tty1, vcs …), which no container gets. Refuses: parents with
//! more than 2,000 entries.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, DirEntry, Metadata, OpenOptions, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, mknod, umask};

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
    // Devices are born with their mode.
    let before = umask(Mode::empty());
    entries.iter().try_for_each(|entry| copy_entry(&under, entry, &stage))?;
    umask(before);
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
    if kind.is_char_device() && is_console_name(&name) {
        return Ok(());
    }
    if kind.is_char_device() || kind.is_block_device() {
        let metadata = entry.metadata().map_err(failed)?;
        if is_console(&metadata) || under_dev(&target) && copy_device(&metadata, &target) {
            return Ok(());
        }
    }
    if kind.is_dir() {
        DirBuilder::new().mode(0o755).create(&target).map_err(failed)?;
    } else {
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&target).map_err(failed)?;
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

/// What the kernel calls them: a /dev has seventy, which need not be looked at one by one.
fn is_console_name(name: &OsStr) -> bool {
    ["tty", "vcsa", "vcsu", "vcs"].iter().any(|prefix| {
        let number = name.as_bytes().strip_prefix(prefix.as_bytes());
        number.is_some_and(|number| {
            number.iter().all(u8::is_ascii_digit) && (*prefix != "tty" || matches!(number.len(), 1 | 2))
        })
    })
}

/// tty0 to tty63 and their memory (the kernel's admin-guide/devices.txt).
fn is_console(metadata: &Metadata) -> bool {
    let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    metadata.file_type().is_char_device() && (major == 4 && minor < 64 || major == 7)
}

/// Makes the same device with the same owner and mode (the umask is 0). `false` where that is not allowed (user
/// namespaces).
fn copy_device(metadata: &Metadata, target: &Path) -> bool {
    let kind = if metadata.file_type().is_block_device() { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
    let mode = metadata.mode() & 0o7777;
    if metadata.uid() == 0 && metadata.gid() == 0 {
        return mknod(target, kind, Mode::from_bits_truncate(mode), metadata.rdev()).is_ok();
    }
    if mknod(target, kind, Mode::empty(), metadata.rdev()).is_err() {
        return false;
    }
    let is_same = chown(target, Some(metadata.uid()), Some(metadata.gid()))
        .and_then(|()| fs::set_permissions(target, Permissions::from_mode(mode)))
        .is_ok();
    if !is_same {
        let _ = fs::remove_file(target);
    }
    is_same
}

fn switch_root(stage: &Path) -> std::io::Result<()> {
    std::env::set_current_dir(stage)?;
    nix::mount::mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    nix::unistd::chroot(".")?;
    std::env::set_current_dir("/")
}
