import { ERROR_CODES, type ErrorCode } from '../../../core/kernel/errors.ts';
import type { VerdictReason } from '../../contract/verdict.ts';
import type { HttpHeader } from './http-listener.ts';

/** What a refused caller is told. No field carries payload. */
export interface Problem {
  readonly code: ErrorCode;
  readonly detail: string;
  /** Position of the operation record, `<writer>/<index>`; empty when there is none. */
  readonly decisionId: string;
  readonly reasons: readonly VerdictReason[];
  readonly approvalId: string;
  readonly retryAfterS: number;
}

export interface ProblemAnswer {
  readonly status: number;
  readonly headers: HttpHeader[];
  readonly body: Buffer;
}

/** The native error of the HTTP lane: `application/problem+json` (RFC 9457) that tells what to do next. */
export function problemAnswer(problem: Problem): ProblemAnswer {
  const entry = ERROR_CODES[problem.code];
  const document = {
    type: `https://chaperone.invalid/errors/${problem.code}`,
    title: entry.title,
    status: entry.http,
    ...(problem.detail === '' ? {} : { detail: problem.detail }),
    code: problem.code,
    ...(problem.decisionId === '' ? {} : { decision_id: problem.decisionId }),
    reasons: problem.reasons.map((reason) => ({
      id: reason.code,
      msg: reason.message,
      remediation: reason.remediation,
      ...(reason.control === '' ? {} : { control: reason.control }),
    })),
    remedy: entry.remedy,
    next_action: entry.next,
    ...(problem.retryAfterS > 0 ? { retry_after: problem.retryAfterS } : {}),
    ...(problem.approvalId === ''
      ? {}
      : { approval: { id: problem.approvalId, wait: `chaperone approvals wait ${problem.approvalId}` } }),
  };
  const headers: HttpHeader[] = [
    { name: 'content-type', value: 'application/problem+json' },
    { name: 'cache-control', value: 'no-store' },
  ];
  if (problem.decisionId !== '') {
    headers.push({ name: 'evidence', value: problem.decisionId });
  }
  if (problem.retryAfterS > 0) {
    headers.push({ name: 'retry-after', value: String(problem.retryAfterS) });
  }
  if (entry.http === 401) {
    headers.push({ name: 'www-authenticate', value: 'Bearer' });
  }
  return { status: entry.http, headers, body: Buffer.from(`${JSON.stringify(document, null, 2)}\n`) };
}
