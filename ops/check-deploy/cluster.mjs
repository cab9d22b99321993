// cluster.mjs - one overlay's objects among themselves and against the programs: each check is a function of the objects that
// gives what is wrong, so that checks can be tried on objects that are wrong on purpose.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { read, top } from './build.mjs';
import { hasPage, metrics, settingsWith } from './programs.mjs';

const outside = { Secret: ['spotcraft-secrets'], ConfigMap: ['store-ca'] }; // made by hand: overlays/eks/kustomization.yaml
const programs = ['node', 'gateway'];

export const all = (docs, kind) => docs.filter((d) => d.kind === kind);
export const one = (docs, kind, name) => docs.find((d) => d.kind === kind && d.metadata.name === name);
const podsOf = (docs) => docs.filter((d) => d.spec?.template?.spec?.containers);
const programOf = (docs, name) => one(docs, 'Deployment', name)?.spec.template.spec.containers.find((c) => c.name === name);

const matches = (selector, labels) =>
    Object.entries(selector?.matchLabels ?? {}).every(([k, v]) => labels[k] === v) &&
    (selector?.matchExpressions ?? []).every((e) => e.operator === 'In' && e.values.includes(labels[e.key]));
const selected = (docs, selector) => podsOf(docs).filter((d) => matches(selector, d.spec.template.metadata.labels ?? {}));

// The environment of a container, as kubelet would make it; null where something refers to what is not there.
export function environment(docs, container, errors = []) {
    const env = {};
    for (const from of container.envFrom ?? []) {
        const map = one(docs, 'ConfigMap', from.configMapRef.name);
        if (!map)
            errors.push(`there is no ConfigMap ${from.configMapRef.name}`);
        Object.assign(env, map?.data);
    }
    for (const { name, value, valueFrom } of container.env ?? []) {
        const secret = valueFrom?.secretKeyRef;
        const samples = { secret: 'sample', redis: 'rediss://:sample@redis.example:6379', store: 'postgres://a:b@store.example:5432/w' };
        if (secret) {
            const made = all(docs, 'Secret').find((s) => s.metadata.name === secret.name);
            if (!made && !outside.Secret.includes(secret.name))
                errors.push(`there is no Secret ${secret.name}`);
            const data = made ? made.data?.[secret.key] && Buffer.from(made.data[secret.key], 'base64').toString() : samples[secret.key];
            if (data === undefined)
                errors.push(`the Secret ${secret.name} has no ${secret.key}`);
            env[name] = data;
        } else {
            env[name] = valueFrom?.fieldRef ? '10.42.0.1' : value.replace(/\$\((\w+)\)/g, (m, v) => env[v] ?? m);
        }
    }
    return env;
}

// Each program starts with what it is given, and listens where the manifests say.
export function settings(docs) {
    const errors = [];
    for (const program of programs) {
        const container = programOf(docs, program);
        if (!container) {
            errors.push(`${program}: there is no Deployment with such a container`);
            continue;
        }
        const missing = [], env = environment(docs, container, missing);
        errors.push(...missing.map((m) => `${program}: ${m}`));
        const { settings: s, error } = settingsWith(program, env);
        if (error) {
            errors.push(error);
            continue;
        }
        const want = { [program === 'node' ? 'peers' : 'players']: s.listen, admin: s.admin };
        for (const [name, address] of Object.entries(want)) {
            const port = container.ports.find((p) => p.name === name)?.containerPort;
            if (port !== Number(address.split(':').at(-1)))
                errors.push(`${program}: port ${name} is ${port}, and the program listens on ${address}`);
        }
        if (container.command?.[0] !== program)
            errors.push(`${program}: the command is ${container.command}`);
        if (program === 'node' && s.advertise !== '10.42.0.1:' + s.listen.split(':').at(-1))
            errors.push(`node: advertises ${s.advertise}, listens on ${s.listen}`);
    }
    return errors;
}

// Probes and the load balancer ask pages that are there, and liveness never asks more than whether the loop turns.
export async function pages(docs) {
    const errors = [];
    for (const program of programs) {
        const container = programOf(docs, program);
        for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe']) {
            const get = container?.[probe]?.httpGet;
            if (!get)
                errors.push(`${program}: no ${probe}`);
            else if (get.port !== 'admin')
                errors.push(`${program}: ${probe} asks port ${get.port}`);
            else if (!(await hasPage(program, get.path)))
                errors.push(`${program}: ${probe} asks ${get.path}, which the program does not have`);
        }
        if (container?.livenessProbe?.httpGet.path !== '/healthz')
            errors.push(`${program}: liveness must ask /healthz: what drains or lost its store is alive`);
    }
    return errors;
}

const annotation = (service, name) => service?.metadata.annotations?.[`service.beta.kubernetes.io/aws-load-balancer-${name}`];
export const attributes = (text) => Object.fromEntries((text ?? '').split(',').filter((a) => a).map((a) => a.split('=')));
export const balancer = (docs) => {
    const service = one(docs, 'Service', 'gateway');
    return {
        service,
        get: (name) => annotation(service, name),
        group: attributes(annotation(service, 'target-group-attributes')),
        listener: attributes(annotation(service, 'listener-attributes.TCP-4080')),
    };
};

export async function loadBalancer(docs) {
    const errors = [], { service, get, group } = balancer(docs), container = programOf(docs, 'gateway');
    if (!service)
        return ['there is no Service gateway'];
    const { settings: s } = settingsWith('gateway', environment(docs, container));
    const header = get('proxy-protocol') === '*';
    if (s && header !== (s.proxy_protocol === 'true'))
        errors.push(`the load balancer ${header ? 'adds' : 'adds no'} header of the proxy protocol, and the gateway has proxy_protocol = ${s.proxy_protocol}`);
    if (service.spec.ports[0]?.port !== 4080)
        errors.push('players connect to port 4080: it is what the client takes');
    if (service.spec.type !== 'LoadBalancer')
        return errors;
    if (Number(get('healthcheck-port')) !== container.ports.find((p) => p.name === 'admin')?.containerPort)
        errors.push(`the load balancer asks port ${get('healthcheck-port')}, which is not the gateway's admin port`);
    if (get('healthcheck-path') !== '/readyz' || !(await hasPage('gateway', get('healthcheck-path'))))
        errors.push(`the load balancer asks ${get('healthcheck-path')} and not /readyz`);
    if (get('nlb-target-type') !== 'ip' || get('type') !== 'external')
        errors.push('the load balancer must take the pods themselves as targets');
    if (group['target_health_state.unhealthy.connection_termination.enabled'] !== 'false')
        errors.push('an unhealthy gateway would lose its players at once');
    for (const port of service.spec.ports)
        if (!get(`listener-attributes.TCP-${port.port}`))
            errors.push(`no idle timeout is said for port ${port.port}`);
    return errors;
}

// Services, policies and autoscalers point at something.
export function references(docs) {
    const errors = [];
    for (const s of all(docs, 'Service')) {
        const pods = selected(docs, { matchLabels: s.spec.selector });
        const names = pods.flatMap((p) => p.spec.template.spec.containers.flatMap((c) => c.ports ?? [])).map((p) => p.name);
        if (!pods.length)
            errors.push(`Service ${s.metadata.name} selects no pod`);
        for (const p of s.spec.ports)
            if (!names.includes(p.targetPort))
                errors.push(`Service ${s.metadata.name}: no pod has a port ${p.targetPort}`);
    }
    for (const h of all(docs, 'HorizontalPodAutoscaler')) {
        if (!one(docs, h.spec.scaleTargetRef.kind, h.spec.scaleTargetRef.name))
            errors.push(`HorizontalPodAutoscaler ${h.metadata.name} scales nothing`);
        if (one(docs, 'Deployment', h.spec.scaleTargetRef.name)?.spec.replicas !== undefined)
            errors.push(`Deployment ${h.spec.scaleTargetRef.name} has replicas: each apply would undo the autoscaler`);
        for (const m of h.spec.metrics)
            if (m.type === 'Pods' && !metrics().types.has(m.pods.metric.name))
                errors.push(`HorizontalPodAutoscaler ${h.metadata.name}: no program has a metric ${m.pods.metric.name}`);
    }
    const budgets = all(docs, 'PodDisruptionBudget').flatMap((b) => selected(docs, b.spec.selector));
    if (budgets.some((p) => p.metadata.name === 'node'))
        errors.push('a PodDisruptionBudget holds nodes back: that wastes the notice');
    if (!budgets.some((p) => p.metadata.name === 'gateway'))
        errors.push('no PodDisruptionBudget for gateways');
    for (const p of podsOf(docs)) {
        const account = p.spec.template.spec.serviceAccountName;
        if (account && !one(docs, 'ServiceAccount', account))
            errors.push(`${p.metadata.name}: there is no ServiceAccount ${account}`);
        for (const v of p.spec.template.spec.volumes ?? [])
            if (v.configMap && !one(docs, 'ConfigMap', v.configMap.name) && !outside.ConfigMap.includes(v.configMap.name))
                errors.push(`${p.metadata.name}: there is no ConfigMap ${v.configMap.name}`);
    }
    return errors;
}

// Network policies: every port in them is one that somebody listens on, every selector finds somebody, and what the programs need is open.
export function network(docs) {
    const errors = [], policies = all(docs, 'NetworkPolicy');
    const listening = podsOf(docs).flatMap((p) => p.spec.template.spec.containers.flatMap((c) => c.ports ?? [])).map((p) => p.containerPort);
    const known = new Set([...listening, 53, 80, 6379, 5432]);
    for (const p of policies) {
        if (Object.keys(p.spec.podSelector).length && !selected(docs, p.spec.podSelector).length)
            errors.push(`NetworkPolicy ${p.metadata.name} selects no pod`);
        for (const rule of [...(p.spec.ingress ?? []), ...(p.spec.egress ?? [])]) {
            for (const { port } of rule.ports ?? [])
                if (!known.has(port))
                    errors.push(`NetworkPolicy ${p.metadata.name}: nobody listens on ${port}`);
            for (const peer of [...(rule.from ?? []), ...(rule.to ?? [])])
                if (peer.podSelector && !peer.namespaceSelector && !selected(docs, peer.podSelector).length)
                    errors.push(`NetworkPolicy ${p.metadata.name}: a peer's selector finds no pod`);
        }
    }
    if (!policies.some((p) => !Object.keys(p.spec.podSelector).length && p.spec.policyTypes.length === 2 && !p.spec.ingress && !p.spec.egress))
        errors.push('no policy that forbids what no other allows');
    const open = (name, way, port) => {
        const labels = one(docs, 'Deployment', name)?.spec.template.metadata.labels ?? {};
        return policies.some((p) => matches(p.spec.podSelector, labels) && (p.spec[way] ?? []).some((r) => (r.ports ?? []).some((x) => x.port === port)));
    };
    const need = [
        ['gateway', 'ingress', 4080], ['gateway', 'ingress', 9180], ['gateway', 'egress', 4081], ['gateway', 'egress', 6379],
        ['gateway', 'egress', 80], ['gateway', 'egress', 53], ['node', 'ingress', 4081], ['node', 'ingress', 9180],
        ['node', 'egress', 4081], ['node', 'egress', 6379], ['node', 'egress', 5432], ['node', 'egress', 80], ['node', 'egress', 53],
    ];
    for (const [name, way, port] of need)
        if (!open(name, way, port))
            errors.push(`no policy lets a ${name} have ${way} on port ${port}`);
    if (open('gateway', 'egress', 5432))
        errors.push('a gateway has no business with the store');
    return errors;
}

// What the namespace enforces, its pods keep: the "restricted" standard, and a root file system that is not written.
export function security(docs) {
    const errors = [];
    const enforced = all(docs, 'Namespace')[0]?.metadata.labels?.['pod-security.kubernetes.io/enforce'];
    const user = Number(read('ops/Dockerfile').match(/^USER (\d+)/m)?.[1]);
    const wide = podsOf(docs).filter((p) => p.spec.template.spec.hostNetwork);
    if (enforced !== (wide.length ? 'privileged' : 'restricted'))
        errors.push(`the namespace enforces ${enforced}, and ${wide.length} kinds of pods have the host's network`);
    for (const p of podsOf(docs)) {
        const pod = p.spec.template.spec, name = p.metadata.name;
        if (pod.automountServiceAccountToken !== false)
            errors.push(`${name}: gets a token for the API`);
        if (pod.securityContext?.runAsNonRoot !== true || !pod.securityContext?.runAsUser)
            errors.push(`${name}: may run as root`);
        if (pod.securityContext?.seccompProfile?.type !== 'RuntimeDefault')
            errors.push(`${name}: no seccomp profile`);
        if (programs.includes(name) && pod.securityContext?.runAsUser !== user)
            errors.push(`${name}: runs as ${pod.securityContext?.runAsUser}, and the image is made for ${user}`);
        for (const c of [...(pod.initContainers ?? []), ...pod.containers]) {
            const s = c.securityContext ?? {};
            if (s.allowPrivilegeEscalation !== false || !s.capabilities?.drop?.includes('ALL') || !s.readOnlyRootFilesystem)
                errors.push(`${name}: ${c.name} has more rights than it needs`);
            if (!c.resources?.requests?.cpu || !c.resources?.requests?.memory || !c.resources?.limits?.memory)
                errors.push(`${name}: ${c.name} has no requests or no limits`);
        }
    }
    return errors;
}

// The migration has every step that the schema has.
export function migrations(docs) {
    const map = all(docs, 'ConfigMap').find((m) => m.metadata.name.startsWith('spotcraft-migrations'));
    const files = readdirSync(join(top, 'ops/migrations')).filter((f) => f.endsWith('.postgres.sql') || f === 'migrate.sh');
    return files.filter((f) => !map?.data[f]).map((f) => `ops/migrations/kustomization.yaml does not have ${f}`);
}

// Machines are asked for by label and taint; capacities is what the machines of this overlay have, null where it does not matter.
export function machines(docs, capacities) {
    const errors = [];
    for (const name of capacities ? programs : []) {
        const pod = one(docs, 'Deployment', name).spec.template.spec;
        const terms = pod.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
        const wanted = terms.flatMap((t) => t.matchExpressions).filter((e) => e.key === 'spotcraft/capacity').flatMap((e) => e.values);
        const tolerated = (pod.tolerations ?? []).filter((t) => t.key === 'spotcraft/capacity').map((t) => t.value);
        if (!wanted.length)
            errors.push(`${name}: asks for no kind of machine`);
        for (const lost of ['not-ready', 'unreachable']) {
            const t = pod.tolerations?.find((x) => x.key === `node.kubernetes.io/${lost}` && x.effect === 'NoExecute');
            if (!(t?.tolerationSeconds <= 60))
                errors.push(`${name}: a pod on a machine that is ${lost} is replaced after ${t?.tolerationSeconds ?? 300} s only`);
        }
        for (const w of wanted) {
            if (!capacities.has(w))
                errors.push(`${name}: asks for machines labelled spotcraft/capacity=${w}, and there are none`);
            if (!tolerated.includes(w))
                errors.push(`${name}: does not tolerate the taint of ${w} machines`);
        }
    }
    return errors;
}

export const checks = { settings, pages, loadBalancer, references, network, security, migrations };
