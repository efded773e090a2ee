//! `DIR/CONTAINER.exit.json`: how a container ended, on disk before anybody is told.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::wire::Exited;

/// A container's name becomes part of file names: what Kubernetes allows, nothing else.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.is_empty() && name.len() <= 253 && name.bytes().all(plain) {
        return Ok(());
    }
    Err(format!("{name:?} is not a container's name (lower case letters, digits and '-')"))
}

pub fn forget(directory: &Path, container: &str) {
    // It is not there when the container starts for the first time.
    let _ = fs::remove_file(path_of(directory, container));
}

pub fn record(directory: &Path, exited: &Exited) -> io::Result<()> {
    let path = path_of(directory, &exited.container);
    let fresh = path.with_extension("json.new");
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec(exited)?)?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    File::open(directory)?.sync_all()
}

fn path_of(directory: &Path, container: &str) -> PathBuf {
    directory.join(format!("{container}.exit.json"))
}

/// How often the kernel killed a member of these cgroups for memory: `memory.events` (v2) or `memory.oom_control` (v1).
pub fn oom_kills(cgroups: &[String]) -> u64 {
    let files = cgroups.iter().flat_map(|path| [format!("{path}/memory.events"), format!("{path}/memory.oom_control")]);
    files
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| {
            text.lines()
                .filter_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
                .collect::<Vec<_>>()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_for_memory_are_counted_in_either_version() {
        let folder = std::env::temp_dir().join(format!("fl-oom-{}", std::process::id()));
        let (one, two) = (folder.join("v1"), folder.join("v2"));
        let texts = [
            (&one, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            (&two, "memory.events", "low 0\nhigh 7\nmax 9\noom 4\noom_kill 3\noom_group_kill 1\n"),
        ];
        for (path, name, text) in texts {
            fs::create_dir_all(path).unwrap();
            fs::write(path.join(name), text).unwrap();
        }
        let of =
            |paths: &[&PathBuf]| oom_kills(&paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>());
        assert_eq!((of(&[&one]), of(&[&two]), of(&[&one, &two]), of(&[&folder])), (2, 3, 5, 0));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        for name in ["", "../x", "a/b", ".hidden", "Upper"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("web-0").is_ok());
    }
}
