// numbers.mjs - the sums of ops/k8s/README.md, with the numbers that the manifests have. A row of its table is an inequality in
// names and the same in numbers: the first must hold, and the second must be what the first comes to.
import { parse } from 'yaml';
import { cluster, groups } from './aws.mjs';
import { balancer, environment, one } from './cluster.mjs';
import { read } from './build.mjs';
import { settingsWith } from './programs.mjs';

const seconds = (text) => {
    const m = String(text).match(/^(\d+)(s|m|h)?$/);
    return m ? Number(m[1]) * { s: 1, m: 60, h: 3600 }[m[2] ?? 's'] : NaN;
};
const scaleIn = (h) => h.spec.behavior.scaleDown.policies[0].periodSeconds;
const players = (h) => Number(h.spec.metrics.find((m) => m.pods?.metric.name === 'spotcraft_players').pods.target.averageValue);

const KIB = { Ki: 1, Mi: 1024, Gi: 1024 * 1024 };
const kib = (quantity) => {
    const m = String(quantity).match(/^(\d+)(Ki|Mi|Gi)$/);
    return m ? Number(m[1]) * KIB[m[2]] : NaN;
};

// eks, karpenter: objects of the two overlays; c: the cluster.
export function values(eks, karpenter, c = cluster()) {
    const pod = (name) => one(eks, 'Deployment', name).spec.template.spec;
    const container = (name) => pod(name).containers[0];
    const settings = (name) => settingsWith(name, environment(eks, container(name))).settings ?? {};
    const node = settings('node'), gateway = settings('gateway');
    const probe = (kind, what) => container('gateway')[kind][what];
    const { get, group, listener } = balancer(eks);
    const check = (what) => Number(get(`healthcheck-${what}`));
    const hpa = (name) => one(eks, 'HorizontalPodAutoscaler', name);
    const autoscaler = parse(read('ops/aws/cluster-autoscaler-values.yaml')).extraArgs;
    const hooks = parse(read('ops/aws/asg.yaml'), { logLevel: 'silent' }).Parameters;
    const gateways = groups(c).filter((g) => g.labels?.['spotcraft/capacity'] === 'on-demand');
    const cpus = (name) => Number(one(karpenter, 'NodePool', name).spec.limits.cpu);
    const bought = (name) => seconds(one(karpenter, 'NodePool', name).spec.template.spec.terminationGracePeriod);
    return {
        notice: 120, // of EC2
        late_flows: 120, // seen in the field after a target was taken out of an NLB
        target_connections: 55000, // an NLB's, for one target
        poll: node.imds_poll_ms / 1000,
        metadata_timeout: node.imds_timeout_ms / 1000,
        lease: node.lease_ms / 1000,
        redis_deadline: node.redis_deadline_ms / 1000,
        silence: gateway.silence_ms / 1000,
        sessions: Number(gateway.sessions_max),
        node_stop: node.stop_ms / 1000,
        gateway_stop: gateway.stop_ms / 1000,
        node_grace: pod('node').terminationGracePeriodSeconds,
        gateway_grace: pod('gateway').terminationGracePeriodSeconds,
        ready_period: probe('readinessProbe', 'periodSeconds'),
        ready_failures: probe('readinessProbe', 'failureThreshold'),
        live_period: container('node').livenessProbe.periodSeconds,
        live_failures: container('node').livenessProbe.failureThreshold,
        start_period: container('node').startupProbe.periodSeconds,
        start_failures: container('node').startupProbe.failureThreshold,
        lb_interval: check('interval'),
        lb_timeout: check('timeout'),
        lb_failures: check('unhealthy-threshold'),
        lb_draining: Number(group['target_health_state.unhealthy.draining_interval_seconds']),
        lb_deregistration: Number(group['deregistration_delay.timeout_seconds']),
        lb_idle: Number(listener['tcp.idle_timeout.seconds']),
        gateways_min: hpa('gateway').spec.minReplicas,
        gateways_max: hpa('gateway').spec.maxReplicas,
        gateways_surge: Number(one(eks, 'Deployment', 'gateway').spec.strategy.rollingUpdate.maxSurge),
        nodes_max: hpa('node').spec.maxReplicas,
        zones: c.availabilityZones.length,
        zone_machines: Math.min(...gateways.map((g) => g.maxSize)), // one gateway fits on a machine
        spot_machines: groups(c).filter((g) => g.labels?.['spotcraft/capacity'] === 'spot').reduce((n, g) => n + g.maxSize, 0),
        machine_cpus: 2,
        gateway_players: players(hpa('gateway')),
        node_scale_in: scaleIn(hpa('node')),
        gateway_scale_in: scaleIn(hpa('gateway')),
        node_progress: one(eks, 'Deployment', 'node').spec.progressDeadlineSeconds,
        ca_grace: Number(autoscaler['max-graceful-termination-sec']),
        ca_provision: seconds(autoscaler['max-node-provision-time']),
        hook: Number(hooks.SpotHookSeconds.Default),
        karpenter_spot: bought('spotcraft-spot'),
        karpenter_gateways: bought('spotcraft-gateways'),
        karpenter_spot_cpus: cpus('spotcraft-spot'),
        karpenter_gateways_cpus: cpus('spotcraft-gateways'),
        gateway_kib: kib(container('gateway').resources.limits.memory),
        slow_kib: Number(gateway.out_soft_bytes) / 1024,
        stuck_kib: Number(gateway.out_hard_bytes) / 1024,
        one_address: Number(gateway.address_sessions_max),
    };
}

export function rows(text) {
    const table = text.split('<!-- sums -->')[1]?.split('<!-- end -->')[0] ?? '';
    return [...table.matchAll(/^\| (.+) \| `([^`]+)` \| `([^`]+)` \|$/gm)].map((m) => ({ why: m[1], sum: m[2], numbers: m[3] }));
}

export function sums(text, vars) {
    const errors = [], found = rows(text);
    if (found.length < 15)
        errors.push(`ops/k8s/README.md: only ${found.length} sums were found`);
    for (const { sum, numbers } of found) {
        const unknown = [...sum.matchAll(/[a-z]\w*/g)].map((m) => m[0]).filter((n) => !Object.hasOwn(vars, n));
        if (unknown.length || !/^[\w\s+*/().-]+ <= [\w\s+*/().-]+$/.test(sum)) {
            errors.push(`ops/k8s/README.md: \`${sum}\`: ${unknown.length ? `nothing is called ${unknown}` : 'not an inequality'}`);
            continue;
        }
        const filled = sum.replace(/[a-z]\w*/g, (n) => String(vars[n]));
        if (filled.includes('NaN') || filled.includes('undefined') || !new Function(`return ${filled};`)())
            errors.push(`ops/k8s/README.md: \`${sum}\` does not hold: ${filled}`);
        else if (filled !== numbers)
            errors.push(`ops/k8s/README.md: \`${sum}\` is ${filled} and not ${numbers}`);
    }
    return errors;
}
