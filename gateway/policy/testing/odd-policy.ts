import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../../core/runtime/package-root.ts';
import type { EngineBundle } from '../policy-engine.ts';

/** The module of testing/odd: one entrypoint for each way to misbehave. */
export function oddModule(): WebAssembly.Module {
  return new WebAssembly.Module(
    readFileSync(join(packageRoot(import.meta.url), 'gateway', 'policy', 'testing', 'odd', 'odd.wasm')),
  );
}

export function oddBundle(rule: string, data: unknown = {}): EngineBundle {
  return {
    digest: new Uint8Array(32).fill(7),
    revision: 1,
    module: oddModule(),
    dataJson: JSON.stringify(data),
    entrypoint: `odd/${rule}`,
    layers: ['first', 'second', 'third'],
    reads: '*',
    reasons: {},
  };
}
