import { countText, table } from '../print.ts';
import type { RecordProof } from './prove-record.ts';
import type { SessionReport } from './prove-session.ts';
import { type Finding, VERDICTS } from './verdict.ts';
import type { EvidenceReport } from './verify-evidence.ts';

const FINDINGS_SHOWN = 50;
const ID_CHARACTERS = 8;

/** The report for people: a line for each writer, what was found, and one sentence. */
export function reportLines(report: EvidenceReport): string[] {
  const rows = report.writers.map(({ writer, role, node, verdict, size, published, archived, witnessed }) => [
    writer.slice(0, ID_CHARACTERS),
    role,
    node,
    verdict,
    ...[size, published, archived, witnessed].map(countText),
  ]);
  const findings = [...report.findings].sort((a, b) => rank(b) - rank(a));
  const shown = findings.slice(0, FINDINGS_SHOWN);
  const rest = findings.length - shown.length + report.findingsDropped;
  return [
    ...table(['WRITER', 'ROLE', 'NODE', 'VERDICT', 'RECORDS', 'PUBLISHED', 'ARCHIVED', 'WITNESSED'], rows),
    ...(shown.length > 0 ? ['', ...shown.map(findingLine)] : []),
    ...(rest > 0 ? [`… and ${countText(rest)} more (--json has them)`] : []),
    ...(report.unchecked.length > 0 ? ['', 'Not checked:', ...report.unchecked.map((line) => `  ${line}`)] : []),
    '',
    closingSentence(report),
  ];
}

/** `ALTERED writer <hex8…>/<index> in <where>: <what>`. */
export function findingLine({ verdict, writer, index, where, detail }: Finding): string {
  const position =
    writer === null
      ? index === null
        ? ''
        : ` cluster leaf ${index}`
      : ` writer ${writer.slice(0, ID_CHARACTERS)}…${index === null ? '' : `/${index}`}`;
  return `${verdict}${position}${where === '' ? '' : ` in ${where}`}: ${detail}`;
}

export function proofLines({ position, steps, proven }: RecordProof): string[] {
  const numbered = steps.map(({ ok, text }, i) => `  ${i + 1}. ${ok ? 'ok  ' : 'FAIL'}  ${text}`);
  const end = proven
    ? 'The record is proven up to a witnessed checkpoint.'
    : 'The record is not proven up to a witness.';
  return [`Record ${position}`, ...numbered, end, ''];
}

export function sessionLines({ session, strands, records, completeness, reasons }: SessionReport): string[] {
  const rows = strands.map(({ writer, firstIndex, lastIndex, records: count, closed, kinds }) => [
    writer.slice(0, ID_CHARACTERS),
    `${firstIndex}-${lastIndex}`,
    countText(count),
    closed ? 'closed' : 'open',
    Object.entries(kinds)
      .map(([kind, n]) => `${n} ${kind}`)
      .join(', '),
  ]);
  return [
    `Session ${session}: ${countText(records)} records in ${strands.length} strands, completeness ${completeness}`,
    ...table(['WRITER', 'INDICES', 'RECORDS', 'STRAND', 'KINDS'], rows),
    ...reasons.map((reason) => `  not proven: ${reason}`),
    '',
  ];
}

export function closingSentence(report: EvidenceReport): string {
  const { checked, counts, seconds, copiesPerSecond, writers, window, exit } = report;
  const what =
    `${countText(checked.records)} records of ${writers.length} writers ` +
    `(${countText(checked.copies)} copies in journals, bus and archive, ${countText(checked.rows)} rows, ` +
    `${countText(checked.tiles)} tiles, ${countText(checked.checkpoints)} checkpoints; ` +
    `${seconds.toFixed(2)} s, ${countText(copiesPerSecond)} records/s)`;
  if (checked.copies === 0) {
    return 'Nothing was checked: there is no evidence here.';
  }
  if (exit === 0) {
    const recovered =
      counts.RECOVERED === undefined ? '' : ` ${counts.RECOVERED} of the writers were recovered after a crash.`;
    const open = window > 0 ? ` The newest ${window} s are not witnessed yet.` : ' Everything is witnessed.';
    return `Complete and unaltered: ${what}.${recovered}${open}`;
  }
  const failing = VERDICTS.slice(VERDICTS.indexOf('UNWITNESSED'))
    .toReversed()
    .filter((verdict) => counts[verdict] !== undefined)
    .map((verdict) => `${counts[verdict]} ${verdict}`);
  const strict = failing.length === 0 ? `${counts.RECOVERED ?? 0} RECOVERED (--strict)` : failing.join(', ');
  return `NOT in order: ${strict}. Checked ${what}.`;
}

function rank({ verdict }: Finding): number {
  return VERDICTS.indexOf(verdict);
}
