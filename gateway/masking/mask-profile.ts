import { GatewayError } from '../../core/kernel/errors.ts';
import type { MaskProfile } from '../contract/shape.ts';

/** Operators that this version implements. */
const OPERATORS: ReadonlySet<string> = new Set(['pass', 'redact', 'null', 'fixed', 'zip3', 'year', 'drop']);
/** Results that are computed from the value: no Safe Harbor (45 CFR 164.514(c)). */
const DERIVED: ReadonlySet<string> = new Set([
  'partial',
  'pseudonym',
  'hmac',
  'hash',
  'ff1',
  'fpe',
  'date-shift',
  'token',
]);

/** Throws `bundle_invalid` for an operator that does not exist or that the profile's name rules out. */
export function checkMaskProfile(profile: MaskProfile): void {
  for (const [target, byStrength] of Object.entries(profile.operators)) {
    for (const operator of Object.values(byStrength) as (string | undefined)[]) {
      if (operator === undefined) {
        continue;
      }
      if (profile.name === 'safe-harbor' && DERIVED.has(operator)) {
        throw new GatewayError('bundle_invalid', `masks.json: ${target}: ${operator} is derived, not Safe Harbor`);
      }
      if (!OPERATORS.has(operator)) {
        throw new GatewayError('bundle_invalid', `masks.json: ${target}: unknown operator ${operator}`);
      }
    }
  }
}

/** Generalising is Safe Harbor only for the identifiers that the rule names: years of dates, first digits of ZIP codes. */
export function isSafeHarborOperator(operator: string, hipaa: string, kind: string): boolean {
  switch (operator) {
    case 'redact':
    case 'null':
    case 'drop':
    case 'fixed':
      return true;
    case 'year':
      return hipaa === 'C' || kind === 'date';
    case 'zip3':
      return hipaa === 'B' || kind === 'zip';
    case 'age90':
      return true;
    default:
      return false;
  }
}
