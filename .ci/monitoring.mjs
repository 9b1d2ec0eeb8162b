// Writes dist/monitoring: rules for Prometheus and a dashboard for Grafana. Part of `npm run build`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dashboardFile } from '../dist/server/monitoring/dashboard.js';
import { Definitions } from '../dist/server/monitoring/definitions.js';
import { rulesFile } from '../dist/server/monitoring/rules.js';

const metrics = await Definitions.read();
mkdirSync('dist/monitoring', { recursive: true });
writeFileSync('dist/monitoring/prometheus-rules.yml', rulesFile(metrics));
writeFileSync('dist/monitoring/grafana-dashboard.json', dashboardFile(metrics));
