use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cli::text;
use crate::harness::peers;

/// The root of the source.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const DOCKERFILE: &str = include_str!("../../deploy/docker/Dockerfile");

/// What a program that must succeed says, on both its outputs.
pub fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error} (see tests/peers)"));
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// The content of the YAML files of a folder by file name; Kubernetes' own kinds are valid.
fn manifests(folder: &str) -> Value {
    let folder = Path::new(ROOT).join("deploy").join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let mut read = Command::new(peers().join(".venv/bin/python"));
    read.arg(peers().join("manifests/read.py")).args(files);
    serde_json::from_str(&said(&mut read)).unwrap()
}

/// Where Kubernetes puts the token.
const SECRET: &str = "/run/secrets/longwire";

/// A configuration, after `longwire check` has found it good.
fn checked(path: &str) -> toml::Table {
    let source = std::fs::read_to_string(Path::new(ROOT).join("deploy").join(path)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("longwire.toml");
    std::fs::write(folder.path().join("token"), "t0ken\n").unwrap();
    std::fs::write(&config, source.replace(SECRET, folder.path().to_str().unwrap())).unwrap();
    said(Command::new(env!("CARGO_BIN_EXE_longwire")).args(["check", "-c"]).arg(&config));
    source.parse().unwrap()
}

/// Seconds of a duration as it is written in a configuration or in a compose file.
fn seconds(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        _ => panic!("{text}: neither seconds nor minutes"),
    };
    number.parse::<u64>().unwrap() * unit
}

/// How many seconds the process may take from SIGTERM on.
fn longest_drain(config: &toml::Table) -> u64 {
    let drain = config["server"]["drain"].as_table().unwrap();
    let of = |key: &str| drain.get(key).map_or(0, |value| seconds(value.as_str().unwrap()));
    of("min_wait") + of("grace")
}

/// The port of an address as a configuration has it.
fn port(address: &toml::Value) -> u64 {
    address.as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn the_image_is_built_as_the_makefile_builds() {
    let hadolint = peers().join(".venv/bin/hadolint");
    said(Command::new(hadolint).arg(Path::new(ROOT).join("deploy/docker/Dockerfile")));

    let release = include_str!("../../Makefile").split_once("\nrelease:").unwrap().1;
    let command = release.lines().nth(1).unwrap().trim();
    assert!(command.starts_with("cargo build --release"), "{command}");
    assert!(DOCKERFILE.contains(command), "{command:?} is not what the image is built with");
    let version = DOCKERFILE.split_once("FROM rust:1.").unwrap().1.split('-').next().unwrap();
    let least = env!("CARGO_PKG_RUST_VERSION").split('.').nth(1).unwrap();
    assert!(version.parse::<u32>().unwrap() >= least.parse().unwrap(), "1.{version} is too old");
    // By number, or Kubernetes' runAsNonRoot refuses it.
    let user = DOCKERFILE.split_once("\nUSER ").unwrap().1.split(':').next().unwrap();
    assert!(user.parse::<u32>().unwrap() > 0, "{user}");
}

#[test]
fn the_image_gets_all_that_is_compiled_and_nothing_else() {
    let ignore = include_str!("../../.dockerignore");
    let mut let_in: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignore.lines().any(|line| line == "*"), "it lists what is let in");
    let mut copied: Vec<_> = DOCKERFILE
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| line.rsplit_once(' ').unwrap().0.split(' '))
        .collect();
    let_in.sort_unstable();
    copied.sort_unstable();
    assert_eq!(let_in, copied);
    for source in &copied {
        assert!(Path::new(ROOT).join(source).exists(), "{source} does not exist");
    }

    let mut folders = vec![Path::new(ROOT).join("src")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let code = std::fs::read_to_string(&path).unwrap();
            let code = code.split("#[cfg(test)]").next().unwrap();
            if path.ends_with("tests.rs") {
                continue;
            }
            for file in code.split("include_str!(\"").skip(1) {
                let file = folder.join(file.split('"').next().unwrap()).canonicalize().unwrap();
                let file = file.strip_prefix(Path::new(ROOT).canonicalize().unwrap()).unwrap();
                let is_copied = copied.iter().any(|source| file.starts_with(source));
                assert!(is_copied, "{} is not in the image", file.display());
            }
        }
    }
}

#[test]
fn compose_waits_for_streams() {
    let config = checked("docker/longwire.toml");
    let compose = &manifests("docker")["compose.yaml"];
    let proxy = &compose["services"]["proxy"];
    let patience = seconds(proxy["stop_grace_period"].as_str().unwrap());
    assert!(patience > longest_drain(&config), "{patience} s is too short");
    let mount = proxy["volumes"][0].as_str().unwrap();
    assert_eq!(mount, "./longwire.toml:/etc/longwire/longwire.toml:ro");
    assert!(DOCKERFILE.contains(r#"CMD ["run", "-c", "/etc/longwire/longwire.toml"]"#));
    let published = proxy["ports"][0].as_str().unwrap();
    let inside = port(&config["listeners"]["web"]["bind"][0]);
    assert!(published.ends_with(&format!(":{inside}")), "{published} does not lead to {inside}");
    let upstream = config["routes"]["all"]["upstream"].as_str().unwrap();
    let name = upstream.strip_prefix("http://").unwrap().split(':').next().unwrap();
    assert!(compose["services"][name].is_object(), "there is no service {name}");
}

#[test]
fn kubernetes_waits_for_streams_and_reaches_every_port() {
    let config = checked("kubernetes/longwire.toml");
    let files = manifests("kubernetes");
    let deployment = &files["deployment.yaml"];
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];

    let patience = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(patience > longest_drain(&config), "{patience} s is too short");
    let min_wait = seconds(config["server"]["drain"]["min_wait"].as_str().unwrap());
    let ready = &container["readinessProbe"];
    let unready = ["periodSeconds", "failureThreshold"].map(|key| ready[key].as_u64().unwrap());
    assert!(min_wait >= unready[0] * unready[1], "{min_wait} s: the Pod is still ready");
    assert_eq!(ready["httpGet"]["path"], "/readyz");
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");

    let ports = container["ports"].as_array().unwrap();
    let named = |name: &Value| ports.iter().find(|port| port["name"] == *name).expect("a port");
    let http = &files["service.yaml"]["spec"]["ports"][0]["targetPort"];
    let web = port(&config["listeners"]["web"]["bind"][0]);
    assert_eq!(named(http)["containerPort"].as_u64(), Some(web));
    let admin = port(&config["admin"]["bind"]);
    for probe in ["readinessProbe", "livenessProbe"] {
        let port = named(&container[probe]["httpGet"]["port"]);
        assert_eq!(port["containerPort"].as_u64(), Some(admin), "{probe}");
    }

    // What is mounted is what the configuration names.
    let mount_of = |kind: &str| {
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume[kind].is_object()).expect(kind);
        let mounts = container["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).expect(kind);
        (volume[kind].clone(), mount["mountPath"].clone())
    };
    let (token, path) = mount_of("secret");
    assert_eq!(path, SECRET);
    let (map, path) = mount_of("configMap");
    let file = container["args"][2].as_str().unwrap();
    assert_eq!(file, format!("{}/longwire.toml", path.as_str().unwrap()));

    let monitor = &files["podmonitor.yaml"];
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!(named(&endpoint["port"])["containerPort"].as_u64(), Some(admin));
    assert_eq!(endpoint["authorization"]["type"], "Bearer");
    assert_eq!(endpoint["authorization"]["credentials"]["name"], token["secretName"]);
    assert_eq!(endpoint["authorization"]["credentials"]["key"], "token");
    let script = peers().join("manifests/pod-monitor.mjs");
    said(Command::new("node").arg(script).arg(monitor.to_string()).current_dir(peers()));

    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], *labels);
    assert_eq!(files["service.yaml"]["spec"]["selector"], *labels);
    assert_eq!(monitor["spec"]["selector"]["matchLabels"], *labels);
    assert_eq!(files["poddisruptionbudget.yaml"]["spec"]["selector"]["matchLabels"], *labels);

    let kustomization = &files["kustomization.yaml"];
    let resources = kustomization["resources"].as_array().unwrap();
    let mut resources: Vec<_> = resources.iter().map(|name| name.as_str().unwrap()).collect();
    resources.push("kustomization.yaml");
    resources.sort_unstable();
    let names: Vec<_> = files.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(resources, names, "every file is applied");
    let generator = &kustomization["configMapGenerator"][0];
    assert_eq!(generator["name"], map["name"]);
    assert_eq!(generator["files"][0], "longwire.toml");
    assert_eq!(kustomization["images"][0]["name"], container["image"]);
}

/// Pod Security Standards, "restricted".
#[test]
fn kubernetes_gives_it_no_rights() {
    let files = manifests("kubernetes");
    let pod = &files["deployment.yaml"]["spec"]["template"]["spec"];
    let context = &pod["securityContext"];
    assert_eq!(context["runAsNonRoot"], true);
    assert!(DOCKERFILE.contains(&format!("USER {}:", context["runAsUser"])), "{context}");
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["automountServiceAccountToken"], false);
    let context = &pod["containers"][0]["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
}
