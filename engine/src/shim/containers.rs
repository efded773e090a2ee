//! Starting containers and recording how they end.

use serde_json::Value;

use super::children::{Child, ClientId, Container, Role};
use super::logs::Log;
use super::output::Sink;
use super::server::Server;
use super::spawn::{Report, Streams};
use super::stage::spec::Spec;
use super::wire::{Exited, Message, Start};
use super::{clock, exits, kill, prepare, spawn};

impl Server {
    pub(super) fn start(&mut self, client: ClientId, id: &Value, start: Start) -> Result<Option<Message>, String> {
        let name = start.container.clone();
        exits::check_name(&name)?;
        if self.containers.get(&name).is_some_and(|known| known.exited.is_none()) {
            return Err(format!("container {name:?} is running already"));
        }
        let spec = self.spec_of(&start)?;
        prepare::prepare(&start)?;
        let log = Log::open(&start.log, start.log_limit_bytes, start.log_files)
            .map_err(|error| format!("cannot open the log {:?}: {error}", start.log))?;
        exits::forget(&self.seat.directory, &name);
        let oom_kills = exits::oom_kills(&start.cgroups);
        let role = Role::Container { name: name.clone() };
        let streams = match (start.tty, start.stdin) {
            (true, _) => Streams::Terminal { width: 0, height: 0 },
            (false, true) => Streams::Piped,
            (false, false) => Streams::Output,
        };
        let (pid, child) = Child::new(role, spawn::spawn(&spec, streams)?, Sink::Log(Box::new(log)), None);
        self.children.insert(pid, child);
        let container = Container {
            start,
            asked_by: Some((client, id.clone())),
            pid,
            host_pid: pid,
            started_at: clock::wall_seconds(),
            running: false,
            exited: None,
            oom_kills,
        };
        self.containers.insert(name, container);
        Ok(None)
    }

    fn spec_of(&self, start: &Start) -> Result<Spec, String> {
        if start.argv.is_empty() {
            return Err("argv is empty".to_owned());
        }
        Ok(Spec {
            argv: start.argv.clone(),
            env: start.env.clone(),
            cwd: start.cwd.clone(),
            uid: start.uid,
            gid: start.gid,
            groups: start.groups.clone(),
            no_new_privs: start.no_new_privs.unwrap_or(true),
            capabilities: start.capabilities.clone(),
            rlimits: start.rlimits.clone(),
            cgroups: start.cgroups.clone(),
            mounts: self.seat.config.mount_plan(&start.mounts, start.read_only_root)?,
            die_with_parent: true,
            ..Spec::default()
        })
    }

    /// A command in a running container: its user, limits, cgroups and mounts, its environment unless changed.
    pub(super) fn command_in(&self, container: &str, argv: &[String]) -> Result<Spec, String> {
        let running = self.running(container)?;
        let enter = self.seat.config.has(super::config::Namespace::Mnt);
        let spec = Spec { argv: argv.to_vec(), ..self.spec_of(&running.start)? };
        if argv.is_empty() {
            return Err("argv is empty".to_owned());
        }
        let enter = enter.then(|| format!("/proc/{}/ns/mnt", running.host_pid));
        Ok(Spec { mounts: None, enter, ..spec })
    }

    pub(super) fn running(&self, container: &str) -> Result<&Container, String> {
        match self.containers.get(container) {
            None => Err(format!("container {container:?} has not been started")),
            Some(known) if known.running && known.exited.is_none() => Ok(known),
            Some(_) => Err(format!("container {container:?} is not running")),
        }
    }

    pub(super) fn signal(&self, container: &str, signal: &Value) -> Result<(), String> {
        let signal = kill::signal_of(signal)?;
        let pid = self.running(container)?.pid;
        if signal == nix::sys::signal::Signal::SIGKILL {
            kill::group(pid);
            return Ok(());
        }
        kill::one(pid, signal)
    }

    /// The second stage has said all it had to say.
    pub(super) fn container_told(&mut self, name: &str, pid: i32, report: &Report) {
        let Some(container) = self.containers.get_mut(name).filter(|container| container.pid == pid) else { return };
        container.host_pid = report.host_pid().unwrap_or(pid);
        let asked_by = container.asked_by.take();
        let answer = match report.failure() {
            Some(message) => {
                let id = asked_by.as_ref().map(|(_, id)| id.clone()).unwrap_or_default();
                self.containers.remove(name);
                Message::Error { id, message: format!("cannot start container {name:?}: {message}") }
            }
            None => {
                container.running = true;
                let id = asked_by.as_ref().map(|(_, id)| id.clone()).unwrap_or_default();
                Message::Started { id, pid: container.host_pid, at: container.started_at }
            }
        };
        if let Some((client, _)) = asked_by {
            self.send(client, &answer);
        }
    }

    pub(super) fn container_exited(&mut self, name: &str, pid: i32, exit_code: i32, signal: Option<i32>) {
        // A container that never became its command is gone already; that was its answer.
        let Some(container) = self.containers.get_mut(name).filter(|container| container.pid == pid) else { return };
        let exited = Exited {
            container: name.to_owned(),
            pid: container.host_pid,
            exit_code,
            signal,
            started_at: container.started_at,
            finished_at: clock::wall_seconds(),
            oom: exits::oom_kills(&container.start.cgroups) > container.oom_kills,
        };
        container.running = false;
        container.exited = Some(exited.clone());
        if let Err(error) = exits::record(&self.seat.directory, &exited) {
            complain!("cannot record the exit of {name:?}: {error}");
        }
        self.send_all(&Message::Exited(exited));
    }
}
