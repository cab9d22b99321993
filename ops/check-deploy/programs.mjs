// programs.mjs - what the two programs themselves say: which settings they take, which pages they have, which metrics.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { top } from './build.mjs';

// Runs a program with these variables and nothing else. { settings } as it would run with them, or { error }, its own words.
export function settingsWith(program, env) {
    const r = spawnSync(join(process.env.BIN, program, program), ['--print-config'], { env, encoding: 'utf8', timeout: 10000 });
    if (r.status !== 0)
        return { error: r.stderr?.trim() || `${program} --print-config: ${r.error ?? `status ${r.status}`}` };
    const settings = {};
    for (const m of r.stdout.matchAll(/^([a-z0-9_]+) = (.*)$/gm))
        settings[m[1]] = m[2];
    return { settings };
}

// Is there such a page? Redirects and errors of its own do not count as none.
export async function hasPage(program, path) {
    const r = await fetch(`${process.env[`${program.toUpperCase()}_PAGES`]}${path}`, { signal: AbortSignal.timeout(10000) });
    await r.text();
    return r.status !== 404;
}

// Families, { name: type }: those at /metrics, and those that a program makes when something first happens, from its source. With
// them the labels' names, and every series of the moment.
function scan() {
    const types = new Map(), labels = new Set(['namespace', 'pod', 'le']), live = [];
    for (const program of ['node', 'gateway']) {
        const text = readFileSync(join(process.env.WORK, `${program}.metrics`), 'utf8');
        for (const m of text.matchAll(/^# TYPE (\S+) (\S+)$/gm))
            types.set(m[1], m[2]);
        live.push(...text.split('\n').filter((l) => l && !l.startsWith('#')));
    }
    for (const folder of ['proto', 'node', 'gateway']) {
        for (const f of readdirSync(join(top, folder), { recursive: true })) {
            if (!f.endsWith('.c'))
                continue;
            const text = readFileSync(join(top, folder, f), 'utf8');
            for (const m of text.matchAll(/metrics_(counter|gauge|histogram|seconds)\(\s*"(spotcraft_\w+)"/g))
                if (!types.has(m[2]))
                    types.set(m[2], m[1] === 'seconds' ? 'histogram' : m[1]);
            for (const m of text.matchAll(/"(\w+)=\\"/g))
                labels.add(m[1]);
        }
    }
    for (const line of live)
        for (const m of line.matchAll(/[{,](\w+)="/g))
            labels.add(m[1]);
    return { types, labels, live };
}
let scanned;
export const metrics = () => (scanned ??= scan());

// A series' name as it stands in a query: a histogram has three of them.
function isSeries(name) {
    const { types } = metrics();
    if (types.has(name) && types.get(name) !== 'histogram')
        return true;
    const m = name.match(/^(.*)_(bucket|sum|count)$/);
    return Boolean(m && types.get(m[1]) === 'histogram');
}

// What is wrong with a query's names: series, labels, and values of labels of the programs' own. recorded: names that rules make.
export function checkQuery(expr, recorded = new Set()) {
    const errors = [], { labels, live } = metrics();
    for (const [name] of expr.matchAll(/\bspotcraft[\w:]*/g))
        if (!recorded.has(name) && !isSeries(name))
            errors.push(`no program has a metric ${name}`);
    for (const [, list] of expr.matchAll(/\bby \(([^)]*)\)/g))
        for (const label of list.split(',').map((l) => l.trim()))
            if (!labels.has(label))
                errors.push(`no metric has a label ${label}`);
    for (const [, name, matchers] of expr.matchAll(/\b(spotcraft_\w+)\{([^}]*)\}/g)) {
        for (const [, label, value] of matchers.matchAll(/(\w+)="([^"]*)"/g)) {
            if (label !== 'namespace' && label !== 'pod' && live.some((l) => l.startsWith(`${name}{`)) && !live.some((l) => l.startsWith(`${name}{`) && l.includes(`${label}="${value}"`)))
                errors.push(`${name} has no ${label}="${value}"`);
        }
    }
    return errors;
}
