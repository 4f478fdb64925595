import { closeSync, openSync, readdirSync, readFileSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ClickHouseLogLevel, createClient } from '@clickhouse/client';
import type { Checks } from '../story/checks.ts';
import { copyEvidence, usedSize } from '../story/copy-evidence.ts';
import type { Step, Story } from '../story/story.ts';
import { findingText, summaryOf, verifyCopy, verifyLive, verifyUntilGreen } from '../story/verify-evidence.ts';
import type { Verified } from '../story/verify-evidence.ts';

/** Of a journal segment and of a frame in it (docs/formats.md): the first record's leaf begins after both. */
const FIRST_LEAF_AT = 64 + 44 + 4;

const ROW = `SELECT writer, toUInt32(record_index) AS index FROM audit_operations WHERE connection = 'clinic' ORDER BY time LIMIT 1`;

export const tamperStep: Step = {
  id: 7,
  name: 'tamper',
  title: 'Is the record complete and unaltered? Anybody can check, and one flipped byte is found.',
  needs: [2],
  async run(story, checks) {
    const { tell, dataDir } = story;
    const mend = breakOnPurpose(story);
    const green = await verifyUntilGreen(() => verifyLive(story));
    mend();
    tell.command(`chaperone ${green.args.join(' ')}`);
    tell.output([`${green.verdict}  ${countsText(green)}`]);
    checks.that(
      'green over everything: journals, bus, archive, tiles, rows, checkpoints (exit 0)',
      green.exit === 0 && (green.checked['records'] ?? 0) > 0 && (green.checked['rows'] ?? 0) > 0,
      'exit 0',
      `exit ${green.exit}: ${summaryOf(green)}`,
    );
    if (green.exit !== 0) {
      return { green: green.exit, checked: green.checked };
    }
    const copy = join(dataDir, 'copy-to-tamper-with');
    copyEvidence(dataDir, copy);
    const found = await tamperWithCopy(story, checks, copy);
    rmSync(copy, { recursive: true, force: true });
    found.push(await tamperWithRow(story, checks));
    return { green: green.exit, checked: green.checked, flipped: found };
  },
};

/** What `--break` asks for, and the way back. */
function breakOnPurpose({ breaks, dataDir, tell }: Story): () => void {
  if (breaks !== 'flipped-byte') {
    return () => undefined;
  }
  const object = biggest(join(dataDir, 'archive', 'objects'), '.cho');
  const offset = Math.floor(statSync(object).size / 2);
  flipByte(object, offset);
  tell.say(`BREAK: one byte of ${relative(dataDir, object)} is flipped.`);
  return () => flipByte(object, offset);
}

interface Found {
  readonly what: string;
  readonly exit: number;
  readonly finding: string;
}

async function tamperWithCopy(story: Story, checks: Checks, copy: string): Promise<Found[]> {
  story.tell.say('Now a copy of it, as an outsider would get it, and one byte flipped in it, each time another one:');
  const journal = biggest(join(copy, 'journal'), '.seg');
  const used = usedSize(readFileSync(journal));
  const batches = biggest(join(copy, 'bus', 'topics', 'evidence.batches.v1'), '.seg');
  const object = biggest(join(copy, 'archive', 'objects'), '.cho');
  const tile = biggest(join(copy, 'archive', 'writers'), '', '/tile/0/');
  const places: [string, string, number][] = [
    ['first record of a journal', journal, FIRST_LEAF_AT],
    ['middle of a journal', journal, Math.floor(used / 2)],
    ['batch on the bus', batches, Math.floor(statSync(batches).size / 2)],
    ['archive object', object, Math.floor(statSync(object).size / 2)],
    ['hash tile', tile, Math.floor(statSync(tile).size / 2)],
  ];
  const found: Found[] = [];
  for (const [what, path, offset] of places) {
    flipByte(path, offset);
    const verified = await verifyCopy(story, copy);
    flipByte(path, offset);
    found.push(checkAltered(story, checks, what, verified));
  }
  const untouched = await verifyCopy(story, copy);
  checks.that(
    'with every byte flipped back, nothing is altered',
    untouched.exit !== 7 && !untouched.verdicts.includes('ALTERED'),
    'no ALTERED',
    `exit ${untouched.exit}: ${summaryOf(untouched)}`,
  );
  return found;
}

/** An operator of ClickHouse changes one letter of who it was, and puts it back. */
async function tamperWithRow(story: Story, checks: Checks): Promise<Found> {
  const { clickhouse } = story.deployment.facts();
  const [row] = await story.sql.rows<{ writer: string; index: number }>(ROW);
  if (row === undefined) {
    throw new Error('ClickHouse has no operation');
  }
  const { writer, index } = row;
  const client = createClient({
    ...clickhouse,
    username: 'writer',
    password: readFileSync(join(story.dataDir, 'secrets', 'clickhouse-writer'), 'utf8').trim(),
    log: { level: ClickHouseLogLevel.OFF },
  });
  const change = async (to: string, from: string): Promise<void> => {
    const where = `writer_id = reinterpretAsUInt128(reverse(unhex('${writer}'))) AND record_index = ${index}`;
    const query = `ALTER TABLE events UPDATE connection = '${to}' WHERE connection = '${from}' AND ${where} SETTINGS mutations_sync = 1`;
    await client.command({ query });
  };
  try {
    await change('clinid', 'clinic');
    const verified = await verifyLive(story);
    await change('clinic', 'clinid');
    const found = checkAltered(story, checks, 'ClickHouse row', verified, `${writer}/${index}`);
    const back = await verifyUntilGreen(() => verifyLive(story));
    checks.that('with the row put back, everything is green again', back.exit === 0, 'exit 0', summaryOf(back));
    return found;
  } finally {
    await client.close();
  }
}

function checkAltered({ tell }: Story, checks: Checks, what: string, verified: Verified, position?: string): Found {
  const altered = verified.findings.filter(({ verdict }) => verdict === 'ALTERED');
  const named = altered.find(
    ({ writer, index }) =>
      writer !== null && index !== null && (position === undefined || `${writer}/${index}` === position),
  );
  checks.that(
    `${what}: ALTERED, exit ${verified.exit}, and the record is named`,
    verified.exit === 7 && named !== undefined,
    'ALTERED with writer and index, exit 7',
    `exit ${verified.exit}: ${summaryOf(verified)}`,
  );
  if (named !== undefined) {
    tell.output([findingText(named).slice(0, 150)]);
  }
  return { what, exit: verified.exit, finding: named === undefined ? '' : findingText(named) };
}

function countsText({ checked }: Verified): string {
  return Object.entries(checked)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ');
}

/** The biggest file below a folder, by the end of its name and a part of its path. */
function biggest(directory: string, end: string, part = ''): string {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(end))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => path.includes(part))
    .map((path) => ({ path, size: end === '.seg' ? usedSize(readFileSync(path)) : statSync(path).size }));
  const [first] = files.sort((a, b) => b.size - a.size);
  if (first === undefined) {
    throw new Error(`there is no ${end} file in ${directory}`);
  }
  return first.path;
}

function flipByte(path: string, offset: number): void {
  const file = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, offset);
  byte[0] = (byte[0] ?? 0) ^ 0x01;
  writeSync(file, byte, 0, 1, offset);
  closeSync(file);
}
