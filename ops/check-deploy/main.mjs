// main.mjs - runs every check, prints a line for each, and then tries the checks on what is wrong on purpose.
import { appendFileSync } from 'node:fs';
import { parse } from 'yaml';
import { capacities, checkCluster, checkPriorities, checkTemplate, cluster, template } from './aws.mjs';
import { build, documents, kustomizations, read } from './build.mjs';
import { checks, machines } from './cluster.mjs';
import { breakages } from './breakages.mjs';
import { checkMonitoring } from './monitoring.mjs';
import { sums, values } from './numbers.mjs';
import { checkTypes } from './types.mjs';

// What cannot even be read or built ends the run, with its name and not with where in these files.
process.on('uncaughtException', (e) => {
    console.log(`FAILED: ${e.message}`);
    process.exit(1);
});

let passed = 0, failed = 0;
function report(what, errors) {
    if (errors.length) {
        failed++;
        console.log(`FAILED: ${what}`);
        for (const e of errors)
            console.log(`    ${e}`);
    } else {
        passed++;
        console.log(`ok: ${what}`);
    }
}

const overlays = {};
for (const folder of [...kustomizations('ops/k8s/overlays'), ...kustomizations('ops/gitops/environments')])
    overlays[folder] = build(folder);
const docsOf = (folder) => overlays[folder].map((o) => o.doc);
const eks = docsOf('ops/k8s/overlays/eks'), karpenter = docsOf('ops/k8s/overlays/karpenter');

const loose = ['ops/gitops/flux/source.yaml', 'ops/gitops/flux/staging.yaml', 'ops/gitops/flux/production.yaml', 'ops/gitops/flux/images.yaml',
    'ops/gitops/argocd/application.yaml', 'ops/monitoring/podmonitor.yaml', 'ops/monitoring/prometheusrule.yaml',
    'ops/aws/cluster-autoscaler-priority-expander.yaml'].flatMap((f) => documents(read(f), f));

// What is wrong on purpose goes through the same run of the compiler, which takes most of the time.
const context = { eks, karpenter, dev: docsOf('ops/k8s/overlays/dev'), loose };
const broken = breakages(context);
const typed = await checkTypes([...Object.values(overlays).flat(), ...loose, ...broken.types]);
const onPurpose = (e) => e.startsWith('on purpose');
report(`${Object.keys(overlays).length} overlays and environments, ${Object.values(overlays).flat().length + loose.length} objects, against the published types`,
    typed.filter((e) => !onPurpose(e)));

const c = cluster();
const bought = new Set(karpenter.filter((d) => d.kind === 'NodePool').map((p) => p.spec.template.metadata.labels['spotcraft/capacity']));
for (const folder of Object.keys(overlays)) {
    const docs = docsOf(folder), errors = [];
    for (const check of Object.values(checks))
        errors.push(...(await check(docs)));
    errors.push(...machines(docs, folder.endsWith('/dev') ? null : folder.endsWith('/karpenter') ? bought : capacities(c)));
    report(`${folder}: settings, ports, pages, selectors, policies, rights, machines`, errors);
}
report('the sums of ops/k8s/README.md', sums(read('ops/k8s/README.md'), values(eks, karpenter)));
report('CloudFormation, against the published specification', ['ops/aws/asg.yaml', 'ops/aws/stores.yaml'].flatMap((f) => checkTemplate(template(f), f)));
report('the cluster, and the autoscaler\'s order', [...checkCluster(c, eks), ...checkPriorities(c)]);
report('GitOps: paths, policies and where they write', checkGitops());
report('rules, alerts and their headings, dashboard, adapter, scraping', checkMonitoring(eks));

function checkGitops() {
    const errors = [];
    const paths = loose.map(({ origin, doc }) => [origin, (doc.spec?.path ?? doc.spec?.source?.path ?? doc.spec?.update?.path ?? '').replace(/^\.\//, '')]).filter(([, p]) => p);
    for (const [origin, path] of paths)
        if (!overlays[path])
            errors.push(`${origin}: there is nothing to build in ${path}`);
    const policies = loose.filter((o) => o.doc.kind === 'ImagePolicy').map((o) => `${o.doc.metadata.namespace}:${o.doc.metadata.name}`);
    for (const env of kustomizations('ops/gitops/environments')) {
        const text = read(`${env}/kustomization.yaml`);
        const markers = [...text.matchAll(/\{"\$imagepolicy": "([^"]+):(?:tag|name)"\}/g)].map((m) => m[1]);
        if (env.endsWith('/production') ? markers.length : !markers.length)
            errors.push(`${env}: a tag is written by ${markers.length ? 'automation' : 'nobody'}`);
        for (const m of markers)
            if (!policies.includes(m))
                errors.push(`${env}: there is no image policy ${m}`);
        for (const kind of ['PodMonitor', 'PrometheusRule'])
            if (!docsOf(env).some((d) => d.kind === kind))
                errors.push(`${env}: no ${kind}: nothing would be scraped, or no alert fire`);
        if (parse(text).images?.find((i) => i.name === 'spotcraft')?.newTag === undefined)
            errors.push(`${env}: no tag is said`);
    }
    return errors;
}

// ---- do the checks find anything? ----

for (const b of broken.types)
    report(`found: ${b.what}`, typed.some((e) => e.startsWith(b.origin) && b.expect.test(e)) ? [] : ['was not found']);
for (const b of broken.others) {
    const errors = await b.run();
    report(`found: ${b.what}`, errors.some((e) => b.expect.test(e)) ? [] : [`was not found; these were: ${errors.join('; ') || 'none'}`]);
}

console.log(`${passed} passed, ${failed} failed`);
if (process.env.TEST_COUNTS) // of .ci/run
    appendFileSync(process.env.TEST_COUNTS, `${passed} ${failed} 0\n`);
process.exit(failed ? 1 : 0);
