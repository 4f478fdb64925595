import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../../core/runtime/package-root.ts';
import { BundleCatalogue } from '../../catalogue/bundle-catalogue.ts';
import { compileBundle, loadBundle, type LoadedBundle } from '../bundle.ts';
import type { BundleKey } from '../bundle-signature.ts';
import type { EngineBundle } from '../policy-engine.ts';

const policies = join(packageRoot(import.meta.url), 'policies');

/** The committed bundle, as a node of the demo loads it. */
export interface DefaultBundle {
  readonly file: Buffer;
  readonly loaded: LoadedBundle;
  readonly engine: EngineBundle;
  readonly catalogue: BundleCatalogue;
}

export function developmentKey(): BundleKey {
  const publicKey = createPublicKey(readFileSync(join(policies, 'keys', 'development.INSECURE.pub.pem')));
  return { keyId: 'development-INSECURE', algorithm: 'EdDSA', publicKey };
}

export function defaultBundleFile(): Buffer {
  return readFileSync(join(policies, 'dist', 'default.tar.gz'));
}

export function defaultBundle(): DefaultBundle {
  const file = defaultBundleFile();
  const loaded = loadBundle(file, { keys: [developmentKey()], env: 'demo' });
  return { file, loaded, engine: compileBundle(loaded), catalogue: BundleCatalogue.parse(loaded.catalogueJson) };
}
