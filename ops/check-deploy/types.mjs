// types.mjs - objects against the published types of their kinds: the TypeScript types refuse unknown fields, missing ones and
// wrong types; the validators that come with them know patterns and ranges.
import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const packages = {
    'karpenter.sh': '@kubernetes-models/karpenter',
    'karpenter.k8s.aws': '@kubernetes-models/karpenter',
    'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
    'source.toolkit.fluxcd.io': '@kubernetes-models/flux-cd',
    'kustomize.toolkit.fluxcd.io': '@kubernetes-models/flux-cd',
    'image.toolkit.fluxcd.io': '@kubernetes-models/flux-cd',
    'argoproj.io': '@kubernetes-models/argo-cd',
};
const here = dirname(fileURLToPath(import.meta.url));
const node_modules = join(here, '..', 'node_modules');

const modules = new Map();
function moduleOf({ apiVersion = '', kind }) {
    const group = apiVersion.includes('/') ? apiVersion.split('/')[0] : '';
    const module = `${packages[group] ?? 'kubernetes-models'}/${apiVersion}`;
    if (!modules.has(module))
        modules.set(module, existsSync(join(node_modules, module, 'index.js')) ? import(module) : null);
    return modules.get(module) ? { module, type: `I${kind}`, kind } : null;
}

export const nameOf = ({ origin, doc }) => `${origin}: ${doc.kind}/${doc.metadata?.name}`;

// A list of what is wrong, each with where.
export async function checkTypes(objects) {
    const errors = [], lines = [], at = [];
    for (const o of objects) {
        const m = moduleOf(o.doc);
        const types = m && (await modules.get(m.module));
        if (!types || !types[m.kind]) {
            errors.push(`${nameOf(o)}: there is no published type ${o.doc.apiVersion} ${o.doc.kind}`);
            continue;
        }
        // A line for each object, so that a message's line tells which.
        at.push(o);
        lines.push(`{ const o: import(${JSON.stringify(m.module)}).${m.type} = ${JSON.stringify(o.doc)}; void o; }`);
        try {
            new types[m.kind](structuredClone(o.doc)).validate();
        } catch (e) {
            errors.push(`${nameOf(o)}: ${e.message}`);
        }
    }
    const file = join(here, 'objects.ts');
    writeFileSync(file, lines.join('\n'));
    const program = ts.createProgram([file], {
        noEmit: true, strict: true, skipLibCheck: true, types: [],
        module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext,
    });
    for (const d of ts.getPreEmitDiagnostics(program)) {
        const line = d.file?.fileName === file ? d.file.getLineAndCharacterOfPosition(d.start).line : -1;
        const text = ts.flattenDiagnosticMessageText(d.messageText, ' ');
        errors.push(`${line < 0 ? 'types' : nameOf(at[line])}: ${text}`);
    }
    return errors;
}
