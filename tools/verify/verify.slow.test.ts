import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import { SeededRandom } from '../../core/kernel/testing/seeded-random.ts';
import { encodeArchiveObject } from '../../core/ledger/archive-object.ts';
import type { SampleWriter } from '../../core/ledger/testing/sample-evidence.ts';
import {
  type FoundJournal,
  SAMPLE_ORIGIN,
  type SampleDeployment,
  type SampleOptions,
  writeSampleDeployment,
} from '../../core/ledger/testing/sample-deployment.ts';
import { SAMPLE_NODE_CERTIFICATE } from '../../core/ledger/testing/sample-node.ts';
import { encodeVerifierKey, SIGNATURE_TYPES, verifierKey } from '../../core/ledger/verifier-key.ts';
import { packageRoot } from '../../core/runtime/package-root.ts';

const ROOT = packageRoot();
const VERIFY = join(ROOT, 'tools', 'verify', 'verify.mjs');
const VECTORS = join(ROOT, 'core', 'ledger', 'vectors');
const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);

interface Finding {
  readonly verdict: string;
  readonly what: string;
  readonly object?: string;
  readonly offset?: number;
  readonly index?: number;
  readonly first?: number;
  readonly count?: number;
  readonly tile?: string;
  readonly file?: string;
}
interface Report {
  readonly ok: boolean;
  readonly verdict: string;
  readonly records: number;
  readonly objects: number;
  readonly cluster: { readonly size: number; readonly cosignatures: number } | null;
  readonly unchecked: readonly string[];
  readonly writers: readonly {
    readonly writer: string;
    readonly role: string;
    readonly verdict: string;
    readonly records: number;
    readonly recoveredAt?: number;
    readonly findings: readonly Finding[];
  }[];
  readonly findings: readonly Finding[];
}

let scratch = '';
let whole: SampleDeployment;

before(() => {
  scratch = mkdtempSync(join(tmpdir(), 'chaperone-verify-'));
  whole = deploy('whole');
});
after(() => rmSync(scratch, { recursive: true, force: true }));

describe('verify.mjs vectors', () => {
  test('the golden vectors hold in the eyes of an implementation that shares nothing with ours', () => {
    const { status, stdout } = run(['vectors', VECTORS, '--json']);
    const report = JSON.parse(stdout) as { ok: boolean; files: number; cases: number; problems: unknown[] };
    deepEqual([status, report.ok, report.problems], [0, true, []]);
    equal(report.files, 16);
    ok(report.cases >= 37);
  });

  test('a changed digit in any file fails, and so does a folder without them', () => {
    const folder = join(scratch, 'vectors');
    cpSync(VECTORS, folder, { recursive: true });
    const files = readdirSync(folder);
    for (const file of files) {
      const text = readFileSync(join(folder, file), 'utf8');
      const at = /"(?:bytes|opDigest|text|note|roots)": ?\[?\s*"[^"]{40}/.exec(text);
      ok(at !== null, file);
      const place = at.index + at[0].length - 1;
      const other = text[place] === '1' ? '2' : '1';
      writeFileSync(join(folder, file), text.slice(0, place) + other + text.slice(place + 1));
    }
    const { status, stdout } = run(['vectors', folder]);
    equal(status, 7);
    for (const file of files) {
      match(stdout, new RegExp(`^${file} case 0`, 'm'));
    }
    cpSync(VECTORS, folder, { recursive: true });
    equal(run(['vectors', folder]).status, 0);
    unlinkSync(join(folder, 'leaf.json'));
    equal(run(['vectors', folder]).status, 7);
  });
});

describe('verify.mjs archive on a whole archive', () => {
  test('everything holds: two writers are present, the crashed one is recovered', () => {
    const { status, report } = verify(whole);
    deepEqual(report.findings, []);
    deepEqual(Object.fromEntries(report.writers.map((each) => [each.role + each.records, each.verdict])), {
      worker300: 'PRESENT',
      control3: 'PRESENT',
      worker7: 'RECOVERED',
    });
    deepEqual([status, report.ok, report.verdict, report.records, report.objects], [0, true, 'RECOVERED', 310, 2]);
    deepEqual([report.cluster?.size, report.cluster?.cosignatures, report.unchecked], [10, 1, []]);
    equal(writerOf(report, whole.crashed).recoveredAt, 7);
  });

  test('--strict fails on a recovered writer', () => {
    equal(verify(whole, { flags: ['--strict'] }).status, 9);
  });

  test('what was not checked is said', () => {
    const { status, stdout } = run(['archive', whole.archive]);
    equal(status, 0);
    match(stdout, /not checked: node certificates/);
    match(stdout, /not checked: registration/);
    match(stdout, /RECOVERED: 3 writers, 310 records, 2 objects/);
  });

  test('another CA, another log key and another witness are not believed', () => {
    const ca = join(scratch, 'other-ca.pem');
    writeFileSync(ca, new X509Certificate(SAMPLE_NODE_CERTIFICATE).toString());
    const distrusted = verify({ ...whole, ca });
    equal(distrusted.status, 7);
    match(writerOf(distrusted.report, whole.worker).findings[0]?.what ?? '', /not issued by the cluster CA/);
    const key = verifierKey(SAMPLE_ORIGIN, SIGNATURE_TYPES.ed25519, new SeededRandom(1).bytes(32));
    const forged = verify({ ...whole, logKey: encodeVerifierKey(key) });
    deepEqual([forged.status, forged.report.findings[0]?.verdict], [7, 'ALTERED']);
    const witness = verifierKey('witness.example/w2', SIGNATURE_TYPES.cosignature, new SeededRandom(2).bytes(32));
    const unseen = verify({ ...whole, witnessKey: encodeVerifierKey(witness) });
    deepEqual([unseen.status, unseen.report.findings[0]?.verdict], [9, 'UNWITNESSED']);
    const unknown = 'witness.example/w9+' + whole.witnessKey.split('+').slice(1).join('+');
    equal(run([...argsOf(whole), '--witness-key', unknown]).status, 2, 'a key id that is not that of the key');
  });
});

describe('verify.mjs archive says what an end means', () => {
  test('an epoch that is neither closed nor recovered is OPEN-ENDED, with --live it may be', () => {
    const open = deploy('open', { withoutRecovery: true });
    const { status, report } = verify(open);
    equal(status, 9);
    const { verdict, findings } = writerOf(report, open.crashed);
    deepEqual([verdict, findings[0]?.first], ['OPEN-ENDED', 4]);
    equal(writerOf(report, open.worker).verdict, 'PRESENT');
    equal(verify(open, { flags: ['--live'] }).status, 0);
  });

  test('a writer that the cluster log does not know is UNREGISTERED', () => {
    const stranger = deploy('stranger', { unregistered: 'worker' });
    const { status, report } = verify(stranger);
    deepEqual([status, writerOf(report, stranger.worker).verdict], [9, 'UNREGISTERED']);
  });

  test('records after the newest head in the cluster log are PENDING', () => {
    const pending = deploy('pending', { withoutLastHead: true });
    const { status, report } = verify(pending);
    const { verdict, findings } = writerOf(report, pending.worker);
    deepEqual([status, verdict, findings[0]?.first, findings[0]?.count], [0, 'PENDING', 221, 79]);
  });

  test('a range that the log itself declares as missing is a GAP', () => {
    const gapped = deploy('gapped', {
      beforeClose: (control, crashed) =>
        void control.append({ kind: 'gap.declared', meta: gapMeta(crashed.writerId.toString('hex'), 7, 2) }),
    });
    const { status, report } = verify(gapped);
    const { verdict, findings } = writerOf(report, gapped.crashed);
    deepEqual([status, verdict], [9, 'GAP']);
    ok(findings.some((finding) => finding.verdict === 'GAP' && finding.first === 7 && finding.count === 2));
  });

  test('a recovery to another size than the control writer found is ALTERED', () => {
    const wrong = deploy('wrong-journal', {
      openMeta: (journals) => openMeta(journals.map((journal) => ({ ...journal, size: 9 }))),
    });
    const { status, report } = verify(wrong);
    deepEqual([status, writerOf(report, wrong.crashed).verdict], [7, 'ALTERED']);
  });
});

describe('verify.mjs archive on damage', () => {
  test('a flipped byte in meta, salt or unit names the record, its object and its place', () => {
    for (const [offset, what] of [
      [299, 'meta or salt'],
      [321, 'meta or salt'],
      [-1, 'payload unit'],
    ] as const) {
      const record = whole.worker.records[2]!;
      const { report, status, object, at } = flipRecord(
        whole,
        whole.worker,
        2,
        offset < 0 ? record.length + offset : offset,
      );
      equal(status, 7);
      const [finding] = writerOf(report, whole.worker).findings;
      deepEqual([finding?.verdict, finding?.index, finding?.object, finding?.offset], ['ALTERED', 2, object, at]);
      match(finding?.what ?? '', new RegExp(what));
    }
  });

  test('a flipped byte in a leaf is named by the hash tiles, and the record after it is not blamed', () => {
    // Record 101: the second of a session in the second batch.
    const { report, status } = flipRecord(whole, whole.worker, 102, 180 - 60);
    equal(status, 7);
    deepEqual(
      writerOf(report, whole.worker).findings.map((finding) => [finding.verdict, finding.index]),
      [['ALTERED', 102]],
    );
  });

  test('a flipped byte in a hash tile names the tile and the hash, not the record', () => {
    const folder = join('writers', whole.worker.writerId.toString('hex'));
    for (const [tile, offset, hash] of [
      ['tile/0/000', 32 * 17 + 5, 17],
      ['tile/0/001.p/44', 32 * 43, 43],
      ['tile/1/000.p/1', 31, 0],
    ] as const) {
      const { report, status } = flip(whole, join(folder, tile), offset);
      equal(status, 7);
      const { findings } = writerOf(report, whole.worker);
      deepEqual(
        findings.map((finding) => [finding.verdict, finding.tile, finding.offset]),
        [['ALTERED', tile, 32 * hash]],
      );
    }
  });

  test('an object, a tile or a head that was taken away is MISSING', () => {
    const [first, second] = objectsOf(whole);
    const copy = copyOf(whole);
    unlinkSync(join(copy.archive, second!));
    const { report, status } = verify(copy);
    const { verdict, findings } = writerOf(report, whole.worker);
    deepEqual([status, verdict, findings[0]?.first, findings[0]?.count], [8, 'MISSING', 101, 199]);

    const holed = copyOf(whole);
    unlinkSync(join(holed.archive, first!));
    const hole = verify(holed);
    equal(hole.status, 8);
    deepEqual(writerOf(hole.report, whole.worker).findings[0]?.first, 0);
    equal(writerOf(hole.report, whole.crashed).records, 0);

    const tileless = copyOf(whole);
    unlinkSync(join(tileless.archive, 'writers', whole.worker.writerId.toString('hex'), 'tile/0/000'));
    equal(verify(tileless).status, 8);
  });

  test('a log that ends below a head of the cluster log is MISSING, although its own head was cut back', () => {
    const copy = copyOf(whole);
    const [first, second] = objectsOf(whole);
    unlinkSync(join(copy.archive, second!));
    const folder = join(copy.archive, 'writers', whole.worker.writerId.toString('hex'));
    rmSync(folder, { recursive: true });
    ok(existsSync(join(copy.archive, first!)));
    const { status, report } = verify(copy);
    deepEqual([status, writerOf(report, whole.worker).verdict], [8, 'MISSING']);
  });

  test('a fork shows: the cluster log has another root for the same size', () => {
    const probe = (text: string) => ({
      beforeClose: (control: SampleWriter) => void control.append({ kind: 'probe', meta: Buffer.from(text) }),
    });
    const told = deploy('told', probe('what one was told'));
    const other = deploy('other', probe('what another was told'));
    equal(verify(told).status, 0);
    const { status, report } = verify({ ...told, clusterLog: other.clusterLog });
    const { verdict, findings } = writerOf(report, told.control);
    deepEqual([status, verdict], [7, 'ALTERED']);
    match(findings[0]?.what ?? '', /a fork/);
    equal(writerOf(report, told.worker).verdict, 'PRESENT');
  });

  test('a size that is only claimed costs nothing', () => {
    const folder = join('writers', whole.worker.writerId.toString('hex'));
    equal(flip(whole, join(folder, 'head'), 22).status, 7);
    const copy = mkdtempSync(join(scratch, 'cluster-'));
    cpSync(whole.clusterLog, copy, { recursive: true });
    const note = readFileSync(join(copy, 'checkpoint'), 'utf8');
    writeFileSync(join(copy, 'checkpoint'), note.replace(/\n10\n/, '\n9007199254740991\n'));
    const { status, report } = verify({ ...whole, clusterLog: copy });
    equal(status, 7);
    ok(report.findings.length < 5);
  });

  test('an object whose index or footer is destroyed still gives its batches', () => {
    const [first] = objectsOf(whole);
    const size = statSync(join(whole.archive, first!)).size;
    const { report, status } = flip(whole, first!, size - 48 + 3);
    equal(status, 7);
    deepEqual([report.records, report.findings[0]?.object], [310, first]);
  });

  test('the same batch in two objects is a retry, and harmless', () => {
    const copy = copyOf(whole);
    const again = encodeArchiveObject([
      { writerId: whole.worker.writerId, first: 0, count: 101, busOffset: 90, batch: firstBatch(whole) },
    ]);
    writeFileSync(join(copy.archive, 'objects/3/202601/0000000000000090-0000000000000090.cho'), again);
    const { status, report } = verify(copy);
    deepEqual([status, report.records, report.objects], [0, 310, 3]);
  });

  test('any flipped bit in any file of archive and cluster log is found', () => {
    const random = new SeededRandom(Number(process.env['CHAPERONE_TEST_SEED'] ?? 77));
    const files = [...filesIn(whole.archive), ...filesIn(whole.clusterLog)];
    ok(files.length > 15);
    for (let i = 0; i < 20 * SCALE; i++) {
      const path = files[(i * 7) % files.length]!;
      const bytes = readFileSync(path);
      const at = random.below(bytes.length);
      const bit = random.below(8);
      const changed = Buffer.from(bytes);
      changed[at]! ^= 1 << bit;
      writeFileSync(path, changed);
      try {
        const { status, report } = verify(whole);
        const where = `${relative(scratch, path)} byte ${at} bit ${bit} (seed ${random.seed})`;
        // A cosignature line that no longer names its witness is one of an unknown key, not a wrong one.
        ok(status === 7 || (path.endsWith('checkpoint') && status === 9), `${where}: exit ${status}`);
        ok(!report.ok, where);
      } finally {
        writeFileSync(path, bytes);
      }
    }
    equal(verify(whole).status, 0);
  });
});

describe('verify.mjs wrong use', () => {
  test('exits 2 and says how it is used', () => {
    for (const args of [
      [],
      ['vectors'],
      ['archive', '/no/such/folder'],
      ['what', scratch],
      ['archive', scratch, '--no'],
    ]) {
      const { status, stdout, stderr } = run(args);
      deepEqual([status, stdout], [2, '']);
      match(stderr, /usage: verify\.mjs/);
    }
  });

  test('an empty archive is not a good one', () => {
    const empty = mkdtempSync(join(scratch, 'empty-'));
    equal(run(['archive', empty]).status, 8);
  });
});

function deploy(name: string, change: Partial<SampleOptions> = {}): SampleDeployment {
  return writeSampleDeployment(join(scratch, name), options(change));
}

function options(change: Partial<SampleOptions> = {}): SampleOptions {
  return { openMeta, ...change };
}

function openMeta(journals: readonly FoundJournal[]): Buffer {
  const found = journals.map((journal) => ({ ...journal, size: BigInt(journal.size), state: 'crash' }));
  return Buffer.from(Event.encode(Event.fromPartial({ epoch: { role: 'control', journals: found } })).finish());
}

function gapMeta(writer: string, first: number, count: number): Buffer {
  const note = { code: 'disk_failed', first: BigInt(first), count: BigInt(count), attributes: { writer } };
  return Buffer.from(Event.encode(Event.fromPartial({ note })).finish());
}

function run(args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [VERIFY, ...args], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
}

function argsOf(deployment: SampleDeployment): string[] {
  const { archive, ca, clusterLog, logKey } = deployment;
  return ['archive', archive, '--ca', ca, '--cluster-log', clusterLog, '--checkpoint-key', logKey];
}

function verify(
  deployment: SampleDeployment,
  more: { readonly flags?: readonly string[] } = {},
): { status: number | null; report: Report } {
  const args = [...argsOf(deployment), '--witness-key', deployment.witnessKey, '--json', ...(more.flags ?? [])];
  const { status, stdout, stderr } = run(args);
  ok(stdout !== '', stderr);
  return { status, report: JSON.parse(stdout) as Report };
}

function writerOf(report: Report, writer: SampleWriter): Report['writers'][number] {
  const found = report.writers.find((each) => each.writer === writer.writerId.toString('hex'));
  ok(found !== undefined);
  return found;
}

function filesIn(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .map((name) => join(dir, name))
    .filter((path) => statSync(path).isFile())
    .sort();
}

function objectsOf(deployment: SampleDeployment): string[] {
  return filesIn(join(deployment.archive, 'objects')).map((path) => relative(deployment.archive, path));
}

function copyOf(deployment: SampleDeployment): SampleDeployment {
  const archive = mkdtempSync(join(scratch, 'copy-'));
  cpSync(deployment.archive, archive, { recursive: true });
  return { ...deployment, archive };
}

/** Verifies with one byte of a file of the archive changed, and puts it back. */
function flip(deployment: SampleDeployment, file: string, offset: number): { status: number | null; report: Report } {
  const path = join(deployment.archive, file);
  const bytes = readFileSync(path);
  const changed = Buffer.from(bytes);
  changed[offset]! ^= 0x20;
  writeFileSync(path, changed);
  try {
    return verify(deployment);
  } finally {
    writeFileSync(path, bytes);
  }
}

function flipRecord(
  deployment: SampleDeployment,
  writer: SampleWriter,
  index: number,
  offset: number,
): { status: number | null; report: Report; object: string; at: number } {
  for (const object of objectsOf(deployment)) {
    const at = readFileSync(join(deployment.archive, object)).indexOf(writer.records[index]!);
    if (at >= 0) {
      return { ...flip(deployment, object, at + offset), object, at };
    }
  }
  throw new Error(`record ${index} is in no object`);
}

function firstBatch(deployment: SampleDeployment): Buffer {
  const object = readFileSync(join(deployment.archive, objectsOf(deployment)[0]!));
  const record = object.indexOf(deployment.worker.records[0]!);
  const start = object.lastIndexOf('CHB1', record);
  return object.subarray(start, start + object.readUInt32BE(start - 4));
}
