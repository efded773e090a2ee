//! The shim without any privilege: what every pod can rely on, wherever fairlead runs.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Shim, await_true, is_alive, text_of};

fn plain(name: &str) -> Shim {
    Shim::start(name, &json!({"pod": "default/test"}))
}

#[test]
fn a_container_runs_its_output_is_logged_and_its_exit_is_on_disk_before_the_event() {
    let mut shim = plain("run");
    let started = shim.start_container("web", &["sh", "-c", "echo out; echo err >&2; printf rest; exit 7"]);
    assert_eq!(started["type"], "started", "{started}");
    let exited = shim.await_exit("web");
    let recorded: serde_json::Value = serde_json::from_str(&shim.folder.read("web.exit.json")).unwrap();
    assert_eq!(recorded["exit_code"], 7);
    assert_eq!(exited["pid"], started["pid"]);
    let log = shim.folder.read("web.log");
    let mut lines: Vec<&str> = log.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["stderr F err", "stdout F out", "stdout F rest"]);
    assert!(log.starts_with("20") && log.contains("Z std"), "{log}");
}

#[test]
fn the_shim_outlives_its_parent_and_its_socket_is_private() {
    let shim = plain("outlive");
    let pid = shim.pid();
    // The launcher has returned; the shim is a session of its own.
    assert!(is_alive(pid));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session: i32 = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap().parse().unwrap();
    assert_eq!(session, pid);
    let mode = std::fs::metadata(shim.folder.path("shim.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_second_shim_in_the_same_folder_is_refused() {
    let shim = plain("second");
    let output = support::launch(&shim.folder, None);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("another shim"), "{text}");
    assert!(is_alive(shim.pid()));
}

#[test]
fn errors_name_what_failed() {
    let mut shim = plain("errors");
    let file = shim.folder.path("not-executable");
    std::fs::write(&file, "x").unwrap();
    let below_a_file = format!("{file}/log");
    let script = shim.folder.path("bad-interpreter");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (argv, more, expected) in [
        (vec!["no-such-command"], json!({}), "command \"no-such-command\" not found in PATH (/usr/bin:/bin)"),
        (vec!["/no/such/file"], json!({}), "command \"/no/such/file\" does not exist"),
        (vec![file.as_str()], json!({}), "permission denied"),
        (vec![script.as_str()], json!({}), "interpreter"),
        (vec!["true"], json!({"cwd": "/no/such/folder"}), "working directory \"/no/such/folder\" does not exist"),
        (vec!["true"], json!({"log": below_a_file}), "cannot make"),
        (vec!["true"], json!({"capabilities": ["SYS_ADMIN"]}), "SYS_ADMIN"),
        (vec!["true"], json!({"rlimits": {"nonsense": [1, 1]}}), "unknown resource limit \"nonsense\""),
        (vec!["true"], json!({"cgroups": ["/no/such/cgroup"]}), "cannot join cgroup"),
        (vec!["true"], json!({"mounts": [{"source": "/tmp", "target": "/x"}]}), "mount namespace"),
        (vec![], json!({}), "argv is empty"),
    ] {
        let answer = shim.start_with("web", &argv, more);
        assert_eq!(answer["type"], "error", "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(expected), "{answer} lacks {expected}");
    }
    assert_eq!(shim.ask(json!({"type": "state"}))["containers"], json!({}));
    let answer = shim.ask(json!({"type": "nonsense"}));
    assert_eq!(answer["type"], "error");
    // After all of that a good one starts.
    assert_eq!(shim.start_container("web", &["true"])["type"], "started");
}

#[test]
fn a_flood_is_rotated_and_costs_no_memory() {
    let mut shim = plain("flood");
    let more = json!({"log_limit_bytes": 1 << 20, "log_files": 3});
    let script = "head -c 50000000 /dev/zero | tr '\\0' x; yes 'a line of a log' | head -c 50000000";
    shim.start_with("web", &["sh", "-c", script], more);
    shim.await_exit("web");
    let peak = status_of(shim.pid(), "VmHWM");
    assert!(peak < 16 << 10, "peak {peak} KiB");
    let mut logs: Vec<u64> = std::fs::read_dir(&shim.folder.0)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_str().unwrap().starts_with("web.log"))
        .map(|entry| entry.metadata().unwrap().len())
        .collect();
    logs.sort_unstable();
    assert_eq!(logs.len(), 3);
    assert!(logs.iter().all(|size| *size <= (1 << 20) + (64 << 10)), "{logs:?}");
}

fn status_of(pid: i32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn exec_answers_with_output_and_code_and_has_the_containers_environment() {
    let mut shim = plain("exec");
    shim.start_with("web", &["sleep", "100"], json!({"env": {"PATH": "/bin:/usr/bin", "COLOUR": "blue"}}));
    let argv = ["sh", "-c", "echo $COLOUR $MORE; pwd >&2; exit 3"];
    let answer =
        shim.ask(json!({"type": "exec", "container": "web", "argv": argv, "env": {"MORE": "red"}, "cwd": "/usr"}));
    assert_eq!(answer["exit_code"], 3, "{answer}");
    assert_eq!(text_of(&answer["stdout"]), "blue red\n");
    assert_eq!(text_of(&answer["stderr"]), "/usr\n");
    let answer = shim.exec("web", &["no-such-command"]);
    assert!(answer["message"].as_str().unwrap().contains("not found in PATH"), "{answer}");
    let answer = shim.exec("other", &["true"]);
    assert!(answer["message"].as_str().unwrap().contains("has not been started"), "{answer}");
}

#[test]
fn an_exec_that_hangs_is_killed_at_its_timeout_with_its_children() {
    let mut shim = plain("timeout");
    shim.start_container("web", &["sleep", "100"]);
    let before = Instant::now();
    let argv = ["sh", "-c", "echo before; sleep 1000 & echo $!; wait"];
    let answer = shim.ask(json!({"type": "exec", "container": "web", "argv": argv, "timeout_seconds": 0.3}));
    assert_eq!(answer["timed_out"], true, "{answer}");
    assert!(before.elapsed() < Duration::from_secs(5));
    let output = text_of(&answer["stdout"]);
    let child: i32 = output.lines().nth(1).unwrap().parse().unwrap();
    await_true("the sleeping grandchild is gone", || !is_alive(child));
}

#[test]
fn an_execs_output_is_bounded() {
    let mut shim = plain("bounded");
    shim.start_container("web", &["sleep", "100"]);
    let argv = ["sh", "-c", "head -c 100000000 /dev/zero"];
    let answer = shim.ask(
        json!({"type": "exec", "container": "web", "argv": argv, "max_output_bytes": 1000, "timeout_seconds": 20.0}),
    );
    assert_eq!(text_of(&answer["stdout"]).len(), 1000);
    assert_eq!((answer["truncated"].clone(), answer["exit_code"].clone()), (json!(true), json!(0)));
}

#[test]
fn probes_report_transitions_only_and_a_hanging_one_is_a_failure() {
    let mut shim = plain("probes");
    let flag = shim.folder.path("flag");
    shim.start_container("web", &["sleep", "100"]);
    let argv = ["sh", "-c", &format!("if test -e {flag}; then echo fine; else sleep 100; fi")];
    let probe = json!({"type": "exec_probe", "container": "web", "argv": argv, "period_seconds": 0.1,
        "timeout_seconds": 0.15, "failure_threshold": 2, "fast_start": false});
    let answer = shim.ask(probe);
    assert_eq!(answer["type"], "ok", "{answer}");
    let first = shim.client.await_type("probe");
    assert_eq!((first["ok"].clone(), first["id"].clone()), (json!(false), answer["id"].clone()), "{first}");
    assert!(first["message"].as_str().unwrap().contains("timed out"), "{first}");
    std::fs::write(&flag, "").unwrap();
    let second = shim.client.await_type("probe");
    assert_eq!((second["ok"].clone(), second["message"].clone()), (json!(true), json!("fine")));
    shim.client.send(&json!({"type": "probe_stop", "id": answer["id"]}));
    shim.client.await_type("ok");
}

#[test]
fn a_fast_start_finds_success_long_before_the_period() {
    let mut shim = plain("fast");
    let flag = shim.folder.path("flag");
    shim.start_container("web", &["sh", "-c", &format!("sleep 0.1; touch {flag}; sleep 100")]);
    let before = Instant::now();
    let probe = json!({"type": "exec_probe", "container": "web", "argv": ["test", "-e", flag], "period_seconds": 30.0,
        "failure_threshold": 1});
    shim.ask(probe);
    let event = shim.client.await_type("probe");
    assert_eq!(event["ok"], true);
    assert!(before.elapsed() < Duration::from_secs(3));
}

#[test]
fn signals_reach_the_container_and_its_end_names_them() {
    let mut shim = plain("signal");
    shim.start_container("web", &["sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"]);
    await_true("the trap is set", || shim.folder.read("web.log").contains("ready"));
    shim.ask(json!({"type": "signal", "container": "web", "signal": "TERM"}));
    let exited = shim.await_exit("web");
    assert_eq!((exited["exit_code"].clone(), exited["signal"].clone()), (json!(9), json!(null)));
    shim.start_container("web", &["sleep", "100"]);
    shim.ask(json!({"type": "signal", "container": "web", "signal": 9}));
    let exited = shim.await_exit("web");
    assert_eq!((exited["exit_code"].clone(), exited["signal"].clone()), (json!(137), json!(9)));
    let answer = shim.ask(json!({"type": "signal", "container": "web", "signal": 9}));
    assert!(answer["message"].as_str().unwrap().contains("not running"), "{answer}");
}

#[test]
fn a_container_that_ended_can_be_started_again_and_one_that_runs_cannot() {
    let mut shim = plain("again");
    shim.start_container("web", &["false"]);
    shim.await_exit("web");
    assert_eq!(shim.start_container("web", &["sleep", "100"])["type"], "started");
    assert_eq!(shim.folder.read("web.exit.json"), "");
    let answer = shim.start_container("web", &["sleep", "100"]);
    assert!(answer["message"].as_str().unwrap().contains("running already"), "{answer}");
}

#[test]
fn what_a_container_leaves_behind_ends_with_it() {
    let mut shim = plain("leftover");
    shim.start_container("web", &["sh", "-c", "sleep 1000 & echo $!"]);
    shim.await_exit("web");
    let log = shim.folder.read("web.log");
    let left: i32 = log.trim().rsplit(' ').next().unwrap().parse().unwrap();
    await_true("the background process is gone", || !is_alive(left));
}

#[test]
fn orphans_are_reaped_and_stop_leaves_nobody() {
    let mut shim = plain("orphans");
    // An orphan in a session of its own: neither a child of the container's nor in its group.
    let script = "setsid sh -c 'sleep 1000 & sleep 1001 & echo $!; exit' ; echo here; sleep 1000";
    shim.start_container("web", &["sh", "-c", script]);
    await_true("it runs", || shim.folder.read("web.log").contains("here"));
    let log = shim.folder.read("web.log");
    let orphan: i32 = log.lines().next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    await_true("the shim has adopted it", || status_of(orphan, "PPid") == shim.pid() as u64);
    let answer = shim.ask(json!({"type": "stop"}));
    assert_eq!(answer["type"], "ok");
    let pid = shim.pid();
    await_true("the shim has ended", || !is_alive(pid));
    assert!(!is_alive(orphan));
    let recorded: serde_json::Value = serde_json::from_str(&shim.folder.read("web.exit.json")).unwrap();
    assert_eq!(recorded["signal"], 9);
}

#[test]
fn a_container_dies_with_its_shim() {
    let mut shim = plain("dies");
    let started = shim.start_container("web", &["sleep", "1000"]);
    let container = started["pid"].as_i64().unwrap() as i32;
    let pid = nix::unistd::Pid::from_raw(shim.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    await_true("the container is gone", || !is_alive(container));
}

#[test]
fn several_clients_are_served_and_each_hears_of_exits() {
    let mut shim = plain("clients");
    let mut other = support::Framed::connect(&shim.folder.0.join("shim.sock"));
    shim.start_container("web", &["true"]);
    other.await_type("exited");
    shim.await_exit("web");
    other.send(&json!({"type": "state", "id": "x"}));
    let state = other.await_type("state");
    assert_eq!((state["id"].clone(), state["containers"]["web"]["exit_code"].clone()), (json!("x"), json!(0)));
    assert_eq!(state["shim_pid"], shim.pid());
}

#[test]
fn malformed_requests_are_answered_or_dropped_and_hurt_nobody() {
    use std::io::{Read, Write};
    let mut shim = plain("malformed");
    shim.start_container("web", &["sleep", "100"]);
    let connect = || support::Framed::connect(&shim.folder.0.join("shim.sock"));
    for text in [
        "",
        "{",
        "[]",
        "null",
        "7",
        r#"{"type": 7}"#,
        r#"{"id": 1}"#,
        r#"{"type": "start", "id": 1}"#,
        r#"{"type": "start", "id": 1, "container": "../x", "argv": ["true"]}"#,
        r#"{"type": "start", "id": 1, "container": "a", "argv": "true"}"#,
        r#"{"type": "start", "id": 1, "container": "a", "argv": ["a\u0000b"], "log": "/dev/null"}"#,
        r#"{"type": "signal", "id": 1, "container": "web", "signal": -1}"#,
        r#"{"type": "exec", "id": 1, "container": "web", "argv": []}"#,
        r#"{"type": "exec_probe", "id": 1, "container": "web", "argv": ["true"], "period_seconds": 0}"#,
        r#"{"type": "exec_probe", "id": 1, "container": "web", "argv": ["true"], "timeout_seconds": 1e999}"#,
        r#"{"type": "dial", "id": 1, "port": 70000}"#,
        r#"{"type": "dial", "id": 1, "port": 1, "address": "nowhere"}"#,
    ] {
        let mut other = connect();
        let bytes = [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
        other.stream.write_all(&bytes).unwrap();
        let answer = other.receive();
        assert_eq!(answer["type"], "error", "{text}: {answer}");
    }
    let mut huge = connect();
    huge.stream.write_all(&[0xff; 4096]).unwrap();
    let over = huge.stream.read(&mut [0; 16]);
    assert!(matches!(over, Ok(0) | Err(_)), "a frame of 4 GiB ends the connection");
    let mut partial = connect();
    partial.stream.write_all(&[0, 0, 1]).unwrap();
    assert!(shim.ask(json!({"type": "state"}))["containers"]["web"]["pid"].is_i64());
}

#[test]
fn all_of_it_works_for_a_user_without_privileges() {
    if !support::is_root() {
        return; // The other tests have just shown it.
    }
    let mut shim = Shim::start_as("nobody", &json!({"pod": "default/test"}), Some(support::NOBODY));
    shim.start_container("web", &["sleep", "100"]);
    assert_eq!(shim.output("web", "id -u"), "65534");
    let answer = shim.start_with("other", &["true"], json!({"uid": 1}));
    assert!(answer["message"].as_str().unwrap().contains("cannot become user 1"), "{answer}");
    assert_eq!(shim.start_with("same", &["true"], json!({"uid": 65534, "gid": 65534}))["type"], "started");
    let folder = support::Folder::new("nobody-ns");
    std::fs::write(folder.path("shim.json"), r#"{"namespaces": ["net", "pid"]}"#).unwrap();
    std::os::unix::fs::chown(&folder.0, Some(support::NOBODY), None).unwrap();
    let output = support::launch(&folder, Some(support::NOBODY));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("cannot make the namespaces"), "{text}");
}
