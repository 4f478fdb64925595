/**
 * Builds the default bundle: `node dist/tools/policies/build.js`. Needs OPA (`node tools/setup/opa.mjs`).
 * Writes policies/dist/default.tar.gz, policies/dist/sources.sha256 and the module of the engine's own tests.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../core/runtime/package-root.ts';
import { buildBundle, checkPolicies, digestOf } from './build-bundle.ts';
import { DEVELOPMENT_KEY_ID, developmentKeyFile } from './development-key.ts';
import { compileOddPolicies } from './odd-policies.ts';
import { sourcesDigest } from './policy-sources.ts';

const root = packageRoot(import.meta.url);
const policiesFolder = join(root, 'policies');
const opa = execFileSync(process.execPath, [join(root, 'tools', 'setup', 'opa.mjs')], {
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
}).trim();
const { tests, coverage } = checkPolicies(opa, policiesFolder);
const bundle = buildBundle({ opa, policiesFolder, keyId: DEVELOPMENT_KEY_ID, keyFile: developmentKeyFile(root) });
mkdirSync(join(policiesFolder, 'dist'), { recursive: true });
writeFileSync(join(policiesFolder, 'dist', 'default.tar.gz'), bundle);
writeFileSync(
  join(policiesFolder, 'dist', 'sources.sha256'),
  sourcesDigest(policiesFolder, join(root, 'tools', 'opa')),
);
const odd = join(root, 'gateway', 'policy', 'testing', 'odd');
writeFileSync(join(odd, 'odd.wasm'), compileOddPolicies(opa, odd));
process.stdout.write(`${tests} tests, ${coverage} % covered, ${bundle.length} bytes, sha256 ${digestOf(bundle)}\n`);
