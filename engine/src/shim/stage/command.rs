//! Finding and executing the command, with errors that say what a user can do about them.
//!
//! Promises: a name without a slash is looked for in the PATH of the process's own environment, in order, as execvp(3)
//! does (a script without a #! line is run by /bin/sh, too); the message of a failure names the file.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::Access;

use super::spec::Spec;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub fn execute(spec: &Spec) -> Result<Infallible, String> {
    let cwd = if spec.cwd.is_empty() { "/" } else { &spec.cwd };
    std::env::set_current_dir(cwd).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("working directory {cwd:?} does not exist"),
        _ => format!("cannot use working directory {cwd:?}: {}", plain(&error)),
    })?;
    let name = spec.argv.first().ok_or("the command is empty")?;
    let path = find(name, spec.env.get("PATH").map_or(DEFAULT_PATH, String::as_str))?;
    let error = Command::new(&path).arg0(name).args(&spec.argv[1..]).env_clear().envs(&spec.env).exec();
    Err(explain(&path, &error))
}

/// The file that `name` means.
fn find(name: &str, search: &str) -> Result<PathBuf, String> {
    if name.is_empty() {
        return Err("the command is empty".to_owned());
    }
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let mut denied = None;
    for directory in search.split(':') {
        let path = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        if !path.is_file() {
            continue;
        }
        if rustix::fs::access(&path, Access::EXEC_OK).is_ok() {
            return Ok(path);
        }
        denied.get_or_insert(path);
    }
    match denied {
        Some(path) => Err(format!("permission denied: {path:?} is not executable for this user")),
        None => Err(format!("command {name:?} not found in PATH ({search})")),
    }
}

fn explain(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound if path.exists() => {
            format!("cannot run {path:?}: the interpreter or loader that it names does not exist")
        }
        ErrorKind::NotFound => format!("command {path:?} does not exist"),
        ErrorKind::PermissionDenied => format!("permission denied: {path:?} is not executable for this user"),
        _ => format!("cannot run {path:?}: {}", plain(error)),
    }
}

/// The error's text without Rust's "(os error N)".
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_the_path_of_the_environment() {
        assert_eq!(find("sh", "/nowhere:/bin").unwrap(), Path::new("/bin/sh"));
    }

    #[test]
    fn a_name_that_is_nowhere_is_said_with_the_path_that_was_searched() {
        assert_eq!(find("no-such-thing", "/bin").unwrap_err(), "command \"no-such-thing\" not found in PATH (/bin)");
    }

    #[test]
    fn a_file_that_may_not_be_executed_is_said_to_be_so() {
        let directory = std::env::temp_dir().join(format!("fairlead-find-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("plain"), "").unwrap();
        let message = find("plain", directory.to_str().unwrap()).unwrap_err();
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(message.starts_with("permission denied"), "{message}");
    }
}
