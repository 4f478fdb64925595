import { ERROR_CODES, ERROR_REASONS, type ErrorEntry } from '../../core/kernel/errors.ts';

/** The text of `docs/errors.md`: the error table of `core/kernel/errors.ts`, which is its only source. */
export function errorsPage(): string {
  const rows = Object.entries<ErrorEntry>(ERROR_CODES).map(
    ([code, entry]) =>
      `| \`${code}\` | ${entry.http} | ${entry.sqlstate} | ${entry.reason} | ${entry.outcome} | ${entry.next} | ${entry.title}. ${entry.remedy} |`,
  );
  return [
    '# Errors',
    '',
    'Generated from `core/kernel/errors.ts` by `npm run generate`; a test keeps the two equal.',
    '',
    'An HTTP answer is `application/problem+json` (RFC 9457) with the `code`, the position of the record (`decision_id`), the reasons of the policy and `next_action`: `request` an approval,',
    '`retry` the identical request later, or `none`. Messages never carry payload. `reason` is the only error label that a metric has',
    `(${ERROR_REASONS.length} values: ${ERROR_REASONS.join(', ')}).`,
    '',
    '| code | HTTP | SQLSTATE | reason | outcome | next | what it means, and what to do |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n');
}
