import { resolve } from 'node:path';
import { GatewayError } from '../../core/kernel/errors.ts';
import type { Config } from '../../core/runtime/config/config-schema.ts';
import { loadTls } from '../../core/runtime/mtls/tls-files.ts';
import { VaultClient } from '../../core/runtime/vault-client.ts';
import { type HolderKey, parseHolderKey } from '../../vault/key-file.ts';
import { UnitOpener } from '../../vault/opening.ts';
import type { CliContext } from '../context.ts';
import { loadCliConfig } from '../deployment.ts';
import { EXIT } from '../exit-code.ts';
import { demoKeyFile, readPrivateText } from '../key-file.ts';
import { runningDeployment } from '../run-file.ts';
import { tlsPathsOf } from '../up/prepare.ts';
import { ArchiveReader } from '../archive-reader.ts';
import { catchUp, type Position } from './catch-up.ts';
import { type Conversation, conversationOf } from './conversation.ts';
import { printSession } from './print-session.ts';
import { SessionIndex, type SessionSummary } from './session-index.ts';
import { readSessionRecords, type SessionFinding } from './verified-records.ts';

export interface PlayOptions {
  readonly auditor?: string;
  readonly key?: string;
  readonly whole?: boolean;
}

/**
 * Replays a session as the agent saw it. The index says where the records are, the archive has them, the auditor's key
 * opens them, here and nowhere else. Ends with 7 when a record is not what its leaf commits to, 8 when one is missing.
 */
export async function playSession(context: CliContext, wanted: string, options: PlayOptions): Promise<void> {
  const { config } = loadCliConfig(context);
  const run = runningDeployment(config.node.dataDir);
  const auditor = options.auditor ?? config.auditors[0]?.id;
  if (auditor === undefined) {
    throw new GatewayError('config_invalid', 'auditors: nobody is configured who could open payloads');
  }
  const key = auditorKey(config, auditor, options.key);
  const tls = await loadTls(tlsPathsOf(config, 'auditor', auditor));
  const index = new SessionIndex(run.clickhouse);
  const vault = new VaultClient({ address: run.vault, tls, clock: context.clock });
  try {
    await catchUp(context, config, run, index, positionOf(wanted));
    const session = await foundSession(context, index, wanted);
    const opener = new UnitOpener(vault, session.tenant, key);
    const records = await index.records(session.tenant, session.session);
    const verified = await readSessionRecords(records, new ArchiveReader(run.archive), opener);
    await opener.close();
    const conversation = conversationOf(verified.records);
    if (context.json) {
      context.out(JSON.stringify(sessionJson(session, conversation, verified.findings, records.length)));
    } else {
      for (const line of printSession(session, conversation, verified.findings, options.whole === true)) {
        context.out(line);
      }
      context.out(`${records.length} records: ${verdictText(verified.findings)}`);
    }
    context.exit(exitOf(verified.findings));
  } finally {
    vault.close();
    await index.close();
  }
}

function auditorKey(config: Config, auditor: string, given: string | undefined): HolderKey {
  const path = given === undefined ? demoKeyFile(config, auditor, 'x25519') : resolve(given);
  if (path === undefined) {
    throw new GatewayError('config_invalid', `--key is needed: the private X25519 key of ${auditor}`);
  }
  const key = parseHolderKey(readPrivateText(path, config.env), path);
  if (key.id !== auditor) {
    throw new GatewayError('config_invalid', `${path} is the key of ${key.id}, not of ${auditor}`);
  }
  return key;
}

function positionOf(wanted: string): Position | null {
  const match = /^([0-9a-f]{32})\/(\d{1,15})$/.exec(wanted);
  return match === null ? null : { writer: match[1] as string, index: Number(match[2]) };
}

/** The aggregate of sessions is filled a moment after the rows that it is made of. */
const AGGREGATE_MS = 2_000;
const POLL_MS = 100;

async function foundSession(context: CliContext, index: SessionIndex, wanted: string): Promise<SessionSummary> {
  const untilMs = context.clock.monotonicMs() + AGGREGATE_MS;
  for (;;) {
    try {
      return await findSession(index, wanted);
    } catch (error) {
      const isAbsent = error instanceof GatewayError && error.code === 'evidence_incomplete';
      if (!isAbsent || context.clock.monotonicMs() > untilMs) {
        throw error;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function findSession(index: SessionIndex, wanted: string): Promise<SessionSummary> {
  const position = positionOf(wanted);
  if (wanted === 'last') {
    return one(await index.sessions(1), 'no session was recorded yet');
  }
  if (position !== null) {
    const session = await index.sessionOfRecord(position.writer, position.index);
    if (session === null) {
      throw new GatewayError('evidence_incomplete', `no session has the record ${wanted}`);
    }
    return one(await index.sessionsByPrefix(session), `no session ${session}`);
  }
  if (!/^[0-9a-f]{4,32}$/.test(wanted)) {
    throw new GatewayError('config_invalid', `${wanted} is no session: give 4 to 32 hex digits, a position, or last`);
  }
  const found = await index.sessionsByPrefix(wanted);
  if (found.length > 1) {
    throw new GatewayError('config_invalid', `more than one session begins with ${wanted}`);
  }
  return one(found, `no session begins with ${wanted}`);
}

function one(found: readonly SessionSummary[], otherwise: string): SessionSummary {
  const [session] = found;
  if (session === undefined) {
    throw new GatewayError('evidence_incomplete', otherwise);
  }
  return session;
}

function exitOf(findings: readonly SessionFinding[]): (typeof EXIT)[keyof typeof EXIT] {
  if (findings.some(({ verdict }) => verdict === 'ALTERED')) {
    return EXIT.altered;
  }
  return findings.some(({ verdict }) => verdict === 'MISSING') ? EXIT.missing : EXIT.ok;
}

function verdictText(findings: readonly SessionFinding[]): string {
  return findings.length === 0
    ? 'each is what its leaf commits to, and the strands are whole. `chaperone evidence verify` proves them in the log.'
    : `${findings.length} do not hold.`;
}

function sessionJson(
  session: SessionSummary,
  { exchanges, others }: Conversation,
  findings: readonly SessionFinding[],
  records: number,
): Record<string, unknown> {
  const message = <T extends { readonly body: Buffer }>(value: T | null): unknown =>
    value === null ? null : { ...value, body: value.body.toString('utf8') };
  return {
    ok: exitOf(findings) === EXIT.ok,
    session,
    exchanges: exchanges.map((exchange) => ({
      ...exchange,
      request: message(exchange.request),
      response: message(exchange.response),
      approvals: exchange.approvals.map(({ id, state, approver, code, use }) => ({ id, state, approver, code, use })),
      masks:
        exchange.masks === null
          ? null
          : {
              ...exchange.masks,
              withheld: Number(exchange.masks.withheld),
              counts: exchange.masks.counts.map((count) => ({ ...count, count: Number(count.count) })),
            },
    })),
    others,
    records,
    findings,
  };
}
