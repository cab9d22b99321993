// write.mjs - ops/monitoring/prometheusrule.yaml from rules.yaml.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { top } from './build.mjs';
import { prometheusRule } from './monitoring.mjs';

writeFileSync(join(top, 'ops/monitoring/prometheusrule.yaml'), prometheusRule());
console.log('written: ops/monitoring/prometheusrule.yaml');
