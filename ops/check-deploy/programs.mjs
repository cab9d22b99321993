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

// Families: those at /metrics, { name: type }, and those that a program makes when something first happens, from its source.
function families() {
    const found = new Map();
    for (const program of ['node', 'gateway']) {
        const text = readFileSync(join(process.env.WORK, `${program}.metrics`), 'utf8');
        for (const m of text.matchAll(/^# TYPE (\S+) (\S+)$/gm))
            found.set(m[1], m[2]);
    }
    for (const folder of ['proto', 'node', 'gateway']) {
        for (const f of readdirSync(join(top, folder), { recursive: true })) {
            if (!f.endsWith('.c'))
                continue;
            const text = readFileSync(join(top, folder, f), 'utf8');
            for (const m of text.matchAll(/metrics_(counter|gauge|histogram)\(\s*"(spotcraft_\w+)"/g))
                if (!found.has(m[2]))
                    found.set(m[2], m[1]);
        }
    }
    return found;
}
let known;
export const metrics = {
    has: (name) => (known ??= families()).has(name),
    get: (name) => (known ??= families()).get(name),
};

// A series' name as it stands in a query: a histogram has three of them.
export function isSeries(name) {
    if (metrics.has(name) && metrics.get(name) !== 'histogram')
        return true;
    const m = name.match(/^(.*)_(bucket|sum|count)$/);
    return Boolean(m && metrics.get(m[1]) === 'histogram');
}
