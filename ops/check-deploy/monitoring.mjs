// monitoring.mjs - rules, dashboard and autoscalers' metrics against the programs and the runbook. What promtool can judge it does.
import { parse } from 'yaml';
import { read } from './build.mjs';
import { checkQuery, metrics } from './programs.mjs';

const rules = () => parse(read('ops/monitoring/rules.yaml'));

// The rules file as the operator's object: the same text below spec, two columns in.
export function prometheusRule() {
    const text = read('ops/monitoring/rules.yaml');
    return `# Written from rules.yaml by ops/check-deploy.sh --write; change that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: spotcraft
  namespace: spotcraft
spec:
${text.slice(text.indexOf('groups:')).replace(/^(?=.)/gm, '  ')}`;
}

const recordedBy = (all) => new Set(all.groups.flatMap((g) => g.rules).flatMap((r) => r.record ?? []));

// Each takes its text and gives what is wrong.
export function checkRules(all) {
    const recorded = recordedBy(all);
    return all.groups.flatMap((g) => g.rules).flatMap((r) => checkQuery(r.expr, recorded).map((e) => `rule ${r.record ?? r.alert}: ${e}`));
}

export function checkAlerts(all, runbook, tests) {
    const errors = [];
    const tested = new Set(), fired = new Set();
    for (const t of tests.tests) {
        for (const a of t.alert_rule_test ?? []) {
            tested.add(a.alertname);
            if (a.exp_alerts?.length)
                fired.add(a.alertname);
        }
    }
    const alerts = all.groups.flatMap((g) => g.rules).filter((r) => r.alert);
    for (const a of alerts) {
        const section = runbook.split(new RegExp(`^## ${a.alert}$`, 'm'))[1]?.split(/^## /m)[0];
        if (!section)
            errors.push(`ops/runbook.md has no heading for the alert ${a.alert}`);
        else
            for (const part of ['means', 'look at', 'do'])
                if (!section.includes(`**${part}**`))
                    errors.push(`ops/runbook.md: ${a.alert} does not say what it ${part === 'means' ? part : `is to ${part}`}`);
        if (a.annotations?.runbook !== `ops/runbook.md#${a.alert.toLowerCase()}`)
            errors.push(`alert ${a.alert} points to ${a.annotations?.runbook}`);
        if (!['warning', 'critical'].includes(a.labels?.severity))
            errors.push(`alert ${a.alert} has no severity`);
        if (!fired.has(a.alert))
            errors.push(`no test in rules.test.yaml makes ${a.alert} fire`);
    }
    for (const [name] of runbook.matchAll(/\bspotcraft_\w*[a-z]\b/g))
        if (!metrics().types.has(name))
            errors.push(`ops/runbook.md speaks of ${name}, which no program has`);
    for (const name of tested)
        if (!alerts.some((a) => a.alert === name))
            errors.push(`rules.test.yaml tests ${name}, which is no alert`);
    return errors;
}

export function checkDashboard(d, all) {
    const errors = [], recorded = recordedBy(all), ids = new Set();
    for (const p of d.panels) {
        if (ids.has(p.id))
            errors.push(`dashboard: two panels have the id ${p.id}`);
        ids.add(p.id);
        if (p.gridPos.x + p.gridPos.w > 24)
            errors.push(`dashboard: ${p.title} is wider than the page`);
        if (p.type !== 'row' && !p.targets?.length)
            errors.push(`dashboard: ${p.title} shows nothing`);
        for (const t of p.targets ?? []) {
            errors.push(...checkQuery(t.expr, recorded).map((e) => `dashboard: ${p.title}: ${e}`));
            for (const [, label] of t.legendFormat.matchAll(/\{\{(\w+)\}\}/g))
                if (!metrics().labels.has(label))
                    errors.push(`dashboard: ${p.title}: no metric has a label ${label}`);
        }
    }
    const worlds = d.templating.list.find((v) => v.name === 'namespace').query.query;
    return [...errors, ...checkQuery(worlds).map((e) => `dashboard: its list of worlds: ${e}`)];
}

// What the autoscalers ask for, the adapter gives.
export function checkAdapter(values, docs) {
    const errors = [], given = new Set(values.rules.custom.map((r) => r.name.as));
    for (const r of values.rules.custom)
        errors.push(...checkQuery(r.seriesQuery).map((e) => `prometheus-adapter: ${e}`));
    for (const h of docs.filter((d) => d.kind === 'HorizontalPodAutoscaler'))
        for (const m of h.spec.metrics)
            if (m.type === 'Pods' && !given.has(m.pods.metric.name))
                errors.push(`prometheus-adapter does not give ${m.pods.metric.name}, which ${h.metadata.name} scales by`);
    return errors;
}

// Who scrapes finds the port by its name.
export function checkScrape(podMonitor, prometheus, docs) {
    const errors = [];
    for (const program of ['node', 'gateway']) {
        const pod = docs.find((d) => d.kind === 'Deployment' && d.metadata.name === program).spec.template;
        const ports = pod.spec.containers.flatMap((c) => c.ports).map((p) => p.name), labels = pod.metadata.labels;
        for (const e of podMonitor.spec.podMetricsEndpoints)
            if (!ports.includes(e.port))
                errors.push(`podmonitor.yaml: ${program} has no port ${e.port}`);
        const s = podMonitor.spec.selector;
        if (Object.entries(s.matchLabels).some(([k, v]) => labels[k] !== v) || s.matchExpressions.some((e) => !e.values.includes(labels[e.key])))
            errors.push(`podmonitor.yaml does not select ${program}`);
        const keeps = prometheus.scrape_configs.find((c) => c.kubernetes_sd_configs).relabel_configs.filter((r) => r.action === 'keep');
        const value = (source) => ({ [`__meta_kubernetes_pod_label_app_kubernetes_io_name`]: [labels['app.kubernetes.io/name']],
            __meta_kubernetes_pod_label_app_kubernetes_io_component: [labels['app.kubernetes.io/component']], __meta_kubernetes_pod_container_port_name: ports })[source] ?? [];
        for (const k of keeps)
            if (!value(k.source_labels[0]).some((v) => new RegExp(`^(?:${k.regex})$`).test(v)))
                errors.push(`prometheus.yaml drops ${program} at ${k.source_labels[0]}`);
    }
    return errors;
}

export function checkMonitoring(docs) {
    const all = rules();
    return [
        ...checkRules(all),
        ...checkAlerts(all, read('ops/runbook.md'), parse(read('ops/monitoring/rules.test.yaml'))),
        ...checkDashboard(JSON.parse(read('ops/monitoring/dashboard.json')), all),
        ...checkAdapter(parse(read('ops/monitoring/prometheus-adapter-values.yaml')), docs),
        ...checkScrape(parse(read('ops/monitoring/podmonitor.yaml')), parse(read('ops/monitoring/prometheus.yaml')), docs),
        ...(read('ops/monitoring/prometheusrule.yaml') === prometheusRule() ? [] : ['prometheusrule.yaml is not what rules.yaml says: ops/check-deploy.sh --write']),
    ];
}
