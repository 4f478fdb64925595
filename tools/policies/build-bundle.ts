import { spawnSync } from 'node:child_process';
import { createHash, createPrivateKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import { SIGNATURES_FILE, signBundle } from '../../gateway/policy/bundle-signature.ts';
import { parseReasonTable } from '../../gateway/policy/reason-table.ts';
import { readTar } from '../../gateway/policy/tar-reader.ts';
import { policySources } from './policy-sources.ts';
import { readsOfPlan } from './reads-of-plan.ts';
import { storedGzip, writeTar } from './tar-writer.ts';

export interface BuildOptions {
  readonly opa: string;
  readonly policiesFolder: string;
  readonly keyId: string;
  readonly keyFile: string;
}

/** What of the folder is no policy, for every command of OPA. Test rules would become entrypoints. */
const NOT_POLICY = ['dist', 'keys', 'schemas', 'capabilities.json', 'catalogue.json', 'masks.json', 'people.json'];
const COVERAGE_PERCENT_MIN = 90;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
const COPIED_FILES = ['capabilities.json', 'catalogue.json', 'masks.json', 'people.json'];

/** Format, types against the input schema, tests with coverage. Throws with what OPA said. */
export function checkPolicies(
  opa: string,
  policiesFolder: string,
): { readonly tests: number; readonly coverage: number } {
  const run = runner(opa, policiesFolder);
  const unformatted = run(['fmt', '--list', 'chaperone']).trim();
  if (unformatted !== '') {
    throw new Error(`not in the format of \`opa fmt\`: ${unformatted}`);
  }
  run(['check', '--strict', '--schema', 'schemas/input.json', '--bundle', '.', ...ignoring(NOT_POLICY)]);
  const tests = JSON.parse(run(['test', '--format', 'json', '--bundle', '.', ...ignoring(NOT_POLICY)])) as unknown[];
  if (tests.length === 0) {
    throw new Error('no policy test was found');
  }
  const args = ['test', '--coverage', '--threshold', String(COVERAGE_PERCENT_MIN), '--format', 'json', '--bundle', '.'];
  const { coverage } = JSON.parse(run([...args, ...ignoring(NOT_POLICY)])) as { coverage: number };
  if (coverage < COVERAGE_PERCENT_MIN) {
    throw new Error(`tests cover ${coverage} % of the policies, less than ${COVERAGE_PERCENT_MIN} %`);
  }
  return { tests: tests.length, coverage };
}

/**
 * The signed bundle: what `opa build -t wasm` made, with the tables that the gateway reads. A function of the sources,
 * the key and the version of OPA: two builds give the same bytes.
 */
export function buildBundle(options: BuildOptions): Buffer {
  const { policiesFolder } = options;
  const { entrypoint, built, plan } = compile(options);
  const files = new Map<string, Buffer>();
  for (const name of ['.manifest', 'data.json']) {
    files.set(name, canonical(JSON.parse(fileOf(built, name).toString('utf8')) as JsonValue));
  }
  files.set('policy.wasm', fileOf(built, 'policy.wasm'));
  for (const name of COPIED_FILES) {
    files.set(name, readFileSync(join(policiesFolder, name)));
  }
  for (const name of policySources(policiesFolder).filter((path) => /(?<!_test)\.rego$/.test(path))) {
    files.set(name, readFileSync(join(policiesFolder, name)));
  }
  files.set('reads.json', canonical({ v: 1, reads: readsOfPlan(fileOf(plan, 'plan.json').toString('utf8')) }));
  files.set('reasons.json', canonical(reasonsOf(options)));
  const manifest = JSON.parse(fileOf(files, '.manifest').toString('utf8')) as { metadata: { entrypoint: string } };
  if (manifest.metadata.entrypoint !== entrypoint) {
    throw new Error('opa build lost the metadata of the manifest');
  }
  const sorted = new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1)));
  sorted.set(SIGNATURES_FILE, signBundle(sorted, options.keyId, createPrivateKey(readFileSync(options.keyFile))));
  return storedGzip(writeTar(sorted));
}

export function digestOf(bundle: Buffer): string {
  return createHash('sha256').update(bundle).digest('hex');
}

function compile(options: BuildOptions): {
  entrypoint: string;
  built: ReadonlyMap<string, Buffer>;
  plan: ReadonlyMap<string, Buffer>;
} {
  const source = JSON.parse(readFileSync(join(options.policiesFolder, '.manifest'), 'utf8')) as {
    metadata: { entrypoint: string };
  };
  const { entrypoint } = source.metadata;
  const run = runner(options.opa, options.policiesFolder);
  const folder = mkdtempSync(join(tmpdir(), 'chaperone-policies-'));
  try {
    const outputs = ['wasm', 'plan'].map((target) => {
      const output = join(folder, `${target}.tar.gz`);
      // From inside of the folder: a path argument leaks into the names of the archive.
      const what = ['--bundle', '.', '--entrypoint', entrypoint, '--capabilities', 'capabilities.json'];
      run(['build', ...what, '--target', target, '--output', output, ...ignoring([...NOT_POLICY, '*_test.rego'])]);
      return readTar(gunzipSync(readFileSync(output)));
    });
    return { entrypoint, built: outputs[0] ?? new Map(), plan: outputs[1] ?? new Map() };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Inspected {
  readonly annotations?: readonly {
    readonly annotations: {
      readonly scope: string;
      readonly title?: string;
      readonly custom?: { id?: string; severity?: string; controls?: readonly string[]; remediation?: string };
    };
    readonly path: readonly { readonly value: unknown }[];
  }[];
}

/** `reasons.json` from the annotations of the deny and approve rules. A rule without a complete one fails the build. */
function reasonsOf(options: BuildOptions): JsonValue {
  const run = runner(options.opa, options.policiesFolder);
  const inspected = JSON.parse(run(['inspect', '--annotations', '--format', 'json', '.'])) as Inspected;
  const reasons: Record<string, JsonValue> = {};
  for (const { annotations, path } of inspected.annotations ?? []) {
    const { id, severity, controls = [], remediation } = annotations.custom ?? {};
    if (annotations.scope === 'package') {
      continue;
    }
    const rule = path.map((part) => String(part.value)).join('.');
    if (id === undefined || reasons[id] !== undefined) {
      throw new Error(`${rule}: METADATA needs a custom.id of its own, found ${String(id)}`);
    }
    reasons[id] = {
      message: annotations.title ?? '',
      remediation: remediation ?? '',
      control: controls.join('; '),
      severity: severity ?? '',
    };
  }
  const document = { v: 1, reasons };
  parseReasonTable(document);
  checkCodes(options.policiesFolder, new Set(Object.keys(reasons)));
  return document;
}

/** Every code that a rule can give has its annotation, and no annotation stands for nothing. */
function checkCodes(policiesFolder: string, documented: ReadonlySet<string>): void {
  const given = new Set<string>();
  for (const path of policySources(policiesFolder).filter((name) => /(?<!_test)\.rego$/.test(name))) {
    for (const [, code] of readFileSync(join(policiesFolder, path), 'utf8').matchAll(/contains \{"code": "([^"]+)"/g)) {
      given.add(code as string);
    }
  }
  const missing = [...given].filter((code) => !documented.has(code));
  const unused = [...documented].filter((code) => !given.has(code));
  if (given.size === 0 || missing.length > 0 || unused.length > 0) {
    throw new Error(`codes without METADATA: [${missing.join()}], METADATA without a rule: [${unused.join()}]`);
  }
}

function ignoring(names: readonly string[]): string[] {
  return names.flatMap((name) => ['--ignore', name]);
}

function canonical(value: JsonValue): Buffer {
  return Buffer.from(canonicalJson(value));
}

function fileOf(files: ReadonlyMap<string, Buffer>, name: string): Buffer {
  const bytes = files.get(name);
  if (bytes === undefined) {
    throw new Error(`opa build gave no ${name}`);
  }
  return bytes;
}

function runner(opa: string, folder: string): (args: readonly string[]) => string {
  return (args) => {
    const done = spawnSync(opa, args, { cwd: folder, encoding: 'utf8', maxBuffer: OUTPUT_BYTES_MAX });
    if (done.status !== 0) {
      throw new Error(`opa ${args[0]} failed: ${done.error?.message ?? ''}${done.stderr}${done.stdout}`);
    }
    return done.stdout;
  };
}
