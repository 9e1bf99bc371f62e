//! The chart and the manifests in `deploy/`: helm and kustomize render them, the schemas of
//! Kubernetes and of the Prometheus Operator accept them, and they are what `tests/kubernetes/`
//! has. `UPDATE=1` writes that anew.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{check, root};

/// One of the programs that `./test --prepare` unpacks.
fn program(name: &str) -> Command {
    let path = root().join("target/test-env/kubernetes").join(name);
    assert!(path.exists(), "`./test --prepare` unpacks {name}");
    let mut command = Command::new(path);
    // What the user of this machine has configured does not matter.
    let home = root().join("target/test-env/kubernetes/home");
    command
        .env("HOME", &home)
        .env("KUBECONFIG", home.join("none"));
    command.current_dir(root());
    command
}

/// What a program prints, or why it fails.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let faults = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(printed).ok_or(faults)
}

fn kustomize(folder: &str) -> Result<String, String> {
    let folder = format!("deploy/kubernetes/{folder}");
    output(program("kubectl").args(["kustomize", &folder]))
}

/// With these values, and these arguments as they are.
fn helm(settings: &[&str]) -> Result<String, String> {
    let mut command = program("helm");
    command.args([
        "template",
        "edge",
        "deploy/helm/sessile",
        "--namespace=sessile",
    ]);
    for one in settings {
        match one.starts_with("--") {
            true => command.arg(one),
            false => command.args(["--set", one]),
        };
    }
    output(&mut command)
}

/// What is said of rendered manifests by `tests/peers/python/manifests.py`.
fn judged(manifests: &str) -> Result<Value, String> {
    let mut python = Command::new(root().join("target/test-env/python/bin/python"));
    python.arg(root().join("tests/peers/python/manifests.py"));
    python
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = python.spawn().expect("`./test --prepare` installs Python");
    let mut input = child.stdin.take().unwrap();
    input.write_all(manifests.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let faults = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(faults);
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap())
}

/// Compares with `tests/kubernetes/NAME.yaml`, or writes it.
fn golden(name: &str, is: &str) {
    let path = root()
        .join("tests/kubernetes")
        .join(name)
        .with_extension("yaml");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, is).unwrap();
    }
    let must = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        is == must,
        "{} is not what it was; UPDATE=1 writes it anew. It is now:\n{is}",
        path.display()
    );
}

/// Every schema accepts it, its configuration is valid, and it is what it was.
fn accepted(name: &str, rendered: Result<String, String>) -> Value {
    let rendered = rendered.unwrap_or_else(|fault| panic!("{name}: {fault}"));
    let judged = judged(&rendered).unwrap_or_else(|faults| panic!("{name}: {faults}"));
    golden(name, judged["text"].as_str().unwrap());
    let mut node = Command::new("node");
    node.arg(root().join("tests/peers/node/service_monitor.mjs"));
    let known = output(node.arg(judged["foreign"].to_string()));
    known.unwrap_or_else(|fault| panic!("{name}: {fault}"));

    let directory = tempfile::tempdir().unwrap();
    let path = |file: &str| directory.path().join(file);
    for (file, letter) in [("token", "a"), ("read-token", "b")] {
        fs::write(path(file), letter.repeat(32)).unwrap();
    }
    let configuration = judged["configuration"].as_str().unwrap();
    let secrets = directory.path().display().to_string();
    let configuration = configuration.replace("/etc/sessile-admin", &secrets);
    fs::write(path("gateway.toml"), configuration).unwrap();
    check(&path("gateway.toml")).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    judged
}

#[test]
fn the_manifests_are_accepted() {
    let deployment = accepted("kustomize-deployment", kustomize("deployment"));
    let mut daemon_set = accepted("kustomize-daemonset", kustomize("daemonset"));
    accepted("kustomize-full", kustomize("full"));
    accepted("kustomize-routes", kustomize("routes"));
    // Both run the same pod, but for what only one of them needs.
    let mut pod = deployment["pod"].clone();
    let spread = pod["spec"]
        .as_object_mut()
        .unwrap()
        .remove("topologySpreadConstraints");
    assert!(spread.is_some());
    let ports = &mut daemon_set["pod"]["spec"]["containers"][0]["ports"][0];
    assert!(ports.as_object_mut().unwrap().remove("hostPort").is_some());
    assert_eq!(pod, daemon_set["pod"]);
}

#[test]
fn the_chart_is_accepted() {
    let lint = output(program("helm").args(["lint", "--strict", "deploy/helm/sessile"]));
    lint.unwrap_or_else(|fault| panic!("{fault}"));
    let plain = accepted("helm-default", helm(&[]));
    let all = [
        "autoscaling.enabled=true",
        "serviceMonitor.enabled=true",
        "dashboards.enabled=true",
        "tlsSecrets={edge-tls}",
        "image.tag=1.2.3",
        "service.type=ClusterIP",
        "podAnnotations.team=edge",
        "upstreamNamespaces={shop,back}",
    ];
    accepted("helm-all", helm(&all));
    accepted(
        "helm-daemonset",
        helm(&["kind=DaemonSet", "hostPorts=true"]),
    );
    // Chart and manifests begin with the same configuration.
    let manifests = root().join("deploy/kubernetes/common/gateway.toml");
    let manifests = fs::read_to_string(manifests).unwrap();
    let begins = manifests.find("[node]").unwrap();
    assert_eq!(
        plain["configuration"].as_str().unwrap().trim(),
        manifests[begins..].trim()
    );
    let version = format!("appVersion: {}\n", env!("CARGO_PKG_VERSION"));
    let chart = fs::read_to_string(root().join("deploy/helm/sessile/Chart.yaml")).unwrap();
    assert!(chart.contains(&version), "Chart.yaml has {version}");
}

#[test]
fn chart_and_manifests_grant_the_same_where_the_gateway_api_is_followed() {
    let chart = helm(&[
        "--include-crds",
        "--set-file=config=deploy/kubernetes/routes/gateway.toml",
        "gatewayApi.enabled=true",
    ]);
    let chart = accepted("helm-routes", chart);
    let manifests = judged(&kustomize("routes").unwrap()).unwrap();
    assert_eq!(chart["rights"], manifests["rights"]);
    assert_eq!(chart["configuration"], manifests["configuration"]);
    let crd = |of: &Value| {
        let text = of["text"].as_str().unwrap().split("\n---\n");
        let mut crds = text.filter(|one| one.contains("kind: CustomResourceDefinition"));
        crds.next()
            .expect("it has the CRD of SessilePolicy")
            .to_owned()
    };
    assert_eq!(crd(&chart), crd(&manifests));
    // The default Lease is the one that the roles name.
    let lease = "gateway = { lease = \"sessile/sessile-gateway\" }";
    assert!(chart["configuration"].as_str().unwrap().contains(lease));
}

#[test]
fn the_chart_refuses_values_that_mean_nothing() {
    for (settings, fault) in [
        (
            &["kin=DaemonSet"][..],
            "additional properties 'kin' not allowed",
        ),
        (&["kind=StatefulSet"], "value must be one of"),
        (
            &["kind=DaemonSet", "autoscaling.enabled=true"],
            "autoscaling is for kind: Deployment",
        ),
        (&["config="], "minLength"),
        (&["gatewayApi.lease=a/b"], "does not match pattern"),
    ] {
        let printed = helm(settings).expect_err("it is refused");
        assert!(printed.contains(fault), "{settings:?}: {printed}");
    }
}

#[test]
fn faults_of_manifests_are_found() {
    let rendered = kustomize("deployment").unwrap();
    for (from, to, fault) in [
        (
            "periodSeconds: 2",
            "periodSecond: 2",
            "schema of Kubernetes",
        ),
        ("replicas: 2", "replicas: two", "schema of Kubernetes"),
        (
            "terminationGracePeriodSeconds: 90",
            "terminationGracePeriodSeconds: 75",
            "is killed before",
        ),
        ("runAsNonRoot: true", "runAsNonRoot: false", "runs as root"),
        (
            "automountServiceAccountToken: false",
            "automountServiceAccountToken: true",
            "a token of the API server",
        ),
        (
            "readOnlyRootFilesystem: true",
            "readOnlyRootFilesystem: false",
            "rights that it does not need",
        ),
        ("path: /livez", "path: /readyz", "livenessProbe asks"),
        (
            "targetPort: edge",
            "targetPort: other",
            "a port that no pod has",
        ),
        (
            "containerPort: 8080",
            "containerPort: 8081",
            "nothing listens at port 8081",
        ),
        (
            "sessile:0.1.0",
            "sessile:latest",
            "its image has no version",
        ),
    ] {
        assert!(rendered.contains(from), "{from}");
        let printed = judged(&rendered.replace(from, to)).expect_err("a fault");
        assert!(printed.contains(fault), "{from} -> {to}: {printed}");
    }
}
