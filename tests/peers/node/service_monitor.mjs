// Judges manifests of the Prometheus Operator by the schema that it publishes. Usage: service_monitor.mjs JSON
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";

for (const manifest of JSON.parse(process.argv[2])) {
  if (manifest.kind !== "ServiceMonitor") throw new Error(`no schema for ${manifest.kind}`);
  new ServiceMonitor(manifest).validate();
}
