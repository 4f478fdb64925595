import { SystemClock } from '../../../core/kernel/clock.ts';
import { BundleCatalogue } from '../../catalogue/bundle-catalogue.ts';
import { PeopleMap } from '../../contract/people-map.ts';
import { compileBundle, loadBundle, type LoadBundleOptions, type LoadedBundle } from '../../policy/bundle.ts';
import { type EngineBundle, PolicyEngine } from '../../policy/policy-engine.ts';

export interface BundleJob {
  readonly file: Uint8Array;
  readonly options: LoadBundleOptions;
}

export interface CheckedBundle {
  readonly loaded: LoadedBundle;
  readonly engine: EngineBundle;
}

/**
 * The job of one piscina thread: verifies a bundle, compiles its module, reads catalogue and people, and runs the policy
 * warm, so that a bundle that cannot serve is refused before any worker sees it. The compiled module is posted back.
 */
export default function checkBundle(job: BundleJob): CheckedBundle {
  const file = Buffer.from(job.file.buffer, job.file.byteOffset, job.file.byteLength);
  const loaded = loadBundle(file, job.options);
  const engine = compileBundle(loaded);
  PeopleMap.parse(JSON.parse(loaded.peopleJson));
  const catalogue = BundleCatalogue.parse(loaded.catalogueJson);
  PolicyEngine.create({ bundle: engine, catalogue, clock: new SystemClock() });
  return { loaded, engine };
}
