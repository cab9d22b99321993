// breakages.mjs - what the checks are there to find, one mistake each, made in copies of the objects. Each has a name, what the
// check must say, and how to run it.
import { capacities, checkCluster, checkPriorities, checkTemplate, cluster, groups, template } from './aws.mjs';
import { read } from './build.mjs';
import { checks, machines, one } from './cluster.mjs';
import { checkAlerts, checkDashboard, checkRules } from './monitoring.mjs';
import { sums, values } from './numbers.mjs';
import { parse } from 'yaml';

const containerOf = (docs, name) => one(docs, 'Deployment', name).spec.template.spec.containers[0];
const changed = (docs, change) => {
    const copy = structuredClone(docs);
    change(copy);
    return copy;
};

const group = (c, name) => groups(c).find((g) => g.name === name);
const inCluster = (change) => changed(cluster(), change);

export function breakages({ eks, karpenter, dev, loose }) {
    const doc = (docs, kind, name) => one(docs, kind, name);
    const flux = (kind) => loose.find((o) => o.doc.kind === kind).doc;
    const typed = [
        ['an unknown field in a container', /imagePullPolice/, doc(eks, 'Deployment', 'node'), (d) => { d.spec.template.spec.containers[0].imagePullPolice = 'Always'; }],
        ['a text where a number belongs', /terminationGracePeriodSeconds|number|integer/, doc(eks, 'Deployment', 'node'), (d) => { d.spec.template.spec.terminationGracePeriodSeconds = '115'; }],
        ['a required field that is missing', /scaleTargetRef/, doc(eks, 'HorizontalPodAutoscaler', 'node'), (d) => { delete d.spec.scaleTargetRef; }],
        ['an unknown operator in a NodePool', /"?Inn"?|operator/, doc(karpenter, 'NodePool', 'spotcraft-spot'), (d) => { d.spec.template.spec.requirements[0].operator = 'Inn'; }],
        ['a hop limit that is written wrong', /httpPutResponseHopLimits/, doc(karpenter, 'EC2NodeClass', 'spotcraft'), (d) => { d.spec.metadataOptions.httpPutResponseHopLimits = 2; }],
        ['an unknown field in a Flux Kustomization', /prunes/, flux('Kustomization'), (d) => { d.spec.prunes = true; }],
        ['a version that no longer exists', /no published type/, doc(eks, 'HorizontalPodAutoscaler', 'node'), (d) => { d.apiVersion = 'autoscaling/v3'; }],
    ];
    const types = typed.map(([what, expect, object, change], i) => ({ what, expect, origin: `on purpose ${i}:`, doc: changed(object, change) }));

    const cluster1 = (what, check, expect, change, docs = eks) => ({ what, expect, run: () => checks[check](changed(docs, change)) });
    const settingsMap = (docs) => docs.find((d) => d.kind === 'ConfigMap' && d.metadata.name.startsWith('spotcraft-settings')).data;
    const variable = (docs, name, v) => containerOf(docs, name).env.find((e) => e.name === v);
    const others = [
        cluster1('a setting that no program knows', 'settings', /FLUSH_MSS: there is no such setting/, (d) => { settingsMap(d).SPOTCRAFT_FLUSH_MSS = '1'; }),
        cluster1('a setting out of range', 'settings', /LEASE_MS/, (d) => { settingsMap(d).SPOTCRAFT_LEASE_MS = '5'; }),
        cluster1('a port that is not the one listened on', 'settings', /port peers is 4082/, (d) => { containerOf(d, 'node').ports[0].containerPort = 4082; }),
        cluster1('a secret that nobody makes', 'settings', /no Secret spotcraft-secret$/, (d) => { variable(d, 'node', 'SPOTCRAFT_STORE').valueFrom.secretKeyRef.name = 'spotcraft-secret'; }),
        cluster1('a probe that asks a page that does not exist', 'pages', /\/ready, which/, (d) => { containerOf(d, 'node').readinessProbe.httpGet.path = '/ready'; }),
        cluster1('liveness by readiness, which kills what drains', 'pages', /must ask \/healthz/, (d) => { containerOf(d, 'node').livenessProbe.httpGet.path = '/readyz'; }),
        cluster1('a load balancer that adds a header which the gateway does not expect', 'loadBalancer', /proxy_protocol = false/, (d) => { variable(d, 'gateway', 'SPOTCRAFT_PROXY_PROTOCOL').value = 'false'; }),
        cluster1('a load balancer that resets the players of a draining gateway', 'loadBalancer', /lose its players/, (d) => {
            const a = doc(d, 'Service', 'gateway').metadata.annotations, key = 'service.beta.kubernetes.io/aws-load-balancer-target-group-attributes';
            a[key] = a[key].replace('unhealthy.connection_termination.enabled=false', 'unhealthy.connection_termination.enabled=true');
        }),
        cluster1('a Service whose selector finds nobody', 'references', /nodes selects no pod/, (d) => { doc(d, 'Service', 'nodes').spec.selector['app.kubernetes.io/component'] = 'nodes'; }),
        cluster1('an autoscaler by a metric that does not exist', 'references', /no program has a metric spotcraft_load/, (d) => { doc(d, 'HorizontalPodAutoscaler', 'node').spec.metrics[0].pods.metric.name = 'spotcraft_load'; }),
        cluster1('a disruption budget for nodes', 'references', /wastes the notice/, (d) => { doc(d, 'PodDisruptionBudget', 'gateway').spec.selector.matchLabels['app.kubernetes.io/component'] = 'node'; }),
        cluster1('a node that may not reach the metadata', 'network', /node have egress on port 80/, (d) => { doc(d, 'NetworkPolicy', 'node').spec.egress.pop(); }),
        cluster1('a container that may run as root', 'security', /may run as root/, (d) => { one(d, 'Deployment', 'node').spec.template.spec.securityContext.runAsNonRoot = false; }),
        cluster1('another user than the image\'s', 'security', /runs as 1000, and/, (d) => { one(d, 'Deployment', 'node').spec.template.spec.securityContext.runAsUser = 1000; }),
        cluster1('a migration that was forgotten', 'migrations', /does not have 0001/, (d) => { delete d.find((m) => m.metadata.name.startsWith('spotcraft-migrations')).data['0001_world.postgres.sql']; }, dev),
        {
            what: 'nodes that ask for machines that nobody has', expect: /there are none/,
            run: () => machines(eks, new Set(['on-demand', 'fallback'])),
        },
        {
            what: 'a lost machine whose pod is waited for', expect: /node: a pod on a machine that is unreachable is replaced after 300 s/,
            run: () => machines(changed(eks, (d) => {
                const pod = one(d, 'Deployment', 'node').spec.template.spec;
                pod.tolerations = pod.tolerations.filter((t) => t.key !== 'node.kubernetes.io/unreachable');
            }), capacities(cluster())),
        },
        {
            what: 'a grace period that does not fit into the notice', expect: /node_grace <= notice` does not hold/,
            run: () => sums(read('ops/k8s/README.md'), values(changed(eks, (d) => { one(d, 'Deployment', 'node').spec.template.spec.terminationGracePeriodSeconds = 130; }), karpenter)),
        },
        {
            what: 'no machine for the new gateways of a rollout', expect: /`2 \* gateways_max \/ zones <= zone_machines` does not hold/,
            run: () => sums(read('ops/k8s/README.md'), values(eks, karpenter, inCluster((c) => { group(c, 'gateways-b').maxSize = 8; }))),
        },
        {
            what: 'queues of stuck players that do not fit into a gateway', expect: /stuck_kib <= gateway_kib` does not hold/,
            run: () => sums(read('ops/k8s/README.md'), values(changed(eks, (d) => { variable(d, 'gateway', 'SPOTCRAFT_OUT_HARD_BYTES').value = '16777216'; }), karpenter)),
        },
        {
            what: 'a number in the table that is old', expect: /is 2 \+ 1 \+ 115 <= 120 and not/,
            run: () => sums(read('ops/k8s/README.md').replace('`2 + 1 + 115 <= 120`', '`2 + 1 + 110 <= 120`'), values(eks, karpenter)),
        },
        {
            what: 'a property that no resource of AWS has', expect: /there is no such property/,
            run: () => {
                const t = template('ops/aws/stores.yaml');
                t.Resources.Redis.Properties.TransitEncryption = true;
                return checkTemplate(t, 'stores.yaml');
            },
        },
        {
            what: 'a name in a template that is not there', expect: /nothing is called RedisSecurities/,
            run: () => {
                const t = template('ops/aws/stores.yaml');
                t.Resources.Redis.Properties.SecurityGroupIds[0].value = 'RedisSecurities';
                return checkTemplate(t, 'stores.yaml');
            },
        },
        {
            what: 'a network other than the one that policies let in', expect: /and the cluster's network is 10\.43/,
            run: () => checkCluster({ ...cluster(), vpc: { cidr: '10.43.0.0/16' } }, eks),
        },
        {
            what: 'a group that the autoscaler does not find', expect: /spot-any: the autoscaler does not find .*cluster-autoscaler\/enabled/,
            run: () => checkCluster(inCluster((c) => { delete group(c, 'spot-any').tags['k8s.io/cluster-autoscaler/enabled']; }), eks),
        },
        {
            what: 'a group that is tagged for another cluster', expect: /fallback: the autoscaler does not find .*cluster-autoscaler\/spotcraft/,
            run: () => checkCluster(inCluster((c) => { group(c, 'fallback').tags = { ...group(c, 'fallback').tags, 'k8s.io/cluster-autoscaler/spotcraft': 'shared' }; }), eks),
        },
        {
            what: 'one group over three zones for pods that are spread over zones strictly', expect: /gateways-a: .* and the group is in several/,
            run: () => checkCluster(inCluster((c) => { delete group(c, 'gateways-a').availabilityZones; }), eks),
        },
        {
            what: 'a zone without machines for gateways', expect: /no group of its own for pods of gateway in eu-central-1c/,
            run: () => checkCluster(inCluster((c) => { c.managedNodeGroups = c.managedNodeGroups.filter((g) => g.name !== 'gateways-c'); }), eks),
        },
        {
            what: 'a group without a place in the autoscaler\'s order', expect: /node group gpu has no place/,
            run: () => {
                const c = cluster();
                c.nodeGroups.push({ ...c.nodeGroups[0], name: 'gpu' });
                return checkPriorities(c);
            },
        },
        {
            what: 'an alert by a metric that was renamed', expect: /no program has a metric spotcraft_node_flush_lag/,
            run: () => checkRules(parse(read('ops/monitoring/rules.yaml').replaceAll('spotcraft_node_flush_lag_seconds', 'spotcraft_node_flush_lag'))),
        },
        {
            what: 'a value that a label never has', expect: /has no state="runing"/,
            run: () => checkRules(parse(read('ops/monitoring/rules.yaml').replaceAll('state="running"', 'state="runing"'))),
        },
        {
            what: 'an alert without a heading in the runbook', expect: /no heading for the alert SpotcraftFlushLag/,
            run: () => checkAlerts(parse(read('ops/monitoring/rules.yaml')), read('ops/runbook.md').replace('## SpotcraftFlushLag', '## Flush lag'), parse(read('ops/monitoring/rules.test.yaml'))),
        },
        {
            what: 'a panel by a metric that does not exist', expect: /no program has a metric spotcraft_cells_lost/,
            run: () => checkDashboard(JSON.parse(read('ops/monitoring/dashboard.json').replaceAll('spotcraft_node_cells{', 'spotcraft_cells_lost{')), parse(read('ops/monitoring/rules.yaml'))),
        },
    ];
    return { types, others };
}
