//! `hv` as a program: exit codes, environment, files, completions.

use std::io::Write as _;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

use crate::support::{CANARY, program, ran};

pub(crate) fn trials() -> Vec<Trial> {
    let test = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok::<(), Failed>(())
        })
    };
    vec![
        test("usage_is_two", usage_is_two),
        test("the_hypervisor_is_found_by_argument_environment_and_file", where_to),
        test("profiles_are_listed_without_their_secrets", profiles_without_secrets),
        test("no_secret_is_in_any_output", no_secret_is_in_any_output),
        test("completions_are_good_bash", completions_are_good_bash),
        test("a_closed_pipe_is_no_failure", a_closed_pipe_is_no_failure),
    ]
}

fn usage_is_two() {
    for args in [
        &[][..],
        &["frobnicate"],
        &["list", "--state", "odd"],
        &["list"],
        &["--url", "pigeon://loft", "list"],
        &["--url", "memory://", "create"],
        &["--url", "memory://", "delete", "a"],
        &["--url", "memory://", "create", "a", "--memory", "much"],
        &["--url", "memory://", "create", "a", "--memory", "1KiB"],
        &["--profile", "nobody", "list"],
        &["--config", "/nonexistent", "list"],
    ] {
        let ran = ran(&mut program(args));
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{args:?}: {ran:?}");
    }
    assert_eq!(ran(&mut program(&["--url", "memory://", "list"])).good().lines().count(), 1);
    let help = ran(&mut program(&["--help"])).good();
    assert!(help.contains("Exit codes:") && help.contains(" 130  "), "{help}");
    assert!(ran(&mut program(&["--version"])).good().starts_with("hv "));
}

/// A folder for XDG_CONFIG_HOME with this file of profiles.
fn config(profiles: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("hv")).unwrap();
    std::fs::write(folder.path().join("hv/profiles.toml"), profiles).unwrap();
    folder
}

fn where_to() {
    let folder = config(
        "default = \"three\"\n\
         [profiles.three]\nurl = \"memory://?hosts=3\"\n\
         [profiles.four]\nurl = \"memory://?hosts=4\"\n",
    );
    let hosts = |change: &dyn Fn(&mut Command) -> &mut Command| {
        let mut command = program(&["hosts"]);
        command.env("XDG_CONFIG_HOME", folder.path());
        ran(change(&mut command)).good().lines().count() - 1
    };
    assert_eq!(hosts(&|command| command), 3);
    assert_eq!(hosts(&|command| command.env("HV_PROFILE", "four")), 4);
    assert_eq!(hosts(&|command| command.env("HV_PROFILE", "four").env("HV_URL", "memory://?hosts=5")), 5);
    assert_eq!(hosts(&|command| command.env("HV_URL", "memory://?hosts=5").args(["-p", "four"])), 4);
    assert_eq!(hosts(&|command| command.args(["-p", "four", "--url", "memory://?hosts=6"])), 6);
    let file = folder.path().join("hv/profiles.toml");
    let mut elsewhere = program(&["--config", file.to_str().unwrap(), "-p", "four", "hosts"]);
    assert_eq!(ran(&mut elsewhere).good().lines().count(), 5);
    let unknown = ran(program(&["-p", "five", "hosts"]).env("XDG_CONFIG_HOME", folder.path())).bad(2);
    assert!(unknown.contains("profile `five`") && unknown.contains("four, three"), "{unknown}");
}

fn profiles_without_secrets() {
    let folder = config(&format!(
        "default = \"b\"\n[profiles.a]\nurl = \"proxmox://u@pve!t:{CANARY}@pve1:8006?secret={CANARY}\"\n\
         [profiles.b]\nurl = \"https+v1://gate\"\nsecret_command = \"echo {CANARY}\"\n"
    ));
    let with = |args: &[&str]| ran(program(args).env("XDG_CONFIG_HOME", folder.path()));
    let listed = with(&["profiles"]);
    assert!(listed.err.contains("others can read it"), "{listed:?}");
    let wanted = "\
PROFILE  URL                  DEFAULT
a        proxmox://pve1:8006  -
b        https+v1://gate      yes
";
    assert!(!format!("{listed:?}").contains(CANARY), "{listed:?}");
    assert_eq!(listed.good(), wanted);
    assert!(!with(&["profiles", "--json"]).good().contains(CANARY));
    // What is no TOML must not be quoted.
    let broken = config(&format!("[profiles.a]\nurl = \"https://:{CANARY}@gate\nsecret = 1"));
    let err = ran(program(&["list"]).env("XDG_CONFIG_HOME", broken.path())).bad(2);
    assert!(err.contains("line 2") && !err.contains(CANARY), "{err}");
    let unset = config("[profiles.a]\nurl = \"https+v1://gate\"\nsecret_env = \"HV_TEST_UNSET\"");
    let err = ran(program(&["-p", "a", "list"]).env("XDG_CONFIG_HOME", unset.path())).bad(2);
    assert!(err.contains("HV_TEST_UNSET"), "{err}");
}

fn no_secret_is_in_any_output() {
    for url in [
        format!("proxmox://root@pam!t:{CANARY}@127.0.0.1:1"),
        format!("proxmox://root@pam:{CANARY}@127.0.0.1:1?fingerprint={CANARY}"),
        format!("https+v1://:{CANARY}@127.0.0.1:1"),
        format!("http+v1://:{CANARY}@127.0.0.1:1"),
        format!("https+hypersdk://u:{CANARY}@127.0.0.1:1"),
        format!("qemu+tcp://u:{CANARY}@127.0.0.1:1/system"),
        format!("memory://{CANARY}"),
        format!("pigeon://u:{CANARY}@loft"),
        CANARY.to_owned(),
    ] {
        for args in [&["list"][..], &["list", "--json"], &["delete", "a", "--with-disks", "--yes"]] {
            let mut command = program(args);
            command.env("HV_URL", &url);
            let ran = ran(&mut command);
            assert_ne!(ran.code, 0, "{url}: {ran:?}");
            assert!(!format!("{ran:?}").contains(CANARY), "{url}: {ran:?}");
        }
    }
}

fn completions_are_good_bash() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ran(&mut program(&["completions", shell])).good();
        for word in ["power-off", "snapshot", "profile"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        if shell == "bash" {
            let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
            bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            assert!(bash.wait().unwrap().success());
            // And what it says is what there is: the words after `hv snapshot `.
            let ask = format!(
                "{script}\nCOMP_WORDS=(hv snapshot r) COMP_CWORD=2\n_hv hv r snapshot\necho \"${{COMPREPLY[@]}}\""
            );
            let answer = Command::new("bash").args(["-c", &ask]).output().unwrap();
            assert_eq!(String::from_utf8(answer.stdout).unwrap().trim(), "revert");
        }
    }
}

fn a_closed_pipe_is_no_failure() {
    let mut command = program(&["--url", "memory://", "capabilities"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
