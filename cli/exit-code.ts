import { ERROR_CODES, GatewayError, type ErrorCode } from '../core/kernel/errors.ts';

/** What the command ends with (docs/cli.md). 1 is for what has no number of its own: not reachable, internal. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  denied: 3,
  pending: 4,
  refused: 5,
  authentication: 6,
  altered: 7,
  missing: 8,
  incomplete: 9,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

const EXIT_OF_CODE: Partial<Record<ErrorCode, ExitCode>> = {
  approval_pending: EXIT.pending,
  approval_denied: EXIT.refused,
  approval_expired: EXIT.refused,
  approval_not_found: EXIT.failed,
  approval_unavailable: EXIT.failed,
  // A signature that does not prove who decides is a credential that is not valid.
  approval_signature: EXIT.authentication,
  attestation_invalid: EXIT.authentication,
  evidence_altered: EXIT.altered,
  evidence_malformed: EXIT.altered,
  evidence_incomplete: EXIT.missing,
};

/** The exit code of a failed command. */
export function exitCodeOf(error: unknown): ExitCode {
  if (!(error instanceof GatewayError)) {
    return EXIT.failed;
  }
  const own = EXIT_OF_CODE[error.code];
  if (own !== undefined) {
    return own;
  }
  switch (ERROR_CODES[error.code].reason) {
    case 'auth':
      return EXIT.authentication;
    case 'policy':
    case 'approval':
    case 'egress':
      return EXIT.denied;
    case 'config':
    case 'bundle':
    case 'catalogue':
      return EXIT.usage;
    default:
      return EXIT.failed;
  }
}
