import { readFile } from 'node:fs/promises';
import { GatewayError } from '../../core/kernel/errors.ts';
import { decodeEpoch, verifyEpochChain } from '../../core/ledger/epoch.ts';
import { leafHash, sha256 } from '../../core/ledger/hash.ts';
import { decodeHead, SIGNER_KINDS, verifyHead } from '../../core/ledger/head.ts';
import { decodeLeaf, kindName } from '../../core/ledger/leaf.ts';
import { verifyInclusion } from '../../core/ledger/merkle.ts';
import { inclusionProof } from '../../core/ledger/proof-nodes.ts';
import { decodeRecord } from '../../core/ledger/record.ts';
import { tilePath, withTiles } from '../../core/ledger/tiles.ts';
import { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import type { GetProofResponse } from '../../proto/gen/chaperone/control/v1/evidence.ts';
import { ArchiveReader } from '../archive-reader.ts';
import type { CliContext } from '../context.ts';
import { ControlClient } from '../control-client.ts';
import { loadCliConfig } from '../deployment.ts';
import { EXIT } from '../exit-code.ts';
import { bytesText } from '../print.ts';
import { type RunFile, runningDeployment } from '../run-file.ts';
import { SessionIndex } from '../sessions/session-index.ts';

type Verdict = 'PRESENT' | 'ALTERED' | 'UNREGISTERED';

interface CheckedProof {
  readonly verdict: Verdict;
  readonly detail: string;
  readonly source: 'node' | 'archive';
  readonly proof: GetProofResponse;
}

/**
 * Fetches a record with an inclusion proof to the newest signed head of its writer, from the node while it has the
 * journal and else from the archive, and checks it: leaf, meta, path, signature, epoch certificate up to the cluster CA.
 *
 * Limit: it ends at the writer's head; that the head is in the witnessed log is `chaperone evidence verify`'s to say.
 */
export async function printProof(context: CliContext, position: string): Promise<void> {
  const match = /^([0-9a-f]{32})\/(0|[1-9]\d{0,15})$/.exec(position);
  if (match === null) {
    throw new GatewayError('config_invalid', 'a position is <writer: 32 hex digits>/<index>');
  }
  const [, writer = '', digits = ''] = match;
  const index = Number(digits);
  const { config } = loadCliConfig(context);
  const run = runningDeployment(config.node.dataDir);
  const archive = new ArchiveReader(run.archive);
  const fromNode = await proofFromNode(await ControlClient.open(config, run.control), writer, index);
  const proof = fromNode ?? (await proofFromArchive(run, archive, writer, index));
  const source = fromNode === null ? 'archive' : 'node';
  const checked = { source, proof, ...(await check(archive, run, proof, writer, index)) } as const;
  for (const line of context.json ? [JSON.stringify(proofJson(position, checked))] : proofLines(position, checked)) {
    context.out(line);
  }
  context.exit(
    checked.verdict === 'PRESENT' ? EXIT.ok : checked.verdict === 'ALTERED' ? EXIT.altered : EXIT.incomplete,
  );
}

/** Null when the node does not answer, or no longer has the writer or the record. */
async function proofFromNode(control: ControlClient, writer: string, index: number): Promise<GetProofResponse | null> {
  try {
    return await control.proof(writer, index);
  } catch (error) {
    if (error instanceof GatewayError && ['evidence_incomplete', 'upstream_unreachable'].includes(error.code)) {
      return null;
    }
    throw error;
  } finally {
    control.close();
  }
}

async function proofFromArchive(
  run: RunFile,
  archive: ArchiveReader,
  writer: string,
  index: number,
): Promise<GetProofResponse> {
  const head = await archive.readAll(`writers/${writer}/head`);
  const { size } = decodeHead(head);
  if (index >= size) {
    throw new GatewayError('evidence_incomplete', `the newest signed head in the archive covers ${size} records`);
  }
  const rows = new SessionIndex(run.clickhouse);
  let place;
  try {
    place = await rows.place(writer, index);
  } finally {
    await rows.close();
  }
  if (place === null) {
    throw new GatewayError('evidence_incomplete', `the index has no record ${writer}/${index}`);
  }
  const { leaf, salt, meta } = decodeRecord(await archive.read(place.object, place.offset, place.bytes));
  const read = (tile: Parameters<typeof tilePath>[0]): Promise<Buffer> =>
    archive.readAll(`writers/${writer}/${tilePath(tile)}`);
  const proof = await withTiles(size, read, (source) => inclusionProof(index, size, source));
  return { leaf, salt, meta, proof, head };
}

async function check(
  archive: ArchiveReader,
  run: RunFile,
  proof: GetProofResponse,
  writer: string,
  index: number,
): Promise<{ verdict: Verdict; detail: string }> {
  const altered = (detail: string): { verdict: Verdict; detail: string } => ({ verdict: 'ALTERED', detail });
  const leafBytes = Buffer.from(proof.leaf);
  const leaf = decodeLeaf(leafBytes);
  const headBytes = Buffer.from(proof.head);
  const head = decodeHead(headBytes);
  if (leaf.writerId.toString('hex') !== writer || leaf.index !== index || !head.writerId.equals(leaf.writerId)) {
    return altered('the proof is of another record');
  }
  if (!sha256(Buffer.from(proof.salt), Buffer.from(proof.meta)).equals(leaf.metaCommit)) {
    return altered('the description is not the one that the leaf commits to');
  }
  const path = proof.proof.map((hash) => Buffer.from(hash));
  if (!verifyInclusion(index, head.size, leafHash(leafBytes), path, head.root)) {
    return altered('the path does not lead to the signed root');
  }
  const signer = head.signerKind === SIGNER_KINDS.writer ? writer : head.signerWriterId.toString('hex');
  const epoch = await archive.readAll(`writers/${signer}/epoch`).catch((error: unknown) => {
    if (error instanceof GatewayError && error.code === 'evidence_incomplete') {
      return null;
    }
    throw error;
  });
  if (epoch === null) {
    return { verdict: 'UNREGISTERED', detail: 'the epoch certificate of the signer is not in the archive yet' };
  }
  const problem = verifyEpochChain(epoch, [await readFile(run.caPath)]);
  if (problem !== null) {
    return altered(`epoch certificate: ${problem}`);
  }
  const { publicKey, writerId } = decodeEpoch(epoch);
  if (writerId.toString('hex') !== signer || !verifyHead(headBytes, publicKey)) {
    return altered('the head is not signed by the key of its epoch');
  }
  return { verdict: 'PRESENT', detail: `in the log of its writer, below the signed head of size ${head.size}` };
}

function proofLines(position: string, { verdict, detail, source, proof }: CheckedProof): string[] {
  const leaf = decodeLeaf(Buffer.from(proof.leaf));
  const head = decodeHead(Buffer.from(proof.head));
  const event = Event.decode(proof.meta);
  const size = [proof.leaf, proof.salt, proof.meta, proof.head, ...proof.proof].reduce(
    (sum, one) => sum + one.length,
    0,
  );
  const who = event.subject === undefined ? '' : `, ${event.subject.principalSub}`;
  return [
    `${verdict}  ${position}: ${detail}`,
    `  record    ${kindName(leaf.kind)} at ${new Date(Number(leaf.timeNs / 1_000_000n)).toISOString()}${who}`,
    `  leaf      ${leafHash(Buffer.from(proof.leaf)).toString('hex')}`,
    ...proof.proof.map((hash, i) => `  path ${String(i).padStart(2)}   ${Buffer.from(hash).toString('hex')}`),
    `  root      ${head.root.toString('hex')} (size ${head.size})`,
    `  from the ${source}, ${bytesText(size)}`,
  ];
}

function proofJson(position: string, { verdict, detail, source, proof }: CheckedProof): Record<string, unknown> {
  const head = decodeHead(Buffer.from(proof.head));
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  return {
    ok: verdict === 'PRESENT',
    position,
    verdict,
    detail,
    source,
    size: head.size,
    root: head.root.toString('hex'),
    leaf: base64(proof.leaf),
    salt: base64(proof.salt),
    meta: base64(proof.meta),
    proof: proof.proof.map(base64),
    head: base64(proof.head),
  };
}
