import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../core/runtime/package-root.ts';

export type Row = Readonly<Record<string, string | number | null>>;

const NUMERIC = new Set([
  'lat',
  'lon',
  'healthcare_expenses',
  'healthcare_coverage',
  'base_encounter_cost',
  'total_claim_cost',
  'payer_coverage',
]);

export interface ClinicTables {
  readonly patients: readonly Row[];
  readonly encounters: readonly Row[];
  readonly observations: readonly Row[];
  readonly claims: readonly Row[];
  readonly notes: readonly Row[];
}

/** The tables of `deploy/demo/data`, with members named as the columns in lower case. Empty cells are null. */
export function loadClinicTables(): ClinicTables {
  const contacts = new Map(table('contacts').map((row) => [row['patient'], row]));
  const patients = table('patients').map((row) => {
    const contact = contacts.get(row['id'] ?? null);
    return { ...row, phone: contact?.['phone'] ?? null, email: contact?.['email'] ?? null };
  });
  return {
    patients,
    encounters: table('encounters'),
    observations: table('observations').map(measuredOrAnswered),
    claims: table('claims'),
    notes: table('notes'),
  };
}

export function toCsv(rows: readonly Row[]): string {
  const columns = Object.keys(rows[0] ?? {});
  const lines = rows.map((row) => columns.map((column) => csvCell(row[column] ?? null)).join(','));
  return `${[columns.join(','), ...lines].join('\r\n')}\r\n`;
}

export function toNdjson(rows: readonly Row[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

function table(name: string): Row[] {
  const text = readFileSync(join(packageRoot(), 'deploy', 'demo', 'data', `${name}.csv`), 'utf8');
  const [header = [], ...lines] = parseCsv(text);
  const columns = header.map((column) => column.toLowerCase());
  return lines.map((cells) =>
    Object.fromEntries(columns.map((column, i) => [column, cellValue(column, cells[i] ?? '')])),
  );
}

/**
 * What was measured is `value`; what a person answered in a survey is `answer`, for anything may stand there: one of the
 * questions is "What address do you live at?".
 */
function measuredOrAnswered({ value = null, ...row }: Row): Row {
  return row['type'] === 'numeric' ? { ...row, value, answer: null } : { ...row, value: null, answer: value };
}

function cellValue(column: string, text: string): string | number | null {
  if (text === '') {
    return null;
  }
  return NUMERIC.has(column) ? Number(text) : text;
}

function csvCell(value: string | number | null): string {
  const text = value === null ? '' : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** RFC 4180, for the files of this folder. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  for (const line of text.trim().split(/\r?\n/)) {
    const cells: string[] = [];
    for (const [, quoted, plain] of line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)) {
      cells.push(quoted === undefined ? (plain ?? '') : quoted.replaceAll('""', '"'));
    }
    rows.push(cells);
  }
  return rows;
}
