// build.mjs - what `kubectl apply -k FOLDER` would send, as objects.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parse, parseAllDocuments, stringify } from 'yaml';

export const top = process.env.TOP;
export const read = (path) => readFileSync(join(top, path), 'utf8');

// All documents of a file's text; a syntax error or a key that stands twice is thrown with its place.
export function documents(text, origin) {
    return parseAllDocuments(text, { merge: true })
        .map((d) => {
            if (d.errors.length)
                throw new Error(`${origin}: ${d.errors[0].message}`);
            return d.toJS();
        })
        .filter((d) => d)
        .map((doc) => ({ origin, doc }));
}

// Folders below `from` that hold a kustomization.
export function kustomizations(from) {
    return readdirSync(join(top, from), { recursive: true })
        .filter((f) => f.endsWith('kustomization.yaml'))
        .map((f) => join(from, dirname(f)))
        .sort();
}

// Before 4.0, kustomize had other names for folders among the resources and for patches.
function inOldWords(folder) {
    for (const f of readdirSync(folder, { recursive: true })) {
        const path = join(folder, f);
        if (!path.endsWith('kustomization.yaml'))
            continue;
        const k = parse(readFileSync(path, 'utf8'));
        const isFolder = (r) => statSync(resolve(dirname(path), r)).isDirectory();
        k.bases = (k.resources ?? []).filter(isFolder);
        k.resources = (k.resources ?? []).filter((r) => !isFolder(r));
        k.patchesStrategicMerge = (k.patches ?? []).map((p) => p.path);
        delete k.patches;
        writeFileSync(path, stringify(k));
    }
}

let tree = top;
if (process.env.KUSTOMIZE_OLD) {
    tree = join(process.env.WORK, 'tree');
    mkdirSync(tree);
    cpSync(join(top, 'ops'), join(tree, 'ops'), { recursive: true });
    inOldWords(join(tree, 'ops'));
}

export function build(folder) {
    let out;
    try {
        out = execFileSync(process.env.KUBECTL, ['kustomize', join(tree, folder)], {
            encoding: 'utf8', maxBuffer: 64 << 20, stdio: ['ignore', 'pipe', 'pipe'],
        });
    } catch (e) {
        throw new Error(`${folder}: does not build: ${String(e.stderr ?? e).trim()}`);
    }
    return documents(out, folder);
}
