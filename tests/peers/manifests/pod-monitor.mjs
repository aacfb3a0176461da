// Checks a PodMonitor by the schema of the Prometheus operator: node pod-monitor.mjs JSON

import { PodMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor";

new PodMonitor(JSON.parse(process.argv[2])).validate();
console.log(JSON.stringify({ valid: true }));
