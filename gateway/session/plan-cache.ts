import { canonicalJson } from '../../core/kernel/canonical-json.ts';
import type { Clock } from '../../core/kernel/clock.ts';
import type { MaskPlan } from '../contract/mask.ts';
import type { Catalogue, MaskProfile, ResultShape } from '../contract/shape.ts';
import type { Verdict } from '../contract/verdict.ts';
import { compileMaskPlan } from '../masking/plan.ts';

const PLANS_MAX = 4_096;

/**
 * Mask plans by (shape, masks of the verdict, year), for one profile. A plan is compiled once for each combination; the cache belongs
 * to one worker and one bundle, so a new bundle begins with a new cache.
 */
export class PlanCache {
  readonly #catalogue: Catalogue;
  readonly #profile: MaskProfile;
  readonly #clock: Clock;
  readonly #plans = new Map<string, MaskPlan>();
  /** The canonical text of a verdict's masks, by identity: cached verdicts are shared objects. */
  readonly #maskTexts = new WeakMap<Verdict['masks'], string>();

  constructor(catalogue: Catalogue, profile: MaskProfile, clock: Clock) {
    this.#clock = clock;
    this.#catalogue = catalogue;
    this.#profile = profile;
  }

  planFor(shape: ResultShape, verdict: Verdict): MaskPlan {
    let masks = this.#maskTexts.get(verdict.masks);
    if (masks === undefined) {
      masks = canonicalJson(verdict.masks);
      this.#maskTexts.set(verdict.masks, masks);
    }
    // A birth year can tell an age over 89, so the year of the operation is part of the plan.
    const referenceYear = new Date(this.#clock.nowMs()).getUTCFullYear();
    const key = `${referenceYear}${shape.digest.toString('latin1')}${masks}`;
    let plan = this.#plans.get(key);
    if (plan === undefined) {
      if (this.#plans.size >= PLANS_MAX) {
        this.#plans.clear();
      }
      plan = compileMaskPlan({
        shape,
        masks: verdict.masks,
        classes: this.#catalogue.classes,
        profile: this.#profile,
        referenceYear,
      });
      this.#plans.set(key, plan);
    }
    return plan;
  }
}
