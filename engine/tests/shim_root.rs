//! The shim with privilege: namespaces, mounts, users and capabilities. Without root these return at once.

mod support;

use serde_json::json;
use support::{Shim, await_true, is_alive};

fn pod(name: &str, more: serde_json::Value) -> Option<Shim> {
    if !support::is_root() {
        return None;
    }
    let mut config = json!({"pod": "default/test", "namespaces": ["net", "mnt", "pid", "uts", "ipc"],
        "hostname": "pod-7", "loopback_up": true});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    let mut shim = Shim::start(name, &config);
    let started = shim.start_container("web", &["sleep", "1000"]);
    assert_eq!(started["type"], "started", "{started}");
    Some(shim)
}

#[test]
fn a_pod_has_its_own_network_with_lo_up_and_host_name() {
    let Some(mut shim) = pod("net", json!({})) else { return };
    assert_eq!(shim.output("web", "hostname"), "pod-7");
    let links = shim.output("web", "cat /proc/net/dev | tail -n +3 | grep -c :");
    assert_eq!(links, "1");
    assert_eq!(shim.output("web", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "0");
    assert_eq!(shim.output("web", "grep -c 127.0.0.1 /proc/net/fib_trie || true"), "2");
    let state = shim.ask(json!({"type": "state"}));
    let theirs = std::fs::read_link(format!("/proc/{}/ns/net", state["netns_pid"])).unwrap();
    assert_ne!(theirs, std::fs::read_link("/proc/self/ns/net").unwrap());
    assert_eq!(state["shim_pid"], shim.pid());
}

#[test]
fn pids_are_the_hosts_outside_and_the_pods_inside() {
    let Some(mut shim) = pod("pid", json!({})) else { return };
    let state = shim.ask(json!({"type": "state"}));
    let pid = state["containers"]["web"]["pid"].as_i64().unwrap();
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(name, "sleep\n");
    assert_eq!(shim.output("web", "cat /proc/1/comm"), "fairlead-shim");
    let seen: usize = shim.output("web", "ls /proc | grep -c '^[0-9]'").parse().unwrap();
    assert!(seen < 10, "{seen} processes are visible");
}

#[test]
fn zombies_are_reaped_and_all_die_with_the_shim() {
    let Some(mut shim) = pod("init", json!({})) else { return };
    shim.output("web", "setsid sh -c 'sleep 0.05 &' ; setsid sh -c 'sleep 1000 &'; sleep 0.2");
    assert_eq!(shim.output("web", "grep -l '^State:.Z' /proc/[0-9]*/status | wc -l"), "0");
    let state = shim.ask(json!({"type": "state"}));
    let container = state["containers"]["web"]["pid"].as_i64().unwrap() as i32;
    let pid = nix::unistd::Pid::from_raw(shim.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    await_true("the container is gone", || !is_alive(container));
}

#[test]
fn volumes_are_mounted_and_our_state_is_hidden() {
    let volumes = support::Folder::new("volumes");
    std::fs::create_dir(volumes.path("config")).unwrap();
    std::fs::write(volumes.path("config/key"), "value").unwrap();
    std::fs::write(volumes.path("one-file"), "file").unwrap();
    let mounts = json!([
        {"source": volumes.path("config"), "target": "/etc/app-of-test/config", "kind": "bind", "read_only": true},
        {"source": volumes.path("one-file"), "target": "/fairlead-test-data/one", "kind": "bind"},
        {"source": "", "target": "/fairlead-test-data/cache", "kind": "tmpfs", "size_bytes": 65536},
        {"source": "", "target": "/mnt", "kind": "tmpfs"},
    ]);
    let Some(mut shim) = pod("mounts", json!({"mounts": mounts, "hide": [volumes.path(""), "/etc/hostname"]})) else {
        return;
    };
    assert_eq!(shim.output("web", "cat /etc/app-of-test/config/key"), "value");
    assert_eq!(shim.output("web", "echo x > /etc/app-of-test/config/key || echo read-only"), "read-only");
    assert_eq!(shim.output("web", "cat /fairlead-test-data/one"), "file");
    assert_eq!(shim.output("web", "echo more >> /fairlead-test-data/one; echo $?"), "0");
    assert_eq!(volumes.read("one-file"), "filemore\n");
    assert_eq!(shim.output("web", "head -c 100000 /dev/zero > /fairlead-test-data/cache/x || echo full"), "full");
    assert_eq!(shim.output("web", &format!("ls {} | wc -l", volumes.path(""))), "0");
    assert_eq!(shim.output("web", "cat /etc/hostname"), "");
    // What was there is there still, and the host has seen nothing.
    assert_eq!(shim.output("web", "test -e /etc/passwd && test -d /usr/bin && echo there"), "there");
    assert!(!std::path::Path::new("/fairlead-test-data").exists());
    assert!(!std::path::Path::new("/etc/app-of-test").exists());
    assert!(
        std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().all(|line| !line.contains("fairlead-test"))
    );
}

#[test]
fn a_mount_point_in_dev_leaves_the_same_devices_but_the_machines_consoles() {
    let folder = support::Folder::new("dev");
    std::fs::write(folder.path("log"), "").unwrap();
    let mounts = json!([{"source": folder.path("log"), "target": "/dev/fairlead-test-log"}]);
    let Some(mut shim) = pod("dev", json!({"mounts": mounts})) else { return };
    let list = "umask; cd /dev; for one in *; do stat -c '%n %F %a %u:%g %t:%T' $one; done | grep -v fairlead-test-log";
    let seen = shim.output("web", list);
    let host = std::process::Command::new("sh").args(["-c", list]).env("LC_ALL", "C").output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let is_console = |line: &&str| {
        let name = line.split(' ').next().unwrap();
        ["tty", "vcs", "vcsa", "vcsu"].into_iter().any(|prefix| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()) && name != "tty")
        })
    };
    let devices = |text: &str| -> Vec<String> {
        let lines = text.lines().skip(1).filter(|line| line.contains("special file") || line.contains("symbolic"));
        lines.filter(|line| !is_console(line)).map(str::to_owned).collect()
    };
    assert!(devices(&host).iter().any(|line| line.starts_with("null character special file 666 0:0 1:3")), "{host}");
    assert_eq!(devices(&seen), devices(&host));
    assert_eq!(seen.lines().filter(is_console).count(), 0, "{seen}");
    assert_eq!(seen.lines().next(), Some("0022"));
    assert_eq!(shim.output("web", "echo x > /dev/null && head -c 3 /dev/zero | wc -c"), "3");
}

#[test]
fn a_read_only_root_leaves_volumes_writable() {
    let Some(mut shim) = pod("readonly", json!({})) else { return };
    let mounts = json!([
        {"target": "/tmp", "kind": "tmpfs"},
        {"target": "/fairlead-test-cache/deep", "kind": "tmpfs"},
    ]);
    let started = shim.start_with("app", &["sleep", "1000"], json!({"read_only_root": true, "mounts": mounts}));
    assert_eq!(started["type"], "started", "{started}");
    for path in ["/x", "/etc/x", "/usr/x", "/var/x", "/fairlead-test-cache/x"] {
        assert_eq!(shim.output("app", &format!("touch {path} 2>/dev/null || echo refused")), "refused", "{path}");
    }
    let in_memory = format!("/tmp/fairlead-test-read-only-root-{}", std::process::id());
    for path in [in_memory.as_str(), "/fairlead-test-cache/deep/x", "/dev/null"] {
        assert_eq!(shim.output("app", &format!("echo x > {path} && echo written")), "written", "{path}");
    }
    assert!(!std::path::Path::new(&in_memory).exists());
    // Only that container's.
    assert_eq!(shim.output("web", &format!("touch {in_memory} && rm {in_memory} && echo written")), "written");
}

#[test]
fn sysctls_of_its_own_namespaces_are_set_and_others_refused() {
    let Some(mut shim) = pod("sysctls", json!({"sysctls": {"net.core.somaxconn": "777"}})) else { return };
    assert_eq!(shim.output("web", "cat /proc/sys/net/core/somaxconn"), "777");
    let folder = support::Folder::new("sysctl-refused");
    std::fs::write(folder.path("shim.json"), r#"{"namespaces": ["net"], "sysctls": {"vm.swappiness": "1"}}"#).unwrap();
    let output = support::launch(&folder, None);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("vm.swappiness"), "{text}");
}

#[test]
fn containers_of_a_pod_share_its_network_but_not_their_volumes() {
    let Some(mut shim) = pod("two", json!({})) else { return };
    let more = json!({"mounts": [{"target": "/mnt", "kind": "tmpfs"}]});
    shim.start_with("side", &["sh", "-c", "echo mine > /mnt/file; sleep 1000"], more);
    assert_eq!(shim.output("web", "readlink /proc/self/ns/net"), shim.output("side", "readlink /proc/self/ns/net"));
    assert_ne!(shim.output("web", "readlink /proc/self/ns/mnt"), shim.output("side", "readlink /proc/self/ns/mnt"));
    assert_eq!(shim.output("side", "while ! test -s /mnt/file; do :; done; cat /mnt/file"), "mine");
    assert_eq!(shim.output("web", "test -e /mnt/file || echo none"), "none");
}

#[test]
fn a_container_runs_as_the_user_asked_without_more_than_it_may() {
    if !support::has_users() {
        return;
    }
    let Some(mut shim) = pod("user", json!({})) else { return };
    let more = json!({"uid": 1234, "gid": 2345, "groups": [3456, 4567], "rlimits": {"nofile": [77, 88]}});
    shim.start_with("app", &["sleep", "1000"], more);
    assert_eq!(shim.output("app", "id -u; id -g; id -G"), "1234\n2345\n2345 3456 4567");
    assert_eq!(shim.output("app", "ulimit -Sn; ulimit -Hn"), "77\n88");
    let caps = "grep -E 'CapEff|CapAmb|CapInh|NoNewPrivs' /proc/self/status | cut -f2 | tr '\\n' ' '";
    assert_eq!(shim.output("app", caps), "0000000000000000 0000000000000000 0000000000000000 1");
}

#[test]
fn root_in_a_container_has_the_default_capabilities_and_no_more() {
    let Some(mut shim) = pod("caps", json!({})) else { return };
    let bounding = "grep -E 'CapEff|CapBnd' /proc/self/status | cut -f2 | tr '\\n' ' '";
    // The default set of containerd: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
    // net_bind_service, net_raw, sys_chroot, mknod, audit_write, setfcap.
    assert_eq!(shim.output("web", bounding), "00000000a80425fb 00000000a80425fb");
    shim.start_with("none", &["sleep", "1000"], json!({"capabilities": []}));
    assert_eq!(shim.output("none", bounding), "0000000000000000 0000000000000000");
    assert_eq!(shim.output("web", "unshare -m true 2>/dev/null || echo refused"), "refused");
}

#[test]
fn execs_and_probes_run_inside_the_containers_namespaces() {
    let mounts = json!([{"target": "/mnt", "kind": "tmpfs"}]);
    let Some(mut shim) = pod("inside", json!({"mounts": mounts})) else { return };
    shim.output("web", "echo here > /mnt/mark");
    let argv = ["sh", "-c", "cat /mnt/mark; hostname"];
    shim.ask(json!({"type": "exec_probe", "container": "web", "argv": argv}));
    let event = shim.client.await_type("probe");
    assert_eq!((event["ok"].clone(), event["message"].clone()), (json!(true), json!("here\npod-7")));
}

#[test]
fn stop_ends_every_process_of_the_namespace() {
    let Some(mut shim) = pod("stop", json!({})) else { return };
    shim.output("web", "setsid sh -c 'sleep 1000 &'");
    let pid = shim.pid();
    assert_eq!(shim.ask(json!({"type": "stop"}))["type"], "ok");
    await_true("the shim has ended", || !is_alive(pid));
    assert!(shim.folder.read("web.exit.json").contains("\"signal\":9"));
}
