// aws.mjs - ops/aws: CloudFormation templates against the published resource specification, and the cluster against the overlays.
import { createRequire } from 'node:module';
import { parse } from 'yaml';
import { read } from './build.mjs';

const require = createRequire(import.meta.url);
let spec;

class Fn {
    constructor(name, value) {
        this.name = name;
        this.value = value;
    }
}
// !Ref, !Sub and !GetAtt: something that is known only when the stack is made.
const tags = ['Ref', 'Sub', 'GetAtt'].map((name) => ({ tag: `!${name}`, resolve: (value) => new Fn(name, value) }));
export const template = (path) => parse(read(path), { customTags: tags });

const primitives = {
    String: (v) => typeof v === 'string', Boolean: (v) => typeof v === 'boolean', Integer: (v) => Number.isInteger(v),
    Long: (v) => Number.isInteger(v), Double: (v) => typeof v === 'number', Json: () => true, Timestamp: (v) => typeof v === 'string',
};

function checkProperties(resource, of, properties, where, errors) {
    for (const [name, p] of Object.entries(of.Properties ?? {}))
        if (p.Required && properties[name] === undefined)
            errors.push(`${where}.${name} is missing`);
    for (const [name, value] of Object.entries(properties)) {
        const p = of.Properties?.[name];
        if (!p)
            errors.push(`${where}.${name}: there is no such property`);
        else
            checkValue(resource, p, value, `${where}.${name}`, errors);
    }
}

function checkValue(resource, p, value, where, errors) {
    if (value instanceof Fn)
        return;
    if (p.PrimitiveType) {
        if (!primitives[p.PrimitiveType](value))
            errors.push(`${where}: must be ${p.PrimitiveType}`);
    } else if (p.Type === 'List') {
        if (!Array.isArray(value))
            errors.push(`${where}: must be a list`);
        else
            value.forEach((v, i) => checkValue(resource, { PrimitiveType: p.PrimitiveItemType, Type: p.ItemType }, v, `${where}[${i}]`, errors));
    } else if (p.Type === 'Map') {
        for (const [k, v] of Object.entries(value))
            checkValue(resource, { PrimitiveType: p.PrimitiveItemType, Type: p.ItemType }, v, `${where}.${k}`, errors);
    } else {
        const type = spec.PropertyTypes[`${resource}.${p.Type}`] ?? spec.PropertyTypes[p.Type];
        checkProperties(resource, type ?? {}, value, where, errors);
    }
}

function functions(value, found = []) {
    if (value instanceof Fn)
        found.push(value);
    else if (value && typeof value === 'object')
        Object.values(value).forEach((v) => functions(v, found));
    return found;
}

// Each name that a template uses is one of its parameters or resources, each attribute one that the resource has.
function checkNames(t, origin, errors) {
    const known = (n) => n.startsWith('AWS::') || t.Parameters?.[n] || t.Resources[n];
    for (const f of functions(t)) {
        const names = f.name === 'Sub' ? [...f.value.matchAll(/\$\{([\w:]+)/g)].map((m) => m[1]) : [f.name === 'GetAtt' ? f.value.split('.')[0] : f.value];
        for (const n of names)
            if (!known(n))
                errors.push(`${origin}: nothing is called ${n}`);
        if (f.name === 'GetAtt' && t.Resources[names[0]]) {
            const attribute = f.value.slice(names[0].length + 1), type = t.Resources[names[0]].Type;
            if (!spec.ResourceTypes[type]?.Attributes?.[attribute])
                errors.push(`${origin}: ${type} has no attribute ${attribute}`);
        }
    }
}

export function checkTemplate(t, origin) {
    spec ??= require('@aws-cdk/cfnspec/spec/specification.json');
    const errors = [];
    for (const [name, r] of Object.entries(t.Resources)) {
        const type = spec.ResourceTypes[r.Type];
        if (!type)
            errors.push(`${origin}: ${name}: there is no type ${r.Type}`);
        else
            checkProperties(r.Type, type, r.Properties ?? {}, `${origin}: ${name}`, errors);
        for (const key of Object.keys(r))
            if (!['Type', 'Properties', 'DependsOn', 'DeletionPolicy', 'UpdateReplacePolicy', 'Condition', 'Metadata'].includes(key))
                errors.push(`${origin}: ${name}: ${key} is nothing that a resource has`);
    }
    checkNames(t, origin, errors);
    return errors;
}

export const cluster = () => parse(read('ops/aws/cluster.yaml'));
export const groups = (c) => [...c.managedNodeGroups, ...c.nodeGroups];
export const capacities = (c) => new Set(groups(c).map((g) => g.labels?.['spotcraft/capacity']).filter((l) => l));

// What the autoscaler looks for by the chart's autoDiscovery.clusterName. EKS itself tags managed groups, nobody the others.
function discoveryTags() {
    const name = parse(read('ops/aws/cluster-autoscaler-values.yaml')).autoDiscovery.clusterName;
    return { 'k8s.io/cluster-autoscaler/enabled': 'true', [`k8s.io/cluster-autoscaler/${name}`]: 'owned' };
}

// Pods that are spread over zones strictly need groups of one zone each, in every zone, and never empty: the autoscaler takes all of a
// group's machines to be in the same zone, and the scheduler knows only zones that have a machine.
function strictZones(c, eks) {
    const errors = [];
    for (const d of eks.filter((x) => x.kind === 'Deployment')) {
        const pod = d.spec.template.spec;
        if (!pod.topologySpreadConstraints?.some((t) => t.topologyKey === 'topology.kubernetes.io/zone' && t.whenUnsatisfiable === 'DoNotSchedule'))
            continue;
        const wanted = pod.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms
            .flatMap((t) => t.matchExpressions).filter((e) => e.key === 'spotcraft/capacity').flatMap((e) => e.values);
        const its = groups(c).filter((g) => wanted.includes(g.labels?.['spotcraft/capacity']));
        for (const g of its) {
            if ((g.availabilityZones ?? c.availabilityZones).length !== 1)
                errors.push(`cluster.yaml: ${g.name}: pods of ${d.metadata.name} are spread over zones strictly, and the group is in several`);
            if (!g.minSize)
                errors.push(`cluster.yaml: ${g.name}: an empty group's zone is none to spread over`);
        }
        const covered = new Set(its.flatMap((g) => g.availabilityZones ?? []));
        for (const zone of c.availabilityZones)
            if (!covered.has(zone))
                errors.push(`cluster.yaml: no group of its own for pods of ${d.metadata.name} in ${zone}`);
    }
    return errors;
}

// What of the cluster the rest relies on.
export function checkCluster(c, eks) {
    const errors = [];
    const blocks = eks.filter((d) => d.kind === 'NetworkPolicy').flatMap((p) => [...(p.spec.ingress ?? []), ...(p.spec.egress ?? [])])
        .flatMap((r) => [...(r.from ?? []), ...(r.to ?? [])]).map((p) => p.ipBlock?.cidr).filter((b) => b && !b.startsWith('169.254.'));
    for (const b of blocks)
        if (b !== c.vpc.cidr)
            errors.push(`overlays/eks lets ${b} in or out, and the cluster's network is ${c.vpc.cidr}`);
    errors.push(...strictZones(c, eks));
    for (const g of c.nodeGroups)
        for (const [key, value] of Object.entries(discoveryTags()))
            if (g.tags?.[key] !== value)
                errors.push(`cluster.yaml: ${g.name}: the autoscaler does not find a group without the tag ${key}: ${value}`);
    for (const g of groups(c)) {
        const label = g.labels?.['spotcraft/capacity'], taint = g.taints?.find((t) => t.key === 'spotcraft/capacity');
        if (label && (taint?.value !== label || taint?.effect !== 'NoSchedule'))
            errors.push(`cluster.yaml: ${g.name}: the taint is not what the label says`);
        if (label && !g.propagateASGTags)
            errors.push(`cluster.yaml: ${g.name}: an empty group's labels would not be known to the autoscaler`);
        if (!g.disableIMDSv1 || g.disablePodIMDS)
            errors.push(`cluster.yaml: ${g.name}: metadata must ask for tokens, and answer pods`);
        const sizes = new Set((g.instancesDistribution?.instanceTypes ?? g.instanceTypes).map((t) => t.split('.')[1]));
        if (sizes.size !== 1)
            errors.push(`cluster.yaml: ${g.name}: machines of several sizes: ${[...sizes]}`);
        if (label !== 'spot')
            continue;
        const d = g.instancesDistribution;
        if (d.spotAllocationStrategy !== 'price-capacity-optimized' || !d.capacityRebalance || d.onDemandPercentageAboveBaseCapacity !== 0)
            errors.push(`cluster.yaml: ${g.name}: not all Spot, price-capacity-optimized and rebalanced`);
        if (!g.asgSuspendProcesses?.includes('AZRebalance'))
            errors.push(`cluster.yaml: ${g.name}: AZRebalance ends machines for symmetry`);
    }
    return errors;
}

// The autoscaler's order: every group is in it, Spot above on-demand, and both files say the same.
export function checkPriorities(c) {
    const errors = [];
    const chart = read('ops/aws/cluster-autoscaler-values.yaml'), args = parse(chart).extraArgs;
    const order = parse(parse(chart).expanderPriorities);
    const map = parse(read('ops/aws/cluster-autoscaler-priority-expander.yaml'));
    if (JSON.stringify(parse(map.data.priorities)) !== JSON.stringify(order))
        errors.push("the ConfigMap's order is not that of cluster-autoscaler-values.yaml");
    if (map.metadata.name !== 'cluster-autoscaler-priority-expander')
        errors.push('the autoscaler looks for the ConfigMap by another name');
    if (args.expander !== 'priority,least-waste')
        errors.push(`the expander is ${args.expander}`);
    const rank = (g) => Math.max(-1, ...Object.entries(order).filter(([, patterns]) => patterns.some((p) => new RegExp(p).test(`eksctl-x-nodegroup-${g.name}-y`))).map(([n]) => Number(n)));
    const of = (label) => groups(c).filter((g) => g.labels?.['spotcraft/capacity'] === label).map(rank);
    for (const g of groups(c))
        if (rank(g) < 0)
            errors.push(`node group ${g.name} has no place in the autoscaler's order`);
    if (Math.min(...of('spot')) <= Math.max(...of('fallback')))
        errors.push('on-demand machines come before Spot in the order');
    return errors;
}
