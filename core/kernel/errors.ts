/**
 * Every failure that a peer, an operator or an auditor can see. This table is the single source of `docs/errors.md`
 * and of the `reason` metric label. Messages never carry payload; details that may be shown go to `detail`.
 *
 * `reason` is coarse on purpose: at most 20 values, and the only error label that a metric may have.
 * `next` tells an agent what to do: `request` an approval, `retry` the identical request later, or `none`.
 */
export interface ErrorEntry {
  readonly outcome: 'deny' | 'close';
  readonly reason: ErrorReason;
  readonly retryable: boolean;
  /** HTTP status of the problem+json answer (RFC 9457). */
  readonly http: number;
  readonly sqlstate: string;
  readonly title: string;
  readonly remedy: string;
  readonly next: 'request' | 'retry' | 'none';
}

export const ERROR_REASONS = [
  'protocol',
  'limit',
  'auth',
  'policy',
  'approval',
  'egress',
  'masking',
  'catalogue',
  'recorder',
  'upstream',
  'overload',
  'draining',
  'evidence',
  'config',
  'bundle',
  'keystore',
  'bus',
  'internal',
] as const;
export type ErrorReason = (typeof ERROR_REASONS)[number];

const deny = { outcome: 'deny', retryable: false, next: 'none', sqlstate: '42501' } as const;
const close = { outcome: 'close', retryable: false, next: 'none', sqlstate: '08P01' } as const;
const later = { outcome: 'deny', retryable: true, next: 'retry', sqlstate: '53000' } as const;

export const ERROR_CODES = {
  protocol_malformed: {
    ...close,
    reason: 'protocol',
    http: 400,
    title: 'The request is not well-formed',
    remedy:
      'Send one unambiguous HTTP/1.1 message: one Content-Length or one Transfer-Encoding, CRLF line ends, one valid Host.',
  },
  protocol_unsupported: {
    ...close,
    reason: 'protocol',
    http: 501,
    title: 'This part of the protocol is not supported',
    remedy: 'Do without Upgrade, Range on masked routes, and trailers.',
  },
  header_too_large: {
    ...close,
    reason: 'limit',
    http: 431,
    title: 'The request headers are too large',
    remedy: 'Stay under 32 KiB and 100 header fields.',
  },
  body_too_large: {
    ...close,
    reason: 'limit',
    http: 413,
    title: 'The request body is too large',
    remedy: 'Split the request; the limit of the connection is in its configuration.',
  },
  body_truncated: {
    ...close,
    reason: 'protocol',
    http: 400,
    title: 'The request body ended early',
    remedy: 'Send as many bytes as Content-Length announces.',
  },
  auth_missing: {
    ...deny,
    reason: 'auth',
    http: 401,
    title: 'No credential was presented',
    remedy: 'Send `Authorization: Bearer <token>` with a token of a configured issuer.',
  },
  auth_invalid: {
    ...deny,
    reason: 'auth',
    http: 401,
    title: 'The credential is not valid',
    remedy: 'Get a new token from a configured issuer.',
  },
  auth_expired: {
    ...deny,
    reason: 'auth',
    http: 401,
    title: 'The credential has expired',
    remedy: 'Get a new token and send the request again.',
  },
  auth_audience: {
    ...deny,
    reason: 'auth',
    http: 401,
    title: 'The credential is meant for another audience',
    remedy: 'Ask the issuer for a token whose audience is this gateway.',
  },
  auth_unknown_key: {
    ...deny,
    reason: 'auth',
    http: 401,
    title: 'The credential is signed by an unknown key',
    remedy: 'Check the issuer and the key set that the gateway is configured with.',
  },
  auth_algorithm: {
    ...deny,
    reason: 'auth',
    http: 401,
    title: 'The signature algorithm of the credential is refused',
    remedy: 'Use EdDSA, ES256 or RS256. `none` and HMAC are never accepted.',
  },
  connection_unknown: {
    ...deny,
    reason: 'config',
    http: 404,
    title: 'No connection answers for this host and path',
    remedy: 'See `chaperone config explain` for the connections of this gateway.',
  },
  route_unknown: {
    ...deny,
    reason: 'catalogue',
    http: 403,
    title: 'The catalogue does not know this route',
    remedy: 'Add the route to the catalogue of the policy bundle; unknown is treated as sensitive.',
  },
  policy_denied: {
    ...deny,
    reason: 'policy',
    http: 403,
    title: 'The policy denies this operation',
    remedy: 'See `reasons` for the rule and its remedy.',
  },
  policy_error: {
    ...deny,
    reason: 'policy',
    http: 403,
    title: 'The policy could not be evaluated',
    remedy: 'An operator must look at the bundle: an evaluation that fails is a denial.',
  },
  default_deny: {
    ...deny,
    reason: 'policy',
    http: 403,
    title: 'No policy allows this operation',
    remedy: 'Ask the policy owner for a rule that allows it.',
  },
  obligation_unsupported: {
    ...deny,
    reason: 'policy',
    http: 403,
    title: 'The policy asks for something this lane cannot do',
    remedy: 'Change the policy, or use a lane that implements the obligation.',
  },
  approval_pending: {
    ...deny,
    reason: 'approval',
    http: 403,
    next: 'retry',
    retryable: true,
    title: 'A person must approve this operation',
    remedy: 'Wait for the approval, then send the identical request again.',
  },
  approval_denied: {
    ...deny,
    reason: 'approval',
    http: 403,
    title: 'The approval was refused',
    remedy: 'See `detail` for the reason that the approver gave.',
  },
  approval_expired: {
    ...deny,
    reason: 'approval',
    http: 403,
    next: 'request',
    title: 'The approval expired',
    remedy: 'Send the request again to ask for a new approval.',
  },
  approval_body_too_large: {
    ...deny,
    reason: 'approval',
    http: 413,
    title: 'An operation that needs approval must fit the buffer',
    remedy: 'Make the request body smaller than 1 MiB.',
  },
  approval_unavailable: {
    ...later,
    reason: 'approval',
    http: 503,
    title: 'Approvals cannot be processed now',
    remedy: 'Try again later.',
  },
  approval_not_found: {
    ...deny,
    reason: 'approval',
    http: 404,
    title: 'There is no such approval',
    remedy: 'List the open ones with `chaperone approvals ls`.',
  },
  approval_not_eligible: {
    ...deny,
    reason: 'approval',
    http: 403,
    title: 'This person may not decide this approval',
    remedy: 'Another enrolled approver, outside the chain of the request, must decide.',
  },
  approval_signature: {
    ...deny,
    reason: 'approval',
    http: 403,
    title: 'The signature of the decision is not valid',
    remedy: 'Sign the digest that was shown with the enrolled key.',
  },
  approval_closed: {
    ...deny,
    reason: 'approval',
    http: 409,
    title: 'The approval is already decided',
    remedy: 'Look at it with `chaperone approvals get`.',
  },
  approval_requester_unknown: {
    ...deny,
    reason: 'approval',
    http: 403,
    title: 'Nobody can approve for a requester who is not in the people map',
    remedy:
      'Add the requesting person to people.json of the policy bundle: else no approver can be shown to be another.',
  },
  approval_no_approver: {
    ...deny,
    reason: 'approval',
    http: 403,
    title: 'There are not enough enrolled approvers for this operation',
    remedy: 'Enrol the approvers that the policy names, outside the chain of the request.',
  },
  attestation_invalid: {
    ...deny,
    reason: 'approval',
    http: 403,
    title: 'The attestation of the script is not valid',
    remedy: 'Attest again with `chaperone script attest` and the enrolled key of a reviewer.',
  },
  egress_denied: {
    ...deny,
    reason: 'egress',
    http: 403,
    title: 'The request carries data that may not go to this destination',
    remedy: 'Remove the identifiers that `detail` names, or use an allowed destination.',
  },
  masking_failed: {
    ...deny,
    reason: 'masking',
    http: 502,
    title: 'The response could not be masked and was withheld',
    remedy: 'The upstream sent something that the gateway could not read; nothing of it was released.',
  },
  media_type_unknown: {
    ...deny,
    reason: 'masking',
    http: 502,
    title: 'The response has a media type that the gateway does not know',
    remedy: 'Add the media type to the route in the catalogue, or ask the upstream for JSON, NDJSON, CSV or text.',
  },
  content_encoding_refused: {
    ...deny,
    reason: 'masking',
    http: 502,
    title: 'The upstream compressed its response although identity was asked',
    remedy: 'Switch compression off at the upstream.',
  },
  recorder_unavailable: {
    ...later,
    reason: 'recorder',
    http: 503,
    title: 'Evidence cannot be written now',
    remedy:
      'The gateway releases nothing that it cannot record. Try again later; an operator sees the cause in /readyz.',
  },
  evidence_backlog: {
    ...later,
    reason: 'recorder',
    http: 503,
    title: 'Too much evidence waits to be published',
    remedy: 'Try again later; an operator must look at the bus.',
  },
  evidence_quota: {
    ...later,
    reason: 'limit',
    http: 429,
    title: 'This principal writes too much evidence',
    remedy: 'Slow down.',
  },
  replicated_unavailable: {
    ...later,
    reason: 'recorder',
    http: 503,
    title: 'The policy asks for replicated evidence, which this deployment cannot give now',
    remedy: 'Try again later, or run with a replicated bus.',
  },
  keystore_unavailable: {
    ...later,
    reason: 'keystore',
    http: 503,
    title: 'No sealing key is available',
    remedy: 'Try again later; an operator must look at the key store.',
  },
  upstream_unreachable: {
    ...later,
    reason: 'upstream',
    http: 502,
    title: 'The upstream cannot be reached',
    remedy: 'Try again later.',
  },
  upstream_timeout: {
    ...later,
    reason: 'upstream',
    http: 504,
    title: 'The upstream did not answer in time',
    remedy: 'Try again later.',
  },
  upstream_malformed: {
    ...deny,
    reason: 'upstream',
    http: 502,
    title: 'The upstream sent something that is not HTTP/1.1',
    remedy: 'An operator must look at the upstream.',
  },
  upstream_truncated: {
    ...deny,
    reason: 'upstream',
    http: 502,
    title: 'The upstream stopped in the middle of its answer',
    remedy: 'Try again later.',
  },
  held_bytes_exceeded: {
    ...deny,
    reason: 'limit',
    http: 502,
    title: 'One record of the response is larger than what may be held',
    remedy: 'Ask for smaller pages.',
  },
  overloaded: {
    ...later,
    reason: 'overload',
    http: 503,
    title: 'The gateway is at its limit',
    remedy: 'Try again later.',
  },
  draining: {
    ...later,
    reason: 'draining',
    http: 503,
    title: 'This node is draining',
    remedy: 'Send the request again: another node takes it.',
  },
  config_invalid: {
    ...close,
    reason: 'config',
    http: 500,
    title: 'The configuration is not valid',
    remedy: 'Correct the named key; `chaperone config check` shows every problem.',
  },
  bundle_unsigned: {
    ...close,
    reason: 'bundle',
    http: 500,
    title: 'The policy bundle is not signed',
    remedy: 'Sign it with `opa build --signing-key`, or set `policy.allowUnsigned: true` and accept what that means.',
  },
  bundle_invalid: {
    ...close,
    reason: 'bundle',
    http: 500,
    title: 'The policy bundle is not what was signed',
    remedy: 'Build and sign the bundle again; nothing of it was loaded.',
  },
  catalogue_invalid: {
    ...close,
    reason: 'catalogue',
    http: 500,
    title: 'The catalogue of the bundle is not valid',
    remedy: 'Correct the named entry and build the bundle again.',
  },
  evidence_altered: {
    ...close,
    reason: 'evidence',
    http: 500,
    title: 'Evidence was altered',
    remedy: 'Keep everything as it is and start an investigation.',
  },
  evidence_malformed: {
    ...close,
    reason: 'evidence',
    http: 500,
    title: 'These bytes are not evidence of a known format',
    remedy: 'Check that the file is complete and was written by a known version.',
  },
  evidence_incomplete: {
    ...close,
    reason: 'evidence',
    http: 500,
    title: 'Evidence is missing',
    remedy: 'See the verdict of each writer.',
  },
  bus_unavailable: {
    ...later,
    reason: 'bus',
    http: 503,
    title: 'The bus cannot be reached',
    remedy: 'Check that the bus process runs.',
  },
  bus_misconfigured: {
    ...close,
    reason: 'bus',
    http: 500,
    title: 'A topic has other settings than it must have',
    remedy: 'Correct the settings of the topic; the gateway refuses to start with them.',
  },
  bus_damaged: {
    ...close,
    reason: 'bus',
    http: 500,
    title: 'A stored message of the bus is damaged',
    remedy: 'Keep the directory as it is, restore the named segment, or start the bus on an empty directory.',
  },
  disk_full: {
    ...later,
    reason: 'recorder',
    http: 503,
    title: 'The evidence disk is full',
    remedy: 'Make room; nothing is released until evidence can be written.',
  },
  disk_failed: {
    ...later,
    reason: 'recorder',
    http: 503,
    title: 'The evidence disk failed',
    remedy: 'The node must be restarted on a healthy disk; its journal is kept.',
  },
  internal: {
    ...close,
    reason: 'internal',
    http: 500,
    title: 'An internal error',
    remedy: 'Report it with the decision id; nothing was released.',
  },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** A failure that others see. `detail` must not carry payload: it may be shown to the agent and written to logs. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError';
  readonly code: ErrorCode;
  readonly detail: string;

  constructor(code: ErrorCode, detail = '', options?: { cause?: unknown }) {
    super(detail === '' ? code : `${code}: ${detail}`, options);
    this.code = code;
    this.detail = detail;
  }

  get entry(): ErrorEntry {
    return ERROR_CODES[this.code];
  }
}
