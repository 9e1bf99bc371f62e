"""Judges Kubernetes manifests: by the schemas that Kubernetes publishes, and by what a gateway needs.

Reads YAML from its standard input. Prints JSON: the manifests as text, without what dashboards hold, the
configuration in them, and those whose schemas another program knows. Faults go to standard error, with exit code 1.
"""

import json
import re
import sys

import kubernetes_validate
import yaml

# A version between the oldest that the chart supports and the newest that schemas are here for.
VERSION = "1.35"
FOREIGN = "monitoring.coreos.com/v1"

faults = []


def fault(manifest, what):
    faults.append(f"{manifest['kind']} {manifest['metadata']['name']}: {what}")


def seconds(text, key):
    found = re.search(rf'^{key} = "(\d+)s"', text, re.MULTILINE)
    return int(found.group(1)) if found else 0


def labels_match(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def judge_workload(manifest, configuration, accounts):
    pod = manifest["spec"]["template"]
    spec, labels = pod["spec"], pod["metadata"]["labels"]
    if not labels_match(manifest["spec"]["selector"]["matchLabels"], labels):
        fault(manifest, "its selector does not find its pods")
    # A changed configuration must not replace pods.
    if any("checksum" in key for key in pod["metadata"].get("annotations", {})):
        fault(manifest, "an annotation depends on the configuration")
    security = spec["securityContext"]
    if not security["runAsNonRoot"] or security["runAsUser"] == 0:
        fault(manifest, "it runs as root")
    # A token of the API server is for those that follow the cluster.
    if (spec.get("serviceAccountName") in accounts) != spec["automountServiceAccountToken"]:
        fault(manifest, "it gets a token of the API server")
    for container in spec["containers"]:
        security = container["securityContext"]
        closed = (
            security["readOnlyRootFilesystem"]
            and not security["allowPrivilegeEscalation"]
            and security["capabilities"] == {"drop": ["ALL"]}
        )
        if not closed:
            fault(manifest, f"container {container['name']} has rights that it does not need")
        if ":" not in container["image"] or container["image"].endswith(":latest"):
            fault(manifest, "its image has no version")
        pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        needed = pre_stop + seconds(configuration, "delay") + seconds(configuration, "grace") + 5
        if spec["terminationGracePeriodSeconds"] <= needed:
            fault(manifest, f"sessions need {needed} s to leave, and it is killed before")
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in ports.values():
            if f":{port}\"" not in configuration:
                fault(manifest, f"nothing listens at port {port}")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            get = container[probe]["httpGet"]
            wanted = "/livez" if probe == "livenessProbe" else "/readyz"
            if get != {"path": wanted, "port": "admin"}:
                fault(manifest, f"{probe} asks for {get}")
    mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
    if mounted != {volume["name"] for volume in spec["volumes"]}:
        fault(manifest, "its volumes are not those that it mounts")


def judge_binding(binding, roles, accounts):
    def place(manifest):
        return (manifest["metadata"]["name"], manifest["metadata"].get("namespace"))

    if (binding["roleRef"]["name"], binding["metadata"].get("namespace")) not in map(place, roles):
        fault(binding, "there is no such role")
    if [one["name"] for one in binding["subjects"]] != [one["metadata"]["name"] for one in accounts]:
        fault(binding, "it is not for the service account of the gateway")


def rights(manifests):
    """Group, resource and verb of all that roles grant, and the names that it is limited to."""
    return sorted(
        [group, resource, verb, len(rule.get("resourceNames", []))]
        for manifest in manifests
        if manifest["kind"] in ("Role", "ClusterRole")
        for rule in manifest["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    )


def judge_together(manifests):
    def of(*kinds):
        return [one for one in manifests if one["kind"] in kinds]

    [configuration] = [one["data"]["gateway.toml"] for one in of("ConfigMap") if "gateway.toml" in one["data"]]
    workloads = of("Deployment", "DaemonSet")
    for workload in workloads:
        judge_workload(workload, configuration, {one["metadata"]["name"] for one in of("ServiceAccount")})
    [workload] = workloads
    pod = workload["spec"]["template"]
    labels = pod["metadata"]["labels"]
    ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
    for service in of("Service"):
        if not labels_match(service["spec"]["selector"], labels):
            fault(service, "its selector finds no pod")
        if not {port["targetPort"] for port in service["spec"]["ports"]} <= ports:
            fault(service, "it leads to a port that no pod has")
    for budget in of("PodDisruptionBudget"):
        if not labels_match(budget["spec"]["selector"]["matchLabels"], labels):
            fault(budget, "its selector finds no pod")
    for scaler in of("HorizontalPodAutoscaler"):
        if scaler["spec"]["scaleTargetRef"]["name"] != workload["metadata"]["name"] or "replicas" in workload["spec"]:
            fault(scaler, "it does not decide how many pods there are")
    for monitor in of("ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        found = [one for one in of("Service") if labels_match(selector, one["metadata"].get("labels", {}))]
        if len(found) != 1:
            fault(monitor, f"it selects {len(found)} services")
    for binding in of("RoleBinding", "ClusterRoleBinding"):
        judge_binding(binding, of(binding["roleRef"]["kind"]), of("ServiceAccount"))
    names = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in manifests]
    if len(names) != len(set(names)):
        faults.append(f"two of {names} are the same")
    return configuration


manifests = [one for one in yaml.safe_load_all(sys.stdin) if one]
for manifest in manifests:
    if manifest["apiVersion"] == FOREIGN:
        continue
    try:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
    except Exception as error:
        fault(manifest, f"the schema of Kubernetes {VERSION}: {error}")
configuration = judge_together(manifests)
for manifest in manifests:
    for name in manifest.get("data", {}):
        if name.endswith(".json"):
            dashboard = json.loads(manifest["data"][name])
            manifest["data"][name] = f"the dashboard {dashboard['uid']}"
if faults:
    sys.exit("\n".join(faults))
print(
    json.dumps(
        {
            "text": yaml.safe_dump_all(manifests, sort_keys=True, default_flow_style=False, width=110),
            "configuration": configuration,
            "rights": rights(manifests),
            "foreign": [one for one in manifests if one["apiVersion"] == FOREIGN],
            "pod": [one["spec"]["template"] for one in manifests if one["kind"] in ("Deployment", "DaemonSet")][0],
        }
    )
)
