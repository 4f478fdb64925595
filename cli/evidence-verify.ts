import { Command, InvalidArgumentError } from 'commander';
import { GatewayError } from '../core/kernel/errors.ts';
import { contextOf, type CliContext } from './context.ts';
import { EXIT } from './exit-code.ts';
import type { SourceOptions } from './evidence-verify/sources.ts';

interface VerifyFlags extends SourceOptions {
  readonly record?: string;
  readonly session?: string;
  readonly writer?: string;
  readonly from?: number;
  readonly to?: number;
  readonly rows?: boolean;
  readonly strict?: boolean;
}

const POSITION = /^([0-9a-f]{32})\/(0|[1-9]\d{0,14})$/;

/** `chaperone evidence verify`: everything that can be seen, or one writer, session or record of it. */
export function evidenceVerifyCommand(): Command {
  return new Command('verify')
    .description('verify journals, bus, archive, cluster log and rows, against each other and against the witnesses')
    .option('--data <dir>', 'a data directory, or a cold copy of one, instead of the deployment of --config')
    .option('--record <position>', '<writer>/<index>: prove one record up to a witnessed checkpoint')
    .option('--session <id>', 'strands of one session, and whether they are complete', hexId)
    .option('--writer <id>', 'one writer only', hexId)
    .option('--from <index>', 'with --writer: from this record', index)
    .option('--to <index>', 'with --writer: up to, not including, this record', index)
    .option('--rows', 'fail when ClickHouse does not answer (by default its rows are checked when it does)')
    .option('--no-rows', 'leave the rows out')
    .option('--journals <dir>', 'journals of a node')
    .option('--archive <dir>', 'an archive')
    .option('--bus <dir>', 'directory of a file bus')
    .option('--cluster-log <dir>', 'a cluster log in tlog-tiles layout')
    .option('--ca <file>', 'CA of the cluster, PEM')
    .option('--log-key <vkey>', 'verifier key of the cluster log')
    .option('--witness-key <vkey>', 'verifier key of a witness; may be repeated', collect)
    .option('--strict', 'records that were recovered after a crash fail as well')
    .addHelpText(
      'after',
      '\nExit codes: 0 complete, 7 ALTERED, 8 MISSING, 9 anything else that is not complete (OPEN-ENDED, GAP, …).',
    )
    .action(async (flags: VerifyFlags, command: Command) => verify(contextOf(command), flags));
}

async function verify(context: CliContext, flags: VerifyFlags): Promise<void> {
  const [{ evidenceSources }, { verifyEvidence }, print, { proveRecord }, { proveSession }] = await Promise.all([
    import('./evidence-verify/sources.ts'),
    import('./evidence-verify/verify-evidence.ts'),
    import('./evidence-verify/print-report.ts'),
    import('./evidence-verify/prove-record.ts'),
    import('./evidence-verify/prove-session.ts'),
  ]);
  const { writer, record, range } = scopeOf(flags);
  const verified = await verifyEvidence(evidenceSources(context, flags), {
    clock: context.clock,
    strict: flags.strict === true,
    writer,
    range,
    session: flags.session ?? null,
    rows: flags.rows === undefined ? 'auto' : flags.rows ? 'wanted' : 'off',
  });
  const { report } = verified;
  const proof = record === null ? null : proveRecord(verified, record);
  const session = flags.session === undefined ? null : proveSession(verified, flags.session);
  const exit = report.exit === 0 && proof?.proven === false ? EXIT.incomplete : report.exit;
  if (context.json) {
    const extras = { ...(proof === null ? {} : { proof }), ...(session === null ? {} : { sessions: [session] }) };
    context.out(JSON.stringify({ ...report, ok: exit === 0, exit, ...extras }));
  } else {
    const lines = [
      ...(session === null ? [] : print.sessionLines(session)),
      ...(proof === null ? [] : print.proofLines(proof)),
      ...print.reportLines(report),
    ];
    lines.forEach((line) => context.out(line));
  }
  context.exit(exit);
}

/** Which writer, record and range the flags name. Throws `config_invalid` when they contradict each other. */
function scopeOf(flags: VerifyFlags): {
  writer: string | null;
  record: number | null;
  range: { from: number; to: number } | null;
} {
  const modes = [flags.record, flags.session, flags.writer].filter((mode) => mode !== undefined);
  if (modes.length > 1) {
    throw new GatewayError('config_invalid', 'one of --record, --session and --writer');
  }
  if (flags.record !== undefined) {
    const [, writer, digits] = POSITION.exec(flags.record) ?? [];
    if (writer === undefined || digits === undefined) {
      throw new GatewayError('config_invalid', '--record: a position is <writer: 32 hex digits>/<index>');
    }
    const record = Number(digits);
    return { writer, record, range: { from: record, to: record + 1 } };
  }
  const { writer = null, from, to } = flags;
  const hasRange = from !== undefined || to !== undefined;
  if (hasRange && (writer === null || (from ?? 0) >= (to ?? Infinity))) {
    throw new GatewayError('config_invalid', '--from and --to: a range that is not empty, with --writer');
  }
  return { writer, record: null, range: hasRange ? { from: from ?? 0, to: to ?? Infinity } : null };
}

function hexId(text: string): string {
  if (!/^[0-9a-f]{32}$/.test(text)) {
    throw new InvalidArgumentError('must be 32 lower-case hex digits.');
  }
  return text;
}

function index(text: string): number {
  if (!/^\d{1,15}$/.test(text)) {
    throw new InvalidArgumentError('must be an index.');
  }
  return Number(text);
}

function collect(text: string, previous: readonly string[] = []): string[] {
  return [...previous, text];
}
