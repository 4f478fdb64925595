import { equal, ok, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock } from '../../../core/kernel/clock.ts';
import { BundleCatalogue } from '../../catalogue/bundle-catalogue.ts';
import { PolicyEngine } from '../../policy/policy-engine.ts';
import { defaultBundleFile, developmentKey } from '../../policy/testing/default-bundle.ts';
import { checkBundleInPool } from './check-bundle.ts';

test('a bundle that was checked in the pool decides in this thread', async () => {
  const { loaded, engine } = await checkBundleInPool({
    file: defaultBundleFile(),
    options: { keys: [developmentKey()], env: 'demo' },
  });
  ok(engine.module instanceof WebAssembly.Module);
  const policy = PolicyEngine.create({
    bundle: engine,
    catalogue: BundleCatalogue.parse(loaded.catalogueJson),
    clock: new SystemClock(),
  });
  equal(policy.bundleRevision, loaded.revision);
});

test('a tampered bundle is refused with its own code and detail', async () => {
  const file = Buffer.from(defaultBundleFile());
  await rejects(
    checkBundleInPool({ file, options: { keys: [], env: 'demo' } }),
    /^GatewayError: bundle_invalid: signed with a key/,
  );
  await rejects(
    checkBundleInPool({ file: file.subarray(0, file.length - 40), options: { keys: [developmentKey()], env: 'demo' } }),
    /bundle_invalid/,
  );
});
