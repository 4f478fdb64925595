import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ERROR_CODES, GatewayError, type ErrorCode } from '../core/kernel/errors.ts';
import { exitCodeOfState } from './approvals.ts';
import { EXIT, exitCodeOf } from './exit-code.ts';

describe('exit codes', () => {
  test('are those of the design', () => {
    deepEqual(Object.values(EXIT), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  for (const [code, exit] of [
    ['approval_pending', EXIT.pending],
    ['approval_denied', EXIT.refused],
    ['approval_expired', EXIT.refused],
    ['approval_not_eligible', EXIT.denied],
    ['approval_signature', EXIT.authentication],
    ['attestation_invalid', EXIT.authentication],
    ['auth_expired', EXIT.authentication],
    ['auth_invalid', EXIT.authentication],
    ['policy_denied', EXIT.denied],
    ['egress_denied', EXIT.denied],
    ['config_invalid', EXIT.usage],
    ['bundle_unsigned', EXIT.usage],
    ['evidence_altered', EXIT.altered],
    ['evidence_incomplete', EXIT.missing],
    ['upstream_unreachable', EXIT.failed],
    ['internal', EXIT.failed],
  ] as const satisfies readonly (readonly [ErrorCode, number])[]) {
    test(`${code} ends with ${exit}`, () => equal(exitCodeOf(new GatewayError(code)), exit));
  }

  test('every error of the table fails, and what is no error of ours ends with 1', () => {
    const codes = Object.keys(ERROR_CODES) as ErrorCode[];
    ok(codes.length > 40);
    ok(codes.every((code) => exitCodeOf(new GatewayError(code)) !== EXIT.ok));
    equal(exitCodeOf(new Error('anything')), EXIT.failed);
  });

  test('waiting ends as the approval did', () => {
    equal(exitCodeOfState('approved'), EXIT.ok);
    equal(exitCodeOfState('pending'), EXIT.pending);
    for (const state of ['denied', 'expired', 'cancelled', 'failed']) {
      equal(exitCodeOfState(state), EXIT.refused);
    }
  });
});
